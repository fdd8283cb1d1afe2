//! What a zone may hold: the rules that need more than one record set to check. They look at the
//! finished draft, so the order of edits inside one batch makes no difference.

use std::collections::BTreeSet;

use crate::key::NameKey;
use crate::rtype::RecordType;
use crate::set::RecordSet;
use crate::soa::Soa;
use crate::zone::{MAX_SETS, Node, Zone, ZoneError};

pub(crate) fn check_soa(soa: &Soa) -> Result<(), ZoneError> {
    for (field, name) in [("mname", &soa.mname), ("rname", &soa.rname)] {
        if name.is_root() {
            return Err(ZoneError::SoaRoot { field });
        }
    }
    match soa.times().into_iter().find(|(_, value, max)| value > max) {
        Some((field, value_s, max_s)) => Err(ZoneError::SoaTime {
            field,
            value_s,
            max_s,
        }),
        None => Ok(()),
    }
}

pub(crate) fn check_all(zone: &Zone) -> Result<(), ZoneError> {
    check_size_and_apex(zone)?;
    zone.nodes
        .iter()
        .try_for_each(|(key, node)| check_node(zone, key, node))
}

/// Checks what the change of the sets `touched` can have broken.
pub(crate) fn check_touched(
    zone: &Zone,
    touched: &BTreeSet<(NameKey, RecordType)>,
) -> Result<(), ZoneError> {
    check_size_and_apex(zone)?;
    for (key, rtype) in touched {
        let Some(node) = zone.nodes.get(key) else {
            continue;
        };
        check_node(zone, key, node)?;
        let delegated = *rtype == RecordType::Ns && node.get(RecordType::Ns).is_some();
        if delegated && !is_apex(key) {
            zone.nodes
                .range(key.clone()..)
                .take_while(|(below, _)| below.bytes().starts_with(key.bytes()))
                .try_for_each(|(below, node)| check_node(zone, below, node))?;
        }
    }
    Ok(())
}

fn check_size_and_apex(zone: &Zone) -> Result<(), ZoneError> {
    if zone.len() > MAX_SETS {
        return Err(ZoneError::TooManySets);
    }
    let apex = zone.nodes.get([].as_slice());
    match apex.and_then(|apex| apex.get(RecordType::Ns)) {
        Some(_) => Ok(()),
        None => Err(ZoneError::ApexNsRequired),
    }
}

fn check_node(zone: &Zone, key: &NameKey, node: &Node) -> Result<(), ZoneError> {
    check_cname(key, node)?;
    if is_apex(key) {
        return Ok(());
    }
    check_delegation(node)?;
    match zone.cut_above(key.bytes()) {
        Some(cut) => check_glue(node, cut),
        None => Ok(()),
    }
}

fn check_cname(key: &NameKey, node: &Node) -> Result<(), ZoneError> {
    if node.get(RecordType::Cname).is_none() {
        return Ok(());
    }
    if is_apex(key) {
        return Err(ZoneError::CnameAtApex);
    }
    match node.sets().find(|set| set.rtype() != RecordType::Cname) {
        Some(other) => Err(ZoneError::CnameNotAlone {
            name: other.name().clone(),
            other: other.rtype(),
        }),
        None => Ok(()),
    }
}

/// At a delegation only its NS set and its own glue may stand.
fn check_delegation(node: &Node) -> Result<(), ZoneError> {
    let Some(ns) = node.get(RecordType::Ns) else {
        return Ok(());
    };
    if ns.name().is_wildcard() {
        return Err(ZoneError::WildcardDelegation {
            name: ns.name().clone(),
        });
    }
    let stray = |set: &&RecordSet| set.rtype() != RecordType::Ns && !set.rtype().is_address();
    refuse(node.sets().find(stray), ns)
}

fn check_glue(node: &Node, cut: &Node) -> Result<(), ZoneError> {
    let Some(ns) = cut.get(RecordType::Ns) else {
        return Ok(());
    };
    let stray = |set: &&RecordSet| !set.rtype().is_address() || set.name().is_wildcard();
    refuse(node.sets().find(stray), ns)
}

fn refuse(stray: Option<&RecordSet>, ns: &RecordSet) -> Result<(), ZoneError> {
    match stray {
        Some(set) => Err(ZoneError::BelowDelegation {
            name: set.name().clone(),
            rtype: set.rtype(),
            cut: ns.name().clone(),
        }),
        None => Ok(()),
    }
}

fn is_apex(key: &NameKey) -> bool {
    key.bytes().is_empty()
}
