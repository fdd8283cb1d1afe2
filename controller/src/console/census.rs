//! One look at all nodes: where each stands and which of its hops is broken. Pages that are drawn together share it, so
//! that ten open pages cost as much as one.

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use malha_core::health::Diagnosis;
use malha_core::{Node, NodeState, State};
use malha_proto::{HopState, NodeId, Revision};
use malha_web::model::{self, BrokenHop};
use tokio::time::Instant;

use crate::console::{ControllerConsole, hops};
use crate::paths;

/// All nodes at one moment.
pub(super) struct Census {
    pub(super) state: Arc<State>,
    /// By [`Standing::path`].
    pub(super) nodes: Vec<Standing>,
    places: BTreeMap<NodeId, usize>,
    taken: Instant,
}

/// One node, judged.
pub(super) struct Standing {
    pub(super) id: NodeId,
    /// `organization/site/node`.
    pub(super) path: String,
    pub(super) state: model::NodeState,
    pub(super) diagnosis: Diagnosis,
    pub(super) broken: Option<BrokenHop>,
}

impl Census {
    pub(super) fn standing(&self, id: NodeId) -> Option<&Standing> {
        self.places
            .get(&id)
            .and_then(|place| self.nodes.get(*place))
    }

    fn take(console: &ControllerConsole, state: Arc<State>) -> Self {
        let mut nodes: Vec<Standing> = state
            .nodes()
            .filter_map(|node| Standing::of(console, &state, node))
            .collect();
        nodes.sort_by(|a, b| a.path.cmp(&b.path));
        let places = nodes
            .iter()
            .enumerate()
            .map(|(place, standing)| (standing.id, place))
            .collect();
        Self {
            state,
            nodes,
            places,
            taken: Instant::now(),
        }
    }

    fn is_of(&self, revision: Revision) -> bool {
        self.state.revision() == revision && self.taken.elapsed() < MAX_AGE
    }
}

impl Standing {
    /// Control session and tunnel are both up.
    pub(super) fn is_online(&self) -> bool {
        matches!(
            (self.diagnosis.control, self.diagnosis.tunnel),
            (HopState::Up(_), HopState::Up(_))
        )
    }

    fn of(console: &ControllerConsole, state: &State, node: &Node) -> Option<Self> {
        let diagnosis = console.live.diagnosis(state, node.id)?;
        let standing = standing(state, node, &diagnosis);
        let broken = match standing {
            model::NodeState::Pending if node.is_active() => Some(hops::never_connected(node)),
            model::NodeState::Active => hops::broken(state, node, &diagnosis),
            // Held apart on purpose: no hop is to blame that nothing passes.
            _ => None,
        };
        Some(Self {
            id: node.id,
            path: paths::node(state, node.id),
            state: standing,
            diagnosis,
            broken,
        })
    }
}

impl ControllerConsole {
    /// The present state with every node judged. As fresh as the last notice, and never older than [`MAX_AGE`].
    pub(super) fn census(&self) -> Arc<Census> {
        let mut kept = self.census.lock().unwrap_or_else(PoisonError::into_inner);
        let state = self.state();
        match kept
            .as_ref()
            .filter(|census| census.is_of(state.revision()))
        {
            Some(census) => Arc::clone(census),
            None => Arc::clone(kept.insert(Arc::new(Census::take(self, state)))),
        }
    }

    /// Makes the next look a new one.
    pub(super) fn forget_census(&self) {
        *self.census.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }
}

fn standing(state: &State, node: &Node, diagnosis: &Diagnosis) -> model::NodeState {
    match node.state {
        NodeState::Quarantined(_) => model::NodeState::Quarantined,
        NodeState::Rekeying { .. } => model::NodeState::Pending,
        NodeState::Active => {
            let never_came = state.lease(node.id).is_some_and(|lease| !lease.shown);
            if never_came && diagnosis.control == HopState::Unknown {
                model::NodeState::Pending
            } else {
                model::NodeState::Active
            }
        }
    }
}

/// Verdicts change with time too: an old probe proves nothing.
const MAX_AGE: Duration = Duration::from_secs(1);
