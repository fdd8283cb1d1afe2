//! Two routes on a network that the test controls, with a virtual clock: blocked directions, NATs, loss, and a model that
//! knows what a packet by each path would meet.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::*;
use crate::key::{PrivateKey, RelayKey};
use crate::relay::RelayGrant;

mod carriers;
mod plain;

/// What travels: what it is, and when it arrives.
struct Parcel {
    at: Instant,
    to: usize,
    path: Path,
    heard: Heard,
}

/// Node 0 and node 1, each a route to the other.
struct World {
    routes: [Route; 2],
    now: Instant,
    start: Instant,
    parcels: Vec<Parcel>,
    /// Kinds of path that don't carry from this node.
    blocked: [BTreeSet<u8>; 2],
    /// A NAT in front of this node lets in only what answers, by address.
    nat: [bool; 2],
    /// The NAT shows another port to the other node than to the hub, so that no candidate is right.
    symmetric: [bool; 2],
    opened: [BTreeMap<SocketAddr, Instant>; 2],
    loss_percent: u32,
    seed: u32,
    /// Probes by node, and payloads that arrived and that did not.
    probes: [u64; 2],
    arrived: u64,
    lost_at: Vec<Instant>,
    told: [Vec<(Instant, Order)>; 2],
    /// Node 1 is plain WireGuard.
    plain: bool,
    /// When it says without words that it has heard something, unless it sends anything before.
    empty_at: Option<Instant>,
}

impl World {
    fn new() -> Self {
        let now = Instant::now();
        let route = |other: usize| {
            let mut route = Route::new(&config(other), now);
            route.set_session(true);
            route
        };
        Self {
            routes: [route(1), route(0)],
            now,
            start: now,
            parcels: Vec::new(),
            blocked: Default::default(),
            nat: [false; 2],
            symmetric: [false; 2],
            opened: Default::default(),
            loss_percent: 0,
            seed: 1,
            probes: [0; 2],
            arrived: 0,
            lost_at: Vec::new(),
            told: Default::default(),
            plain: false,
            empty_at: None,
        }
    }

    fn chance(&mut self, percent: u32) -> bool {
        self.seed = self
            .seed
            .wrapping_mul(1_664_525)
            .wrapping_add(1_013_904_223);
        (self.seed >> 8) % 100 < percent
    }

    /// Whether a datagram by this path gets from the node to the other one.
    fn carries(&mut self, from: usize, path: Path) -> bool {
        let to = 1 - from;
        if self.blocked[from].contains(&rank(path)) || self.chance(self.loss_percent) {
            return false;
        }
        let Some(remote) = path.remote() else {
            return true;
        };
        self.opened[from].insert(remote, self.now + NAT_LIMIT);
        let opened = self.opened[to].get(&self.shown(from));
        remote == self.shown(to) && (!self.nat[to] || opened.is_some_and(|until| self.now < *until))
    }

    /// Where the other node sees this one.
    fn shown(&self, node: usize) -> SocketAddr {
        let SocketAddr::V4(mut shown) = place(node) else {
            panic!("{} is no IPv4 address", place(node));
        };
        if self.symmetric[node] {
            shown.set_port(61_000);
        }
        shown.into()
    }

    fn send(&mut self, from: usize, path: Path, heard: Heard) {
        let carries = self.carries(from, path);
        if heard == Heard::Payload && !carries {
            self.lost_at.push(self.now);
        }
        if carries {
            let path = match path {
                Path::Udp { .. } => Path::Udp {
                    local: Some(0),
                    remote: self.shown(from),
                },
                other => other,
            };
            self.parcels.push(Parcel {
                at: self.now + Duration::from_millis(20),
                to: 1 - from,
                path,
                heard,
            });
        }
    }

    fn obey(&mut self, node: usize) {
        while let Some(order) = self.routes[node].poll_order() {
            match order {
                Order::Ask(..) | Order::Answer(..) if self.plain && node == 1 => {}
                Order::Ask(path, token) => {
                    self.probes[node] += 1;
                    self.send(node, path, Heard::Ask(token));
                }
                Order::Answer(path, token) => self.send(node, path, Heard::Answer(token)),
                Order::Announce(path) => self.send(node, path, Heard::Keepalive),
                Order::Bind(..) | Order::Left(_) => {}
                other => self.told[node].push((self.now, other)),
            }
        }
    }

    fn payload(&mut self, from: usize) {
        self.routes[from].sends(self.now);
        self.obey(from);
        if let Some(path) = self.routes[from].path() {
            self.send(from, path, Heard::Payload);
        }
        if from == 1 {
            self.empty_at = None;
        }
    }

    fn arrive(&mut self) {
        let now = self.now;
        let (due, rest) = std::mem::take(&mut self.parcels)
            .into_iter()
            .partition::<Vec<_>, _>(|parcel| parcel.at <= now);
        self.parcels = rest;
        for parcel in due {
            if self.plain && parcel.to == 1 {
                self.empty_at.get_or_insert(now + s(10));
            }
            self.arrived += u64::from(parcel.heard == Heard::Payload);
            self.routes[parcel.to].heard(parcel.path, parcel.heard, now);
            self.obey(parcel.to);
        }
    }

