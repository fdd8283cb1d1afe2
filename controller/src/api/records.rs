//! Record sets of public zones over HTTP: all records of one name and type at once.

use std::fmt;
use std::sync::Arc;

use axum::Json;
use axum::extract::State as Shared;
use malha_core::{Command, Noun, RecordSource};
use malha_zone::{DEFAULT_TTL_S, DomainName, RecordName, RecordType, SetError, ZoneName};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::api::Api;
use crate::api::body::{Body, Path, Query};
use crate::api::caller::{Caller, Dns, Read};
use crate::api::listing::{Listing, Page, page_after};
use crate::api::problem::Problem;
use crate::api::write::{Removed, WriteQuery, Written};
use crate::api::zones::zone_name;
use crate::refusals::{self, Refusal};

/// All records of one name and type.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct RecordSet {
    /// Relative to the zone; `@` for the zone itself.
    #[schema(value_type = String, example = "www")]
    pub name: RecordName,
    #[serde(rename = "type")]
    #[schema(value_type = String, example = "A")]
    pub rtype: RecordType,
    pub ttl_s: u32,
    /// As in zone files.
    #[schema(example = json!(["192.0.2.1"]))]
    pub data: Vec<String>,
    /// `operator`, or `route` for a set that follows a route.
    #[schema(value_type = String)]
    pub source: RecordSource,
}

/// What a record set is to hold.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct PutRecordSet {
    /// 300 if absent.
    #[serde(default = "default_ttl_s")]
    #[schema(maximum = 604800)]
    pub ttl_s: u32,
    /// As in zone files: `192.0.2.1`, `10 mail.example.org.`, `"text"`. Names end with a dot.
    #[schema(max_items = 64, example = json!(["192.0.2.1"]))]
    pub data: Vec<String>,
}

impl From<&malha_zone::RecordSet> for RecordSet {
    fn from(set: &malha_zone::RecordSet) -> Self {
        Self {
            name: set.name().clone(),
            rtype: set.rtype(),
            ttl_s: set.ttl_s(),
            data: set.data().iter().map(ToString::to_string).collect(),
            source: set.source(),
        }
    }
}

/// List the record sets of a zone
///
/// The SOA is not among them: it is made from the zone's settings and serial.
#[utoipa::path(get, path = "/zones/{zone}/records", tag = "zones",
    params(("zone" = String, Path, description = "Name of the zone"), Listing),
    responses((status = 200, body = Page<RecordSet>)), security(("api_key" = ["read"])))]
pub(super) async fn list(
    _caller: Caller<Read>,
    Shared(api): Shared<Arc<Api>>,
    Path(origin): Path<String>,
    Query(listing): Query<Listing>,
) -> Result<Json<Page<RecordSet>>, Problem> {
    let origin = zone_name(&origin)?;
    let state = api.state();
    let zone = state
        .zone(&origin)
        .ok_or_else(|| Problem::not_found(Noun::Zone, &origin))?;
    let after = listing
        .after
        .as_deref()
        .map(|text| cursor(&origin, text))
        .transpose()?;
    let entries = zone
        .sets()
        .filter_map(|set| Some((Cursor::of(&origin, set.name(), set.rtype())?, set)));
    page_after(listing.limit, after, entries, |set| {
        Some(RecordSet::from(set))
    })
    .map(Json)
}

/// Show a record set
#[utoipa::path(get, path = "/zones/{zone}/records/{name}/{type}", tag = "zones",
    params(("zone" = String, Path, description = "Name of the zone"),
        ("name" = String, Path, description = "Relative to the zone; `@` for the zone itself"),
        ("type" = String, Path, description = "`A`, `AAAA`, `CNAME`, `TXT`, `MX`, `SRV`, `CAA`, `NS` or `SOA`")),
    responses((status = 200, body = RecordSet)), security(("api_key" = ["read"])))]
pub(super) async fn show(
    _caller: Caller<Read>,
    Shared(api): Shared<Arc<Api>>,
    Path((origin, name, rtype)): Path<(String, String, String)>,
) -> Result<Json<RecordSet>, Problem> {
    let place = Place::parse(&origin, &name, &rtype)?;
    place.read(&api).map(Json)
}

/// Put a record set in place of what was there
#[utoipa::path(put, path = "/zones/{zone}/records/{name}/{type}", tag = "zones", request_body = PutRecordSet,
    params(("zone" = String, Path, description = "Name of the zone"),
        ("name" = String, Path, description = "Relative to the zone; `@` for the zone itself"),
        ("type" = String, Path, description = "`A`, `AAAA`, `CNAME`, `TXT`, `MX`, `SRV`, `CAA` or `NS`"), WriteQuery),
    responses((status = 200, body = Written<RecordSet>)), security(("api_key" = ["dns"])))]
