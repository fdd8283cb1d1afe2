//! Whether the machine is a node, its agent runs, and the controller is at the other end.

use super::report::Finding;
use super::subject::{Enrolment, Running, Unread};
use super::tunnel::SETTLING_MS;
use crate::agent::ControlState;
use crate::state::Ended;
use crate::status::StatusDocument;
use crate::text::doctor::{self as text, trouble};
use crate::text::{self as words, Lang};

pub(super) fn judge(running: &Running, enrolment: &Enrolment, lang: Lang) -> Finding {
    match (running, enrolment) {
        (_, Enrolment::Ended(ended)) => {
            let why = match ended {
                Ended::Removed => words::removed(lang),
                Ended::Replaced => words::replaced(lang),
            };
            Finding::problem("agent-ended", trouble::agent_ended(lang, why))
        }
        (Running::Yes(document), _) => of_document(document, lang),
        (Running::Unknown(why), _) => {
            Finding::could_not_test("agent-unknown", text::unreadable(lang, why))
        }
        (Running::No, Enrolment::No { with_token }) => {
            let why = match with_token {
                true => text::not_enrolled(lang),
                false => text::not_enrolled_no_token(lang),
            };
            Finding::could_not_test("agent-not-enrolled", why)
        }
        (Running::No, Enrolment::Unread(Unread::Closed(why) | Unread::Damaged(why))) => {
            Finding::could_not_test("agent-unknown", text::unreadable(lang, why))
        }
        (Running::No, Enrolment::Active) => {
            Finding::problem("agent-stopped", trouble::agent_stopped(lang))
        }
    }
}

fn of_document(document: &StatusDocument, lang: Lang) -> Finding {
    if document.quarantined {
        return Finding::problem("agent-held-apart", trouble::agent_held_apart(lang));
    }
    let control = &document.control;
    let (Some(controller), Some(transport), ControlState::Online) =
        (&control.controller, &control.transport, control.state)
    else {
        if document.running_ms < SETTLING_MS && control.last_error.is_none() {
            return Finding::could_not_test("agent-starting", text::just_started(lang));
        }
        let state = words::control(lang, control.state);
        let age = words::age(lang, control.for_ms);
        let why = control.last_error.as_deref().unwrap_or("-");
        let trouble = trouble::agent_offline(lang, state, age, why);
        return Finding::problem("agent-offline", trouble);
    };
    let age = words::age(lang, document.running_ms);
    Finding::ok(
        "agent-online",
        text::agent_online(lang, age, controller, transport),
    )
}

#[cfg(test)]
mod tests {
    use super::super::report::Verdict;
    use super::super::tunnel::tests::document;
    use super::*;

    #[test]
    fn a_stopped_agent_is_a_problem_only_where_there_should_be_one() {
        let said = |enrolment| judge(&Running::No, &enrolment, Lang::En);
        assert_eq!(said(Enrolment::Active).code, "agent-stopped");
        let fresh = said(Enrolment::No { with_token: false });
        assert_eq!(fresh.verdict, Verdict::CouldNotTest);
        assert!(
            fresh.observed.contains("doctor --token-file"),
            "{}",
            fresh.observed
        );
        assert_eq!(said(Enrolment::Ended(Ended::Removed)).code, "agent-ended");
        let closed = Enrolment::Unread(Unread::Closed("permission denied".into()));
        assert_eq!(said(closed).verdict, Verdict::CouldNotTest);
    }

    #[test]
    fn a_running_agent_must_be_online_and_not_held_apart() {
        let said = |document| {
            judge(
                &Running::Yes(Box::new(document)),
                &Enrolment::Active,
                Lang::En,
            )
        };
        assert_eq!(said(document()).code, "agent-online");
        let mut offline = document();
        offline.control.state = ControlState::Dialing;
        offline.control.last_error = Some("no answer".into());
        let offline = said(offline);
        assert_eq!(offline.code, "agent-offline");
        assert!(
            offline.observed.contains("no answer"),
            "{}",
            offline.observed
        );
        let mut starting = document();
        starting.control.state = ControlState::Dialing;
        starting.running_ms = SETTLING_MS - 1;
        assert_eq!(said(starting).verdict, Verdict::CouldNotTest);
        let mut copied = document();
        copied.quarantined = true;
        assert_eq!(said(copied).code, "agent-held-apart");
    }
}
