//! Public zones: made and removed whole, edited by operators set by set, and kept in step with the routes. The records of
//! routes follow from routes, zones and edge addresses alone, so they are never stored.

mod managed;

use std::net::IpAddr;

use malha_proto::HostName;
use malha_zone::{
    DomainName, Edit, RecordName, RecordSet, RecordType, Serial, Soa, Zone, ZoneName,
};

use crate::apply::{check_count, check_limit, found};
use crate::change::EntityKey;
use crate::command::{Answer, Rejection};
use crate::draft::Draft;
use crate::limits::{MAX_NAME_SERVERS, MAX_ZONES};
use crate::model::RecordSource;
use crate::noun::{Noun, Plenty, User};
use crate::reason::Reason;
use crate::state::State;

pub(crate) use managed::{check_no_conflict, follow_edges, follow_host, with_managed};

pub(crate) fn add(
    draft: &mut Draft,
    origin: &ZoneName,
    name_servers: &[HostName],
    contact: &HostName,
) -> Result<Answer, Rejection> {
    check_origin(&draft.state, origin)?;
    check_limit(Plenty::Zones, draft.state.zones.len(), MAX_ZONES)?;
    let zone = new_zone(draft, origin, name_servers, contact)?;
    draft.touch_zone(&zone);
    draft.state.zones = draft.state.zones.with(zone.clone());
    let zone = managed::with_managed(&draft.state, &zone)?;
    draft.state.zones = draft.state.zones.with(zone);
    managed::forget_in_parent(draft, origin)?;
    Ok(Answer::Zone)
}

/// Routes in it get their names from a zone above; where there is none, they must go first.
pub(crate) fn remove(draft: &mut Draft, origin: &ZoneName) -> Result<Answer, Rejection> {
    let zone = found(draft.state.zones.get(origin), Noun::Zone, origin)?.clone();
    draft.touch_zone(&zone);
    draft.delete(EntityKey::Zone(origin.clone()));
    for host in managed::hosts_within(&draft.state, origin) {
        if draft.state.zone_of_host(&host).is_none() {
            return Err(Rejection::InUse {
                what: Noun::Zone,
                name: origin.to_string(),
                by: User::Thing(Noun::Route, host.to_string()),
            });
        }
        managed::follow_host(draft, &host)?;
    }
    Ok(Answer::Done)
}

/// An operator's set; what a caller says of its source does not count.
pub(crate) fn put_set(
    draft: &mut Draft,
    origin: &ZoneName,
    set: &RecordSet,
) -> Result<Answer, Rejection> {
    let zone = found(draft.state.zones.get(origin), Noun::Zone, origin)?.clone();
    let set = RecordSet::new(
        set.name().clone(),
        set.rtype(),
        set.ttl_s(),
        set.data().to_vec(),
        RecordSource::Operator,
    )
    .map_err(malha_zone::ZoneError::from)?;
    let name = set.name().clone();
    edit(draft, &zone, &[Edit::Put(set)])?;
    managed::follow_name(draft, origin, &name)?;
    Ok(Answer::Done)
}

pub(crate) fn delete_set(
    draft: &mut Draft,
    origin: &ZoneName,
    name: &RecordName,
    rtype: RecordType,
) -> Result<Answer, Rejection> {
    let zone = found(draft.state.zones.get(origin), Noun::Zone, origin)?.clone();
    found(
        zone.set(name, rtype),
        Noun::RecordSet,
        format!("{name} {rtype}"),
    )?;
    edit(
        draft,
        &zone,
        &[Edit::Delete {
            name: name.clone(),
            rtype,
            source: RecordSource::Operator,
        }],
    )?;
    managed::follow_name(draft, origin, name)?;
    Ok(Answer::Done)
}

fn edit(draft: &mut Draft, zone: &Zone, edits: &[Edit]) -> Result<(), Rejection> {
    let (zone, change) = zone.edit(edits)?;
    if !change.is_empty() {
        draft.put_zone(zone, &change);
    }
    Ok(())
}

fn check_origin(state: &State, origin: &ZoneName) -> Result<(), Rejection> {
    if state.zones.get(origin).is_some() {
        return Err(Rejection::Exists {
            what: Noun::Zone,
            name: origin.to_string(),
        });
    }
    let overlay = state.settings.overlay_zone.as_str();
    let text = origin.to_string();
    if text == overlay || text.ends_with(&format!(".{overlay}")) {
        return Err(Rejection::Invalid {
            field: "origin",
            reason: Reason::ZoneIsOverlay {
                zone: overlay.to_owned(),
            },
        });
    }
    Ok(())
}

/// SOA and NS, and the addresses of name servers that stand in the zone itself.
fn new_zone(
    draft: &Draft,
    origin: &ZoneName,
    name_servers: &[HostName],
    contact: &HostName,
) -> Result<Zone, Rejection> {
    let refuse = |reason| {
        Err(Rejection::Invalid {
            field: "name_servers",
            reason,
        })
    };
    let Some(primary) = name_servers.first() else {
        return refuse(Reason::ZoneWithoutServers);
    };
    check_count(Plenty::NameServers, name_servers.len(), MAX_NAME_SERVERS)?;
    if let Some(wildcard) = name_servers
        .iter()
        .chain([contact])
        .find(|host| host.is_wildcard())
    {
        return refuse(Reason::WildcardIsNoHost {
            name: wildcard.to_string(),
        });
    }
    let soa = Soa::new(domain(primary)?, domain(contact)?);
    let mut servers: Vec<DomainName> = name_servers.iter().map(domain).collect::<Result<_, _>>()?;
    servers.sort();
    servers.dedup();
    let zone = Zone::new(origin.clone(), soa.clone(), servers)?;
    let glue = glue(&zone, &draft.state.settings.edge_addresses)?;
    let (zone, _) = zone.edit(&glue)?;
    let sets: Vec<RecordSet> = zone.sets().cloned().collect();
    Ok(Zone::restore(
        origin.clone(),
        soa,
        first_serial(draft.now_ms()),
        sets,
    )?)
}

/// Name servers of the zone that have no address yet get the edges'. They are the operator's from then on.
fn glue(zone: &Zone, edges: &[IpAddr]) -> Result<Vec<Edit>, Rejection> {
    let mut edits = Vec::new();
    for name in managed::own_name_servers(zone) {
        for set in managed::address_sets(&name, edges, RecordSource::Operator)? {
            edits.push(Edit::Put(set));
        }
    }
    Ok(edits)
}

/// Seconds of the clock: a zone that is removed and made again goes on above its former serial.
fn first_serial(now_ms: u64) -> Serial {
    let seconds = now_ms / 1_000 % (u64::from(u32::MAX) + 1);
    Serial::new(u32::try_from(seconds).unwrap_or_default())
}

fn domain(host: &HostName) -> Result<DomainName, Rejection> {
    let name: Result<DomainName, _> = format!("{host}.").parse();
    name.map_err(|error| Rejection::Zone(error.into()))
}
