//! Everything in the store at one moment, for reading all of it in order. It never sees a later commit.

use std::sync::Arc;

use crate::blocking::read_off_runtime;
use crate::engine::View;
use crate::error::StoreError;
use crate::key::{Key, Prefix};
use crate::meta::{self, Epoch};
use crate::page::{Page, read_entry, read_page};
use crate::record::{Entry, StoreRevision};

/// A consistent picture of a store. Holding one keeps the engine from reusing the space of what changed since.
pub struct Snapshot {
    view: Arc<dyn View>,
    epoch: Epoch,
    schema: u32,
    revision: StoreRevision,
    keys: u64,
}

impl Snapshot {
    pub(crate) fn of(view: Arc<dyn View>) -> Result<Self, StoreError> {
        let head = meta::read_head(&*view)?;
        Ok(Self {
            epoch: meta::read_epoch(&*view)?,
            schema: meta::read_schema(&*view)?,
            revision: head.revision,
            keys: head.keys,
            view,
        })
    }

    pub fn epoch(&self) -> Epoch {
        self.epoch
    }

    /// The version of the records' format, as the [`Schema`](crate::Schema) at opening left it.
    pub fn schema(&self) -> u32 {
        self.schema
    }

    pub fn revision(&self) -> StoreRevision {
        self.revision
    }

    /// How many keys have a value. A full read that finds another number has met damage.
    pub fn keys(&self) -> u64 {
        self.keys
    }

    pub async fn get(&self, key: &Key) -> Result<Option<Entry>, StoreError> {
        let view = Arc::clone(&self.view);
        let key = key.clone();
        read_off_runtime(move || read_entry(&*view, &key)).await
    }

    /// As [`Store::range`](crate::Store::range), always at this snapshot's revision.
    pub async fn range(
        &self,
        prefix: &Prefix,
        after: Option<&Key>,
        limit: usize,
    ) -> Result<Page, StoreError> {
        let view = Arc::clone(&self.view);
        let revision = self.revision;
        let prefix = prefix.clone();
        let after = after.cloned();
        read_off_runtime(move || read_page(&*view, revision, &prefix, after.as_ref(), limit)).await
    }
}
