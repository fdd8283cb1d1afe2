//! The records that routes make: the edges' addresses at each route's host, in the longest zone that holds it. They give
//! way to what an operator keeps at the same name.

use std::collections::BTreeSet;
use std::net::IpAddr;

use malha_proto::HostName;
use malha_zone::{
    Edit, MAX_EDITS, RecordData, RecordName, RecordSet, RecordType, Zone, ZoneError, ZoneName,
};

use crate::command::Rejection;
use crate::draft::Draft;
use crate::limits::ROUTE_TTL_S;
use crate::model::RecordSource;
use crate::reason::Reason;
use crate::state::State;

/// Brings the records at one host in step with its routes.
pub(crate) fn follow_host(draft: &mut Draft, host: &HostName) -> Result<(), Rejection> {
    let Some((zone, name)) = place_of(&draft.state, host) else {
        return Ok(());
    };
    let routed = draft.state.routes_at(host).next().is_some();
    let edits = edits_at(zone, &name, routed, &draft.state.settings.edge_addresses)?;
    let zone = zone.clone();
    super::edit(draft, &zone, &edits)
}

/// The same after an operator changed a set at `name`.
pub(crate) fn follow_name(
    draft: &mut Draft,
    origin: &ZoneName,
    name: &RecordName,
) -> Result<(), Rejection> {
    let full = name
        .absolute_in(origin)
        .map_err(ZoneError::from)?
        .to_string();
    match full.parse::<HostName>() {
        Ok(host) => follow_host(draft, &host),
        Err(_) => Ok(()),
    }
}

/// Puts new edge addresses in the place of the old ones: in every route's records, and where an operator's name server
/// had exactly the old ones.
pub(crate) fn follow_edges(draft: &mut Draft, old: &[IpAddr]) -> Result<(), Rejection> {
    let new = draft.state.settings.edge_addresses.clone();
    let origins: Vec<ZoneName> = draft
        .state
        .zones
        .iter()
        .map(|zone| zone.origin().clone())
        .collect();
    for origin in origins {
        let Some(zone) = draft.state.zones.get(&origin).cloned() else {
            continue;
        };
        let mut edits = Vec::new();
        for name in own_name_servers(&zone) {
            edits.extend(moved_glue(&zone, &name, old, &new)?);
        }
        super::edit(draft, &zone, &edits)?;
        let names: Vec<RecordName> = hosts_of(&draft.state, &origin)
            .filter_map(|host| relative(&host, &origin))
            .collect();
        for chunk in names.chunks(MAX_EDITS / ADDRESS_TYPES.len()) {
            let Some(zone) = draft.state.zones.get(&origin).cloned() else {
                continue;
            };
            let mut edits = Vec::new();
            for name in chunk {
                edits.extend(edits_at(&zone, name, true, &new)?);
            }
            super::edit(draft, &zone, &edits)?;
        }
    }
    Ok(())
}

/// A zone of this state with the records of all its routes; its serial stays, because it stands for these records.
pub(crate) fn with_managed(state: &State, zone: &Zone) -> Result<Zone, Rejection> {
    let origin = zone.origin();
    let mut sets: Vec<RecordSet> = zone.sets().cloned().collect();
    for name in hosts_of(state, origin).filter_map(|host| relative(&host, origin)) {
        let edits = edits_at(zone, &name, true, &state.settings.edge_addresses)?;
        sets.extend(edits.into_iter().filter_map(|edit| match edit {
            Edit::Put(set) => Some(set),
            Edit::Delete { .. } => None,
        }));
    }
    Ok(Zone::restore(
        origin.clone(),
        zone.soa().clone(),
        zone.serial(),
        sets,
    )?)
}

