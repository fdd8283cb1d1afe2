//! The nodes that a change is said to affect against a full recompute, and what sessions send against full maps.
#![allow(clippy::unwrap_used, reason = "a step that fails is a test that fails")]

mod world;

use std::collections::{BTreeMap, BTreeSet};

use malha_core::{
    Command, History, MAX_UNACKNOWLEDGED, NodeSync, PATIENT_REPORTS, State, affected,
};
use malha_proto::{Netmap, NodeId, Revision, ToNode};
use proptest::prelude::*;
use world::{World, any_dice};

proptest! {
    #![proptest_config(ProptestConfig::with_cases(36))]

    #[test]
    fn affected_nodes_are_exactly_those_whose_netmap_differs(rolls in prop::collection::vec(any_dice(), 40..120)) {
        let mut world = World::furnished();
        let mut digests = full_recompute(&world.state);
        for dice in rolls {
            let before = world.state.clone();
            let command = world.roll(dice);
            let shown = format!("{command:?}");
            let Ok(outcome) = world.run(command) else { continue };
            let said = affected(&before, &outcome.state, &outcome.changes);
            let now = full_recompute(&world.state);
            let ids: BTreeSet<NodeId> = digests.keys().chain(now.keys()).copied().collect();
            let differing: BTreeSet<NodeId> = ids.into_iter().filter(|id| digests.get(id) != now.get(id)).collect();
            prop_assert_eq!(&said.nodes, &differing, "{}", shown);
            let gone: BTreeSet<NodeId> = digests.keys().filter(|id| !now.contains_key(id)).copied().collect();
            prop_assert_eq!(&said.removed, &gone, "{}", shown);
            digests = now;
        }
    }

    #[test]
    fn peers_are_symmetric_and_never_quarantined(rolls in prop::collection::vec(any_dice(), 40..120)) {
        let mut world = World::furnished();
        for dice in rolls {
            let command = world.roll(dice);
            let _ = world.run(command);
        }
        let maps: BTreeMap<NodeId, Netmap> =
            world.state.nodes().filter_map(|node| Some((node.id, world.state.netmap(node.id)?))).collect();
        prop_assert_eq!(maps.len(), world.state.nodes().len());
        for (id, map) in &maps {
            prop_assert!(!map.me.quarantined || map.peers.is_empty());
            let servers = |it: &malha_proto::Balancer| it.backends.len();
            prop_assert!(!map.me.quarantined || map.balancers.values().all(|it| servers(it) == 0));
            // Their ports stay closed outside the overlay while nothing is offered.
            let own = world.state.services().filter(|it| it.node == *id);
            prop_assert!(map.services.keys().copied().eq(own.map(|it| it.id)));
            for peer in map.peers.keys() {
                prop_assert!(maps[peer].peers.contains_key(id), "{} knows {}, which does not know it", id, peer);
            }
        }
    }

    #[test]
    fn a_node_that_applies_what_its_session_sends_has_the_full_map(
        rolls in prop::collection::vec((any_dice(), 0_u8..16), 40..120),
    ) {
        let mut world = World::furnished();
        let mut history = History::new();
        history.push(&world.state);
        let ids: Vec<NodeId> = world.state.nodes().map(|node| node.id).collect();
        let mut machines: BTreeMap<NodeId, Machine> =
            ids.into_iter().map(|id| (id, Machine::connect(id, None, &world.state, &history))).collect();
        let mut digests = BTreeMap::from([(world.state.revision(), full_recompute(&world.state))]);
        for (dice, weather) in rolls {
            let command = world.roll(dice);
            if world.run(command).is_ok() {
                history.push(&world.state);
                digests.entry(world.state.revision()).or_insert_with(|| full_recompute(&world.state));
            }
            machines.retain(|id, _| world.state.node(*id).is_some());
            for (id, machine) in &mut machines {
                machine.weather(*id, weather, &world.state, &history);
                let applied = machine.sync.applied_revision();
                if let Some(acknowledged) = machine.acknowledged {
                    prop_assert_eq!(Some(&acknowledged), digests[&applied].get(id), "{} at {}", id, applied);
                }
            }
        }
        for (id, machine) in &mut machines {
            for _ in 0..8 {
                machine.hear(&world.state, &history, true);
            }
            let full = world.state.netmap(*id).unwrap();
            let own = machine.map.clone().unwrap();
            prop_assert_eq!(own.digest(), full.digest(), "{} differs", id);
            prop_assert_eq!(machine.sync.applied_revision(), world.state.revision());
            prop_assert!(machine.needless == 0, "something was sent to {} that it had", id);
        }
    }
}

/// A node's side of a session.
struct Machine {
    map: Option<Netmap>,
    sync: NodeSync,
    on_the_way: Vec<ToNode>,
    /// The digest of the map that it said it runs with.
    acknowledged: Option<[u8; 32]>,
    needless: usize,
}

impl Machine {
    fn connect(id: NodeId, map: Option<Netmap>, state: &State, history: &History) -> Self {
        let applied = map.as_ref().map(|map| map.revision);
        let digest = map.as_ref().map(Netmap::digest);
        let (sync, first) = NodeSync::open(id, applied, digest, state, history);
        // A session that starts with a snapshot knows nothing of what the node runs with.
        let acknowledged = digest.filter(|_| !matches!(first, Some(ToNode::Snapshot(_))));
        Self {
            map,
            sync,
            on_the_way: first.into_iter().collect(),
            acknowledged,
            needless: 0,
        }
    }

