//! Places for connections whose other end has shown no node's certificate yet: handshakes, enrolments, and whoever only holds one
//! open. They are few, and nobody has most of them, so that members always come in.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// The places of all listeners of the control channel.
#[derive(Debug)]
pub(super) struct Strangers {
    places: usize,
    /// Locked for a map access only.
    here: Mutex<Here>,
}

#[derive(Debug, Default)]
struct Here {
    all: usize,
    /// Those whose address is proved. A forged one takes nothing from whom it belongs to.
    by_source: BTreeMap<IpAddr, usize>,
}

/// The answer to somebody who wants in.
#[derive(Debug)]
pub(super) enum Door {
    Open(Stranger),
    /// There is room for those who show that they are where they say (RFC 9000 §8.1.2).
    ProveAddress,
    Full,
}

/// A place; free again when this is dropped.
#[derive(Debug)]
pub(super) struct Stranger {
    strangers: Arc<Strangers>,
    source: Option<IpAddr>,
}

impl Strangers {
    pub(super) fn new(places: usize) -> Arc<Self> {
        Arc::new(Self {
            places,
            here: Mutex::default(),
        })
    }

    /// A place for a connection whose source address may be forged.
    pub(super) fn unproved(self: &Arc<Self>) -> Door {
        let mut here = self.here();
        match here.all {
            all if all >= self.places => Door::Full,
            all if all >= self.places / CREDULOUS_SHARE => Door::ProveAddress,
            _ => {
                here.all += 1;
                Door::Open(self.stranger(None))
            }
        }
    }

    /// A place for one who is where it says.
    pub(super) fn proved(self: &Arc<Self>, remote: IpAddr) -> Door {
        let source = source(remote);
        let mut here = self.here();
        if !self.has_room(&here, source) {
            return Door::Full;
        }
        here.all += 1;
        *here.by_source.entry(source).or_default() += 1;
        Door::Open(self.stranger(Some(source)))
    }

    /// Each source may have a share of what is left, so that there is always some for another.
    fn has_room(&self, here: &Here, source: IpAddr) -> bool {
        let left = self.places.saturating_sub(here.all);
        let has = here.by_source.get(&source).copied().unwrap_or(0);
        has < left.div_ceil(SOURCE_SHARE)
    }

    fn stranger(self: &Arc<Self>, source: Option<IpAddr>) -> Stranger {
        Stranger {
            strangers: self.clone(),
            source,
        }
    }

    fn here(&self) -> MutexGuard<'_, Here> {
        self.here.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Stranger {
    /// Its handshake has shown where it is, and that it is no member. None: its source has its share.
    pub(super) fn stays(mut self, remote: IpAddr) -> Option<Self> {
        if self.source.is_none() {
            let source = source(remote);
            let mut here = self.strangers.here();
            if !self.strangers.has_room(&here, source) {
                return None;
            }
            *here.by_source.entry(source).or_default() += 1;
            drop(here);
            self.source = Some(source);
        }
        Some(self)
    }
}

impl Drop for Stranger {
    fn drop(&mut self) {
        let mut here = self.strangers.here();
        here.all -= 1;
        let Some(source) = self.source else { return };
        if let Some(count) = here.by_source.get_mut(&source) {
            *count -= 1;
            if *count == 0 {
                here.by_source.remove(&source);
            }
        }
    }
}

/// One host, or what one site has of IPv6: a /64.
fn source(remote: IpAddr) -> IpAddr {
    match remote.to_canonical() {
        IpAddr::V6(address) => IpAddr::V6((address.to_bits() >> 64 << 64).into()),
        v4 => v4,
    }
}

/// Connections that have shown no certificate, at a time.
pub(super) const MAX_STRANGERS: usize = 8_192;
/// An eighth of the places goes to whoever says where it is.
const CREDULOUS_SHARE: usize = 8;
/// A source gets at most a quarter of what the others left: behind one address there may be hundreds of garages.
const SOURCE_SHARE: usize = 4;

#[cfg(test)]
mod tests {
    use super::*;

    fn open(door: Door) -> Option<Stranger> {
        match door {
            Door::Open(stranger) => Some(stranger),
            Door::ProveAddress | Door::Full => None,
        }
    }

    fn all_of(strangers: &Arc<Strangers>, source: &str) -> Vec<Stranger> {
        let source = source.parse().unwrap();
        std::iter::from_fn(|| open(strangers.proved(source))).collect()
    }

    #[test]
    fn forged_sources_leave_most_places_to_those_who_prove_theirs() {
        let strangers = Strangers::new(800);
        let forged: Vec<_> = std::iter::from_fn(|| open(strangers.unproved())).collect();
        assert_eq!(forged.len(), 100);
        assert!(matches!(strangers.unproved(), Door::ProveAddress));
        let member = strangers.proved([192, 0, 2, 1].into());
        assert!(matches!(member, Door::Open(_)));
    }

    #[test]
    fn however_many_sources_take_all_that_they_get_another_one_comes_in() {
        let strangers = Strangers::new(MAX_STRANGERS);
        let first = all_of(&strangers, "192.0.2.1");
        assert!((1_600..2_100).contains(&first.len()), "{}", first.len());
        let mut all = vec![first];
        for number in 2..=20 {
            all.push(all_of(&strangers, &format!("192.0.2.{number}")));
        }
        assert_eq!(all_of(&strangers, "192.0.2.1").len(), 0);
        assert!(!all_of(&strangers, "198.51.100.1").is_empty());
        drop(all);
        let here = strangers.here();
        assert_eq!((here.all, here.by_source.len()), (0, 0));
    }

    #[test]
    fn the_addresses_of_one_ipv6_site_are_one_source() {
        let strangers = Strangers::new(4);
        let taken = open(strangers.proved("2001:db8::1".parse().unwrap()));
        assert!(taken.is_some());
        assert!(open(strangers.proved("2001:db8::2".parse().unwrap())).is_none());
        assert!(open(strangers.proved("2001:db8:0:1::2".parse().unwrap())).is_some());
    }

    #[test]
    fn who_turns_out_to_be_no_member_counts_for_its_source() {
        let strangers = Strangers::new(40);
        let come = || open(strangers.unproved()).unwrap();
        let remote = [192, 0, 2, 1].into();
        let stays: Vec<_> = (0..5).map_while(|_| come().stays(remote)).collect();
        assert_eq!(stays.len(), 5);
        assert_eq!(strangers.here().by_source[&remote], 5);
    }
}
