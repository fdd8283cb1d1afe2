//! The DNS names of an agency: made in a zone of this controller, or only said; and the declaration that has them.

use std::collections::BTreeSet;
use std::net::IpAddr;

use malha_zone::{RecordData, RecordName, RecordSet, RecordType, ZoneError, ZoneName};

use super::{AddedAgency, AgencyName, NewAgency, suffixed};
use crate::apply::found;
use crate::command::Rejection;
use crate::declaration::{self, NameServer, Stage, StageStatement, Statement};
use crate::draft::Draft;
use crate::limits::AGENCY_TTL_S;
use crate::model::RecordSource;
use crate::noun::Noun;
use crate::profile::{declared_ports, seed_ports};
use crate::zones;

pub(super) fn add_name(
    draft: &mut Draft,
    new: &NewAgency,
    stage: Stage,
) -> Result<AgencyName, Rejection> {
    let host = suffixed(&new.host, stage.host_suffix());
    let name: RecordName = format!("{host}.{}", new.name)
        .parse()
        .map_err(ZoneError::from)?;
    let addresses = match stage {
        Stage::Production => &new.public_addresses,
        Stage::Development => &new.development_addresses,
    };
    if let Some(origin) = &new.zone {
        put_addresses(draft, origin, &name, addresses)?;
    }
    Ok(AgencyName {
        stage,
        name,
        addresses: addresses.clone(),
        is_kept_here: new.zone.is_some() && !addresses.is_empty(),
    })
}

fn put_addresses(
    draft: &mut Draft,
    origin: &ZoneName,
    name: &RecordName,
    addresses: &BTreeSet<IpAddr>,
) -> Result<(), Rejection> {
    let zone = found(draft.state.zone(origin), Noun::Zone, origin)?;
    let kinds = [RecordType::A, RecordType::Aaaa, RecordType::Cname];
    if kinds.iter().any(|rtype| zone.set(name, *rtype).is_some()) {
        return Err(Rejection::Exists {
            what: Noun::RecordSet,
            name: format!("{name}.{origin}"),
        });
    }
    let data = |rtype| -> Vec<RecordData> {
        let of_type = addresses.iter().filter_map(|it| match (rtype, it) {
            (RecordType::A, IpAddr::V4(v4)) => Some(RecordData::A(*v4)),
            (RecordType::Aaaa, IpAddr::V6(v6)) => Some(RecordData::Aaaa(*v6)),
            _ => None,
        });
        of_type.collect()
    };
    for rtype in [RecordType::A, RecordType::Aaaa] {
        let data = data(rtype);
        if data.is_empty() {
            continue;
        }
        let set = RecordSet::new(
            name.clone(),
            rtype,
            AGENCY_TTL_S,
            data,
            RecordSource::Operator,
        );
        zones::put_set(draft, origin, &set.map_err(ZoneError::from)?)?;
    }
    Ok(())
}

/// What checks compare with: its names and addresses, and the ports as the requirement lists them.
pub(super) fn declare(
    draft: &mut Draft,
    new: &NewAgency,
    added: &AddedAgency,
) -> Result<(), Rejection> {
    let stage = |stage: Stage| {
        let name = added.names.iter().find(|name| name.stage == stage)?;
        let full = new
            .zone
            .as_ref()
            .and_then(|zone| format!("{}.{zone}", name.name).parse().ok());
        Some(StageStatement {
            names: full.into_iter().collect(),
            addresses: name.addresses.iter().copied().collect(),
            ..StageStatement::of_site(stage.site_name())
        })
    };
    let statement = Statement {
        name_servers: name_servers(draft, new),
        production: stage(Stage::Production),
        development: stage(Stage::Development),
        ports: declared_ports(seed_ports()),
        ..Statement::default()
    };
    let author = new.author.name(&draft.state)?;
    declaration::declare(draft, added.organization, &statement.to_text(), &author).map(drop)
}

/// Those of the zone that its names are in, if that is kept here.
fn name_servers(draft: &Draft, new: &NewAgency) -> Vec<NameServer> {
    let zone = new
        .zone
        .as_ref()
        .and_then(|origin| draft.state.zone(origin));
    let set = zone.and_then(|zone| zone.set(&RecordName::apex(), RecordType::Ns));
    let names = set.into_iter().flat_map(|set| set.data());
    let names = names.map(|name| name.to_string());
    names
        .filter_map(|name| name.trim_end_matches('.').parse().ok())
        .collect()
}
