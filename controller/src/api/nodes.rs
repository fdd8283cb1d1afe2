//! Nodes over HTTP: listed with their live hops, renamed, replaced, removed, and chosen between after a clone. They are
//! made by enrolment only.

mod representation;

pub use representation::{
    BrokenHop, Carrier, Claimant, HopHealth, Hops, Machine, Node, NodePolicy, NodePolicyState,
    NodeProfile, NodeStanding, PskAge, Quarantine, ServiceHealth, Session, Tunnel, TunnelPath,
    UpDown,
};

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::Arc;

use axum::Json;
use axum::extract::State as Shared;
use axum::response::Response;
use malha_core::{Command, Contender, NodeState, Tag};
use malha_proto::{Label, MachineId};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use crate::api::Api;
use crate::api::body::{Body, Path, Query};
use crate::api::caller::{Caller, Enrol, Read, Write};
use crate::api::listing::{Listing, Page};
use crate::api::problem::{Kind, Problem};
use crate::api::reference::Reference;
use crate::api::tokens::{CreatedToken, day_s, made_token};
use crate::api::write::{Removed, Wait, WriteQuery, Written};
use crate::refusals::Refusal;

/// The new name of a node.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NodeName {
    #[schema(value_type = String, max_length = 63)]
    pub name: Label,
}

/// Where a node's WireGuard may be reached from outside.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Endpoints {
    /// `address:port`, best first; empty: only the node dials.
    #[schema(value_type = Vec<String>, example = json!(["192.0.2.7:51820"]))]
    pub endpoints: Vec<SocketAddr>,
}

/// What a policy may call a node by beside its names.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NodeTags {
    /// Labels of at most 32 characters, at most 16; `operator` marks a machine from which operators work.
    #[schema(value_type = Vec<String>, example = json!(["operator"]))]
    pub tags: BTreeSet<Tag>,
}

/// How to replace a machine.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Replacement {
    /// How long the token is good; a day if absent.
    #[serde(default = "day_s")]
    #[schema(minimum = 60, maximum = 31536000)]
    pub ttl_s: u64,
}

/// Which of two machines keeps the identity.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct QuarantineChoice {
    pub keep: Keep,
    /// The id of the machine to keep, as the quarantine shows it; refused if the evidence changed meanwhile.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub machine: Option<MachineId>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Keep {
    Holder,
    Rival,
}

/// Which nodes.
#[derive(Clone, Debug, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct NodeListing {
    /// Only those of this organization: id or name.
    #[param(value_type = Option<String>)]
    organization: Option<Reference>,
    /// Only those of this site: id or `org/site`.
    #[param(value_type = Option<String>)]
    site: Option<Reference>,
    /// Most items in the answer; 100 if absent.
    #[param(minimum = 1, maximum = 1000)]
    limit: Option<usize>,
    /// `next` of the page before.
    after: Option<String>,
}

/// How a node is removed.
#[derive(Clone, Debug, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct NodeRemoval {
    /// Remove it also where routes, or balancers of other nodes, lead to it; one that leads nowhere else goes too.
    #[serde(default)]
    #[param(default = false)]
    detach: bool,
    /// `applied`: answer when every online node that the change touches runs with it, or at the timeout. The write holds
    /// either way.
    #[param(inline)]
    wait: Option<Wait>,
    /// How long to wait at most; 10,000 if absent.
    #[param(minimum = 1, maximum = 30000)]
    timeout_ms: Option<u64>,
}

/// List nodes with their live hops
#[utoipa::path(get, path = "/nodes", tag = "nodes", params(NodeListing),
    responses((status = 200, body = Page<Node>)), security(("api_key" = ["read"])))]
pub(super) async fn list(
    _caller: Caller<Read>,
    Shared(api): Shared<Arc<Api>>,
    Query(NodeListing {
        organization,
        site,
        limit,
        after,
    }): Query<NodeListing>,
) -> Result<Json<Page<Node>>, Problem> {
    let state = api.state();
    let organization = organization
        .map(|reference| reference.organization(&state))
        .transpose()?;
    let site = site.map(|reference| reference.site(&state)).transpose()?;
    let nodes = state
        .nodes()
        .filter(|node| site.is_none_or(|id| node.site == id))
        .filter(|node| {
            organization.is_none_or(|id| {
                state
                    .site(node.site)
                    .is_some_and(|site| site.organization == id)
            })
        });
    let listing = Listing { limit, after };
    api.listed(&state, &listing, nodes.map(|node| node.id))
}

/// Show a node with its live hops
#[utoipa::path(get, path = "/nodes/{node}", tag = "nodes",
    params(("node" = String, Path, description = "Id, or `org/site/node` percent-encoded")),
    responses((status = 200, body = Node)), security(("api_key" = ["read"])))]
pub(super) async fn show(
    _caller: Caller<Read>,
    Shared(api): Shared<Arc<Api>>,
    Path(reference): Path<Reference>,
) -> Result<Json<Node>, Problem> {
    let id = reference.node(&api.state())?;
    api.shown(id).map(Json)
}

/// Remove a node and its services
///
/// It is cut at every peer. While routes, or balancers of other nodes, lead to it, it is refused with their names, unless `detach` is true.
#[utoipa::path(delete, path = "/nodes/{node}", tag = "nodes",
    params(("node" = String, Path, description = "Id, or `org/site/node` percent-encoded"), NodeRemoval),
    responses((status = 200, body = Written<Removed>)), security(("api_key" = ["write"])))]
