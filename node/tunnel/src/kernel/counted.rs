//! What the table's counters have counted since the engine started: they begin at 0 whenever the table is put back, and go with
//! their rules and peers. It never decides what is counted.

use std::collections::BTreeMap;
use std::io;
use std::time::{Duration, Instant};

use crate::nftables;
use crate::status::FilterCounters;

#[derive(Default)]
pub(super) struct Counted {
    /// What the kernel said at the last look, by the counters' names.
    seen: BTreeMap<String, u64>,
    /// All that counters of these names have counted.
    sums: BTreeMap<String, u64>,
    /// What those had counted that are gone.
    gone: FilterCounters,
    looked: Option<Instant>,
    /// Why they could not be read at the last look.
    unread: Option<io::ErrorKind>,
}

impl Counted {
    /// Reads the counters of a table, unless they were read lately. While they can't be read, what was known of them stands.
    pub(super) fn look(&mut self, table: &str, now: Instant) {
        let lately = |at| now.saturating_duration_since(at) < LOOK_INTERVAL;
        if self.looked.is_some_and(lately) {
            return;
        }
        self.looked = Some(now);
        match self.read(table) {
            Ok(()) => self.unread = None,
            Err(error) if self.unread.replace(error.kind()) == Some(error.kind()) => {}
            Err(error) => tracing::warn!(%error, "the filter's counters can't be read"),
        }
    }

    /// To be called before counters are taken away.
    pub(super) fn read(&mut self, table: &str) -> io::Result<()> {
        let counters = nftables::counters(table)?;
        for (name, count) in &counters {
            let before = self.seen.get(name).copied().unwrap_or(0);
            // One that says less than before has begun anew.
            let more = count.checked_sub(before).unwrap_or(*count);
            *self.sums.entry(name.clone()).or_default() += more;
        }
        self.seen = counters.into_iter().collect();
        Ok(())
    }

    /// The table is a new one.
    pub(super) fn begin_anew(&mut self) {
        self.seen.clear();
    }

    /// There is no counter of this name any more; the next one is another.
    pub(super) fn forget(&mut self, name: &str) {
        self.seen.remove(name);
        if let Some(sum) = self.sums.remove(name) {
            add(&mut self.gone, name, sum);
        }
    }

    pub(super) fn of(&self, name: &str) -> u64 {
        self.sums.get(name).copied().unwrap_or(0)
    }

    pub(super) fn totals(&self) -> FilterCounters {
        let mut totals = self.gone;
        for (name, sum) in &self.sums {
            add(&mut totals, name, *sum);
        }
        totals
    }
}

fn add(totals: &mut FilterCounters, name: &str, count: u64) {
    let counter = match name {
        "malformed" => &mut totals.refused.malformed,
        "fragment" => &mut totals.refused.fragment,
        "extension" => &mut totals.refused.extension,
        "not_ours" => &mut totals.refused.not_ours,
        "answer" => &mut totals.admitted_as_answer,
        rule if rule.starts_with('r') => &mut totals.admitted_by_rule,
        _ => &mut totals.refused.no_rule,
    };
    *counter += count;
}

/// `nft` is a process each time.
const LOOK_INTERVAL: Duration = Duration::from_secs(10);
