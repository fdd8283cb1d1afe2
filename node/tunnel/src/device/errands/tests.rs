//! Peers in different shards of one node: whoever gets a datagram or a packet, it ends where its peer is.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use super::*;
use crate::config::{Allow, PeerConfig, TunnelConfig};
use crate::device::cluster::{Cluster, with_shards};
use crate::key::PrivateKey;
use crate::packet::build;
use crate::status::TunnelEvent;

/// Node `n` is at 192.0.2.n and has 10.0.0.n. The hub is number 9 and has several shards, the others dial it and have one.
struct World {
    hub: Cluster,
    nodes: BTreeMap<u8, Cluster>,
    now: Instant,
}

const HUB: u8 = 9;
const NODES: std::ops::Range<u8> = 1..8;

fn key(n: u8) -> PrivateKey {
    PrivateKey::from_bytes([n; 32])
}

fn at(n: u8) -> SocketAddr {
    ([192, 0, 2, n], 51820).into()
}

fn config(n: u8) -> TunnelConfig {
    TunnelConfig::new(key(n), vec![format!("10.0.0.{n}/24").parse().unwrap()])
}

fn peer(n: u8) -> PeerConfig {
    let mut peer = PeerConfig::new(key(n).public_key());
    peer.allowed_ips = vec![format!("10.0.0.{n}/32").parse().unwrap()];
    peer.ingress = vec![Allow::udp(7..=7)];
    peer
}

fn packet(from: u8, to: u8) -> Vec<u8> {
    build::udp(
        &format!("10.0.0.{from}:7"),
        &format!("10.0.0.{to}:7"),
        b"there",
    )
}

impl World {
    fn new(shards: usize) -> Self {
        let now = Instant::now();
        let mut world = None;
        with_shards(shards, || {
            world = Some(Self {
                hub: Cluster::new(&config(HUB), now),
                nodes: BTreeMap::new(),
                now,
            });
        });
        let mut world = world.unwrap();
        for n in NODES {
            let mut node = Cluster::new(&config(n), now);
            let hub = PeerConfig {
                endpoints: vec![at(HUB)],
                ..peer(HUB)
            };
            node.set_peer(hub, now).unwrap();
            world.nodes.insert(n, node);
            world.hub.set_peer(peer(n), now).unwrap();
        }
        world.settle();
        world
    }

    fn settle(&mut self) {
        let (now, mut quiet) = (self.now, false);
        while !quiet {
            quiet = true;
            while let Some(transmit) = self.hub.poll_transmit(now) {
                quiet = false;
                let to = transmit.path.remote().unwrap().to_string();
                let node = self
                    .nodes
                    .iter_mut()
                    .find(|(n, _)| at(**n).to_string() == to);
                let stride = transmit.segment_bytes;
                let (_, node) = node.unwrap();
                node.handle_datagrams(Path::udp(at(HUB)), &transmit.payload, stride, now);
            }
            for (n, node) in &mut self.nodes {
                while let Some(transmit) = node.poll_transmit(now) {
                    quiet = false;
                    let stride = transmit.segment_bytes;
                    self.hub
                        .handle_datagrams(Path::udp(at(*n)), &transmit.payload, stride, now);
                }
            }
        }
    }

    fn comes_to_hub(&mut self, from: u8, packet: &[u8]) -> bool {
        let now = self.now;
        self.nodes
            .get_mut(&from)
            .unwrap()
            .handle_packet(packet, now);
        self.settle();
        std::iter::from_fn(|| self.hub.poll_packet()).any(|it| *it.packet == *packet)
    }

    fn comes_from_hub(&mut self, to: u8, packet: &[u8]) -> bool {
        let now = self.now;
        self.hub.handle_packet(packet, now);
        self.settle();
        let node = self.nodes.get_mut(&to).unwrap();
        std::iter::from_fn(|| node.poll_packet()).any(|it| *it.packet == *packet)
    }

    /// Two nodes whose peers are in different shards of the hub.
    fn apart(&self) -> (u8, u8) {
        let home = |n: u8| self.hub.place().of_peer(&key(n).public_key());
        let other = NODES.into_iter().find(|n| home(*n) != home(1)).unwrap();
        (1, other)
    }

