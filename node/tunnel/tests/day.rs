//! A day in the life of two nodes and a hub, in a minute: their NATs forget them, datagrams are lost, repeated and overtaken,
//! the direct path comes and goes, and a machine sleeps. Needs the feature `virtual-clock`.

#![allow(
    clippy::unwrap_used,
    reason = "this is test code, but not all inside test functions"
)]

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use malha_tunnel::{
    Allow, ChannelGrant, ChannelId, Device, Path, PeerConfig, PrivateKey, PublicKey, RelayGrant,
    RelayKey, RelayPair, TunnelConfig,
};
use mock_instant::MockClock;

#[test]
fn for_a_day_no_second_shows_a_handshake_and_carries_nothing() {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let mut world = World::new();
    world.pass_hours(1);
    let memory = resident_bytes();
    world.pass_hours(23);
    let grown = resident_bytes().saturating_sub(memory);
    let [hub, pair] = [&world.to_hub, &world.between];
    println!(
        "24 h: {} of {} packets to and from the hub arrived, {} of {} between the nodes ({} relayed, {} times onto another path); \
         hollow seconds {} and {}, longest gap {} s and {} s; {} KiB grown",
        hub.arrived,
        hub.sent,
        pair.arrived,
        pair.sent,
        world.devices[&HUB].device.relay_counters().forwarded,
        world.moves,
        hub.hollow_s,
        pair.hollow_s,
        hub.longest_s,
        pair.longest_s,
        grown / 1024,
    );
    assert_eq!(
        hub.hollow_s, 0,
        "seconds with a handshake and nothing to or from the hub"
    );
    assert_eq!(
        pair.unexcused_s, 0,
        "seconds with a handshake and nothing between the nodes, though their path had not changed lately"
    );
    assert!(
        pair.longest_s <= PATH_FOUND.as_secs(),
        "{} s without a packet between the nodes",
        pair.longest_s
    );
    assert!(
        hub.arrived * 100 >= hub.sent * 92,
        "the network alone loses 5 %"
    );
    assert!(
        pair.arrived * 100 >= pair.sent * 85,
        "a relayed packet crosses the network twice"
    );
    assert!(world.moves > 40, "the direct path came and went");
    assert!(
        grown < 1024 * 1024,
        "{grown} bytes more after the first hour"
    );
}

/// The relay forgets it meanwhile, and its own clock, by which it plans, stands still.
#[test]
fn a_node_that_slept_is_reached_over_the_relay_soon_after_it_wakes() {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    for asleep_s in [100, 170, 600, 3600] {
        let reached_s = [0, 10, 20, 30, 40].map(|before_s| reached_after_s(before_s, asleep_s));
        println!("reached {reached_s:?} s after {asleep_s} s of sleep");
        assert!(
            reached_s.iter().all(|reached| *reached <= WOKEN_S),
            "reached {reached_s:?} s after {asleep_s} s of sleep"
        );
    }
}

/// How long the other node calls one that wakes, which fell asleep at another time between two HELLOs.
fn reached_after_s(before_s: u64, asleep_s: u64) -> u64 {
    let mut world = World::new();
    world.pass_seconds(10, &[(1, 2), (2, 1)]);
    world.pass_seconds(90 + before_s, &[]);
    world.asleep = Some(1);
    world.pass_seconds(asleep_s, &[]);
    world.asleep = None;
    world.between.arrived = 0;
    let mut called_s = 0;
    while world.between.arrived == 0 && called_s < 100 {
        world.pass_seconds(1, &[(2, 1)]);
        called_s += 1;
    }
    called_s
}

/// Memory is the whole process's, so one story is told at a time.
static ALONE: Mutex<()> = Mutex::new(());

