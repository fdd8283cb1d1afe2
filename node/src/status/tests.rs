//! Stories of the status: who may ask, what is said, and when it is good.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use malha_proto::{NodeId, Revision, ServiceId};
use tempfile::TempDir;

use super::*;
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
            listen: vec![],
        },
        netmap: NetmapStatus {
            in_force: Some(Revision(10)),
            newest: Some(Revision(10)),
            last_known_good: false,
            apply_error: None,
        },
        quarantined: false,
        services: vec![ServiceStatus {
            id: ServiceId(3),
            name: "web".into(),
            port: 80,
            target: ([127, 0, 0, 1], 8080).into(),
            state: ServiceState::Up,
            for_ms: 1_000,
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
        guard: crate::guard::GuardStatus::Off,
        save_error: None,
    }
}

#[test]
fn each_fault_alone_makes_the_state_degraded() {
    assert!(healthy().is_healthy());
    let faults: [fn(&mut StatusDocument); 7] = [
        |s| s.control.state = ControlState::Offline,
        |s| s.quarantined = true,
        |s| s.netmap.apply_error = Some("port in use".into()),
        |s| s.save_error = Some("disk full".into()),
        |s| s.services[0].state = ServiceState::Refused,
        |s| s.peers[0].handshake_age_ms = None,
        |s| s.peers[0].handshake_age_ms = Some(200_000),
    ];
    for fault in faults {
        let mut status = healthy();
        fault(&mut status);
        assert!(!status.is_healthy(), "{status:?}");
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
    assert!(StatusSocket::bind(&path).is_ok());
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
