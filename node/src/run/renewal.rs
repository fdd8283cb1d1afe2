//! When this node's certificate is to be renewed, and when the agent was told so. It renews nothing itself.

use std::time::Duration;

use tokio::time::Instant;

use crate::state::Keys;

/// How often a due renewal is told again.
const REMINDER: Duration = Duration::from_secs(600);

pub(super) struct Renewal {
    /// Seconds of the Unix epoch.
    at_s: Option<i64>,
    told: Option<Instant>,
}

impl Renewal {
    pub(super) fn of(keys: &Keys) -> Self {
        Self {
            at_s: keys.validity().map(|validity| validity.renew_at_s()),
            told: None,
        }
    }

    /// Whether the agent is to be told now; then not again before a reminder is due.
    pub(super) fn is_to_be_told(&mut self, now_s: i64) -> bool {
        let is_due = self.at_s.is_some_and(|at| now_s >= at);
        let is_told = self.told.is_some_and(|told| told.elapsed() < REMINDER);
        if is_due && !is_told {
            self.told = Some(Instant::now());
        }
        is_due && !is_told
    }
}
