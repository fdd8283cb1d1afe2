//! The algorithm of RFC 1034 section 4.3.2 over our zones: delegations, CNAME chains, wildcards
//! (RFC 4592), names that exist without data, and names that do not exist. It never writes a byte.

use hickory_proto::rr::{Name, RecordType as WireType};

use super::Rcode;
use super::request::Question;
use crate::key::{NameKey, label_ends, parent, wildcard_below};
use crate::name::DomainName;
use crate::rdata::{RecordData, SoaData};
use crate::rtype::RecordType;
use crate::set::RecordSet;
use crate::zone::{Lookup, Node, Zone};
use crate::zones::Zones;

/// Most CNAME records that one answer follows.
pub const MAX_CHAIN_HOPS: usize = 8;

/// What an answer says, before it is bytes.
pub(super) struct Body<'z> {
    pub(super) rcode: Rcode,
    pub(super) authoritative: bool,
    pub(super) answers: Vec<Part<'z>>,
    pub(super) authority: Vec<Part<'z>>,
    pub(super) additional: Vec<Extra<'z>>,
}

/// A record set with the name it is given in this answer.
pub(super) struct Part<'z> {
    pub(super) owner: Name,
    pub(super) what: What<'z>,
}

pub(super) enum What<'z> {
    Set(&'z RecordSet),
    Soa {
        data: SoaData,
        ttl_s: u32,
    },
    /// The HINFO of RFC 8482 section 4.2.
    MinimalAny,
}

/// A set that helps, and whether the answer is useless without it (RFC 9471).
pub(super) struct Extra<'z> {
    pub(super) part: Part<'z>,
    pub(super) required: bool,
}

/// A zone and the length of its key.
pub(super) type Found<'z> = (&'z Zone, usize);

impl<'z> Body<'z> {
    pub(super) fn error(rcode: Rcode) -> Self {
        Self {
            rcode,
            authoritative: false,
            answers: Vec::new(),
            authority: Vec::new(),
            additional: Vec::new(),
        }
    }
}

/// The zone that answers for `key`. The DS set of a zone's own name belongs to its parent (RFC 4035
/// section 3.1.4.1), so for DS a parent of ours goes first.
pub(super) fn zone_for<'z>(zones: &'z Zones, key: &[u8], qtype: WireType) -> Option<Found<'z>> {
    let found = zones.find(key)?;
    if qtype == WireType::DS && found.1 == key.len() {
        return parent(key).and_then(|key| zones.find(key)).or(Some(found));
    }
    Some(found)
}

pub(super) fn resolve<'z>(
    zones: &'z Zones,
    found: Found<'z>,
    question: &Question,
    key: NameKey,
) -> Body<'z> {
    let mut walk = Walk {
        zones,
        qtype: question.qtype(),
        body: Body {
            authoritative: true,
            ..Body::error(Rcode::NoError)
        },
        seen: Vec::new(),
    };
    let mut next = Some((found, question.name().clone(), key));
    while let Some((found, owner, key)) = next {
        next = walk.step(found, owner, key);
    }
    walk.body
}

struct Walk<'z> {
    zones: &'z Zones,
    qtype: WireType,
    body: Body<'z>,
    /// Names already answered by a CNAME.
    seen: Vec<NameKey>,
}

impl<'z> Walk<'z> {
    /// Answers for one name; gives the next one when a CNAME leads on inside our zones.
    fn step(
        &mut self,
        (zone, apex): Found<'z>,
        owner: Name,
        key: NameKey,
    ) -> Option<(Found<'z>, Name, NameKey)> {
        match locate(zone, &key.bytes()[apex..], self.qtype) {
            Place::Cut { node, depth } => {
                // After a CNAME the resolver asks for the target itself and gets the referral then.
                if self.seen.is_empty() {
                    self.refer(zone, &owner, node, depth);
                }
                None
            }
            Place::Missing => {
                self.body.rcode = Rcode::NxDomain;
                self.deny(zone);
                None
            }
            Place::Name(node) => self.answer_from(zone, node, owner, key),
        }
    }

    fn answer_from(
        &mut self,
        zone: &'z Zone,
        node: Option<&'z Node>,
        owner: Name,
        key: NameKey,
    ) -> Option<(Found<'z>, Name, NameKey)> {
        let wanted = RecordType::from_code(self.qtype.into());
        let cname = node.and_then(|node| node.get(RecordType::Cname));
        if self.qtype == WireType::ANY && node.is_some() {
            self.push(owner, What::MinimalAny);
        } else if wanted == Some(RecordType::Soa) && key == zone.origin().key() {
            self.push(owner, soa(zone, zone.soa().ttl_s));
        } else if let Some(set) = wanted.and_then(|rtype| node?.get(rtype)) {
            self.push(owner, What::Set(set));
            self.add_hosts(zone, set, None);
        } else if let Some(set) = cname {
            self.push(owner, What::Set(set));
            self.seen.push(key);
            return self.follow(set);
        } else {
            self.deny(zone);
        }
        None
    }

