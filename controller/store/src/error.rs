//! What can go wrong with the store, each with whose fault it was and the way out. Texts never hold a value.

use crate::backup::{FIRST_FORMAT, FORMAT};
use crate::limits::MAX_VALUE_BYTES;
use crate::record::StoreRevision;

/// An answer other than the one asked for. A [`Conflict`](crate::Conflict) is not an error.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StoreError {
    /// The caller's key or prefix can't be stored.
    #[error("key refused: {problem}")]
    InvalidKey { problem: String },

    /// The caller's value is too long.
    #[error(
        "value of {bytes} bytes refused: the limit is {MAX_VALUE_BYTES} bytes; store it in chunks under one head key"
    )]
    ValueTooLarge { bytes: usize },

    /// The caller's batch breaks a limit or names a key twice.
    #[error("batch refused: {problem}")]
    InvalidBatch { problem: String },

    /// The caller holds a revision this store never gave out.
    #[error(
        "revision {asked} is unknown: the store is at {head}; after a restore, read everything again"
    )]
    UnknownRevision {
        asked: StoreRevision,
        head: StoreRevision,
    },

    /// Another process holds the folder.
    #[error("{dir}: in use by another malha serve; stop it or talk to it through the API")]
    InUse { dir: String },

    /// The folder holds no store.
    #[error(
        "{dir}: holds no store; make one with `malha init`, or bring one back with `malha restore`"
    )]
    Missing { dir: String },

    /// What is stored is not what was written.
    #[error(
        "{what} is damaged: {problem}; stop the controller, run `malha store check` to see how much is affected, then \
         `malha restore` the last good backup into an empty folder"
    )]
    Damaged { what: String, problem: String },

    /// The data was written by a newer program.
    #[error(
        "the data has schema {found} and this program knows schemas up to {supported}: run the newer malha, or `malha \
         restore` a backup made before the upgrade"
    )]
    NewerSchema { found: u32, supported: u32 },

    /// The data is too old to be migrated by this program.
    #[error(
        "the data has schema {found} and this program migrates from schema {oldest} on: start an older release once, then \
         this one"
    )]
    OlderSchema { found: u32, oldest: u32 },

    /// The program's list of migrations is out of order.
    #[error("schema definition refused: {problem}")]
    InvalidSchema { problem: String },

    /// A migration could not be done; the data is as it was before it.
    #[error("migration to schema {to} ({name}) failed and changed nothing: {problem}")]
    Migration {
        to: u32,
        name: &'static str,
        problem: String,
    },

    /// The operating system refused something.
    #[error("{attempt}: {problem}")]
    Io {
        attempt: &'static str,
        problem: String,
    },

    /// An earlier I/O error stopped writing; this write had no effect.
    #[error(
        "writes are refused until the store has been reopened, which is tried again by itself: {cause}"
    )]
    WritesRefused { cause: String },

    /// The write may or may not be durable; read the revision again once the store is healthy.
    #[error("the outcome of this commit is unknown, read back before repeating it: {cause}")]
    OutcomeUnknown { cause: String },

    /// A restore never writes over data.
    #[error(
        "{dir}: already holds a store; a restore needs an empty folder, so move this one away or name another"
    )]
    NotEmpty { dir: String },

    /// The backup is not a complete, unchanged backup.
    #[error("backup refused at byte {offset}: {flaw}; nothing was written, use another backup")]
    InvalidBackup { offset: u64, flaw: BackupFlaw },

    /// The caller's file can't go along with a backup.
    #[error("backup not finished: {problem}")]
    InvalidBackupFile { problem: String },

    /// The store has been closed.
    #[error("the store is closed")]
    Closed,
}

/// Why a file is no whole and unchanged backup.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BackupFlaw {
    #[error("this is not a Malha backup")]
    Foreign,
    #[error("its format is {found} and this program reads formats {FIRST_FORMAT} to {FORMAT}")]
    Format { found: u16 },
    #[error("it ends in the middle")]
    Short,
    #[error("its checksum does not match its content")]
    Checksum,
    /// What is in it is not what was written.
    #[error("{0}")]
    Changed(String),
}

impl StoreError {
    pub(crate) fn damaged(what: impl Into<String>, problem: impl Into<String>) -> Self {
        Self::Damaged {
            what: what.into(),
            problem: problem.into(),
        }
    }

    /// What the operating system refused at this path, while somebody did this.
    pub(crate) fn io_at(
        attempt: &'static str,
        path: &std::path::Path,
        error: &std::io::Error,
    ) -> Self {
        Self::Io {
            attempt,
            problem: format!("{}: {error}", path.display()),
        }
    }

    /// What the operating system refused while somebody did this.
    #[must_use]
    pub fn io(attempt: &'static str, error: &std::io::Error) -> Self {
        Self::Io {
            attempt,
            problem: error.to_string(),
        }
    }
}
