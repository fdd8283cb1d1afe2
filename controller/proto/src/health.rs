//! What nodes observe and what the path to a service looks like, hop by hop.

use std::net::SocketAddr;

use minicbor::{Decode, Encode};
use serde::{Deserialize, Serialize};

use crate::{BackendReport, BalancerReport, NodeId, Revision, ServiceId};

/// A service's local target, as its own node sees it.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Encode, Decode, Serialize, Deserialize,
)]
#[serde(rename_all = "kebab-case")]
#[cbor(index_only)]
pub enum ServiceState {
    /// It answers.
    #[n(0)]
    Up,
    /// The target's machine refuses the connection: nothing listens there.
    #[n(1)]
    Refused,
    /// No answer in time.
    #[n(2)]
    Timeout,
    /// It accepts connections and closes them, or answers something that is not its protocol.
    #[n(3)]
    Broken,
    /// Not probed yet.
    #[n(4)]
    Unknown,
}

/// One probe result of a node for its own service.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
pub struct ServiceReport {
    #[n(0)]
    pub service: ServiceId,
    #[n(1)]
    pub state: ServiceState,
}

/// What carries a peer's tunnel.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Encode, Decode, Serialize, Deserialize,
)]
#[serde(rename_all = "kebab-case")]
#[cbor(index_only)]
pub enum PathKind {
    /// UDP from one to the other.
    #[n(0)]
    Direct,
    /// UDP through the hub's relay, sealed end to end.
    #[n(1)]
    Relay,
    /// TCP 443, where UDP does not pass.
    #[n(2)]
    Carrier,
}

/// What a node sees of one peer's tunnel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
pub struct PeerObservation {
    #[n(0)]
    pub peer: NodeId,
    /// Where its packets come from.
    #[n(1)]
    pub endpoint: Option<SocketAddr>,
    /// Milliseconds since the last handshake; None without one.
    #[n(2)]
    pub handshake_age_ms: Option<u64>,
    #[n(3)]
    pub rx_bytes: u64,
    #[n(4)]
    pub tx_bytes: u64,
    /// The path in use; None before the first packet, or from an older agent.
    #[n(5)]
    pub path: Option<PathKind>,
}

/// What a node tells at each heartbeat. Only what changed since the last one, and always the first time.
#[derive(Clone, Debug, Default, PartialEq, Eq, Encode, Decode)]
pub struct NodeReport {
    #[n(0)]
    pub applied: Revision,
    #[n(1)]
    pub services: Vec<ServiceReport>,
    #[n(2)]
    pub peers: Vec<PeerObservation>,
    /// Where its WireGuard listens, on its own interfaces, if that changed: candidates for its peers, best first.
    #[n(3)]
    pub listen: Option<Vec<SocketAddr>>,
    /// The servers behind its balancers that changed.
    #[n(4)]
    #[cbor(default, skip_if = "Vec::is_empty")]
    pub backends: Vec<BackendReport>,
    /// The version of a policy for whose confirmation this node waited in vain: it filters by the one before. With every report.
    #[n(5)]
    pub policy_given_up: Option<u64>,
    /// Its balancers of which something changed.
    #[n(6)]
    #[cbor(default, skip_if = "Vec::is_empty")]
    pub balancers: Vec<BalancerReport>,
    /// How many peers the newest netmap has, where they are more than [`crate::MAX_PEERS`]: this node goes on with the one before.
    /// With every report.
    #[n(7)]
    pub too_many_peers: Option<u64>,
}

/// What a probe through the real path (edge → tunnel → node → target) met.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum PathProbe {
    /// The target answered through the tunnel.
    Answered,
    /// The node answered, its target refused or broke.
    OriginFailed,
    /// Nothing came back through the tunnel.
    TunnelSilent,
    /// Not probed yet.
    Unknown,
}

/// The parts of the way to a service, in the order in which a request passes them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Hop {
    /// The session between node and controller.
    Control,
    /// The node's network: nothing of it answers.
    Link,
    /// The agent on the node: its machine answers, it does not.
    Agent,
    /// The WireGuard tunnel.
    Tunnel,
    /// The local target of the service.
    Service,
}

/// Whether a hop works, and since when (milliseconds of the Unix epoch).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "state", content = "since_ms")]
pub enum HopState {
    Unknown,
    Up(u64),
    Down(u64),
}
