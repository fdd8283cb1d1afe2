//! How long a connection whose owner is gone may take to deliver the rest: as long as it gets on. It ends none.

use std::time::{Duration, Instant};

pub(crate) struct Linger {
    unacknowledged_bytes: usize,
    /// When the peer last acknowledged something, or the owner left.
    since: Instant,
    latest: Instant,
}

impl Linger {
    pub(crate) fn new(unacknowledged_bytes: usize, now: Instant) -> Self {
        Self {
            unacknowledged_bytes,
            since: now,
            latest: now + LONGEST,
        }
    }

    pub(crate) fn observe(&mut self, unacknowledged_bytes: usize, now: Instant) {
        if unacknowledged_bytes < self.unacknowledged_bytes {
            self.unacknowledged_bytes = unacknowledged_bytes;
            self.since = now;
        }
    }

    pub(crate) fn until(&self) -> Instant {
        self.latest.min(self.since + PATIENCE)
    }
}

/// With a peer that acknowledges nothing.
const PATIENCE: Duration = Duration::from_secs(60);
/// With one that takes a little now and then.
const LONGEST: Duration = Duration::from_secs(15 * 60);
