//! `GET /trace` over HTTP: what becomes of a packet between two nodes, the rule that decides it, and the way as far as it is
//! known. The verdict is malha-core's; nothing is sent.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use axum::Json;
use axum::extract::State as Shared;
use malha_core::{Denial, Noun, Permission, Question, Source, State, Verdict};
use malha_proto::{NodeId, PathKind, Protocol, Revision, ServiceId};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use crate::api::Api;
use crate::api::body::Query;
use crate::api::caller::{Caller, Read};
use crate::api::grants::{Grant, GrantProtocol};
use crate::api::nodes::{HopHealth, NodeStanding, ServiceHealth, TunnelPath};
use crate::api::problem::Problem;
use crate::api::reference::Reference;
use crate::paths;
use crate::refusals;

/// Who would open what on whom.
#[derive(Clone, Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct TraceQuery {
    /// A node: id, `org/site/node`, its overlay name or one of its overlay addresses.
    #[param(value_type = String)]
    from: Reference,
    /// A node in the same forms, or a service: id or `org/site/node/service`.
    #[param(value_type = String)]
    to: Reference,
    /// The destination port; not for ICMP, and not needed for a service.
    #[param(minimum = 1, maximum = 65535)]
    port: Option<u16>,
    /// `tcp` if absent.
    #[serde(default = "tcp")]
    #[param(value_type = Option<GrantProtocol>)]
    protocol: Protocol,
}

/// What becomes of a packet that opens something.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Trace {
    pub from: TraceEnd,
    pub to: TraceEnd,
    #[schema(value_type = GrantProtocol)]
    pub protocol: Protocol,
    /// 0 for ICMP.
    pub port: u16,
    /// Whether the receiver's filter lets it in. Answers then pass by themselves.
    pub allowed: bool,
    pub reason: TraceReason,
    /// Whether `to` is connected and has said that it judges by these rules. Until it has, earlier ones may decide.
    pub confirmed: bool,
    /// All that `from` may open on `to`, in the order of the filter. While one of them is held apart, what it could otherwise.
    pub rules: Vec<TraceRule>,
    /// Whether `to` may open the same on `from`.
    pub reverse: bool,
    /// How packets between the two travel now: from one to the other, through the hub's relay, or over TCP 443 to the hub.
    /// Absent while neither has said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<TunnelPath>)]
    pub path: Option<PathKind>,
    /// The service at this port, if one is declared there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service: Option<TraceService>,
}

/// Why it passes or not.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum TraceReason {
    /// The first of `rules` that decides it is the one that the node counts.
    Rule,
    /// Both are one node: nothing enters a tunnel.
    SameNode,
    /// `from` is quarantined or must make new keys: it has no peers.
    FromApart,
    /// `to` is.
    ToApart,
    /// Neither is a hub or an edge, and no grant joins them.
    NotPeers,
    /// They are peers, but nothing allows it: the default.
    NoRule,
}

/// One thing that `from` may open on `to`, and why.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct TraceRule {
    /// It covers the packet.
    pub decides: bool,
    pub source: TraceSource,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub grant: Option<Grant>,
    /// The service to which a hub or edge brings requests or probes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service: Option<String>,
    /// The balancer that carries connections there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub balancer: Option<String>,
    #[schema(value_type = GrantProtocol)]
    pub protocol: Protocol,
    pub from_port: u16,
    pub to_port: u16,
}

/// What gives a permission.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum TraceSource {
    Grant,
    /// A public service, to which edges and hubs bring requests.
    PublicService,
    /// A service whose health the hub probes.
    HubProbe,
    /// A server behind a balancer of `from`.
    Balancer,
}

/// One end of the way.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct TraceEnd {
    #[schema(value_type = String)]
    pub id: NodeId,
    /// `org/site/node`
    pub path: String,
    /// Its overlay addresses.
    #[schema(value_type = Vec<String>)]
    pub addresses: Vec<IpAddr>,
    pub state: NodeStanding,
    pub hub: bool,
    /// Where its WireGuard may be reached, as declared. Empty: only it dials.
    #[schema(value_type = Vec<String>)]
    pub endpoints: Vec<SocketAddr>,
    /// Where the hub's tunnel hears it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub seen_at: Option<SocketAddr>,
    /// Its tunnel to the hub.
    pub tunnel: HopHealth,
}

