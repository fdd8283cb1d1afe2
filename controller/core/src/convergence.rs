//! How far a change has come: who runs with it, who lags, who is not there to hear of it.

use std::collections::BTreeSet;

use malha_proto::{HostName, NodeId, Revision};

use crate::affected::Affected;
use crate::state::State;

/// The progress of one change among the nodes that it affects.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Convergence {
    revision: Revision,
    waiting: BTreeSet<NodeId>,
    total: usize,
}

/// What `?wait=applied` answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Progress {
    pub revision: Revision,
    /// Nodes that run with the change.
    pub applied: usize,
    /// Nodes that it affects.
    pub total: usize,
    /// Those online that do not run with it yet.
    pub lagging: Vec<HostName>,
    /// Those that will hear of it when they come back.
    pub offline: Vec<HostName>,
}

impl Convergence {
    /// Begins with nobody having applied the change. Nodes that it removed are not waited for.
    #[must_use]
    pub fn new(revision: Revision, affected: &Affected) -> Self {
        let waiting: BTreeSet<NodeId> = affected
            .nodes
            .difference(&affected.removed)
            .copied()
            .collect();
        Self {
            revision,
            total: waiting.len(),
            waiting,
        }
    }

    /// A node is known to run with everything up to `applied` ([`crate::NodeSync::applied_revision`]).
    pub fn applied(&mut self, node: NodeId, applied: Revision) {
        if applied >= self.revision {
            self.waiting.remove(&node);
        }
    }

    /// The nodes still to be heard of.
    pub fn waiting(&self) -> impl Iterator<Item = NodeId> {
        self.waiting.iter().copied()
    }

    /// Whether every node that is online has applied it. A node that was removed meanwhile is not waited for.
    #[must_use]
    pub fn is_done(&self, state: &State, online: impl Fn(NodeId) -> bool) -> bool {
        !self
            .waiting
            .iter()
            .any(|id| state.node(*id).is_some() && online(*id))
    }

    #[must_use]
    pub fn progress(&self, state: &State, online: impl Fn(NodeId) -> bool) -> Progress {
        let still_there = self
            .waiting
            .iter()
            .filter_map(|id| Some((*id, state.node_name(*id)?)));
        let (lagging, offline): (Vec<_>, Vec<_>) = still_there.partition(|(id, _)| online(*id));
        let gone = self.waiting.len() - lagging.len() - offline.len();
        let names =
            |nodes: Vec<(NodeId, HostName)>| nodes.into_iter().map(|(_, name)| name).collect();
        Progress {
            revision: self.revision,
            applied: self.total - self.waiting.len(),
            total: self.total - gone,
            lagging: names(lagging),
            offline: names(offline),
        }
    }
}

#[cfg(test)]
mod tests;
