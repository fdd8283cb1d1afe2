//! One zone as a persistent value: its settings, its serial and its record sets in canonical order.
//! It never changes in place; see [`Zone::edit`].

use std::sync::Arc;

use imbl::OrdMap;

use crate::key::{NameKey, label_ends};
use crate::name::{DomainName, NameError, RecordName, ZoneName};
use crate::rdata::RecordData;
use crate::rtype::RecordType;
use crate::rules;
use crate::serial::Serial;
use crate::set::{RecordSet, SetError, Source};
use crate::soa::Soa;

/// Most record sets of one zone.
pub const MAX_SETS: usize = 1_000_000;

/// An authoritative zone. A clone costs a few reference counts.
///
/// Every zone satisfies the rules of [`Zone::edit`]; there is no way to build one that does not.
#[derive(Clone, Debug, PartialEq)]
pub struct Zone {
    pub(crate) origin: Arc<ZoneName>,
    pub(crate) soa: Arc<Soa>,
    pub(crate) serial: Serial,
    pub(crate) nodes: OrdMap<NameKey, Node>,
    pub(crate) sets: usize,
}

/// Why a zone refuses what was asked of it; the zone stays as it was.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ZoneError {
    #[error(transparent)]
    Name(#[from] NameError),
    #[error(transparent)]
    Set(#[from] SetError),
    #[error(
        "the SOA record is made from the zone's settings and serial; change the settings of `{zone}` instead"
    )]
    SoaIsDerived { zone: String },
    #[error("the SOA time {field} of {value_s} s is out of range; at most {max_s} s is allowed")]
    SoaTime {
        field: &'static str,
        value_s: u32,
        max_s: u32,
    },
    #[error("the SOA {field} may not be the root; write a name such as `ns1.example.org.`")]
    SoaRoot { field: &'static str },
    #[error(
        "the {rtype} set of `{name}` is managed by a route; change or remove the route, and the record follows"
    )]
    ManagedByRoute { name: RecordName, rtype: RecordType },
    #[error(
        "an operator keeps the {rtype} set of `{name}`; delete it, or give the route another host name"
    )]
    KeptByOperator { name: RecordName, rtype: RecordType },
    #[error(
        "the zone's own name cannot be a CNAME; it has SOA and NS records. Use A and AAAA records"
    )]
    CnameAtApex,
    #[error(
        "`{name}` has a CNAME and a {other} set; a CNAME stands alone at its name. Delete one of them"
    )]
    CnameNotAlone { name: RecordName, other: RecordType },
    #[error("the zone's own NS set may not be removed; put another NS set in its place")]
    ApexNsRequired,
    #[error("`{name}` may not have NS records: a wildcard cannot be delegated")]
    WildcardDelegation { name: RecordName },
    #[error(
        "the {rtype} set of `{name}` is below the delegation of `{cut}`; only A and AAAA (glue) may stand there"
    )]
    BelowDelegation {
        name: RecordName,
        rtype: RecordType,
        cut: RecordName,
    },
    #[error("the zone would have more than {MAX_SETS} record sets")]
    TooManySets,
    #[error(
        "{count} edits at once are too many; at most {} are allowed",
        crate::edit::MAX_EDITS
    )]
    TooManyEdits { count: usize },
    #[error("the stored zone has the {rtype} set of `{name}` twice")]
    StoredTwice { name: RecordName, rtype: RecordType },
    #[error("the journal entry is of zone `{found}`, not of `{zone}`")]
    OtherZone { zone: String, found: String },
    #[error("the journal entry goes from serial {old} to {new}, but the zone is at {current}")]
    JournalGap {
        old: Serial,
        new: Serial,
        current: Serial,
    },
    #[error("the journal entry does not fit the zone at the {rtype} set of `{name}`")]
    JournalMismatch { name: RecordName, rtype: RecordType },
}

impl Zone {
    /// A new zone at [`Serial::FIRST`] with `ns` as its name servers.
    pub fn new(origin: ZoneName, soa: Soa, ns: Vec<DomainName>) -> Result<Self, ZoneError> {
        let servers = ns.into_iter().map(RecordData::Ns).collect();
        let ns = RecordSet::new(
            RecordName::apex(),
            RecordType::Ns,
            soa.ttl_s.min(crate::MAX_TTL_S),
            servers,
            Source::Operator,
        )?;
        Self::restore(origin, soa, Serial::FIRST, [ns])
    }