    /// Time passes; each node in `talking` sends a packet every 50 ms.
    fn pass(&mut self, time: Duration, talking: &[usize]) {
        let end = self.now + time;
        let mut step = 0;
        while self.now < end {
            self.now += STEP;
            step += 1;
            self.arrive();
            if self.empty_at.is_some_and(|at| at <= self.now) {
                self.empty_at = None;
                let path = self.routes[1].path();
                path.inspect(|path| self.send(1, *path, Heard::Keepalive));
            }
            for node in 0..2 {
                if step % 25 == node * 11 {
                    let now = self.now;
                    self.routes[node].tick(now);
                    self.obey(node);
                }
                if step % 5 == 0 && talking.contains(&node) {
                    self.payload(node);
                }
            }
        }
    }

    fn kinds(&self) -> [Option<u8>; 2] {
        [0, 1].map(|node| self.routes[node].path().map(rank))
    }

    /// The longest time in which only losses were seen, to be used without random loss.
    fn lost_since(&self, at: Instant) -> Vec<Duration> {
        let late = self.lost_at.iter().filter(|lost| **lost >= at);
        late.map(|lost| *lost - at).collect()
    }
}

fn config(other: usize) -> PeerConfig {
    let key = PrivateKey::from_bytes([9; 32]).public_key();
    let mut config = PeerConfig::new(key);
    config.candidates = vec![place(other)];
    config.relay = Some(RelayGrant {
        channel: ChannelId(7),
        key: RelayKey::from_bytes([1; 32]),
        via: key,
    });
    config
}

fn place(node: usize) -> SocketAddr {
    ([192, 0, 2, node as u8], 51820).into()
}

const DIRECT: u8 = 0;
const RELAY: u8 = 1;
const BOTH: &[usize] = &[0, 1];
const STEP: Duration = Duration::from_millis(10);
const NAT_LIMIT: Duration = Duration::from_secs(30);

