//! The fuzz corpora: every input that was ever interesting is judged without a panic, and the examples of the protocol in
//! them keep their bytes, which other versions on the wire depend on.

#![allow(
    clippy::unwrap_used,
    reason = "this is test code, but not all inside test functions"
)]

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use malha_proto::{
    Allow, EnrolReply, EnrolRequest, EnrolToken, Exposure, FarewellReason, Fingerprint, Hello,
    Lease, MAX_FRAME_TO_NODE_BYTES, MachineFacts, MachineId, Me, Netmap, NetmapDelta, NodeId,
    NodeReport, OverlayAddresses, Pair, PairKey, Pairs, Peer, PeerObservation, Port, PortState,
    ProbeOrder, ProbeOutcome, ProbeResult, ProbeTarget, ProbeWay, Profile, Protocol, RefusalCode,
    RelayGrant, Revision, Secret32, Service, ServiceId, ServiceKind, ServiceReport, ServiceState,
    ToController, ToNode, TokenId, Welcome, WgKey, encode_frame,
};

#[test]
fn every_frame_of_the_corpus_is_judged() {
    replay("frame", malha_proto::fuzz::control_frame);
}

#[test]
fn every_token_of_the_corpus_is_judged() {
    replay("token", malha_proto::fuzz::token);
}

#[test]
fn the_examples_of_every_message_keep_their_bytes() {
    for message in messages_to_controller() {
        let name = format!("to-controller-{}", kind(&message));
        assert_kept(
            "frame",
            &name,
            &encode_frame(&message, MAX_FRAME_TO_NODE_BYTES).unwrap(),
        );
    }
    for message in messages_to_node() {
        let name = format!("to-node-{}", kind(&message));
        assert_kept(
            "frame",
            &name,
            &encode_frame(&message, MAX_FRAME_TO_NODE_BYTES).unwrap(),
        );
    }
}

#[test]
fn the_examples_of_tokens_keep_their_text() {
    for (name, token) in tokens() {
        assert_kept("token", name, token.expose().as_bytes());
    }
}

#[test]
fn every_kind_of_message_has_an_example() {
    let kinds: BTreeSet<_> = messages_to_controller().iter().map(order_up).collect();
    assert_eq!(kinds, (0..KINDS_TO_CONTROLLER).collect());
    let kinds: BTreeSet<_> = messages_to_node().iter().map(order_down).collect();
    assert_eq!(kinds, (0..KINDS_TO_NODE).collect());
}

fn replay(folder: &str, entry: fn(&[u8])) {
    let files = std::fs::read_dir(corpus(folder)).unwrap();
    let count = files
        .map(|file| entry(&std::fs::read(file.unwrap().path()).unwrap()))
        .count();
    assert!(count >= 10, "{folder} holds only {count} inputs");
}

/// Compares with the file; with `MALHA_WRITE_CORPUS` set, writes it instead.
fn assert_kept(folder: &str, name: &str, bytes: &[u8]) {
    let path = corpus(folder).join(name);
    if std::env::var_os("MALHA_WRITE_CORPUS").is_some() {
        std::fs::write(&path, bytes).unwrap();
    }
    let kept = std::fs::read(&path).unwrap_or_else(|error| {
        panic!(
            "{}: {error}; a new example is written with MALHA_WRITE_CORPUS=1",
            path.display()
        )
    });
    assert!(
        kept == bytes,
        "{} is encoded differently now, so versions before this one no longer understand it:\nthen {kept:02x?}\nnow  {bytes:02x?}",
        path.display()
    );
}

fn corpus(folder: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("corpus")
        .join(folder)
}

/// The name of an enum's variant, in small letters.
fn kind(message: &impl std::fmt::Debug) -> String {
    let text = format!("{message:?}");
    let end = text.find(|c: char| !c.is_alphanumeric());
    text[..end.unwrap_or(text.len())].to_lowercase()
}