/// After a zone was made below another: its hosts' records leave the one above.
pub(crate) fn forget_in_parent(draft: &mut Draft, origin: &ZoneName) -> Result<(), Rejection> {
    let parent_name = origin.to_string();
    let Some(parent) = parent_name
        .split_once('.')
        .and_then(|(_, above)| zone_of(&draft.state, above))
        .cloned()
    else {
        return Ok(());
    };
    let mut edits = Vec::new();
    let hosts = hosts_within(&draft.state, origin);
    for name in hosts
        .iter()
        .filter_map(|host| relative(host, parent.origin()))
    {
        edits.extend(edits_at(&parent, &name, false, &[])?);
    }
    super::edit(draft, &parent, &edits)
}

/// Refuses a host at which an operator keeps records that would lead elsewhere.
pub(crate) fn check_no_conflict(state: &State, host: &HostName) -> Result<(), Rejection> {
    let Some((zone, name)) = place_of(state, host) else {
        return Ok(());
    };
    let edges = &state.settings.edge_addresses;
    let kept = ADDRESS_TYPES
        .into_iter()
        .filter_map(|rtype| operators_set(zone, &name, rtype));
    let mut leading_away = kept.filter(|set| data_of(set.rtype(), edges) != set.data());
    match zone
        .set(&name, RecordType::Cname)
        .or_else(|| leading_away.next())
    {
        Some(set) => Err(Rejection::Invalid {
            field: "host",
            reason: Reason::RecordLeadsElsewhere {
                zone: zone.origin().to_string(),
                rtype: set.rtype().to_string(),
                host: host.to_string(),
            },
        }),
        None => Ok(()),
    }
}

/// The hosts of routes at or below a name, whichever zone holds them.
pub(crate) fn hosts_within(state: &State, origin: &ZoneName) -> BTreeSet<HostName> {
    let origin = origin.to_string();
    let ids = state.index.routes_within(&origin);
    ids.filter_map(|id| state.route(id))
        .map(|route| route.host.clone())
        .collect()
}

/// The names of the zone's own name servers that stand in it.
pub(crate) fn own_name_servers(zone: &Zone) -> Vec<RecordName> {
    let servers = zone
        .set(&RecordName::apex(), RecordType::Ns)
        .map(RecordSet::data)
        .unwrap_or_default();
    let names = servers.iter().filter_map(|data| match data {
        RecordData::Ns(host) => host.to_string().parse::<RecordName>().ok(),
        _ => None,
    });
    names
        .filter_map(|name| name.relative_to(zone.origin()).ok())
        .collect()
}

/// The A and AAAA sets that say these addresses.
pub(crate) fn address_sets(
    name: &RecordName,
    addresses: &[IpAddr],
    source: RecordSource,
) -> Result<Vec<RecordSet>, Rejection> {
    let with_data = ADDRESS_TYPES
        .into_iter()
        .map(|rtype| (rtype, data_of(rtype, addresses)));
    let sets = with_data
        .filter(|(_, data)| !data.is_empty())
        .map(|(rtype, data)| {
            RecordSet::new(name.clone(), rtype, ROUTE_TTL_S, data, source)
                .map_err(|error| Rejection::Zone(error.into()))
        });
    sets.collect()
}

fn hosts_of<'s>(state: &'s State, origin: &'s ZoneName) -> impl Iterator<Item = HostName> + 's {
    let hosts = hosts_within(state, origin);
    hosts
        .into_iter()
        .filter(move |host| place_of(state, host).is_some_and(|(zone, _)| zone.origin() == origin))
}

/// What makes the managed sets at `name` right; nothing when they are.
fn edits_at(
    zone: &Zone,
    name: &RecordName,
    routed: bool,
    edges: &[IpAddr],
) -> Result<Vec<Edit>, Rejection> {
    let alias = zone.set(name, RecordType::Cname).is_some();
    let wanted = if routed && !alias {
        address_sets(name, edges, RecordSource::Route)?
    } else {
        Vec::new()
    };
    let mut edits = Vec::new();
    for rtype in ADDRESS_TYPES {
        if operators_set(zone, name, rtype).is_some() {
            continue;
        }
        let current = zone.set(name, rtype);
        match wanted.iter().find(|set| set.rtype() == rtype) {
            Some(wanted) if current.map(RecordSet::data) != Some(wanted.data()) => {
                edits.push(Edit::Put(wanted.clone()));
            }
            None if current.is_some() => {
                edits.push(Edit::Delete {
                    name: name.clone(),
                    rtype,
                    source: RecordSource::Route,
                });
            }
            _ => {}
        }
    }
    Ok(edits)
}

