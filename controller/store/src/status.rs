//! What the writer has done and how it is doing, as everyone else sees it. Only the writer changes it.

use tokio::sync::watch;

use crate::engine::Engine;
use crate::meta::{Epoch, Head};
use crate::record::StoreRevision;

/// How a store is doing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Health {
    pub engine: &'static str,
    pub condition: Condition,
    pub revision: StoreRevision,
    /// The first revision watchers can still read.
    pub oldest_change: StoreRevision,
    pub keys: u64,
    /// Commits that wait or are being written.
    pub queued_commits: usize,
    /// Bytes on disk, if the engine has a file.
    pub file_bytes: Option<u64>,
}

/// Whether a store takes writes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Condition {
    Serving,
    /// An I/O error stopped writing; reading goes on where the disk allows it, and reopening is tried with backoff.
    WritesRefused {
        cause: String,
        reopen_attempts: u32,
    },
    Closed,
}

/// The writer's latest word.
#[derive(Debug, Clone)]
pub(crate) struct Status {
    pub(crate) head: Head,
    pub(crate) condition: Condition,
}

/// What the writer and the readers of one store share.
pub(crate) struct Shared {
    pub(crate) engine: Box<dyn Engine>,
    pub(crate) epoch: Epoch,
    pub(crate) status: watch::Sender<Status>,
}
