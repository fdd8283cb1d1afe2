//! How many connections the control channel has at a time. Those whose other end has shown no node's certificate have places of
//! their own: handshakes, enrolments, and whoever only holds one open. Nobody has most of them, so that members always come in.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use malha_proto::Fingerprint;

use super::PeerCertificate;

/// The places of all listeners.
#[derive(Clone, Debug)]
pub(super) struct Places {
    members: Arc<Members>,
    pub(super) strangers: Arc<Strangers>,
}

/// The place of one connection; free again when this is dropped.
#[derive(Debug)]
pub(super) enum Place {
    Member(#[expect(dead_code, reason = "held for its drop")] Member),
    Stranger(#[expect(dead_code, reason = "held for its drop")] Stranger),
}

impl Default for Places {
    fn default() -> Self {
        Self::new(MAX_MEMBERS, MAX_STRANGERS)
    }
}

impl Places {
    pub(super) fn new(members: usize, strangers: usize) -> Self {
        Self {
            members: Arc::new(Members {
                places: members,
                here: Mutex::default(),
            }),
            strangers: Strangers::new(strangers),
        }
    }

    /// Sessions, streams and carriers of one certificate together: enrolled is not trusted.
    pub(super) fn for_member(&self, certificate: PeerCertificate) -> Option<Place> {
        let mut here = held(&self.members.here);
        if here.has(&certificate.key) >= MAX_OF_ONE_MEMBER || here.all >= self.members.places {
            return None;
        }
        here.enter(certificate.key);
        Some(Place::Member(Member {
            members: self.members.clone(),
            key: certificate.key,
        }))
    }

    /// For one whose handshake is done.
    pub(super) fn for_proved(
        &self,
        remote: SocketAddr,
        certificate: Option<PeerCertificate>,
    ) -> Option<Place> {
        if let Some(certificate) = certificate {
            return self.for_member(certificate);
        }
        match self.strangers.proved(remote.ip()) {
            Door::Open(stranger) => Some(Place::Stranger(stranger)),
            Door::ProveAddress | Door::Full => None,
        }
    }
}

/// Who is here, by what they are known by.
#[derive(Debug)]
struct Crowd<K> {
    all: usize,
    known: BTreeMap<K, usize>,
}

impl<K> Default for Crowd<K> {
    fn default() -> Self {
        Self {
            all: 0,
            known: BTreeMap::new(),
        }
    }
}

impl<K: Ord> Crowd<K> {
    fn has(&self, key: &K) -> usize {
        self.known.get(key).copied().unwrap_or(0)
    }

    fn enter(&mut self, key: K) {
        self.all += 1;
        *self.known.entry(key).or_default() += 1;
    }

    fn leave(&mut self, key: &K) {
        self.all -= 1;
        if let Some(count) = self.known.get_mut(key) {
            *count -= 1;
            if *count == 0 {
                self.known.remove(key);
            }
        }
    }
}

/// A lock that is held for a map access only.
fn held<K>(crowd: &Mutex<Crowd<K>>) -> MutexGuard<'_, Crowd<K>> {
    crowd.lock().unwrap_or_else(PoisonError::into_inner)
}

#[derive(Debug)]
struct Members {
    places: usize,
    here: Mutex<Crowd<Fingerprint>>,
}

/// A member's place.
#[derive(Debug)]
pub(super) struct Member {
    members: Arc<Members>,
    key: Fingerprint,
}

impl Drop for Member {
    fn drop(&mut self) {
        held(&self.members.here).leave(&self.key);
    }
}

/// The strangers' places.
#[derive(Debug)]
pub(super) struct Strangers {
    places: usize,
    /// By source, where that is proved. A forged one takes nothing from whom it belongs to.
    here: Mutex<Crowd<IpAddr>>,
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
        let mut here = held(&self.here);
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
        let mut here = held(&self.here);
        if !self.has_room(&here, source) {
            return Door::Full;
        }
        here.enter(source);
        Door::Open(self.stranger(Some(source)))
    }

    /// Each source may have a share of what is left, so that there is always some for another.
    fn has_room(&self, here: &Crowd<IpAddr>, source: IpAddr) -> bool {
        let left = self.places.saturating_sub(here.all);
        here.has(&source) < left.div_ceil(SOURCE_SHARE)
    }

    fn stranger(self: &Arc<Self>, source: Option<IpAddr>) -> Stranger {
        Stranger {
            strangers: self.clone(),
            source,
        }
    }
}

impl Stranger {
    /// Its handshake has shown where it is, and that it is no member. None: its source has its share.
    pub(super) fn stays(mut self, remote: IpAddr) -> Option<Self> {
        if self.source.is_none() {
            let source = source(remote);
            let mut here = held(&self.strangers.here);
            if !self.strangers.has_room(&here, source) {
                return None;
            }
            here.enter(source);
            // It was counted before.
            here.all -= 1;
            drop(here);
            self.source = Some(source);
        }
        Some(self)
    }
}

impl Drop for Stranger {
    fn drop(&mut self) {
        let mut here = held(&self.strangers.here);
        match self.source {
            Some(source) => here.leave(&source),
            None => here.all -= 1,
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

/// Connections of members, at a time.
const MAX_MEMBERS: usize = 60_000;
/// A session that is left and its successor, each by two transports, streams and a carrier.
const MAX_OF_ONE_MEMBER: usize = 16;
/// Connections that have shown no certificate, at a time.
const MAX_STRANGERS: usize = 8_192;
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
        let here = held(&strangers.here);
        assert_eq!((here.all, here.known.len()), (0, 0));
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
    fn one_certificate_has_a_few_places() {
        let places = Places::new(MAX_OF_ONE_MEMBER + 1, 1);
        let of = |key| PeerCertificate {
            node: malha_proto::NodeId(1),
            key: Fingerprint([key; 32]),
        };
        let taken: Vec<_> = std::iter::from_fn(|| places.for_member(of(1))).collect();
        assert_eq!(taken.len(), MAX_OF_ONE_MEMBER);
        let other = places.for_member(of(2));
        assert!(other.is_some());
        assert!(places.for_member(of(3)).is_none(), "all places are taken");
        drop(taken);
        assert!(places.for_member(of(1)).is_some());
    }

    #[test]
    fn who_turns_out_to_be_no_member_counts_for_its_source() {
        let strangers = Strangers::new(40);
        let come = || open(strangers.unproved()).unwrap();
        let remote = [192, 0, 2, 1].into();
        let stays: Vec<_> = (0..5).map_while(|_| come().stays(remote)).collect();
        assert_eq!(stays.len(), 5);
        assert_eq!(held(&strangers.here).has(&remote), 5);
        drop(stays);
        assert_eq!(held(&strangers.here).all, 0);
    }
}
