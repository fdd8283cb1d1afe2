//! Balancers over HTTP: a port of a node spread over services of others, with the state of each server behind it.

mod representation;

pub use representation::{
    Balancer, BalancerAlgorithm, BalancerBackend, BalancerCondition, BalancerHealth, BalancerLive,
    BalancerMode, BalancerOpening, BalancerProxyProtocol, BalancerSettings, BalancerTraffic,
};

use std::collections::BTreeSet;
use std::sync::Arc;

use axum::Json;
use axum::extract::State as Shared;
use axum::response::Response;
use malha_core::{Answer, Command, State};
use malha_proto::{BackendMode, Exposure, Label, Port, ServiceId};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::api::Api;
use crate::api::body::{Body, Path, Query};
use crate::api::caller::{Caller, Read, Write};
use crate::api::listing::{Listing, Page};
use crate::api::problem::Problem;
use crate::api::reference::Reference;
use crate::api::services::ServiceExposure;
use crate::api::write::{Removed, WriteQuery, Written};

/// A balancer to be.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewBalancer {
    /// Where it runs, of profile balancer or edge, the hub included: id or `org/site/node`.
    pub node: Reference,
    #[schema(value_type = String, max_length = 63, example = "xroad")]
    pub name: Label,
    /// One service or balancer per node and port.
    #[schema(value_type = u16, minimum = 1, maximum = 65535)]
    pub port: Port,
    /// `tunnel` if absent: on the overlay address; `public`: on all addresses of the
    /// machine. On the hub, a port of the controller's own or of another program is refused.
    #[serde(default = "tunnel")]
    #[schema(value_type = ServiceExposure)]
    pub exposure: Exposure,
    /// Services of other nodes, each an id or `org/site/node/service`.
    pub backends: BTreeSet<Reference>,
    #[serde(default)]
    pub settings: BalancerSettings,
}

/// What a balancer shall be; all that can be changed of it.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct BalancerChange {
    /// A service that stays keeps its mode.
    pub backends: BTreeSet<Reference>,
    pub settings: BalancerSettings,
}

/// What the operator wants of one server.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct BalancerModeChange {
    /// One of the balancer's services.
    pub service: Reference,
    #[schema(value_type = BalancerMode)]
    pub mode: BackendMode,
}

/// List balancers
#[utoipa::path(get, path = "/balancers", tag = "balancers", params(Listing),
    responses((status = 200, body = Page<Balancer>)), security(("api_key" = ["read"])))]
pub(super) async fn list(
    _caller: Caller<Read>,
    Shared(api): Shared<Arc<Api>>,
    Query(listing): Query<Listing>,
) -> Result<Json<Page<Balancer>>, Problem> {
    let state = api.state();
    api.listed(&state, &listing, state.balancers().map(|it| it.id))
}

/// Add a balancer to a node
#[utoipa::path(post, path = "/balancers", tag = "balancers", params(WriteQuery), request_body = NewBalancer,
    responses((status = 201, body = Written<Balancer>)), security(("api_key" = ["write"])))]
pub(super) async fn create(
    caller: Caller<Write>,
    Shared(api): Shared<Arc<Api>>,
    Query(query): Query<WriteQuery>,
    Body(new): Body<NewBalancer>,
) -> Result<Response, Problem> {
    let state = api.state();
    let node = new.node.node(&state);
    let node = node.map_err(|problem| problem.at("node"))?;
    let ports = &api.context.hub_ports;
    if let Some(why) = ports.refusal(&state, node, new.port, new.exposure) {
        return Err(Problem::invalid("port", &why));
    }
    let command = Command::AddBalancer {
        node,
        name: new.name,
        port: new.port,
        exposure: new.exposure,
        backends: services(&state, &new.backends)?,
        settings: new.settings.into(),
    };
    let made = |answer: &Answer| match answer {
        Answer::Balancer(id) => Some(*id),
        _ => None,
    };
    api.add::<Balancer, _>(&caller, &query, command, made).await
}

/// Show a balancer
#[utoipa::path(get, path = "/balancers/{balancer}", tag = "balancers",
    params(("balancer" = String, Path, description = "Id, or `org/site/node/balancer` percent-encoded")),
    responses((status = 200, body = Balancer)), security(("api_key" = ["read"])))]
pub(super) async fn show(
    _caller: Caller<Read>,
    Shared(api): Shared<Arc<Api>>,
    Path(reference): Path<Reference>,
) -> Result<Json<Balancer>, Problem> {
    let id = reference.balancer(&api.state())?;
    api.shown(id).map(Json)
}

/// Change the services and settings of a balancer
#[utoipa::path(put, path = "/balancers/{balancer}", tag = "balancers",
    params(("balancer" = String, Path, description = "Id, or `org/site/node/balancer` percent-encoded"), WriteQuery),
    request_body = BalancerChange,
    responses((status = 200, body = Written<Balancer>)), security(("api_key" = ["write"])))]
pub(super) async fn set(
    caller: Caller<Write>,
    Shared(api): Shared<Arc<Api>>,
    Path(reference): Path<Reference>,
    Query(query): Query<WriteQuery>,
    Body(change): Body<BalancerChange>,
) -> Result<Json<Written<Balancer>>, Problem> {
    let state = api.state();
    let id = reference.balancer(&state)?;
    let command = Command::SetBalancer {
        id,
        backends: services(&state, &change.backends)?,
        settings: change.settings.into(),
    };
    api.set(&caller, &query, id, command).await
}

/// Serve from a server behind a balancer, drain it, or put it into maintenance
#[utoipa::path(put, path = "/balancers/{balancer}/mode", tag = "balancers",
    params(("balancer" = String, Path, description = "Id, or `org/site/node/balancer` percent-encoded"), WriteQuery),
    request_body = BalancerModeChange,
    responses((status = 200, body = Written<Balancer>)), security(("api_key" = ["write"])))]
pub(super) async fn set_mode(
    caller: Caller<Write>,
    Shared(api): Shared<Arc<Api>>,
    Path(reference): Path<Reference>,
    Query(query): Query<WriteQuery>,
    Body(change): Body<BalancerModeChange>,
) -> Result<Json<Written<Balancer>>, Problem> {
    let state = api.state();
    let id = reference.balancer(&state)?;
    let service = change.service.service(&state);
    let command = Command::SetBackendMode {
        id,
        service: service.map_err(|problem| problem.at("service"))?,
        mode: change.mode,
    };
    api.set(&caller, &query, id, command).await
}

/// Remove a balancer; its connections are reset
#[utoipa::path(delete, path = "/balancers/{balancer}", tag = "balancers",
    params(("balancer" = String, Path, description = "Id, or `org/site/node/balancer` percent-encoded"), WriteQuery),
    responses((status = 200, body = Written<Removed>)), security(("api_key" = ["write"])))]
pub(super) async fn remove(
    caller: Caller<Write>,
    Shared(api): Shared<Arc<Api>>,
    Path(reference): Path<Reference>,
    Query(query): Query<WriteQuery>,
) -> Result<Json<Written<Removed>>, Problem> {
    let id = reference.balancer(&api.state())?;
    let command = Command::RemoveBalancer { id };
    api.remove(&caller, &query, id, command).await
}

fn services(
    state: &State,
    references: &BTreeSet<Reference>,
) -> Result<BTreeSet<ServiceId>, Problem> {
    let ids = references.iter().map(|it| it.service(state));
    ids.collect::<Result<_, _>>()
        .map_err(|problem| problem.at("backends"))
}

fn tunnel() -> Exposure {
    Exposure::Tunnel
}
