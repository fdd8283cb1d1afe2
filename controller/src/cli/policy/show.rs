//! How a policy's difference, tests and explanations look on a terminal.

use malha_proto::Protocol;

use crate::api::{
    PolicyCheck, PolicyDifference, PolicyExplanation, PolicyLater, PolicyLaterChange,
    PolicyOpening, PolicyOrigin, PolicyPending, PolicyRuleReason, PolicySide, PolicyTestOutcome,
    PolicyVersion,
};
use crate::cli::publishing::allow_text;
use crate::cli::screen::Screen;
use crate::cli::session::Row;
use crate::cli::text::{self, Word};
use crate::cli::trace::rule_line;

pub(super) fn difference(it: &PolicyDifference, screen: &Screen) {
    let lang = screen.lang;
    for row in &it.rows {
        for (mark, openings) in [("+", &row.gained), ("-", &row.lost)] {
            if !openings.is_empty() {
                let ports: Vec<String> = openings.iter().map(opening).collect();
                screen.line(&format!(
                    "{mark} {} → {}: {} ({})",
                    side(&row.from, screen),
                    side(&row.to, screen),
                    ports.join(", "),
                    text::policy_pairs(lang, row.pairs)
                ));
            }
        }
    }
    if it.rows_left_out > 0 {
        screen.line(&text::policy_more(lang, it.rows_left_out));
    }
    for grant in &it.later {
        screen.line(&later(grant, screen));
    }
    if it.later_left_out > 0 {
        screen.line(&text::policy_more_later(lang, it.later_left_out));
    }
    screen.line(&text::policy_counts(lang, it.gaining, it.losing, it.base));
    screen.line(&text::policy_hash(lang, it.hash));
}

fn later(it: &PolicyLater, screen: &Screen) -> String {
    let (lang, name, line) = (screen.lang, &it.name, it.line);
    let moment = it.at_ms.map(|at_ms| screen.moment(at_ms));
    match (it.change, moment) {
        (PolicyLaterChange::Opens, Some(moment)) => text::policy_opens(lang, name, line, moment),
        (PolicyLaterChange::Expired, Some(moment)) => text::policy_over(lang, name, line, moment),
        (PolicyLaterChange::Opens | PolicyLaterChange::Expired, None) => {
            text::policy_never(lang, name, line)
        }
        (PolicyLaterChange::Gone, _) => text::policy_gone(lang, name, line),
    }
}

pub(super) fn check(it: &PolicyCheck, screen: &Screen) {
    let lang = screen.lang;
    if let Some(mistake) = &it.mistake {
        screen.line(&text::policy_mistake(
            lang,
            mistake.line,
            mistake.column,
            &mistake.problem,
        ));
    }
    for test in &it.tests {
        let outcome = match test.outcome {
            PolicyTestOutcome::Holds => text::policy_holds(lang, test.pairs),
            PolicyTestOutcome::Nobody => screen.word(Word::TestsNobody),
            PolicyTestOutcome::Fails => text::policy_fails(
                lang,
                test.from.as_deref().unwrap_or_default(),
                test.to.as_deref().unwrap_or_default(),
            ),
        };
        screen.line(&format!("{}: {outcome}", test.said));
    }
    for name in &it.unresolved {
        screen.line(&text::policy_unresolved(
            lang,
            name.line,
            &name.place,
            &name.name,
        ));
    }
    match &it.refusal {
        Some(refusal) => screen.line(&text::policy_refused(lang, refusal)),
        None if it.ok => screen.line(Word::PolicyRight.text(lang)),
        None => {}
    }
}

pub(super) fn explanation(it: &PolicyExplanation, screen: &Screen) {
    for rule in &it.rules {
        let reason = screen.word(match rule.reason {
            PolicyRuleReason::Opens => Word::RuleOpens,
            PolicyRuleReason::OtherPorts => Word::RuleOtherPorts,
            PolicyRuleReason::OutsideSchedule => Word::RuleOutsideSchedule,
            PolicyRuleReason::Expired => Word::RuleExpired,
        });
        screen.line(&text::policy_rule(
            screen.lang,
            &rule.name,
            rule.line,
            reason,
        ));
    }
    for rule in it.beside.iter().filter(|rule| rule.decides) {
        screen.line(&rule_line(rule, screen));
    }
    if it.rules.is_empty() {
        screen.line(Word::NoRules.text(screen.lang));
    }
}