/// A service as probed through the real path.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct TraceService {
    /// `org/site/node/service`
    pub path: String,
    /// Where the node hands the connection.
    #[schema(value_type = String)]
    pub target: SocketAddr,
    #[serde(flatten)]
    pub seen: ServiceHealth,
}

/// Explain what becomes of a packet between two nodes
///
/// Nothing is sent: the verdict is what the filter of `to` was told, the hops are those last observed.
#[utoipa::path(get, path = "/trace", tag = "status", params(TraceQuery),
    responses((status = 200, body = Trace)), security(("api_key" = ["read"])))]
pub(super) async fn trace(
    _caller: Caller<Read>,
    Shared(api): Shared<Arc<Api>>,
    Query(query): Query<TraceQuery>,
) -> Result<Json<Trace>, Problem> {
    let state = api.state();
    let question = query.question(&state)?;
    Trace::of(&api, &state, &question)
        .map(Json)
        .ok_or_else(|| Problem::not_found(Noun::Node, question.to))
}

impl TraceQuery {
    fn question(&self, state: &State) -> Result<Question, Problem> {
        let from = node(&self.from, state).map_err(|problem| problem.at("from"))?;
        let (to, service) = destination(&self.to, state).map_err(|problem| problem.at("to"))?;
        let service = service.and_then(|id| state.service(id));
        let listens = service.map(|service| service.port.number());
        let port = match (self.protocol, self.port, listens) {
            (Protocol::Icmp, None, None) => 0,
            (Protocol::Icmp, Some(_), _) => {
                return Err(Problem::wrong("port", &refusals::icmp_port()));
            }
            (Protocol::Icmp | Protocol::Udp, _, Some(_)) => {
                return Err(Problem::wrong("protocol", &refusals::service_protocol()));
            }
            (_, Some(0), _) => return Err(Problem::wrong("port", &refusals::port_zero())),
            (_, Some(asked), Some(listens)) if asked != listens => {
                return Err(Problem::wrong("port", &refusals::service_port(listens)));
            }
            (_, Some(port), _) | (_, None, Some(port)) => port,
            (_, None, None) => {
                return Err(Problem::wrong("port", &refusals::port_missing()));
            }
        };
        Ok(Question {
            from,
            to,
            protocol: self.protocol,
            port,
        })
    }
}

impl Trace {
    fn of(api: &Api, state: &State, question: &Question) -> Option<Self> {
        let said = state.explain(question)?;
        let decided = said.verdict == Verdict::Allowed;
        let rules = said.permissions.iter().map(|permission| {
            let covers = permission.allow.covers(question.protocol, question.port);
            TraceRule::of(state, permission, decided && covers)
        });
        Some(Self {
            from: TraceEnd::of(api, state, question.from)?,
            to: TraceEnd::of(api, state, question.to)?,
            protocol: question.protocol,
            port: question.port,
            allowed: decided,
            reason: match said.verdict {
                Verdict::Allowed => TraceReason::Rule,
                Verdict::Denied(Denial::SameNode) => TraceReason::SameNode,
                Verdict::Denied(Denial::Apart(id)) if id == question.from => TraceReason::FromApart,
                Verdict::Denied(Denial::Apart(_)) => TraceReason::ToApart,
                Verdict::Denied(Denial::NotPeers) => TraceReason::NotPeers,
                Verdict::Denied(Denial::NoPermission) => TraceReason::NoRule,
            },
            confirmed: confirmed(api, state, question.to),
            rules: rules.collect(),
            reverse: said.reverse,
            path: path(api, state, question),
            service: TraceService::at(api, state, question),
        })
    }
}