/// The compiler asks for a line here when the protocol gets a message.
fn order_up(message: &ToController) -> usize {
    match message {
        ToController::Enrol(_) => 0,
        ToController::Hello(_) => 1,
        ToController::LeaseSaved => 2,
        ToController::Applied { .. } => 3,
        ToController::Report(_) => 4,
        ToController::NeedSnapshot => 5,
        ToController::Renew { .. } => 6,
        ToController::Farewell { .. } => 7,
        ToController::ProbeResult(_) => 8,
        ToController::Reflect => 9,
    }
}

fn order_down(message: &ToNode) -> usize {
    match message {
        ToNode::Enrolled(_) => 0,
        ToNode::Welcome(_) => 1,
        ToNode::Snapshot(_) => 2,
        ToNode::Delta(_) => 3,
        ToNode::Heartbeat => 4,
        ToNode::Renewed { .. } => 5,
        ToNode::Refused { .. } => 6,
        ToNode::Farewell { .. } => 7,
        ToNode::Pairs(_) => 8,
        ToNode::Probe(_) => 9,
        ToNode::Reflection { .. } => 10,
    }
}

fn messages_to_controller() -> Vec<ToController> {
    let report = NodeReport {
        applied: Revision(41),
        services: vec![ServiceReport {
            service: ServiceId(5),
            state: ServiceState::Refused,
        }],
        peers: vec![PeerObservation {
            peer: NodeId(1),
            endpoint: Some("[2001:db8::1]:51820".parse().unwrap()),
            handshake_age_ms: Some(1_200),
            rx_bytes: 70_000,
            tx_bytes: 5_000_000_000,
            path: None,
        }],
        listen: None,
        backends: vec![],
        policy_given_up: None,
        balancers: vec![],
        too_many_peers: None,
    };
    vec![
        ToController::Enrol(Box::new(EnrolRequest {
            token: TokenId(7),
            secret: Secret32([42; 32]),
            wg_key: WgKey([9; 32]),
            csr: vec![0x30; 200],
            name: Some("servidor-01".parse().unwrap()),
            facts: facts(),
        })),
        ToController::Hello(Box::new(Hello {
            version: 1,
            instance: 0x0123_4567_89ab_cdef,
            lease: Lease([3; 16]),
            applied: Some(Revision(40)),
            digest: Some([8; 32]),
            facts: facts(),
        })),
        ToController::LeaseSaved,
        ToController::Applied {
            revision: Revision(1_000_000),
        },
        ToController::Report(report),
        ToController::NeedSnapshot,
        ToController::Renew {
            csr: vec![0x30; 200],
            wg_key: Some(WgKey([10; 32])),
        },
        ToController::Farewell {
            reason: FarewellReason::Stopped,
        },
        ToController::ProbeResult(Box::new(ProbeResult {
            number: 7,
            outcome: ProbeOutcome::Seen(vec![PortState::Open, PortState::Silent]),
            names: vec![],
        })),
        ToController::Reflect,
    ]
}

