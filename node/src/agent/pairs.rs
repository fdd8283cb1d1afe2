//! What the controller says of pairs, on its way to the data plane and to the disk. Both get the newest, neither waits for the
//! other, and no controller is asked.

use std::collections::VecDeque;
use std::sync::Arc;

use malha_proto::{PairTable, Pairs};

use super::{Action, Millis};

/// A table that the disk refused is written again after this time, milliseconds.
pub const PAIRS_RETRY_MS: Millis = 5_000;

#[derive(Debug, Default)]
pub(super) struct PairKeeper {
    /// None before anything was said.
    table: Option<Arc<PairTable>>,
    saving: bool,
    /// The disk has an older one.
    unsaved: bool,
    retry_at: Option<Millis>,
    pub(super) save_error: Option<String>,
}

impl PairKeeper {
    /// What an earlier run left.
    pub(super) fn restore(&mut self, table: PairTable, actions: &mut VecDeque<Action>) {
        let table = Arc::new(table);
        self.table = Some(table.clone());
        actions.push_back(Action::Share(table));
    }

    pub(super) fn take(&mut self, news: Pairs, actions: &mut VecDeque<Action>) {
        let mut table = match &self.table {
            Some(table) => PairTable::clone(table),
            None => PairTable::new(news.me),
        };
        table.take(news);
        if self.table.as_deref() == Some(&table) {
            return;
        }
        let table = Arc::new(table);
        self.table = Some(table.clone());
        actions.push_back(Action::Share(table));
        self.unsaved = true;
        self.save(actions);
    }

    pub(super) fn on_saved(
        &mut self,
        result: Result<(), String>,
        now: Millis,
        actions: &mut VecDeque<Action>,
    ) {
        self.saving = false;
        self.save_error = result.err();
        if self.save_error.is_some() {
            self.unsaved = true;
            self.retry_at = Some(now + PAIRS_RETRY_MS);
        }
        self.save(actions);
    }

    pub(super) fn on_timer(&mut self, now: Millis, actions: &mut VecDeque<Action>) {
        if self.retry_at.take_if(|at| now >= *at).is_some() {
            self.save(actions);
        }
    }

    pub(super) fn timeout(&self) -> Option<Millis> {
        self.retry_at
    }

    fn save(&mut self, actions: &mut VecDeque<Action>) {
        let waits = self.saving || self.retry_at.is_some();
        let Some(table) = self.table.clone().filter(|_| self.unsaved && !waits) else {
            return;
        };
        self.unsaved = false;
        self.saving = true;
        actions.push_back(Action::SavePairs(table));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use malha_proto::{NodeId, Pair, WgKey};

    fn news(peer: u64) -> Pairs {
        let pair = Pair {
            peer: NodeId(peer),
            key: WgKey([2; 32]),
            candidates: vec![],
            relay: None,
            psk: None,
        };
        Pairs {
            all: false,
            me: WgKey([1; 32]),
            pairs: vec![pair],
        }
    }

    fn saves(actions: &mut VecDeque<Action>) -> Vec<usize> {
        let saves = actions.drain(..).filter_map(|action| match action {
            Action::SavePairs(table) => Some(table.len()),
            _ => None,
        });
        saves.collect()
    }

    #[test]
    fn what_comes_during_a_write_is_written_after_it_and_the_same_twice_never() {
        let (mut keeper, mut actions) = (PairKeeper::default(), VecDeque::new());
        for peer in [1, 2, 2, 3] {
            keeper.take(news(peer), &mut actions);
        }
        assert_eq!(saves(&mut actions), [1]);
        keeper.on_saved(Ok(()), 0, &mut actions);
        assert_eq!(saves(&mut actions), [3]);
        keeper.on_saved(Ok(()), 0, &mut actions);
        keeper.take(news(3), &mut actions);
        assert!(saves(&mut actions).is_empty());
    }

    #[test]
    fn a_refused_write_is_repeated_in_time_and_not_before() {
        let (mut keeper, mut actions) = (PairKeeper::default(), VecDeque::new());
        keeper.take(news(1), &mut actions);
        keeper.on_saved(Err("no space".into()), 1_000, &mut actions);
        keeper.take(news(2), &mut actions);
        assert_eq!(saves(&mut actions), [1]);
        keeper.on_timer(1_000 + PAIRS_RETRY_MS, &mut actions);
        assert_eq!(saves(&mut actions), [2]);
        assert_eq!(keeper.timeout(), None);
    }
}
