//! Routes over HTTP: public host names and paths bound to services.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::Arc;

use axum::Json;
use axum::extract::State as Shared;
use axum::response::Response;
use malha_core::{Answer, Command, Noun, State};
use malha_proto::{HostName, RouteId};
use malha_zone::ZoneName;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::api::Api;
use crate::api::body::{Body, Path, Query};
use crate::api::caller::{Caller, Read, Write};
use crate::api::listing::{Listing, Page};
use crate::api::problem::Problem;
use crate::api::reference::Reference;
use crate::api::resource::Resource;
use crate::api::write::{Removed, WriteQuery, Written};
use crate::paths;

/// A public host name and path, bound to services.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Route {
    #[schema(value_type = String, example = "r17")]
    pub id: RouteId,
    #[schema(value_type = String, example = "garagem-01.example.org")]
    pub host: HostName,
    /// The longest path that fits a request wins.
    pub path: String,
    /// `org/site/node/service` of each.
    pub services: Vec<String>,
    /// The zone of this controller in which its DNS records stand; absent: no zone here holds the host, and its records must be made
    /// where that is kept.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub zone: Option<ZoneName>,
    /// The edges' addresses, to which its A and AAAA records lead.
    #[schema(value_type = Vec<String>)]
    pub addresses: Vec<IpAddr>,
    pub created_ms: u64,
}

/// A route to be.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewRoute {
    /// A full host name; the first label may be `*`.
    #[schema(value_type = String, max_length = 253, example = "garagem-01.example.org")]
    pub host: HostName,
    /// Starts with `/`; matched on segment borders.
    #[serde(default = "root")]
    #[schema(max_length = 1024, example = "/")]
    pub path: String,
    /// Public HTTP services: ids or `org/site/node/service`.
    #[schema(value_type = Vec<String>)]
    pub services: BTreeSet<Reference>,
}

impl Resource for Route {
    type Id = RouteId;
    const NOUN: Noun = Noun::Route;

    fn of(_api: &Api, state: &State, id: RouteId) -> Option<Self> {
        let route = state.route(id)?;
        Some(Self {
            id,
            host: route.host.clone(),
            path: route.path.clone(),
            services: route
                .services
                .iter()
                .map(|service| paths::service(state, *service))
                .collect(),
            zone: state
                .zone_of_host(&route.host)
                .map(|zone| zone.origin().clone()),
            addresses: state.settings().edge_addresses.clone(),
            created_ms: route.created_ms,
        })
    }
}

/// List routes
#[utoipa::path(get, path = "/routes", tag = "routes", params(Listing),
    responses((status = 200, body = Page<Route>)), security(("api_key" = ["read"])))]
pub(super) async fn list(
    _caller: Caller<Read>,
    Shared(api): Shared<Arc<Api>>,
    Query(listing): Query<Listing>,
) -> Result<Json<Page<Route>>, Problem> {
    let state = api.state();
    api.listed(&state, &listing, state.routes().map(|route| route.id))
}

/// Add a route
///
/// Its DNS records appear by themselves in the longest public zone that holds the host. Where none does, the answer has no `zone`, and
/// records of the host that lead to `addresses` must be made in its own DNS.
#[utoipa::path(post, path = "/routes", tag = "routes", params(WriteQuery), request_body = NewRoute,
    responses((status = 201, body = Written<Route>)), security(("api_key" = ["write"])))]
pub(super) async fn create(
    caller: Caller<Write>,
    Shared(api): Shared<Arc<Api>>,
    Query(query): Query<WriteQuery>,
    Body(new): Body<NewRoute>,
) -> Result<Response, Problem> {
    let state = api.state();
    let services = new
        .services
        .iter()
        .map(|service| service.service(&state))
        .collect::<Result<_, _>>();
    let services = services.map_err(|problem| problem.at("services"))?;
    let command = Command::AddRoute {
        host: new.host,
        path: new.path,
        services,
    };
    let made = |answer: &Answer| match answer {
        Answer::Route(id) => Some(*id),
        _ => None,
    };
    api.add::<Route, _>(&caller, &query, command, made).await
}

/// Show a route
#[utoipa::path(get, path = "/routes/{route}", tag = "routes",
    params(("route" = String, Path, description = "Id, or host and path percent-encoded")),
    responses((status = 200, body = Route)), security(("api_key" = ["read"])))]
pub(super) async fn show(
    _caller: Caller<Read>,
    Shared(api): Shared<Arc<Api>>,
    Path(reference): Path<Reference>,
) -> Result<Json<Route>, Problem> {
    let id = reference.route(&api.state())?;
    api.shown(id).map(Json)
}

/// Remove a route
///
/// Its DNS records go with the last route of the host.
#[utoipa::path(delete, path = "/routes/{route}", tag = "routes",
    params(("route" = String, Path, description = "Id, or host and path percent-encoded"), WriteQuery),
    responses((status = 200, body = Written<Removed>)), security(("api_key" = ["write"])))]
pub(super) async fn remove(
    caller: Caller<Write>,
    Shared(api): Shared<Arc<Api>>,
    Path(reference): Path<Reference>,
    Query(query): Query<WriteQuery>,
) -> Result<Json<Written<Removed>>, Problem> {
    let id = reference.route(&api.state())?;
    let command = Command::RemoveRoute { id };
    api.remove(&caller, &query, id, command).await
}

fn root() -> String {
    "/".to_owned()
}
