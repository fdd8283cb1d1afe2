//! Nodes: as rows, in full, and the questions asked of a list of them.

use std::net::{Ipv4Addr, Ipv6Addr};

use time::OffsetDateTime;

use super::{Hops, Profile, ServiceRow, opaque_id};
use crate::untrusted::Untrusted;

opaque_id!(
    /// Names a node.
    NodeId
);

/// One node as a row.
#[derive(Clone, Debug)]
pub struct NodeRow {
    pub id: NodeId,
    pub organization: Untrusted,
    pub site: Untrusted,
    pub name: Untrusted,
    pub ipv4: Option<Ipv4Addr>,
    pub ipv6: Option<Ipv6Addr>,
    pub profile: Profile,
    pub state: NodeState,
    pub hops: Hops,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NodeState {
    Active,
    /// Enrolled, not connected yet.
    Pending,
    /// Two machines claim to be it.
    Quarantined,
    Removed,
}

impl NodeState {
    /// Every state, in the order in which the filter offers them.
    pub const ALL: [NodeState; 4] = [
        NodeState::Active,
        NodeState::Pending,
        NodeState::Quarantined,
        NodeState::Removed,
    ];

    /// The state's name in addresses and forms.
    pub fn as_str(self) -> &'static str {
        match self {
            NodeState::Active => "active",
            NodeState::Pending => "pending",
            NodeState::Quarantined => "quarantined",
            NodeState::Removed => "removed",
        }
    }

    /// The state with this name.
    pub fn parse(name: &str) -> Option<NodeState> {
        NodeState::ALL
            .into_iter()
            .find(|state| state.as_str() == name)
    }
}

/// Which nodes to list.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NodeQuery {
    /// A part of organization, site, name or address; empty for all.
    pub text: String,
    /// Only nodes in this state; `None` for all but the removed.
    pub state: Option<NodeState>,
    /// Only nodes with a broken hop.
    pub broken: bool,
    /// Rows to leave out before the first one shown.
    pub skip: usize,
    /// The most rows to answer with.
    pub limit: usize,
}

/// Everything the node's own page shows.
#[derive(Clone, Debug)]
pub struct NodeDetail {
    pub row: NodeRow,
    /// The WireGuard public key, in base64.
    pub public_key: Untrusted,
    pub enrolled_at: OffsetDateTime,
    /// The overlay name, `<node>.<site>.<org>.<zone>`.
    pub overlay_name: Untrusted,
    /// The agent's version and the machine's system, as reported.
    pub software: Untrusted,
    /// The revision that the node has applied; `None` while it has no session to say so.
    pub applied_revision: Option<u64>,
    /// How the tunnel's packets travel; `None` before the first one.
    pub path: Option<PathKind>,
    /// When keys like the tunnel's preshared one were new; `None` for a tunnel without one.
    pub psk_since: Option<OffsetDateTime>,
    pub services: Vec<ServiceRow>,
    /// What changes with the node when it is removed.
    pub leading: Vec<Leading>,
    pub quarantine: Option<Quarantine>,
    /// Only while a policy waits for its confirmation, or did in vain.
    pub policy: Option<NodePolicy>,
}

/// A route, or a balancer of another node, that leads to a node.
#[derive(Clone, Debug)]
pub struct Leading {
    pub kind: LeadingKind,
    /// The host and path of a route, `org/site/node/balancer`.
    pub name: Untrusted,
    /// It leads to no other node, and is removed with this one.
    pub alone: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LeadingKind {
    Route,
    Balancer,
}

/// A policy that waits for its confirmation, as far as a node is concerned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NodePolicy {
    /// What may be opened on the node changes with it.
    Waiting {
        version: u64,
        deadline: OffsetDateTime,
    },
    /// The node waited in vain and filters by the former policy.
    Returned { version: u64 },
}

/// What carries a tunnel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PathKind {
    /// UDP from one to the other.
    Direct,
    /// UDP through the hub's relay.
    Relay,
    /// TCP 443, where UDP does not pass.
    Carrier,
}

/// Two machines that claim one identity.
#[derive(Clone, Debug)]
pub struct Quarantine {
    pub since: OffsetDateTime,
    /// The one that held the identity first.
    pub this: Claimant,
    /// The one that came later.
    pub other: Claimant,
}

/// What is known of a machine that claims an identity.
#[derive(Clone, Debug)]
pub struct Claimant {
    pub host_name: Untrusted,
    /// The address it connects from.
    pub source: Untrusted,
    /// Whatever tells the two machines apart: a machine id, or a key's fingerprint.
    pub fingerprint: Untrusted,
    pub seen_at: OffsetDateTime,
}

/// Which claimant keeps the identity.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Keep {
    This,
    Other,
}
