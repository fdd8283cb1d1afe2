//! Enrolment tokens over HTTP. A token's text is in the answer that made it, and nowhere else.

use std::sync::Arc;

use axum::Json;
use axum::extract::State as Shared;
use axum::response::Response;
use malha_core::{Answer, Command, Noun, State};
use malha_proto::{EnrolToken, Profile, Secret32, SiteId, TokenId};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use crate::api::Api;
use crate::api::body::{Body, Path, Query};
use crate::api::caller::{Caller, Enrol, Read};
use crate::api::listing::{Listing, Page};
use crate::api::nodes::NodeProfile;
use crate::api::problem::Problem;
use crate::api::reference::Reference;
use crate::api::resource::Resource;
use crate::api::write::{WriteQuery, Written};
use crate::clock::now_ms;
use crate::paths;

/// An enrolment token without its secret.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Token {
    #[schema(value_type = String, example = "t14")]
    pub id: TokenId,
    /// `org/site`
    pub site: String,
    #[schema(value_type = String)]
    pub site_id: SiteId,
    #[schema(value_type = NodeProfile)]
    pub profile: Profile,
    pub state: TokenState,
    /// How many machines may still enrol.
    pub uses_left: u32,
    pub created_ms: u64,
    pub expires_ms: u64,
    /// The node whose place the next machine takes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub replaces: Option<String>,
}

/// Whether a token still lets a machine in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum TokenState {
    Active,
    Used,
    Expired,
    Revoked,
}

/// A token to be.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewToken {
    /// The site of the machines: id or `org/site`.
    pub site: Reference,
    #[schema(value_type = NodeProfile)]
    pub profile: Profile,
    /// How many machines may enrol with it; one if absent.
    #[serde(default = "one")]
    #[schema(minimum = 1, maximum = 10000)]
    pub uses: u32,
    /// How long it is good; a day if absent.
    #[serde(default = "day_s")]
    #[schema(minimum = 60, maximum = 31536000)]
    pub ttl_s: u64,
}

/// A token with its text, which is shown this once.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct CreatedToken {
    #[serde(flatten)]
    pub about: Token,
    /// What `malha-node up` takes; absent when the creation is repeated.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token: Option<String>,
    /// Says why there is no token text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
}

/// Which tokens.
#[derive(Clone, Debug, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct TokenListing {
    /// Only those of this site: id or `org/site`.
    #[param(value_type = Option<String>)]
    site: Option<Reference>,
    /// Most items in the answer; 100 if absent.
    #[param(minimum = 1, maximum = 1000)]
    limit: Option<usize>,
    /// `next` of the page before.
    after: Option<String>,
}

impl Resource for Token {
    type Id = TokenId;
    const NOUN: Noun = Noun::Token;

    fn of(_api: &Api, state: &State, id: TokenId) -> Option<Self> {
        let token = state.token(id)?;
        let standing = match token {
            token if token.revoked => TokenState::Revoked,
            token if token.uses_left == 0 => TokenState::Used,
            token if token.expires_ms <= now_ms() => TokenState::Expired,
            _ => TokenState::Active,
        };
        Some(Self {
            id,
            site: paths::site(state, token.site),
            site_id: token.site,
            profile: token.profile,
            state: standing,
            uses_left: token.uses_left,
            created_ms: token.created_ms,
            expires_ms: token.expires_ms,
            replaces: token.replaces.map(|node| paths::node(state, node)),
        })
    }
}

impl Api {
    /// The answer to the creation of a token: its text if it was made now.
    pub(super) fn created_token(&self, id: TokenId, answer: &Answer) -> Option<CreatedToken> {
        let state = self.state();
        let about = Token::of(self, &state, id)?;
        let token = match answer {
            Answer::Token { secret, .. } => Some(self.token_text(&state, id, secret)),
            _ => None,
        };
        let note = token.is_none().then(|| NOT_AGAIN.to_owned());
        Some(CreatedToken { about, token, note })
    }

