//! All zones this server answers for, as one immutable value. It never holds two zones of one name.

use imbl::OrdMap;

use crate::key::{NameKey, common_ancestor};
use crate::name::ZoneName;
use crate::zone::Zone;

/// The published snapshot that queries are answered from; cloning it is cheap.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Zones(OrdMap<NameKey, Zone>);

impl Zones {
    pub fn new() -> Self {
        Self::default()
    }

    /// These zones with `zone` added, or put in the place of the one with its name.
    pub fn with(&self, zone: Zone) -> Self {
        Self(self.0.update(zone.origin().key(), zone))
    }

    pub fn without(&self, name: &ZoneName) -> Self {
        Self(self.0.without(&name.key()))
    }

    pub fn get(&self, name: &ZoneName) -> Option<&Zone> {
        self.0.get(&name.key())
    }

    /// All zones, names in canonical order.
    pub fn iter(&self) -> impl Iterator<Item = &Zone> {
        self.0.values()
    }

    pub fn len(&self) -> usize {
        self.0.len()
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The zone whose name is the longest suffix of the name `key`, and the length of its own key.
    ///
    /// Each step goes to a shorter ancestor that the nearest zone before `key` still shares, so a
    /// query of a hundred labels costs as many steps as it shares labels with our zones.
    pub(crate) fn find(&self, key: &[u8]) -> Option<(&Zone, usize)> {
        let mut suffix = key;
        loop {
            let (nearest, zone) = self.0.get_prev(suffix)?;
            if suffix.starts_with(nearest.bytes()) {
                return Some((zone, nearest.bytes().len()));
            }
            suffix = common_ancestor(suffix, nearest.bytes());
        }
    }
}

impl FromIterator<Zone> for Zones {
    fn from_iter<I: IntoIterator<Item = Zone>>(zones: I) -> Self {
        zones
            .into_iter()
            .fold(Self::new(), |all, zone| all.with(zone))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{DomainName, Soa};

    fn zone(name: &str) -> Zone {
        let ns: DomainName = "ns1.example.net.".parse().unwrap();
        let soa = Soa::new(ns.clone(), "hostmaster.example.net.".parse().unwrap());
        Zone::new(name.parse().unwrap(), soa, vec![ns]).unwrap()
    }

    fn found(zones: &Zones, name: &str) -> Option<String> {
        let key = name.parse::<ZoneName>().unwrap().key();
        let (zone, _) = zones.find(key.bytes())?;
        Some(zone.origin().to_string())
    }

    #[test]
    fn the_zone_with_the_longest_suffix_is_found() {
        let names = [
            "example.org",
            "b.example.org",
            "a.b.c.example.org",
            "org.br",
            "com",
        ];
        let zones: Zones = names.into_iter().map(zone).collect();
        let cases = [
            ("example.org", Some("example.org")),
            ("x.y.example.org", Some("example.org")),
            ("a.b.example.org", Some("b.example.org")),
            ("b.c.example.org", Some("example.org")),
            ("z.b.c.example.org", Some("example.org")),
            ("z.a.b.c.example.org", Some("a.b.c.example.org")),
            ("notexample.org", None),
            ("org", None),
            ("br", None),
            ("example.com", Some("com")),
        ];
        for (name, zone) in cases {
            assert_eq!(found(&zones, name).as_deref(), zone, "{name}");
        }
    }

    #[test]
    fn a_removed_zone_is_no_longer_found() {
        let zones = Zones::new().with(zone("example.org"));
        assert_eq!(zones.len(), 1);
        assert_eq!(
            found(
                &zones.without(&"example.org".parse().unwrap()),
                "example.org"
            ),
            None
        );
    }
}
