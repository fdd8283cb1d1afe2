//! What an embedded engine must do: hold one ordered space of bytes, show it at one moment, and commit many writes durably
//! as one. It never knows revisions, seals, limits or watchers.

use std::collections::BTreeMap;
use std::ops::{Bound, ControlFlow};
use std::sync::Arc;

use crate::error::StoreError;

pub(crate) mod memory;
pub(crate) mod redb;

/// Keys to put (`Some`) or delete (`None`) in one commit.
pub(crate) type Writes = BTreeMap<Vec<u8>, Option<Vec<u8>>>;

/// Called with each key and value of a scan; breaks to end it.
pub(crate) type Visit<'a> = dyn FnMut(&[u8], &[u8]) -> ControlFlow<()> + 'a;

/// An embedded engine. Calls may block on the disk.
pub(crate) trait Engine: Send + Sync {
    fn name(&self) -> &'static str;

    /// The content as of now, unmoved by later commits.
    fn view(&self) -> Result<Arc<dyn View>, EngineError>;

    /// Makes all writes durable, or none. After an error they may be durable or not.
    fn commit(&self, writes: &Writes) -> Result<(), EngineError>;

    /// Lets go of everything an I/O error may have spoiled and reads the truth from the disk again.
    fn reopen(&self) -> Result<(), EngineError>;

    /// Gives the engine's files free; further calls answer [`EngineError::Closed`].
    fn close(&self) -> Result<(), EngineError>;

    /// Bytes on disk, if there is a disk.
    fn file_bytes(&self) -> Option<u64>;
}

/// An engine's content at one moment.
pub(crate) trait View: Send + Sync {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, EngineError>;

    /// Visits keys in order, up to and without `until`.
    fn scan(
        &self,
        from: Bound<&[u8]>,
        until: &[u8],
        visit: &mut Visit<'_>,
    ) -> Result<(), EngineError>;
}

/// Why an engine did not do what it was asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum EngineError {
    Io(String),
    Damaged(String),
    InUse,
    Closed,
}

impl From<EngineError> for StoreError {
    fn from(error: EngineError) -> Self {
        match error {
            EngineError::Io(problem) => Self::Io {
                attempt: "using the store's file",
                problem,
            },
            EngineError::Damaged(problem) => Self::damaged("the store's file", problem),
            EngineError::InUse => Self::InUse {
                dir: "the store's file".to_owned(),
            },
            EngineError::Closed => Self::Closed,
        }
    }
}
