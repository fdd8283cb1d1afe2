//! The controller at a glance, and the settings that all nodes share. It is read-only: `malha.toml` says how the controller
//! is reached.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use axum::Json;
use axum::extract::State as Shared;
use malha_core::NodeState;
use malha_proto::{Fingerprint, HostName, MachineId};
use malha_store::Condition;
use malha_tunnel::InterfaceState;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::api::Api;
use crate::api::caller::{Caller, Read};
use crate::api::nodes::BrokenHop;
use crate::api::problem::Problem;
use crate::clock::now_ms;
use crate::paths;

/// The controller at a glance.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Status {
    pub version: String,
    pub revision: u64,
    pub started_ms: u64,
    pub now_ms: u64,
    pub store: StoreStatus,
    /// Empty from a controller that does not tell it yet.
    #[serde(default)]
    pub hub: HubStatus,
    pub organizations: usize,
    pub sites: usize,
    pub services: usize,
    pub routes: usize,
    pub zones: usize,
    pub nodes: NodeCounts,
    /// The first broken hops, at most 20.
    pub broken: Vec<BrokenNode>,
}

/// How the store is doing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct StoreStatus {
    pub engine: String,
    /// It takes writes.
    pub writable: bool,
    /// Why it does not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cause: Option<String>,
    pub keys: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub file_bytes: Option<u64>,
}

/// The hub's data plane, and its UDP sockets.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct HubStatus {
    /// `userspace`, `netstack` or `kernel`.
    pub engine: String,
    /// Where WireGuard listens.
    #[schema(value_type = Vec<String>)]
    pub wireguard: Vec<SocketAddr>,
    /// Where the control channel's QUIC listens. An address that stands in both lists is one socket; the `kernel` engine shares
    /// none.
    #[schema(value_type = Vec<String>)]
    pub quic: Vec<SocketAddr>,
    /// Nothing from a controller that does not tell it yet.
    #[serde(default)]
    pub interface: HubInterface,
}

/// What became of the interface of the hub's tunnel; nothing for the engine `netstack`, which has none.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct HubInterface {
    /// How often another program or person changed it, and it was set again.
    pub mended: u64,
    /// Why it is not as it is to be. It is tried again each half second; until then the hub's tunnel counts as down.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trouble: Option<String>,
    /// Why it has no IPv6 address, if it has none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ipv4_only: Option<String>,
}

impl From<InterfaceState> for HubInterface {
    fn from(state: InterfaceState) -> Self {
        Self {
            mended: state.mended,
            trouble: state.trouble,
            ipv4_only: state.ipv4_only,
        }
    }
}

/// Nodes by what is known of them; the hub is among them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct NodeCounts {
    pub all: usize,
    /// With an open control session. That says nothing about their tunnels.
    pub connected: usize,
    /// With a broken hop.
    pub broken: usize,
    pub quarantined: usize,
}

/// A node and the hop to blame.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct BrokenNode {
    pub node: String,
    #[serde(flatten)]
    pub broken: BrokenHop,
}

/// What the whole overlay shares.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Settings {
    #[schema(value_type = String)]
    pub cluster: MachineId,
    /// SHA-256 of the overlay authority's certificate; tokens carry it.
    #[schema(value_type = String)]
    pub authority: Fingerprint,
    /// The pools of overlay addresses.
    pub pool_v4: String,
    pub pool_v6: String,
    #[schema(value_type = String)]
    pub overlay_zone: HostName,
    /// Where nodes find the controller.
    pub controllers: Vec<String>,
    /// What the DNS answers for route names.
    #[schema(value_type = Vec<String>)]
    pub edge_addresses: Vec<IpAddr>,
}

/// Show the controller at a glance
#[utoipa::path(get, path = "/status", tag = "status",
    responses((status = 200, body = Status)), security(("api_key" = ["read"])))]
pub(super) async fn status(
    _caller: Caller<Read>,
    Shared(api): Shared<Arc<Api>>,
) -> Result<Json<Status>, Problem> {
    let health = api.context.store.health().await;
    let cause = match &health.condition {
        Condition::Serving => None,
        Condition::WritesRefused { cause, .. } => Some(cause.clone()),
        Condition::Closed => Some("the store is closed".to_owned()),
    };
    let store = StoreStatus {
        engine: health.engine.to_owned(),
        writable: cause.is_none(),
        cause,
        keys: health.keys,
        file_bytes: health.file_bytes,
    };
    let state = api.state();
    let (nodes, broken) = node_counts(&api);
    Ok(Json(Status {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        revision: state.revision().0,
        started_ms: api.context.started_ms,
        now_ms: now_ms(),
        store,
        hub: HubStatus {
            interface: api.context.live.hub_interface().into(),
            ..api.context.hub.clone()
        },
        organizations: state.organizations().len(),
        sites: state.sites().len(),
        services: state.services().len(),
        routes: state.routes().len(),
        zones: state.zones().len(),
        nodes,
        broken,
    }))
}

/// Show the settings that all nodes share
#[utoipa::path(get, path = "/settings", tag = "status",
    responses((status = 200, body = Settings)), security(("api_key" = ["read"])))]
pub(super) async fn settings(
    _caller: Caller<Read>,
    Shared(api): Shared<Arc<Api>>,
) -> Json<Settings> {
    let state = api.state();
    let settings = state.settings();
    Json(Settings {
        cluster: settings.cluster,
        authority: api.context.authority,
        pool_v4: settings.pools.v4.to_string(),
        pool_v6: settings.pools.v6.to_string(),
        overlay_zone: settings.overlay_zone.clone(),
        controllers: settings.controllers.clone(),
        edge_addresses: settings.edge_addresses.clone(),
    })
}

fn node_counts(api: &Api) -> (NodeCounts, Vec<BrokenNode>) {
    let state = api.state();
    let mut counts = NodeCounts {
        all: state.nodes().len(),
        connected: api.context.registry.count(),
        ..NodeCounts::default()
    };
    let mut shown = Vec::new();
    for node in state.nodes() {
        counts.quarantined += usize::from(!matches!(node.state, NodeState::Active));
        let diagnosis = api.context.live.diagnosis(&state, node.id);
        let Some(broken) = diagnosis.and_then(|diagnosis| diagnosis.broken) else {
            continue;
        };
        counts.broken += 1;
        if shown.len() < MAX_BROKEN_SHOWN {
            let service = broken
                .service
                .map(|service| paths::service(&state, service));
            let hop = BrokenHop {
                hop: broken.hop,
                since_ms: broken.since_ms,
                service,
            };
            shown.push(BrokenNode {
                node: paths::node(&state, node.id),
                broken: hop,
            });
        }
    }
    (counts, shown)
}

const MAX_BROKEN_SHOWN: usize = 20;