    /// Sometimes hears, sometimes loses the connection with all that was on its way, sometimes waits.
    fn weather(&mut self, id: NodeId, weather: u8, state: &State, history: &History) {
        match weather.wrapping_add(id.0 as u8) % 8 {
            0 => {
                let needless = self.needless;
                *self = Self::connect(id, self.map.take(), state, history);
                self.needless = needless;
            }
            1 | 2 => self.hear(state, history, true),
            3 => self.hear(state, history, false),
            4 => self.sync.need_snapshot(),
            _ => self.on_the_way.extend(self.sync.advance(state, history)),
        }
    }

    fn hear(&mut self, state: &State, history: &History, acknowledges: bool) {
        for message in std::mem::take(&mut self.on_the_way) {
            match message {
                ToNode::Snapshot(map) => self.map = Some(*map),
                ToNode::Delta(delta) => {
                    self.needless += usize::from(delta.is_empty());
                    if self
                        .map
                        .as_mut()
                        .is_none_or(|map| map.patch(*delta).is_err())
                    {
                        self.sync.need_snapshot();
                    }
                }
                other => panic!("{other:?}"),
            }
            if acknowledges && let Some(map) = &self.map {
                acknowledge(&mut self.sync, map, &mut self.acknowledged);
            }
        }
        if acknowledges && let Some(map) = &self.map {
            acknowledge(&mut self.sync, map, &mut self.acknowledged);
        }
        self.on_the_way.extend(self.sync.advance(state, history));
    }
}

/// An acknowledgement counts unless a snapshot was asked for since the message was sent.
fn acknowledge(sync: &mut NodeSync, map: &Netmap, acknowledged: &mut Option<[u8; 32]>) {
    let before = sync.applied_revision();
    sync.applied(map.revision);
    if sync.applied_revision() != before {
        *acknowledged = Some(map.digest());
    }
}

fn full_recompute(state: &State) -> BTreeMap<NodeId, [u8; 32]> {
    state
        .nodes()
        .filter_map(|node| Some((node.id, state.netmap(node.id)?.digest())))
        .collect()
}

#[test]
fn what_happens_while_acknowledgements_are_missing_becomes_one_delta() {
    let mut world = World::furnished();
    let mut history = History::new();
    history.push(&world.state);
    let hub = world.state.nodes().find(|node| node.hub).unwrap().id;
    let garage = world.state.nodes().last().unwrap().id;
    let (mut sync, first) = NodeSync::open(hub, None, None, &world.state, &history);
    assert!(matches!(first, Some(ToNode::Snapshot(_))));
    let mut rename = |sync: &mut NodeSync, n: u32| {
        world
            .run(Command::RenameNode {
                id: garage,
                name: world::label(&format!("nome-{n}")),
            })
            .unwrap();
        history.push(&world.state);
        (
            sync.advance(&world.state, &history),
            world.state.clone(),
            history.clone(),
        )
    };
    for n in 1..MAX_UNACKNOWLEDGED as u32 {
        assert!(rename(&mut sync, n).0.is_some());
    }
    for n in 10..20 {
        assert_eq!(
            rename(&mut sync, n).0,
            None,
            "no more is sent before an acknowledgement"
        );
    }
    let (_, state, history) = rename(&mut sync, 20);
    let Some(ToNode::Snapshot(map)) = first else {
        unreachable!()
    };
    sync.applied(map.revision);
    let Some(ToNode::Delta(delta)) = sync.advance(&state, &history) else {
        panic!("nothing came")
    };
    assert_eq!(delta.peers.len(), 1, "eleven changes of one peer are one");
    assert_eq!(delta.to, state.revision());
    for report in 0..PATIENT_REPORTS {
        assert_eq!(rename(&mut sync, 30 + report as u32).0, None);
        sync.reported();
    }
    let (next, state, _) = rename(&mut sync, 99);
    let Some(ToNode::Delta(delta)) = next else {
        panic!("a node that can't put a map in force hears nothing any more")
    };
    assert_eq!(delta.to, state.revision());
    assert_eq!(rename(&mut sync, 100).0, None, "one more, and not more");
}

/// A restored backup is older than its nodes: they name revisions that it has yet to give away.
#[test]
fn what_a_node_says_of_another_history_is_not_believed() {
    let mut world = World::furnished();
    let mut history = History::new();
    history.push(&world.state);
    let hub = world.state.nodes().find(|node| node.hub).unwrap().id;
    let ahead = Some(Revision(world.state.revision().0 + 10));
    let (mut sync, first) = NodeSync::open(hub, ahead, Some([7; 32]), &world.state, &history);
    let Some(ToNode::Snapshot(map)) = first else {
        panic!("{first:?}")
    };
    assert_eq!(sync.applied_revision(), Revision::default());
    sync.applied(map.revision);
    assert_eq!(sync.applied_revision(), world.state.revision());
    let name = world::label("nome");
    let rename = Command::RenameNode { id: hub, name };
    world.run(rename).unwrap();
    history.push(&world.state);
    assert!(sync.advance(&world.state, &history).is_some());
    assert!(sync.applied_revision() < world.state.revision());
}
