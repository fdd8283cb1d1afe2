//! Operators over HTTP. Passwords come in over a connection that is local or encrypted, are hashed at once, and never go
//! out again.

use std::sync::Arc;

use axum::Json;
use axum::extract::State as Shared;
use axum::response::Response;
use malha_core::{Answer, Command, Noun, Role, State};
use malha_proto::{Label, OperatorId};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use zeroize::Zeroizing;

use crate::accounts::{MAX_PASSWORD_CHARS, MIN_PASSWORD_CHARS, PasswordError, hash_password};
use crate::api::Api;
use crate::api::body::{Body, Path, Query};
use crate::api::caller::{Admin, Caller};
use crate::api::listing::{Listing, Page};
use crate::api::problem::{Kind, Problem};
use crate::api::reference::Reference;
use crate::api::resource::Resource;
use crate::api::write::{Removed, WriteQuery, Written};
use crate::refusals::Refusal;

/// A person who operates the overlay.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Operator {
    #[schema(value_type = String, example = "u19")]
    pub id: OperatorId,
    #[schema(value_type = String)]
    pub name: Label,
    #[schema(value_type = OperatorRole)]
    pub role: Role,
    pub created_ms: u64,
}

/// What an operator may do, in growing order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum OperatorRole {
    Auditor,
    Technician,
    Operator,
    Owner,
}

/// An operator to be.
#[derive(Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewOperator {
    #[schema(value_type = String, max_length = 63)]
    pub name: Label,
    #[schema(value_type = OperatorRole)]
    pub role: Role,
    #[schema(value_type = String, min_length = 12, max_length = 256)]
    pub password: Password,
}

/// A new password.
#[derive(Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewPassword {
    #[schema(value_type = String, min_length = 12, max_length = 256)]
    pub password: Password,
}

/// A password on its way to its hash: wiped when dropped, shown by nothing but its own serialization.
#[derive(Clone)]
pub struct Password(Zeroizing<String>);

impl Password {
    #[must_use]
    pub fn new(text: String) -> Self {
        Self(Zeroizing::new(text))
    }
}

impl Serialize for Password {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for Password {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer).map(Self::new)
    }
}

impl Resource for Operator {
    type Id = OperatorId;
    const NOUN: Noun = Noun::Operator;

    fn of(_api: &Api, state: &State, id: OperatorId) -> Option<Self> {
        let operator = state.operator(id)?;
        Some(Self {
            id,
            name: operator.name.clone(),
            role: operator.role,
            created_ms: operator.created_ms,
        })
    }
}

/// List operators
#[utoipa::path(get, path = "/operators", tag = "operators", params(Listing),
    responses((status = 200, body = Page<Operator>)), security(("api_key" = ["admin"])))]
pub(super) async fn list(
    _caller: Caller<Admin>,
    Shared(api): Shared<Arc<Api>>,
    Query(listing): Query<Listing>,
) -> Result<Json<Page<Operator>>, Problem> {
    let state = api.state();
    api.listed(
        &state,
        &listing,
        state.operators().map(|operator| operator.id),
    )
}

/// Add an operator
#[utoipa::path(post, path = "/operators", tag = "operators", params(WriteQuery), request_body = NewOperator,
    responses((status = 201, body = Written<Operator>)), security(("api_key" = ["admin"])))]
pub(super) async fn create(
    caller: Caller<Admin>,
    Shared(api): Shared<Arc<Api>>,
    Query(query): Query<WriteQuery>,
    Body(new): Body<NewOperator>,
) -> Result<Response, Problem> {
    let password_hash = hashed(new.password).await?;
    let command = Command::AddOperator {
        name: new.name,
        password_hash,
        role: new.role,
    };
    let made = |answer: &Answer| match answer {
        Answer::Operator(id) => Some(*id),
        _ => None,
    };
    api.add::<Operator, _>(&caller, &query, command, made).await
}

/// Show an operator
#[utoipa::path(get, path = "/operators/{operator}", tag = "operators",
    params(("operator" = String, Path, description = "Id or name")),
    responses((status = 200, body = Operator)), security(("api_key" = ["admin"])))]
pub(super) async fn show(
    _caller: Caller<Admin>,
    Shared(api): Shared<Arc<Api>>,
    Path(reference): Path<Reference>,
) -> Result<Json<Operator>, Problem> {
    let id = reference.operator(&api.state())?;
    api.shown(id).map(Json)
}

/// Give an operator another password
#[utoipa::path(put, path = "/operators/{operator}/password", tag = "operators", request_body = NewPassword,
    params(("operator" = String, Path, description = "Id or name"), WriteQuery),
    responses((status = 200, body = Written<Operator>)), security(("api_key" = ["admin"])))]
pub(super) async fn set_password(
    caller: Caller<Admin>,
    Shared(api): Shared<Arc<Api>>,
    Path(reference): Path<Reference>,
    Query(query): Query<WriteQuery>,
    Body(new): Body<NewPassword>,
) -> Result<Json<Written<Operator>>, Problem> {
    let id = reference.operator(&api.state())?;
    let password_hash = hashed(new.password).await?;
    let command = Command::SetPassword { id, password_hash };
    api.set(&caller, &query, id, command).await
}

/// Remove an operator
#[utoipa::path(delete, path = "/operators/{operator}", tag = "operators",
    params(("operator" = String, Path, description = "Id or name"), WriteQuery),
    responses((status = 200, body = Written<Removed>)), security(("api_key" = ["admin"])))]
pub(super) async fn remove(
    caller: Caller<Admin>,
    Shared(api): Shared<Arc<Api>>,
    Path(reference): Path<Reference>,
    Query(query): Query<WriteQuery>,
) -> Result<Json<Written<Removed>>, Problem> {
    let id = reference.operator(&api.state())?;
    let command = Command::RemoveOperator { id };
    api.remove(&caller, &query, id, command).await
}

/// Hashing takes some 50 ms of one core: off the event loop.
async fn hashed(password: Password) -> Result<String, Problem> {
    let hash = tokio::task::spawn_blocking(move || hash_password(&password.0)).await;
    match hash {
        Ok(Ok(hash)) => Ok(hash),
        Ok(Err(PasswordError::Length)) => {
            let (least, most) = (MIN_PASSWORD_CHARS, MAX_PASSWORD_CHARS);
            let refusal = Refusal::PasswordLength { least, most };
            Err(Problem::of(Kind::Invalid, &refusal).at("password"))
        }
        Ok(Err(PasswordError::Hash(_))) | Err(_) => {
            Err(Problem::of(Kind::Unavailable, &Refusal::PasswordHash).after_s(1))
        }
    }
}