/// The network, and what was seen of it.
struct World {
    devices: BTreeMap<u8, Member>,
    start: Instant,
    elapsed: Duration,
    parcels: BTreeMap<(Duration, u64), Parcel>,
    parcel: u64,
    seed: u64,
    direct_blocked: bool,
    /// Who is asleep: it hears and does nothing.
    asleep: Option<u8>,
    /// When a NAT last forgot a node, or the direct path went.
    disturbed: Duration,
    to_hub: Book,
    between: Book,
    moves: u64,
}

struct Member {
    device: Device,
    /// The address that its NAT shows at the moment, and which addresses lead to it.
    public: SocketAddr,
    /// For how long it was asleep in all, which its own clock does not show.
    slept: Duration,
}

struct Parcel {
    to: SocketAddr,
    from: SocketAddr,
    bytes: Vec<u8>,
}

/// What became of the packets of one pair.
#[derive(Default)]
struct Book {
    sent: u64,
    arrived: u64,
    /// By direction, since the second began.
    arrived_now: [u64; 2],
    hollow_s: u64,
    /// Of these, the ones in which no path had to be found.
    unexcused_s: u64,
    gap_s: u64,
    longest_s: u64,
}

const HUB: u8 = 9;
const STEP: Duration = Duration::from_millis(50);
const LOSS_PERCENT: u64 = 5;
const REPEAT_PERCENT: u64 = 1;
/// How long two nodes may take to leave a path that died.
const PATH_FOUND: Duration = Duration::from_secs(5);
/// A node that woke binds its channels in a second or two. Who called it before tries again after 5 s, twice if one is lost.
const WOKEN_S: u64 = 15;
/// How old a session may be (REJECT_AFTER_TIME of the WireGuard paper §6.1).
const SESSION: Duration = Duration::from_secs(180);

impl World {
    fn new() -> Self {
        let start = Instant::now();
        let member = |n: u8| {
            let address = format!("10.0.0.{n}/24").parse().unwrap();
            let device = Device::new(&TunnelConfig::new(key(n), vec![address]), start).unwrap();
            let public = place(n, 0);
            let slept = Duration::ZERO;
            let member = Member {
                device,
                public,
                slept,
            };
            (n, member)
        };
        let mut world = Self {
            devices: [1, 2, HUB].map(member).into(),
            start,
            elapsed: Duration::ZERO,
            parcels: BTreeMap::new(),
            parcel: 0,
            seed: 20_261_122,
            direct_blocked: false,
            asleep: None,
            disturbed: Duration::ZERO,
            to_hub: Book::default(),
            between: Book::default(),
            moves: 0,
        };
        let [a, b] = [1, 2].map(channel);
        let pairs = vec![RelayPair { a, b }];
        world.device(HUB).set_relay_pairs(pairs, start).unwrap();
        for n in [1, 2] {
            world.set_peer(HUB, peer(n));
            let hub = PeerConfig {
                endpoints: vec![place(HUB, 0)],
                keepalive_s: Some(25),
                carrier_possible: true,
                ..peer(HUB)
            };
            world.set_peer(n, hub);
        }
        world.tell_candidates();
        world
    }

    fn pass_hours(&mut self, hours: u64) {
        let end = self.elapsed + Duration::from_secs(3600 * hours);
        while self.elapsed < end {
            let second = self.elapsed.as_secs();
            if second > 0 && second % 60 == 0 {
                self.rebind(1 + (second / 60 % 2) as u8, second / 60);
            }
            if second % 600 == 0 {
                self.direct_blocked = second / 600 % 2 == 1;
                self.disturbed = self.elapsed;
            }
            // In odd hours there is no controller, and nobody learns the new addresses.
            if second % 30 == 0 && second / 3600 % 2 == 0 {
                self.tell_candidates();
            }
            self.pass_second();
        }
    }

