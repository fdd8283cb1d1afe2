//! What the simulation itself knows of what was promised: addresses given, tokens handed out, disks copied, maps at each
//! revision. Every commit is held against it.

use std::collections::{BTreeMap, BTreeSet};

use malha_core::{Affected, NodeState, State};
use malha_proto::{NodeId, Revision, TokenId};

use super::failure::Broken;
use super::oracle;

#[derive(Debug, Default)]
pub(super) struct Ledger {
    /// Each address pair that was ever given: to whom, and when it was freed.
    addresses: BTreeMap<u32, Holding>,
    tokens: BTreeMap<TokenId, Promise>,
    /// Nodes whose identity is on more than one disk, or was since its last new keys.
    copied: BTreeSet<NodeId>,
    digests: BTreeMap<NodeId, [u8; 32]>,
    states: BTreeMap<Revision, State>,
}

#[derive(Debug)]
struct Holding {
    node: NodeId,
    freed_ms: Option<u64>,
}

#[derive(Debug)]
struct Promise {
    uses: usize,
    /// The nodes that it made, or gave a new machine, and when.
    admitted: BTreeSet<(NodeId, u64)>,
    /// Handed to more machines than it is for.
    contested: bool,
    /// Revoked, or for a node that is gone.
    spoiled: bool,
}

impl Ledger {
    /// Holds a commit against everything that was promised. `before` is None for the first state.
    pub(super) fn committed(
        &mut self,
        before: Option<&State>,
        state: &State,
        affected: &Affected,
        now_ms: u64,
    ) -> Result<(), Broken> {
        self.check_addresses(state, now_ms)?;
        self.check_quarantines(state)?;
        self.check_tokens(state)?;
        self.states.insert(state.revision(), state.clone());
        let is_any = before.is_none_or(|_| affected.is_any());
        if is_any {
            self.check_maps(state, affected)?;
        }
        Ok(())
    }

    /// A commit after which the controller died: nobody heard of it, but it counts.
    pub(super) fn committed_unheard(&mut self, state: &State, now_ms: u64) -> Result<(), Broken> {
        self.check_addresses(state, now_ms)?;
        self.check_quarantines(state)?;
        self.check_tokens(state)?;
        self.states.insert(state.revision(), state.clone());
        self.note_digests(state).map(drop)
    }

    /// The state of a revision that was committed.
    pub(super) fn state(&self, revision: Revision) -> Option<&State> {
        self.states.get(&revision)
    }

    pub(super) fn handed_out(&mut self, token: TokenId, uses: u32, machines: u32) {
        let promise = Promise {
            uses: uses as usize,
            admitted: BTreeSet::new(),
            contested: machines > uses,
            spoiled: false,
        };
        self.tokens.insert(token, promise);
    }

    /// Whether a machine with this token must become a node in the end.
    pub(super) fn must_admit(&self, token: TokenId) -> bool {
        self.tokens
            .get(&token)
            .is_some_and(|promise| !promise.contested && !promise.spoiled)
    }

    pub(super) fn copied(&mut self, node: NodeId) {
        self.copied.insert(node);
    }

    pub(super) fn is_copied(&self, node: NodeId) -> bool {
        self.copied.contains(&node)
    }

    /// Only one machine has this identity again, under new keys.
    pub(super) fn is_single(&mut self, node: NodeId) {
        self.copied.remove(&node);
    }

    fn check_addresses(&mut self, state: &State, now_ms: u64) -> Result<(), Broken> {
        let mut live = BTreeMap::new();
        for node in state.nodes() {
            let Some(offset) = state.settings().pools.offset(&node.addresses) else {
                return Err(Broken::new(format!(
                    "{} has an address of no pool",
                    node.id
                )));
            };
            if let Some(other) = live.insert(offset, node.id) {
                return Err(Broken::new(format!(
                    "{other} and {} have the same address",
                    node.id
                )));
            }
        }
        for (offset, holding) in &mut self.addresses {
            if !live.contains_key(offset) && holding.freed_ms.is_none() {
                holding.freed_ms = Some(now_ms);
            }
        }
        for (offset, node) in live {
            let holding = self.addresses.get(&offset);
            match holding {
                Some(holding) if holding.node == node => {}
                Some(Holding {
                    freed_ms: Some(freed_ms),
                    ..
                }) if now_ms >= freed_ms + RESTING_MS => {}
                Some(holding) => {
                    return Err(Broken::new(format!(
                        "the address of {} was given to {node} too early",
                        holding.node
                    )));
                }
                None => {}
            }
            let holding = Holding {
                node,
                freed_ms: None,
            };
            self.addresses.insert(offset, holding);
        }
        Ok(())
    }

    fn check_quarantines(&self, state: &State) -> Result<(), Broken> {
        let wrong = state.nodes().find(|node| {
            matches!(node.state, NodeState::Quarantined(_)) && !self.copied.contains(&node.id)
        });
        match wrong {
            Some(node) => Err(Broken::new(format!(
                "{} is quarantined, but its disk was never copied: {:?}",
                node.id, node.state
            ))),
            None => Ok(()),
        }
    }

    /// Each token let in as many machines as it is for, and no more.
    fn check_tokens(&mut self, state: &State) -> Result<(), Broken> {
        for (id, promise) in &mut self.tokens {
            promise.spoiled |= state.token(*id).is_none_or(|token| {
                token.revoked
                    || token
                        .replaces
                        .is_some_and(|node| state.node(node).is_none())
            });
        }
        for node in state.nodes() {
            let Some(promise) = node.token.and_then(|token| self.tokens.get_mut(&token)) else {
                continue;
            };
            promise.admitted.insert((node.id, node.enrolled_ms));
            if promise.admitted.len() > promise.uses {
                return Err(Broken::new(format!(
                    "{:?} is for {} machines: {promise:?}",
                    node.token, promise.uses
                )));
            }
        }
        Ok(())
    }

    /// Each map is the oracle's, and the nodes called affected are exactly those whose map differs.
    fn check_maps(&mut self, state: &State, affected: &Affected) -> Result<(), Broken> {
        let differ = self.note_digests(state)?;
        if differ != affected.nodes {
            return Err(Broken::new(format!(
                "revision {} changed the maps of {differ:?} and called {:?} affected",
                state.revision(),
                affected.nodes
            )));
        }
        Ok(())
    }

    /// The nodes whose map is another than before.
    fn note_digests(&mut self, state: &State) -> Result<BTreeSet<NodeId>, Broken> {
        let mut digests = BTreeMap::new();
        for node in state.nodes() {
            let map = state.netmap(node.id);
            let naive = oracle::netmap(state, node.id);
            if map != naive {
                return Err(Broken::new(format!(
                    "the map of {} is not what the rules say:\n{map:#?}\nbut\n{naive:#?}",
                    node.id
                )));
            }
            digests.extend(map.map(|map| (node.id, map.digest())));
        }
        let ids = self.digests.keys().chain(digests.keys());
        let differ = ids.filter(|id| self.digests.get(id) != digests.get(id));
        let differ: BTreeSet<NodeId> = differ.copied().collect();
        self.digests = digests;
        Ok(differ)
    }
}

/// As the issue says, independent of the product's own constant: seven days.
const RESTING_MS: u64 = 7 * 24 * 3_600 * 1_000;
