//! Whether the guard is in place, and no other one, by the agent's word and by the kernel's.

use std::io;

use malha_tunnel::Engine;

use super::report::{Finding, Verdict};
use super::subject::{Running, Subject};
use crate::guard::{self, GuardChoice, GuardStatus};
use crate::text::doctor::{self as text, trouble};
use crate::text::{self as words, Lang};

pub(super) fn look(running: &Running, subject: &Subject, lang: Lang) -> Finding {
    let own = own(running, subject, lang);
    beside(own, &left(running, subject), lang)
}

/// What is wrong with the guard itself goes first: with its remedy the rest may be gone.
fn beside(own: Finding, left: &[String], lang: Lang) -> Finding {
    if left.is_empty() || own.verdict == Verdict::Problem {
        return own;
    }
    Finding::problem("guard-left", trouble::guard_left(lang, left.join(", ")))
}

/// Guard tables in force that nobody wants here; by the agent's word where this user may not ask the kernel.
fn left(running: &Running, subject: &Subject) -> Vec<String> {
    let settings = &subject.settings;
    let (is_unwanted, said) = match running {
        Running::Yes(document) => {
            let status = &document.guard;
            let none = matches!(
                status,
                GuardStatus::Off | GuardStatus::StillInForce(_) | GuardStatus::NoInterface
            );
            (none, document.guards_left.clone())
        }
        _ => (
            settings.guard == GuardChoice::Off || has_none(subject),
            vec![],
        ),
    };
    let wanted = (!is_unwanted).then_some(settings.interface.as_str());
    guard::left_behind(wanted).unwrap_or(said)
}

fn own(running: &Running, subject: &Subject, lang: Lang) -> Finding {
    let said = match running {
        Running::Yes(document) => Some(&document.guard),
        Running::No => None,
        Running::Unknown(why) => {
            return Finding::could_not_test("guard-unread", text::unreadable(lang, why));
        }
    };
    let settings = &subject.settings;
    let there = || guard::is_in_place(&settings.interface);
    match said {
        Some(status) => judge(status, there, lang),
        None if settings.guard == GuardChoice::Off => judge(&GuardStatus::Off, there, lang),
        None if !subject.is_enrolled() => {
            Finding::could_not_test("guard-not-enrolled", text::not_enrolled(lang))
        }
        None if has_none(subject) => judge(&GuardStatus::NoInterface, there, lang),
        None => of_kernel(there(), lang),
    }
}

fn judge(status: &GuardStatus, there: impl Fn() -> io::Result<bool>, lang: Lang) -> Finding {
    let said = status.say(lang);
    match status {
        GuardStatus::Waiting => Finding::could_not_test("guard-waiting", said),
        // Nothing is to be closed, or it was decided so.
        // A table that stays in force is found beside it.
        GuardStatus::Off | GuardStatus::StillInForce(_) => Finding::ok("guard-off", said),
        GuardStatus::Idle(_) => Finding::ok("guard-idle", said),
        GuardStatus::NoInterface => Finding::ok("guard-no-interface", said),
        GuardStatus::Failed(why) => {
            Finding::problem("guard-failed", trouble::guard_failed(lang, why))
        }
        GuardStatus::InPlace { trouble, .. } => match (there(), trouble) {
            (Ok(false), _) => Finding::problem("guard-missing", trouble::guard_missing(lang)),
            (_, Some(why)) => Finding::problem("guard-behind", trouble::guard_behind(lang, why)),
            // Who may not ask the kernel has the agent's word.
            (Ok(true) | Err(_), None) => Finding::ok("guard-in-place", said),
        },
    }
}

/// Without an agent only the kernel knows.
fn of_kernel(there: io::Result<bool>, lang: Lang) -> Finding {
    match there {
        Ok(true) => Finding::ok("guard-in-place", text::guard_there(lang)),
        Ok(false) => Finding::problem("guard-missing", trouble::guard_missing(lang)),
        Err(why) => {
            let said = words::guard_unreadable(lang, why);
            Finding::could_not_test("guard-unread", said)
        }
    }
}

/// An engine without an interface has no guard, unless one is required.
fn has_none(subject: &Subject) -> bool {
    let (engine, _) = subject.engine();
    engine == Engine::Netstack && subject.settings.guard == GuardChoice::Auto
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernel_is_asked_whether_the_agents_word_still_holds() {
        let in_place = in_place(None);
        let said = |there: fn() -> io::Result<bool>| judge(&in_place, there, Lang::En).code;
        assert_eq!(said(|| Ok(true)), "guard-in-place");
        assert_eq!(said(|| Ok(false)), "guard-missing");
        let forbidden = || Err(io::ErrorKind::PermissionDenied.into());
        assert_eq!(said(forbidden), "guard-in-place");
        let unread = of_kernel(forbidden(), Lang::En);
        assert_eq!(unread.verdict, Verdict::CouldNotTest);
        assert_eq!(of_kernel(Ok(false), Lang::En).verdict, Verdict::Problem);
    }

    #[test]
    fn a_guard_that_is_behind_the_map_is_a_problem_though_it_is_there() {
        let behind = in_place(Some("no descriptor is left"));
        let found = judge(&behind, || Ok(true), Lang::En);
        assert_eq!(found.code, "guard-behind");
        assert!(found.observed.ends_with("no descriptor is left"));
        assert_eq!(judge(&behind, || Ok(false), Lang::En).code, "guard-missing");
    }

    fn in_place(trouble: Option<&str>) -> GuardStatus {
        GuardStatus::InPlace {
            ports: [5500].into(),
            udp: [].into(),
            restored: 0,
            trouble: trouble.map(str::to_owned),
        }
    }

    #[test]
    fn what_the_operator_decided_is_no_problem() {
        for (status, verdict) in [
            (GuardStatus::Off, Verdict::Ok),
            (GuardStatus::NoInterface, Verdict::Ok),
            (GuardStatus::Idle("no nft".into()), Verdict::Ok),
            (GuardStatus::Waiting, Verdict::CouldNotTest),
            (GuardStatus::Failed("no nft".into()), Verdict::Problem),
        ] {
            let said = judge(&status, || Ok(false), Lang::En);
            assert_eq!(said.verdict, verdict, "{status:?}");
        }
    }

    #[test]
    fn a_table_that_nobody_wants_is_a_problem_though_the_guard_is_off() {
        let off = || judge(&GuardStatus::Off, || Ok(false), Lang::En);
        assert_eq!(beside(off(), &[], Lang::En).code, "guard-off");
        let left = ["malha_guard_before".to_owned()];
        let found = beside(off(), &left, Lang::En);
        assert_eq!(found.code, "guard-left");
        assert!(found.observed.contains("malha_guard_before"));
        let missing = of_kernel(Ok(false), Lang::En);
        assert_eq!(beside(missing, &left, Lang::En).code, "guard-missing");
    }
}