fn moved_glue(
    zone: &Zone,
    name: &RecordName,
    old: &[IpAddr],
    new: &[IpAddr],
) -> Result<Vec<Edit>, Rejection> {
    let is_old = |rtype| {
        zone.set(name, rtype)
            .map(RecordSet::data)
            .unwrap_or_default()
            == data_of(rtype, old)
    };
    if !ADDRESS_TYPES.into_iter().all(is_old)
        || ADDRESS_TYPES
            .into_iter()
            .any(|rtype| is_managed(zone, name, rtype))
    {
        return Ok(Vec::new());
    }
    let fresh = address_sets(name, new, RecordSource::Operator)?;
    let gone = ADDRESS_TYPES.into_iter().filter(|rtype| {
        zone.set(name, *rtype).is_some() && !fresh.iter().any(|set| set.rtype() == *rtype)
    });
    let gone: Vec<Edit> = gone
        .map(|rtype| Edit::Delete {
            name: name.clone(),
            rtype,
            source: RecordSource::Operator,
        })
        .collect();
    Ok(gone
        .into_iter()
        .chain(fresh.into_iter().map(Edit::Put))
        .collect())
}

fn operators_set<'z>(
    zone: &'z Zone,
    name: &RecordName,
    rtype: RecordType,
) -> Option<&'z RecordSet> {
    zone.set(name, rtype)
        .filter(|set| set.source() == RecordSource::Operator)
}

fn is_managed(zone: &Zone, name: &RecordName, rtype: RecordType) -> bool {
    zone.set(name, rtype)
        .is_some_and(|set| set.source() == RecordSource::Route)
}

impl State {
    /// The public zone in which the records of a route at this host stand; None: whoever keeps its zone elsewhere makes them.
    #[must_use]
    pub fn zone_of_host(&self, host: &HostName) -> Option<&Zone> {
        place_of(self, host).map(|(zone, _)| zone)
    }
}

/// The longest zone that holds a host, and the host's name in it.
fn place_of<'s>(state: &'s State, host: &HostName) -> Option<(&'s Zone, RecordName)> {
    let zone = zone_of(state, host.as_str().trim_start_matches("*."))?;
    Some((zone, relative(host, zone.origin())?))
}

fn zone_of<'s>(state: &'s State, name: &str) -> Option<&'s Zone> {
    let suffixes = std::iter::successors(Some(name), |suffix| {
        suffix.split_once('.').map(|(_, rest)| rest)
    });
    suffixes
        .filter_map(|suffix| suffix.parse::<ZoneName>().ok())
        .find_map(|origin| state.zones.get(&origin))
}

fn relative(host: &HostName, origin: &ZoneName) -> Option<RecordName> {
    format!("{host}.")
        .parse::<RecordName>()
        .ok()?
        .relative_to(origin)
        .ok()
}

/// The addresses of one family, sorted as record sets are.
fn data_of(rtype: RecordType, addresses: &[IpAddr]) -> Vec<RecordData> {
    let data = addresses
        .iter()
        .filter_map(|address| match (rtype, address) {
            (RecordType::A, IpAddr::V4(v4)) => Some(RecordData::A(*v4)),
            (RecordType::Aaaa, IpAddr::V6(v6)) => Some(RecordData::Aaaa(*v6)),
            _ => None,
        });
    let sorted: BTreeSet<RecordData> = data.collect();
    sorted.into_iter().collect()
}

const ADDRESS_TYPES: [RecordType; 2] = [RecordType::A, RecordType::Aaaa];
