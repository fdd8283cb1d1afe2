//! Two nodes that reach each other through a hub's relay, then directly, then not, and a node that has only a carrier: whole
//! devices on a wire that the test controls.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::time::Duration;

use super::*;
use crate::config::{Allow, TunnelConfig};
use crate::device::cluster::{Cluster, with_shards};
use crate::key::{PrivateKey, RelayKey};
use crate::packet::build;
use crate::relay::{ChannelGrant, RelayGrant, data_header};
use crate::status::PathKind;

mod carried;

/// Device `n` is at 192.0.2.n on the underlay and 10.0.0.n on the overlay; the hub is number 9.
struct World {
    devices: BTreeMap<u8, Cluster>,
    now: Instant,
    /// Pairs between which UDP does not pass, the smaller number first.
    blocked: BTreeSet<(u8, u8)>,
    /// The node at the other end of the hub's carrier 0.
    carried: Option<u8>,
    events: BTreeMap<u8, Vec<TunnelEvent>>,
    /// Everything that the hub received.
    at_hub: Vec<Vec<u8>>,
}

const HUB: u8 = 9;
const STEP: Duration = Duration::from_millis(50);

fn key(n: u8) -> PrivateKey {
    PrivateKey::from_bytes([n; 32])
}

fn place(n: u8) -> SocketAddr {
    ([192, 0, 2, n], 51820).into()
}

fn peer(n: u8) -> PeerConfig {
    let mut peer = PeerConfig::new(key(n).public_key());
    peer.allowed_ips = vec![format!("10.0.0.{n}/32").parse().unwrap()];
    peer.ingress = vec![Allow::udp(7..=7)];
    peer
}

fn channel(n: u8) -> ChannelGrant {
    ChannelGrant {
        channel: ChannelId(u32::from(n)),
        key: RelayKey::from_bytes([n; 32]),
        node: key(n).public_key(),
    }
}

/// The peer as `at` is told to know it: by the relay, and by candidates if there are any.
fn relayed(n: u8, at: u8, candidates: Vec<SocketAddr>) -> PeerConfig {
    let own = channel(at);
    PeerConfig {
        candidates,
        relay: Some(RelayGrant {
            channel: own.channel,
            key: own.key,
            via: key(HUB).public_key(),
        }),
        ..peer(n)
    }
}

fn packet(from: u8, to: u8, body: &[u8]) -> Vec<u8> {
    build::udp(&format!("10.0.0.{from}:7"), &format!("10.0.0.{to}:7"), body)
}

impl World {
    /// Nodes 1 and 2, both with a session to the hub, and each with the other as a peer by the relay alone.
    fn new() -> Self {
        let now = Instant::now();
        let device = |n: u8| {
            let address = format!("10.0.0.{n}/24").parse().unwrap();
            let config = TunnelConfig::new(key(n), vec![address]);
            (n, Cluster::new(&config, now))
        };
        let mut world = Self {
            devices: [1, 2, HUB].map(device).into(),
            now,
            blocked: BTreeSet::new(),
            carried: None,
            events: BTreeMap::new(),
            at_hub: Vec::new(),
        };
        for n in [1, 2] {
            world.set_peer(HUB, peer(n));
            let hub = PeerConfig {
                endpoints: vec![place(HUB)],
                keepalive_s: Some(25),
                carrier_possible: true,
                ..peer(HUB)
            };
            world.set_peer(n, hub);
        }
        world.settle();
        let [a, b] = [1, 2].map(channel);
        world
            .device(HUB)
            .set_relay_pairs(vec![RelayPair { a, b }], now)
            .unwrap();
        world.set_peer(1, relayed(2, 1, Vec::new()));
        world.set_peer(2, relayed(1, 2, Vec::new()));
        world
    }

    fn device(&mut self, n: u8) -> &mut Cluster {
        self.devices.get_mut(&n).unwrap()
    }

    fn set_peer(&mut self, at: u8, config: PeerConfig) {
        let now = self.now;
        self.device(at).set_peer(config, now).unwrap();
    }

    /// Delivers what every device sends until the wire is quiet.
    fn settle(&mut self) {
        for _ in 0..50 {
            let mut quiet = true;
            for from in [1, 2, HUB] {
                let now = self.now;
                while let Some(transmit) = self.device(from).poll_transmit(now) {
                    quiet = false;
                    self.carry(from, transmit);
                }
                while let Some(event) = self.device(from).poll_event() {
                    self.events.entry(from).or_default().push(event);
                }
            }
            if quiet {
                return;
            }
        }
        panic!("the wire never becomes quiet");
    }

