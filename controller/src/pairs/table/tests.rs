//! Stories of nodes that come, go and move to new keys. What both ends were told must always agree.

use std::net::Ipv4Addr;

use malha_proto::{HostName, OverlayAddresses, PairKey, PairTable};
use proptest::prelude::*;

use super::*;

const HUB: NodeId = NodeId(1);
const A: NodeId = NodeId(2);
const B: NodeId = NodeId(3);

fn key(node: NodeId) -> WgKey {
    WgKey([u8::try_from(node.0).unwrap(); 32])
}

fn peer(id: NodeId) -> Peer {
    let name: HostName = "servidor.garagem-01.org".parse().unwrap();
    Peer {
        id,
        name,
        key: key(id),
        addresses: OverlayAddresses {
            v4: [100, 64, 0, 1].into(),
            v6: [0xfd00, 0, 0, 0, 0, 0, 0, 1].into(),
        },
        endpoints: vec![],
        keepalive_s: None,
        allow: vec![],
        hub: id == HUB,
        former: None,
        names: vec![],
    }
}

fn at(text: &str) -> SocketAddr {
    text.parse().unwrap()
}

/// Nodes that all are each other's peers, and what each was told.
struct World {
    table: Table,
    members: Vec<NodeId>,
    told: BTreeMap<NodeId, PairTable>,
    last_session: u64,
    sessions: BTreeMap<NodeId, u64>,
}

impl World {
    fn new(members: impl IntoIterator<Item = NodeId>) -> Self {
        let epochs = PairEpochs::create(0).unwrap();
        let mut world = Self {
            table: Table::new(epochs, HUB, BTreeMap::new()),
            members: members.into_iter().chain([HUB]).collect(),
            told: BTreeMap::new(),
            last_session: 0,
            sessions: BTreeMap::from([(HUB, HUB_SESSION)]),
        };
        world.follow(HUB);
        world
    }

    fn follow(&mut self, node: NodeId) {
        let others = self.members.iter().filter(|id| **id != node);
        let peers = others.map(|id| (*id, peer(*id))).collect();
        self.table.follow(node, key(node), &peers);
    }

    fn comes(&mut self, node: NodeId) {
        self.follow(node);
        self.last_session += 1;
        self.sessions.insert(node, self.last_session);
        self.table.opened(node, self.last_session);
        self.catch_up();
    }

    fn leaves(&mut self, node: NodeId) {
        if let Some(session) = self.sessions.remove(&node) {
            self.table.closed(node, session);
        }
    }

    fn rotate(&mut self) {
        let in_use = self.table.epochs_in_use();
        let next = self.table.epochs().rotated(1, &in_use).unwrap();
        self.table.begin_epoch(next);
    }

    /// Every pair that can moves; each end gets the news at once.
    fn catch_up(&mut self) {
        let newest = self.table.epochs().newest();
        for pair in self.table.take_movable(usize::MAX) {
            self.table.set(pair, Some(newest));
        }
        self.tell();
    }

    /// Delivers all news; the nodes that got some.
    fn tell(&mut self) -> Vec<NodeId> {
        let waiting = self.table.with_news();
        for node in &waiting {
            let told = self.told.entry(*node).or_insert(PairTable::new(key(*node)));
            for news in self.table.take(*node, self.sessions[node]) {
                told.take(news);
            }
        }
        waiting
    }

    fn pair(&self, node: NodeId, other: NodeId) -> Option<&Pair> {
        self.told.get(&node)?.with(key(node), other, key(other))
    }

    fn psk(&self, node: NodeId, other: NodeId) -> Option<PairKey> {
        self.pair(node, other)?.psk.clone()
    }

    fn epoch(&self, node: NodeId, other: NodeId) -> Option<u64> {
        self.psk(node, other).map(|psk| psk.epoch)
    }
}

