//! What one map says of names, as zones: the overlay zone with every node that the map shows, each declared name as a zone of its
//! own, and the names of the nodes' addresses. Pure; a name that is not in here does not exist for this machine.

mod reverse;

use std::collections::{BTreeMap, BTreeSet};

use malha_proto::{HostName, Netmap, OverlayAddresses, Profile, Revision};
use malha_zone::{
    DomainName, MAX_SET_DATA, RecordData, RecordName, RecordSet, RecordType, Serial, Soa, Source,
    Zone, ZoneError, ZoneName, Zones,
};

use reverse::Prefixes;

/// Names and where they lead. There is one per map.
#[derive(Clone, Debug)]
pub(super) struct Table {
    content: Content,
    zones: Zones,
}

/// All that answers depend on but for their serials.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Content {
    zone: HostName,
    me: HostName,
    profile: Profile,
    /// By the names of nodes, without the zone.
    nodes: BTreeMap<HostName, OverlayAddresses>,
    /// By whole names.
    declared: BTreeMap<HostName, BTreeSet<OverlayAddresses>>,
    prefixes: Prefixes,
}

impl Table {
    /// What a map says, at its revision.
    pub(super) fn new(content: Content, revision: Revision) -> Result<Self, ZoneError> {
        let serial = u32::try_from(revision.0 % (1 << 32)).unwrap_or_default();
        let zones = content.zones(Serial::new(serial))?;
        Ok(Self { content, zones })
    }

    /// Whether it says this already.
    pub(super) fn says(&self, content: &Content) -> bool {
        self.content == *content
    }

    pub(super) fn zones(&self) -> Zones {
        self.zones.clone()
    }

    pub(super) fn zone(&self) -> &HostName {
        &self.content.zone
    }

    pub(super) fn profile(&self) -> Profile {
        self.content.profile
    }

    /// How many nodes have a name, this one included.
    pub(super) fn nodes(&self) -> usize {
        self.content.nodes.len()
    }

    pub(super) fn declared(&self) -> Vec<String> {
        self.content
            .declared
            .keys()
            .map(ToString::to_string)
            .collect()
    }

    /// Whether it is a name that this table speaks of, be it to deny it.
    pub(super) fn speaks_of(&self, name: &HostName) -> bool {
        name.is_within(self.content.zone.as_str()) || self.content.declared.contains_key(name)
    }

    /// The domains that a resolver has to ask here for, the overlay zone first.
    pub(super) fn domains(&self, with_declared: bool) -> Vec<String> {
        let content = &self.content;
        let declared = content.declared.keys().filter(|_| with_declared);
        let forward = std::iter::once(&content.zone).chain(declared);
        let reverse = content.reverse_zones().into_keys();
        let all = forward.map(ToString::to_string).chain(reverse);
        all.take(MAX_DOMAINS).collect()
    }
}

impl Content {
    /// Reads a map; None where it does not say the overlay zone. `controllers` are `host:port`.
    pub(super) fn of(map: &Netmap, controllers: &[String]) -> Option<Self> {
        let zone = map.zone.clone()?;
        let peers = map.peers.values();
        let nodes = peers.map(|peer| (peer.name.clone(), peer.addresses));
        Some(Self {
            nodes: nodes
                .chain([(map.me.name.clone(), map.me.addresses)])
                .collect(),
            prefixes: Prefixes::of(&map.me),
            me: map.me.name.clone(),
            profile: map.me.profile,
            declared: declared(map, &zone, controllers),
            zone,
        })
    }

