//! Reads everything in a store once and checks it: each seal, the number of keys, and that no logged change is missing.
//! It repairs nothing.

use std::ops::{Bound, ControlFlow};
use std::path::Path;

use crate::change;
use crate::change_log::ChangeLog;
use crate::engine::redb::RedbEngine;
use crate::engine::{Engine, View};
use crate::error::StoreError;
use crate::folder::Folder;
use crate::layout;
use crate::limits::MAX_NAMED_DAMAGES;
use crate::meta::{self, Epoch, Head};
use crate::page::OUT_OF_ORDER;
use crate::record::{StoreRevision, unseal_entry};

/// What a check found. The store is intact if there are no damages.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CheckReport {
    pub schema: u32,
    pub epoch: Epoch,
    pub revision: StoreRevision,
    /// Keys with a value, as far as they could be read.
    pub keys: u64,
    /// Transactions in the change log.
    pub changes: u64,
    pub file_bytes: u64,
    /// How many things are damaged.
    pub damages: u64,
    /// The first of them in words.
    pub named_damages: Vec<String>,
}

impl CheckReport {
    pub fn is_intact(&self) -> bool {
        self.damages == 0
    }
}

/// Checks the store in a folder that no controller is using. A file that can't be opened at all is an error; damaged
/// records inside a file that can be opened are named in the report. Blocks on the disk.
pub fn check(dir: &Path) -> Result<CheckReport, StoreError> {
    if !dir.is_dir() {
        return Err(missing(dir));
    }
    let folder = Folder::acquire(dir)?;
    let path = folder.store_file();
    if !path.exists() {
        return Err(missing(dir));
    }
    let engine = RedbEngine::open(folder, path)?;
    let schema = meta::read_schema(&*engine.view()?)?;
    let found = inspect(&*engine.view()?)?;
    let file_bytes = engine.file_bytes().unwrap_or(0);
    engine.close()?;
    Ok(CheckReport {
        schema,
        epoch: found.epoch,
        revision: found.head.revision,
        keys: found.keys,
        changes: found.log.next().0 - found.log.oldest().0,
        file_bytes,
        damages: found.damages,
        named_damages: found.named.iter().map(StoreError::to_string).collect(),
    })
}

/// What one reading of everything gave.
pub(crate) struct Inspection {
    pub(crate) head: Head,
    pub(crate) epoch: Epoch,
    pub(crate) log: ChangeLog,
    keys: u64,
    damages: u64,
    named: Vec<StoreError>,
}

impl Inspection {
    /// The inspection if nothing is damaged, and the first damage otherwise.
    pub(crate) fn intact(self) -> Result<Self, StoreError> {
        match self.named.first() {
            Some(damage) => Err(damage.clone()),
            None => Ok(self),
        }
    }

    fn damage(&mut self, damage: StoreError) {
        self.damages += 1;
        if self.named.len() < MAX_NAMED_DAMAGES {
            self.named.push(damage);
        }
    }

    fn visit(&mut self, key: &[u8], sealed: &[u8]) {
        if key.starts_with(layout::DATA) {
            self.keys += 1;
            if let Err(damage) = unseal_entry(key, sealed) {
                self.damage(damage);
            } else if layout::parse_data_key(key).is_none() {
                self.damage(StoreError::damaged(
                    layout::describe(key),
                    "its key can't be read",
                ));
            }
        } else if key.starts_with(layout::LOG) {
            self.visit_change(key, sealed);
        } else if ![layout::EPOCH, layout::HEAD, layout::SCHEMA].contains(&key) {
            self.damage(StoreError::damaged(
                layout::describe(key),
                "no such record belongs here",
            ));
        }
    }

    fn visit_change(&mut self, key: &[u8], sealed: &[u8]) {
        match change::decode(key, sealed) {
            Ok(change) if change.revision == self.log.next() => {}
            Ok(change) => self.damage(StoreError::damaged(
                format!("change {}", self.log.next()),
                format!("change {} is in its place", change.revision),
            )),
            Err(damage) => self.damage(damage),
        }
        self.log.append(sealed.len());
    }
}

/// Reads everything. The store's own records must be intact; other damages are counted.
pub(crate) fn inspect(view: &dyn View) -> Result<Inspection, StoreError> {
    let head = meta::read_head(view)?;
    let mut found = Inspection {
        head,
        epoch: meta::read_epoch(view)?,
        log: ChangeLog::starting_at(head.oldest_change),
        keys: 0,
        damages: 0,
        named: Vec::new(),
    };
    let mut last = Vec::new();
    view.scan(Bound::Unbounded, AFTER_EVERYTHING, &mut |key, sealed| {
        if *key <= *last {
            // A damaged tree may lead back to where it has been, and must not be followed for ever.
            found.damage(StoreError::damaged(layout::describe(key), OUT_OF_ORDER));
            return ControlFlow::Break(());
        }
        last = key.to_vec();
        found.visit(key, sealed);
        ControlFlow::Continue(())
    })?;
    if found.keys != head.keys {
        found.damage(StoreError::damaged(
            "the store's file",
            format!("it has {} keys and should have {}", found.keys, head.keys),
        ));
    }
    if found.log.next() != head.revision.next() {
        found.damage(StoreError::damaged(
            "the change log",
            format!(
                "its next change would be {} and should be {}",
                found.log.next(),
                head.revision.next()
            ),
        ));
    }
    Ok(found)
}

pub(crate) fn missing(dir: &Path) -> StoreError {
    StoreError::Missing {
        dir: dir.display().to_string(),
    }
}

const AFTER_EVERYTHING: &[u8] = &[0xff; 2];
