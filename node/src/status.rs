//! The agent's status: one versioned JSON document, served on a Unix socket in the state folder that only its owner can open.

mod balancers;
mod drops;
mod filter;
mod interface;
mod print;
mod socket;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::net::SocketAddr;

use malha_proto::{NodeId, PathKind, Revision, ServiceId, ServiceState};
use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use crate::agent::{AgentView, ControlState, PolicyView};
use crate::engine::EngineReason;
use crate::guard::GuardStatus;
use crate::names::NamesStatus;
use crate::plane::{PeerView, PlaneView};
use crate::streams::StreamsView;

pub use balancers::{BalancerStatus, ServerStatus};
pub use drops::TunnelDropStatus;
pub use filter::{AllowedStatus, DropStatus, FilterStatus};
pub use interface::InterfaceStatus;
pub(crate) use print::size;
pub use socket::{StatusError, StatusSocket, ask};

/// The document's version; it grows when a field changes its meaning or goes away.
pub const STATUS_VERSION: u32 = 1;

/// How the hub's connections to this node's services travel: by the QUIC connection beside the tunnel where the hub measured
/// that the path loses packets, else through the tunnel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StreamsStatus {
    /// How long the QUIC connection stands; None: it does not, and all go through the tunnel.
    pub quic_for_ms: Option<u64>,
    /// Connections that came by QUIC since the start, and when the last one did.
    pub by_quic: u64,
    pub last_ms: Option<u64>,
}

