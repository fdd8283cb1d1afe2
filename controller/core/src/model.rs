//! The entities of the state: plain values with one meaning each, as they are stored and shown. Rules live elsewhere.

mod account;
mod identity;

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};

use malha_proto::{
    Algorithm, Allow, BackendMode, BalancerId, Exposure, Fingerprint, GrantId, HealthPort,
    HostName, Label, MachineId, NodeId, OrganizationId, OverlayAddresses, OverlayPools, Port,
    Prefix, Profile, ProxyProtocol, RouteId, ServiceId, ServiceKind, SiteId, TokenId, WgKey,
};
use serde::{Deserialize, Serialize};

use crate::agency::{NodePlan, PlannedBalancer};
use crate::limits::MAX_FORMER_KEYS;
use crate::profile::Release;
use crate::tags::Tag;

pub use identity::{Binding, Contender, Lease, Quarantine};

/// What the whole overlay shares. One of it; made by `malha init`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Settings {
    /// Random; tells one controller's backups and tokens from another's.
    pub cluster: MachineId,
    pub pools: OverlayPools,
    /// The zone of overlay names, not public: `<node>.<site>.<org>.<overlay_zone>`.
    pub overlay_zone: HostName,
    /// Where nodes find the controller, `host:port`, in tokens and welcomes.
    pub controllers: Vec<String>,
    /// Public addresses of the edges: the A and AAAA records of routes.
    pub edge_addresses: Vec<IpAddr>,
    /// The next id of every kind; ids are never reused.
    pub next_id: u64,
    /// Where the search for a free overlay address goes on.
    pub next_offset: u32,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Organization {
    pub id: OrganizationId,
    pub name: Label,
    /// For people; at most 200 characters, no control characters.
    pub display_name: String,
    pub created_ms: u64,
    /// A change of the policy that concerns its nodes needs the approval of another operator.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub second_approver: bool,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Site {
    pub id: SiteId,
    pub organization: OrganizationId,
    pub name: Label,
    pub display_name: String,
    pub created_ms: u64,
    /// The release of X-Road that its servers run; the newest one if None.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub xroad: Option<Release>,
    /// Balancers that appear when their machines come.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub balanced: Vec<PlannedBalancer>,
}

/// An enrolment token; the secret itself is nowhere.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Token {
    pub id: TokenId,
    pub site: SiteId,
    pub profile: Profile,
    /// SHA-256 of the secret.
    pub secret_hash: Fingerprint,
    pub created_ms: u64,
    pub expires_ms: u64,
    /// How many machines may still enrol.
    pub uses_left: u32,
    pub revoked: bool,
    /// The node whose place the next machine takes ("replace this box"). It may be gone when the token is revoked.
    pub replaces: Option<NodeId>,
    /// What the machine becomes beside a node of its profile.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub plan: Option<Box<NodePlan>>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Node {
    pub id: NodeId,
    pub site: SiteId,
    pub name: Label,
    pub profile: Profile,
    /// What the policy may call it by beside its names.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub tags: BTreeSet<Tag>,
    pub hub: bool,
    pub wg_key: WgKey,
    /// SHA-256 of the SubjectPublicKeyInfo of its certificate: the only one that may open its session.
    pub tls_key: Fingerprint,
    /// Keys before the last renewals, oldest first, good until the node shows a newer one: the reply with the new
    /// certificate may have been lost on its way.
    pub former_tls_keys: Vec<FormerKey>,
    /// Keys that the node has put away, oldest first: whoever shows one of them is a copy.
    pub past_tls_keys: Vec<Fingerprint>,
    /// The token it enrolled with, so that a lost reply can be repeated. The token may be gone.
    pub token: Option<TokenId>,
    pub addresses: OverlayAddresses,
    /// Declared public endpoints of its WireGuard.
    pub endpoints: Vec<SocketAddr>,
    pub state: NodeState,
    pub machine: MachineId,
    pub host_name: String,
    pub agent_version: String,
    pub os: String,
    pub enrolled_ms: u64,
}

