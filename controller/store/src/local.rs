//! A store inside this process, over any engine: reads go straight to the engine, writes to the writer's queue.

use std::path::Path;
use std::sync::mpsc::{self, Sender};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};

use async_trait::async_trait;
use tokio::sync::{Semaphore, oneshot, watch};

use crate::batch::{Batch, CommitOutcome};
use crate::blocking::read_off_runtime;
use crate::engine::memory::MemoryEngine;
use crate::engine::redb::RedbEngine;
use crate::engine::{Engine, View};
use crate::error::StoreError;
use crate::folder::Folder;
use crate::inspect::{inspect, missing};
use crate::key::{Key, Prefix};
use crate::limits::MAX_QUEUED_REQUESTS;
use crate::meta::{self, Epoch};
use crate::page::{Page, read_entry, read_page};
use crate::record::{Entry, StoreRevision};
use crate::schema::Schema;
use crate::snapshot::Snapshot;
use crate::status::{Condition, Health, Shared, Status};
use crate::store::Store;
use crate::watch::Watch;
use crate::writer::{CommitRequest, Request, Writer};

/// Opens the store in `dir`, checks all of it and migrates it to `schema`. Blocks on the disk: about half a second for
/// each 250 MB. Dropping the last handle closes the store and waits for it; prefer [`Store::close`].
pub fn open(dir: &Path, schema: &Schema) -> Result<Arc<dyn Store>, StoreError> {
    if !dir.is_dir() {
        return Err(missing(dir));
    }
    let folder = Folder::acquire(dir)?;
    open_in(folder, schema)
}

/// Makes an empty store in `dir`, which must not hold one, and opens it. The folder becomes private to its owner.
pub fn create(dir: &Path, schema: &Schema) -> Result<Arc<dyn Store>, StoreError> {
    let folder = Folder::acquire(dir)?;
    if folder.store_file().exists() {
        return Err(StoreError::NotEmpty {
            dir: dir.display().to_string(),
        });
    }
    open_in(create_in(folder, schema)?, schema)
}

/// Opens the store in `dir`, making it first if there is none.
pub fn open_or_create(dir: &Path, schema: &Schema) -> Result<Arc<dyn Store>, StoreError> {
    let folder = Folder::acquire(dir)?;
    if folder.store_file().exists() {
        open_in(folder, schema)
    } else {
        open_in(create_in(folder, schema)?, schema)
    }
}

/// An empty store that lives in memory and is gone with the process.
pub fn memory(schema: &Schema) -> Result<Arc<dyn Store>, StoreError> {
    let engine = MemoryEngine::new();
    engine.commit(&meta::first_writes(schema.version(), Epoch::random()?))?;
    start(Box::new(engine), schema)
}

/// Checks what an engine holds, migrates it, and starts its writer.
pub(crate) fn start(
    engine: Box<dyn Engine>,
    schema: &Schema,
) -> Result<Arc<dyn Store>, StoreError> {
    Ok(Arc::new(Local::start(engine, schema)?))
}

fn open_in(folder: Folder, schema: &Schema) -> Result<Arc<dyn Store>, StoreError> {
    let path = folder.store_file();
    if !path.exists() {
        return Err(missing(folder.path()));
    }
    start(Box::new(RedbEngine::open(folder, path)?), schema)
}

/// The file gets its name once it is complete, so a crash in between leaves no store rather than half of one.
fn create_in(folder: Folder, schema: &Schema) -> Result<Folder, StoreError> {
    let staging = folder.staging_file()?;
    let engine = RedbEngine::create(folder, staging)?;
    engine.commit(&meta::first_writes(schema.version(), Epoch::random()?))?;
    let folder = engine.into_folder()?;
    folder.publish_staging()?;
    Ok(folder)
}

pub(crate) struct Local {
    pub(crate) shared: Arc<Shared>,
    requests: Sender<Request>,
    places: Arc<Semaphore>,
    // Taken once, when the store is dropped.
    writer: Mutex<Option<JoinHandle<()>>>,
}