pub(super) async fn remove(
    caller: Caller<Write>,
    Shared(api): Shared<Arc<Api>>,
    Path(reference): Path<Reference>,
    Query(NodeRemoval {
        detach,
        wait,
        timeout_ms,
    }): Query<NodeRemoval>,
) -> Result<Json<Written<Removed>>, Problem> {
    let id = reference.node(&api.state())?;
    let query = WriteQuery { wait, timeout_ms };
    let command = Command::RemoveNode { id, detach };
    api.remove(&caller, &query, id, command).await
}

/// Rename a node
#[utoipa::path(put, path = "/nodes/{node}/name", tag = "nodes", request_body = NodeName,
    params(("node" = String, Path, description = "Id, or `org/site/node` percent-encoded"), WriteQuery),
    responses((status = 200, body = Written<Node>)), security(("api_key" = ["write"])))]
pub(super) async fn rename(
    caller: Caller<Write>,
    Shared(api): Shared<Arc<Api>>,
    Path(reference): Path<Reference>,
    Query(query): Query<WriteQuery>,
    Body(new): Body<NodeName>,
) -> Result<Json<Written<Node>>, Problem> {
    let id = reference.node(&api.state())?;
    let command = Command::RenameNode { id, name: new.name };
    api.set(&caller, &query, id, command).await
}

/// Declare a node's public endpoints
#[utoipa::path(put, path = "/nodes/{node}/endpoints", tag = "nodes", request_body = Endpoints,
    params(("node" = String, Path, description = "Id, or `org/site/node` percent-encoded"), WriteQuery),
    responses((status = 200, body = Written<Node>)), security(("api_key" = ["write"])))]
pub(super) async fn set_endpoints(
    caller: Caller<Write>,
    Shared(api): Shared<Arc<Api>>,
    Path(reference): Path<Reference>,
    Query(query): Query<WriteQuery>,
    Body(new): Body<Endpoints>,
) -> Result<Json<Written<Node>>, Problem> {
    let id = reference.node(&api.state())?;
    let command = Command::SetNodeEndpoints {
        id,
        endpoints: new.endpoints,
    };
    api.set(&caller, &query, id, command).await
}

/// Replace a node's tags
///
/// Whatever the policy grants to a tag is granted at once to those that get it.
#[utoipa::path(put, path = "/nodes/{node}/tags", tag = "nodes", request_body = NodeTags,
    params(("node" = String, Path, description = "Id, or `org/site/node` percent-encoded"), WriteQuery),
    responses((status = 200, body = Written<Node>)), security(("api_key" = ["write"])))]
pub(super) async fn set_tags(
    caller: Caller<Write>,
    Shared(api): Shared<Arc<Api>>,
    Path(reference): Path<Reference>,
    Query(query): Query<WriteQuery>,
    Body(new): Body<NodeTags>,
) -> Result<Json<Written<Node>>, Problem> {
    let id = reference.node(&api.state())?;
    let command = Command::SetNodeTags { id, tags: new.tags };
    api.set(&caller, &query, id, command).await
}

/// Create a token that gives a node's place to another machine
///
/// The machine that enrols with it keeps the node's name, addresses, services and routes; the former machine is out. Older
/// such tokens are revoked.
#[utoipa::path(post, path = "/nodes/{node}/replace", tag = "nodes", request_body = Replacement,
    params(("node" = String, Path, description = "Id, or `org/site/node` percent-encoded"), WriteQuery),
    responses((status = 201, body = Written<CreatedToken>)), security(("api_key" = ["enrol"])))]
pub(super) async fn replace(
    caller: Caller<Enrol>,
    Shared(api): Shared<Arc<Api>>,
    Path(reference): Path<Reference>,
    Query(query): Query<WriteQuery>,
    Body(new): Body<Replacement>,
) -> Result<Response, Problem> {
    let id = reference.node(&api.state())?;
    let command = Command::ReplaceNode {
        id,
        ttl_s: new.ttl_s,
    };
    let (accepted, token, creation) = api.create(&caller, &query, command, made_token).await?;
    let resource = api.created_token(token, &accepted.answer);
    api.created(&accepted, &query, creation, resource).await
}

/// Choose which of two machines keeps a copied identity
///
/// The chosen machine makes new keys; the other is out.
#[utoipa::path(put, path = "/nodes/{node}/quarantine", tag = "nodes", request_body = QuarantineChoice,
    params(("node" = String, Path, description = "Id, or `org/site/node` percent-encoded"), WriteQuery),
    responses((status = 200, body = Written<Node>)), security(("api_key" = ["write"])))]
pub(super) async fn resolve_quarantine(
    caller: Caller<Write>,
    Shared(api): Shared<Arc<Api>>,
    Path(reference): Path<Reference>,
    Query(query): Query<WriteQuery>,
    Body(choice): Body<QuarantineChoice>,
) -> Result<Json<Written<Node>>, Problem> {
    let state = api.state();
    let id = reference.node(&state)?;
    let contender = match state.node(id).map(|node| &node.state) {
        Some(NodeState::Quarantined(quarantine)) => match choice.keep {
            Keep::Holder => &quarantine.holder,
            Keep::Rival => &quarantine.rival,
        },
        _ => {
            return Err(Problem::of(Kind::Conflict, &Refusal::NotInQuarantine));
        }
    };
    if let Some(machine) = choice
        .machine
        .filter(|machine| *machine != contender.machine)
    {
        let machine = machine.to_string();
        let refusal = Refusal::AnotherMachine { machine };
        return Err(Problem::of(Kind::Conflict, &refusal).at("machine"));
    }
    let Contender {
        machine: keep,
        instance,
        ..
    } = *contender;
    let command = Command::ResolveQuarantine {
        node: id,
        keep,
        instance,
    };
    api.set(&caller, &query, id, command).await
}