/// Everything `malha-node status` knows. Times are ages in milliseconds at the moment of the answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StatusDocument {
    pub version: u32,
    pub agent_version: String,
    pub node: NodeId,
    /// None before the first netmap.
    pub name: Option<String>,
    pub addresses: Vec<std::net::IpAddr>,
    pub running_ms: u64,
    pub control: ControlStatus,
    pub tunnel: TunnelStatus,
    /// Only with the `netstack` engine; with the others every connection goes through the tunnel.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub streams: Option<StreamsStatus>,
    pub netmap: NetmapStatus,
    pub quarantined: bool,
    pub services: Vec<ServiceStatus>,
    pub peers: Vec<PeerStatus>,
    /// Absent in the document of an agent that is older than this.
    #[serde(default)]
    pub balancers: Vec<BalancerStatus>,
    #[serde(default)]
    pub guard: GuardStatus,
    /// nftables tables of other guards, or of one that is not wanted any more; they are in force.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub guards_left: Vec<String>,
    #[serde(default)]
    pub names: NamesStatus,
    /// Why something could not be written to the state folder.
    pub save_error: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ControlStatus {
    #[serde(with = "control_state")]
    pub state: ControlState,
    pub for_ms: u64,
    pub transport: Option<String>,
    pub controller: Option<String>,
    /// This node's address as the controller sees it.
    pub seen_as: Option<SocketAddr>,
    pub last_error: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TunnelStatus {
    pub engine: String,
    pub why: EngineReason,
    /// Threads among which the peers are spread.
    #[serde(default = "one")]
    pub shards: usize,
    pub listen: Vec<SocketAddr>,
    /// Absent in the document of an agent that is older than this.
    #[serde(default)]
    pub dropped: TunnelDropStatus,
    #[serde(default)]
    pub interface: InterfaceStatus,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NetmapStatus {
    /// What the data plane runs with.
    pub in_force: Option<Revision>,
    pub newest: Option<Revision>,
    /// It comes from disk, and no controller has confirmed it since the start.
    pub last_known_good: bool,
    pub apply_error: Option<String>,
    /// A policy that waits for its confirmation, or waited in vain.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub policy: Option<PolicyStatus>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "state", rename_all = "kebab-case")]
pub enum PolicyStatus {
    /// The former filter comes back in `left_ms` unless the controller says otherwise.
    Waiting { version: u64, left_ms: u64 },
    /// Nobody confirmed it: the former filter came back `for_ms` ago. It `holds` until the controller speaks.
    Returned {
        version: u64,
        for_ms: u64,
        holds: bool,
    },
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServiceStatus {
    pub id: ServiceId,
    pub name: String,
    pub port: u16,
    pub target: SocketAddr,
    pub state: ServiceState,
    pub for_ms: u64,
    /// Connections refused over the limit of those open at a time, since the service was opened. Absent in the document of an
    /// agent that is older than this.
    #[serde(default)]
    pub over_limit: u64,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PeerStatus {
    pub id: NodeId,
    pub name: String,
    pub hub: bool,
    pub endpoint: Option<SocketAddr>,
    pub handshake_age_ms: Option<u64>,
    pub rx_bytes: u64,
    pub tx_bytes: u64,
    /// All of `filter.dropped`.
    pub drops: u64,
    /// How packets to it travel; None before the first one.
    pub path: Option<PathKind>,
    /// The preshared key; None: there is none.
    pub key: Option<KeyStatus>,
    /// Absent in the document of an agent that is older than this.
    #[serde(default)]
    pub filter: FilterStatus,
}

/// A preshared key, by its age alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeyStatus {
    pub epoch: u64,
    pub age_ms: u64,
}

/// What the shell knows beside the agent.
pub struct Surroundings<'a> {
    pub node: NodeId,
    pub engine: malha_tunnel::Engine,
    pub engine_reason: &'a EngineReason,
    pub shards: usize,
    pub plane: &'a PlaneView,
    pub streams: Option<StreamsView>,
    pub names: NamesStatus,
    pub started: u64,
    pub now: u64,
    /// Milliseconds of the Unix epoch.
    pub wall_ms: u64,
}

impl StatusDocument {
    #[must_use]
    pub fn new(view: &AgentView, map: Option<&malha_proto::Netmap>, about: &Surroundings) -> Self {
        let for_ms = |since: u64| about.now.saturating_sub(since);
        let me = map.map(|map| &map.me);
        let control = &view.control;
        Self {
            version: STATUS_VERSION,
            agent_version: env!("CARGO_PKG_VERSION").into(),
            node: about.node,
            name: me.map(|me| me.name.to_string()),
            addresses: me.map_or(vec![], |me| {
                vec![me.addresses.v4.into(), me.addresses.v6.into()]
            }),
            running_ms: for_ms(about.started),
            control: ControlStatus {
                state: control.state,
                for_ms: for_ms(control.since),
                transport: control.transport.map(|transport| transport.to_string()),
                controller: control.controller.as_deref().map(Into::into),
                seen_as: control.seen_as,
                last_error: control.last_error.as_ref().map(ToString::to_string),
            },
            tunnel: TunnelStatus {
                engine: about.engine.to_string(),
                why: about.engine_reason.clone(),
                shards: about.shards,
                listen: about.plane.listen.clone(),
                dropped: TunnelDropStatus::new(&about.plane.stats),
                interface: InterfaceStatus::new(&about.plane.interface),
            },
            streams: about.streams.map(|view| StreamsStatus::new(&view)),
            netmap: NetmapStatus {
                in_force: view.in_force,
                newest: view.newest,
                last_known_good: view.in_force.is_some() && view.unconfirmed,
                apply_error: view.apply_error.clone(),
                policy: view
                    .policy
                    .map(|policy| PolicyStatus::new(policy, about.now)),
            },
            quarantined: view.quarantined,
            services: services(view, map, about),
            peers: peers(map.filter(|_| !view.quarantined), about),
            balancers: balancers::balancers(map, &about.plane.balanced),
            guard: about.plane.guard.clone(),
            guards_left: about.plane.guards_left.clone(),
            names: about.names.clone(),
            save_error: view.save_error.clone(),
        }
    }

    /// Whether everything that should work does, as far as this document tells.
    #[must_use]
    pub fn is_healthy(&self) -> bool {
        let hubs = || self.peers.iter().filter(|peer| peer.hub);
        let alive = |peer: &PeerStatus| {
            (peer.handshake_age_ms).is_some_and(|age_ms| age_ms < HANDSHAKE_ALIVE_MS)
        };
        let works = |service: &ServiceStatus| service.state == ServiceState::Up;
        self.control.state == ControlState::Online
            && !self.quarantined
            && self.netmap.apply_error.is_none()
            && self.save_error.is_none()
            && self.tunnel.interface.trouble.is_none()
            && self.is_guard_right()
            && self.services.iter().all(works)
            && self.balancers.iter().all(BalancerStatus::works)
            && (hubs().count() == 0 || hubs().any(alive))
    }

    /// Whether nothing is open that this guard should close, and nothing closed by it that should be open. What other guards close
    /// may be another agent's wish.
    fn is_guard_right(&self) -> bool {
        match &self.guard {
            GuardStatus::Waiting
            | GuardStatus::Off
            | GuardStatus::NoInterface
            | GuardStatus::Idle(_) => true,
            GuardStatus::InPlace { trouble, .. } => trouble.is_none(),
            GuardStatus::StillInForce(_) | GuardStatus::Failed(_) => false,
        }
    }
}

impl StreamsStatus {
    fn new(view: &StreamsView) -> Self {
        let age = |at: Instant| u64::try_from(at.elapsed().as_millis()).unwrap_or(u64::MAX);
        Self {
            quic_for_ms: view.since.map(age),
            by_quic: view.opened,
            last_ms: view.last.map(age),
        }
    }
}

impl PolicyStatus {
    fn new(view: PolicyView, now: u64) -> Self {
        match view {
            PolicyView::Waiting { version, until } => Self::Waiting {
                version,
                left_ms: until.saturating_sub(now),
            },
            PolicyView::Returned {
                version,
                since,
                holds,
            } => Self::Returned {
                version,
                for_ms: now.saturating_sub(since),
                holds,
            },
        }
    }
}

fn services(
    view: &AgentView,
    map: Option<&malha_proto::Netmap>,
    about: &Surroundings,
) -> Vec<ServiceStatus> {
    let known = view.services.iter().filter_map(|seen| {
        let service = map?.services.get(&seen.id)?;
        Some(ServiceStatus {
            id: seen.id,
            name: service.name.to_string(),
            port: service.port.number(),
            target: service.target,
            state: seen.state,
            for_ms: about.now.saturating_sub(seen.since),
            over_limit: about.plane.over_limit.get(&seen.id).copied().unwrap_or(0),
        })
    });
    known.collect()
}

/// All that the map names: one that the tunnel does not have is one from which nothing was heard.
fn peers(map: Option<&malha_proto::Netmap>, about: &Surroundings) -> Vec<PeerStatus> {
    let seen: BTreeMap<NodeId, &PeerView> =
        (about.plane.peers.iter().map(|view| (view.seen.peer, view))).collect();
    let peers = map.into_iter().flat_map(|map| map.peers.values());
    let known = peers.map(|peer| {
        let absent = PeerView::absent(peer.id);
        let view = seen.get(&peer.id).copied().unwrap_or(&absent);
        let filter = FilterStatus::new(view);
        PeerStatus {
            id: peer.id,
            name: peer.name.to_string(),
            hub: peer.hub,
            endpoint: view.seen.endpoint,
            handshake_age_ms: view.seen.handshake_age_ms,
            rx_bytes: view.seen.rx_bytes,
            tx_bytes: view.seen.tx_bytes,
            drops: filter.dropped.total(),
            filter,
            path: view.seen.path,
            key: view.key_epoch.map(|(epoch, since_ms)| KeyStatus {
                epoch,
                age_ms: about.wall_ms.saturating_sub(since_ms),
            }),
        }
    });
    known.collect()
}

/// What an agent meant that said nothing.
fn one() -> usize {
    1
}

/// The state's name in JSON.
mod control_state {
    use super::ControlState;
    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    const NAMES: [(ControlState, &str); 4] = [
        (ControlState::Offline, "offline"),
        (ControlState::Dialing, "dialing"),
        (ControlState::Greeting, "greeting"),
        (ControlState::Online, "online"),
    ];

    pub(super) fn serialize<S: Serializer>(state: &ControlState, s: S) -> Result<S::Ok, S::Error> {
        let named = NAMES.iter().find(|(known, _)| known == state);
        s.serialize_str(named.map_or("offline", |(_, name)| name))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(d: D) -> Result<ControlState, D::Error> {
        let name = String::deserialize(d)?;
        let named = NAMES.iter().find(|(_, known)| *known == name);
        named
            .map(|(state, _)| *state)
            .ok_or_else(|| D::Error::custom("unknown control state"))
    }
}

/// A WireGuard session ends 180 s after its handshake (REJECT_AFTER_TIME).
pub(crate) const HANDSHAKE_ALIVE_MS: u64 = 180_000;