    pub(super) fn token_text(&self, state: &State, id: TokenId, secret: &Secret32) -> String {
        let controllers = state.settings().controllers.clone();
        EnrolToken {
            id,
            secret: secret.clone(),
            authority: self.context.authority,
            controllers,
        }
        .expose()
    }
}

/// List enrolment tokens
#[utoipa::path(get, path = "/tokens", tag = "tokens", params(TokenListing),
    responses((status = 200, body = Page<Token>)), security(("api_key" = ["read"])))]
pub(super) async fn list(
    _caller: Caller<Read>,
    Shared(api): Shared<Arc<Api>>,
    Query(TokenListing { site, limit, after }): Query<TokenListing>,
) -> Result<Json<Page<Token>>, Problem> {
    let state = api.state();
    let site = site.map(|reference| reference.site(&state)).transpose()?;
    let tokens = state
        .tokens()
        .filter(|token| site.is_none_or(|id| token.site == id));
    let listing = Listing { limit, after };
    api.listed(&state, &listing, tokens.map(|token| token.id))
}

/// Create an enrolment token
///
/// The text of the token is in this answer only. A repetition with the same `Idempotency-Key` names the token but can't
/// show its text again.
#[utoipa::path(post, path = "/tokens", tag = "tokens", params(WriteQuery), request_body = NewToken,
    responses((status = 201, body = Written<CreatedToken>)), security(("api_key" = ["enrol"])))]
pub(super) async fn create(
    caller: Caller<Enrol>,
    Shared(api): Shared<Arc<Api>>,
    Query(query): Query<WriteQuery>,
    Body(new): Body<NewToken>,
) -> Result<Response, Problem> {
    let site = new
        .site
        .site(&api.state())
        .map_err(|problem| problem.at("site"))?;
    let command = Command::CreateToken {
        site,
        profile: new.profile,
        uses: new.uses,
        ttl_s: new.ttl_s,
    };
    let (accepted, id, creation) = api.create(&caller, &query, command, made_token).await?;
    let resource = api.created_token(id, &accepted.answer);
    api.created(&accepted, &query, creation, resource).await
}

/// Show an enrolment token, without its text
#[utoipa::path(get, path = "/tokens/{token}", tag = "tokens", params(("token" = String, Path, description = "Id")),
    responses((status = 200, body = Token)), security(("api_key" = ["read"])))]
pub(super) async fn show(
    _caller: Caller<Read>,
    Shared(api): Shared<Arc<Api>>,
    Path(reference): Path<Reference>,
) -> Result<Json<Token>, Problem> {
    let id = reference.token(&api.state())?;
    api.shown(id).map(Json)
}

/// Revoke an enrolment token
///
/// It stays listed as revoked. Nodes that enrolled with it stay.
#[utoipa::path(delete, path = "/tokens/{token}", tag = "tokens",
    params(("token" = String, Path, description = "Id"), WriteQuery),
    responses((status = 200, body = Written<Token>)), security(("api_key" = ["enrol"])))]
pub(super) async fn revoke(
    caller: Caller<Enrol>,
    Shared(api): Shared<Arc<Api>>,
    Path(reference): Path<Reference>,
    Query(query): Query<WriteQuery>,
) -> Result<Json<Written<Token>>, Problem> {
    let id = reference.token(&api.state())?;
    let command = Command::RevokeToken { id };
    api.set(&caller, &query, id, command).await
}

/// The id in the answer to a token's creation.
pub(super) fn made_token(answer: &Answer) -> Option<TokenId> {
    match answer {
        Answer::Token { id, .. } => Some(*id),
        _ => None,
    }
}

fn one() -> u32 {
    1
}

/// Also for replacements.
pub(super) fn day_s() -> u64 {
    86_400
}

const NOT_AGAIN: &str = "this Idempotency-Key made this token before; its text was shown then and can't be shown again. \
    If it is lost, revoke this token and create another with a new key";