    fn drops(&mut self, n: u8) -> u64 {
        let now = self.now;
        let key = key(n).public_key();
        let all = self.hub.home(&key).peers(now);
        let status = all.into_iter().find(|it| it.public_key == key).unwrap();
        status.drops.spoofed
    }
}

#[test]
fn every_node_speaks_with_a_hub_of_any_number_of_shards() {
    for shards in [1, 2, 3, 8, 16] {
        let mut world = World::new(shards);
        for n in NODES {
            assert!(world.comes_to_hub(n, &packet(n, HUB)), "{n} of {shards}");
            assert!(world.comes_from_hub(n, &packet(HUB, n)), "{n} of {shards}");
        }
        assert_eq!(world.hub.peers(world.now).len(), NODES.len());
        assert_eq!(world.hub.counters().unknown_session, 0);
    }
}

#[test]
fn a_peer_cannot_speak_for_the_narrower_prefix_of_a_peer_of_another_shard() {
    let mut world = World::new(2);
    let (one, other) = world.apart();
    let wide = PeerConfig {
        allowed_ips: vec!["10.0.0.0/24".parse().unwrap()],
        ..peer(one)
    };
    let now = world.now;
    world.hub.set_peer(wide, now).unwrap();
    assert!(world.comes_to_hub(one, &packet(100, HUB)), "its own prefix");
    assert!(!world.comes_to_hub(one, &packet(other, HUB)));
    assert_eq!(world.drops(one), 1);
    assert!(world.comes_to_hub(other, &packet(other, HUB)));
    // Once the other is gone, the wider prefix is all there is.
    assert!(world.hub.shards.iter_mut().fold(false, |any, shard| {
        shard.remove_peer(&key(other).public_key()) | any
    }));
    assert!(world.comes_to_hub(one, &packet(other, HUB)));
}

#[test]
fn an_address_that_moves_to_another_shard_is_there_at_once_and_nowhere_else() {
    let mut world = World::new(3);
    let (one, other) = world.apart();
    let now = world.now;
    let heir = PeerConfig {
        allowed_ips: vec![
            format!("10.0.0.{other}/32").parse().unwrap(),
            format!("10.0.0.{one}/32").parse().unwrap(),
        ],
        ..peer(other)
    };
    world.hub.set_peer(heir, now).unwrap();
    world.hub.handle_packet(&packet(HUB, one), now);
    let sent = world.hub.poll_transmit(now).unwrap();
    assert_eq!(sent.path.remote(), Some(at(other)));
    assert!(world.comes_to_hub(other, &packet(one, HUB)));
    assert!(!world.comes_to_hub(one, &packet(one, HUB)));
    assert_eq!(world.drops(one), 1);
}

#[test]
fn a_stranger_is_told_from_a_peer_of_another_shard() {
    let mut world = World::new(2);
    let now = world.now;
    let mut stranger = Cluster::new(&config(77), now);
    let hub = PeerConfig {
        endpoints: vec![at(HUB)],
        ..peer(HUB)
    };
    stranger.set_peer(hub, now).unwrap();
    let initiation = stranger.poll_transmit(now).unwrap();
    for _ in 0..2 {
        world
            .hub
            .handle_datagram(Path::udp(at(77)), &initiation.payload, now);
    }
    assert_eq!(world.hub.poll_transmit(now), None);
    assert_eq!(world.hub.counters().unknown_peer, 2);
}

/// The error comes to any socket of the port, which need not be the one that sent.
#[test]
fn a_closed_port_is_told_whichever_shard_hears_of_it() {
    let mut world = World::new(3);
    let now = world.now;
    for shard in 0..3 {
        world.hub.shards[shard].handle_port_unreachable(at(1), now);
        world.hub.handle_timeout(now);
        let events: Vec<_> = std::iter::from_fn(|| world.hub.poll_event()).collect();
        let told = TunnelEvent::PortUnreachable {
            peer: key(1).public_key(),
            endpoint: at(1),
        };
        assert_eq!(events.iter().filter(|it| **it == told).count(), 1);
    }
}

#[test]
fn every_shard_counts_all_peers_against_the_limit_and_knows_its_own_key() {
    let mut world = World::new(2);
    let now = world.now;
    for shard in &mut world.hub.shards {
        assert_eq!(shard.peers.len() + shard.foreign.len(), NODES.len());
        let own = shard.set_peer(peer(HUB), now);
        assert!(matches!(own, Err(crate::TunnelError::OwnKey)));
    }
}
