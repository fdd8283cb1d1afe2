//! Changes of the policy that wait for a second operator, over HTTP: looked at, approved as they were seen, and rejected.

use std::sync::Arc;

use axum::Json;
use axum::extract::State as Shared;
use malha_core::policy::{Proposal, ProposedChange};
use malha_core::{Command, Noun, State};
use malha_proto::Fingerprint;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::api::Api;
use crate::api::body::{Body, Path, Query};
use crate::api::caller::{Caller, Read, Write};
use crate::api::listing::{Listing, Page, page};
use crate::api::policy::{Policy, PolicyDifference};
use crate::api::problem::Problem;
use crate::api::write::{Removed, WriteQuery, Written};
use crate::clock::now_ms;

/// A change that waits for another operator.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct PolicyProposal {
    pub number: u64,
    pub kind: PolicyProposalKind,
    /// The version whose text would come back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub returns_to: Option<u64>,
    /// The hash of what its author saw, which an approval must give.
    #[schema(value_type = String)]
    pub hash: Fingerprint,
    /// Who proposed it.
    pub author: String,
    pub proposed_ms: u64,
    /// It is forgotten then.
    pub expires_ms: u64,
    /// Counted from the approval.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub confirm_within_ms: Option<u64>,
    /// Those that ask for the second approver.
    pub organizations: Vec<String>,
    /// Pairs of nodes, as its author saw them.
    pub gaining: u64,
    pub losing: u64,
    /// Only where one proposal is asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub text: Option<String>,
    /// What it would change now. Only where one proposal is asked for, and where it proposes a text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub difference: Option<PolicyDifference>,
    /// What it would change now is not what its author saw: nobody can approve it, it is to be proposed anew.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub outdated: bool,
}

/// What is proposed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum PolicyProposalKind {
    /// A text comes in force.
    Text,
    /// A former text comes back.
    Return,
    /// The organization asks for no second approver any longer.
    OneApprover,
}

/// An approval.
#[derive(Clone, Copy, Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct PolicyApproval {
    /// The hash of the difference that was seen.
    #[schema(value_type = String)]
    pub difference: Fingerprint,
}

/// List the changes that wait for a second operator
#[utoipa::path(get, path = "/policy/proposals", tag = "policy", params(Listing),
    responses((status = 200, body = Page<PolicyProposal>)), security(("api_key" = ["read"])))]
pub(in crate::api) async fn proposals(
    _caller: Caller<Read>,
    Shared(api): Shared<Arc<Api>>,
    Query(listing): Query<Listing>,
) -> Result<Json<Page<PolicyProposal>>, Problem> {
    let state = api.state();
    let numbers = state.proposals().map(|it| (it.number, it.number));
    page(&listing, numbers, |number| {
        state
            .proposal(number)
            .map(|it| PolicyProposal::of(&state, it))
    })
    .map(Json)
}

/// Show a change that waits, with its text and what it would change now
#[utoipa::path(get, path = "/policy/proposals/{proposal}", tag = "policy",
    params(("proposal" = String, Path, description = "Its number, or its hash or the beginning of it")),
    responses((status = 200, body = PolicyProposal)), security(("api_key" = ["read"])))]
pub(in crate::api) async fn proposal(
    _caller: Caller<Read>,
    Shared(api): Shared<Arc<Api>>,
    Path(named): Path<String>,
) -> Result<Json<PolicyProposal>, Problem> {
    let state = api.state();
    let it = find(&state, &named)?;
    let mut shown = PolicyProposal::of(&state, it);
    shown.text = it.change.text().map(str::to_owned);
    if let Some(seen) = state.proposed_difference(it, now_ms()) {
        let (difference, current) = seen?;
        shown.difference = Some(PolicyDifference::of(&difference));
        shown.outdated = !current;
    }
    Ok(Json(shown))
}

/// Approve a change that waits
///
/// By another operator than its author: with a key that belongs to one. It is refused if it would change anything else by now
/// than its author saw, and its tests are run again.
#[utoipa::path(post, path = "/policy/proposals/{proposal}/approve", tag = "policy",
    params(("proposal" = String, Path, description = "Its number, or its hash or the beginning of it"), WriteQuery),
    request_body = PolicyApproval,
    responses((status = 200, body = Written<Policy>)), security(("api_key" = ["write"])))]
pub(in crate::api) async fn approve(
    caller: Caller<Write>,
    Shared(api): Shared<Arc<Api>>,
    Path(named): Path<String>,
    Query(query): Query<WriteQuery>,
    Body(approval): Body<PolicyApproval>,
) -> Result<Json<Written<Policy>>, Problem> {
    let command = Command::ApprovePolicy {
        proposal: find(&api.state(), &named)?.number,
        difference: approval.difference,
        author: caller.author(),
    };
    let accepted = api.change(&caller, &query, command).await?;
    let policy = Policy::of(&api.state());
    api.written(&accepted, &query, policy).await.map(Json)
}

/// Reject a change that waits, or take it back
#[utoipa::path(delete, path = "/policy/proposals/{proposal}", tag = "policy",
    params(("proposal" = String, Path, description = "Its number, or its hash or the beginning of it"), WriteQuery),
    responses((status = 200, body = Written<Removed>)), security(("api_key" = ["write"])))]
pub(in crate::api) async fn reject(
    caller: Caller<Write>,
    Shared(api): Shared<Arc<Api>>,
    Path(named): Path<String>,
    Query(query): Query<WriteQuery>,
) -> Result<Json<Written<Removed>>, Problem> {
    let proposal = find(&api.state(), &named)?.number;
    let command = Command::RejectPolicy { proposal };
    api.remove(&caller, &query, proposal, command).await
}

impl PolicyProposal {
    pub(in crate::api) fn of(state: &State, it: &Proposal) -> Self {
        let (kind, returns_to) = match it.change {
            ProposedChange::Text { .. } => (PolicyProposalKind::Text, None),
            ProposedChange::Return { to, .. } => (PolicyProposalKind::Return, Some(to)),
            ProposedChange::OneApprover { .. } => (PolicyProposalKind::OneApprover, None),
        };
        let organizations = it.organizations.iter();
        let names = organizations.map(|id| match state.organization(*id) {
            Some(organization) => organization.name.to_string(),
            None => id.to_string(),
        });
        Self {
            number: it.number,
            kind,
            returns_to,
            hash: it.difference,
            author: it.author.clone(),
            proposed_ms: it.proposed_ms,
            expires_ms: it.expires_ms,
            confirm_within_ms: it.confirm_within_ms,
            organizations: names.collect(),
            gaining: it.gaining,
            losing: it.losing,
            text: None,
            difference: None,
            outdated: false,
        }
    }
}

/// By number, or by as much of its hash as fits one proposal only.
fn find<'a>(state: &'a State, named: &str) -> Result<&'a Proposal, Problem> {
    let by_number = named.parse().ok().and_then(|number| state.proposal(number));
    let by_hash = || {
        let long = named.len() >= MIN_HASH_CHARS;
        let mut fitting = state
            .proposals()
            .filter(|it| long && it.difference.to_string().starts_with(named));
        fitting.next().filter(|_| fitting.next().is_none())
    };
    by_number
        .or_else(by_hash)
        .ok_or_else(|| Problem::not_found(Noun::Proposal, named))
}

/// A shorter beginning of a hash could be meant as a number.
const MIN_HASH_CHARS: usize = 8;