/// A key that a renewal replaced.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FormerKey {
    pub key: Fingerprint,
    /// A copy is known to hold it, and was turned away: with it alone nobody is the node.
    pub copied: bool,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum NodeState {
    Active,
    /// Two machines showed this identity: no peers until the operator chooses.
    Quarantined(Quarantine),
    /// The operator chose `machine`; it must make new keys before it has peers again.
    Rekeying {
        machine: Contender,
    },
}

/// A freed address pair: not given again before `until_ms`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RetiredAddress {
    pub offset: u32,
    pub until_ms: u64,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Service {
    pub id: ServiceId,
    pub node: NodeId,
    pub name: Label,
    /// The port on the overlay address; one service per node and port.
    pub port: Port,
    /// Where the node hands the connection.
    pub target: SocketAddr,
    pub kind: ServiceKind,
    pub exposure: Exposure,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Route {
    pub id: RouteId,
    pub host: HostName,
    /// Starts with `/`; matched on segment borders, the longest wins.
    pub path: String,
    pub services: BTreeSet<ServiceId>,
    pub created_ms: u64,
}

/// One side of a grant.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Selector {
    Organization(OrganizationId),
    Site(SiteId),
    Node(NodeId),
    Profile(Profile),
    Tag(Tag),
}

/// A policy rule: from whom, to whom, what. Everything not granted is denied.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Grant {
    pub id: GrantId,
    pub from: Selector,
    pub to: Selector,
    pub allow: Opening,
    #[serde(default, skip_serializing_if = "GrantOrigin::is_operator")]
    pub origin: GrantOrigin,
}

/// What a grant opens.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Opening {
    Ports(Allow),
    /// The port of the service with this name on each node that has one, over TCP.
    Service {
        service: Label,
    },
}

/// Where a grant stands.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum GrantOrigin {
    /// Alone: an operator added it while no policy was in force.
    #[default]
    Operator,
    /// It follows from the `[[grant]]` with this name in the policy's text, and is not stored.
    Policy { name: Label },
}

/// A port of a node that is spread over services of other nodes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Balancer {
    pub id: BalancerId,
    /// Where it runs: an agent of profile balancer or edge.
    pub node: NodeId,
    pub name: Label,
    /// No service and no other balancer of the node has it.
    pub port: Port,
    /// `tunnel`: on the overlay address; `public`: on the machine's own addresses.
    pub exposure: Exposure,
    pub backends: BTreeMap<ServiceId, BackendMode>,
    pub settings: BalancerSettings,
}

/// How a balancer chooses, checks and limits.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BalancerSettings {
    pub algorithm: Algorithm,
    /// None: servers are checked by connecting to them.
    pub health: Option<HealthPort>,
    pub proxy_protocol: Option<ProxyProtocol>,
    pub check_interval_ms: u32,
    /// For one connection attempt to a server.
    pub connect_ms: u32,
    /// Without a byte in either direction.
    pub idle_s: u32,
    /// In this time a server that came back grows from a tenth of its share to the whole.
    pub slow_start_s: u32,
    pub connections: u32,
    /// From one IPv4 address or one IPv6 /64.
    pub connections_per_source: u32,
    /// Empty: every source.
    pub allowed_sources: BTreeSet<Prefix>,
}

/// A public zone without its record sets: those are entities of their own.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ZoneHead {
    pub origin: malha_zone::ZoneName,
    pub soa: malha_zone::Soa,
    pub serial: malha_zone::Serial,
}

pub use account::{ApiKey, Operator, Role, Scope};
pub use malha_zone::Source as RecordSource;

/// A creation that was asked for with an `Idempotency-Key`, so that its repetition finds it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RequestRecord {
    /// SHA-256 over caller and key.
    pub key: Fingerprint,
    /// SHA-256 over the command: the same key with another command is refused.
    pub command: Fingerprint,
    /// The id of what was created, as text.
    pub created: String,
    pub created_ms: u64,
}

