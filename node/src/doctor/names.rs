//! Whether this machine's own name is answered by the agent, and by the machine's resolver where that was set up for it.

use std::net::IpAddr;
use std::time::Duration;

use malha_proto::{HostName, NameAnswer};

use super::report::Finding;
use super::subject::Running;
use crate::names::{NamesStatus, SystemStatus, ask_agent, ask_system};
use crate::status::StatusDocument;
use crate::text::Lang;
use crate::text::doctor::{self as text, trouble};

pub(super) async fn look(running: &Running, lang: Lang) -> Finding {
    let document = match running {
        Running::Yes(document) => document,
        Running::No => return Finding::could_not_test("names-no-agent", text::not_running(lang)),
        Running::Unknown(why) => {
            return Finding::could_not_test("names-unread", text::unreadable(lang, why));
        }
    };
    let Some((name, own)) = own_name(document) else {
        return Finding::could_not_test("names-waiting", text::names_waiting(lang));
    };
    let names = &document.names;
    let answer = match names.listen.first() {
        Some(at) => ask_agent(&name, *at, LIMIT).await,
        None => NameAnswer::Off,
    };
    let by_system = match may_be_asked(&names.system) {
        true => ask_system(&name, LIMIT).await,
        false => Vec::new(),
    };
    judge(names, &name, own, &answer, &by_system, lang)
}

/// What the agent answered, and what programs get.
fn judge(
    names: &NamesStatus,
    name: &HostName,
    own: IpAddr,
    answer: &NameAnswer,
    by_system: &[IpAddr],
    lang: Lang,
) -> Finding {
    if names.system == SystemStatus::Off {
        return Finding::could_not_test("names-off", text::names_off(lang));
    }
    let Some(at) = names.listen.first() else {
        let closed: Vec<String> = names
            .closed
            .iter()
            .map(|it| it.address.to_string())
            .collect();
        return Finding::problem(
            "names-closed",
            trouble::names_closed(lang, closed.join(", ")),
        );
    };
    let is_right = matches!(answer, NameAnswer::Addresses(found) if found.contains(&own));
    if !is_right {
        let trouble = trouble::names_wrong(lang, name, at, said(answer));
        return Finding::problem("names-wrong", trouble);
    }
    let finding = |code| Finding::ok(code, text::names_answered(lang, name, own, at));
    match &names.system {
        _ if by_system.contains(&own) => {
            finding("names-answered").meaning(text::names_and_system(lang))
        }
        SystemStatus::Resolved { .. } | SystemStatus::Bypassed { .. } => {
            let trouble = trouble::names_not_led(lang, name, "systemd-resolved");
            Finding::problem("names-not-led", trouble)
        }
        SystemStatus::Failed(why) => {
            let trouble = trouble::names_not_led(lang, name, why);
            Finding::problem("names-not-led", trouble)
        }
        _ => finding("names-here-only").meaning(text::names_not_led(lang)),
    }
}

fn own_name(document: &StatusDocument) -> Option<(HostName, IpAddr)> {
    let (name, zone) = (document.name.as_ref()?, document.names.zone.as_ref()?);
    let own = document.addresses.first()?;
    Some((format!("{name}.{zone}").parse().ok()?, *own))
}

/// A name of the overlay is asked of strangers only where the machine's resolver may lead it here.
fn may_be_asked(system: &SystemStatus) -> bool {
    !matches!(system, SystemStatus::Off | SystemStatus::Waiting)
}

fn said(answer: &NameAnswer) -> String {
    match answer {
        NameAnswer::Addresses(found) => {
            let found: Vec<String> = found.iter().map(ToString::to_string).collect();
            found.join(", ")
        }
        other => format!("{other:?}"),
    }
}

const LIMIT: Duration = Duration::from_secs(3);

#[cfg(test)]
mod tests {
    use super::super::report::Verdict;
    use super::*;
    use crate::names::{Closed, ClosedWhy};

    fn status(system: SystemStatus) -> NamesStatus {
        NamesStatus {
            zone: Some("malha.internal".into()),
            listen: vec!["127.0.77.53:53".parse().unwrap()],
            system,
            ..NamesStatus::default()
        }
    }

    fn said_of(names: &NamesStatus, answer: &NameAnswer, by_system: &[IpAddr]) -> Finding {
        let name = "servidor.garagem.org.malha.internal".parse().unwrap();
        judge(names, &name, own(), answer, by_system, Lang::En)
    }

    fn own() -> IpAddr {
        "100.64.0.7".parse().unwrap()
    }

    #[test]
    fn the_agents_answer_is_enough_where_nobody_set_up_the_resolver() {
        let right = NameAnswer::Addresses(vec![own()]);
        let no_interface = status(SystemStatus::NoInterface);
        assert_eq!(said_of(&no_interface, &right, &[]).code, "names-here-only");
        assert_eq!(
            said_of(&no_interface, &right, &[own()]).code,
            "names-answered"
        );
        let told = status(SystemStatus::Resolved { domains: vec![] });
        assert_eq!(said_of(&told, &right, &[own()]).code, "names-answered");
        assert_eq!(said_of(&told, &right, &[]).code, "names-not-led");
    }

    #[test]
    fn a_wrong_answer_and_a_closed_door_are_problems() {
        let names = status(SystemStatus::NoInterface);
        for answer in [
            NameAnswer::NoName,
            NameAnswer::Silent,
            NameAnswer::Addresses(vec![]),
        ] {
            assert_eq!(said_of(&names, &answer, &[]).code, "names-wrong");
        }
        let taken = Closed {
            address: "127.0.77.53:53".parse().unwrap(),
            why: ClosedWhy::Taken,
        };
        let closed = NamesStatus {
            listen: vec![],
            closed: vec![taken],
            ..names
        };
        let said = said_of(&closed, &NameAnswer::Off, &[]);
        assert_eq!(said.code, "names-closed");
        assert!(
            said.observed.contains("127.0.77.53:53"),
            "{}",
            said.observed
        );
        let off = status(SystemStatus::Off);
        assert_eq!(
            said_of(&off, &NameAnswer::Off, &[]).verdict,
            Verdict::CouldNotTest
        );
    }
}
