//! What the controller says of pairs, on its way to the data plane and to the disk. Both get the newest, neither waits for the
//! other, and no controller is asked.

use std::collections::VecDeque;
use std::sync::Arc;

use malha_proto::{PairTable, Pairs};

use super::Action;
use super::saving::Saving;

#[derive(Debug, Default)]
pub(super) struct PairKeeper {
    /// None before anything was said.
    table: Option<Arc<PairTable>>,
    pub(super) saving: Saving<Arc<PairTable>>,
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
        actions.push_back(Action::Share(table.clone()));
        self.saving.want(table);
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

    #[test]
    fn the_same_twice_is_neither_shared_nor_written_again() {
        let (mut keeper, mut actions) = (PairKeeper::default(), VecDeque::new());
        let mut tables = vec![];
        for peer in [1, 2, 2, 3] {
            keeper.take(news(peer), &mut actions);
            let written = keeper.saving.due(0);
            tables.extend(written.map(|table| table.len()));
            keeper.saving.on_saved(Ok(()), 0);
        }
        assert_eq!(tables, [1, 2, 3]);
        assert_eq!(actions.len(), 3);
    }
}