    fn pass_second(&mut self) {
        self.pass_seconds(1, &[(1, HUB), (HUB, 1), (1, 2), (2, 1)]);
        let shown = |world: &mut Self, at, of| {
            let now = world.now(at);
            let peers = world.device(at).peers(now);
            let age = peers.iter().find(|peer| peer.public_key == public_key(of));
            age.unwrap()
                .last_handshake_age
                .is_some_and(|age| age < SESSION)
        };
        let (hub, pair) = (
            shown(self, 1, HUB) && shown(self, HUB, 1),
            shown(self, 1, 2) && shown(self, 2, 1),
        );
        let excused = self.elapsed - self.disturbed <= PATH_FOUND;
        self.to_hub.close_second(hub, excused);
        self.between.close_second(pair, excused);
    }

    /// Packets go these ways so often that a second in which loss alone leaves nothing does not come in a day.
    fn pass_seconds(&mut self, seconds: u64, ways: &[(u8, u8)]) {
        for step in 0..20 * seconds {
            self.elapsed += STEP;
            MockClock::advance(STEP);
            for n in [1, 2, HUB] {
                if self.asleep == Some(n) {
                    self.devices.get_mut(&n).unwrap().slept += STEP;
                    continue;
                }
                let now = self.now(n);
                self.device(n).handle_timeout(now);
            }
            if step % 3 == 0 {
                ways.iter().for_each(|(from, to)| self.say(*from, *to));
            }
            self.carry();
        }
    }

    fn say(&mut self, from: u8, to: u8) {
        let now = self.now(from);
        self.device(from).handle_packet(&packet(from, to), now);
        self.book(from, to).sent += 1;
    }

    fn book(&mut self, one: u8, other: u8) -> &mut Book {
        match one == HUB || other == HUB {
            true => &mut self.to_hub,
            false => &mut self.between,
        }
    }

    /// Hands over what is due and takes what the devices send, until nothing is due.
    fn carry(&mut self) {
        loop {
            self.collect();
            let due = self
                .parcels
                .first_entry()
                .filter(|first| first.key().0 <= self.elapsed);
            let Some(parcel) = due.map(|due| due.remove()) else {
                return;
            };
            let to = self
                .devices
                .iter()
                .find(|(_, member)| member.public == parcel.to);
            let to = to.map(|(number, _)| *number);
            let Some(to) = to.filter(|to| self.asleep != Some(*to)) else {
                continue;
            };
            let path = Path::Udp {
                local: Some(0),
                remote: parcel.from,
            };
            let now = self.now(to);
            self.device(to).handle_datagram(path, &parcel.bytes, now);
            while let Some(arrival) = self.device(to).poll_packet() {
                let from = arrival.packet[15];
                let direction = usize::from(from > to);
                let book = self.book(from, to);
                book.arrived += 1;
                book.arrived_now[direction] += 1;
            }
        }
    }

    fn collect(&mut self) {
        for from in [1, 2, HUB] {
            while let Some(transmit) = self.device(from).poll_transmit() {
                let Path::Udp { remote, .. } = transmit.path else {
                    panic!("{:?} has nothing to lead it", transmit.path);
                };
                let source = self.devices[&from].public;
                let hub = place(HUB, 0);
                let direct = remote != hub && source != hub;
                if !(direct && self.direct_blocked) {
                    for datagram in transmit.datagrams() {
                        self.post(source, remote, datagram.to_vec());
                    }
                }
            }
            while let Some(event) = self.device(from).poll_event() {
                let moved = matches!(event, malha_tunnel::TunnelEvent::PathChanged { .. });
                self.moves += u64::from(moved && from == 1);
            }
        }
    }

    /// Into the network: lost, once, or twice, and late by a time of its own.
    fn post(&mut self, from: SocketAddr, to: SocketAddr, bytes: Vec<u8>) {
        let copies = match self.random(100) {
            0..LOSS_PERCENT => 0,
            99 if REPEAT_PERCENT > 0 => 2,
            _ => 1,
        };
        for _ in 0..copies {
            let at = self.elapsed + Duration::from_millis(10 + self.random(60));
            self.parcel += 1;
            let bytes = bytes.clone();
            let parcel = Parcel { to, from, bytes };
            self.parcels.insert((at, self.parcel), parcel);
        }
    }

