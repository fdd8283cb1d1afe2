//! Services over HTTP.

use std::net::SocketAddr;
use std::sync::Arc;

use axum::Json;
use axum::extract::State as Shared;
use axum::response::Response;
use malha_core::{Answer, Command, Noun, State};
use malha_proto::{Exposure, Label, NodeId, Port, ServiceId, ServiceKind};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use crate::api::Api;
use crate::api::body::{Body, Path, Query};
use crate::api::caller::{Caller, Read, Write};
use crate::api::listing::{Listing, Page};
use crate::api::nodes::HopHealth;
use crate::api::problem::Problem;
use crate::api::reference::Reference;
use crate::api::resource::Resource;
use crate::api::write::{Removed, WriteQuery, Written};
use crate::paths;

/// A named port that a node offers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Service {
    #[schema(value_type = String, example = "v16")]
    pub id: ServiceId,
    /// `org/site/node/service`
    pub path: String,
    #[schema(value_type = String)]
    pub name: Label,
    pub node: String,
    #[schema(value_type = String)]
    pub node_id: NodeId,
    /// On the overlay address.
    #[schema(value_type = u16)]
    pub port: Port,
    /// Where the node hands the connection.
    #[schema(value_type = String)]
    pub target: SocketAddr,
    #[schema(value_type = ServiceProtocol)]
    pub kind: ServiceKind,
    #[schema(value_type = ServiceExposure)]
    pub exposure: Exposure,
    /// As probed through the real path.
    pub health: HopHealth,
}

/// A service to be.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewService {
    /// Id or `org/site/node`.
    pub node: Reference,
    #[schema(value_type = String, max_length = 63, example = "web")]
    pub name: Label,
    /// On the overlay address; one service per node and port.
    #[schema(value_type = u16, minimum = 1, maximum = 65535)]
    pub port: Port,
    /// Where the node hands the connection.
    #[schema(value_type = String, example = "127.0.0.1:8080")]
    pub target: SocketAddr,
    #[schema(value_type = ServiceProtocol)]
    pub kind: ServiceKind,
    /// `tunnel` if absent: only for members with a grant.
    #[serde(default = "tunnel")]
    #[schema(value_type = ServiceExposure)]
    pub exposure: Exposure,
}

/// What a service speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum ServiceProtocol {
    Http,
    Tcp,
}

/// Who may know a service.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum ServiceExposure {
    Tunnel,
    Public,
}

/// Which services.
#[derive(Clone, Debug, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct ServiceListing {
    /// Only those of this node: id or `org/site/node`.
    #[param(value_type = Option<String>)]
    node: Option<Reference>,
    /// Most items in the answer; 100 if absent.
    #[param(minimum = 1, maximum = 1000)]
    limit: Option<usize>,
    /// `next` of the page before.
    after: Option<String>,
}

impl Resource for Service {
    type Id = ServiceId;
    const NOUN: Noun = Noun::Service;

    fn of(api: &Api, state: &State, id: ServiceId) -> Option<Self> {
        let service = state.service(id)?;
        let diagnosis = api.context.live.diagnosis(state, service.node)?;
        let health = diagnosis
            .services
            .get(&id)
            .copied()
            .unwrap_or(malha_proto::HopState::Unknown);
        Some(Self {
            id,
            path: paths::service(state, id),
            name: service.name.clone(),
            node: paths::node(state, service.node),
            node_id: service.node,
            port: service.port,
            target: service.target,
            kind: service.kind,
            exposure: service.exposure,
            health: health.into(),
        })
    }
}

/// List services
#[utoipa::path(get, path = "/services", tag = "services", params(ServiceListing),
    responses((status = 200, body = Page<Service>)), security(("api_key" = ["read"])))]
pub(super) async fn list(
    _caller: Caller<Read>,
    Shared(api): Shared<Arc<Api>>,
    Query(ServiceListing { node, limit, after }): Query<ServiceListing>,
) -> Result<Json<Page<Service>>, Problem> {
    let state = api.state();
    let node = node.map(|reference| reference.node(&state)).transpose()?;
    let services = state
        .services()
        .filter(|service| node.is_none_or(|id| service.node == id));
    let listing = Listing { limit, after };
    api.listed(&state, &listing, services.map(|service| service.id))
}

/// Add a service to a node
#[utoipa::path(post, path = "/services", tag = "services", params(WriteQuery), request_body = NewService,
    responses((status = 201, body = Written<Service>)), security(("api_key" = ["write"])))]
pub(super) async fn create(
    caller: Caller<Write>,
    Shared(api): Shared<Arc<Api>>,
    Query(query): Query<WriteQuery>,
    Body(new): Body<NewService>,
) -> Result<Response, Problem> {
    let node = new
        .node
        .node(&api.state())
        .map_err(|problem| problem.at("node"))?;
    let NewService {
        name,
        port,
        target,
        kind,
        exposure,
        ..
    } = new;
    let command = Command::AddService {
        node,
        name,
        port,
        target,
        kind,
        exposure,
    };
    let made = |answer: &Answer| match answer {
        Answer::Service(id) => Some(*id),
        _ => None,
    };
    api.add::<Service, _>(&caller, &query, command, made).await
}

/// Show a service
#[utoipa::path(get, path = "/services/{service}", tag = "services",
    params(("service" = String, Path, description = "Id, or `org/site/node/service` percent-encoded")),
    responses((status = 200, body = Service)), security(("api_key" = ["read"])))]
pub(super) async fn show(
    _caller: Caller<Read>,
    Shared(api): Shared<Arc<Api>>,
    Path(reference): Path<Reference>,
) -> Result<Json<Service>, Problem> {
    let id = reference.service(&api.state())?;
    api.shown(id).map(Json)
}

/// Remove a service that no route uses
#[utoipa::path(delete, path = "/services/{service}", tag = "services",
    params(("service" = String, Path, description = "Id, or `org/site/node/service` percent-encoded"), WriteQuery),
    responses((status = 200, body = Written<Removed>)), security(("api_key" = ["write"])))]
pub(super) async fn remove(
    caller: Caller<Write>,
    Shared(api): Shared<Arc<Api>>,
    Path(reference): Path<Reference>,
    Query(query): Query<WriteQuery>,
) -> Result<Json<Written<Removed>>, Problem> {
    let id = reference.service(&api.state())?;
    let command = Command::RemoveService { id };
    api.remove(&caller, &query, id, command).await
}

fn tunnel() -> Exposure {
    Exposure::Tunnel
}