    fn carry(&mut self, from: u8, transmit: Transmit) {
        let (to, path) = match transmit.path {
            Path::Udp { remote, .. } => {
                let Some(to) = [1, 2, HUB].into_iter().find(|n| place(*n) == remote) else {
                    return;
                };
                let local = Some(0);
                let remote = place(from);
                if self.blocked.contains(&(from.min(to), from.max(to))) {
                    return;
                }
                (to, Path::Udp { local, remote })
            }
            Path::Carrier(_) => match (self.carried, from) {
                (Some(node), HUB) => (node, Path::Carrier(self.nodes_carrier())),
                (Some(node), _) if node == from => (HUB, Path::Carrier(CarrierId(0))),
                _ => return,
            },
            Path::Relay(_) => panic!("a relay path is resolved before it leaves the device"),
        };
        if to == HUB {
            self.at_hub.extend(transmit.datagrams().map(<[u8]>::to_vec));
        }
        let (now, stride) = (self.now, transmit.segment_bytes);
        self.device(to)
            .handle_datagrams(path, &transmit.payload, stride, now);
    }

    /// The first carrier of the shard where a node has the hub.
    fn nodes_carrier(&mut self) -> CarrierId {
        let hub = key(HUB).public_key();
        CarrierId(self.device(1).place().of_peer(&hub) as u32)
    }

    fn pass(&mut self, time: Duration) {
        let end = self.now + time;
        while self.now < end {
            self.now += STEP;
            let now = self.now;
            for device in self.devices.values_mut() {
                device.handle_timeout(now);
            }
            self.settle();
        }
    }

    /// One packet each way; how many arrived.
    fn exchange(&mut self) -> usize {
        let ways = [(1, 2), (2, 1)];
        let arrived = ways
            .into_iter()
            .filter(|(from, to)| self.passes(*from, *to, b"there"));
        arrived.count()
    }

    fn passes(&mut self, from: u8, to: u8, body: &[u8]) -> bool {
        let (packet, now) = (packet(from, to, body), self.now);
        self.device(from).handle_packet(&packet, now);
        self.settle();
        let came: Vec<_> = std::iter::from_fn(|| self.device(to).poll_packet()).collect();
        came.iter().any(|arrival| *arrival.packet == packet)
    }

    /// Exchanges packets all the time; the longest time without both arriving.
    fn talk(&mut self, time: Duration) -> Duration {
        let (end, mut good, mut worst) = (self.now + time, self.now, Duration::ZERO);
        while self.now < end {
            self.pass(STEP);
            if self.exchange() == 2 {
                good = self.now;
            }
            worst = worst.max(self.now - good);
        }
        worst
    }

    fn path(&mut self, at: u8, of: u8) -> Option<PathKind> {
        let now = self.now;
        let wanted = key(of).public_key();
        let all = self.device(at).peers(now);
        all.into_iter()
            .find(|status| status.public_key == wanted)?
            .path
    }

    fn told(&self, at: u8, event: TunnelEvent) -> bool {
        self.events
            .get(&at)
            .is_some_and(|events| events.contains(&event))
    }
}

#[test]
fn nodes_that_know_only_the_relay_speak_through_it_and_the_hub_can_not_read() {
    let mut world = World::new();
    world.pass(Duration::from_secs(1));
    let secret = b"senha do orgao 4711";
    assert!(world.passes(1, 2, secret) && world.passes(2, 1, secret));
    assert_eq!(world.path(1, 2), Some(PathKind::Relay));
    assert!(world.device(HUB).relay_counters().forwarded > 4);
    let leaks = |bytes: &[u8]| bytes.windows(secret.len()).any(|window| window == secret);
    assert!(leaks(&packet(1, 2, secret)), "the search itself works");
    assert!(!world.at_hub.iter().any(|datagram| leaks(datagram)));
    assert_eq!(world.device(HUB).poll_packet(), None);
}

