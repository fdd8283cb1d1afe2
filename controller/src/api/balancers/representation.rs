//! A balancer as the API shows it: what the state holds, and beside it what its node reports.

use std::collections::BTreeSet;
use std::net::SocketAddr;

use malha_core::{Noun, State};
use malha_proto::{
    Algorithm, BackendCondition, BackendMode, BalancerCounts, BalancerId, Exposure, HealthPort,
    Label, NodeId, Port, Prefix, ProxyProtocol, ServiceId,
};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::api::Api;
use crate::api::policy::PolicyOpening;
use crate::api::resource::Resource;
use crate::api::services::ServiceExposure;
use crate::paths;

/// A port of a node that is spread over services of other nodes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Balancer {
    #[schema(value_type = String, example = "b21")]
    pub id: BalancerId,
    /// `org/site/node/balancer`
    pub path: String,
    #[schema(value_type = String)]
    pub name: Label,
    pub node: String,
    #[schema(value_type = String)]
    pub node_id: NodeId,
    #[schema(value_type = u16)]
    pub port: Port,
    #[schema(value_type = ServiceExposure)]
    pub exposure: Exposure,
    pub backends: Vec<BalancerBackend>,
    /// Some server has mode `serve`. While none has, every new connection is reset.
    pub serving: bool,
    /// What its node may open because of it alone, beside every grant.
    pub opens: Vec<BalancerOpening>,
    pub settings: BalancerSettings,
    /// As its node sees it; absent while that node is not connected.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub live: Option<BalancerLive>,
}

/// How a balancer is on its node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct BalancerLive {
    /// Why it takes no connections; absent: it takes them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trouble: Option<String>,
    #[schema(value_type = BalancerTraffic)]
    pub counts: BalancerCounts,
}

/// Connections and bytes since the balancer was opened on its node.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct BalancerTraffic {
    /// Open now.
    pub open: u64,
    /// Taken, the unserved ones included.
    pub taken: u64,
    /// Refused over a limit.
    pub over_limit: u64,
    /// Refused because no listed prefix has their source.
    pub not_allowed: u64,
    /// Reset because no server took them.
    pub unserved: u64,
    /// Taken by a server at another attempt than the first.
    pub retried: u64,
    /// From clients.
    pub bytes_in: u64,
    /// To clients.
    pub bytes_out: u64,
}

/// Ports of a server's node that a balancer opens to its own.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct BalancerOpening {
    /// `org/site/node`
    pub on: String,
    pub ports: Vec<PolicyOpening>,
}

/// One server behind a balancer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct BalancerBackend {
    /// `org/site/node/service`
    pub service: String,
    #[schema(value_type = String)]
    pub service_id: ServiceId,
    /// On the overlay.
    #[schema(value_type = String)]
    pub address: SocketAddr,
    #[schema(value_type = BalancerMode)]
    pub mode: BackendMode,
    /// As the balancer's node sees it; absent while that node is not connected.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<BalancerCondition>)]
    pub condition: Option<BackendCondition>,
    /// Open now, as of the node's last report.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub connections: Option<u32>,
}

/// How a balancer chooses, checks and limits.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(default, deny_unknown_fields)]
pub struct BalancerSettings {
    #[schema(value_type = BalancerAlgorithm)]
    pub algorithm: Algorithm,
    /// A port of each server that answers 200 while it is well, like X-Road's health interface; absent: a connection is the check.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub health: Option<BalancerHealth>,
    /// What a server hears of the client before its first byte; absent: nothing.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<BalancerProxyProtocol>)]
    pub proxy_protocol: Option<ProxyProtocol>,
    /// At least 2,000 with a health port.
    #[schema(minimum = 500, maximum = 300000)]
    pub check_interval_ms: u32,
    /// For one connection attempt to a server.
    #[schema(minimum = 100, maximum = 30000)]
    pub connect_ms: u32,
    /// Without a byte in either direction.
    #[schema(minimum = 1, maximum = 86400)]
    pub idle_s: u32,
    /// In this time a server that came back grows from a tenth of its share to the whole.
    #[schema(maximum = 3600)]
    pub slow_start_s: u32,
    #[schema(minimum = 1, maximum = 100000)]
    pub connections: u32,
    /// From one IPv4 address or one IPv6 /64.
    #[schema(minimum = 1, maximum = 100000)]
    pub connections_per_source: u32,
    /// Prefixes like `198.51.100.0/24`; empty: every source.
    #[schema(value_type = Vec<String>, max_items = 256)]
    pub allowed_sources: BTreeSet<Prefix>,
}

