//! What a caller asks to commit and what it is told. A batch is checked against the limits here, before any engine sees it.

use std::collections::BTreeSet;

use crate::error::StoreError;
use crate::key::{Key, Value};
use crate::limits::{MAX_BATCH_BYTES, MAX_OPS};
use crate::record::StoreRevision;

/// A set of changes that commits completely or not at all.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Batch {
    /// Commit only if the store is still at this revision.
    pub expect: Option<StoreRevision>,
    /// Commit only if all of these hold.
    pub preconditions: Vec<Precondition>,
    /// The changes; each key at most once.
    pub ops: Vec<Op>,
}

/// What must hold before any change of the batch is made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Precondition {
    /// The key has no value.
    Absent(Key),
    /// The key's value was last put by exactly this revision.
    Modified(Key, StoreRevision),
}

/// One change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Op {
    Put(Key, Value),
    /// Deleting an absent key changes nothing and is no error.
    Delete(Key),
}

/// The answer to a batch.
#[derive(Debug, Clone, PartialEq, Eq)]
#[must_use]
pub enum CommitOutcome {
    /// Everything is durable. The revision is a new one, or the present one if nothing changed.
    Committed { revision: StoreRevision },
    /// Nothing was changed, since this condition did not hold.
    Conflict(Conflict),
}

/// The first condition of a batch that did not hold.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Conflict {
    #[error("the store is at revision {found}, not {expected}")]
    Revision {
        expected: StoreRevision,
        found: StoreRevision,
    },
    #[error("{key} already exists, since revision {created}")]
    Present { key: Key, created: StoreRevision },
    #[error("{key} was expected at revision {expected} and is {}", match found {
        Some(found) => format!("at {found}"),
        None => "absent".to_owned(),
    })]
    Modified {
        key: Key,
        expected: StoreRevision,
        found: Option<StoreRevision>,
    },
}

impl Batch {
    pub fn new() -> Self {
        Self::default()
    }

    /// Commit only if the store is still at `revision`.
    #[must_use]
    pub fn expecting(mut self, revision: StoreRevision) -> Self {
        self.expect = Some(revision);
        self
    }

    /// Commit only if `key` has no value.
    #[must_use]
    pub fn absent(mut self, key: Key) -> Self {
        self.preconditions.push(Precondition::Absent(key));
        self
    }

    /// Commit only if `key` was last put by exactly `revision`.
    #[must_use]
    pub fn modified(mut self, key: Key, revision: StoreRevision) -> Self {
        self.preconditions
            .push(Precondition::Modified(key, revision));
        self
    }

    #[must_use]
    pub fn put(mut self, key: Key, value: Value) -> Self {
        self.ops.push(Op::Put(key, value));
        self
    }

    #[must_use]
    pub fn delete(mut self, key: Key) -> Self {
        self.ops.push(Op::Delete(key));
        self
    }

    /// Checks the limits and gives the batch's size in bytes of keys and values.
    pub(crate) fn checked_bytes(&self) -> Result<usize, StoreError> {
        let parts = self.ops.len() + self.preconditions.len();
        if parts > MAX_OPS {
            return Err(invalid(format!(
                "it has {parts} operations and preconditions and the limit is {MAX_OPS}"
            )));
        }
        if let Some(key) = first_repeated(&self.ops) {
            return Err(invalid(format!("it changes {key} twice")));
        }
        let bytes = self.ops.iter().map(Op::bytes).sum::<usize>()
            + self
                .preconditions
                .iter()
                .map(Precondition::bytes)
                .sum::<usize>();
        if bytes > MAX_BATCH_BYTES {
            return Err(invalid(format!(
                "it has {bytes} bytes and the limit is {MAX_BATCH_BYTES}"
            )));
        }
        Ok(bytes)
    }
}

impl Op {
    pub fn key(&self) -> &Key {
        match self {
            Self::Put(key, _) | Self::Delete(key) => key,
        }
    }

    fn bytes(&self) -> usize {
        match self {
            Self::Put(key, value) => key.as_str().len() + value.as_bytes().len(),
            Self::Delete(key) => key.as_str().len(),
        }
    }
}

impl Precondition {
    fn bytes(&self) -> usize {
        match self {
            Self::Absent(key) | Self::Modified(key, _) => key.as_str().len(),
        }
    }
}

/// The first key that more than one operation changes.
pub(crate) fn first_repeated(ops: &[Op]) -> Option<&Key> {
    let mut seen = BTreeSet::new();
    ops.iter().map(Op::key).find(|key| !seen.insert(*key))
}

fn invalid(problem: String) -> StoreError {
    StoreError::InvalidBatch { problem }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(number: usize) -> Key {
        Key::new(&format!("key/{number}")).unwrap()
    }

    #[test]
    fn a_batch_that_changes_a_key_twice_is_refused_by_name() {
        let batch = Batch::new()
            .put(key(1), Value::new(b"a").unwrap())
            .delete(key(1));
        assert_eq!(
            batch.checked_bytes().unwrap_err().to_string(),
            "batch refused: it changes key/1 twice"
        );
    }

    #[test]
    fn operations_and_preconditions_count_together() {
        let mut batch = Batch::new().absent(key(0));
        batch.ops = (0..MAX_OPS - 1)
            .map(|number| Op::Delete(key(number)))
            .collect();
        assert!(batch.checked_bytes().is_ok());
        assert!(batch.delete(key(MAX_OPS)).checked_bytes().is_err());
    }

    #[test]
    fn a_batch_over_the_size_limit_is_refused() {
        let half = Value::new(&vec![0; MAX_BATCH_BYTES / 2]).unwrap();
        let batch = Batch::new().put(key(1), half.clone()).put(key(2), half);
        assert!(batch.checked_bytes().is_err());
    }
}
