//! Response rate limiting: a token bucket per client network in a table of fixed size. It reads no
//! clock; `now` is an argument.

use std::hash::{BuildHasher, RandomState};
use std::net::IpAddr;
use std::time::{Duration, Instant};

use crate::limits::UdpRate;
use crate::source::rate_network;

/// What to do with the next datagram of a network.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    Answer,
    Truncate,
    Drop,
}

/// Buckets of all networks, in slots picked by a keyed hash. Networks that share a slot share its
/// rate, so the table never grows and never forgets an attacker; an honest client beside one still
/// gets through by the truncated answers.
pub(crate) struct RateLimiter {
    slots: Box<[Slot]>,
    hasher: RandomState,
    start: Instant,
    interval: Duration,
    tolerance: Duration,
    slip: u32,
}

#[derive(Clone, Copy, Default)]
struct Slot {
    /// When the bucket is full again, since `start`: a token bucket kept as one time.
    full_at: Duration,
    limited: u32,
}

impl RateLimiter {
    pub(crate) fn new(rate: UdpRate, now: Instant) -> Self {
        let interval = Duration::from_secs(1) / rate.responses_per_s.max(1);
        Self {
            slots: vec![Slot::default(); SLOTS].into(),
            hasher: RandomState::new(),
            start: now,
            interval,
            tolerance: interval * rate.burst.max(1),
            slip: rate.slip,
        }
    }

    pub(crate) fn judge(&mut self, client: IpAddr, now: Instant) -> Verdict {
        let now = now.saturating_duration_since(self.start);
        let hash = self.hasher.hash_one(rate_network(client));
        let slot = &mut self.slots[hash as usize % SLOTS];
        let full_at = slot.full_at.max(now) + self.interval;
        if full_at - now <= self.tolerance {
            slot.full_at = full_at;
            return Verdict::Answer;
        }
        slot.limited = slot.limited.wrapping_add(1);
        if self.slip > 0 && slot.limited.is_multiple_of(self.slip) {
            Verdict::Truncate
        } else {
            Verdict::Drop
        }
    }
}

const SLOTS: usize = 16_384;

#[cfg(test)]
mod tests {
    use super::*;

    const RATE: UdpRate = UdpRate {
        responses_per_s: 10,
        burst: 5,
        slip: 2,
    };

    fn client(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn a_burst_passes_then_every_second_query_is_sent_to_tcp() {
        let now = Instant::now();
        let mut limiter = RateLimiter::new(RATE, now);
        let verdicts: Vec<Verdict> = (0..9)
            .map(|host| limiter.judge(IpAddr::from([192, 0, 2, host]), now))
            .collect();
        assert_eq!(verdicts[..5], [Verdict::Answer; 5]);
        assert_eq!(
            verdicts[5..],
            [
                Verdict::Drop,
                Verdict::Truncate,
                Verdict::Drop,
                Verdict::Truncate
            ]
        );
    }

    #[test]
    fn the_rate_holds_over_time() {
        let start = Instant::now();
        let mut limiter = RateLimiter::new(RATE, start);
        let answered = (0..10_000)
            .map(|ms| start + Duration::from_millis(ms))
            .filter(|now| limiter.judge(client("2001:db8::1"), *now) == Verdict::Answer)
            .count();
        assert_eq!(
            answered,
            5 + 99,
            "the burst and ten a second for ten seconds"
        );
    }

    #[test]
    fn a_flood_from_one_network_leaves_the_others_their_share() {
        let now = Instant::now();
        let mut limiter = RateLimiter::new(RATE, now);
        for _ in 0..1_000 {
            limiter.judge(client("192.0.2.1"), now);
        }
        let networks = (0..100).map(|n| IpAddr::from([198, 51, n, 1]));
        let answered = networks
            .filter(|client| limiter.judge(*client, now) == Verdict::Answer)
            .count();
        assert!(
            answered >= 98,
            "{answered} of 100; a few may share the slot"
        );
    }

    #[test]
    fn zeros_limit_hard_and_never_divide() {
        let zero = UdpRate {
            responses_per_s: 0,
            burst: 0,
            slip: 0,
        };
        let now = Instant::now();
        let mut limiter = RateLimiter::new(zero, now);
        assert_eq!(limiter.judge(client("192.0.2.1"), now), Verdict::Answer);
        assert_eq!(limiter.judge(client("192.0.2.1"), now), Verdict::Drop);
    }
}
