//! How much the change log holds, and what must leave it. It counts; the records themselves are in the engine.

use std::collections::VecDeque;
use std::ops::Range;

use crate::limits::{MAX_LOG_BYTES, MAX_LOG_TRANSACTIONS};
use crate::record::StoreRevision;

/// The sizes of the logged transactions, oldest first.
#[derive(Debug, Clone)]
pub(crate) struct ChangeLog {
    oldest: StoreRevision,
    sizes: VecDeque<usize>,
    bytes: usize,
}

impl ChangeLog {
    /// An empty log whose first transaction will be `oldest`.
    pub(crate) fn starting_at(oldest: StoreRevision) -> Self {
        Self {
            oldest,
            sizes: VecDeque::new(),
            bytes: 0,
        }
    }

    pub(crate) fn oldest(&self) -> StoreRevision {
        self.oldest
    }

    /// The revision that the next transaction must have.
    pub(crate) fn next(&self) -> StoreRevision {
        StoreRevision(self.oldest.0 + self.sizes.len() as u64)
    }

    pub(crate) fn append(&mut self, bytes: usize) {
        self.sizes.push_back(bytes);
        self.bytes += bytes;
    }

    /// Drops the oldest transactions until the limits hold, and gives their revisions.
    pub(crate) fn trim_to_limits(&mut self) -> Range<u64> {
        let first = self.oldest.0;
        while self.sizes.len() > MAX_LOG_TRANSACTIONS || self.bytes > MAX_LOG_BYTES {
            self.drop_oldest();
        }
        first..self.oldest.0
    }

    /// Drops all transactions up to and with `last`, and gives their revisions.
    pub(crate) fn trim_through(&mut self, last: StoreRevision) -> Range<u64> {
        let first = self.oldest.0;
        while self.oldest <= last && !self.sizes.is_empty() {
            self.drop_oldest();
        }
        first..self.oldest.0
    }

    fn drop_oldest(&mut self) {
        if let Some(bytes) = self.sizes.pop_front() {
            self.bytes -= bytes;
            self.oldest = self.oldest.next();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn log_of(sizes: &[usize]) -> ChangeLog {
        let mut log = ChangeLog::starting_at(StoreRevision(1));
        sizes.iter().for_each(|bytes| log.append(*bytes));
        log
    }

    #[test]
    fn the_oldest_transactions_leave_when_there_are_too_many() {
        let mut log = log_of(&vec![1; MAX_LOG_TRANSACTIONS + 3]);
        assert_eq!(log.trim_to_limits(), 1..4);
        assert_eq!(log.oldest(), StoreRevision(4));
        assert_eq!(log.trim_to_limits(), 4..4);
    }

    #[test]
    fn the_oldest_transactions_leave_when_they_are_too_big() {
        let mut log = log_of(&[MAX_LOG_BYTES / 2, MAX_LOG_BYTES / 2, 1]);
        assert_eq!(log.trim_to_limits(), 1..2);
    }

    #[test]
    fn trimming_through_a_revision_leaves_the_following_ones() {
        let mut log = log_of(&[1, 1, 1]);
        assert_eq!(log.trim_through(StoreRevision(2)), 1..3);
        assert_eq!(log.oldest(), StoreRevision(3));
        assert_eq!(log.next(), StoreRevision(4));
    }
}