    fn follow(&self, cname: &RecordSet) -> Option<(Found<'z>, Name, NameKey)> {
        let [RecordData::Cname(target)] = cname.data() else {
            return None;
        };
        let key = NameKey::of(target.wire());
        if self.seen.len() >= MAX_CHAIN_HOPS || self.seen.contains(&key) {
            return None;
        }
        let found = zone_for(self.zones, key.bytes(), self.qtype)?;
        Some((found, target.wire().clone(), key))
    }

    /// A referral (RFC 1034 section 4.3.2 step 3b): the servers of the zone below, and their glue.
    fn refer(&mut self, zone: &'z Zone, owner: &Name, node: &'z Node, depth: usize) {
        let Some(ns) = node.get(RecordType::Ns) else {
            return;
        };
        self.body.authoritative = false;
        let labels = zone.origin().domain().wire().iter().len() + depth;
        let cut = owner.trim_to(labels);
        let cut_key = NameKey::of(&cut);
        self.body.authority.push(Part {
            owner: cut,
            what: What::Set(ns),
        });
        self.add_hosts(zone, ns, Some(&cut_key));
    }

    /// The zone's SOA, which says how long the denial may be remembered (RFC 2308).
    fn deny(&mut self, zone: &'z Zone) {
        self.body.authority.push(Part {
            owner: zone.origin().domain().wire().clone(),
            what: soa(zone, zone.soa().negative_ttl_s()),
        });
    }

    fn push(&mut self, owner: Name, what: What<'z>) {
        self.body.answers.push(Part { owner, what });
    }

    /// Addresses in `zone` of the hosts that `set` names: authoritative ones for an answer, glue for
    /// the referral at `cut`.
    fn add_hosts(&mut self, zone: &'z Zone, set: &'z RecordSet, cut: Option<&NameKey>) {
        let apex = zone.origin().key();
        let mut added: Vec<NameKey> = Vec::new();
        for host in set.data().iter().filter_map(RecordData::host) {
            let key = NameKey::of(host.wire());
            let Some(relative) = key.bytes().strip_prefix(apex.bytes()) else {
                continue;
            };
            let node = match cut {
                Some(_) => zone.nodes.get(relative),
                None => match locate(zone, relative, WireType::A) {
                    Place::Name(node) => node,
                    _ => None,
                },
            };
            let Some(node) = node.filter(|_| !added.contains(&key)) else {
                continue;
            };
            let required = cut.is_some_and(|cut| key.bytes().starts_with(cut.bytes()));
            self.add_addresses(host, node, required);
            added.push(key);
        }
    }

    fn add_addresses(&mut self, host: &DomainName, node: &'z Node, required: bool) {
        for set in node.sets().filter(|set| set.rtype().is_address()) {
            let part = Part {
                owner: host.wire().clone(),
                what: What::Set(set),
            };
            self.body.additional.push(Extra { part, required });
        }
    }
}

/// Where a name leads inside one zone.
enum Place<'z> {
    /// The name exists, itself or by a wildcard; nothing may stand there.
    Name(Option<&'z Node>),
    /// The name is at or below a delegation whose name has `depth` labels below the apex.
    Cut {
        node: &'z Node,
        depth: usize,
    },
    Missing,
}

/// Walks from the apex down to the name `key`, relative to the zone; stops at the first label that
/// does not exist, so the cost is bounded by the depth of the zone and not of the question.
fn locate<'z>(zone: &'z Zone, key: &[u8], qtype: WireType) -> Place<'z> {
    let mut encloser = 0;
    let mut here = zone.nodes.get([].as_slice());
    for (index, end) in label_ends(key).enumerate() {
        match zone.lookup(&key[..end]) {
            Lookup::Node(node) => {
                let parents_ds = qtype == WireType::DS && end == key.len();
                if node.get(RecordType::Ns).is_some() && !parents_ds {
                    return Place::Cut {
                        node,
                        depth: index + 1,
                    };
                }
                here = Some(node);
            }
            Lookup::EmptyNonTerminal => here = None,
            Lookup::Nothing => {
                let wildcard = wildcard_below(&key[..encloser]);
                return match zone.nodes.get(wildcard.as_slice()) {
                    Some(node) => Place::Name(Some(node)),
                    None => Place::Missing,
                };
            }
        }
        encloser = end;
    }
    Place::Name(here)
}

fn soa(zone: &Zone, ttl_s: u32) -> What<'_> {
    What::Soa {
        data: zone.soa().data(zone.serial()),
        ttl_s,
    }
}
