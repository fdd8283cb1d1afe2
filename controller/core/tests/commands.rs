//! Any sequence of commands, sensible or hostile: nothing panics, what is stored is the whole state, and no address is
//! given twice or too soon.
#![allow(clippy::unwrap_used, reason = "a step that fails is a test that fails")]

mod world;

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use malha_core::limits::ADDRESS_QUARANTINE_MS;
use malha_core::{Entity, State};
use malha_proto::NodeId;
use proptest::prelude::*;
use world::{Dice, World, any_dice};

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn the_stored_records_are_the_whole_state(rolls in prop::collection::vec(any_dice(), 1..150), from_nothing: bool) {
        let mut world = if from_nothing { World::default() } else { World::furnished() };
        for dice in rolls {
            let before = world.state.clone();
            let command = world.roll(dice);
            match world.run(command) {
                Ok(outcome) => {
                    prop_assert_eq!(outcome.changes.is_empty(), outcome.state.revision() == before.revision());
                    prop_assert!(outcome.state.revision() <= before.revision().next());
                }
                Err(_) => prop_assert!(world.state == before),
            }
        }
        let entities = world.store.values().map(|(key, value)| Entity::decode(key, value).unwrap());
        let restored = State::restore(world.state.revision(), entities).unwrap();
        prop_assert!(restored == world.state, "a restart gives another state");
        prop_assert_eq!(restored.entities().count(), world.store.len());
    }

    #[test]
    fn no_address_is_given_twice_or_before_it_rested(rolls in prop::collection::vec(any_dice(), 50..200)) {
        let mut world = World::crowded();
        let mut freed: BTreeMap<Ipv4Addr, u64> = BTreeMap::new();
        for dice in rolls {
            let before: BTreeMap<NodeId, Ipv4Addr> = addresses(&world.state);
            let command = world.roll(churn(dice));
            let _ = world.run(command);
            let after = addresses(&world.state);
            let mut all: Vec<Ipv4Addr> = after.values().copied().collect();
            all.sort();
            all.dedup();
            prop_assert_eq!(all.len(), after.len(), "one address at two nodes");
            for (id, address) in &after {
                if !before.contains_key(id)
                    && let Some(freed_ms) = freed.get(address)
                {
                    prop_assert!(world.now_ms >= freed_ms + ADDRESS_QUARANTINE_MS, "{} was given too soon", address);
                }
            }
            for (id, address) in &before {
                match after.get(id) {
                    Some(kept) => prop_assert_eq!(kept, address, "a node's address changed"),
                    None => {
                        freed.insert(*address, world.now_ms);
                    }
                }
            }
        }
    }
}

fn addresses(state: &State) -> BTreeMap<NodeId, Ipv4Addr> {
    state
        .nodes()
        .map(|node| (node.id, node.addresses.v4))
        .collect()
}

/// Mostly tokens, enrolments and removals.
fn churn(dice: Dice) -> Dice {
    let kinds = [7, 11, 12, 19, 19, 43];
    Dice {
        kind: if dice.kind < 200 {
            kinds[usize::from(dice.kind) % kinds.len()]
        } else {
            dice.kind
        },
        ..dice
    }
}
