//! Whether the hub answers inside the tunnel, by the running agent's word.

use malha_proto::PathKind;

use super::report::Finding;
use super::subject::Running;
use crate::status::{HANDSHAKE_ALIVE_MS, PeerStatus};
use crate::text::doctor::{self as text, trouble};
use crate::text::{self as words, Lang};

/// With UDP that passes to a controller there is a reason less for the tunnel to go over TCP.
pub(super) fn judge(running: &Running, udp_passes: bool, lang: Lang) -> Finding {
    let document = match running {
        Running::Yes(document) => document,
        Running::No => return Finding::could_not_test("tunnel-no-agent", text::not_running(lang)),
        Running::Unknown(why) => {
            return Finding::could_not_test("tunnel-unread", text::unreadable(lang, why));
        }
    };
    if let Some(why) = &document.netmap.apply_error {
        let trouble = trouble::tunnel_not_applied(lang, why);
        return Finding::problem("tunnel-not-applied", trouble);
    }
    if let Some(why) = &document.tunnel.interface.trouble {
        return Finding::problem("tunnel-interface", trouble::tunnel_interface(lang, why));
    }
    let hubs = || document.peers.iter().filter(|peer| peer.hub);
    let Some(hub) = hubs().min_by_key(|peer| peer.handshake_age_ms.unwrap_or(u64::MAX)) else {
        return Finding::could_not_test("tunnel-no-hub", text::tunnel_no_hub(lang));
    };
    if hub.handshake_age_ms.is_none() && document.running_ms < SETTLING_MS {
        return Finding::could_not_test("tunnel-starting", text::just_started(lang));
    }
    of_hub(hub, udp_passes, lang)
}

/// An agent that runs for so long has had time to find its hub, by TCP if need be, milliseconds.
pub(super) const SETTLING_MS: u64 = 15_000;

fn of_hub(hub: &PeerStatus, udp_passes: bool, lang: Lang) -> Finding {
    let age_ms = hub.handshake_age_ms;
    let handshake = match age_ms {
        Some(age_ms) => words::handshake_age(lang, words::age(lang, age_ms)),
        None => words::handshake_none(lang),
    };
    let Some(age_ms) = age_ms.filter(|age_ms| *age_ms < HANDSHAKE_ALIVE_MS) else {
        let trouble = trouble::tunnel_silent(lang, &hub.name, handshake);
        return Finding::problem("tunnel-silent", trouble);
    };
    let age = words::age(lang, age_ms);
    match hub.path {
        Some(PathKind::Carrier) => {
            let meaning = match udp_passes {
                true => text::tunnel_carried_beside_udp(lang),
                false => text::tunnel_carried_means(lang),
            };
            Finding::ok("tunnel-carried", text::tunnel_carried(lang, &hub.name, age))
                .meaning(meaning)
        }
        _ => Finding::ok("tunnel-direct", text::tunnel_direct(lang, &hub.name, age)),
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::super::report::Verdict;
    use super::*;
    use crate::status::StatusDocument;

    /// Of a node that is well.
    pub(in crate::doctor) fn document() -> StatusDocument {
        let text = r#"{
            "version": 1, "agent_version": "0", "node": "n7", "name": "servidor.garagem.org",
            "addresses": ["100.64.0.7"], "running_ms": 60000,
            "control": {"state": "online", "for_ms": 1000, "transport": "QUIC",
                        "controller": "hub.example:443", "seen_as": null, "last_error": null},
            "tunnel": {"engine": "userspace", "why": {"reason": "may-make-interfaces"}, "listen": []},
            "netmap": {"in_force": 4, "newest": 4, "last_known_good": false, "apply_error": null},
            "quarantined": false, "services": [],
            "peers": [{"id": "n1", "name": "hub.malha", "hub": true, "endpoint": null,
                       "handshake_age_ms": 9000, "rx_bytes": 1, "tx_bytes": 1, "drops": 0,
                       "path": "direct", "key": null}],
            "save_error": null
        }"#;
        serde_json::from_str(text).unwrap()
    }

    fn said(change: impl FnOnce(&mut StatusDocument)) -> Finding {
        let mut document = document();
        change(&mut document);
        judge(&Running::Yes(Box::new(document)), false, Lang::En)
    }

    #[test]
    fn a_hub_is_alive_by_its_handshake_and_not_by_the_control_channel() {
        assert_eq!(said(|_| {}).code, "tunnel-direct");
        let changed = said(|it| it.tunnel.interface.trouble = Some("refused".into()));
        assert_eq!(changed.code, "tunnel-interface");
        let carried = said(|it| it.peers[0].path = Some(PathKind::Carrier));
        assert_eq!(
            (carried.verdict, carried.code),
            (Verdict::Ok, "tunnel-carried")
        );
        let old = said(|it| it.peers[0].handshake_age_ms = Some(HANDSHAKE_ALIVE_MS));
        assert_eq!(old.code, "tunnel-silent");
        let never = said(|it| it.peers[0].handshake_age_ms = None);
        assert_eq!(never.code, "tunnel-silent");
        let starting = said(|it| {
            it.peers[0].handshake_age_ms = None;
            it.running_ms = SETTLING_MS - 1;
        });
        assert_eq!(starting.verdict, Verdict::CouldNotTest);
        assert_eq!(said(|it| it.peers.clear()).verdict, Verdict::CouldNotTest);
    }

    #[test]
    fn a_carried_hub_beside_udp_that_passes_hints_at_its_addresses() {
        let meaning = |udp_passes| {
            let mut document = document();
            document.peers[0].path = Some(PathKind::Carrier);
            let running = Running::Yes(Box::new(document));
            judge(&running, udp_passes, Lang::En).meaning.unwrap()
        };
        assert!(meaning(true).contains("hub.endpoints"));
        assert!(!meaning(false).contains("hub.endpoints"));
    }

    #[test]
    fn a_map_that_is_not_in_force_is_a_problem_whatever_the_hub_says() {
        let said = said(|it| it.netmap.apply_error = Some("port taken".into()));
        assert_eq!(said.code, "tunnel-not-applied");
    }
}
