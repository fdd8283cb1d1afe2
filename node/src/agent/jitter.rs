//! Spread in time: a seeded stream of numbers and the pauses between two attempts. It never asks the system for randomness.

use super::Millis;

/// The longest pause before the first repetition, milliseconds; it doubles with each failure.
pub const BACKOFF_FIRST_MS: Millis = 200;

/// No pause is longer, milliseconds.
pub const BACKOFF_LONGEST_MS: Millis = 30_000;

/// No pause after refusals in a row is longer, milliseconds.
const REFUSED_LONGEST_MS: Millis = 300_000;

/// A stream of evenly spread numbers from one seed (SplitMix64). Not for secrets.
#[derive(Clone, Debug)]
pub(super) struct Jitter(u64);

impl Jitter {
    pub(super) fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// A number from 0 to `most`, both included.
    pub(super) fn up_to(&mut self, most: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^= mixed >> 31;
        match most.checked_add(1) {
            Some(count) => mixed % count,
            None => mixed,
        }
    }
}

/// Exponential back-off with full jitter: a pause is anything between nothing and the doubled limit, so that nodes that
/// failed together do not come back together.
#[derive(Clone, Debug, Default)]
pub(super) struct Backoff {
    failures: u32,
}

impl Backoff {
    pub(super) fn pause_ms(&mut self, jitter: &mut Jitter) -> Millis {
        let limit = BACKOFF_FIRST_MS
            .saturating_mul(1 << self.failures.min(MAX_DOUBLINGS))
            .min(BACKOFF_LONGEST_MS);
        self.failures = self.failures.saturating_add(1);
        jitter.up_to(limit)
    }

    pub(super) fn reset(&mut self) {
        self.failures = 0;
    }
}

/// Pauses after refusals in a row: who said no will say it again, and a proxy may count how often it is shown wrong credentials.
#[derive(Debug, Default)]
pub(super) struct Refusals {
    in_a_row: u32,
}

impl Refusals {
    /// `first_ms` to twice that after the first one, doubled with each further one up to [`REFUSED_LONGEST_MS`].
    pub(super) fn pause_ms(&mut self, first_ms: Millis, jitter: &mut Jitter) -> Millis {
        let factor = 2_u64.checked_shl(self.in_a_row).unwrap_or(u64::MAX);
        let longest_ms = first_ms.saturating_mul(factor).min(REFUSED_LONGEST_MS);
        self.in_a_row = self.in_a_row.saturating_add(1);
        longest_ms / 2 + jitter.up_to(longest_ms / 2)
    }

    /// Starts anew, and says whether there were any.
    pub(super) fn forget(&mut self) -> bool {
        std::mem::take(&mut self.in_a_row) > 0
    }
}

/// Enough to pass the longest pause; keeps the shift in range.
const MAX_DOUBLINGS: u32 = 16;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_to_the_limit_and_start_again_after_success() {
        let mut jitter = Jitter::new(7);
        let mut longest = |failures: u32| {
            let mut longest = 0;
            for _ in 0..2_000 {
                let mut backoff = Backoff { failures };
                longest = longest.max(backoff.pause_ms(&mut jitter));
            }
            longest
        };
        assert!((150..=BACKOFF_FIRST_MS).contains(&longest(0)));
        assert!((1_200..=1_600).contains(&longest(3)));
        assert!((29_000..=BACKOFF_LONGEST_MS).contains(&longest(u32::MAX)));
    }

    #[test]
    fn nodes_with_different_seeds_do_not_come_back_together() {
        let pauses: std::collections::BTreeSet<_> = (0..100)
            .map(|seed| Jitter::new(seed).up_to(BACKOFF_LONGEST_MS))
            .collect();
        assert!(pauses.len() > 95, "{} different pauses", pauses.len());
    }
}