impl Local {
    pub(crate) fn start(engine: Box<dyn Engine>, schema: &Schema) -> Result<Self, StoreError> {
        let view = engine.view()?;
        let found_schema = meta::read_schema(&*view)?;
        schema.admit(found_schema)?;
        let mut state = inspect(&*view)?.intact()?;
        drop(view);
        schema.migrate(&*engine, found_schema, &mut state)?;

        let (status, _) = watch::channel(Status {
            head: state.head,
            condition: Condition::Serving,
        });
        let shared = Arc::new(Shared {
            engine,
            epoch: state.epoch,
            status,
        });
        let (requests, received) = mpsc::channel();
        let writer = Writer::new(Arc::clone(&shared), received, state.head, state.log);
        let thread = thread::Builder::new()
            .name("malha-store".to_owned())
            .spawn(move || writer.run())
            .map_err(|error| StoreError::io("starting the store's writer", &error))?;
        Ok(Self {
            shared,
            requests,
            places: Arc::new(Semaphore::new(MAX_QUEUED_REQUESTS)),
            writer: Mutex::new(Some(thread)),
        })
    }

    async fn read<T: Send + 'static>(
        &self,
        read: impl FnOnce(Arc<dyn View>) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        let shared = Arc::clone(&self.shared);
        read_off_runtime(move || read(shared.engine.view()?)).await
    }

    async fn ask<T>(
        &self,
        request: Request,
        answer: oneshot::Receiver<Result<T, StoreError>>,
    ) -> Result<T, StoreError> {
        self.requests
            .send(request)
            .map_err(|_| StoreError::Closed)?;
        answer.await.unwrap_or(Err(StoreError::Closed))
    }
}

#[async_trait]
impl Store for Local {
    async fn get(&self, key: &Key) -> Result<Option<Entry>, StoreError> {
        let key = key.clone();
        self.read(move |view| read_entry(&*view, &key)).await
    }

    async fn range(
        &self,
        prefix: &Prefix,
        after: Option<&Key>,
        limit: usize,
    ) -> Result<Page, StoreError> {
        let prefix = prefix.clone();
        let after = after.cloned();
        self.read(move |view| {
            let revision = meta::read_head(&*view)?.revision;
            read_page(&*view, revision, &prefix, after.as_ref(), limit)
        })
        .await
    }

    async fn commit(&self, batch: Batch) -> Result<CommitOutcome, StoreError> {
        let bytes = batch.checked_bytes()?;
        let place = Arc::clone(&self.places)
            .acquire_owned()
            .await
            .map_err(|_| StoreError::Closed)?;
        let (answer, answered) = oneshot::channel();
        let request = CommitRequest {
            batch,
            bytes,
            answer,
            place,
        };
        self.ask(Request::Commit(request), answered).await
    }

    async fn watch(&self, prefix: &Prefix, after: StoreRevision) -> Result<Watch, StoreError> {
        Watch::new(Arc::clone(&self.shared), prefix.clone(), after)
    }

    async fn snapshot(&self) -> Result<Snapshot, StoreError> {
        self.read(Snapshot::of).await
    }

    async fn revision(&self) -> Result<StoreRevision, StoreError> {
        let status = self.shared.status.borrow();
        match status.condition {
            Condition::Closed => Err(StoreError::Closed),
            _ => Ok(status.head.revision),
        }
    }

    fn epoch(&self) -> Epoch {
        self.shared.epoch
    }

    async fn compact(&self, through: StoreRevision) -> Result<(), StoreError> {
        let (answer, answered) = oneshot::channel();
        self.ask(Request::Compact { through, answer }, answered)
            .await
    }

    async fn health(&self) -> Health {
        let Status { head, condition } = self.shared.status.borrow().clone();
        Health {
            engine: self.shared.engine.name(),
            condition,
            revision: head.revision,
            oldest_change: head.oldest_change,
            keys: head.keys,
            queued_commits: MAX_QUEUED_REQUESTS - self.places.available_permits(),
            file_bytes: self.shared.engine.file_bytes(),
        }
    }

    async fn close(&self) -> Result<(), StoreError> {
        let (answer, answered) = oneshot::channel();
        self.ask(Request::Close { answer }, answered).await
    }
}

impl Drop for Local {
    fn drop(&mut self) {
        // The file must be free once the store is gone, so that it can be opened again at once.
        let (answer, _) = oneshot::channel();
        self.requests.send(Request::Close { answer }).ok();
        let writer = self
            .writer
            .get_mut()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        if writer.is_some_and(|thread| thread.join().is_err()) {
            tracing::error!("the store's writer ended by a panic");
        }
    }
}
