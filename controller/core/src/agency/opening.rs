//! How the suggested rules come in force: at the end of the policy's text, or as grants while there is none.

use super::AgencyPolicy;
use super::rules::SuggestedRule;
use crate::command::{Answer, Rejection};
use crate::draft::Draft;
use crate::grants;
use crate::policy::{self, Author, Policy};

/// In the text of the policy in force, or as grants while there is none.
pub(super) fn open(
    draft: &mut Draft,
    rules: &[SuggestedRule],
    author: Author,
) -> Result<AgencyPolicy, Rejection> {
    match draft.state.policy() {
        Some(_) => write_into_policy(draft, rules, author),
        None => add_grants(draft, rules),
    }
}

fn write_into_policy(
    draft: &mut Draft,
    rules: &[SuggestedRule],
    author: Author,
) -> Result<AgencyPolicy, Rejection> {
    let mut text = draft.state.policy_text();
    let present = Policy::parse(&text)?;
    let is_there = |rule: &&SuggestedRule| present.rules.iter().any(|it| it.name == rule.name);
    let fresh = rules.iter().filter(|rule| !is_there(rule));
    let addition: String = fresh.map(SuggestedRule::text).collect();
    if !text.ends_with('\n') {
        text.push('\n');
    }
    text.push_str(&addition);
    let (version, proposal) = match policy::write(draft, &text, author)? {
        Answer::Proposed { proposal } => (None, Some(proposal)),
        _ => (draft.state.policy().map(|head| head.version), None),
    };
    Ok(AgencyPolicy {
        version,
        proposal,
        text: addition,
        left_out: Vec::new(),
    })
}

/// A grant can't name a machine that is not there yet: rules that do are left out.
fn add_grants(draft: &mut Draft, rules: &[SuggestedRule]) -> Result<AgencyPolicy, Rejection> {
    let mut added = String::new();
    let mut left_out = Vec::new();
    for rule in rules {
        let selectors = |side: &[policy::Who]| -> Option<Vec<_>> {
            side.iter().map(|who| who.selector(&draft.state)).collect()
        };
        let (Some(from), Some(to)) = (selectors(&rule.from), selectors(&rule.to)) else {
            left_out.push(rule.name.clone());
            continue;
        };
        let pairs = from
            .iter()
            .flat_map(|from| to.iter().map(move |to| (*from, *to)));
        for (from, to) in pairs {
            for allow in rule.allows() {
                match grants::add(draft, from, to, allow) {
                    Ok(_) | Err(Rejection::Exists { .. }) => {}
                    Err(rejection) => return Err(rejection),
                }
            }
        }
        added += &rule.text();
    }
    Ok(AgencyPolicy {
        version: None,
        proposal: None,
        text: added,
        left_out,
    })
}