fn s(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

#[test]
fn two_nodes_behind_nats_are_direct_within_two_seconds_and_lose_nothing() {
    let mut world = World::new();
    world.nat = [true, true];
    world.pass(s(2), BOTH);
    assert_eq!(world.kinds(), [Some(DIRECT); 2]);
    assert_eq!(world.lost_at, []);
}

#[test]
fn a_port_that_nobody_told_is_learnt_if_the_other_side_is_open() {
    let mut world = World::new();
    world.nat[0] = true;
    world.symmetric[0] = true;
    world.pass(s(2), BOTH);
    assert_eq!(world.kinds(), [Some(DIRECT); 2]);
    assert_eq!(world.lost_at, []);
}

#[test]
fn behind_two_nats_of_which_one_is_symmetric_the_relay_stays() {
    let mut world = World::new();
    world.nat = [true, true];
    world.symmetric[0] = true;
    world.pass(s(60), BOTH);
    assert_eq!(world.kinds(), [Some(RELAY); 2]);
    assert_eq!(world.lost_at, []);
}

#[test]
fn a_dead_path_is_left_within_five_seconds_and_taken_again_when_it_lives() {
    let mut world = World::new();
    world.pass(s(5), BOTH);
    for round in 0..4 {
        let cut_at = world.now;
        world.blocked = [[DIRECT].into(), [DIRECT].into()];
        world.pass(s(30), BOTH);
        assert_eq!(world.kinds(), [Some(RELAY); 2], "round {round}");
        let worst = world.lost_since(cut_at).into_iter().max();
        assert!(worst.unwrap() < s(5), "{worst:?} in round {round}");
        world.blocked = Default::default();
        world.pass(s(6), BOTH);
        assert_eq!(world.kinds(), [Some(DIRECT); 2], "round {round}");
    }
}

#[test]
fn a_path_that_works_one_way_only_is_not_used_that_way() {
    let mut world = World::new();
    world.pass(s(5), BOTH);
    let cut_at = world.now;
    // Node 0 goes on hearing node 1, so only its own questions can tell.
    world.blocked[0] = [DIRECT].into();
    world.pass(s(60), BOTH);
    assert_eq!(world.kinds(), [Some(RELAY); 2]);
    assert!(world.lost_since(cut_at).into_iter().max().unwrap() < s(5));
}

#[test]
fn one_talker_is_enough_to_notice() {
    let mut world = World::new();
    world.pass(s(5), &[0]);
    let cut_at = world.now;
    world.blocked = [[DIRECT].into(), [DIRECT].into()];
    world.pass(s(30), &[0]);
    assert_eq!(world.kinds()[0], Some(RELAY));
    assert!(world.lost_since(cut_at).into_iter().max().unwrap() < s(5));
}

#[test]
fn loss_alone_is_no_reason_to_move() {
    for loss_percent in [5, 15] {
        let mut world = World::new();
        world.pass(s(5), BOTH);
        world.loss_percent = loss_percent;
        world.told = Default::default();
        world.pass(s(1800), BOTH);
        let moved = world.told.concat().len();
        assert_eq!(moved, 0, "moved {moved} times with {loss_percent} % loss");
    }
}

#[test]
fn probes_are_few() {
    let mut world = World::new();
    world.pass(s(600), BOTH);
    // One every second on the path in use, after the burst at the start.
    let probes = world.probes;
    assert!(probes.iter().all(|probes| *probes <= 640), "{probes:?}");
    let mut stuck = World::new();
    stuck.blocked = [[DIRECT].into(), [DIRECT].into()];
    stuck.pass(s(600), BOTH);
    assert!(
        stuck.probes.iter().all(|probes| *probes <= 760),
        "{:?}",
        stuck.probes
    );
    let before = stuck.probes;
    stuck.pass(s(12), &[]);
    let at_rest = stuck.probes;
    stuck.pass(s(600), &[]);
    assert_eq!(stuck.probes, at_rest, "nobody talks, {before:?} before");
}

#[test]
fn after_a_pause_that_closed_the_nats_the_relay_bridges() {
    let mut world = World::new();
    world.nat = [true, true];
    world.pass(s(5), BOTH);
    world.pass(s(300), &[]);
    world.pass(s(3), BOTH);
    assert_eq!(world.kinds(), [Some(DIRECT); 2]);
    assert_eq!(world.lost_at, []);
}

#[test]
fn a_peer_that_falls_silent_is_told_once_in_fifteen_seconds() {
    let mut world = World::new();
    world.routes[0].watched = true;
    world.pass(s(5), BOTH);
    world.told = Default::default();
    let everything = BTreeSet::from([DIRECT, RELAY]);
    world.blocked = [everything.clone(), everything];
    let cut_at = world.now;
    world.pass(s(40), BOTH);
    let silent = |order: &&(Instant, Order)| order.1 == Order::TellSilent;
    let told: Vec<_> = world.told[0].iter().filter(silent).collect();
    assert!(told[0].0 - cut_at < s(5));
    assert!((2..=3).contains(&told.len()), "{}", told.len());
    let restarts = world.told[0]
        .iter()
        .filter(|told| told.1 == Order::Initiate);
    assert_eq!(restarts.count(), 1);
    world.blocked = Default::default();
    world.pass(s(20), BOTH);
    assert_eq!(world.kinds(), [Some(DIRECT); 2]);
}

#[test]
fn ways_are_bounded_however_often_a_peer_moves() {
    let mut world = World::new();
    let now = world.now;
    for port in 1..5000 {
        let path = Path::udp(([198, 51, 100, 1], port).into());
        world.routes[0].heard(path, Heard::Payload, now);
        while world.routes[0].poll_order().is_some() {}
    }
    assert!(world.routes[0].ways.len() <= MAX_WAYS);
}

/// What happens to the network, and for how long.
#[derive(Debug, Clone)]
enum Weather {
    Block(usize, u8, bool),
    Nat(usize, bool),
    Talk(Vec<usize>, u64),
}

fn weather() -> impl Strategy<Value = Vec<Weather>> {
    let one = prop_oneof![
        (0..2usize, 0..2u8, any::<bool>())
            .prop_map(|(node, kind, on)| Weather::Block(node, kind, on)),
        (0..2usize, any::<bool>()).prop_map(|(node, on)| Weather::Nat(node, on)),
        (proptest::sample::subsequence(vec![0, 1], 0..=2), 1..40u64)
            .prop_map(|(talking, seconds)| Weather::Talk(talking, seconds)),
    ];
    proptest::collection::vec(one, 1..12)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// The model: UDP works if neither direction is blocked, and the relay does at the end. Whatever went before, 5 s after
    /// the last change no payload is lost, and 32 s after it traffic is direct exactly where direct works.
    #[test]
    fn after_any_weather_the_routes_equal_the_model(weather in weather()) {
        let mut world = World::new();
        for change in weather {
            match change {
                Weather::Block(node, kind, true) => {
                    world.blocked[node].insert(kind);
                }
                Weather::Block(node, kind, false) => {
                    world.blocked[node].remove(&kind);
                }
                Weather::Nat(node, on) => world.nat[node] = on,
                Weather::Talk(talking, seconds) => world.pass(s(seconds), &talking),
            }
        }
        for kinds in &mut world.blocked {
            kinds.remove(&RELAY);
        }
        let direct = world.blocked.iter().all(|kinds| !kinds.contains(&DIRECT));
        let last_change = world.now;
        world.pass(s(32), BOTH);
        let lost = world.lost_since(last_change);
        prop_assert!(lost.iter().all(|after| *after < s(5)), "{:?}", lost.iter().max());
        let wanted = if direct { DIRECT } else { RELAY };
        prop_assert_eq!(world.kinds(), [Some(wanted); 2]);
        prop_assert!(world.probes.iter().sum::<u64>() as f64 <= 100.0 + 4.0 * (world.now - world.start).as_secs_f64());
    }
}
