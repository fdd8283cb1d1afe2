//! A node as the API shows it: what the state holds, and beside it what is observed now, hop by hop. It never says "up" of
//! what nobody saw.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};

use malha_core::health::Diagnosis;
use malha_core::{Contender, Node as NodeEntity, NodeState, Noun, State};
use malha_proto::{
    Exposure, Hop, HopState, Label, MachineId, NodeId, PathKind, Port, Profile, ServiceId,
    ServiceState, SiteId, WgKey,
};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::api::Api;
use crate::api::resource::Resource;
use crate::clock::now_ms;
use crate::live::TunnelSeen;
use crate::pairs::KeyEpoch;
use crate::paths;
use crate::session::{SessionSummary, Transport};

/// One enrolled machine.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Node {
    #[schema(value_type = String, example = "n15")]
    pub id: NodeId,
    /// `org/site/node`
    pub path: String,
    #[schema(value_type = String)]
    pub name: Label,
    pub site: String,
    #[schema(value_type = String)]
    pub site_id: SiteId,
    pub organization: String,
    /// Its name inside the overlay.
    pub overlay_name: String,
    #[schema(value_type = NodeProfile)]
    pub profile: Profile,
    /// What a policy may call it by beside its names.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tags: Vec<String>,
    /// It runs beside a controller.
    pub hub: bool,
    pub state: NodeStanding,
    #[schema(value_type = String)]
    pub address_v4: Ipv4Addr,
    #[schema(value_type = String)]
    pub address_v6: Ipv6Addr,
    /// Where its WireGuard may be reached, as declared.
    #[schema(value_type = Vec<String>)]
    pub endpoints: Vec<SocketAddr>,
    #[schema(value_type = String)]
    pub wg_key: WgKey,
    pub machine: Machine,
    pub enrolled_ms: u64,
    pub hops: Hops,
    /// The hop to blame, when something is broken.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub broken: Option<BrokenHop>,
    pub services: Vec<ServiceHealth>,
    /// The open control session.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub session: Option<Session>,
    /// Only while a policy waits for its confirmation, or did in vain.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub policy: Option<NodePolicy>,
    /// How many peers its newest netmap has, only where a node takes fewer: it keeps the netmap before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub too_many_peers: Option<u64>,
    /// The hub's side of the tunnel.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tunnel: Option<Tunnel>,
    /// The two machines that show this identity.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub quarantine: Option<Quarantine>,
}

/// The role of a node, with its ports and directions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum NodeProfile {
    Garage,
    SecurityServer,
    Balancer,
    Central,
    Edge,
}

/// Whether a node takes part in the overlay.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum NodeStanding {
    Active,
    /// Two machines showed this identity; it has no peers until one is chosen.
    Quarantined,
    /// One machine was chosen and must make new keys first.
    Rekeying,
}

/// What the machine says of itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Machine {
    #[schema(value_type = String)]
    pub id: MachineId,
    pub host_name: String,
    pub os: String,
    pub agent_version: String,
    /// The data plane in use, as the open session said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub engine: Option<String>,
}

/// The way to the node's services; those are shown one by one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Hops {
    /// The session between node and controller.
    pub control: HopHealth,
    /// The machine's network: whether anything of it answers.
    pub link: HopHealth,
    /// The agent on the machine.
    pub agent: HopHealth,
    /// The WireGuard tunnel: whether it carries.
    pub tunnel: HopHealth,
}

/// One hop: whether it works, and since when.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct HopHealth {
    pub state: UpDown,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since_ms: Option<u64>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum UpDown {
    Unknown,
    Up,
    Down,
}

/// Where the way breaks.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct BrokenHop {
    /// `control`, `link`, `agent`, `tunnel` or `service`.
    #[schema(value_type = String, example = "service")]
    pub hop: Hop,
    pub since_ms: u64,
    /// The service, if that is the hop.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service: Option<String>,
}