impl TraceRule {
    pub(super) fn of(state: &State, permission: &Permission, decides: bool) -> Self {
        let (source, grant, service) = match permission.source {
            Source::Grant(id) => (TraceSource::Grant, Grant::with_id(state, id), None),
            Source::Published(id) => (TraceSource::PublicService, None, Some(id)),
            Source::Probed(id) => (TraceSource::HubProbe, None, Some(id)),
            Source::Balanced(_) => (TraceSource::Balancer, None, None),
        };
        let balancer = match permission.source {
            Source::Balanced(id) => Some(paths::balancer(state, id)),
            _ => None,
        };
        Self {
            decides,
            source,
            grant,
            service: service.map(|id| paths::service(state, id)),
            balancer,
            protocol: permission.allow.protocol,
            from_port: permission.allow.from_port,
            to_port: permission.allow.to_port,
        }
    }
}

impl TraceEnd {
    fn of(api: &Api, state: &State, id: NodeId) -> Option<Self> {
        let node = state.node(id)?;
        let live = &api.context.live;
        Some(Self {
            id,
            path: paths::node(state, id),
            addresses: vec![node.addresses.v4.into(), node.addresses.v6.into()],
            state: NodeStanding::of(&node.state),
            hub: node.hub,
            endpoints: node.endpoints.clone(),
            seen_at: live.tunnel(id).and_then(|seen| seen.endpoint),
            tunnel: live.diagnosis(state, id)?.tunnel.into(),
        })
    }
}

impl TraceService {
    fn at(api: &Api, state: &State, question: &Question) -> Option<Self> {
        if question.protocol != Protocol::Tcp {
            return None;
        }
        let mut services = state.services_of(question.to);
        let service = services.find(|service| service.port.number() == question.port)?;
        let diagnosis = api.context.live.diagnosis(state, question.to)?;
        Some(Self {
            path: paths::service(state, service.id),
            target: service.target,
            seen: ServiceHealth::of(service, &diagnosis),
        })
    }
}

/// A hub takes its map from the state itself and needs no word.
fn confirmed(api: &Api, state: &State, to: NodeId) -> bool {
    let last_change = api.context.handle.history().last_change(to);
    // Zero says nothing of a map.
    let needed = last_change.max(Revision(1));
    state.node(to).is_some_and(|node| node.hub)
        || api.context.registry.applied_by(to) >= Some(needed)
}

/// As the one that opens sees it, else as the other does. A hub's own tunnels are seen here.
fn path(api: &Api, state: &State, question: &Question) -> Option<PathKind> {
    let live = &api.context.live;
    let (from, to) = (state.node(question.from)?, state.node(question.to)?);
    match (from.hub, to.hub) {
        (true, _) => live.tunnel(to.id)?.path,
        (_, true) => live.tunnel(from.id)?.path,
        _ => live
            .path(from.id, to.id)
            .or_else(|| live.path(to.id, from.id)),
    }
}

/// A node by any of its names or addresses.
fn node(reference: &Reference, state: &State) -> Result<NodeId, Problem> {
    if let Ok(address) = reference.as_str().parse::<IpAddr>() {
        return state
            .node_by_address(address)
            .map(|node| node.id)
            .ok_or_else(|| Problem::not_found(Noun::NodeWithAddress, address));
    }
    let path = overlay_path(reference.as_str(), state);
    match path.and_then(|path| state.node_by_path(&path)) {
        Some(node) => Ok(node.id),
        None => reference.node(state),
    }
}

/// A node, and the service if it was named.
fn destination(
    reference: &Reference,
    state: &State,
) -> Result<(NodeId, Option<ServiceId>), Problem> {
    let problem = match node(reference, state) {
        Ok(node) => return Ok((node, None)),
        Err(problem) => problem,
    };
    match reference.service(state) {
        Ok(id) => state
            .service(id)
            .map(|service| (service.node, Some(id)))
            .ok_or(problem),
        Err(_) => Err(problem),
    }
}

/// `org/site/node` of `node.site.org`, with or without the overlay zone.
fn overlay_path(name: &str, state: &State) -> Option<String> {
    let name = name.trim_end_matches('.').to_ascii_lowercase();
    let zone = format!(".{}", state.settings().overlay_zone);
    let name = name.strip_suffix(&zone).unwrap_or(&name);
    let labels: Vec<&str> = name.split('.').collect();
    match labels[..] {
        [node, site, organization] => Some(format!("{organization}/{site}/{node}")),
        _ => None,
    }
}

fn tcp() -> Protocol {
    Protocol::Tcp
}
