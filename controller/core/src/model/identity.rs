//! Who holds a node's identity: its leases, and the evidence when two machines show it.

use std::net::SocketAddr;

use malha_proto::{Fingerprint, MachineId, NodeId};
use serde::{Deserialize, Serialize};

/// The evidence of a copied identity.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Quarantine {
    pub since_ms: u64,
    /// The machine that held the identity.
    pub holder: Contender,
    /// The machine that showed it too.
    pub rival: Contender,
}

/// One of two machines with the same identity.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Contender {
    pub machine: MachineId,
    pub host_name: String,
    /// Random at each start of its agent.
    pub instance: u64,
    /// The key of the certificate it showed.
    pub tls_key: Fingerprint,
    /// The lease it showed (hash).
    pub lease: Fingerprint,
    pub source: Option<SocketAddr>,
}

/// Which leases of a node are good. A node without this record may open its next session with any lease: so it is for
/// a hub, and after a backup was restored that knows older leases than the nodes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lease {
    pub node: NodeId,
    /// SHA-256 of the lease that the node has on disk, unless it saved one of `offered` since.
    pub confirmed: Fingerprint,
    /// SHA-256 of those handed out after it, oldest first; several when hellos were repeated before one was saved.
    pub offered: Vec<Fingerprint>,
    /// The process that was offered the last one.
    pub instance: u64,
    /// It was shown at a session: the enrolment's reply is known to have arrived.
    pub shown: bool,
    /// A copy holds the confirmed lease too; only the machine that the operator chose may go on with it.
    pub bound_to: Option<Binding>,
}

/// Tells the chosen machine from its copy where leases can't.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Binding {
    pub machine: MachineId,
    /// Set when both say that they are the same machine: then only the process itself is known.
    pub instance: Option<u64>,
}

impl Lease {
    /// Whether this hash is of a lease that the node may hold.
    #[must_use]
    pub fn accepts(&self, hash: &Fingerprint) -> bool {
        self.confirmed == *hash || self.offered.contains(hash)
    }
}

impl Binding {
    /// Whether it is the chosen machine that speaks.
    #[must_use]
    pub fn allows(&self, machine: MachineId, instance: u64) -> bool {
        self.machine == machine && self.instance.is_none_or(|chosen| chosen == instance)
    }
}

impl Contender {
    /// Whether the operator means this one.
    #[must_use]
    pub fn is(&self, machine: MachineId, instance: u64) -> bool {
        self.machine == machine && self.instance == instance
    }
}
