//! Earlier first retransmission than smoltcp's, whose timer never fires before a second. It only moves one connection's clock
//! forward, once per stall; the growing pauses after that stay smoltcp's.

use std::time::{Duration, Instant};

#[derive(Debug)]
pub(crate) struct Hurry {
    /// How far this connection's clock is ahead.
    pub(crate) ahead: Duration,
    opened_at: Instant,
    /// Round trip of the connection's handshake.
    round_trip: Duration,
    /// When the peer last acknowledged something, or the first unacknowledged byte was given to smoltcp.
    progress_at: Instant,
    hurried: bool,
}

impl Hurry {
    pub(crate) fn new(now: Instant) -> Self {
        Self {
            ahead: Duration::ZERO,
            opened_at: now,
            round_trip: Duration::ZERO,
            progress_at: now,
            hurried: false,
        }
    }

    pub(crate) fn opened(&mut self, now: Instant) {
        self.round_trip = now.saturating_duration_since(self.opened_at);
        self.progress(now);
    }

    pub(crate) fn progress(&mut self, now: Instant) {
        self.progress_at = now;
        self.hurried = false;
    }

    /// When the connection should be looked at because of a stall.
    pub(crate) fn due(&self, unacknowledged: bool) -> Option<Instant> {
        let patience = self.patience()?;
        (unacknowledged && !self.hurried).then(|| self.progress_at + patience)
    }

    /// Moves the clock to where smoltcp retransmits, if the connection has stalled.
    pub(crate) fn check(&mut self, unacknowledged: bool, now: Instant) {
        if self.due(unacknowledged).is_some_and(|due| now >= due) {
            self.hurried = true;
            let waited = now.saturating_duration_since(self.progress_at);
            self.ahead += SMOLTCP_MIN_RTO.saturating_sub(waited);
        }
    }

    /// How long silence is normal; `None` on paths so long that smoltcp's own timer is right.
    fn patience(&self) -> Option<Duration> {
        let patience = MIN_PATIENCE.max(self.round_trip * ROUND_TRIPS);
        (patience < SMOLTCP_MIN_RTO).then_some(patience)
    }
}

/// `RTTE_MIN_RTO` of smoltcp 0.14.
const SMOLTCP_MIN_RTO: Duration = Duration::from_secs(1);
/// The least retransmission timeout of Linux.
const MIN_PATIENCE: Duration = Duration::from_millis(200);
/// Queues on the path may make a round trip several times as long as the first was.
const ROUND_TRIPS: u32 = 4;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_clock_is_moved_once_per_stall() {
        let start = Instant::now();
        let mut hurry = Hurry::new(start);
        hurry.opened(start);
        hurry.check(true, start + Duration::from_millis(199));
        assert_eq!(hurry.ahead, Duration::ZERO);
        hurry.check(true, start + Duration::from_millis(200));
        hurry.check(true, start + Duration::from_millis(500));
        assert_eq!(hurry.ahead, Duration::from_millis(800));
        hurry.progress(start + Duration::from_millis(600));
        hurry.check(false, start + Duration::from_secs(9));
        assert_eq!(hurry.ahead, Duration::from_millis(800));
    }

    #[test]
    fn a_long_path_is_left_alone() {
        let start = Instant::now();
        let mut hurry = Hurry::new(start);
        hurry.opened(start + Duration::from_millis(250));
        assert_eq!(hurry.due(true), None);
    }
}