impl Default for BalancerSettings {
    fn default() -> Self {
        Self {
            algorithm: Algorithm::LeastConnections,
            health: None,
            proxy_protocol: None,
            check_interval_ms: 2_000,
            connect_ms: 1_000,
            idle_s: 300,
            slow_start_s: 30,
            connections: 10_000,
            connections_per_source: 2_000,
            allowed_sources: BTreeSet::new(),
        }
    }
}

impl Settings {
    /// A fresh overlay: no controllers, no edges, nothing given out yet.
    #[must_use]
    pub fn new(cluster: MachineId, pools: OverlayPools, overlay_zone: HostName) -> Self {
        Self {
            cluster,
            pools,
            overlay_zone,
            controllers: Vec::new(),
            edge_addresses: Vec::new(),
            next_id: 1,
            next_offset: 1,
        }
    }
}

impl Settings {
    /// What of the settings anybody sees: all but the counters.
    pub(crate) fn shown(&self) -> impl PartialEq + '_ {
        (
            &self.cluster,
            &self.pools,
            &self.overlay_zone,
            &self.controllers,
            &self.edge_addresses,
        )
    }
}

impl Node {
    /// Whether it may have peers and services: its identity is held by one machine.
    #[must_use]
    pub fn is_active(&self) -> bool {
        self.state == NodeState::Active
    }

    /// Whether this key is or was this node's, as far as it is remembered: not that of a machine whose place another took.
    #[must_use]
    pub fn knows_key(&self, key: &Fingerprint) -> bool {
        self.tls_keys().any(|known| known == key)
    }

    /// Every key that is or was this node's.
    pub(crate) fn tls_keys(&self) -> impl Iterator<Item = &Fingerprint> {
        let former = self.former_tls_keys.iter().map(|former| &former.key);
        former.chain(&self.past_tls_keys).chain([&self.tls_key])
    }

    /// Puts the keys before the shown one away. Newer ones stay: the hello that shows it may have come late.
    pub(crate) fn put_keys_away(&mut self, shown: &Fingerprint) {
        let at = self
            .former_tls_keys
            .iter()
            .position(|former| former.key == *shown);
        let older = self
            .former_tls_keys
            .drain(..at.unwrap_or(self.former_tls_keys.len()));
        self.past_tls_keys.extend(
            older
                .filter(|former| !former.copied)
                .map(|former| former.key),
        );
        let excess = self.past_tls_keys.len().saturating_sub(MAX_FORMER_KEYS);
        self.past_tls_keys.drain(..excess);
    }

    /// Takes a new key. The machine holds the one it showed last, which stands first, or a later one.
    pub(crate) fn renew_key(&mut self, tls_key: Fingerprint, copied: bool) {
        if copied {
            self.past_tls_keys.clear();
            self.former_tls_keys
                .iter_mut()
                .for_each(|former| former.copied = true);
        }
        if tls_key == self.tls_key {
            return;
        }
        if self.former_tls_keys.len() == MAX_FORMER_KEYS {
            self.former_tls_keys.remove(1);
        }
        let key = std::mem::replace(&mut self.tls_key, tls_key);
        self.former_tls_keys.push(FormerKey { key, copied });
    }

    /// Whether every other node is its peer: a hub or an edge.
    #[must_use]
    pub fn is_gateway(&self) -> bool {
        self.hub || self.profile == Profile::Edge
    }
}

impl GrantOrigin {
    /// Whether an operator added it by itself.
    #[must_use]
    pub fn is_operator(&self) -> bool {
        *self == Self::Operator
    }
}

impl From<Allow> for Opening {
    fn from(allow: Allow) -> Self {
        Self::Ports(allow)
    }
}

impl ZoneHead {
    /// A zone without its record sets.
    #[must_use]
    pub fn of(zone: &malha_zone::Zone) -> Self {
        Self {
            origin: zone.origin().clone(),
            soa: zone.soa().clone(),
            serial: zone.serial(),
        }
    }
}
