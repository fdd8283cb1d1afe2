//! When each peer's machine wants its next look at the time. Times are rounded up to a grid, so that ten thousand idle peers
//! cost a few wake-ups a second and not one each. It never calls a peer.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use crate::peer::PeerIndex;

pub(super) struct Ticks {
    epoch: Instant,
    due: BTreeMap<Instant, Vec<PeerIndex>>,
}

impl Ticks {
    pub(super) fn new(now: Instant) -> Self {
        Self {
            epoch: now,
            due: BTreeMap::new(),
        }
    }

    /// Plans a look at `peer` not before `at`, and returns when it will be. Earlier plans for it remain; who pops them sees that
    /// they are not the peer's latest.
    pub(super) fn plan(&mut self, peer: PeerIndex, at: Instant) -> Instant {
        let since = at.saturating_duration_since(self.epoch).as_nanos();
        let grid = GRID.as_nanos();
        let steps = u32::try_from(since.div_ceil(grid)).unwrap_or(u32::MAX);
        let at = self.epoch + GRID * steps;
        self.due.entry(at).or_default().push(peer);
        at
    }

    /// The earliest plan whose time has come.
    pub(super) fn pop(&mut self, now: Instant) -> Option<(Instant, Vec<PeerIndex>)> {
        let due = self.due.first_entry().filter(|entry| *entry.key() <= now)?;
        Some(due.remove_entry())
    }

    pub(super) fn next(&self) -> Option<Instant> {
        self.due.first_key_value().map(|(at, _)| *at)
    }
}

/// As often as boringtun wants to be asked while something is going on.
pub(super) const GRID: Duration = Duration::from_millis(250);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plans_between_two_steps_come_due_together_and_never_early() {
        let epoch = Instant::now();
        let mut ticks = Ticks::new(epoch);
        for ms in [251, 300, 499, 500] {
            let planned = ticks.plan(PeerIndex(ms as u32), epoch + Duration::from_millis(ms));
            assert_eq!(planned, epoch + Duration::from_millis(500));
        }
        assert!(ticks.pop(epoch + Duration::from_millis(499)).is_none());
        let (_, peers) = ticks.pop(epoch + Duration::from_millis(500)).unwrap();
        assert_eq!(peers.len(), 4);
        assert_eq!(ticks.next(), None);
    }
}
