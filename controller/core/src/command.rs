//! What may be asked of the state, and what it answers.

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};

use malha_proto::{
    Allow, ApiKeyId, BackendMode, BalancerId, Exposure, Fingerprint, GrantId, HostName, Label,
    MachineFacts, MachineId, NodeId, OperatorId, OrganizationId, Port, Profile, RefusalCode,
    RouteId, Secret32, ServiceId, ServiceKind, SiteId, TokenId, WgKey,
};
use thiserror::Error;

use crate::agency::{AddedAgency, NewAgency};
use crate::model::{BalancerSettings, Role, Scope, Selector};
use crate::noun::{Noun, Plenty, User};
use crate::policy::Author;
use crate::profile::Release;
use crate::reason::Reason;
use crate::tags::Tag;
use crate::text_error::TextError;

/// What comes from outside the pure floor with each command.
pub struct Context {
    /// Milliseconds of the Unix epoch.
    pub now_ms: u64,
    /// Fresh random bytes, for the secrets that this command makes.
    pub random: [u8; 32],
    /// SHA-256 over caller and `Idempotency-Key`, if one was given.
    pub request: Option<Fingerprint>,
}

/// A session that is open now for the same node, as the controller sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LiveSession {
    pub instance: u64,
    /// The key of its certificate: a machine that was replaced may still be connected.
    pub tls_key: Fingerprint,
    /// It sent a frame after the newcomer's hello came in: it is alive.
    pub alive: bool,
    pub facts: MachineFacts,
    pub source: Option<SocketAddr>,
}

/// A wish to change the state.
#[derive(Clone, Debug)]
pub enum Command {
    SetControllers {
        controllers: Vec<String>,
    },
    SetEdgeAddresses {
        addresses: Vec<IpAddr>,
    },
    CreateOrganization {
        name: Label,
        display_name: String,
    },
    RemoveOrganization {
        id: OrganizationId,
    },
    CreateSite {
        organization: OrganizationId,
        name: Label,
        display_name: String,
    },
    RemoveSite {
        id: SiteId,
    },
    /// The node that runs beside this controller. Repeating it with the same TLS key updates the endpoints, and the WireGuard
    /// key, which a restored backup does not bring back.
    AdoptHub {
        site: SiteId,
        name: Label,
        wg_key: WgKey,
        tls_key: Fingerprint,
        endpoints: Vec<SocketAddr>,
        facts: MachineFacts,
    },
    CreateToken {
        site: SiteId,
        profile: Profile,
        uses: u32,
        ttl_s: u64,
    },
    RevokeToken {
        id: TokenId,
    },
    /// A token for the machine that takes this node's place; older such tokens of the node are revoked.
    ReplaceNode {
        id: NodeId,
        ttl_s: u64,
    },
    Enrol {
        token: TokenId,
        secret: Secret32,
        wg_key: WgKey,
        tls_key: Fingerprint,
        name: Option<Label>,
        facts: MachineFacts,
    },
    RenameNode {
        id: NodeId,
        name: Label,
    },
    RemoveNode {
        id: NodeId,
        /// Also where routes, or balancers of other nodes, lead to it.
        detach: bool,
    },
    SetNodeEndpoints {
        id: NodeId,
        endpoints: Vec<SocketAddr>,
    },
    /// A node says hello: checks its key and lease, offers the next lease (from [`Context::random`]).
    OpenSession {
        node: NodeId,
        tls_key: Fingerprint,
        lease: malha_proto::Lease,
        instance: u64,
        facts: MachineFacts,
        source: Option<SocketAddr>,
        live: Option<LiveSession>,
    },
    /// The lease that this session offered is on the node's disk. It names the lease, because a process may have two
    /// sessions on the way and the older one's word may come last.
    ConfirmLease {
        node: NodeId,
        instance: u64,
        lease: malha_proto::Lease,
    },
    /// The certificate's successor has this key; the WireGuard key may change with it.
    RenewNode {
        node: NodeId,
        instance: u64,
        tls_key: Fingerprint,
        wg_key: Option<WgKey>,
    },
    /// The operator chooses which machine keeps the identity; it must make new keys, the other is out.
    ResolveQuarantine {
        node: NodeId,
        keep: MachineId,
        instance: u64,
    },
    AddService {
        node: NodeId,
        name: Label,
        port: Port,
        target: SocketAddr,
        kind: ServiceKind,
        exposure: Exposure,
    },
    RemoveService {
        id: ServiceId,
    },
    AddRoute {
        host: HostName,
        path: String,
        services: BTreeSet<ServiceId>,
    },
    RemoveRoute {
        id: RouteId,
    },
    AddGrant {
        from: Selector,
        to: Selector,
        allow: Allow,
    },
    RemoveGrant {
        id: GrantId,
    },
    /// Name servers as host names; those inside the zone get address records from the edge addresses.
    AddZone {
        origin: malha_zone::ZoneName,
        name_servers: Vec<HostName>,
        contact: HostName,
    },
    RemoveZone {
        origin: malha_zone::ZoneName,
    },
    PutRecordSet {
        zone: malha_zone::ZoneName,
        set: malha_zone::RecordSet,
    },
    DeleteRecordSet {
        zone: malha_zone::ZoneName,
        name: malha_zone::RecordName,
        rtype: malha_zone::RecordType,
    },
    AddOperator {
        name: Label,
        password_hash: String,
        role: Role,
    },
    SetPassword {
        id: OperatorId,
        password_hash: String,
    },
    RemoveOperator {
        id: OperatorId,
    },
    AddApiKey {
        name: Label,
        scopes: BTreeSet<Scope>,
        expires_ms: Option<u64>,
        /// Whose key it is.
        operator: Option<OperatorId>,
    },
    RemoveApiKey {
        id: ApiKeyId,
    },
    /// Replaces the tags of a node.
    SetNodeTags {
        id: NodeId,
        tags: BTreeSet<Tag>,
    },
    /// Puts a text in force in which every test holds. `difference` is the hash of what its author saw that it changes.
    ApplyPolicy {
        text: String,
        difference: Fingerprint,
        /// The former policy comes back unless it is confirmed within this.
        confirm_within_ms: Option<u64>,
        /// Why its author acts alone where an organization asks for a second approver.
        emergency: Option<String>,
        author: Author,
    },
    /// The policy that waits for its confirmation stays.
    ConfirmPolicy {
        version: u64,
        author: Author,
    },
    /// Puts a former text in force again, as a new version.
    RollbackPolicy {
        version: u64,
        emergency: Option<String>,
        author: Author,
    },
    AddBalancer {
        node: NodeId,
        name: Label,
        port: Port,
        exposure: Exposure,
        backends: BTreeSet<ServiceId>,
        settings: BalancerSettings,
    },
    SetBalancer {
        id: BalancerId,
        backends: BTreeSet<ServiceId>,
        settings: BalancerSettings,
    },
    SetBackendMode {
        id: BalancerId,
        service: ServiceId,
        mode: BackendMode,
    },
    RemoveBalancer {
        id: BalancerId,
    },
    /// Puts a text in the place of the profile that it names.
    SetProfile {
        text: String,
    },
    /// The shipped text of a profile holds again.
    ResetProfile {
        profile: Profile,
    },
    /// An organization with all that its security servers need.
    AddAgency(Box<NewAgency>),
    /// Which release of X-Road the servers of a site run; None for the newest.
    SetSiteRelease {
        id: SiteId,
        xroad: Option<Release>,
    },
    /// Whether changes of the policy that concern this organization need the approval of another operator.
    SetSecondApprover {
        organization: OrganizationId,
        on: bool,
        author: Author,
    },
    /// Does what was proposed. `difference` is the hash of what the approver saw.
    ApprovePolicy {
        proposal: u64,
        difference: Fingerprint,
        author: Author,
    },
    RejectPolicy {
        proposal: u64,
    },
    /// Replaces what an organization declares of itself.
    Declare {
        organization: OrganizationId,
        text: String,
        author: String,
    },
    WithdrawDeclaration {
        organization: OrganizationId,
    },
    /// Forgets what is past: expired tokens, retired addresses, request records. Bounded work per call.
    Sweep,
}

