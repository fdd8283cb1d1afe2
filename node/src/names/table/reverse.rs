//! The names under which the nodes' addresses are asked for (RFC 1035 §3.5, RFC 3596 §2.5), in zones no wider than the overlay. An
//! address that the map does not show has no name here.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use malha_proto::Me;
use malha_zone::{DomainName, MAX_SET_DATA, RecordData, RecordSet, RecordType, ZoneError};

use super::{Content, set};

/// Lengths of the overlay's prefixes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Prefixes {
    v4: u8,
    v6: u8,
}

impl Prefixes {
    pub(super) fn of(me: &Me) -> Self {
        Self {
            v4: me.prefix_v4,
            v6: me.prefix_v6,
        }
    }

    /// The zone that an address stands in: the narrowest whose labels hold the overlay's prefix.
    fn zone_of(self, address: IpAddr) -> String {
        let (prefix, least, bits_per_label) = match address {
            IpAddr::V4(_) => (self.v4, LEAST_BITS_V4, 8),
            IpAddr::V6(_) => (self.v6, LEAST_BITS_V6, 4),
        };
        let labels = usize::from(prefix.max(least).div_ceil(bits_per_label));
        name_of(address, labels)
    }
}

impl Content {
    /// The zones in which addresses of the map stand, each with those addresses.
    pub(super) fn reverse_zones(&self) -> BTreeMap<String, BTreeSet<IpAddr>> {
        let mut zones = BTreeMap::<String, BTreeSet<IpAddr>>::new();
        for addresses in self.nodes.values() {
            for address in [IpAddr::V4(addresses.v4), IpAddr::V6(addresses.v6)] {
                let zone = self.prefixes.zone_of(address);
                zones.entry(zone).or_default().insert(address);
            }
        }
        zones
    }

    /// What these zones hold.
    pub(super) fn reverse_sets(&self) -> Result<Vec<(String, Vec<RecordSet>)>, ZoneError> {
        let mut names = BTreeMap::<IpAddr, Vec<RecordData>>::new();
        for (name, addresses) in &self.nodes {
            // One that has no name of its own has none here.
            let Ok(name) = format!("{name}.{}.", self.zone).parse::<DomainName>() else {
                continue;
            };
            for address in [IpAddr::V4(addresses.v4), IpAddr::V6(addresses.v6)] {
                let of_address = names.entry(address).or_default();
                if of_address.len() < MAX_SET_DATA {
                    of_address.push(RecordData::Ptr(name.clone()));
                }
            }
        }
        let zones = self.reverse_zones().into_iter().map(|(zone, addresses)| {
            let named = addresses
                .into_iter()
                .filter_map(|it| Some((it, names.remove(&it)?)));
            let sets = named.map(|(address, names)| {
                let whole = format!("{}.", name_of(address, usize::MAX));
                set(whole.parse()?, RecordType::Ptr, names)
            });
            Ok((zone, sets.collect::<Result<_, ZoneError>>()?))
        });
        zones.collect()
    }
}

/// The name of the first so many labels' worth of an address.
fn name_of(address: IpAddr, labels: usize) -> String {
    let (digits, top): (Vec<String>, _) = match address {
        IpAddr::V4(v4) => {
            let octets = v4.octets().into_iter();
            (octets.map(|it| it.to_string()).collect(), "in-addr.arpa")
        }
        IpAddr::V6(v6) => {
            let nibbles = v6.octets().into_iter().flat_map(|it| [it >> 4, it & 0xf]);
            (nibbles.map(|it| format!("{it:x}")).collect(), "ip6.arpa")
        }
    };
    let reversed = digits.iter().take(labels).rev();
    let mut name: String = reversed.map(|it| format!("{it}.")).collect();
    name.push_str(top);
    name
}

/// Whatever a map says of its prefixes, no wider zones are taken from the machine's resolver.
const LEAST_BITS_V4: u8 = 16;
const LEAST_BITS_V6: u8 = 32;
