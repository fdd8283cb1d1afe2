//! Tunnel or QUIC, from the packets that a path was measured to lose. Pure: numbers and time in, a way out.

use std::time::{Duration, Instant};

/// How new connections to a node travel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    Tunnel,
    Quic,
}

/// The choice for one node, with hysteresis.
///
/// Evidence is packets sent and packets lost from the node to the hub, by either way; each counts half after
/// [`HALF_LIFE`]. QUIC is taken once at least [`ENTER_LOST`] packets are missing and they are [`ENTER_SHARE`] of those sent:
/// there the node's TCP carries less than a hundredth of the path. It is left when the share is at most [`LEAVE_SHARE`], or
/// when so little evidence is left that nobody knows, and not before [`STAY`] is over.
#[derive(Clone, Debug)]
pub struct Choice {
    way: Way,
    since: Instant,
    sent: f64,
    lost: f64,
    weighed: Instant,
}

impl Choice {
    #[must_use]
    pub fn new(now: Instant) -> Self {
        Self {
            way: Way::Tunnel,
            since: now,
            sent: 0.0,
            lost: 0.0,
            weighed: now,
        }
    }

    #[must_use]
    pub fn way(&self) -> Way {
        self.way
    }

    /// Takes new evidence. `lost` is below zero when packets that were missing have come after all.
    pub fn note(&mut self, sent: u64, lost: i64, now: Instant) {
        let passed = now.saturating_duration_since(self.weighed);
        let weight = (-passed.as_secs_f64() / HALF_LIFE.as_secs_f64()).exp2();
        self.weighed = now;
        // Both are far below 2^52.
        self.sent = self.sent * weight + sent as f64;
        self.lost = (self.lost * weight + lost as f64).max(0.0);
        let next = match self.way {
            Way::Tunnel if self.lost >= ENTER_LOST && self.share() >= ENTER_SHARE => Way::Quic,
            Way::Quic if self.is_over(now) => Way::Tunnel,
            same => same,
        };
        if next != self.way {
            self.way = next;
            self.since = now;
        }
    }

    fn is_over(&self, now: Instant) -> bool {
        let stayed = now.saturating_duration_since(self.since) >= STAY;
        stayed && (self.share() <= LEAVE_SHARE || self.lost < FORGOTTEN_LOST)
    }

    fn share(&self) -> f64 {
        self.lost / self.sent.max(1.0)
    }
}

pub(crate) const HALF_LIFE: Duration = Duration::from_secs(60);
/// Fewer may be a coincidence.
pub(crate) const ENTER_LOST: f64 = 3.0;
/// At 0.1 % and 20 ms smoltcp sends 4 Mbit/s, BBR 536.
pub(crate) const ENTER_SHARE: f64 = 0.001;
/// At 0.01 % and 20 ms smoltcp sends 84 Mbit/s: more than most uplinks have.
pub(crate) const LEAVE_SHARE: f64 = 0.0002;
pub(crate) const STAY: Duration = Duration::from_secs(60);
const FORGOTTEN_LOST: f64 = 0.25;

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Seconds of evidence: packets sent and lost in each.
    fn after(choice: &mut Choice, start: Instant, from_s: u64, seconds: u64, sent: u64, lost: i64) {
        for second in from_s..from_s + seconds {
            choice.note(sent, lost, start + Duration::from_secs(second));
        }
    }

    #[test]
    fn a_clean_path_stays_in_the_tunnel() {
        let start = Instant::now();
        let mut choice = Choice::new(start);
        after(&mut choice, start, 0, 600, 10_000, 0);
        assert_eq!(choice.way(), Way::Tunnel);
    }

    #[test]
    fn one_percent_is_seen_within_a_second_of_traffic() {
        let start = Instant::now();
        let mut choice = Choice::new(start);
        choice.note(300, 3, start + Duration::from_secs(1));
        assert_eq!(choice.way(), Way::Quic);
    }

    #[test]
    fn a_few_late_packets_are_no_loss() {
        let start = Instant::now();
        let mut choice = Choice::new(start);
        choice.note(1_000, 2, start + Duration::from_secs(1));
        choice.note(1_000, -2, start + Duration::from_secs(2));
        choice.note(1_000, 2, start + Duration::from_secs(3));
        assert_eq!(choice.way(), Way::Tunnel);
    }

    #[test]
    fn rare_losses_of_a_fast_path_are_no_reason() {
        let start = Instant::now();
        let mut choice = Choice::new(start);
        after(&mut choice, start, 0, 300, 100_000, 10);
        assert_eq!(choice.way(), Way::Tunnel);
    }

    #[test]
    fn the_tunnel_is_taken_again_when_the_path_is_clean_but_not_at_once() {
        let start = Instant::now();
        let mut choice = Choice::new(start);
        after(&mut choice, start, 0, 10, 1_000, 10);
        assert_eq!(choice.way(), Way::Quic);
        after(&mut choice, start, 10, 50, 100_000, 0);
        assert_eq!(choice.way(), Way::Quic, "it stays for a minute");
        after(&mut choice, start, 60, 5, 100_000, 0);
        assert_eq!(choice.way(), Way::Tunnel);
    }

    #[test]
    fn an_idle_node_forgets_its_losses() {
        let start = Instant::now();
        let mut choice = Choice::new(start);
        choice.note(300, 4, start);
        assert_eq!(choice.way(), Way::Quic);
        after(&mut choice, start, 1, 400, 0, 0);
        assert_eq!(choice.way(), Way::Tunnel);
    }

    proptest! {
        /// Whatever comes, two turns back to the tunnel are at least [`STAY`] apart.
        #[test]
        fn it_never_flutters(seconds in prop::collection::vec((0_u64..5_000, -5_i64..60), 1..400)) {
            let start = Instant::now();
            let mut choice = Choice::new(start);
            let mut entered = None;
            for (second, (sent, lost)) in (0..).zip(seconds) {
                let now = start + Duration::from_secs(second);
                let before = choice.way();
                choice.note(sent, lost, now);
                match (before, choice.way()) {
                    (Way::Tunnel, Way::Quic) => entered = Some(now),
                    (Way::Quic, Way::Tunnel) => {
                        let entered = entered.expect("it was entered");
                        prop_assert!(now - entered >= STAY);
                    }
                    _ => {}
                }
            }
        }
    }
}