fn messages_to_node() -> Vec<ToNode> {
    vec![
        ToNode::Enrolled(Box::new(EnrolReply {
            node: NodeId(12),
            certificate: vec![0x30; 400],
            authority: vec![0x31; 400],
            lease: Lease([3; 16]),
            netmap: netmap(),
            controllers: controllers(),
        })),
        ToNode::Welcome(Box::new(Welcome {
            lease: Lease([4; 16]),
            revision: Revision(41),
            seen_as: Some("198.51.100.20:40000".parse().unwrap()),
            controllers: controllers(),
            rekey: Some(true),
        })),
        ToNode::Snapshot(Box::new(netmap())),
        ToNode::Delta(Box::new(NetmapDelta {
            from: Revision(41),
            to: Revision(43),
            me: None,
            peers: vec![peer()],
            peers_gone: vec![NodeId(4)],
            services: vec![],
            services_gone: vec![ServiceId(5)],
            balancers: vec![],
            balancers_gone: vec![],
            closed: None,
            zone: None,
        })),
        ToNode::Heartbeat,
        ToNode::Renewed {
            certificate: vec![0x30; 400],
        },
        ToNode::Refused {
            code: RefusalCode::TokenUsed,
            text: "the token was used up".into(),
        },
        ToNode::Farewell {
            reason: FarewellReason::Restart,
        },
        ToNode::Pairs(Box::new(Pairs {
            all: true,
            me: WgKey([9; 32]),
            pairs: vec![Pair {
                peer: NodeId(1),
                key: WgKey([11; 32]),
                candidates: vec!["192.0.2.1:51820".parse().unwrap()],
                relay: Some(RelayGrant {
                    channel: 70_000,
                    key: Secret32([5; 32]),
                    via: NodeId(1),
                }),
                psk: Some(PairKey {
                    secret: Secret32([6; 32]),
                    epoch: 20_000,
                    since_ms: 1_800_000_000_000,
                }),
            }],
        })),
        ToNode::Probe(Box::new(ProbeOrder {
            number: 7,
            timeout_ms: 3_000,
            targets: vec![
                ProbeTarget {
                    address: "100.64.0.3:5500".parse().unwrap(),
                    way: ProbeWay::Overlay,
                    stays: false,
                },
                ProbeTarget {
                    address: "[2001:db8::9]:5577".parse().unwrap(),
                    way: ProbeWay::Underlay,
                    stays: false,
                },
            ],
            names: vec![],
        })),
        ToNode::Reflection {
            seen_as: "198.51.100.20:40000".parse().unwrap(),
            unix_ms: 1_800_000_000_000,
        },
    ]
}

fn tokens() -> [(&'static str, EnrolToken); 3] {
    let token = |controllers: &[&str]| EnrolToken {
        id: TokenId(7),
        secret: Secret32([42; 32]),
        authority: Fingerprint([1; 32]),
        controllers: controllers.iter().map(|&to| to.to_owned()).collect(),
    };
    let eight = ["[2001:db8::1]:443"; malha_proto::MAX_TOKEN_ADDRESSES];
    [
        ("one-name", token(&["hub.example:443"])),
        (
            "name-and-ipv4",
            token(&["hub.example:443", "192.0.2.1:8443"]),
        ),
        ("eight-ipv6", token(&eight)),
    ]
}

fn facts() -> MachineFacts {
    MachineFacts {
        host_name: "estação-garagem".into(),
        machine: MachineId([6; 16]),
        agent_version: "0.1.0".into(),
        os: "linux".into(),
        engine: Some("netstack".into()),
    }
}

fn controllers() -> Vec<String> {
    vec!["hub.example:443".into(), "[2001:db8::1]:443".into()]
}

fn addresses(last: u8) -> OverlayAddresses {
    OverlayAddresses {
        v4: [100, 64, 0, last].into(),
        v6: [0xfd00, 1, 2, 0, 0, 0, 0, u16::from(last)].into(),
    }
}

fn peer() -> Peer {
    Peer {
        id: NodeId(1),
        name: "hub.hub.malha".parse().unwrap(),
        key: WgKey([11; 32]),
        addresses: addresses(1),
        endpoints: vec!["192.0.2.1:51820".parse().unwrap()],
        keepalive_s: Some(25),
        allow: vec![Allow {
            protocol: Protocol::Tcp,
            from_port: 80,
            to_port: 80,
        }],
        hub: true,
        former: None,
        names: vec![],
    }
}

fn netmap() -> Netmap {
    let service = Service {
        id: ServiceId(5),
        name: "web".parse().unwrap(),
        port: Port::new(80).unwrap(),
        target: "127.0.0.1:8080".parse().unwrap(),
        kind: ServiceKind::Http,
        exposure: Exposure::Public,
    };
    Netmap {
        revision: Revision(41),
        me: Me {
            id: NodeId(12),
            name: "servidor-01.garagem-01.vendor".parse().unwrap(),
            addresses: addresses(2),
            prefix_v4: 10,
            prefix_v6: 48,
            profile: Profile::Garage,
            quarantined: false,
            names: vec![],
        },
        peers: [(NodeId(1), peer())].into(),
        services: [(ServiceId(5), service)].into(),
        balancers: [].into(),
        closed: None,
        zone: None,
    }
}

const KINDS_TO_CONTROLLER: usize = 10;
const KINDS_TO_NODE: usize = 11;
