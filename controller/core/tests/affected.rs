//! The nodes that a change is said to affect against a full recompute, and what sessions send against full maps.

mod world;

use std::collections::{BTreeMap, BTreeSet};

use malha_core::{History, NodeSync, State, affected};
use malha_proto::{Netmap, NodeId, ToNode};
use proptest::prelude::*;
use world::{World, any_dice};

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

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
            prop_assert!(!map.me.quarantined || (map.peers.is_empty() && map.services.is_empty()));
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
        for (dice, weather) in rolls {
            let command = world.roll(dice);
            if world.run(command).is_ok() {
                history.push(&world.state);
            }
            machines.retain(|id, _| world.state.node(*id).is_some());
            for (id, machine) in &mut machines {
                machine.weather(*id, weather, &world.state, &history);
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
    needless: usize,
}

impl Machine {
    fn connect(id: NodeId, map: Option<Netmap>, state: &State, history: &History) -> Self {
        let applied = map.as_ref().map(|map| map.revision);
        let digest = map.as_ref().map(Netmap::digest);
        let (sync, first) = NodeSync::open(id, applied, digest, state, history);
        Self {
            map,
            sync,
            on_the_way: first.into_iter().collect(),
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
                self.sync.applied(map.revision);
            }
        }
        if acknowledges && let Some(map) = &self.map {
            self.sync.applied(map.revision);
        }
        self.on_the_way.extend(self.sync.advance(state, history));
    }
}

fn full_recompute(state: &State) -> BTreeMap<NodeId, [u8; 32]> {
    state
        .nodes()
        .filter_map(|node| Some((node.id, state.netmap(node.id)?.digest())))
        .collect()
}
