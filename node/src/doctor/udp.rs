//! Whether the controller answers over UDP.

use std::net::SocketAddr;

use super::report::Finding;
use crate::agent::{LinkError, LinkFault};
use crate::control::look::Reached;
use crate::text::Lang;
use crate::text::doctor::{self as text, trouble};

pub(super) fn judge(udp: &[(SocketAddr, Result<Reached, LinkError>)], lang: Lang) -> Finding {
    let reached = udp
        .iter()
        .filter_map(|(to, it)| Some((to, it.as_ref().ok()?.round_trip)));
    let silent: Vec<&SocketAddr> = udp
        .iter()
        .filter_map(|(to, it)| it.is_err().then_some(to))
        .collect();
    if let Some((to, round_trip)) = reached.min_by_key(|(_, round_trip)| *round_trip) {
        let answers = text::udp_answers(lang, to, round_trip.as_millis());
        let finding = Finding::ok("udp-answers", answers);
        return match silent.is_empty() {
            true => finding,
            // A machine without IPv6 is no broken machine.
            false => finding.meaning(text::udp_also_silent(lang, list(&silent))),
        };
    }
    let errors = || {
        udp.iter()
            .filter_map(|(to, it)| Some((to, it.as_ref().err()?)))
    };
    let stranger = errors().find(|(_, error)| error.fault == LinkFault::WrongController);
    match (stranger, errors().next()) {
        (Some((to, why)), _) => {
            Finding::problem("udp-stranger", trouble::udp_stranger(lang, to, why))
        }
        (None, Some((_, why))) => {
            Finding::problem("udp-silent", trouble::udp_silent(lang, list(&silent), why))
        }
        (None, None) => Finding::could_not_test("udp-no-address", text::no_address(lang)),
    }
}

fn list(addresses: &[&SocketAddr]) -> String {
    let all: Vec<String> = addresses.iter().map(|it| format!("{it}/udp")).collect();
    all.join(", ")
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::report::Verdict;
    use super::*;

    fn at(text: &str) -> SocketAddr {
        text.parse().unwrap()
    }

    fn reached() -> Result<Reached, LinkError> {
        Ok(Reached {
            from: at("192.168.1.10:40000"),
            round_trip: Duration::from_millis(12),
            packet_bytes: 1_500,
            reflection: None,
            is_untimely: false,
        })
    }

    fn error(fault: LinkFault) -> Result<Reached, LinkError> {
        Err(LinkError::new(fault, "the detail"))
    }

    #[test]
    fn one_answer_is_enough_and_what_is_silent_beside_it_is_named() {
        let (v4, v6) = (at("192.0.2.1:443"), at("[2001:db8::1]:443"));
        let silent = error(LinkFault::Unreachable);
        let said = judge(&[(v6, silent), (v4, reached())], Lang::En);
        assert_eq!((said.verdict, said.code), (Verdict::Ok, "udp-answers"));
        assert!(said.observed.contains("192.0.2.1:443"), "{}", said.observed);
        assert!(said.meaning.unwrap().contains("[2001:db8::1]:443"));
        assert_eq!(judge(&[(v4, reached())], Lang::En).meaning, None);
    }

    #[test]
    fn silence_is_told_from_a_stranger_and_from_nobody_to_ask() {
        let v4 = at("192.0.2.1:443");
        let codes = [
            (vec![(v4, error(LinkFault::Unreachable))], "udp-silent"),
            (
                vec![(v4, error(LinkFault::WrongController))],
                "udp-stranger",
            ),
            (vec![], "udp-no-address"),
        ];
        for (looked, code) in codes {
            assert_eq!(judge(&looked, Lang::En).code, code);
        }
    }
}
