//! How many handshake initiations one source prefix may cost us before the first Diffie-Hellman. It never judges data
//! packets and never keeps more than its fixed table.

use std::hash::{BuildHasher, RandomState};
use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// A fixed table of rate limits. Prefixes share a slot by a keyed hash, so a flood of forged sources can't grow it and an
/// outsider can't choose whose slot to exhaust. One per tunnel, shared by its shards: a prefix has its rate once.
pub(crate) struct InitiationLimit {
    hasher: RandomState,
    start: Instant,
    /// For each slot the nanoseconds since `start` at which its next initiation would be on schedule (GCRA).
    due: Vec<AtomicU64>,
}

impl InitiationLimit {
    pub(crate) fn new(now: Instant) -> Self {
        Self {
            hasher: RandomState::new(),
            start: now,
            due: std::iter::repeat_with(AtomicU64::default)
                .take(SLOTS)
                .collect(),
        }
    }

    /// Whether an initiation from `source` is within its prefix's rate.
    pub(crate) fn admit(&self, source: IpAddr, now: Instant) -> bool {
        let slot = self.hasher.hash_one(prefix(source)) as usize % SLOTS;
        let now = now.saturating_duration_since(self.start).as_nanos() as u64;
        let next = |due: u64| {
            let due = due.max(now);
            (due - now <= BURST_NS).then_some(due + INTERVAL_NS)
        };
        self.due[slot]
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, next)
            .is_ok()
    }
}

/// Many garages share one CGNAT address, so the IPv4 prefix is no smaller than one address block, and the rate is generous.
fn prefix(source: IpAddr) -> [u8; 6] {
    match source.to_canonical() {
        IpAddr::V4(ip) => {
            let [a, b, c, _] = ip.octets();
            [4, a, b, c, 0, 0]
        }
        IpAddr::V6(ip) => {
            let o = ip.octets();
            [o[0] ^ 0x80, o[1], o[2], o[3], o[4], o[5]]
        }
    }
}

const SLOTS: usize = 8192;
/// 50 initiations a second for a prefix: each costs about a quarter of a millisecond.
const INTERVAL_NS: u64 = Duration::from_millis(20).as_nanos() as u64;
/// 200 initiations at once.
const BURST_NS: u64 = Duration::from_secs(4).as_nanos() as u64;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::path::{CarrierId, ChannelId, Path};

    #[test]
    fn a_flood_from_one_prefix_leaves_other_prefixes_alone() {
        let now = Instant::now();
        let limit = InitiationLimit::new(now);
        let admitted = (0..10_000u32)
            .filter(|n| limit.admit([192, 0, 2, *n as u8].into(), now))
            .count();
        assert_eq!(admitted, 201);
        let others = (0..=255u8)
            .filter(|n| limit.admit([198, 51, *n, 1].into(), now))
            .count();
        assert!(
            others >= 254,
            "at most a few of 256 prefixes may share the flooded slot, {others} passed"
        );
    }

    #[test]
    fn the_rate_returns_with_time() {
        let now = Instant::now();
        let limit = InitiationLimit::new(now);
        let source: IpAddr = "2001:db8::1".parse().unwrap();
        while limit.admit(source, now) {}
        let later = now + Duration::from_secs(1);
        let admitted = (0..1000).filter(|_| limit.admit(source, later)).count();
        assert_eq!(admitted, 50);
    }

    #[test]
    fn shards_that_share_it_admit_no_more_than_one_alone() {
        let now = Instant::now();
        let limit = InitiationLimit::new(now);
        let source: IpAddr = "192.0.2.1".parse().unwrap();
        let flood = || (0..10_000).filter(|_| limit.admit(source, now)).count();
        let admitted = std::thread::scope(|scope| {
            let shards: Vec<_> = (0..4).map(|_| scope.spawn(flood)).collect();
            let admitted = shards.into_iter().map(|shard| shard.join().unwrap());
            admitted.sum::<usize>()
        });
        assert_eq!(admitted, 201);
    }

    #[test]
    fn each_carrier_and_each_channel_is_limited_for_itself() {
        let now = Instant::now();
        let limit = InitiationLimit::new(now);
        let flooded = Path::Relay(ChannelId(1)).source();
        while limit.admit(flooded, now) {}
        let others = (2..258).map(ChannelId).map(Path::Relay);
        let others = others.chain((1..257).map(CarrierId).map(Path::Carrier));
        let passed = others
            .filter(|path| limit.admit(path.source(), now))
            .count();
        assert!(
            passed >= 509,
            "at most a few of 512 may share the flooded slot, {passed} passed"
        );
    }
}
