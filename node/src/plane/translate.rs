//! From the wire's types to the tunnel's. Nothing is added and nothing left out: what is not allowed stays denied.

use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use malha_proto::{Allow, Me, Pair, PathKind, Peer, Protocol, WgKey};
use malha_tunnel::{ChannelId, PeerConfig, PresharedKey, PublicKey, RelayGrant, RelayKey};

/// The node's own addresses with the overlay's prefix lengths.
pub(super) fn interface(me: &Me) -> Result<Vec<IpNet>, String> {
    let wrong = |_| "the netmap's prefix lengths are out of range".to_owned();
    Ok(vec![
        Ipv4Net::new(me.addresses.v4, me.prefix_v4)
            .map_err(wrong)?
            .into(),
        Ipv6Net::new(me.addresses.v6, me.prefix_v6)
            .map_err(wrong)?
            .into(),
    ])
}

pub(super) fn same_interface(one: &Me, other: &Me) -> bool {
    let interface = |me: &Me| (me.addresses, me.prefix_v4, me.prefix_v6);
    interface(one) == interface(other)
}

/// `via` is the key of the hub whose relay the pair may use.
pub(super) fn peer(
    peer: &Peer,
    pair: Option<&Pair>,
    via: Option<WgKey>,
) -> Result<PeerConfig, String> {
    let mut config = PeerConfig::new(PublicKey::from_bytes(peer.key.0));
    config.endpoints.clone_from(&peer.endpoints);
    config.keepalive_s = peer.keepalive_s;
    config.allowed_ips = vec![
        Ipv4Net::from(peer.addresses.v4).into(),
        Ipv6Net::from(peer.addresses.v6).into(),
    ];
    if let Some(pair) = pair {
        let psk = pair.psk.as_ref();
        config.preshared_key = psk.map(|psk| PresharedKey::from_bytes(psk.secret.0));
        config.candidates.clone_from(&pair.candidates);
        config.relay = pair.relay.as_ref().zip(via).map(|(relay, via)| RelayGrant {
            channel: ChannelId(relay.channel),
            key: RelayKey::from_bytes(relay.key.0),
            via: PublicKey::from_bytes(via.0),
        });
        // A hub that speaks of pairs answers probes and takes carriers.
        config.carrier_possible = peer.hub;
    }
    config.ingress = peer.allow.iter().map(ingress).collect();
    Ok(config)
}

/// The other way round.
pub(super) fn allow(allow: &malha_tunnel::Allow) -> Allow {
    let (protocol, from_port, to_port) = match allow.protocol {
        malha_tunnel::Protocol::Tcp => (Protocol::Tcp, *allow.ports.start(), *allow.ports.end()),
        malha_tunnel::Protocol::Udp => (Protocol::Udp, *allow.ports.start(), *allow.ports.end()),
        malha_tunnel::Protocol::Icmp => (Protocol::Icmp, 0, 0),
    };
    Allow {
        protocol,
        from_port,
        to_port,
    }
}

pub(super) fn path(path: malha_tunnel::PathKind) -> PathKind {
    match path {
        malha_tunnel::PathKind::Direct => PathKind::Direct,
        malha_tunnel::PathKind::Relay => PathKind::Relay,
        malha_tunnel::PathKind::Carrier => PathKind::Carrier,
    }
}

fn ingress(allow: &Allow) -> malha_tunnel::Allow {
    let ports = allow.from_port..=allow.to_port;
    match allow.protocol {
        Protocol::Tcp => malha_tunnel::Allow::tcp(ports),
        Protocol::Udp => malha_tunnel::Allow::udp(ports),
        Protocol::Icmp => malha_tunnel::Allow::icmp(),
    }
}