#[test]
fn a_node_that_comes_shares_a_key_with_the_hub_and_with_who_is_here() {
    let mut world = World::new([A, B]);
    world.comes(A);
    assert_eq!(world.psk(A, HUB), world.psk(HUB, A));
    assert_eq!(world.epoch(A, HUB), Some(1));
    assert_eq!(world.psk(A, B), None);
    world.comes(B);
    assert_eq!(world.psk(A, B), world.psk(B, A));
    assert_eq!(world.epoch(A, B), Some(1));
    assert_ne!(world.psk(A, B), world.psk(A, HUB));
}

#[test]
fn a_pair_moves_to_the_new_keys_only_when_both_are_here() {
    let mut world = World::new([A, B]);
    world.comes(A);
    world.comes(B);
    world.leaves(B);
    world.rotate();
    world.catch_up();
    assert_eq!(world.epoch(A, HUB), Some(2));
    assert_eq!(world.epoch(A, B), Some(1));
    assert_eq!(world.epoch(HUB, B), Some(1));
    world.comes(B);
    for (one, other) in [(A, B), (B, A), (B, HUB), (HUB, B)] {
        assert_eq!(world.epoch(one, other), Some(2), "{one} {other}");
    }
}

#[test]
fn a_rotation_by_itself_is_news_for_nobody() {
    let mut world = World::new([A, B]);
    world.comes(A);
    world.comes(B);
    world.rotate();
    assert!(world.tell().is_empty());
    assert_eq!(world.table.take_movable(1).len(), 1);
    assert_eq!(world.table.take_movable(9).len(), 2);
}

#[test]
fn an_agent_that_knows_nothing_of_pairs_has_no_keys_and_nobody_has_one_for_it() {
    let mut world = World::new([A, B]);
    world.comes(A);
    world.comes(B);
    world.leaves(A);
    assert_eq!(world.table.drop_keys(A).len(), 2);
    world.tell();
    assert_eq!((world.psk(HUB, A), world.psk(B, A)), (None, None));
    assert!(world.pair(B, A).unwrap().relay.is_none());
    assert!(world.psk(B, HUB).is_some());
}

