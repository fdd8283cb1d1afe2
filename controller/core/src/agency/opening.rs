//! How the suggested rules come in force: named and tested, at the end of the policy's text. Where no policy is in force yet,
//! the first one says what the grants say that stand alone, and then these.

use super::AgencyPolicy;
use super::rules::SuggestedRule;
use crate::command::{Answer, Rejection};
use crate::draft::Draft;
use crate::policy::{self, Author, Policy};

/// Writes the rules that the text does not have, with their tests.
pub(super) fn open(
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
    })
}
