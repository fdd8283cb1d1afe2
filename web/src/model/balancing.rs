//! Balancers and the servers behind them, as their nodes see them.

use super::{Exposure, NodeId, ServiceId, opaque_id};
use crate::untrusted::Untrusted;

opaque_id!(
    /// Names a balancer.
    BalancerId
);

/// One balancer.
#[derive(Clone, Debug)]
pub struct BalancerRow {
    pub id: BalancerId,
    pub name: Untrusted,
    pub node: NodeId,
    /// The node as `organization/site/node`.
    pub node_path: Untrusted,
    pub port: u16,
    pub exposure: Exposure,
    /// The prefixes from which connections are taken; empty: all.
    pub sources: Vec<Untrusted>,
    pub servers: Vec<ServerRow>,
    /// `None` while its node is not connected.
    pub live: Option<BalancerLive>,
}

/// How a balancer is on its node. The counts are of the time since it was opened there.
#[derive(Clone, Debug, Default)]
pub struct BalancerLive {
    /// Why it takes no connections; `None`: it takes them.
    pub trouble: Option<BalancerTrouble>,
    /// Open now.
    pub open: u64,
    pub taken: u64,
    /// Refused over a limit.
    pub over_limit: u64,
    /// Refused because no listed prefix has their source.
    pub not_allowed: u64,
    /// Reset because no server took them.
    pub unserved: u64,
}

/// Why a balancer takes no connections.
#[derive(Clone, Debug)]
pub enum BalancerTrouble {
    PortTaken,
    PortForbidden,
    /// What the system of its node says.
    Other(Untrusted),
}

/// One server behind a balancer.
#[derive(Clone, Debug)]
pub struct ServerRow {
    pub service: ServiceId,
    /// The service as `organization/site/node/service`.
    pub path: Untrusted,
    /// On the overlay.
    pub address: Untrusted,
    pub mode: ServerMode,
    /// `None` while nobody says.
    pub condition: Option<ServerCondition>,
    /// Open now.
    pub connections: u32,
}

/// What the operator wants of a server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ServerMode {
    Serve,
    /// No new connections; those that are open go on.
    Drain,
    /// The same, no checks, and an end for what stays open.
    Maintenance,
}

impl ServerMode {
    /// The mode's name in API, CLI and forms.
    pub fn as_str(self) -> &'static str {
        match self {
            ServerMode::Serve => "serve",
            ServerMode::Drain => "drain",
            ServerMode::Maintenance => "maintenance",
        }
    }

    /// The mode with this name.
    pub fn parse(name: &str) -> Option<ServerMode> {
        [
            ServerMode::Serve,
            ServerMode::Drain,
            ServerMode::Maintenance,
        ]
        .into_iter()
        .find(|mode| mode.as_str() == name)
    }
}

/// How a server is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ServerCondition {
    /// Not checked yet.
    Unproven,
    Up,
    /// A connection to it failed; a check will decide.
    Suspect,
    Down,
    /// Checks go well again, not yet often or long enough.
    Recovering,
}
