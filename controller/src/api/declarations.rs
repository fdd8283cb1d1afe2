//! What organizations declare of themselves, over HTTP: one text each, for checks to compare with what is there.

use std::sync::Arc;

use axum::Json;
use axum::extract::State as Shared;
use malha_core::{Command, Noun, State};
use malha_proto::OrganizationId;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::api::Api;
use crate::api::body::{Body, Path, Query};
use crate::api::caller::{Caller, Read, Write};
use crate::api::problem::Problem;
use crate::api::reference::Reference;
use crate::api::write::{Removed, WriteQuery, Written};

/// What an organization declares of itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Declaration {
    /// Its name.
    pub organization: String,
    /// TOML, as it was written.
    pub text: String,
    /// Who declared it.
    pub author: String,
    pub declared_ms: u64,
}

/// A text to declare.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewDeclaration {
    /// TOML; a refusal names line, column and field.
    pub text: String,
}

impl Declaration {
    fn of(state: &State, id: OrganizationId) -> Result<Self, Problem> {
        let name = state.organization(id).map(|it| it.name.to_string());
        let name = name.unwrap_or_else(|| id.to_string());
        let it = state
            .declaration(id)
            .ok_or_else(|| Problem::not_found(Noun::Declaration, &name))?;
        Ok(Self {
            organization: name,
            text: it.text.clone(),
            author: it.author.clone(),
            declared_ms: it.declared_ms,
        })
    }
}

/// Show what an organization declares
#[utoipa::path(get, path = "/organizations/{organization}/declaration", tag = "checks",
    params(("organization" = String, Path, description = "Id or name")),
    responses((status = 200, body = Declaration)), security(("api_key" = ["read"])))]
pub(super) async fn show(
    _caller: Caller<Read>,
    Shared(api): Shared<Arc<Api>>,
    Path(reference): Path<Reference>,
) -> Result<Json<Declaration>, Problem> {
    let state = api.state();
    let id = reference.organization(&state)?;
    Declaration::of(&state, id).map(Json)
}

/// Replace what an organization declares
#[utoipa::path(put, path = "/organizations/{organization}/declaration", tag = "checks",
    params(("organization" = String, Path, description = "Id or name"), WriteQuery), request_body = NewDeclaration,
    responses((status = 200, body = Written<Declaration>)), security(("api_key" = ["write"])))]
pub(super) async fn put(
    caller: Caller<Write>,
    Shared(api): Shared<Arc<Api>>,
    Path(reference): Path<Reference>,
    Query(query): Query<WriteQuery>,
    Body(new): Body<NewDeclaration>,
) -> Result<Json<Written<Declaration>>, Problem> {
    let organization = reference.organization(&api.state())?;
    let command = Command::Declare {
        organization,
        text: new.text,
        author: caller.actor.name.clone(),
    };
    let accepted = api.change(&caller, &query, command).await?;
    let declaration = Declaration::of(&api.state(), organization)?;
    api.written(&accepted, &query, declaration).await.map(Json)
}

/// Withdraw what an organization declares
#[utoipa::path(delete, path = "/organizations/{organization}/declaration", tag = "checks",
    params(("organization" = String, Path, description = "Id or name"), WriteQuery),
    responses((status = 200, body = Written<Removed>)), security(("api_key" = ["write"])))]
pub(super) async fn remove(
    caller: Caller<Write>,
    Shared(api): Shared<Arc<Api>>,
    Path(reference): Path<Reference>,
    Query(query): Query<WriteQuery>,
) -> Result<Json<Written<Removed>>, Problem> {
    let organization = reference.organization(&api.state())?;
    let command = Command::WithdrawDeclaration { organization };
    api.remove(&caller, &query, organization, command).await
}
