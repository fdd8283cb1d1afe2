//! API keys over HTTP. A key's text is in the answer that made it, and nowhere else.

use std::collections::BTreeSet;
use std::sync::Arc;

use axum::Json;
use axum::extract::State as Shared;
use axum::response::Response;
use malha_core::{Answer, Command, Noun, Scope, State};
use malha_proto::{ApiKeyId, Label};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::accounts::api_key_text;
use crate::api::Api;
use crate::api::body::{Body, Path, Query};
use crate::api::caller::{Admin, Caller};
use crate::api::listing::{Listing, Page};
use crate::api::problem::Problem;
use crate::api::reference::Reference;
use crate::api::resource::Resource;
use crate::api::write::{Removed, WriteQuery, Written};

/// An API key without its text.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ApiKey {
    #[schema(value_type = String, example = "k20")]
    pub id: ApiKeyId,
    #[schema(value_type = String)]
    pub name: Label,
    #[schema(value_type = Vec<ApiKeyScope>)]
    pub scopes: BTreeSet<Scope>,
    pub created_ms: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_ms: Option<u64>,
    /// Whose key it is, by name. Absent: nobody's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub operator: Option<String>,
}

/// What a key may do. Every scope may read; `write` includes `enrol` and `dns`; `admin` is all.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum ApiKeyScope {
    Read,
    Enrol,
    Write,
    Dns,
    Admin,
}

/// An API key to be.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewApiKey {
    /// Names the caller in the audit log.
    #[schema(value_type = String, max_length = 63)]
    pub name: Label,
    #[schema(value_type = Vec<ApiKeyScope>)]
    pub scopes: BTreeSet<Scope>,
    /// Milliseconds of the Unix epoch; never if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_ms: Option<u64>,
    /// Whose key it is: id or name. That of the key with which it is created if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub operator: Option<Reference>,
}

/// An API key with its text, which is shown this once.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct CreatedApiKey {
    #[serde(flatten)]
    pub about: ApiKey,
    /// What goes behind `Bearer`; absent when the creation is repeated.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    /// Says why there is no key text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
}

impl Resource for ApiKey {
    type Id = ApiKeyId;
    const NOUN: Noun = Noun::ApiKey;

    fn of(_api: &Api, state: &State, id: ApiKeyId) -> Option<Self> {
        let key = state.api_key(id)?;
        Some(Self {
            id,
            name: key.name.clone(),
            scopes: key.scopes.clone(),
            created_ms: key.created_ms,
            expires_ms: key.expires_ms,
            operator: key.operator.map(|id| match state.operator(id) {
                Some(operator) => operator.name.to_string(),
                None => id.to_string(),
            }),
        })
    }
}

/// List API keys
#[utoipa::path(get, path = "/api-keys", tag = "api-keys", params(Listing),
    responses((status = 200, body = Page<ApiKey>)), security(("api_key" = ["admin"])))]
pub(super) async fn list(
    _caller: Caller<Admin>,
    Shared(api): Shared<Arc<Api>>,
    Query(listing): Query<Listing>,
) -> Result<Json<Page<ApiKey>>, Problem> {
    let state = api.state();
    api.listed(&state, &listing, state.api_keys().map(|key| key.id))
}

/// Create an API key
///
/// The text of the key is in this answer only.
#[utoipa::path(post, path = "/api-keys", tag = "api-keys", params(WriteQuery), request_body = NewApiKey,
    responses((status = 201, body = Written<CreatedApiKey>)), security(("api_key" = ["admin"])))]
pub(super) async fn create(
    caller: Caller<Admin>,
    Shared(api): Shared<Arc<Api>>,
    Query(query): Query<WriteQuery>,
    Body(new): Body<NewApiKey>,
) -> Result<Response, Problem> {
    let NewApiKey {
        name,
        scopes,
        expires_ms,
        operator,
    } = new;
    let state = api.state();
    let operator = match operator {
        Some(named) => Some(named.operator(&state).map_err(|it| it.at("operator"))?),
        None => caller.operator(&state),
    };
    let made = |answer: &Answer| match answer {
        Answer::ApiKey { id, .. } => Some(*id),
        _ => None,
    };
    let command = Command::AddApiKey {
        name,
        scopes,
        expires_ms,
        operator,
    };
    let (accepted, id, creation) = api.create(&caller, &query, command, made).await?;
    let key = match &accepted.answer {
        Answer::ApiKey { secret, .. } => Some(api_key_text(secret)),
        _ => None,
    };
    let note = key.is_none().then(|| NOT_AGAIN.to_owned());
    let resource =
        ApiKey::of(&api, &api.state(), id).map(|about| CreatedApiKey { about, key, note });
    api.created(&accepted, &query, creation, resource).await
}

/// Show an API key, without its text
#[utoipa::path(get, path = "/api-keys/{key}", tag = "api-keys",
    params(("key" = String, Path, description = "Id or name")),
    responses((status = 200, body = ApiKey)), security(("api_key" = ["admin"])))]
pub(super) async fn show(
    _caller: Caller<Admin>,
    Shared(api): Shared<Arc<Api>>,
    Path(reference): Path<Reference>,
) -> Result<Json<ApiKey>, Problem> {
    let id = reference.api_key(&api.state())?;
    api.shown(id).map(Json)
}

/// Remove an API key; it is refused from then on
#[utoipa::path(delete, path = "/api-keys/{key}", tag = "api-keys",
    params(("key" = String, Path, description = "Id or name"), WriteQuery),
    responses((status = 200, body = Written<Removed>)), security(("api_key" = ["admin"])))]
pub(super) async fn remove(
    caller: Caller<Admin>,
    Shared(api): Shared<Arc<Api>>,
    Path(reference): Path<Reference>,
    Query(query): Query<WriteQuery>,
) -> Result<Json<Written<Removed>>, Problem> {
    let id = reference.api_key(&api.state())?;
    let command = Command::RemoveApiKey { id };
    api.remove(&caller, &query, id, command).await
}

const NOT_AGAIN: &str = "this Idempotency-Key made this API key before; its text was shown then and can't be shown again. \
    If it is lost, remove this API key and create another with a new Idempotency-Key";