    /// The NAT forgets the node, which has another port from now on and does not know.
    fn rebind(&mut self, node: u8, time: u64) {
        self.devices.get_mut(&node).unwrap().public = place(node, time as u16);
        self.disturbed = self.elapsed;
    }

    /// The controller tells both nodes where the hub sees the other.
    fn tell_candidates(&mut self) {
        let seen = [1, 2].map(|n| {
            let now = self.now(HUB);
            let peers = self.device(HUB).peers(now);
            let peer = peers.iter().find(|peer| peer.public_key == public_key(n));
            peer.and_then(|peer| peer.endpoint)
        });
        self.set_peer(1, relayed(2, 1, seen[1]));
        self.set_peer(2, relayed(1, 2, seen[0]));
    }

    fn set_peer(&mut self, at: u8, config: PeerConfig) {
        let now = self.now(at);
        self.device(at).set_peer(config, now).unwrap();
    }

    fn device(&mut self, n: u8) -> &mut Device {
        &mut self.devices.get_mut(&n).unwrap().device
    }

    /// By the clock of a node.
    fn now(&self, n: u8) -> Instant {
        self.start + self.elapsed - self.devices[&n].slept
    }

    fn random(&mut self, below: u64) -> u64 {
        self.seed = self
            .seed
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (self.seed >> 33) % below
    }
}

impl Book {
    /// A second is hollow if a handshake was shown and one direction carried nothing.
    fn close_second(&mut self, handshake_shown: bool, excused: bool) {
        let carried = std::mem::take(&mut self.arrived_now)
            .iter()
            .all(|arrived| *arrived > 0);
        let hollow = handshake_shown && !carried;
        self.hollow_s += u64::from(hollow);
        self.unexcused_s += u64::from(hollow && !excused);
        self.gap_s = if carried { 0 } else { self.gap_s + 1 };
        self.longest_s = self.longest_s.max(self.gap_s);
    }
}

fn key(n: u8) -> PrivateKey {
    PrivateKey::from_bytes([n; 32])
}

fn public_key(n: u8) -> PublicKey {
    key(n).public_key()
}

fn place(n: u8, port: u16) -> SocketAddr {
    ([192, 0, 2, n], 20_000 + port).into()
}

fn peer(n: u8) -> PeerConfig {
    let mut peer = PeerConfig::new(public_key(n));
    peer.allowed_ips = vec![format!("10.0.0.{n}/32").parse().unwrap()];
    peer.ingress = vec![Allow::udp(7..=7)];
    peer
}

fn channel(n: u8) -> ChannelGrant {
    ChannelGrant {
        channel: ChannelId(u32::from(n)),
        key: RelayKey::from_bytes([n; 32]),
        node: public_key(n),
    }
}

fn relayed(number: u8, at: u8, candidate: Option<SocketAddr>) -> PeerConfig {
    let own = channel(at);
    PeerConfig {
        candidates: candidate.into_iter().collect(),
        relay: Some(RelayGrant {
            channel: own.channel,
            key: own.key,
            via: public_key(HUB),
        }),
        ..peer(number)
    }
}

/// A UDP datagram of port 7 to port 7 without content.
fn packet(from: u8, to: u8) -> Vec<u8> {
    let mut packet = vec![
        0x45, 0, 0, 28, 0, 0, 0, 0, 64, 17, 0, 0, 10, 0, 0, from, 10, 0, 0, to,
    ];
    packet.extend_from_slice(&[0, 7, 0, 7, 0, 8, 0, 0]);
    packet
}

fn resident_bytes() -> u64 {
    let status = std::fs::read_to_string("/proc/self/statm").unwrap();
    let pages: u64 = status.split(' ').nth(1).unwrap().parse().unwrap();
    pages * 4096
}
