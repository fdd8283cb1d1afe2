//! The overview's figures and the tail of the audit log.

use time::OffsetDateTime;

use super::{BrokenHop, Convergence, NodeId};
use crate::untrusted::Untrusted;

/// The state of the house at a glance.
#[derive(Clone, Debug, Default)]
pub struct Overview {
    /// The newest committed revision.
    pub revision: u64,
    pub convergence: Convergence,
    pub organizations: u32,
    pub sites: u32,
    /// Nodes that belong to the network, the quarantined and pending among them.
    pub nodes: u32,
    pub nodes_online: u32,
    pub nodes_pending: u32,
    pub nodes_quarantined: u32,
    pub services: u32,
    pub services_up: u32,
    pub routes: u32,
    pub tokens_active: u32,
    /// The worst or newest broken hops; the console may leave some out.
    pub broken: Vec<BrokenNode>,
    /// How many nodes have a broken hop, shown or not.
    pub broken_total: u32,
}

/// A node with a broken hop.
#[derive(Clone, Debug)]
pub struct BrokenNode {
    pub id: NodeId,
    /// The node as `organization/site/node`.
    pub path: Untrusted,
    pub hop: BrokenHop,
}

/// One line of the audit log.
#[derive(Clone, Debug)]
pub struct ActivityRow {
    pub sequence: u64,
    pub at: OffsetDateTime,
    /// The operator, API key or node that did it.
    pub actor: Untrusted,
    pub action: Action,
    /// What it was done to.
    pub subject: Untrusted,
    /// The revision it made, if it made one.
    pub revision: Option<u64>,
}

/// What was done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    SignedIn,
    SignInFailed,
    SignedOut,
    OrganizationCreated,
    SiteCreated,
    TokenCreated,
    TokenRevoked,
    NodeEnrolled,
    NodeReplaced,
    NodeRemoved,
    NodeQuarantined,
    QuarantineResolved,
    /// Its certificate is no longer this node's: a former box, or a copy of an old disk.
    MachineTurnedAway,
    ServiceAdded,
    ServiceRemoved,
    RouteAdded,
    RouteRemoved,
    RecordSetPut,
    RecordSetDeleted,
    ControllersSet,
    EdgeAddressesSet,
    OrganizationRemoved,
    SiteRemoved,
    HubAdopted,
    NodeRenamed,
    EndpointsSet,
    NodeRenewed,
    GrantAdded,
    GrantRemoved,
    PolicyApplied,
    PolicyConfirmed,
    /// A former version came back, by an operator or for want of a confirmation.
    PolicyReturned,
    /// It waits for another operator.
    PolicyProposed,
    PolicyApproved,
    PolicyRejected,
    /// Nobody approved it in time.
    PolicyExpired,
    /// In force without the approval that an organization asks for.
    PolicyAlone,
    SecondApproverSet,
    TagsSet,
    ZoneAdded,
    ZoneRemoved,
    OperatorAdded,
    PasswordSet,
    OperatorRemoved,
    ApiKeyAdded,
    ApiKeyRemoved,
    BalancerAdded,
    BalancerSet,
    BalancerRemoved,
    ServerModeSet,
    CheckAsked,
    CheckKept,
    DeclarationPut,
    DeclarationRemoved,
    ProfileSet,
    ProfileReset,
    SiteReleaseSet,
    /// The keys that pairs of nodes share were drawn anew.
    KeysRotated,
    /// Lines of the audit log whose changes a crash kept from being committed.
    LinesUncommitted,
    /// An action that has no words of its own here; shown as it is.
    Other(Untrusted),
}
