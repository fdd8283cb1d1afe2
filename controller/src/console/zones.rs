//! Zones and their record sets: shown as they are served, record sets put and deleted by operators.

use malha_core::{Command, Noun, RecordSource, State};
use malha_web::Viewer;
use malha_web::model::RecordSource as Keeper;
use malha_web::model::{
    Listing, NewRecordSet, Outcome, ROWS_MAX, RecordSetKey, RecordSetRow, Refused, ZoneDetail,
    ZoneRow,
};
use malha_zone::{RecordName, RecordSet, RecordType, Zone, ZoneError, ZoneName};

use crate::console::ControllerConsole;
use crate::console::convergence::count;
use crate::console::permission::{Permission, permit};
use crate::console::refusal::{Form, missing, refused_set, wrong};
use crate::refusals;

/// Zones by name.
pub(super) fn list(state: &State) -> Listing<ZoneRow> {
    let row = |zone: &Zone| ZoneRow {
        name: zone.origin().to_string().into(),
        serial: zone.serial().value(),
        record_sets: count(zone.len()),
    };
    Listing {
        rows: state.zones().iter().take(ROWS_MAX).map(row).collect(),
        total: state.zones().len(),
    }
}

/// A zone with its record sets, the SOA first, as a zone file has them.
pub(super) fn detail(state: &State, name: &str) -> Option<ZoneDetail> {
    let zone = state.zone(&name.parse().ok()?)?;
    let soa = RecordSetRow {
        source: Keeper::Automatic,
        ..row(&zone.soa_set())
    };
    let rows = std::iter::once(soa)
        .chain(zone.sets().map(row))
        .take(ROWS_MAX)
        .collect();
    Some(ZoneDetail {
        name: zone.origin().to_string().into(),
        serial: zone.serial().value(),
        record_sets: Listing {
            rows,
            total: zone.len() + 1,
        },
    })
}

pub(super) async fn put(
    console: &ControllerConsole,
    viewer: &Viewer,
    new: NewRecordSet,
) -> Result<Outcome, Refused> {
    permit(viewer, Permission::Change)?;
    let (zone, name, rtype) = parsed(&console.state(), &new.key)?;
    let set = RecordSet::from_text(name, rtype, new.ttl_s, &new.values, RecordSource::Operator);
    let set = set.map_err(|error| refused_set(&ZoneError::Set(error)))?;
    console
        .write(
            viewer,
            Form::RECORD_SET,
            Command::PutRecordSet { zone, set },
        )
        .await
}

pub(super) async fn delete(
    console: &ControllerConsole,
    viewer: &Viewer,
    key: RecordSetKey,
) -> Result<Outcome, Refused> {
    permit(viewer, Permission::Change)?;
    let (zone, name, rtype) = parsed(&console.state(), &key)?;
    console
        .write(
            viewer,
            Form::BUTTON,
            Command::DeleteRecordSet { zone, name, rtype },
        )
        .await
}

/// The zone must exist; name and type must be readable.
fn parsed(
    state: &State,
    key: &RecordSetKey,
) -> Result<(ZoneName, RecordName, RecordType), Refused> {
    let zone = key
        .zone
        .parse()
        .ok()
        .filter(|name| state.zone(name).is_some());
    let zone = zone.ok_or_else(|| missing(None, Noun::Zone, &key.zone))?;
    let name = key
        .name
        .parse()
        .map_err(|error| wrong("name", refusals::zone_name(&error)))?;
    let rtype = key
        .record_type
        .parse()
        .map_err(|error| wrong("record_type", refusals::record_type(&error)))?;
    Ok((zone, name, rtype))
}

fn row(set: &RecordSet) -> RecordSetRow {
    RecordSetRow {
        name: set.name().to_string().into(),
        record_type: set.rtype().as_str().into(),
        ttl_s: set.ttl_s(),
        values: set
            .data()
            .iter()
            .map(|data| data.to_string().into())
            .collect(),
        source: match set.source() {
            RecordSource::Operator => Keeper::Operator,
            RecordSource::Route => Keeper::Automatic,
        },
    }
}
