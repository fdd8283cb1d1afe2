//! Stories of the status: who may ask, what is said, and when it is good.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use malha_proto::{NodeId, Revision, ServiceId};
use tempfile::TempDir;

use super::*;
use crate::agent::{ControlView, ServiceView};
use crate::testbed::netmap;
use crate::text::Lang;

fn healthy() -> StatusDocument {
    StatusDocument {
        version: STATUS_VERSION,
        agent_version: "1".into(),
        node: NodeId(12),
        name: Some("servidor.garagem.org".into()),
        addresses: vec![[100, 64, 0, 1].into()],
        running_ms: 5,
        control: ControlStatus {
            state: ControlState::Online,
            for_ms: 61_000,
            transport: Some("QUIC".into()),
            controller: Some("hub.example:443".into()),
            seen_as: None,
            last_error: None,
        },
        tunnel: TunnelStatus {
            engine: "netstack".into(),
            why: EngineReason::NoCapability,
            shards: 1,
            listen: vec![],
            dropped: TunnelDropStatus::default(),
            interface: InterfaceStatus::default(),
        },
        streams: None,
        netmap: NetmapStatus {
            in_force: Some(Revision(10)),
            newest: Some(Revision(10)),
            last_known_good: false,
            apply_error: None,
            policy: None,
        },
        quarantined: false,
        services: vec![ServiceStatus {
            id: ServiceId(3),
            name: "web".into(),
            port: 80,
            target: ([127, 0, 0, 1], 8080).into(),
            state: ServiceState::Up,
            for_ms: 1_000,
            over_limit: 0,
        }],
        peers: vec![PeerStatus {
            id: NodeId(2),
            name: "hub.org".into(),
            hub: true,
            endpoint: Some(([198, 51, 100, 1], 51_820).into()),
            handshake_age_ms: Some(1_000),
            rx_bytes: 2_048,
            tx_bytes: 1,
            drops: 0,
            filter: FilterStatus::default(),
            path: Some(malha_proto::PathKind::Direct),
            key: Some(KeyStatus {
                epoch: 3,
                age_ms: 3_600_000,
            }),
        }],
        balancers: vec![],
        guard: GuardStatus::Off,
        guards_left: vec![],
        names: NamesStatus {
            zone: Some("malha.internal".into()),
            nodes: 2,
            listen: vec![([127, 0, 77, 53], 53).into()],
            ..NamesStatus::default()
        },
        save_error: None,
    }
}

#[test]
fn each_fault_alone_makes_the_state_degraded() {
    assert!(healthy().is_healthy());
    let faults: [fn(&mut StatusDocument); 11] = [
        |s| s.control.state = ControlState::Offline,
        |s| s.quarantined = true,
        |s| s.netmap.apply_error = Some("port in use".into()),
        |s| s.save_error = Some("disk full".into()),
        |s| s.tunnel.interface.trouble = Some("refused".into()),
        |s| s.services[0].state = ServiceState::Refused,
        |s| s.peers[0].handshake_age_ms = None,
        |s| s.peers[0].handshake_age_ms = Some(200_000),
        |s| s.guard = GuardStatus::Failed("no nft".into()),
        |s| s.guard = in_place(Some("no descriptor is left")),
        |s| s.guard = GuardStatus::StillInForce("refused".into()),
    ];
    for fault in faults {
        let mut status = healthy();
        fault(&mut status);
        assert!(!status.is_healthy(), "{status:?}");
        assert!(status.page(Lang::En).contains("something is wrong"));
        assert!(status.page(Lang::Pt).contains("há algo errado"));
    }
}

