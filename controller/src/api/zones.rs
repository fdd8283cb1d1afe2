//! Public zones over HTTP.

use std::sync::Arc;

use axum::Json;
use axum::extract::State as Shared;
use axum::response::Response;
use malha_core::{Answer, Command, Noun, State};
use malha_proto::HostName;
use malha_zone::{RecordName, RecordType, ZoneName};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::api::Api;
use crate::api::body::{Body, Path, Query};
use crate::api::caller::{Caller, Dns, Read};
use crate::api::listing::{Listing, Page};
use crate::api::problem::Problem;
use crate::api::resource::Resource;
use crate::api::write::{Removed, WriteQuery, Written};
use crate::refusals;

/// A public zone that this controller's DNS server answers for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Zone {
    #[schema(value_type = String, example = "example.org")]
    pub origin: ZoneName,
    /// Grows with each change.
    pub serial: u32,
    /// The name servers at the apex.
    pub name_servers: Vec<String>,
    /// The mailbox of the person in charge, its `@` written as a dot.
    pub contact: String,
    /// How long a resolver may remember that a name does not exist.
    pub negative_ttl_s: u32,
    /// Record sets without the SOA.
    pub record_sets: usize,
}

/// A zone to be.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewZone {
    #[schema(value_type = String, max_length = 253, example = "example.org")]
    pub origin: ZoneName,
    /// Host names; those inside the zone get address records from the edge's addresses.
    #[schema(value_type = Vec<String>, example = json!(["ns1.example.org"]))]
    pub name_servers: Vec<HostName>,
    /// The mailbox of the person in charge, its `@` written as a dot.
    #[schema(value_type = String, example = "hostmaster.example.org")]
    pub contact: HostName,
}

impl Resource for Zone {
    type Id = ZoneName;
    const NOUN: Noun = Noun::Zone;

    fn of(_api: &Api, state: &State, origin: ZoneName) -> Option<Self> {
        let zone = state.zone(&origin)?;
        let servers = zone.set(&RecordName::apex(), RecordType::Ns);
        let servers = servers
            .into_iter()
            .flat_map(|set| set.data())
            .map(|data| undotted(&data.to_string()));
        Some(Self {
            origin: zone.origin().clone(),
            serial: zone.serial().value(),
            name_servers: servers.collect(),
            contact: undotted(&zone.soa().rname.to_string()),
            negative_ttl_s: zone.soa().negative_ttl_s(),
            record_sets: zone.len(),
        })
    }
}

/// List zones
#[utoipa::path(get, path = "/zones", tag = "zones", params(Listing),
    responses((status = 200, body = Page<Zone>)), security(("api_key" = ["read"])))]
pub(super) async fn list(
    _caller: Caller<Read>,
    Shared(api): Shared<Arc<Api>>,
    Query(listing): Query<Listing>,
) -> Result<Json<Page<Zone>>, Problem> {
    let state = api.state();
    let origins = state.zones().iter().map(|zone| zone.origin().clone());
    api.listed(&state, &listing, origins)
}

/// Add a zone
#[utoipa::path(post, path = "/zones", tag = "zones", params(WriteQuery), request_body = NewZone,
    responses((status = 201, body = Written<Zone>)), security(("api_key" = ["dns"])))]
pub(super) async fn create(
    caller: Caller<Dns>,
    Shared(api): Shared<Arc<Api>>,
    Query(query): Query<WriteQuery>,
    Body(new): Body<NewZone>,
) -> Result<Response, Problem> {
    let NewZone {
        origin,
        name_servers,
        contact,
    } = new;
    let command = Command::AddZone {
        origin: origin.clone(),
        name_servers,
        contact,
    };
    let made = |answer: &Answer| matches!(answer, Answer::Zone).then(|| origin.clone());
    api.add::<Zone, _>(&caller, &query, command, made).await
}

/// Show a zone
#[utoipa::path(get, path = "/zones/{zone}", tag = "zones", params(("zone" = String, Path, description = "Its name")),
    responses((status = 200, body = Zone)), security(("api_key" = ["read"])))]
pub(super) async fn show(
    _caller: Caller<Read>,
    Shared(api): Shared<Arc<Api>>,
    Path(origin): Path<String>,
) -> Result<Json<Zone>, Problem> {
    api.shown(zone_name(&origin)?).map(Json)
}

/// Remove a zone with its record sets
///
/// A zone above it gives the names of its routes; where there is none, they must be removed first.
#[utoipa::path(delete, path = "/zones/{zone}", tag = "zones",
    params(("zone" = String, Path, description = "Its name"), WriteQuery),
    responses((status = 200, body = Written<Removed>)), security(("api_key" = ["dns"])))]
pub(super) async fn remove(
    caller: Caller<Dns>,
    Shared(api): Shared<Arc<Api>>,
    Path(origin): Path<String>,
    Query(query): Query<WriteQuery>,
) -> Result<Json<Written<Removed>>, Problem> {
    let origin = zone_name(&origin)?;
    let command = Command::RemoveZone {
        origin: origin.clone(),
    };
    api.remove(&caller, &query, origin, command).await
}

/// The zone that a path names.
pub(super) fn zone_name(text: &str) -> Result<ZoneName, Problem> {
    text.parse()
        .map_err(|error| Problem::wrong("zone", &refusals::zone_name(&error)))
}

fn undotted(name: &str) -> String {
    name.strip_suffix('.').unwrap_or(name).to_owned()
}
