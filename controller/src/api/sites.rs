//! Sites over HTTP.

use std::sync::Arc;

use axum::Json;
use axum::extract::State as Shared;
use axum::response::Response;
use malha_core::profile::Release;
use malha_core::{Answer, Command, Noun, State};
use malha_proto::{Label, OrganizationId, SiteId};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use crate::api::Api;
use crate::api::body::{Body, Path, Query};
use crate::api::caller::{Caller, Read, Write};
use crate::api::listing::{Listing, Page};
use crate::api::problem::Problem;
use crate::api::reference::Reference;
use crate::api::resource::Resource;
use crate::api::write::{Removed, WriteQuery, Written};
use crate::paths;

/// A garage, or one environment of an órgão.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Site {
    #[schema(value_type = String, example = "s13")]
    pub id: SiteId,
    /// `org/site`
    pub path: String,
    #[schema(value_type = String)]
    pub name: Label,
    pub display_name: String,
    pub organization: String,
    #[schema(value_type = String)]
    pub organization_id: OrganizationId,
    pub nodes: usize,
    pub created_ms: u64,
    /// The release of X-Road that its servers run; absent for the newest.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub xroad: Option<Release>,
}

/// Which release of X-Road the servers of a site run.
#[derive(Clone, Copy, Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct SiteRelease {
    /// Like `7.3`; absent or null for the newest.
    #[serde(default)]
    #[schema(value_type = Option<String>, example = "7.3")]
    pub xroad: Option<Release>,
}

/// A site to be.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewSite {
    /// Id or name of its organization.
    pub organization: Reference,
    /// One DNS label; it stands in overlay names.
    #[schema(value_type = String, max_length = 63, example = "producao")]
    pub name: Label,
    #[serde(default)]
    #[schema(max_length = 200)]
    pub display_name: String,
}

/// Which sites.
#[derive(Clone, Debug, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct SiteListing {
    /// Only those of this organization: id or name.
    #[param(value_type = Option<String>)]
    organization: Option<Reference>,
    /// Most items in the answer; 100 if absent.
    #[param(minimum = 1, maximum = 1000)]
    limit: Option<usize>,
    /// `next` of the page before.
    after: Option<String>,
}

impl Resource for Site {
    type Id = SiteId;
    const NOUN: Noun = Noun::Site;

    fn of(_api: &Api, state: &State, id: SiteId) -> Option<Self> {
        let site = state.site(id)?;
        Some(Self {
            id,
            path: paths::site(state, id),
            name: site.name.clone(),
            display_name: site.display_name.clone(),
            organization: paths::organization(state, site.organization),
            organization_id: site.organization,
            nodes: state.nodes_of(id).count(),
            created_ms: site.created_ms,
            xroad: site.xroad,
        })
    }
}

/// List sites
#[utoipa::path(get, path = "/sites", tag = "sites", params(SiteListing),
    responses((status = 200, body = Page<Site>)), security(("api_key" = ["read"])))]
pub(super) async fn list(
    _caller: Caller<Read>,
    Shared(api): Shared<Arc<Api>>,
    Query(SiteListing {
        organization,
        limit,
        after,
    }): Query<SiteListing>,
) -> Result<Json<Page<Site>>, Problem> {
    let state = api.state();
    let organization = organization
        .map(|reference| reference.organization(&state))
        .transpose()?;
    let sites = state
        .sites()
        .filter(|site| organization.is_none_or(|id| site.organization == id));
    let listing = Listing { limit, after };
    api.listed(&state, &listing, sites.map(|site| site.id))
}

/// Create a site
#[utoipa::path(post, path = "/sites", tag = "sites", params(WriteQuery), request_body = NewSite,
    responses((status = 201, body = Written<Site>)), security(("api_key" = ["write"])))]
pub(super) async fn create(
    caller: Caller<Write>,
    Shared(api): Shared<Arc<Api>>,
    Query(query): Query<WriteQuery>,
    Body(new): Body<NewSite>,
) -> Result<Response, Problem> {
    let organization = new
        .organization
        .organization(&api.state())
        .map_err(|problem| problem.at("organization"))?;
    let command = Command::CreateSite {
        organization,
        name: new.name,
        display_name: new.display_name,
    };
    let made = |answer: &Answer| match answer {
        Answer::Site(id) => Some(*id),
        _ => None,
    };
    api.add::<Site, _>(&caller, &query, command, made).await
}

/// Show a site
#[utoipa::path(get, path = "/sites/{site}", tag = "sites",
    params(("site" = String, Path, description = "Id, or `org/site` percent-encoded")),
    responses((status = 200, body = Site)), security(("api_key" = ["read"])))]
pub(super) async fn show(
    _caller: Caller<Read>,
    Shared(api): Shared<Arc<Api>>,
    Path(reference): Path<Reference>,
) -> Result<Json<Site>, Problem> {
    let id = reference.site(&api.state())?;
    api.shown(id).map(Json)
}

/// Remove a site without nodes
#[utoipa::path(delete, path = "/sites/{site}", tag = "sites",
    params(("site" = String, Path, description = "Id, or `org/site` percent-encoded"), WriteQuery),
    responses((status = 200, body = Written<Removed>)), security(("api_key" = ["write"])))]
pub(super) async fn remove(
    caller: Caller<Write>,
    Shared(api): Shared<Arc<Api>>,
    Path(reference): Path<Reference>,
    Query(query): Query<WriteQuery>,
) -> Result<Json<Written<Removed>>, Problem> {
    let id = reference.site(&api.state())?;
    let command = Command::RemoveSite { id };
    api.remove(&caller, &query, id, command).await
}

/// Say which release of X-Road the servers of a site run
///
/// Before 7.4 information systems come on 80 and 443 instead of 8080 and 8443: guards follow at once.
#[utoipa::path(put, path = "/sites/{site}/xroad", tag = "sites",
    params(("site" = String, Path, description = "Id, or `org/site` percent-encoded"), WriteQuery),
    request_body = SiteRelease,
    responses((status = 200, body = Written<Site>)), security(("api_key" = ["write"])))]
pub(super) async fn set_release(
    caller: Caller<Write>,
    Shared(api): Shared<Arc<Api>>,
    Path(reference): Path<Reference>,
    Query(query): Query<WriteQuery>,
    Body(wanted): Body<SiteRelease>,
) -> Result<Json<Written<Site>>, Problem> {
    let id = reference.site(&api.state())?;
    let xroad = wanted.xroad;
    let command = Command::SetSiteRelease { id, xroad };
    api.set(&caller, &query, id, command).await
}
