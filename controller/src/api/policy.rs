//! The policy over HTTP: its text, what a new text would change, the tests that gate it, and its history. What is saved is
//! what was seen: a save takes the difference's hash.

mod proposals;
mod representation;

use std::sync::Arc;

use axum::Json;
use axum::extract::State as Shared;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use malha_core::policy::Policy as Words;
use malha_core::{Answer, Command, Noun, Question, State};
use malha_proto::{Fingerprint, Protocol};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::api::Api;
use crate::api::body::{Body, Path, Query};
use crate::api::caller::{Caller, Read, Write};
use crate::api::grants::GrantProtocol;
use crate::api::language::Speech;
use crate::api::listing::{Listing, Page, page};
use crate::api::problem::Problem;
use crate::api::reference::Reference;
use crate::api::write::{WriteQuery, Written};
use crate::clock::now_ms;

pub(super) use proposals::{
    __path_approve, __path_proposal, __path_proposals, __path_reject, approve, proposal, proposals,
    reject,
};
pub use proposals::{PolicyApproval, PolicyProposal, PolicyProposalKind};
pub use representation::{
    Policy, PolicyCheck, PolicyDifference, PolicyExplanation, PolicyLater, PolicyLaterChange,
    PolicyMistake, PolicyOpening, PolicyOrigin, PolicyPending, PolicyRow, PolicyRule,
    PolicyRuleReason, PolicySide, PolicyTest, PolicyTestOutcome, PolicyUnresolved, PolicyVersion,
};

/// A text to look at.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct PolicyText {
    /// TOML; that of the policy in force if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub text: Option<String>,
}

/// A text to put in force.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewPolicy {
    pub text: String,
    /// The hash of the difference that was seen.
    #[schema(value_type = String)]
    pub difference: Fingerprint,
    /// 5,000 to 3,600,000: the former policy comes back unless this one is confirmed in time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub confirm_within_ms: Option<u64>,
    /// Why its author, an owner, acts alone where an organization asks for a second approver. The former policy comes back
    /// within a day unless another operator confirms this one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(max_length = 200)]
    pub emergency: Option<String>,
}

/// A former version of the policy.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct PolicyReturn {
    pub version: u64,
    /// As in a new policy.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(max_length = 200)]
    pub emergency: Option<String>,
}

/// A version of the policy.
#[derive(Clone, Copy, Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct PolicyChoice {
    pub version: u64,
}

/// A packet to be explained.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct PolicyQuestion {
    /// Who would open: a node, `org/site/node` or id.
    pub from: Reference,
    /// On whom.
    pub to: Reference,
    #[schema(value_type = GrantProtocol)]
    pub protocol: Protocol,
    /// Not for ICMP.
    #[serde(default)]
    pub port: u16,
    /// TOML; that of the policy in force if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub text: Option<String>,
}

/// Show the policy in force
///
/// Before the first one, version 0: a text that says what the grants say.
#[utoipa::path(get, path = "/policy", tag = "policy",
    responses((status = 200, body = Policy)), security(("api_key" = ["read"])))]
pub(super) async fn show(
    _caller: Caller<Read>,
    Shared(api): Shared<Arc<Api>>,
) -> Result<Json<Policy>, Problem> {
    Ok(Json(Policy::of(&api.state())))
}

/// Check a policy and run its tests
///
/// A text that is no policy is answered too, with the place of the mistake.
#[utoipa::path(post, path = "/policy/check", tag = "policy", request_body = PolicyText,
    responses((status = 200, body = PolicyCheck)), security(("api_key" = ["read"])))]
pub(super) async fn check(
    _caller: Caller<Read>,
    Speech(language): Speech,
    Shared(api): Shared<Arc<Api>>,
    Body(asked): Body<PolicyText>,
) -> Result<Json<PolicyCheck>, Problem> {
    let state = api.state();
    let text = asked.text.unwrap_or_else(|| state.policy_text());
    let policy = match Words::parse(&text) {
        Ok(policy) => policy,
        Err(error) => return Ok(Json(PolicyCheck::mistaken(&error, language))),
    };
    let trial = state.try_policy(&policy, now_ms())?;
    Ok(Json(PolicyCheck::of(&state, &trial, language)))
}

/// Show what a policy would change
#[utoipa::path(post, path = "/policy/diff", tag = "policy", request_body = PolicyText,
    responses((status = 200, body = PolicyDifference)), security(("api_key" = ["read"])))]
pub(super) async fn diff(
    _caller: Caller<Read>,
    Shared(api): Shared<Arc<Api>>,
    Body(asked): Body<PolicyText>,
) -> Result<Json<PolicyDifference>, Problem> {
    let state = api.state();
    let text = asked.text.unwrap_or_else(|| state.policy_text());
    let difference = state.policy_difference(&parse(&text)?, &text, now_ms())?;
    Ok(Json(PolicyDifference::of(&difference)))
}

/// Say what each grant of a policy says of a packet
#[utoipa::path(post, path = "/policy/explain", tag = "policy", request_body = PolicyQuestion,
    responses((status = 200, body = PolicyExplanation)), security(("api_key" = ["read"])))]
