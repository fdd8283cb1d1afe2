//! What a session says last, when the controller ends it.

use malha_core::{NodeState, State};
use malha_proto::{FarewellReason, Fingerprint, NodeId, RefusalCode, ToNode};

/// The last message of a session that the state does not grant any more.
pub(super) fn revoked(state: &State, node: NodeId, shown: &Fingerprint) -> Option<ToNode> {
    let Some(node) = state.node(node) else {
        return Some(removed());
    };
    if matches!(node.state, NodeState::Quarantined(_)) {
        return Some(cloned());
    }
    // Another machine took its place, or a newer session of this one put the key away: the next hello learns which.
    (!node.knows_key(shown)).then(superseded)
}

pub(super) fn cloned() -> ToNode {
    ToNode::Refused {
        code: RefusalCode::Cloned,
        text: "another machine shows the same identity; both are held apart until the operator chooses one".to_owned(),
    }
}

pub(super) fn superseded() -> ToNode {
    ToNode::Farewell {
        reason: FarewellReason::Superseded,
    }
}

pub(super) fn removed() -> ToNode {
    ToNode::Refused {
        code: RefusalCode::NodeRemoved,
        text: "this node was removed by the operator".to_owned(),
    }
}

pub(super) fn busy(wait_ms: u64) -> ToNode {
    ToNode::Refused {
        code: RefusalCode::Busy,
        text: format!(
            "this machine asks for too many sessions; try again in {} s",
            wait_ms.div_ceil(1_000)
        ),
    }
}

pub(super) fn malformed(text: &str) -> ToNode {
    ToNode::Refused {
        code: RefusalCode::Malformed,
        text: text.to_owned(),
    }
}
