//! Grants over HTTP: who may open what on whom. Everything not granted is denied.

use std::sync::Arc;

use axum::Json;
use axum::extract::State as Shared;
use axum::response::Response;
use malha_core::{Answer, Command, GrantOrigin, Noun, Opening, State};
use malha_proto::{Allow, GrantId, Protocol};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::api::Api;
use crate::api::body::{Body, Path, Query};
use crate::api::caller::{Caller, Read, Write};
use crate::api::listing::{Listing, Page};
use crate::api::problem::Problem;
use crate::api::reference::{Reference, selector_text};
use crate::api::resource::Resource;
use crate::api::write::{Removed, WriteQuery, Written};

/// A policy rule.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Grant {
    #[schema(value_type = String, example = "g18")]
    pub id: GrantId,
    /// Who may open: `organization:…`, `site:…`, `node:…`, `profile:…` or `tag:…`.
    pub from: String,
    /// On whom.
    pub to: String,
    #[schema(value_type = GrantProtocol)]
    pub protocol: Protocol,
    /// 0 when it opens a service.
    pub from_port: u16,
    pub to_port: u16,
    /// The name of the service that it opens on each node that has one, whatever its port.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service: Option<String>,
    /// The name of the `[[grant]]` in the policy from which it follows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub policy: Option<String>,
}

/// A grant to be.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewGrant {
    /// Who may open: `organization:NAME`, `site:ORG/SITE`, `node:ORG/SITE/NODE`, `profile:PROFILE` or `tag:TAG`.
    pub from: Reference,
    /// On whom, in the same form.
    pub to: Reference,
    #[schema(value_type = GrantProtocol)]
    pub protocol: Protocol,
    /// First port; not for ICMP.
    #[serde(default)]
    pub from_port: u16,
    /// Last port, included; the first if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to_port: Option<u16>,
}

/// The transports that can be granted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum GrantProtocol {
    Tcp,
    Udp,
    Icmp,
}

impl Resource for Grant {
    type Id = GrantId;
    const NOUN: Noun = Noun::Grant;

    fn of(_api: &Api, state: &State, id: GrantId) -> Option<Self> {
        Self::with_id(state, id)
    }
}

impl Grant {
    pub(super) fn with_id(state: &State, id: GrantId) -> Option<Self> {
        let grant = state.grant(id)?;
        let (protocol, from_port, to_port, service) = match &grant.allow {
            Opening::Ports(allow) => (allow.protocol, allow.from_port, allow.to_port, None),
            Opening::Service { service } => (Protocol::Tcp, 0, 0, Some(service.to_string())),
        };
        Some(Self {
            id,
            from: selector_text(state, grant.from),
            to: selector_text(state, grant.to),
            protocol,
            from_port,
            to_port,
            service,
            policy: match &grant.origin {
                GrantOrigin::Operator => None,
                GrantOrigin::Policy { name } => Some(name.to_string()),
            },
        })
    }
}

/// List grants
#[utoipa::path(get, path = "/grants", tag = "grants", params(Listing),
    responses((status = 200, body = Page<Grant>)), security(("api_key" = ["read"])))]
pub(super) async fn list(
    _caller: Caller<Read>,
    Shared(api): Shared<Arc<Api>>,
    Query(listing): Query<Listing>,
) -> Result<Json<Page<Grant>>, Problem> {
    let state = api.state();
    api.listed(&state, &listing, state.grants().map(|grant| grant.id))
}

/// Add a grant
#[utoipa::path(post, path = "/grants", tag = "grants", params(WriteQuery), request_body = NewGrant,
    responses((status = 201, body = Written<Grant>)), security(("api_key" = ["write"])))]
pub(super) async fn create(
    caller: Caller<Write>,
    Shared(api): Shared<Arc<Api>>,
    Query(query): Query<WriteQuery>,
    Body(new): Body<NewGrant>,
) -> Result<Response, Problem> {
    let state = api.state();
    let (from, to) = (
        new.from.selector(&state, "from")?,
        new.to.selector(&state, "to")?,
    );
    let to_port = new.to_port.unwrap_or(new.from_port);
    let allow = Allow {
        protocol: new.protocol,
        from_port: new.from_port,
        to_port,
    };
    let made = |answer: &Answer| match answer {
        Answer::Grant(id) => Some(*id),
        _ => None,
    };
    let command = Command::AddGrant { from, to, allow };
    api.add::<Grant, _>(&caller, &query, command, made).await
}

/// Show a grant
#[utoipa::path(get, path = "/grants/{grant}", tag = "grants", params(("grant" = String, Path, description = "Id")),
    responses((status = 200, body = Grant)), security(("api_key" = ["read"])))]
pub(super) async fn show(
    _caller: Caller<Read>,
    Shared(api): Shared<Arc<Api>>,
    Path(reference): Path<Reference>,
) -> Result<Json<Grant>, Problem> {
    let id = reference.grant(&api.state())?;
    api.shown(id).map(Json)
}

/// Remove a grant
#[utoipa::path(delete, path = "/grants/{grant}", tag = "grants",
    params(("grant" = String, Path, description = "Id"), WriteQuery),
    responses((status = 200, body = Written<Removed>)), security(("api_key" = ["write"])))]
pub(super) async fn remove(
    caller: Caller<Write>,
    Shared(api): Shared<Arc<Api>>,
    Path(reference): Path<Reference>,
    Query(query): Query<WriteQuery>,
) -> Result<Json<Written<Removed>>, Problem> {
    let id = reference.grant(&api.state())?;
    let command = Command::RemoveGrant { id };
    api.remove(&caller, &query, id, command).await
}