#[test]
fn candidates_make_it_direct_and_a_cut_brings_the_relay_back_within_five_seconds() {
    let mut world = World::new();
    world.pass(Duration::from_secs(1));
    assert_eq!(world.exchange(), 2);
    world.set_peer(1, relayed(2, 1, vec![place(2)]));
    world.set_peer(2, relayed(1, 2, vec![place(1)]));
    assert_eq!(world.talk(Duration::from_secs(3)), Duration::ZERO);
    assert_eq!(world.path(1, 2), Some(PathKind::Direct));
    assert_eq!(world.path(2, 1), Some(PathKind::Direct));
    let before = world.device(HUB).relay_counters().forwarded;
    world.talk(Duration::from_secs(5));
    assert_eq!(world.device(HUB).relay_counters().forwarded, before);
    world.blocked.insert((1, 2));
    let gap = world.talk(Duration::from_secs(10));
    assert!(gap < Duration::from_secs(5), "{gap:?}");
    assert_eq!(world.path(1, 2), Some(PathKind::Relay));
    world.blocked.clear();
    let gap = world.talk(Duration::from_secs(6));
    assert_eq!(
        gap,
        Duration::ZERO,
        "going back to the direct path loses nothing"
    );
    assert_eq!(world.path(1, 2), Some(PathKind::Direct));
}

/// The relay is needed only when the direct path has died, and then the carrier to it should be there soon.
#[test]
fn blocked_udp_is_noticed_soon_though_nobody_speaks_to_the_hub() {
    let mut world = World::new();
    world.set_peer(1, relayed(2, 1, vec![place(2)]));
    world.set_peer(2, relayed(1, 2, vec![place(1)]));
    world.talk(Duration::from_secs(15));
    assert_eq!(world.path(1, 2), Some(PathKind::Direct));
    world.events.clear();
    world.blocked.extend([(1, 2), (1, HUB)]);
    let silent = TunnelEvent::PathSilent {
        peer: key(HUB).public_key(),
    };
    let cut_at = world.now;
    while !world.told(1, silent) {
        world.talk(STEP);
        let lasts = world.now - cut_at;
        assert!(
            lasts <= Duration::from_millis(3900),
            "not told for {lasts:?}"
        );
    }
}

#[test]
fn a_carrier_is_enough_from_the_first_handshake_on() {
    let mut world = World::new();
    let fresh = TunnelConfig::new(key(1), vec!["10.0.0.1/24".parse().unwrap()]);
    world.devices.insert(1, Cluster::new(&fresh, world.now));
    world.blocked.insert((1, HUB));
    let hub = PeerConfig {
        endpoints: vec![place(HUB)],
        carrier_possible: true,
        ..peer(HUB)
    };
    world.set_peer(1, hub);
    let start = world.now;
    let silent = TunnelEvent::PathSilent {
        peer: key(HUB).public_key(),
    };
    while !world.told(1, silent) {
        world.pass(STEP);
        assert!(world.now - start < Duration::from_secs(4), "never told");
    }
    world.carried = Some(1);
    let now = world.now;
    let hub = key(HUB).public_key();
    let id = world.nodes_carrier();
    world.device(1).handle_carrier_opened(id, hub, now);
    world.settle();
    assert!(world.passes(1, HUB, b"at once"));
}

#[test]
fn a_pair_that_leaves_the_table_is_cut_at_once() {
    let mut world = World::new();
    world.pass(Duration::from_secs(1));
    assert_eq!(world.exchange(), 2);
    let now = world.now;
    world.device(HUB).set_relay_pairs(Vec::new(), now).unwrap();
    assert_eq!(world.exchange(), 0);
}

/// After a restart of the controller, which counts from one again.
#[test]
fn a_channel_that_went_from_one_peer_to_another_stays_with_that_one() {
    let mut world = World::new();
    // Node 1 is told of its peers one by one; meanwhile two of them name the same channel.
    world.set_peer(1, relayed(2, 5, Vec::new()));
    world.set_peer(1, relayed(3, 1, Vec::new()));
    world.set_peer(1, relayed(2, 1, Vec::new()));
    world.set_peer(1, relayed(3, 6, Vec::new()));
    world.pass(Duration::from_secs(1));
    assert!(world.passes(1, 2, b"still"));
}

