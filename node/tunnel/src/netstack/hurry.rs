//! Retransmissions when they are due, and not when smoltcp's timer is: that one never fires before a second, and doubles its pause at
//! each loss until data is acknowledged that was sent only once, so that a few losses near the end of what there is to send
//! stop a connection for a minute. It only moves one connection's clock forward.

use std::time::{Duration, Instant};

use super::connection::{ACK_DELAY, KEEPALIVE_INTERVAL};

#[derive(Debug)]
pub(crate) struct Hurry {
    /// How far this connection's clock is ahead.
    pub(crate) ahead: Duration,
    opened_at: Instant,
    /// Round trip of the connection's handshake.
    round_trip: Duration,
    /// When the peer last acknowledged something, the first unacknowledged byte was given to smoltcp, or the clock was moved.
    since: Instant,
    /// How often the clock was moved since the peer last acknowledged something.
    moves: u32,
}

/// What the peer owes us.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Owed {
    Nothing,
    Acknowledgement,
    /// Room for more: it may take its time.
    Window,
}

impl Hurry {
    pub(crate) fn new(now: Instant) -> Self {
        Self {
            ahead: Duration::ZERO,
            opened_at: now,
            round_trip: Duration::ZERO,
            since: now,
            moves: 0,
        }
    }

    pub(crate) fn opened(&mut self, now: Instant) {
        self.round_trip = now.saturating_duration_since(self.opened_at);
        self.progress(now);
    }

    pub(crate) fn progress(&mut self, now: Instant) {
        self.since = now;
        self.moves = 0;
    }

    /// When the connection should be looked at because of a stall.
    pub(crate) fn due(&self, owed: Owed) -> Option<Instant> {
        let pause = match (owed, self.patience()) {
            (Owed::Nothing, _) | (Owed::Acknowledgement, None) => return None,
            (Owed::Acknowledgement, Some(patience)) => {
                MAX_PAUSE.min(patience * (1 << self.moves.min(MAX_DOUBLINGS)))
            }
            (Owed::Window, Some(patience)) if self.moves == 0 => patience,
            (Owed::Window, _) => KEEPALIVE_INTERVAL,
        };
        Some(self.since + pause)
    }

    /// Moves the clock to the next thing that smoltcp would do, which is `pause` away.
    pub(crate) fn skip(&mut self, pause: Duration, now: Instant) {
        self.ahead += pause;
        // It was but the delay of an acknowledgement; the retransmission comes after it.
        if pause > ACK_DELAY {
            self.tried(now);
        }
    }

    /// The peer is being asked again.
    pub(crate) fn tried(&mut self, now: Instant) {
        self.since = now;
        self.moves += 1;
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
/// The pause between two tries doubles up to this.
const MAX_PAUSE: Duration = Duration::from_secs(10);
const MAX_DOUBLINGS: u32 = 6;

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn pauses_grow_until_the_peer_acknowledges_something() {
        let start = Instant::now();
        let mut hurry = Hurry::new(start);
        hurry.opened(start);
        let mut now = start;
        let mut pauses_ms = Vec::new();
        for _ in 0..8 {
            let due = hurry.due(Owed::Acknowledgement).unwrap();
            pauses_ms.push((due - now).as_millis());
            now = due;
            hurry.skip(SECOND, now);
        }
        assert_eq!(pauses_ms, [200, 400, 800, 1600, 3200, 6400, 10_000, 10_000]);
        assert_eq!(hurry.ahead, SECOND * 8);
        hurry.progress(now);
        assert_eq!(hurry.due(Owed::Acknowledgement), Some(now + MIN_PATIENCE));
    }

    #[test]
    fn a_slow_reader_is_asked_early_once_and_then_as_often_as_an_idle_peer() {
        let start = Instant::now();
        let mut hurry = Hurry::new(start);
        assert_eq!(hurry.due(Owed::Window), Some(start + MIN_PATIENCE));
        let asked_at = start + MIN_PATIENCE;
        hurry.skip(SECOND, asked_at);
        let again_at = asked_at + KEEPALIVE_INTERVAL;
        assert_eq!(hurry.due(Owed::Window), Some(again_at));
        hurry.skip(SECOND, again_at);
        let again_at = again_at + KEEPALIVE_INTERVAL;
        assert_eq!(hurry.due(Owed::Window), Some(again_at));
    }

    #[test]
    fn an_acknowledgement_of_ours_that_waits_is_no_try() {
        let start = Instant::now();
        let mut hurry = Hurry::new(start);
        hurry.skip(ACK_DELAY, start + MIN_PATIENCE);
        assert_eq!(hurry.due(Owed::Acknowledgement), Some(start + MIN_PATIENCE));
    }

    #[test]
    fn a_long_path_is_left_alone() {
        let start = Instant::now();
        let mut hurry = Hurry::new(start);
        hurry.opened(start + Duration::from_millis(250));
        assert_eq!(hurry.due(Owed::Acknowledgement), None);
    }
}
