//! Whether the guard is in place, by the agent's word and by the kernel's.

use std::io;

use malha_tunnel::Engine;

use super::report::Finding;
use super::subject::{Running, Subject};
use crate::guard::{self, GuardChoice, GuardStatus};
use crate::text::doctor::{self as text, trouble};
use crate::text::{self as words, Lang};

pub(super) fn look(running: &Running, subject: &Subject, lang: Lang) -> Finding {
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
        GuardStatus::Off => Finding::ok("guard-off", said),
        GuardStatus::NoInterface => Finding::ok("guard-no-interface", said),
        GuardStatus::Failed(why) => {
            Finding::problem("guard-failed", trouble::guard_failed(lang, why))
        }
        GuardStatus::InPlace { .. } => match there() {
            Ok(false) => Finding::problem("guard-missing", trouble::guard_missing(lang)),
            // Who may not ask the kernel has the agent's word.
            Ok(true) | Err(_) => Finding::ok("guard-in-place", said),
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
    use super::super::report::Verdict;
    use super::*;

    #[test]
    fn the_kernel_is_asked_whether_the_agents_word_still_holds() {
        let in_place = GuardStatus::InPlace {
            ports: [5500].into(),
            udp: [].into(),
            restored: 0,
        };
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
    fn what_the_operator_decided_is_no_problem() {
        for (status, verdict) in [
            (GuardStatus::Off, Verdict::Ok),
            (GuardStatus::NoInterface, Verdict::Ok),
            (GuardStatus::Waiting, Verdict::CouldNotTest),
            (GuardStatus::Failed("no nft".into()), Verdict::Problem),
        ] {
            let said = judge(&status, || Ok(false), Lang::En);
            assert_eq!(said.verdict, verdict, "{status:?}");
        }
    }
}
