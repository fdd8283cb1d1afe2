//! How often something may be: buckets by key in a bounded table, for logins, API calls and enrolments, and one alone for whoever
//! has a place for it. They never sleep; they say when to try again.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// A limit of `burst` at once and one more each `interval_ms`, per key.
pub struct RateLimit<K> {
    burst: u64,
    interval_ms: u64,
    max_keys: usize,
    /// Locked for a map access only; shared by request handlers that have no other meeting point.
    buckets: Mutex<BTreeMap<K, Bucket>>,
}

struct Bucket {
    /// Counts in milliseconds of credit, so that no fraction is lost.
    credit_ms: u64,
    at_ms: u64,
}

impl<K: Ord + Clone> RateLimit<K> {
    #[must_use]
    pub fn new(burst: u64, interval_ms: u64) -> Self {
        Self {
            burst,
            interval_ms,
            max_keys: MAX_KEYS,
            buckets: Mutex::new(BTreeMap::new()),
        }
    }

    /// Where so many may come at once.
    #[must_use]
    pub fn of_many(self, max_keys: usize) -> Self {
        Self { max_keys, ..self }
    }

    /// Takes one from the key's bucket. Err holds the milliseconds until there is one again.
    pub fn take(&self, key: &K, now_ms: u64) -> Result<(), u64> {
        let full_ms = self.burst * self.interval_ms;
        let mut buckets = self.buckets.lock().unwrap_or_else(PoisonError::into_inner);
        if buckets.len() >= self.max_keys && !buckets.contains_key(key) {
            buckets.retain(|_, bucket| {
                now_ms.saturating_sub(bucket.at_ms) + bucket.credit_ms < full_ms
            });
            if buckets.len() >= self.max_keys {
                return Err(self.interval_ms);
            }
        }
        let bucket = buckets.entry(key.clone()).or_insert(Bucket {
            credit_ms: full_ms,
            at_ms: now_ms,
        });
        bucket.credit_ms = full_ms.min(bucket.credit_ms + now_ms.saturating_sub(bucket.at_ms));
        bucket.at_ms = now_ms;
        if bucket.credit_ms < self.interval_ms {
            return Err(self.interval_ms - bucket.credit_ms);
        }
        bucket.credit_ms -= self.interval_ms;
        Ok(())
    }
}

/// What somebody owes in time: each thing done costs some, and it is paid as time goes by.
pub struct Debt {
    paid_at: Instant,
}

impl Debt {
    #[must_use]
    pub fn none() -> Self {
        Self {
            paid_at: Instant::now(),
        }
    }

    /// When no more than `most` will be owed; None if that is so now.
    #[must_use]
    pub fn over(&self, most: Duration) -> Option<Instant> {
        (self.paid_at > Instant::now() + most).then(|| self.paid_at - most)
    }

    pub fn add(&mut self, price: Duration) {
        self.paid_at = self.paid_at.max(Instant::now()) + price;
    }
}

/// Keys that are remembered; beyond it strangers wait until known ones are full again.
const MAX_KEYS: usize = 10_000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_passes_then_one_per_interval() {
        let limit = RateLimit::new(3, 1_000);
        assert!((0..3).all(|_| limit.take(&"a", 0).is_ok()));
        assert_eq!(limit.take(&"a", 0), Err(1_000));
        assert_eq!(limit.take(&"a", 400), Err(600));
        assert_eq!(limit.take(&"a", 1_000), Ok(()));
        assert_eq!(limit.take(&"b", 0), Ok(()));
    }

    #[test]
    fn the_table_stays_bounded_and_forgets_the_idle() {
        let limit = RateLimit::new(1, 1_000);
        assert!((0..MAX_KEYS).all(|key| limit.take(&key, 0).is_ok()));
        assert_eq!(limit.take(&MAX_KEYS, 0), Err(1_000));
        assert_eq!(limit.take(&MAX_KEYS, 1_000), Ok(()));
    }
}
