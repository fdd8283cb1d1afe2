//! Durable, revisioned key-value storage for the controller, with backup, restore and a separate audit log.
//! It knows keys, values and revisions; it never knows a domain rule.
//!
//! # The store
//! Open one with [`open`] (a folder, redb) or [`memory`] (tests and throw-away runs); both give an `Arc<dyn Store>`
//! and behave the same, since everything but `get`, `scan` and `commit` lives above the engines. One controller has one
//! store, and a folder belongs to one process at a time.
//!
//! - A [`Batch`] commits completely or not at all, and gets one new [`StoreRevision`] if it changed something.
//! - [`Committed`](CommitOutcome::Committed) means fsynced. Commits that wait at the same time share one fsync.
//! - Each stored value is sealed over its key, its revisions and its payload, so a damaged file gives the right data or
//!   [`StoreError::Damaged`], never other data. Opening reads and checks everything once.
//! - A crash together with damage to the very last commit looks like a crash in the middle of that commit, and it is rolled
//!   back as one; an audit log that is ahead of the store tells.
//! - After an I/O error the store refuses writes, says so in [`Store::health`], and reopens itself with backoff.
//!
//! # Engines
//! redb is the embedded engine. sled is left out: its `flush` does not fsync on Linux, and it lost acknowledged commits
//! in every simulated power cut.

#![forbid(unsafe_code)]

pub mod audit;
mod backup;
mod backup_file;
mod backup_reader;
mod batch;
mod blocking;
mod change;
mod change_log;
mod engine;
mod error;
mod folder;
mod inspect;
mod key;
mod layout;
mod limits;
mod local;
mod meta;
mod page;
mod plan;
mod record;
mod restore;
mod schema;
mod snapshot;
mod status;
mod store;
mod watch;
mod writer;

pub use backup::{BackupHeader, BackupSummary, backup};
pub use backup_file::{BackupFile, BackupFiles, NoFiles};
pub use backup_reader::{read_backup_files, verify_backup};
pub use batch::{Batch, CommitOutcome, Conflict, Op, Precondition};
pub use change::{Event, Transaction};
pub use error::{BackupFlaw, StoreError};
pub use inspect::{CheckReport, check};
pub use key::{Key, Prefix, Value};
pub use limits::{
    MAX_BACKUP_FILE_BYTES, MAX_BATCH_BYTES, MAX_KEY_BYTES, MAX_LOG_BYTES, MAX_LOG_TRANSACTIONS,
    MAX_OPS, MAX_PAGE_BYTES, MAX_PAGE_ENTRIES, MAX_VALUE_BYTES,
};
pub use local::{create, memory, open, open_or_create};
pub use meta::Epoch;
pub use page::{Item, Page};
pub use record::{Entry, StoreRevision};
pub use restore::{Restored, restore, restore_to_memory};
pub use schema::{Migration, MigrationError, Records, Schema};
pub use snapshot::Snapshot;
pub use status::{Condition, Health};
pub use store::Store;
pub use watch::{Watch, WatchItem};