pub(super) async fn explain(
    _caller: Caller<Read>,
    Shared(api): Shared<Arc<Api>>,
    Body(asked): Body<PolicyQuestion>,
) -> Result<Json<PolicyExplanation>, Problem> {
    let state = api.state();
    let policy = parse(&asked.text.unwrap_or_else(|| state.policy_text()))?;
    let question = Question {
        from: asked.from.node(&state)?,
        to: asked.to.node(&state)?,
        protocol: asked.protocol,
        port: asked.port,
    };
    let rules = policy.explain(&state, &question, now_ms());
    Ok(Json(PolicyExplanation::of(&state, &question, rules)))
}

/// Put a policy in force
///
/// Every test in it must hold, and `difference` must be the hash of what `POST /policy/diff` says now. Where it concerns an
/// organization that asks for a second approver, it becomes a proposal (202).
#[utoipa::path(put, path = "/policy", tag = "policy", params(WriteQuery), request_body = NewPolicy,
    responses((status = 200, body = Written<Policy>), (status = 202, body = Written<Policy>)),
    security(("api_key" = ["write"])))]
pub(super) async fn apply(
    caller: Caller<Write>,
    Shared(api): Shared<Arc<Api>>,
    Query(query): Query<WriteQuery>,
    Body(new): Body<NewPolicy>,
) -> Result<Response, Problem> {
    let command = Command::ApplyPolicy {
        text: new.text,
        difference: new.difference,
        confirm_within_ms: new.confirm_within_ms,
        emergency: new.emergency,
        author: caller.author(),
    };
    change(&api, &caller, &query, command).await
}

/// Confirm the policy that waits for it
///
/// One that an owner put in force alone in an emergency is confirmed by another operator.
#[utoipa::path(post, path = "/policy/confirm", tag = "policy", params(WriteQuery), request_body = PolicyChoice,
    responses((status = 200, body = Written<Policy>)), security(("api_key" = ["write"])))]
pub(super) async fn confirm(
    caller: Caller<Write>,
    Shared(api): Shared<Arc<Api>>,
    Query(query): Query<WriteQuery>,
    Body(choice): Body<PolicyChoice>,
) -> Result<Response, Problem> {
    let command = Command::ConfirmPolicy {
        version: choice.version,
        author: caller.author(),
    };
    change(&api, &caller, &query, command).await
}

/// Put a former version in force again
///
/// It becomes a new version. Its tests are not run: a way back must not depend on more than the way there. Where it concerns an
/// organization that asks for a second approver, it becomes a proposal (202).
#[utoipa::path(post, path = "/policy/rollback", tag = "policy", params(WriteQuery), request_body = PolicyReturn,
    responses((status = 200, body = Written<Policy>), (status = 202, body = Written<Policy>)),
    security(("api_key" = ["write"])))]
pub(super) async fn roll_back(
    caller: Caller<Write>,
    Shared(api): Shared<Arc<Api>>,
    Query(query): Query<WriteQuery>,
    Body(choice): Body<PolicyReturn>,
) -> Result<Response, Problem> {
    let command = Command::RollbackPolicy {
        version: choice.version,
        emergency: choice.emergency,
        author: caller.author(),
    };
    change(&api, &caller, &query, command).await
}

/// List the versions of the policy
#[utoipa::path(get, path = "/policy/versions", tag = "policy", params(Listing),
    responses((status = 200, body = Page<PolicyVersion>)), security(("api_key" = ["read"])))]
pub(super) async fn versions(
    _caller: Caller<Read>,
    Shared(api): Shared<Arc<Api>>,
    Query(listing): Query<Listing>,
) -> Result<Json<Page<PolicyVersion>>, Problem> {
    let state = api.state();
    let versions = state.policy_versions().map(|it| (it.version, it.version));
    page(&listing, versions, |version| {
        version_of(&state, version, false)
    })
    .map(Json)
}

/// Show a version of the policy with its text
#[utoipa::path(get, path = "/policy/versions/{version}", tag = "policy",
    params(("version" = u64, Path, description = "Its number")),
    responses((status = 200, body = PolicyVersion)), security(("api_key" = ["read"])))]
pub(super) async fn version(
    _caller: Caller<Read>,
    Shared(api): Shared<Arc<Api>>,
    Path(version): Path<u64>,
) -> Result<Json<PolicyVersion>, Problem> {
    version_of(&api.state(), version, true)
        .map(Json)
        .ok_or_else(|| Problem::not_found(Noun::PolicyVersion, version))
}

async fn change(
    api: &Api,
    caller: &Caller<Write>,
    query: &WriteQuery,
    command: Command,
) -> Result<Response, Problem> {
    let accepted = api.change(caller, query, command).await?;
    let state = api.state();
    let mut policy = Policy::of(&state);
    let Answer::Proposed { proposal } = accepted.answer else {
        let written = api.written(&accepted, query, policy).await?;
        return Ok(Json(written).into_response());
    };
    let proposed = state.proposal(proposal);
    policy.proposed = proposed.map(|it| PolicyProposal::of(&state, it));
    let written = api.written(&accepted, query, policy).await?;
    Ok((StatusCode::ACCEPTED, Json(written)).into_response())
}

fn parse(text: &str) -> Result<Words, Problem> {
    Ok(Words::parse(text)?)
}

fn version_of(state: &State, version: u64, with_text: bool) -> Option<PolicyVersion> {
    let it = state.policy_version(version)?;
    Some(PolicyVersion::of(state, it, with_text))
}