/// A service as probed through the real path.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ServiceHealth {
    #[schema(value_type = String)]
    pub id: ServiceId,
    #[schema(value_type = String)]
    pub name: Label,
    #[schema(value_type = u16)]
    pub port: Port,
    #[schema(value_type = String)]
    pub exposure: Exposure,
    pub health: HopHealth,
    /// What the node itself sees at the target: `up`, `refused`, `timeout`, `broken` or `unknown`.
    #[schema(value_type = String)]
    pub cause: ServiceState,
}

/// A policy that waits for its confirmation, as far as a node is concerned.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct NodePolicy {
    pub state: NodePolicyState,
    pub version: u64,
    /// When the former policy comes back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deadline_ms: Option<u64>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum NodePolicyState {
    /// What may be opened on the node changes with it.
    Waiting,
    /// The node waited in vain and filters by the former policy, as it said last.
    Returned,
}

/// An open control session.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Session {
    pub transport: Carrier,
    #[schema(value_type = String)]
    pub remote: SocketAddr,
    pub since_ms: u64,
    /// The newest revision that the node said it runs with.
    pub applied_revision: u64,
}

/// What carries a control session.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Carrier {
    Quic,
    /// UDP is blocked on the way.
    Tls,
}

/// What the hub's tunnel sees of the node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Tunnel {
    /// Where its packets come from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub endpoint: Option<SocketAddr>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub handshake_age_ms: Option<u64>,
    pub rx_bytes: u64,
    pub tx_bytes: u64,
    /// How packets to it travel.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<TunnelPath>)]
    pub path: Option<PathKind>,
    /// The preshared key, which keeps recorded traffic from a later quantum computer; absent for a tunnel without one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub psk: Option<PskAge>,
}

/// What carries a tunnel: UDP from one to the other, the hub's relay, or TCP 443 where UDP does not pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum TunnelPath {
    Direct,
    Relay,
    Carrier,
}

/// A preshared key, by its age alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct PskAge {
    pub epoch: u64,
    /// Since the epoch began; absent if that is too long ago to know.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub age_ms: Option<u64>,
}

/// The evidence of a copied identity.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Quarantine {
    pub since_ms: u64,
    /// The machine that held the identity.
    pub holder: Claimant,
    /// The machine that showed it too.
    pub rival: Claimant,
}

/// One of two machines with the same identity.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Claimant {
    #[schema(value_type = String)]
    pub machine: MachineId,
    pub host_name: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub source: Option<SocketAddr>,
}

impl NodePolicy {
    fn of(api: &Api, state: &State, id: NodeId) -> Option<Self> {
        if let Some(version) = api.context.live.policy_given_up(id) {
            return Some(Self {
                state: NodePolicyState::Returned,
                version,
                deadline_ms: None,
            });
        }
        let head = state.policy()?;
        let pending = head.pending.as_ref()?;
        state.waits_with_policy(id).then_some(Self {
            state: NodePolicyState::Waiting,
            version: head.version,
            deadline_ms: Some(pending.deadline_ms),
        })
    }
}

impl Resource for Node {
    type Id = NodeId;
    const NOUN: Noun = Noun::Node;

