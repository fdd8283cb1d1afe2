//! The door of the store: what the controller may ask of any store, whatever engine is behind it.

use async_trait::async_trait;

use crate::batch::{Batch, CommitOutcome};
use crate::error::StoreError;
use crate::key::{Key, Prefix};
use crate::meta::Epoch;
use crate::page::Page;
use crate::record::{Entry, StoreRevision};
use crate::snapshot::Snapshot;
use crate::status::Health;
use crate::watch::Watch;

/// A revisioned key-value store with atomic batches. All methods need a tokio runtime.
#[async_trait]
pub trait Store: Send + Sync {
    /// The value of `key` now, or `None` if it is absent.
    async fn get(&self, key: &Key) -> Result<Option<Entry>, StoreError>;

    /// At most `limit` entries (1 to [`MAX_PAGE_ENTRIES`](crate::MAX_PAGE_ENTRIES)) under `prefix` that follow `after`, in
    /// order, all at one revision. Pages of several calls may show several revisions: for one revision over many pages,
    /// take a [`snapshot`](Self::snapshot).
    async fn range(
        &self,
        prefix: &Prefix,
        after: Option<&Key>,
        limit: usize,
    ) -> Result<Page, StoreError>;

    /// Commits all of the batch durably, or nothing of it.
    ///
    /// Dropping the future does not take a batch back that is already in the queue. After
    /// [`StoreError::OutcomeUnknown`], read back before repeating.
    async fn commit(&self, batch: Batch) -> Result<CommitOutcome, StoreError>;

    /// Follows the transactions after revision `after` that touch `prefix`.
    async fn watch(&self, prefix: &Prefix, after: StoreRevision) -> Result<Watch, StoreError>;

    /// Everything as of now, unmoved by later commits. Drop it soon: the file grows while it is held.
    async fn snapshot(&self) -> Result<Snapshot, StoreError>;

    /// The revision of the last commit.
    async fn revision(&self) -> Result<StoreRevision, StoreError>;

    /// Which life of the store the revisions belong to.
    fn epoch(&self) -> Epoch;

    /// Forgets the transactions up to and with `through`, which watchers then can't read any more. The log also trims
    /// itself to its limits.
    async fn compact(&self, through: StoreRevision) -> Result<(), StoreError>;

    /// How the store is doing.
    async fn health(&self) -> Health;

    /// Finishes the commits in the queue and gives the files free. Later calls answer [`StoreError::Closed`].
    async fn close(&self) -> Result<(), StoreError>;
}