/// A port that says over HTTP how its server is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct BalancerHealth {
    #[schema(value_type = u16, minimum = 1, maximum = 65535, example = 5588)]
    pub port: Port,
    #[schema(max_length = 256, example = "/")]
    pub path: String,
}

/// How a server is chosen.
#[derive(Clone, Copy, Debug, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum BalancerAlgorithm {
    LeastConnections,
    SourceAffinity,
}

/// `drain`: no new connections; `maintenance`: nor checks, and what is open after a minute is reset.
#[derive(Clone, Copy, Debug, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum BalancerMode {
    Serve,
    Drain,
    Maintenance,
}

/// How a server is. A `suspect` one gets connections where none is `up`, an `unproven` or `recovering` one where none is `suspect`
/// either; any of them gets what the others did not take.
#[derive(Clone, Copy, Debug, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum BalancerCondition {
    Unproven,
    Up,
    Suspect,
    Down,
    Recovering,
}

/// A version of the PROXY protocol.
#[derive(Clone, Copy, Debug, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum BalancerProxyProtocol {
    V1,
    V2,
}

impl Resource for Balancer {
    type Id = BalancerId;
    const NOUN: Noun = Noun::Balancer;

    fn of(api: &Api, state: &State, id: BalancerId) -> Option<Self> {
        let balancer = state.balancer(id)?;
        let balancing = &api.context.live.balancing;
        let report = balancing.balancer(balancer.node, id);
        let backends = balancer.backends.iter().filter_map(|(service, mode)| {
            let node = state.node(state.service(*service)?.node)?;
            let seen = balancing.backend(balancer.node, id, *service);
            Some(BalancerBackend {
                service: paths::service(state, *service),
                service_id: *service,
                address: (node.addresses.v4, state.service(*service)?.port.number()).into(),
                mode: *mode,
                condition: seen.map(|it| it.condition),
                connections: seen.map(|it| it.connections),
            })
        });
        let opens = state.opened_by_balancer(id).into_iter();
        let opens = opens.map(|(on, ports)| BalancerOpening {
            on: paths::node(state, on),
            ports: ports.iter().map(PolicyOpening::of).collect(),
        });
        let node = paths::node(state, balancer.node);
        Some(Self {
            id,
            path: format!("{node}/{}", balancer.name),
            name: balancer.name.clone(),
            node,
            node_id: balancer.node,
            port: balancer.port,
            exposure: balancer.exposure,
            backends: backends.collect(),
            serving: balancer
                .backends
                .values()
                .any(|mode| *mode == BackendMode::Serve),
            opens: opens.collect(),
            settings: (&balancer.settings).into(),
            live: report.map(|it| BalancerLive {
                trouble: it.trouble.map(|it| it.to_string()),
                counts: it.counts,
            }),
        })
    }
}

impl Default for BalancerSettings {
    fn default() -> Self {
        (&malha_core::BalancerSettings::default()).into()
    }
}

impl From<&malha_core::BalancerSettings> for BalancerSettings {
    fn from(it: &malha_core::BalancerSettings) -> Self {
        Self {
            algorithm: it.algorithm,
            health: it.health.as_ref().map(|it| BalancerHealth {
                port: it.port,
                path: it.path.clone(),
            }),
            proxy_protocol: it.proxy_protocol,
            check_interval_ms: it.check_interval_ms,
            connect_ms: it.connect_ms,
            idle_s: it.idle_s,
            slow_start_s: it.slow_start_s,
            connections: it.connections,
            connections_per_source: it.connections_per_source,
            allowed_sources: it.allowed_sources.clone(),
        }
    }
}

impl From<BalancerSettings> for malha_core::BalancerSettings {
    fn from(it: BalancerSettings) -> Self {
        Self {
            algorithm: it.algorithm,
            health: it.health.map(|it| HealthPort {
                port: it.port,
                path: it.path,
            }),
            proxy_protocol: it.proxy_protocol,
            check_interval_ms: it.check_interval_ms,
            connect_ms: it.connect_ms,
            idle_s: it.idle_s,
            slow_start_s: it.slow_start_s,
            connections: it.connections,
            connections_per_source: it.connections_per_source,
            allowed_sources: it.allowed_sources,
        }
    }
}