#[test]
fn a_change_of_place_is_told_to_that_nodes_peers_and_not_to_the_hub() {
    let mut world = World::new([A, B, NodeId(4)]);
    world.comes(A);
    world.comes(B);
    assert!(world.table.seen(A, at("203.0.113.7:40000")));
    world.table.tell_of(A);
    assert!(world.table.listens(A, vec![at("192.168.0.7:51820")]));
    world.table.tell_of(A);
    assert_eq!(world.tell(), [B]);
    let known = &world.pair(B, A).unwrap().candidates;
    assert_eq!(*known, [at("203.0.113.7:40000"), at("192.168.0.7:51820")]);
    assert!(!world.table.seen(A, at("203.0.113.7:40000")));
    assert!(!world.table.listens(A, vec![at("192.168.0.7:51820")]));
    assert!(world.tell().is_empty());
    assert!(world.pair(HUB, A).unwrap().candidates.is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_node_that_moves_without_end_is_told_of_at_a_pace_and_the_last_place_counts() {
    let mut world = World::new([A, B]);
    world.comes(A);
    world.comes(B);
    let mut told = 0;
    for port in 1_000..1_100 {
        assert!(world.table.seen(A, (Ipv4Addr::LOCALHOST, port).into()));
        world.table.tell_of(A);
        told += world.tell().len();
    }
    assert_eq!(told, 5);
    assert!(!world.table.tell_late());
    tokio::time::advance(TOLD_EACH).await;
    assert!(world.table.tell_late() && !world.table.tell_late());
    assert_eq!(world.tell(), [B]);
    let last = &world.pair(B, A).unwrap().candidates;
    assert_eq!(*last, [at("127.0.0.1:1099")]);
}

#[test]
fn both_ends_get_a_relay_and_lose_it_with_the_grant() {
    let mut world = World::new([A, B]);
    world.comes(A);
    world.comes(B);
    let (a, b) = (world.pair(A, B).unwrap(), world.pair(B, A).unwrap());
    let ends = [(A, a.relay.clone().unwrap()), (B, b.relay.clone().unwrap())];
    assert!(world.pair(A, HUB).unwrap().relay.is_none());
    assert_eq!(world.table.relay().take_change(), Some(vec![ends]));
    world.members.retain(|id| *id != B);
    world.follow(A);
    assert_eq!(world.table.relay().take_change(), Some(vec![]));
}

#[test]
fn a_node_with_a_new_own_key_is_told_everything_anew() {
    let mut world = World::new([A]);
    world.comes(A);
    let peers = BTreeMap::from([(HUB, peer(HUB))]);
    world.table.follow(A, WgKey([9; 32]), &peers);
    let news = world.table.take(A, world.sessions[&A]);
    assert!(news[0].all && news[0].me == WgKey([9; 32]));
    assert_eq!(news[0].pairs.len(), 1);
}

/// The box that had the node's former key may be in somebody's hands, with all its channels.
#[test]
fn a_node_with_a_new_own_key_and_its_peers_get_other_channels() {
    const C: NodeId = NodeId(4);
    let mut world = World::new([A, B, C]);
    for node in [A, B, C] {
        world.comes(node);
    }
    let granted = |world: &World, node, other| world.pair(node, other).unwrap().relay.clone();
    let former = [(A, B), (B, A)].map(|(one, other)| granted(&world, one, other).unwrap());
    let apart = granted(&world, B, C);
    let peers = [B, C, HUB].map(|id| (id, peer(id)));
    world.table.follow(A, WgKey([9; 32]), &peers.into());
    let told: Vec<_> = [(A, B), (B, A)]
        .into_iter()
        .filter_map(|(node, other)| {
            let news = world.table.take(node, world.sessions[&node]);
            let mut pairs = news.into_iter().flat_map(|news| news.pairs);
            pairs.find(|pair| pair.peer == other)?.relay
        })
        .collect();
    assert_eq!(told.len(), 2, "both ends hear of it");
    for (told, former) in told.iter().zip(&former) {
        assert_ne!(told.key, former.key);
        assert_ne!(told.channel, former.channel);
    }
    let at_hub = world.table.relay().take_change().unwrap();
    assert_eq!(at_hub.len(), 3, "no pair is without a relay meanwhile");
    assert!(at_hub.contains(&[(A, told[0].clone()), (B, told[1].clone())]));
    assert_eq!(world.table.pair(B, key(B), C, key(C)).relay, apart);
}

#[test]
fn a_session_that_was_replaced_takes_nothing_and_its_end_ends_nothing() {
    let mut world = World::new([A]);
    world.comes(A);
    let former = world.sessions[&A];
    world.last_session += 1;
    world.table.opened(A, world.last_session);
    assert!(world.table.take(A, former).is_empty());
    world.table.closed(A, former);
    assert_eq!(world.table.with_news(), [A]);
}

#[derive(Clone, Debug)]
enum Step {
    Comes(u64),
    Leaves(u64),
    Rotate,
    CatchUp,
}

proptest! {
    /// Keys never differ but by the moment between two deliveries: one that is away keeps what it has, and so do its peers.
    #[test]
    fn both_ends_of_a_pair_have_the_same_key_whoever_is_away(
        steps in proptest::collection::vec(prop_oneof![
            (2_u64..7).prop_map(Step::Comes), (2_u64..7).prop_map(Step::Leaves), Just(Step::Rotate), Just(Step::CatchUp),
        ], 1..60),
    ) {
        let mut world = World::new((2..7).map(NodeId));
        for step in steps {
            match step {
                Step::Comes(id) => world.comes(NodeId(id)),
                Step::Leaves(id) => world.leaves(NodeId(id)),
                Step::Rotate => world.rotate(),
                Step::CatchUp => world.catch_up(),
            }
            world.tell();
            let ever: Vec<_> = world.told.keys().copied().collect();
            for one in &ever {
                for other in ever.iter().filter(|other| *other != one) {
                    prop_assert_eq!(world.psk(*one, *other), world.psk(*other, *one), "{} {}", one, other);
                }
            }
        }
    }
}
