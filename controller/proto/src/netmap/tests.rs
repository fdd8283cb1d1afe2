//! The algebra of netmaps, and what they cost on the wire.

use super::*;
use crate::{MAX_FRAME_TO_NODE_BYTES, ToNode, encode_frame};
use proptest::prelude::*;

fn addresses(n: u64) -> OverlayAddresses {
    OverlayAddresses {
        v4: [100, 64, 0, n as u8].into(),
        v6: [0xfd00, 0, 0, 0, 0, 0, 0, n as u16].into(),
    }
}

fn peer(id: u64, variant: u8) -> Peer {
    Peer {
        id: NodeId(id),
        name: "servidor-seguro-01.producao.secretaria-de-fazenda"
            .parse()
            .unwrap(),
        key: WgKey([variant; 32]),
        addresses: addresses(id),
        endpoints: vec![
            "198.51.100.7:51820".parse().unwrap(),
            "[2001:db8::7]:51820".parse().unwrap(),
        ],
        keepalive_s: Some(25),
        allow: vec![Allow {
            protocol: Protocol::Tcp,
            from_port: 5500,
            to_port: 5500,
        }],
        hub: false,
        former: (variant > 1).then(|| FormerAllow {
            version: 7,
            within_ms: 60_000,
            allow: Vec::new(),
        }),
        names: (variant > 0)
            .then(|| "xvia.fazenda.mt.gov.br".parse().unwrap())
            .into_iter()
            .collect(),
    }
}

fn service(id: u64, variant: u8) -> Service {
    Service {
        id: ServiceId(id),
        name: "web".parse().unwrap(),
        port: Port::new(80).unwrap(),
        target: ([127, 0, 0, 1], 8000 + u16::from(variant)).into(),
        kind: ServiceKind::Http,
        exposure: Exposure::Public,
    }
}

fn balancer(id: u64, variant: u8) -> Balancer {
    Balancer {
        id: BalancerId(id),
        name: "xroad".parse().unwrap(),
        port: Port::new(5500).unwrap(),
        exposure: Exposure::Tunnel,
        algorithm: crate::Algorithm::LeastConnections,
        backends: vec![crate::Backend {
            service: ServiceId(id),
            address: ([100, 64, 0, 2], 5500).into(),
            mode: crate::BackendMode::Serve,
        }],
        health: None,
        proxy_protocol: Some(crate::ProxyProtocol::V2),
        check_interval_ms: 2_000,
        connect_ms: 1_000,
        idle_s: u32::from(variant),
        slow_start_s: 30,
        connections: 10,
        connections_per_source: 10,
        allowed_sources: vec!["198.51.100.0/24".parse().unwrap()],
    }
}

fn closed(port: u64) -> ClosedPort {
    ClosedPort {
        protocol: Protocol::Tcp,
        port: Port::new(port as u16).unwrap(),
    }
}

fn netmap(revision: u64, peers: &[(u64, u8)], services: &[(u64, u8)], quarantined: bool) -> Netmap {
    Netmap {
        revision: Revision(revision),
        me: Me {
            id: NodeId(1),
            name: "servidor.garagem-01.org".parse().unwrap(),
            addresses: addresses(1),
            prefix_v4: 10,
            prefix_v6: 48,
            profile: Profile::Garage,
            quarantined,
            names: Vec::new(),
        },
        peers: peers
            .iter()
            .map(|(id, variant)| (NodeId(*id), peer(*id, *variant)))
            .collect(),
        services: services
            .iter()
            .map(|(id, variant)| (ServiceId(*id), service(*id, *variant)))
            .collect(),
        balancers: services
            .iter()
            .map(|(id, variant)| (BalancerId(*id), balancer(*id, *variant)))
            .collect(),
        closed: Some(services.iter().map(|(id, _)| closed(*id)).collect()),
        zone: Some(match quarantined {
            true => "malha.internal".parse().unwrap(),
            false => "rede.example".parse().unwrap(),
        }),
    }
}

#[test]
fn a_delta_for_one_changed_peer_fits_256_bytes() {
    let old = netmap(1_000_000, &[(100_000, 1), (100_001, 1)], &[], false);
    let new = netmap(1_000_001, &[(100_000, 2), (100_001, 1)], &[], false);
    let frame = encode_frame(
        &ToNode::Delta(Box::new(old.diff(&new))),
        MAX_FRAME_TO_NODE_BYTES,
    )
    .unwrap();
    assert!(frame.len() <= 256, "{} bytes", frame.len());
}

#[test]
fn a_delta_for_another_revision_changes_nothing() {
    let old = netmap(1, &[(2, 1)], &[], false);
    let delta = netmap(5, &[], &[], false).diff(&netmap(6, &[], &[], true));
    let mut map = old.clone();
    assert_eq!(
        map.patch(delta),
        Err(PatchError::Revision(Revision(5), Revision(1)))
    );
    assert_eq!(map, old);
}

proptest! {
    #[test]
    fn patching_with_the_difference_gives_the_newer_map(
        old in any_netmap(1), new in any_netmap(2),
    ) {
        let delta = old.diff(&new);
        let mut patched = old.clone();
        patched.patch(delta).unwrap();
        prop_assert_eq!(&patched, &new);
        prop_assert_eq!(patched.digest() == old.digest(), old.diff(&new).is_empty());
    }

    #[test]
    fn a_netmap_survives_the_wire(map in any_netmap(3)) {
        let message = ToNode::Snapshot(Box::new(map));
        let frame = encode_frame(&message, MAX_FRAME_TO_NODE_BYTES).unwrap();
        crate::fuzz::control_frame(&frame);
    }
}

fn any_netmap(revision: u64) -> impl Strategy<Value = Netmap> {
    let entries = || prop::collection::btree_map(2_u64..12, 0_u8..3, 0..8);
    (entries(), entries(), any::<bool>()).prop_map(move |(peers, services, quarantined)| {
        let peers: Vec<_> = peers.into_iter().collect();
        let services: Vec<_> = services.into_iter().collect();
        netmap(revision, &peers, &services, quarantined)
    })
}
