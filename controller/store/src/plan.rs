//! Applies batches in order to a view, each seeing the ones before it, and gives the writes of one engine commit. It
//! writes nothing itself, and a batch that conflicts or fails leaves no trace.

use std::collections::BTreeMap;

use crate::batch::{Batch, CommitOutcome, Conflict, Op, Precondition};
use crate::change::{self, Event};
use crate::change_log::ChangeLog;
use crate::engine::{View, Writes};
use crate::error::StoreError;
use crate::key::Key;
use crate::layout;
use crate::meta::{self, Head};
use crate::page::read_entry;
use crate::record::{Entry, StoreRevision, seal};

/// The batches of one group commit, as far as they have been applied.
pub(crate) struct Plan<'a> {
    view: &'a dyn View,
    head: Head,
    changed: BTreeMap<Key, Option<Entry>>,
    transactions: Vec<(StoreRevision, Vec<Event>)>,
}

impl<'a> Plan<'a> {
    pub(crate) fn new(view: &'a dyn View, head: Head) -> Self {
        Self {
            view,
            head,
            changed: BTreeMap::new(),
            transactions: Vec::new(),
        }
    }

    /// Applies one batch, which must be within the limits.
    pub(crate) fn apply(&mut self, batch: &Batch) -> Result<CommitOutcome, StoreError> {
        if let Some(conflict) = self.conflict(batch)? {
            return Ok(CommitOutcome::Conflict(conflict));
        }
        self.apply_ops(&batch.ops)
            .map(|revision| CommitOutcome::Committed { revision })
    }

    /// Applies changes without conditions, as one transaction.
    pub(crate) fn apply_ops(&mut self, ops: &[Op]) -> Result<StoreRevision, StoreError> {
        let revision = self.head.revision.next();
        let mut events = Vec::new();
        let mut keys = self.head.keys;
        for op in ops {
            let existing = self.current(op.key())?;
            match op {
                Op::Put(key, value) => {
                    keys += u64::from(existing.is_none());
                    let entry = Entry {
                        value: value.clone(),
                        created: existing.map_or(revision, |entry| entry.created),
                        modified: revision,
                    };
                    let key = key.clone();
                    events.push(Event::Put { key, entry });
                }
                Op::Delete(key) if existing.is_some() => {
                    keys = keys.saturating_sub(1);
                    events.push(Event::Deleted { key: key.clone() });
                }
                Op::Delete(_) => {}
            }
        }
        if events.is_empty() {
            return Ok(self.head.revision);
        }
        for event in &events {
            let (key, entry) = match event {
                Event::Put { key, entry } => (key, Some(entry.clone())),
                Event::Deleted { key } => (key, None),
            };
            self.changed.insert(key.clone(), entry);
        }
        self.transactions.push((revision, events));
        self.head.revision = revision;
        self.head.keys = keys;
        Ok(revision)
    }

    /// Whether no batch has changed anything.
    pub(crate) fn is_empty(&self) -> bool {
        self.transactions.is_empty()
    }

    /// The new head and the writes that lead to it; `log` is brought up to date with them.
    pub(crate) fn finish(mut self, log: &mut ChangeLog) -> (Head, Writes) {
        let mut writes = Writes::new();
        for (key, entry) in self.changed {
            let stored_key = layout::data_key(&key);
            let sealed = entry.map(|entry| {
                seal(
                    &stored_key,
                    entry.created,
                    entry.modified,
                    entry.value.as_bytes(),
                )
            });
            writes.insert(stored_key, sealed);
        }
        for (revision, events) in self.transactions {
            let log_key = layout::log_key(revision);
            let sealed = seal(&log_key, revision, revision, &change::encode(&events));
            log.append(sealed.len());
            writes.insert(log_key, Some(sealed));
        }
        for revision in log.trim_to_limits() {
            writes.insert(layout::log_key(StoreRevision(revision)), None);
        }
        self.head.oldest_change = log.oldest();
        meta::put_head(&mut writes, &self.head);
        (self.head, writes)
    }

    fn conflict(&self, batch: &Batch) -> Result<Option<Conflict>, StoreError> {
        let found = self.head.revision;
        if let Some(expected) = batch.expect.filter(|expected| *expected != found) {
            return Ok(Some(Conflict::Revision { expected, found }));
        }
        for precondition in &batch.preconditions {
            let conflict = match precondition {
                Precondition::Absent(key) => self.current(key)?.map(|entry| Conflict::Present {
                    key: key.clone(),
                    created: entry.created,
                }),
                Precondition::Modified(key, expected) => {
                    let found = self.current(key)?.map(|entry| entry.modified);
                    (found != Some(*expected)).then(|| Conflict::Modified {
                        key: key.clone(),
                        expected: *expected,
                        found,
                    })
                }
            };
            if conflict.is_some() {
                return Ok(conflict);
            }
        }
        Ok(None)
    }

    fn current(&self, key: &Key) -> Result<Option<Entry>, StoreError> {
        match self.changed.get(key) {
            Some(entry) => Ok(entry.clone()),
            None => read_entry(self.view, key),
        }
    }
}