impl Row for PolicyVersion {
    const COLUMNS: &'static [Word] = &[
        Word::Version,
        Word::When,
        Word::Actor,
        Word::Origin,
        Word::Gaining,
        Word::Losing,
        Word::State,
    ];

    fn cells(&self, screen: &Screen) -> Vec<String> {
        let origin = match (self.origin, self.returned_to) {
            (PolicyOrigin::Grants, _) => screen.word(Word::OriginGrants),
            (PolicyOrigin::Returned, Some(to)) => text::policy_returned(screen.lang, to),
            _ => screen.word(Word::OriginApplied),
        };
        let state = match (&self.pending, self.in_force) {
            (
                Some(PolicyPending {
                    former,
                    deadline_ms,
                    ..
                }),
                _,
            ) => text::policy_waits(screen.lang, screen.moment(*deadline_ms), former),
            (None, true) => screen.word(Word::InForce),
            (None, false) => String::new(),
        };
        let author = match (&self.approver, &self.emergency) {
            (Some(approver), _) => text::policy_approved(screen.lang, &self.author, approver),
            (None, Some(reason)) => text::policy_alone(screen.lang, &self.author, reason),
            (None, None) => self.author.clone(),
        };
        vec![
            self.version.to_string(),
            screen.moment(self.applied_ms),
            author,
            origin,
            self.gaining.to_string(),
            self.losing.to_string(),
            state,
        ]
    }
}

fn side(side: &PolicySide, screen: &Screen) -> String {
    let names = side.names.join(", ");
    match side.count.saturating_sub(side.names.len()) {
        0 => names,
        more => text::policy_side(screen.lang, names, more),
    }
}

pub(in crate::cli) fn opening(it: &PolicyOpening) -> String {
    match it.protocol {
        Protocol::Icmp => "icmp".to_owned(),
        protocol => allow_text(protocol, it.from_port, it.to_port),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::cli::text::Lang;

    #[test]
    fn a_side_names_some_and_counts_the_rest() {
        let few: PolicySide =
            serde_json::from_value(json!({ "names": ["a/b/c", "a/b/d"], "count": 7 })).unwrap();
        let screen = Screen {
            json: false,
            lang: Lang::En,
        };
        assert_eq!(side(&few, &screen), "a/b/c, a/b/d and 5 more");
    }

    #[test]
    fn what_is_closed_now_is_told_apart_from_what_is_not_there() {
        let screen = Screen {
            json: false,
            lang: Lang::En,
        };
        let line = |grant| later(&serde_json::from_value(grant).unwrap(), &screen);
        let opens =
            line(json!({ "name": "plantao", "line": 7, "change": "opens", "at_ms": u64::MAX }));
        assert!(opens.starts_with("+ plantao (line 7): closed now, opens in "));
        let over = line(json!({ "name": "plantao", "line": 7, "change": "expired", "at_ms": 0 }));
        assert!(
            over.starts_with("! plantao (line 7): expired ") && over.ends_with("opens nothing")
        );
        let gone = line(json!({ "name": "plantao", "line": 7, "change": "gone" }));
        assert!(gone.starts_with("- plantao (line 7 of the former text)"));
    }

    #[test]
    fn a_version_that_came_back_says_from_where() {
        let version: PolicyVersion = serde_json::from_value(json!({
            "version": 7, "in_force": true, "origin": "returned", "returned_to": 3, "author": "controller",
            "applied_ms": 0, "gaining": 0, "losing": 12,
        }))
        .unwrap();
        let screen = Screen {
            json: false,
            lang: Lang::Pt,
        };
        let cells = version.cells(&screen);
        assert_eq!(
            (cells[3].as_str(), cells[6].as_str()),
            ("volta à versão 3", "em vigor")
        );
    }
}
