//! Organizations over HTTP.

use std::sync::Arc;

use axum::Json;
use axum::extract::State as Shared;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use malha_core::{Answer, Command, Noun, State};
use malha_proto::{Label, OrganizationId};
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

/// An órgão, or a company that owns garages.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Organization {
    #[schema(value_type = String, example = "o12")]
    pub id: OrganizationId,
    #[schema(value_type = String, example = "sefaz")]
    pub name: Label,
    /// For people.
    pub display_name: String,
    pub sites: usize,
    pub created_ms: u64,
    /// A change of the policy that concerns its nodes needs the approval of another operator.
    pub second_approver: bool,
    /// In the answer to a change that waits for a second operator: the number of the proposal.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub proposed: Option<u64>,
}

/// Whether an organization asks for a second approver.
#[derive(Clone, Copy, Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct SecondApprover {
    pub on: bool,
}

/// An organization to be.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewOrganization {
    /// One DNS label; it stands in overlay names.
    #[schema(value_type = String, max_length = 63, example = "sefaz")]
    pub name: Label,
    #[serde(default)]
    #[schema(max_length = 200)]
    pub display_name: String,
}

impl Resource for Organization {
    type Id = OrganizationId;
    const NOUN: Noun = Noun::Organization;

    fn of(_api: &Api, state: &State, id: OrganizationId) -> Option<Self> {
        let organization = state.organization(id)?;
        Some(Self {
            id,
            name: organization.name.clone(),
            display_name: organization.display_name.clone(),
            sites: state.sites_of(id).count(),
            created_ms: organization.created_ms,
            second_approver: organization.second_approver,
            proposed: None,
        })
    }
}

/// List organizations
#[utoipa::path(get, path = "/organizations", tag = "organizations", params(Listing),
    responses((status = 200, body = Page<Organization>)), security(("api_key" = ["read"])))]
pub(super) async fn list(
    _caller: Caller<Read>,
    Shared(api): Shared<Arc<Api>>,
    Query(listing): Query<Listing>,
) -> Result<Json<Page<Organization>>, Problem> {
    let state = api.state();
    let ids = state.organizations().map(|organization| organization.id);
    api.listed(&state, &listing, ids)
}

/// Create an organization
#[utoipa::path(post, path = "/organizations", tag = "organizations", params(WriteQuery), request_body = NewOrganization,
    responses((status = 201, body = Written<Organization>)), security(("api_key" = ["write"])))]
pub(super) async fn create(
    caller: Caller<Write>,
    Shared(api): Shared<Arc<Api>>,
    Query(query): Query<WriteQuery>,
    Body(new): Body<NewOrganization>,
) -> Result<Response, Problem> {
    let command = Command::CreateOrganization {
        name: new.name,
        display_name: new.display_name,
    };
    let made = |answer: &Answer| match answer {
        Answer::Organization(id) => Some(*id),
        _ => None,
    };
    api.add::<Organization, _>(&caller, &query, command, made)
        .await
}

/// Show an organization
#[utoipa::path(get, path = "/organizations/{organization}", tag = "organizations",
    params(("organization" = String, Path, description = "Id or name")),
    responses((status = 200, body = Organization)), security(("api_key" = ["read"])))]
pub(super) async fn show(
    _caller: Caller<Read>,
    Shared(api): Shared<Arc<Api>>,
    Path(reference): Path<Reference>,
) -> Result<Json<Organization>, Problem> {
    let id = reference.organization(&api.state())?;
    api.shown(id).map(Json)
}

/// Remove an organization without sites
#[utoipa::path(delete, path = "/organizations/{organization}", tag = "organizations",
    params(("organization" = String, Path, description = "Id or name"), WriteQuery),
    responses((status = 200, body = Written<Removed>)), security(("api_key" = ["write"])))]
pub(super) async fn remove(
    caller: Caller<Write>,
    Shared(api): Shared<Arc<Api>>,
    Path(reference): Path<Reference>,
    Query(query): Query<WriteQuery>,
) -> Result<Json<Written<Removed>>, Problem> {
    let id = reference.organization(&api.state())?;
    let command = Command::RemoveOrganization { id };
    api.remove(&caller, &query, id, command).await
}

/// Ask for a second approver, or no longer
///
/// Asking holds at once and needs two operators who may change the policy. Asking no longer needs the approval of the second
/// one and becomes a proposal (202).
#[utoipa::path(put, path = "/organizations/{organization}/second-approver", tag = "organizations",
    params(("organization" = String, Path, description = "Id or name"), WriteQuery), request_body = SecondApprover,
    responses((status = 200, body = Written<Organization>), (status = 202, body = Written<Organization>)),
    security(("api_key" = ["write"])))]
pub(super) async fn set_second_approver(
    caller: Caller<Write>,
    Shared(api): Shared<Arc<Api>>,
    Path(reference): Path<Reference>,
    Query(query): Query<WriteQuery>,
    Body(wanted): Body<SecondApprover>,
) -> Result<Response, Problem> {
    let organization = reference.organization(&api.state())?;
    let command = Command::SetSecondApprover {
        organization,
        on: wanted.on,
        author: caller.author(),
    };
    let accepted = api.change(&caller, &query, command).await?;
    let (status, proposed) = match accepted.answer {
        Answer::Proposed { proposal } => (StatusCode::ACCEPTED, Some(proposal)),
        _ => (StatusCode::OK, None),
    };
    let resource = Organization {
        proposed,
        ..api.shown(organization)?
    };
    let written = api.written(&accepted, &query, resource).await?;
    Ok((status, Json(written)).into_response())
}
