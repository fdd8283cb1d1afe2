//! How much one machine may ask of its controller: enrolled is not trusted, since a stolen box has its key with it. It counts; what
//! follows from too much is for those who ask.

use std::net::IpAddr;
use std::time::Duration;

use malha_core::limits::MAX_NODES;
use malha_proto::{Fingerprint, NodeId};
use tokio::time::sleep_until;

use crate::rate::{Debt, RateLimit};

/// What counts over all sessions, so that a new one is no way round it.
pub struct SessionLimits {
    /// Enrolment attempts, per source address.
    pub(super) enrolments: RateLimit<IpAddr>,
    /// Sessions asked for, per key of a certificate: whoever has a former one of a node takes nothing from the machine that has the present
    /// one. Each is a durable command or two, and may hold up the node's other session.
    pub(super) openings: RateLimit<Fingerprint>,
    /// Renewals. Each is durable, a line of the audit log and a signature, and new keys are news for all peers.
    pub(super) renewals: RateLimit<NodeId>,
    /// Audit lines about machines that are turned away.
    pub(super) turned_away: RateLimit<NodeId>,
}

impl Default for SessionLimits {
    fn default() -> Self {
        Self {
            enrolments: RateLimit::new(ENROLMENT_BURST, ENROLMENT_INTERVAL_MS),
            openings: RateLimit::new(OPENING_BURST, OPENING_INTERVAL_MS).of_many(MAX_NODES),
            renewals: RateLimit::new(RENEWAL_BURST, RENEWAL_INTERVAL_MS).of_many(MAX_NODES),
            turned_away: RateLimit::new(TURNED_AWAY_BURST, TURNED_AWAY_INTERVAL_MS),
        }
    }
}

/// The pace at which one session's messages are taken. Who sends faster loses nothing and waits: its stream is not read.
pub(super) struct Pace(Debt);

impl Pace {
    pub(super) fn new() -> Self {
        Self(Debt::none())
    }

    /// Returns when the next message may be taken.
    pub(super) async fn ready(&self) {
        if let Some(ready_at) = self.0.over(AHEAD) {
            sleep_until(ready_at).await;
        }
    }

    /// A message of this price was taken.
    pub(super) fn took(&mut self, price: Duration) {
        self.0.add(price);
    }
}

/// What most messages cost: 20 a second. A node reports ten times a second at most.
pub(super) const LIGHT: Duration = Duration::from_millis(50);
/// What a message costs that is made durable or answered with a whole netmap. The pause after it must stay far below the time after which
/// a silent session is dead.
pub(super) const HEAVY: Duration = Duration::from_secs(1);
/// What may be owed while messages are taken at once.
const AHEAD: Duration = Duration::from_secs(10);

/// A workshop behind one NAT enrols sixty machines at once, then two per second.
const ENROLMENT_BURST: u64 = 60;
const ENROLMENT_INTERVAL_MS: u64 = 500;
/// An agent waits longer after each session that did not last, and one that lasted did so for ten seconds.
const OPENING_BURST: u64 = 30;
const OPENING_INTERVAL_MS: u64 = 2_000;
/// A certificate is renewed after months; new keys are made by command, or when a copy was resolved.
const RENEWAL_BURST: u64 = 10;
const RENEWAL_INTERVAL_MS: u64 = 30_000;
/// A machine that does not give up fills no log: two lines at once for a node, then one in this time.
pub(super) const TURNED_AWAY_BURST: u64 = 2;
pub(super) const TURNED_AWAY_INTERVAL_MS: u64 = 3_600_000;

#[cfg(test)]
mod tests {
    use tokio::time::Instant;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_burst_is_taken_at_once_and_then_one_at_a_time() {
        let mut pace = Pace::new();
        let start = Instant::now();
        for _ in 0..200 {
            pace.ready().await;
            pace.took(LIGHT);
        }
        assert_eq!(start.elapsed(), Duration::ZERO);
        for _ in 0..20 {
            pace.took(LIGHT);
            pace.ready().await;
        }
        assert_eq!(start.elapsed().as_secs(), 1);
        tokio::time::advance(Duration::from_secs(3_600)).await;
        let later = Instant::now();
        for _ in 0..11 {
            pace.ready().await;
            pace.took(HEAVY);
        }
        assert_eq!(later.elapsed().as_secs(), 0);
        pace.ready().await;
        assert_eq!(
            later.elapsed().as_secs(),
            1,
            "an hour of silence is no credit"
        );
    }
}