#[test]
fn what_waits_and_what_the_operator_decided_is_no_fault() {
    let harmless: [fn(&mut StatusDocument); 6] = [
        |s| s.guard = GuardStatus::Waiting,
        |s| s.guard = GuardStatus::NoInterface,
        |s| s.guard = GuardStatus::Idle("no nft".into()),
        |s| s.guard = in_place(None),
        // Another agent's, as far as anybody knows.
        |s| s.guards_left = vec!["malha_guard_before".into()],
        // A node without privilege can't bind port 53; its services work all the same.
        |s| s.names.listen.clear(),
    ];
    for case in harmless {
        let mut status = healthy();
        case(&mut status);
        assert!(status.is_healthy(), "{status:?}");
    }
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
fn the_page_speaks_both_languages() {
    let portuguese = healthy().page(Lang::Pt);
    assert!(portuguese.contains("tudo funciona"), "{portuguese}");
    assert!(portuguese.contains("ligado há 1 min 1 s, hub.example:443 por QUIC"));
    assert!(portuguese.contains("web (porta 80 → 127.0.0.1:8080): responde há 1 s"));
    let english = healthy().page(Lang::En);
    assert!(
        english.contains("hub.org: last handshake 1 s ago, 198.51.100.1:51820, received 2.0 KiB")
    );
    assert!(english.contains("netstack (no CAP_NET_ADMIN)"));
}

#[test]
fn what_became_of_the_interface_is_said_and_ipv4_alone_is_no_fault() {
    let mut status = healthy();
    status.tunnel.interface.ipv4_only = Some("read-only".into());
    status.tunnel.interface.mended = 3;
    assert!(status.is_healthy());
    let said = status.page(Lang::En);
    assert!(said.contains("no IPv6: read-only") && said.contains("set again: 3"));
    status.tunnel.interface.trouble = Some("refused".into());
    let said = status.page(Lang::Pt);
    assert!(
        said.contains("ainda não pôde ser reposta: refused"),
        "{said}"
    );
}

#[test]
fn the_document_has_what_the_plane_counted() {
    let view = AgentView {
        control: ControlView {
            state: ControlState::Online,
            since: 0,
            transport: None,
            controller: None,
            seen_as: None,
            last_error: None,
        },
        in_force: Some(Revision(10)),
        newest: Some(Revision(10)),
        services: vec![ServiceView {
            id: ServiceId(3),
            state: ServiceState::Up,
            since: 0,
        }],
        quarantined: false,
        policy: None,
        unconfirmed: false,
        apply_error: None,
        save_error: None,
    };
    let mut plane = PlaneView {
        over_limit: [(ServiceId(3), 7), (ServiceId(4), 1)].into(),
        ..PlaneView::default()
    };
    plane.stats.device.flooded = 5;
    let about = Surroundings {
        node: NodeId(12),
        engine: malha_tunnel::Engine::Netstack,
        engine_reason: &EngineReason::Chosen,
        shards: 1,
        plane: &plane,
        streams: None,
        names: NamesStatus::default(),
        started: 0,
        now: 1,
        wall_ms: 1,
    };
    let document = StatusDocument::new(&view, Some(&netmap(10)), &about);
    assert_eq!(document.services[0].over_limit, 7);
    assert_eq!(document.tunnel.dropped.flooded, 5);
}

#[test]
fn what_a_service_refused_over_its_limit_is_said_in_both_languages() {
    let mut status = healthy();
    assert!(!status.page(Lang::En).contains("limit"));
    status.services[0].over_limit = 7;
    assert!(status.is_healthy());
    let english = status.page(Lang::En);
    let expected = "for 1 s\n    refused over the limit of 1000 connections: 7\n";
    assert!(english.contains(expected), "{english}");
    let portuguese = status.page(Lang::Pt);
    let expected = "\n    recusadas acima do limite de 1000 conexões: 7\n";
    assert!(portuguese.contains(expected), "{portuguese}");
}

#[test]
fn a_guard_that_is_left_is_named() {
    let mut status = healthy();
    status.guards_left = vec!["malha_guard_before".into()];
    let said = status.page(Lang::En);
    assert!(said.contains("malha_guard_before"), "{said}");
}

#[test]
fn a_policy_that_waits_and_a_return_are_said_in_both_languages() {
    let mut status = healthy();
    let mut said = |policy, lang| {
        status.netmap.policy = Some(policy);
        let json = serde_json::to_string(&status).unwrap();
        let read: StatusDocument = serde_json::from_str(&json).unwrap();
        assert_eq!(read, status);
        read.page(lang)
    };
    let waiting = PolicyStatus::Waiting {
        version: 7,
        left_ms: 61_000,
    };
    let english = said(waiting, Lang::En);
    assert!(english.contains("policy version 7 waits for its confirmation"));
    assert!(english.contains("comes back in 1 min 1 s"), "{english}");
    let returned = |holds| PolicyStatus::Returned {
        version: 7,
        for_ms: 61_000,
        holds,
    };
    let portuguese = said(returned(true), Lang::Pt);
    assert!(
        portuguese.contains("o filtro anterior voltou há 1 min 1 s"),
        "{portuguese}"
    );
    assert!(said(returned(false), Lang::En).contains("what the controller says holds again"));
}

#[test]
fn the_page_says_whether_connections_come_by_quic_or_through_the_tunnel() {
    let mut status = healthy();
    assert!(
        !status.page(Lang::En).contains("Streams"),
        "another engine has one way"
    );
    status.streams = Some(StreamsStatus {
        quic_for_ms: None,
        by_quic: 0,
        last_ms: None,
    });
    let page = status.page(Lang::Pt);
    assert!(
        page.contains("Conexões     pelo túnel; nenhuma veio por QUIC"),
        "{page}"
    );
    status.streams = Some(StreamsStatus {
        quic_for_ms: Some(61_000),
        by_quic: 12,
        last_ms: Some(5_000),
    });
    let page = status.page(Lang::En);
    assert!(page.contains("QUIC ready for 1 min 1 s"), "{page}");
    assert!(page.contains("12 came by QUIC, the last one 5 s ago"));
}

/// Parts of the document to which versions add.
#[test]
fn an_older_agent_that_says_less_is_understood() {
    let said = r#"{"stranger": 5}"#;
    let dropped: TunnelDropStatus = serde_json::from_str(said).unwrap();
    assert_eq!((dropped.stranger, dropped.forgotten), (5, 0));
    let said = r#"{"answers": 7, "dropped": {"no_rule": 2}}"#;
    let filter: FilterStatus = serde_json::from_str(said).unwrap();
    assert_eq!((filter.answers, filter.dropped.total()), (7, 2));
    let interface: InterfaceStatus = serde_json::from_str("{}").unwrap();
    assert_eq!(interface, InterfaceStatus::default());
    let names: NamesStatus = serde_json::from_str(r#"{"nodes": 2}"#).unwrap();
    assert_eq!((names.nodes, names.declared), (2, vec![]));
    let mut said = serde_json::to_value(healthy()).unwrap();
    let service = said["services"][0].as_object_mut().unwrap();
    assert_eq!(service.remove("over_limit"), Some(0.into()));
    let document: StatusDocument = serde_json::from_value(said).unwrap();
    assert_eq!(document, healthy());
}

#[tokio::test]
async fn the_socket_is_the_owners_and_gives_the_document() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("status.sock");
    let socket = StatusSocket::bind(&path).unwrap();
    let mode = fs::metadata(&path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode, 0o600);
    let json = serde_json::to_string(&healthy()).unwrap();
    let (asked, ()) = tokio::join!(ask(&path), async {
        let caller = socket.accept().await.unwrap();
        StatusSocket::answer(caller, json).await;
    });
    assert_eq!(asked.unwrap(), healthy());
    drop(socket);
    assert!(matches!(ask(&path).await, Err(StatusError::NotRunning(_))));
}

#[tokio::test]
async fn a_socket_left_by_a_crash_is_taken_over() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("status.sock");
    let left = std::os::unix::net::UnixListener::bind(&path).unwrap();
    drop(left);
    assert!(matches!(ask(&path).await, Err(StatusError::NotRunning(_))));
    let socket = StatusSocket::bind(&path).unwrap();
    let (asked, _) = tokio::join!(ask(&path), async { drop(socket.accept().await) });
    assert!(matches!(asked, Err(StatusError::Answer(_))));
}

#[tokio::test]
async fn a_path_that_no_socket_can_have_is_said_to_be_one() {
    let path = std::path::Path::new("/").join("x".repeat(200));
    assert!(matches!(ask(&path).await, Err(StatusError::LongPath(_))));
    assert!(matches!(
        StatusSocket::bind(&path),
        Err(StatusError::LongPath(_))
    ));
}
