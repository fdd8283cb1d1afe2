//! Each row of the diagnosis table, and the times at which hops broke.

use super::*;
use proptest::prelude::*;

const WEB: ServiceId = ServiceId(1);
const SSH: ServiceId = ServiceId(2);
const NOW: u64 = 1_000_000;

fn probed(probe: PathProbe) -> ServiceObserved {
    ServiceObserved {
        probe,
        probed_ms: NOW - 500,
        report: ServiceState::Up,
    }
}

/// A garage in good order: session open, tunnel heard, its web page answers.
fn healthy() -> Observed {
    Observed {
        session_ms: Some(NOW - 60_000),
        ended: None,
        heard_ms: Some(NOW - 500),
        port_unreachable_ms: None,
        tunnel_probe: None,
        services: BTreeMap::from([(WEB, probed(PathProbe::Answered))]),
    }
}

/// The same after its packets stopped coming.
fn silent() -> Observed {
    Observed {
        heard_ms: Some(NOW - 20_000),
        services: BTreeMap::from([(WEB, probed(PathProbe::TunnelSilent))]),
        ..healthy()
    }
}

fn closed(farewell: Option<FarewellReason>, observed: Observed) -> Observed {
    Observed {
        session_ms: None,
        ended: Some((NOW - 1_000, farewell)),
        ..observed
    }
}

fn broken(observed: &Observed) -> Option<Hop> {
    observed.diagnose(None, NOW).broken.map(|broken| broken.hop)
}

#[test]
fn a_healthy_node_is_up_in_every_hop() {
    let verdict = healthy().diagnose(None, NOW);
    assert_eq!(verdict.broken, None);
    let hops = [
        verdict.control,
        verdict.link,
        verdict.agent,
        verdict.tunnel,
        verdict.services[&WEB],
    ];
    assert!(
        hops.iter().all(|hop| matches!(hop, HopState::Up(_))),
        "{verdict:?}"
    );
}

#[test]
fn a_killed_web_server_shows_as_its_service() {
    let services = BTreeMap::from([(
        WEB,
        ServiceObserved {
            report: ServiceState::Refused,
            ..probed(PathProbe::OriginFailed)
        },
    )]);
    let verdict = Observed {
        services,
        ..healthy()
    }
    .diagnose(None, NOW);
    assert_eq!(
        verdict.broken,
        Some(Broken {
            hop: Hop::Service,
            since_ms: NOW - 500,
            service: Some(WEB)
        })
    );
    assert_eq!(verdict.causes[&WEB], ServiceState::Refused);
    assert!(matches!(verdict.tunnel, HopState::Up(_)));
}

#[test]
fn one_silent_service_beside_a_living_one_is_that_service() {
    let services = BTreeMap::from([
        (WEB, probed(PathProbe::Answered)),
        (SSH, probed(PathProbe::TunnelSilent)),
    ]);
    let verdict = Observed {
        services,
        ..healthy()
    }
    .diagnose(None, NOW);
    assert_eq!(
        verdict.broken.map(|broken| (broken.hop, broken.service)),
        Some((Hop::Service, Some(SSH)))
    );
}

#[test]
fn a_killed_agent_shows_as_the_agent_even_while_its_session_seems_open() {
    let refused = Observed {
        port_unreachable_ms: Some(NOW - 300),
        ..silent()
    };
    assert_eq!(broken(&refused), Some(Hop::Agent));
    assert_eq!(broken(&closed(None, refused)), Some(Hop::Agent));
}

#[test]
fn a_stopped_agent_and_a_machine_that_shuts_down_say_so() {
    assert_eq!(
        broken(&closed(Some(FarewellReason::Stopped), silent())),
        Some(Hop::Agent)
    );
    assert_eq!(
        broken(&closed(Some(FarewellReason::Shutdown), silent())),
        Some(Hop::Link)
    );
}

#[test]
fn a_cut_link_shows_as_the_link_when_nothing_answers_any_more() {
    let verdict = closed(None, silent()).diagnose(None, NOW);
    assert_eq!(verdict.broken.map(|broken| broken.hop), Some(Hop::Link));
    assert!(matches!(verdict.link, HopState::Down(_)) && verdict.agent == HopState::Unknown);
    assert_eq!(
        verdict.services[&WEB],
        HopState::Unknown,
        "nobody knows how the service is behind a cut link"
    );
}

#[test]
fn a_tunnel_that_carries_nothing_shows_although_the_session_is_open() {
    let verdict = silent().diagnose(None, NOW);
    assert_eq!(verdict.broken.map(|broken| broken.hop), Some(Hop::Tunnel));
    assert!(
        matches!(verdict.control, HopState::Up(_)) && matches!(verdict.tunnel, HopState::Down(_))
    );
}

#[test]
fn a_tunnel_with_handshakes_that_carries_nothing_is_a_tunnel_fault_without_a_session_too() {
    let handshaking = Observed {
        heard_ms: Some(NOW - 100),
        ..closed(None, silent())
    };
    assert_eq!(broken(&handshaking), Some(Hop::Tunnel));
}

