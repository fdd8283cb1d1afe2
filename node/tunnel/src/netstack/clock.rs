//! smoltcp's time beside ours. It never looks at a socket.

use std::time::{Duration, Instant};

/// smoltcp's time, counted from the start of the stack.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Clock {
    pub(crate) epoch: Instant,
}

impl Clock {
    pub(crate) fn at(self, now: Instant) -> smoltcp::time::Instant {
        let elapsed = now.saturating_duration_since(self.epoch);
        smoltcp::time::Instant::from_micros(i64::try_from(elapsed.as_micros()).unwrap_or(i64::MAX))
    }

    pub(crate) fn instant(self, at: smoltcp::time::Instant) -> Instant {
        self.epoch + Duration::from_micros(u64::try_from(at.total_micros()).unwrap_or(0))
    }

    pub(crate) fn now(self) -> smoltcp::time::Instant {
        self.at(tokio::time::Instant::now().into_std())
    }
}
