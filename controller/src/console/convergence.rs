//! How far changes have come among the nodes: after one write, and over everything. Only what nodes said counts.

use std::collections::BTreeMap;
use std::sync::PoisonError;
use std::time::Duration;

use malha_core::{Node, State};
use malha_proto::{NodeId, Revision};
use malha_web::model::Convergence;
use tokio::time::{Instant, timeout_at};

use crate::console::ControllerConsole;
use crate::coordinator::{Accepted, Committed};
use crate::paths;
use crate::session::Registry;

/// The nodes that are not known to run with everything that concerns them, and the revision each has to reach. Entries are
/// struck off with each notice and when somebody looks.
#[derive(Debug, Default)]
pub(super) struct Owing {
    nodes: BTreeMap<NodeId, Revision>,
}

impl Owing {
    /// At the start nobody is known to have anything: each node says at its hello what it has.
    pub(super) fn everyone(state: &State) -> Self {
        Self {
            nodes: state
                .nodes()
                .map(|node| (node.id, state.revision()))
                .collect(),
        }
    }

    fn strike_off(&mut self, state: &State, registry: &Registry) {
        self.nodes.retain(|id, revision| {
            state.node(*id).is_some() && !has_applied(state, registry, *id, *revision)
        });
    }
}

impl ControllerConsole {
    /// Notes whom a commit concerns.
    pub(super) fn owe(&self, committed: &Committed) {
        let mut owing = self.owing.lock().unwrap_or_else(PoisonError::into_inner);
        owing.nodes.extend(
            committed
                .affected
                .nodes
                .iter()
                .map(|id| (*id, committed.revision)),
        );
    }

    /// After commits were missed: who is not here has to show at the next hello what it has.
    pub(super) fn owe_absent(&self) {
        let state = self.state();
        let absent = state.nodes().filter(|node| !self.registry.is_open(node.id));
        let absent = absent.map(|node| (node.id, state.revision()));
        self.owing
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .nodes
            .extend(absent);
    }

    /// Forgets what nodes owed and have shown since, before they leave.
    pub(super) fn strike_off(&self) {
        let state = self.state();
        self.owing
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .strike_off(&state, &self.registry);
    }

    /// How many of the active nodes run with everything that concerns them.
    pub(super) fn overall_convergence(&self, state: &State) -> Convergence {
        let mut owing = self.owing.lock().unwrap_or_else(PoisonError::into_inner);
        owing.strike_off(state, &self.registry);
        let is_counted = |id: &NodeId| state.node(*id).is_some_and(Node::is_active);
        let of = state.nodes().filter(|node| node.is_active()).count();
        let late: Vec<NodeId> = owing.nodes.keys().copied().filter(is_counted).collect();
        convergence(state, of.saturating_sub(late.len()), of, &late)
    }

    /// Gives the online nodes that a write concerns a moment to apply it, and says who has.
    pub(super) async fn settle(&self, accepted: &Accepted) -> Convergence {
        let deadline = Instant::now() + PATIENCE;
        let mut progress = self.registry.progress();
        let mut change =
            malha_core::Convergence::new(accepted.revision, &accepted.committed.affected);
        loop {
            progress.borrow_and_update();
            let state = self.state();
            let waiting: Vec<NodeId> = change.waiting().collect();
            for id in waiting
                .into_iter()
                .filter(|id| has_applied(&state, &self.registry, *id, accepted.revision))
            {
                change.applied(id, accepted.revision);
            }
            let online = |id| self.registry.is_open(id);
            if change.is_done(&state, online)
                || !matches!(timeout_at(deadline, progress.changed()).await, Ok(Ok(())))
            {
                let reached = change.progress(&state, online);
                let (mut late, offline): (Vec<_>, Vec<_>) =
                    change.waiting().partition(|id| online(*id));
                late.extend(offline);
                return convergence(&state, reached.applied, reached.total, &late);
            }
        }
    }
}

/// The hub takes its part from the state itself: it needs no word.
fn has_applied(state: &State, registry: &Registry, id: NodeId, revision: Revision) -> bool {
    state.node(id).is_some_and(|node| node.hub)
        || registry
            .find(id)
            .is_some_and(|session| session.applied >= revision)
}

fn convergence(state: &State, applied: usize, of: usize, late: &[NodeId]) -> Convergence {
    let still_there = late.iter().filter(|id| state.node(**id).is_some());
    Convergence {
        applied: count(applied),
        of: count(of),
        lagging: still_there
            .take(MAX_NAMES)
            .map(|id| paths::node(state, *id).into())
            .collect(),
    }
}

/// A count as the dashboard takes it.
pub(super) fn count(number: usize) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}

/// How long a write waits for the nodes before it answers.
const PATIENCE: Duration = Duration::from_secs(1);
/// Nodes that are named as late.
const MAX_NAMES: usize = 20;
