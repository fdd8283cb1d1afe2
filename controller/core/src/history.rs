//! The recent states, so that a node that comes back, or is a few changes behind, gets a delta and not the whole map. A
//! ring: it never grows beyond its length.

use std::collections::{BTreeMap, VecDeque};

use malha_proto::{NodeId, Revision};

use crate::affected::touched_nodes;
use crate::state::State;

/// States whose netmaps differ, the newest last. States between which no netmap differs share one place: hellos and
/// enrolment counters cost no memory here.
#[derive(Clone, Debug, Default)]
pub struct History {
    entries: VecDeque<Entry>,
    /// The last two revisions at which a node's netmap changed, since this history began.
    touched: BTreeMap<NodeId, Touched>,
}

#[derive(Clone, Debug)]
struct Entry {
    first: Revision,
    last: Revision,
    state: State,
}

#[derive(Clone, Copy, Debug, Default)]
struct Touched {
    last: Revision,
    before: Revision,
}

impl History {
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds the newest state. One that is not newer than the last is left out.
    pub fn push(&mut self, state: &State) {
        let revision = state.revision();
        let Some(newest) = self.entries.back_mut() else {
            return self.add(state);
        };
        if revision <= newest.last {
            return;
        }
        let touched = touched_nodes(&newest.state, state);
        if touched.is_empty() {
            newest.last = revision;
            newest.state = state.clone();
            return;
        }
        for id in touched {
            if state.node(id).is_none() {
                self.touched.remove(&id);
                continue;
            }
            let touched = self.touched.entry(id).or_default();
            *touched = Touched {
                last: revision,
                before: touched.last,
            };
        }
        self.add(state);
    }

    /// How many different states are held.
    #[must_use]
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// The last revision at which a node's netmap changed; zero where it has not since this history began.
    #[must_use]
    pub fn last_change(&self, node: NodeId) -> Revision {
        self.touched
            .get(&node)
            .map(|touched| touched.last)
            .unwrap_or_default()
    }

    /// A state with the netmaps of this revision.
    pub(crate) fn at(&self, revision: Revision) -> Option<&State> {
        let at = self.entries.partition_point(|entry| entry.last < revision);
        self.entries
            .get(at)
            .filter(|entry| entry.first <= revision)
            .map(|entry| &entry.state)
    }

    /// A state in which this node's netmap is what it was at `revision`, even where that state itself is forgotten. The
    /// revision must not be older than this history.
    pub(crate) fn with_netmap_of(&self, node: NodeId, revision: Revision) -> Option<&State> {
        if let Some(state) = self.at(revision) {
            return Some(state);
        }
        let touched = self.touched.get(&node).copied().unwrap_or_default();
        if touched.last <= revision {
            return self.entries.back().map(|entry| &entry.state);
        }
        let unchanged_until = touched.last.0.checked_sub(1).map(Revision)?;
        self.at(unchanged_until)
            .filter(|_| touched.before <= revision)
    }

    fn add(&mut self, state: &State) {
        if self.entries.len() == MAX_STATES {
            self.entries.pop_front();
        }
        let revision = state.revision();
        self.entries.push_back(Entry {
            first: revision,
            last: revision,
            state: state.clone(),
        });
    }
}

/// How many different states are kept.
pub(crate) const MAX_STATES: usize = 4_096;

#[cfg(test)]
mod tests;
