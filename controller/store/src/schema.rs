//! The version of the records' format, and the migrations that lead to it. The store runs them in order; what they mean
//! is the caller's.

use std::error::Error;
use std::ops::ControlFlow;

use crate::batch::{Op, first_repeated};
use crate::engine::{Engine, View};
use crate::error::StoreError;
use crate::inspect::Inspection;
use crate::key::{Key, Prefix};
use crate::layout;
use crate::meta;
use crate::page::{for_each, read_entry};
use crate::plan::Plan;
use crate::record::{Entry, StoreRevision};

/// The format the program writes, with the ways to it from older formats.
#[derive(Debug, Clone)]
pub struct Schema {
    version: u32,
    migrations: Vec<Migration>,
}

/// One step to a newer format; it commits with the new version or not at all. Make a backup before.
#[derive(Debug, Clone)]
pub struct Migration {
    /// The version it leads to, from the one before.
    pub to: u32,
    /// What it does, for logs and errors.
    pub name: &'static str,
    /// Reads the old records and gives the changes, each key once.
    pub run: fn(&Records<'_>) -> Result<Vec<Op>, MigrationError>,
}

/// Why a migration can't be done, for people.
pub type MigrationError = Box<dyn Error + Send + Sync>;

/// The records as a migration finds them.
pub struct Records<'a> {
    view: &'a dyn View,
}

impl Schema {
    /// A format that has no predecessor.
    pub fn first() -> Self {
        Self {
            version: FIRST_VERSION,
            migrations: Vec::new(),
        }
    }

    /// The format that the last of `migrations` leads to; they must lead one to the next, each one version up.
    pub fn after(migrations: Vec<Migration>) -> Result<Self, StoreError> {
        let first = migrations.first().map_or(0, |migration| migration.to);
        let ordered = (first..)
            .zip(&migrations)
            .all(|(version, migration)| version == migration.to);
        match migrations.last() {
            Some(last) if ordered && first > FIRST_VERSION => Ok(Self {
                version: last.to,
                migrations,
            }),
            _ => Err(StoreError::InvalidSchema {
                problem: format!(
                    "migrations must lead to consecutive versions from {} on",
                    FIRST_VERSION + 1
                ),
            }),
        }
    }

    pub fn version(&self) -> u32 {
        self.version
    }

    /// Refuses data this program can't read or migrate.
    pub(crate) fn admit(&self, found: u32) -> Result<(), StoreError> {
        let oldest = self.version - self.migrations.len() as u32;
        if found > self.version {
            Err(StoreError::NewerSchema {
                found,
                supported: self.version,
            })
        } else if found < oldest {
            Err(StoreError::OlderSchema { found, oldest })
        } else {
            Ok(())
        }
    }

    /// Runs the migrations that follow version `found`, each in one commit.
    pub(crate) fn migrate(
        &self,
        engine: &dyn Engine,
        found: u32,
        state: &mut Inspection,
    ) -> Result<(), StoreError> {
        for migration in self.migrations.iter().filter(|step| step.to > found) {
            tracing::info!(
                to = migration.to,
                name = migration.name,
                "migrating the store"
            );
            migration.commit(engine, state)?;
        }
        Ok(())
    }
}

impl Migration {
    fn commit(&self, engine: &dyn Engine, state: &mut Inspection) -> Result<(), StoreError> {
        let view = engine.view()?;
        let ops = (self.run)(&Records { view: &*view }).map_err(|error| self.failed(&*error))?;
        if let Some(key) = first_repeated(&ops) {
            return Err(self.failed(&format!("it changes {key} twice")));
        }
        let mut plan = Plan::new(&*view, state.head);
        plan.apply_ops(&ops)?;
        let (mut head, mut writes) = plan.finish(&mut state.log);
        // Old changes have the old format, so no watcher may read them any more.
        for revision in state.log.trim_through(head.revision) {
            writes.insert(layout::log_key(StoreRevision(revision)), None);
        }
        head.oldest_change = state.log.oldest();
        meta::put_head(&mut writes, &head);
        meta::put_schema(&mut writes, self.to);
        drop(view);
        engine.commit(&writes)?;
        state.head = head;
        Ok(())
    }

    fn failed(&self, problem: &(impl std::fmt::Display + ?Sized)) -> StoreError {
        StoreError::Migration {
            to: self.to,
            name: self.name,
            problem: problem.to_string(),
        }
    }
}

impl Records<'_> {
    pub fn get(&self, key: &Key) -> Result<Option<Entry>, StoreError> {
        read_entry(self.view, key)
    }

    /// Visits the records under `prefix` in order, until `visit` breaks.
    pub fn for_each(
        &self,
        prefix: &Prefix,
        visit: &mut dyn FnMut(Key, Entry) -> ControlFlow<()>,
    ) -> Result<(), StoreError> {
        for_each(self.view, prefix, None, visit)
    }
}

const FIRST_VERSION: u32 = 1;