    /// A zone as it was stored; refused as a whole when any set breaks a rule.
    pub fn restore(
        origin: ZoneName,
        soa: Soa,
        serial: Serial,
        sets: impl IntoIterator<Item = RecordSet>,
    ) -> Result<Self, ZoneError> {
        rules::check_soa(&soa)?;
        let mut zone = Self {
            origin: Arc::new(origin),
            soa: Arc::new(soa),
            serial,
            nodes: OrdMap::new(),
            sets: 0,
        };
        for set in sets {
            let set = set.relative_to(&zone.origin)?;
            if set.rtype() == RecordType::Soa {
                return Err(ZoneError::SoaIsDerived {
                    zone: zone.origin.to_string(),
                });
            }
            let (name, rtype) = (set.name().clone(), set.rtype());
            if zone.insert(name.key(), Arc::new(set)).is_some() {
                return Err(ZoneError::StoredTwice { name, rtype });
            }
        }
        rules::check_all(&zone)?;
        Ok(zone)
    }

    pub fn origin(&self) -> &ZoneName {
        &self.origin
    }

    pub fn soa(&self) -> &Soa {
        &self.soa
    }

    pub fn serial(&self) -> Serial {
        self.serial
    }

    /// The SOA record set as it is published now.
    pub fn soa_set(&self) -> RecordSet {
        RecordSet::of_soa(self.soa.data(self.serial), self.soa.ttl_s)
    }

    /// The set of `rtype` at `name`; the SOA is not among the sets, see [`Zone::soa_set`].
    pub fn set(&self, name: &RecordName, rtype: RecordType) -> Option<&RecordSet> {
        let name = name.relative_to(&self.origin).ok()?;
        self.nodes.get(&name.key())?.get(rtype)
    }

    /// All sets except the SOA, names in canonical order (RFC 4034 section 6.1).
    pub fn sets(&self) -> impl Iterator<Item = &RecordSet> {
        self.nodes.values().flat_map(Node::sets)
    }

    /// How many sets [`Zone::sets`] gives.
    pub fn len(&self) -> usize {
        self.sets
    }

    /// Never true: a zone has at least its NS set.
    pub fn is_empty(&self) -> bool {
        self.sets == 0
    }

    pub(crate) fn lookup(&self, key: &[u8]) -> Lookup<'_> {
        match self.nodes.get_next(key) {
            Some((found, node)) if found.bytes() == key => Lookup::Node(node),
            Some((found, _)) if found.bytes().starts_with(key) => Lookup::EmptyNonTerminal,
            _ => Lookup::Nothing,
        }
    }

    /// The delegation strictly above `key`, closest to the apex.
    pub(crate) fn cut_above(&self, key: &[u8]) -> Option<&Node> {
        label_ends(key)
            .filter(|end| *end < key.len())
            .filter_map(|end| self.nodes.get(&key[..end]))
            .find(|node| node.get(RecordType::Ns).is_some())
    }

    pub(crate) fn insert(&mut self, key: NameKey, set: Arc<RecordSet>) -> Option<Arc<RecordSet>> {
        let mut node = self.nodes.get(&key).cloned().unwrap_or_default();
        let before = node.replace(set);
        self.nodes.insert(key, node);
        self.sets += usize::from(before.is_none());
        before
    }

    pub(crate) fn remove(&mut self, key: &NameKey, rtype: RecordType) -> Option<Arc<RecordSet>> {
        let mut node = self.nodes.get(key)?.clone();
        let before = node.remove(rtype)?;
        if node.is_empty() {
            self.nodes.remove(key);
        } else {
            self.nodes.insert(key.clone(), node);
        }
        self.sets -= 1;
        Some(before)
    }
}

/// What stands at a name.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Lookup<'z> {
    Node(&'z Node),
    /// No record here, but below: the name exists (RFC 8020).
    EmptyNonTerminal,
    Nothing,
}

/// The sets of one name, in the order of their types; never empty inside a zone.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Node(Vec<Arc<RecordSet>>);

impl Node {
    pub(crate) fn get(&self, rtype: RecordType) -> Option<&RecordSet> {
        self.0
            .iter()
            .find(|set| set.rtype() == rtype)
            .map(AsRef::as_ref)
    }

    pub(crate) fn shared(&self, rtype: RecordType) -> Option<&Arc<RecordSet>> {
        self.0.iter().find(|set| set.rtype() == rtype)
    }

    pub(crate) fn sets(&self) -> impl Iterator<Item = &RecordSet> {
        self.0.iter().map(AsRef::as_ref)
    }

    fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    fn replace(&mut self, set: Arc<RecordSet>) -> Option<Arc<RecordSet>> {
        match self.0.binary_search_by_key(&set.rtype(), |set| set.rtype()) {
            Ok(at) => Some(std::mem::replace(&mut self.0[at], set)),
            Err(at) => {
                self.0.insert(at, set);
                None
            }
        }
    }

    fn remove(&mut self, rtype: RecordType) -> Option<Arc<RecordSet>> {
        let at = self.0.iter().position(|set| set.rtype() == rtype)?;
        Some(self.0.remove(at))
    }
}