    fn zones(&self, serial: Serial) -> Result<Zones, ZoneError> {
        let ns: DomainName = format!("{}.{}.", self.me, self.zone).parse()?;
        let soa = Soa {
            minimum_s: NEGATIVE_TTL_S,
            ttl_s: TTL_S,
            ..Soa::new(ns.clone(), format!("hostmaster.{}.", self.zone).parse()?)
        };
        let zone = |origin: &str, sets: &[RecordSet]| {
            let servers = vec![RecordData::Ns(ns.clone())];
            let servers = set(RecordName::apex(), RecordType::Ns, servers)?;
            let sets = sets.iter().cloned().chain([servers]);
            let origin = origin.parse::<ZoneName>()?;
            Zone::restore(origin, soa.clone(), serial, sets)
        };
        let mut sets = Vec::with_capacity(2 * self.nodes.len());
        for (name, addresses) in &self.nodes {
            // Whole, for a site and an organization may be called like the zone.
            let whole = format!("{name}.{}.", self.zone).parse::<RecordName>();
            match whole {
                Ok(whole) => sets.extend(address_sets(&whole, [addresses])?),
                Err(error) => tracing::debug!(%error, "a node goes without a name"),
            }
        }
        let mut zones = Zones::new().with(zone(self.zone.as_str(), &sets)?);
        for (name, addresses) in &self.declared {
            let sets = address_sets(&RecordName::apex(), addresses)?;
            zones = zones.with(zone(name.as_str(), &sets)?);
        }
        for (origin, sets) in self.reverse_sets()? {
            zones = zones.with(zone(&origin, &sets)?);
        }
        Ok(zones)
    }
}

/// The declared names that this machine may believe: none that stands in the overlay zone or above it, none that leads to a
/// controller, none of an address, and none that two organizations claim.
fn declared(
    map: &Netmap,
    zone: &HostName,
    controllers: &[String],
) -> BTreeMap<HostName, BTreeSet<OverlayAddresses>> {
    let controllers: Vec<HostName> = controllers.iter().filter_map(|it| host_of(it)).collect();
    let is_safe = |name: &HostName| {
        let leads_to = |host: &HostName| host.is_within(name.as_str());
        let is_ours = name.is_within(zone.as_str()) || zone.is_within(name.as_str());
        let is_address = name.is_within(ADDRESSES);
        !name.is_wildcard() && !is_ours && !is_address && !controllers.iter().any(leads_to)
    };
    let me = (&map.me.name, &map.me.names, map.me.addresses);
    let peers = map.peers.values();
    let peers = peers.map(|peer| (&peer.name, &peer.names, peer.addresses));
    let mut claims = BTreeMap::<HostName, BTreeMap<&str, BTreeSet<OverlayAddresses>>>::new();
    for (node, names, addresses) in peers.chain([me]) {
        let organization = node.as_str().rsplit('.').next().unwrap_or_default();
        for name in names.iter().filter(|name| is_safe(name)) {
            let claim = claims.entry(name.clone()).or_default();
            claim.entry(organization).or_default().insert(addresses);
        }
    }
    let undisputed = claims.into_iter().filter_map(|(name, mut claim)| {
        let (_, addresses) = claim.pop_first()?;
        claim.is_empty().then_some((name, addresses))
    });
    undisputed.collect()
}

/// The name of a `host:port`; None for an address.
fn host_of(controller: &str) -> Option<HostName> {
    let (host, _) = controller.rsplit_once(':')?;
    host.parse().ok()
}

fn address_sets<'a>(
    name: &RecordName,
    addresses: impl IntoIterator<Item = &'a OverlayAddresses>,
) -> Result<[RecordSet; 2], ZoneError> {
    let addresses = addresses.into_iter().take(MAX_SET_DATA);
    let (v4, v6) = addresses
        .map(|it| (RecordData::A(it.v4), RecordData::Aaaa(it.v6)))
        .unzip();
    Ok([
        set(name.clone(), RecordType::A, v4)?,
        set(name.clone(), RecordType::Aaaa, v6)?,
    ])
}

fn set(name: RecordName, rtype: RecordType, data: Vec<RecordData>) -> Result<RecordSet, ZoneError> {
    Ok(RecordSet::new(name, rtype, TTL_S, data, Source::Operator)?)
}

/// RFC 3172.
const ADDRESSES: &str = "arpa";
/// Short: a node that moves, comes or goes is another name's answer within this time.
const TTL_S: u32 = 30;
const NEGATIVE_TTL_S: u32 = 5;
/// systemd-resolved takes 1024 domains of one interface.
const MAX_DOMAINS: usize = 1_000;

#[cfg(test)]
mod tests;