/// What a command gives back beside its changes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    Done,
    Organization(OrganizationId),
    Site(SiteId),
    /// The secret is shown once, here.
    Token {
        id: TokenId,
        secret: Secret32,
    },
    Node(NodeId),
    /// `again`: the reply of this very enrolment was lost and is repeated. The lease is fresh.
    Enrolled {
        node: NodeId,
        lease: malha_proto::Lease,
        again: bool,
    },
    /// The lease to save; `rekey`: new keys first.
    Session {
        lease: malha_proto::Lease,
        rekey: bool,
    },
    /// Two machines show this identity: both sessions end with [`RefusalCode::Cloned`].
    Cloned {
        node: NodeId,
    },
    Service(ServiceId),
    Route(RouteId),
    Grant(GrantId),
    Balancer(BalancerId),
    Zone,
    Operator(OperatorId),
    ApiKey {
        id: ApiKeyId,
        secret: Secret32,
    },
    /// This version is in force now.
    Policy {
        version: u64,
    },
    Agency(Box<AddedAgency>),
    /// It waits for another operator's approval.
    Proposed {
        proposal: u64,
    },
    /// Nobody approved it in time.
    ProposalExpired {
        proposal: u64,
    },
    /// This `Idempotency-Key` created this before; nothing happened now.
    AlreadyCreated {
        created: String,
    },
}

/// Why the state says no. Not an error: an answer to a question that may be put better. Nothing was changed.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum Rejection {
    #[error("there is no {what} {name}")]
    NotFound { what: Noun, name: String },
    #[error("{what} {name} exists already{}", .what.place())]
    Exists { what: Noun, name: String },
    #[error("{field}: {reason}")]
    Invalid { field: &'static str, reason: Reason },
    #[error("{what} {name} is still in use: {by}")]
    InUse { what: Noun, name: String, by: User },
    /// A refusal that a node hears.
    #[error("{text}")]
    Refused { code: RefusalCode, text: String },
    #[error("at most {limit} {what} are allowed")]
    Limit { what: Plenty, limit: usize },
    #[error("this Idempotency-Key was used for another request")]
    OtherRequest,
    /// A text with lines: a policy, a profile, a declaration.
    #[error(transparent)]
    Text(#[from] TextError),
    #[error(transparent)]
    Zone(#[from] malha_zone::ZoneError),
}