#[test]
fn only_the_hub_may_say_that_a_datagram_was_relayed() {
    let mut world = World::new();
    world.pass(Duration::from_secs(1));
    assert_eq!(world.exchange(), 2);
    let (sealed, now) = (packet(2, 1, b"x"), world.now);
    world.device(2).handle_packet(&sealed, now);
    let transmit = world.device(2).poll_transmit(now).unwrap();
    let inner = transmit.payload[8..].to_vec();
    let stranger = Path::udp(place(7));
    let frame = [&data_header(ChannelId(1))[..], &inner].concat();
    world.device(1).handle_datagram(stranger, &frame, now);
    assert_eq!(world.device(1).poll_packet(), None);
    let counters = world.device(1).relay_counters();
    assert_eq!((counters.refused, counters.unbound), (1, 0));
    let from_hub = Path::Udp {
        local: Some(0),
        remote: place(HUB),
    };
    world.device(1).handle_datagram(from_hub, &frame, now);
    assert!(world.device(1).poll_packet().is_some());
}

/// Whoever can forge source addresses can be heard at any.
#[test]
fn a_member_that_was_heard_at_anothers_address_takes_no_channel_along() {
    let mut world = World::new();
    world.pass(Duration::from_secs(1));
    assert_eq!(world.exchange(), 2);
    for at in [1, 2] {
        let now = world.now;
        world.device(2).handle_packet(&packet(2, HUB, b"here"), now);
        let transmit = world.device(2).poll_transmit(now).unwrap();
        let path = Path::Udp {
            local: Some(0),
            remote: place(at),
        };
        world
            .device(HUB)
            .handle_datagram(path, &transmit.payload, now);
        world.settle();
    }
    assert_eq!(world.exchange(), 2);
}

/// The kernel gives what one sender sent together, and a shorter last datagram may be of another kind.
#[test]
fn a_batch_of_several_kinds_loses_none_of_them() {
    let mut world = World::new();
    world.pass(Duration::from_secs(1));
    assert_eq!(world.exchange(), 2);
    let now = world.now;
    let mut batch = Vec::new();
    for (to, body) in [(2, &b"relayed"[..]), (2, b"as well"), (HUB, b"")] {
        let packet = packet(1, to, body);
        world.device(1).handle_packet(&packet, now);
    }
    while let Some(transmit) = world.device(1).poll_transmit(now) {
        batch.extend(transmit.datagrams().map(<[u8]>::to_vec));
    }
    // Shards send on their own; the kernel joins what is of one length.
    batch.sort_by_key(|datagram| std::cmp::Reverse(datagram.len()));
    let stride = batch[0].len();
    assert!(batch.len() == 3 && batch[1].len() == stride && batch[2].len() < stride);
    let from = Path::Udp {
        local: Some(0),
        remote: place(1),
    };
    let before = world.device(HUB).relay_counters().forwarded;
    let together = batch.concat();
    world
        .device(HUB)
        .handle_datagrams(from, &together, stride, now);
    assert_eq!(world.device(HUB).relay_counters().forwarded, before + 2);
    assert!(world.device(HUB).poll_packet().is_some());
}

#[test]
fn quic_is_left_to_others_and_counted() {
    let mut world = World::new();
    let now = world.now;
    for first in [0x40, 0xc3] {
        world
            .device(1)
            .handle_datagram(Path::udp(place(7)), &[first; 40], now);
    }
    assert_eq!(world.device(1).counters().quic, 2);
}

#[test]
fn nodes_of_several_shards_tell_the_same_stories() {
    let stories = [
        nodes_that_know_only_the_relay_speak_through_it_and_the_hub_can_not_read as fn(),
        candidates_make_it_direct_and_a_cut_brings_the_relay_back_within_five_seconds as fn(),
        carried::a_node_whose_udp_is_blocked_speaks_to_hub_and_relay_over_its_carrier as fn(),
        carried::a_carrier_in_use_that_ends_takes_no_relay_along_while_udp_passes_again as fn(),
        blocked_udp_is_noticed_soon_though_nobody_speaks_to_the_hub as fn(),
        a_carrier_is_enough_from_the_first_handshake_on as fn(),
        a_pair_that_leaves_the_table_is_cut_at_once as fn(),
        a_channel_that_went_from_one_peer_to_another_stays_with_that_one as fn(),
        only_the_hub_may_say_that_a_datagram_was_relayed as fn(),
        a_batch_of_several_kinds_loses_none_of_them as fn(),
        quic_is_left_to_others_and_counted as fn(),
    ];
    for shards in [2, 3, 5] {
        for story in stories {
            with_shards(shards, story);
        }
    }
}
