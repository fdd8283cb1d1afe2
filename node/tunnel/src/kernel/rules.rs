//! The filter's table in the kernel: what it says, whether that is in force, and what it has counted. It is gone when this is
//! dropped. It never touches the interface.

use std::io;
use std::time::{Duration, Instant};

use super::counted::Counted;
use super::ruleset::{Change, Ruleset};
use crate::nftables;

pub(super) struct Rules {
    pub(super) set: Ruleset,
    /// The kernel has what `set` says. While not, the interface is down.
    pub(super) in_force: bool,
    pub(super) counted: Counted,
    swept: Option<Instant>,
}

impl Rules {
    pub(super) fn new(set: Ruleset) -> Self {
        Self {
            set,
            in_force: false,
            counted: Counted::default(),
            swept: None,
        }
    }

    pub(super) fn look(&mut self, now: Instant) {
        self.counted.look(self.set.table(), now);
    }

    /// Makes a change that `set` has made already. The counters of rules that go stay, since reading them takes longer than
    /// the change.
    pub(super) fn change(&mut self, change: &Change) -> io::Result<()> {
        let script = self.set.script(change);
        match script.is_empty() {
            true => Ok(()),
            false => nftables::apply(&script),
        }
    }

    /// Whether there are idle counters, and no others were swept lately.
    pub(super) fn sweep_is_due(&self, now: Instant) -> bool {
        let lately = |at| now.saturating_duration_since(at) < SWEEP_INTERVAL;
        self.in_force && !self.set.idle().is_empty() && !self.swept.is_some_and(lately)
    }

    /// Whether more idle counters wait than may: what one script adds to these is the most.
    pub(super) fn has_many_idle(&self) -> bool {
        self.in_force && self.set.idle().len() > MAX_IDLE
    }

    /// Reads the idle counters and takes them away.
    pub(super) fn sweep(&mut self, now: Instant) -> io::Result<()> {
        self.swept = Some(now);
        self.read();
        nftables::apply(&self.set.sweep())?;
        self.forget_idle();
        Ok(())
    }

    /// The whole table in place of whatever is there.
    pub(super) fn put_back(&mut self) -> io::Result<()> {
        self.read();
        nftables::apply(&self.set.whole())?;
        self.counted.begin_anew();
        self.forget_idle();
        Ok(())
    }

    /// Before counters go. What somebody has taken away counts as it was at the last look.
    fn read(&mut self) {
        let _ = self.counted.read(self.set.table());
    }

    fn forget_idle(&mut self) {
        for name in self.set.take_idle() {
            self.counted.forget(&name);
        }
    }
}

impl Drop for Rules {
    fn drop(&mut self) {
        if let Err(error) = nftables::remove_table(self.set.table()) {
            tracing::warn!(%error, "the nftables table could not be removed");
        }
    }
}

/// The kernel tells of one counter only together with all others.
const SWEEP_INTERVAL: Duration = Duration::from_secs(10);
pub(super) const MAX_IDLE: usize = 65_536;