#[test]
fn a_lost_session_over_a_living_tunnel_is_the_control_channel() {
    let verdict = closed(None, healthy()).diagnose(None, NOW);
    assert_eq!(
        verdict.broken,
        Some(Broken {
            hop: Hop::Control,
            since_ms: NOW - 1_000,
            service: None
        })
    );
    assert!(matches!(verdict.services[&WEB], HopState::Up(_)));
}

#[test]
fn a_node_never_seen_is_unknown() {
    let verdict = Observed::default().diagnose(None, NOW);
    assert_eq!(
        (verdict.control, verdict.tunnel, verdict.broken),
        (HopState::Unknown, HopState::Unknown, None)
    );
}

#[test]
fn a_node_without_services_lives_by_its_keepalives() {
    let idle = Observed {
        services: BTreeMap::new(),
        heard_ms: Some(NOW - 26_000),
        ..healthy()
    };
    assert!(matches!(idle.diagnose(None, NOW).tunnel, HopState::Up(_)));
    let gone = Observed {
        heard_ms: Some(NOW - KEEPALIVE_PATIENCE_MS - 1),
        ..idle
    };
    assert_eq!(broken(&gone), Some(Hop::Tunnel));
}

#[test]
fn a_state_keeps_its_time_until_it_changes() {
    let first = silent().diagnose(None, NOW);
    let later = Observed {
        services: BTreeMap::from([(
            WEB,
            ServiceObserved {
                probed_ms: NOW + 1_000,
                ..probed(PathProbe::TunnelSilent)
            },
        )]),
        ..silent()
    };
    assert_eq!(later.diagnose(Some(&first), NOW + 1_500), first);
}

proptest! {
    #[test]
    fn nothing_is_up_on_the_word_of_the_control_channel_alone(
        observed in any_observed(), now_ms in 0..200_000_u64,
    ) {
        let verdict = observed.diagnose(None, now_ms);
        let answers = |probe| matches!(probe, PathProbe::Answered | PathProbe::OriginFailed);
        let came_back = observed.services.values().any(|seen| answers(seen.probe)) || observed.heard_ms.is_some();
        if !came_back {
            prop_assert!(!matches!(verdict.tunnel, HopState::Up(_)));
        }
        for (id, state) in &verdict.services {
            if matches!(state, HopState::Up(_)) {
                prop_assert_eq!(observed.services[id].probe, PathProbe::Answered);
            }
        }
    }

    #[test]
    fn the_same_observation_gives_the_same_verdict(observed in any_observed(), now_ms in 0..200_000_u64) {
        let verdict = observed.diagnose(None, now_ms);
        prop_assert_eq!(observed.diagnose(Some(&verdict), now_ms), verdict);
    }
}

fn any_observed() -> impl Strategy<Value = Observed> {
    let at = || prop::option::of(0..200_000_u64);
    let farewell = prop::option::of(prop_oneof![
        Just(FarewellReason::Stopped),
        Just(FarewellReason::Shutdown),
        Just(FarewellReason::Restart)
    ]);
    let probe = prop_oneof![
        Just(PathProbe::Answered),
        Just(PathProbe::OriginFailed),
        Just(PathProbe::TunnelSilent),
        Just(PathProbe::Unknown)
    ];
    let report = prop_oneof![
        Just(ServiceState::Up),
        Just(ServiceState::Refused),
        Just(ServiceState::Unknown)
    ];
    let service =
        (probe, 0..200_000_u64, report).prop_map(|(probe, probed_ms, report)| ServiceObserved {
            probe,
            probed_ms,
            report,
        });
    let services = prop::collection::btree_map((1..4_u64).prop_map(ServiceId), service, 0..3);
    (
        at(),
        prop::option::of((0..200_000_u64, farewell)),
        at(),
        at(),
        services,
    )
        .prop_map(
            |(session_ms, ended, heard_ms, port_unreachable_ms, services)| Observed {
                tunnel_probe: None,
                session_ms,
                ended,
                heard_ms,
                port_unreachable_ms,
                services,
            },
        )
}

/// Its requests go beside the tunnel, and come through.
fn beside(tunnel_carries: bool) -> Observed {
    Observed {
        tunnel_probe: Some((tunnel_carries, NOW - 1_000)),
        ..healthy()
    }
}

#[test]
fn a_dead_tunnel_is_named_although_requests_go_beside_it() {
    for observed in [beside(false), closed(None, beside(false))] {
        let verdict = observed.diagnose(None, NOW);
        assert_eq!(verdict.broken.map(|broken| broken.hop), Some(Hop::Tunnel));
        assert!(matches!(verdict.tunnel, HopState::Down(_)));
        assert!(matches!(verdict.services[&WEB], HopState::Up(_)));
    }
}

#[test]
fn a_tunnel_that_is_not_used_but_carries_is_well() {
    assert_eq!(broken(&beside(true)), None);
}

#[test]
fn the_tunnels_own_probe_is_forgotten_once_requests_use_it_again() {
    let observed = Observed {
        tunnel_probe: Some((false, NOW - TUNNEL_PROBE_FRESH_MS - 1)),
        ..healthy()
    };
    assert_eq!(broken(&observed), None);
}
