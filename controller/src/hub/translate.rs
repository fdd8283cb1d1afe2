//! The state's words in those of the tunnel, and back.

use std::net::IpAddr;

use ipnet::IpNet;
use malha_core::State;
use malha_proto::{NodeId, Pair, PathKind, Peer, Protocol};
use malha_tunnel::{Allow, PeerConfig, PresharedKey, PublicKey};

/// A netmap's peer as the tunnel takes it.
pub(super) fn peer_config(peer: &Peer, pair: Option<&Pair>) -> PeerConfig {
    let own = [IpAddr::V4(peer.addresses.v4), IpAddr::V6(peer.addresses.v6)];
    PeerConfig {
        endpoints: peer.endpoints.clone(),
        allowed_ips: own.into_iter().map(IpNet::from).collect(),
        keepalive_s: peer.keepalive_s,
        preshared_key: pair
            .and_then(|pair| pair.psk.as_ref())
            .map(|psk| PresharedKey::from_bytes(psk.secret.0)),
        ingress: peer.allow.iter().map(ingress).collect(),
        ..PeerConfig::new(PublicKey::from_bytes(peer.key.0))
    }
}

pub(super) fn path(path: malha_tunnel::PathKind) -> PathKind {
    match path {
        malha_tunnel::PathKind::Direct => PathKind::Direct,
        malha_tunnel::PathKind::Relay => PathKind::Relay,
        malha_tunnel::PathKind::Carrier => PathKind::Carrier,
    }
}

fn ingress(allow: &malha_proto::Allow) -> Allow {
    match allow.protocol {
        Protocol::Tcp => Allow::tcp(allow.from_port..=allow.to_port),
        Protocol::Udp => Allow::udp(allow.from_port..=allow.to_port),
        Protocol::Icmp => Allow::icmp(),
    }
}

/// A node's own addresses, in the networks of the overlay.
pub(super) fn overlay_addresses(state: &State, node: NodeId) -> Vec<IpNet> {
    let pools = state.settings().pools;
    let addresses = state.node(node).map(|node| node.addresses);
    let nets = addresses.map(|addresses| {
        [
            IpNet::new(addresses.v4.into(), pools.v4.prefix_len()),
            IpNet::new(addresses.v6.into(), pools.v6.prefix_len()),
        ]
    });
    nets.into_iter().flatten().filter_map(Result::ok).collect()
}
