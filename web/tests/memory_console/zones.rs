//! Record sets of the world in memory.

use malha_web::model::*;

use super::MemoryConsole;
use super::rules::{no_such, refused};

pub(super) fn put(console: &MemoryConsole, new: NewRecordSet) -> Result<Outcome, Refused> {
    console.write(
        Topic::Dns,
        Action::RecordSetPut,
        &format!("{} {}", new.key.name, new.key.record_type),
        |world| {
            if new.key.record_type == "A"
                && new
                    .values
                    .iter()
                    .any(|value| value.parse::<std::net::Ipv4Addr>().is_err())
            {
                return Err(refused(
                    "values",
                    "Um registro A precisa de endereços IPv4, como 203.0.113.10.",
                    "An A record needs IPv4 addresses, such as 203.0.113.10.",
                ));
            }
            let zone = world
                .zones
                .iter_mut()
                .find(|zone| zone.name.as_str() == new.key.zone)
                .ok_or_else(|| no_such("zone"))?;
            zone.serial += 1;
            let sets = &mut zone.record_sets;
            sets.rows.retain(|set| {
                (set.name.as_str(), set.record_type.as_str())
                    != (&*new.key.name, &*new.key.record_type)
            });
            sets.rows.push(RecordSetRow {
                name: new.key.name.as_str().into(),
                record_type: new.key.record_type.as_str().into(),
                ttl_s: new.ttl_s,
                values: new
                    .values
                    .iter()
                    .map(|value| value.as_str().into())
                    .collect(),
                source: RecordSource::Operator,
            });
            sets.total = sets.rows.len();
            Ok(())
        },
    )
}

pub(super) fn delete(console: &MemoryConsole, key: RecordSetKey) -> Result<Outcome, Refused> {
    console.write(Topic::Dns, Action::RecordSetDeleted, &key.name, |world| {
        let zone = world
            .zones
            .iter_mut()
            .find(|zone| zone.name.as_str() == key.zone)
            .ok_or_else(|| no_such("zone"))?;
        zone.serial += 1;
        zone.record_sets.rows.retain(|set| {
            (set.name.as_str(), set.record_type.as_str()) != (&*key.name, &*key.record_type)
        });
        zone.record_sets.total = zone.record_sets.rows.len();
        Ok(())
    })
}