pub(super) async fn put(
    caller: Caller<Dns>,
    Shared(api): Shared<Arc<Api>>,
    Path((origin, name, rtype)): Path<(String, String, String)>,
    Query(query): Query<WriteQuery>,
    Body(new): Body<PutRecordSet>,
) -> Result<Json<Written<RecordSet>>, Problem> {
    let place = Place::parse(&origin, &name, &rtype)?;
    let set = malha_zone::RecordSet::from_text(
        place.name.clone(),
        place.rtype,
        new.ttl_s,
        &new.data,
        RecordSource::Operator,
    );
    let set = set.map_err(|error| {
        let field = if matches!(error, SetError::Ttl { .. }) {
            "ttl_s"
        } else {
            "data"
        };
        Problem::wrong(field, &refusals::record_set(&error))
    })?;
    let command = Command::PutRecordSet {
        zone: place.zone.clone(),
        set,
    };
    let accepted = api.change(&caller, &query, command).await?;
    api.written(&accepted, &query, place.read(&api)?)
        .await
        .map(Json)
}

/// Delete a record set
#[utoipa::path(delete, path = "/zones/{zone}/records/{name}/{type}", tag = "zones",
    params(("zone" = String, Path, description = "Name of the zone"),
        ("name" = String, Path, description = "Relative to the zone; `@` for the zone itself"),
        ("type" = String, Path, description = "`A`, `AAAA`, `CNAME`, `TXT`, `MX`, `SRV`, `CAA` or `NS`"), WriteQuery),
    responses((status = 200, body = Written<Removed>)), security(("api_key" = ["dns"])))]
pub(super) async fn remove(
    caller: Caller<Dns>,
    Shared(api): Shared<Arc<Api>>,
    Path((origin, name, rtype)): Path<(String, String, String)>,
    Query(query): Query<WriteQuery>,
) -> Result<Json<Written<Removed>>, Problem> {
    let Place { zone, name, rtype } = Place::parse(&origin, &name, &rtype)?;
    let removed = format!("{name} {rtype} in {zone}");
    let command = Command::DeleteRecordSet { zone, name, rtype };
    api.remove(&caller, &query, removed, command).await
}

/// Where a record set stands.
struct Place {
    zone: ZoneName,
    name: RecordName,
    rtype: RecordType,
}

impl Place {
    fn parse(zone: &str, name: &str, rtype: &str) -> Result<Self, Problem> {
        let zone = zone_name(zone)?;
        let name: RecordName = name
            .parse()
            .map_err(|error| Problem::wrong("name", &refusals::zone_name(&error)))?;
        let name = name
            .relative_to(&zone)
            .map_err(|error| Problem::wrong("name", &refusals::zone_name(&error)))?;
        let rtype = rtype
            .parse()
            .map_err(|error| Problem::wrong("type", &refusals::record_type(&error)))?;
        Ok(Self { zone, name, rtype })
    }

    fn read(&self, api: &Api) -> Result<RecordSet, Problem> {
        let state = api.state();
        let zone = state
            .zone(&self.zone)
            .ok_or_else(|| Problem::not_found(Noun::Zone, &self.zone))?;
        if self.rtype == RecordType::Soa && self.name.is_apex() {
            return Ok((&zone.soa_set()).into());
        }
        let set = zone.set(&self.name, self.rtype);
        set.map(Into::into).ok_or_else(|| {
            Problem::not_found(
                Noun::RecordSet,
                format!("{} {} in {}", self.name, self.rtype, self.zone),
            )
        })
    }
}

/// A place in the canonical order in which zones list their sets.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Cursor {
    absolute: DomainName,
    rtype: RecordType,
    name: RecordName,
}

impl Cursor {
    fn of(zone: &ZoneName, name: &RecordName, rtype: RecordType) -> Option<Self> {
        Some(Self {
            absolute: name.absolute_in(zone).ok()?,
            rtype,
            name: name.clone(),
        })
    }
}

impl fmt::Display for Cursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.name, self.rtype)
    }
}

fn cursor(zone: &ZoneName, text: &str) -> Result<Cursor, Problem> {
    let read = || {
        let (name, rtype) = text.split_once('/')?;
        Cursor::of(zone, &name.parse().ok()?, rtype.parse().ok()?)
    };
    read().ok_or_else(|| Problem::invalid("after", &Refusal::PageAfter))
}

fn default_ttl_s() -> u32 {
    DEFAULT_TTL_S
}