    fn of(api: &Api, state: &State, id: NodeId) -> Option<Self> {
        let node = state.node(id)?;
        let diagnosis = api.context.live.diagnosis(state, id)?;
        let session = api.context.registry.find(id);
        let organization = state
            .site(node.site)
            .map(|site| paths::organization(state, site.organization));
        let overlay_zone = &state.settings().overlay_zone;
        Some(Self {
            id,
            path: paths::node(state, id),
            name: node.name.clone(),
            site: paths::site(state, node.site),
            site_id: node.site,
            organization: organization.unwrap_or_default(),
            overlay_name: state
                .node_name(id)
                .map(|name| format!("{name}.{overlay_zone}"))
                .unwrap_or_default(),
            profile: node.profile,
            tags: node.tags.iter().map(ToString::to_string).collect(),
            hub: node.hub,
            state: NodeStanding::of(&node.state),
            address_v4: node.addresses.v4,
            address_v6: node.addresses.v6,
            endpoints: node.endpoints.clone(),
            wg_key: node.wg_key,
            machine: Machine::of(node, session.as_ref()),
            enrolled_ms: node.enrolled_ms,
            hops: Hops {
                control: diagnosis.control.into(),
                link: diagnosis.link.into(),
                agent: diagnosis.agent.into(),
                tunnel: diagnosis.tunnel.into(),
            },
            broken: diagnosis.broken.map(|broken| BrokenHop {
                hop: broken.hop,
                since_ms: broken.since_ms,
                service: broken.service.map(|service| paths::service(state, service)),
            }),
            services: state
                .services_of(id)
                .map(|service| ServiceHealth::of(service, &diagnosis))
                .collect(),
            session: session.as_ref().map(Session::of),
            policy: NodePolicy::of(api, state, id),
            too_many_peers: api.context.live.too_many_peers(id),
            tunnel: (api.context.live.tunnel(id))
                .map(|seen| Tunnel::of(&seen, api.context.pairs.key_epoch(id))),
            quarantine: match &node.state {
                NodeState::Quarantined(quarantine) => Some(Quarantine {
                    since_ms: quarantine.since_ms,
                    holder: Claimant::of(&quarantine.holder),
                    rival: Claimant::of(&quarantine.rival),
                }),
                NodeState::Active | NodeState::Rekeying { .. } => None,
            },
        })
    }
}

impl NodeStanding {
    pub(in crate::api) fn of(state: &NodeState) -> Self {
        match state {
            NodeState::Active => Self::Active,
            NodeState::Quarantined(_) => Self::Quarantined,
            NodeState::Rekeying { .. } => Self::Rekeying,
        }
    }
}

impl Machine {
    fn of(node: &NodeEntity, session: Option<&SessionSummary>) -> Self {
        Self {
            id: node.machine,
            host_name: node.host_name.clone(),
            os: node.os.clone(),
            agent_version: node.agent_version.clone(),
            engine: session.and_then(|session| session.facts.engine.clone()),
        }
    }
}

impl ServiceHealth {
    pub(in crate::api) fn of(service: &malha_core::Service, diagnosis: &Diagnosis) -> Self {
        let health = diagnosis
            .services
            .get(&service.id)
            .copied()
            .unwrap_or(HopState::Unknown);
        Self {
            id: service.id,
            name: service.name.clone(),
            port: service.port,
            exposure: service.exposure,
            health: health.into(),
            cause: diagnosis
                .causes
                .get(&service.id)
                .copied()
                .unwrap_or(ServiceState::Unknown),
        }
    }
}

impl From<HopState> for HopHealth {
    fn from(hop: HopState) -> Self {
        let (state, since_ms) = match hop {
            HopState::Unknown => (UpDown::Unknown, None),
            HopState::Up(since_ms) => (UpDown::Up, Some(since_ms)),
            HopState::Down(since_ms) => (UpDown::Down, Some(since_ms)),
        };
        Self { state, since_ms }
    }
}

impl Session {
    fn of(session: &SessionSummary) -> Self {
        Self {
            transport: match session.transport {
                Transport::Quic => Carrier::Quic,
                Transport::Tls => Carrier::Tls,
            },
            remote: session.remote,
            since_ms: session.since_ms,
            applied_revision: session.applied.0,
        }
    }
}

impl Tunnel {
    fn of(seen: &TunnelSeen, key: Option<KeyEpoch>) -> Self {
        Self {
            endpoint: seen.endpoint,
            handshake_age_ms: seen
                .handshake_ms
                .map(|at_ms| now_ms().saturating_sub(at_ms)),
            rx_bytes: seen.rx_bytes,
            tx_bytes: seen.tx_bytes,
            path: seen.path,
            psk: key.map(|key| PskAge {
                epoch: key.number,
                age_ms: key
                    .since_ms
                    .map(|since_ms| now_ms().saturating_sub(since_ms)),
            }),
        }
    }
}

impl Claimant {
    fn of(contender: &Contender) -> Self {
        Self {
            machine: contender.machine,
            host_name: contender.host_name.clone(),
            source: contender.source,
        }
    }
}
