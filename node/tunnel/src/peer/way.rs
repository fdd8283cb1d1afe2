//! What is known of one path to one peer: when it was heard, asked and proven. It decides nothing about other paths.

use std::time::{Duration, Instant};

use crate::path::Path;

pub(super) struct Way {
    pub(super) path: Path,
    /// When a genuine datagram last came by it.
    pub(super) heard: Option<Instant>,
    /// When the last question was asked that was answered on this very path.
    proof: Option<Instant>,
    trusted_until: Option<Instant>,
    asked: Option<Instant>,
    /// The first question since the last answer.
    unanswered: Option<Instant>,
}

impl Way {
    pub(super) fn new(path: Path) -> Self {
        Self {
            path,
            heard: None,
            proof: None,
            trusted_until: None,
            asked: None,
            unanswered: None,
        }
    }

    /// The question of this time was answered.
    pub(super) fn prove(&mut self, asked: Instant) {
        self.proof = self.proof.max(Some(asked));
        self.unanswered = None;
    }

    /// A handshake came to its end by it. Who is there now is asked at once.
    pub(super) fn begin(&mut self, now: Instant) {
        self.prove(now);
        self.asked = None;
    }

    /// Counts as proven until it has had the time to fail.
    pub(super) fn trust(&mut self, now: Instant) {
        self.trusted_until = Some(now + FRESH_ACTIVE);
        self.unanswered = None;
    }

    /// Nothing counts any more that was proven before.
    pub(super) fn give_up(&mut self) {
        self.proof = None;
        self.trusted_until = None;
    }

    pub(super) fn note_asked(&mut self, now: Instant) {
        self.asked = Some(now);
        self.unanswered.get_or_insert(now);
    }

    pub(super) fn may_ask(&self, interval: Duration, now: Instant) -> bool {
        self.asked.is_none_or(|asked| now - asked >= interval)
    }

    /// Works in both directions, as far as can be known.
    pub(super) fn is_fresh(&self, now: Instant, active: bool) -> bool {
        let limit = if active { FRESH_ACTIVE } else { FRESH_IDLE };
        let since = |at: Instant| now.saturating_duration_since(at);
        let proven = self.proof.is_some_and(|proof| since(proof) < limit);
        (proven && !self.is_silent(now)) || self.trusted_until.is_some_and(|until| now < until)
    }

    /// An answer is late.
    pub(super) fn is_in_doubt(&self, now: Instant) -> bool {
        self.unanswered_for(now) >= DOUBT_AFTER
    }

    /// So many answers are late that other addresses of the peer deserve a question.
    pub(super) fn misses_answers(&self, now: Instant) -> bool {
        self.unanswered_for(now) >= MISSED_AFTER
    }

    /// No answer will come any more.
    pub(super) fn is_silent(&self, now: Instant) -> bool {
        self.unanswered_for(now) >= SILENT_AFTER
    }

    fn unanswered_for(&self, now: Instant) -> Duration {
        let since = |at: Instant| now.saturating_duration_since(at);
        self.unanswered.map_or(Duration::ZERO, since)
    }
}

/// The smaller, the better.
pub(super) fn rank(path: Path) -> u8 {
    match path {
        Path::Udp { .. } => BEST_RANK,
        Path::Relay(_) => 1,
        Path::Carrier(_) => 2,
    }
}

/// Whether both may be the same path; an unnamed socket may be any.
pub(super) fn same(one: Path, other: Path) -> bool {
    let (
        Path::Udp { local, remote },
        Path::Udp {
            local: l,
            remote: r,
        },
    ) = (one, other)
    else {
        return one == other;
    };
    remote == r && (local == l || local.is_none() || l.is_none())
}

pub(super) const BEST_RANK: u8 = 0;
/// A path in use is given up after this, which is less than the 5 s that a connection may stand still.
const FRESH_ACTIVE: Duration = Duration::from_secs(4);
/// Questions are rarer while nothing is sent.
const FRESH_IDLE: Duration = Duration::from_millis(12_500);
const DOUBT_AFTER: Duration = Duration::from_millis(500);
/// By now four questions were repeated; loss alone takes that many rarely.
const MISSED_AFTER: Duration = Duration::from_millis(1_500);
/// This long after the first question without an answer, with several repeated, nothing is to be hoped for.
pub(super) const SILENT_AFTER: Duration = Duration::from_secs(3);
