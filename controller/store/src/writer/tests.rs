//! The writer on a disk that fails: what it answers, what it keeps, and how it comes back.

use std::fs::OpenOptions;
use std::io;
use std::ops::Bound;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use redb::backends::FileBackend;
use redb::{BackendError, StorageBackend};
use tempfile::TempDir;

use crate::batch::{Batch, CommitOutcome};
use crate::engine::redb::{OpenFile, RedbEngine};
use crate::error::StoreError;
use crate::folder::Folder;
use crate::key::{Key, Prefix, Value};
use crate::local::{Local, create};
use crate::record::StoreRevision;
use crate::schema::Schema;
use crate::status::Condition;
use crate::store::Store;
use crate::watch::WatchItem;

/// A real file whose writes, or fsyncs, fail while a switch is on.
#[derive(Debug)]
struct FailingFile {
    file: FileBackend,
    switches: Switches,
}

#[derive(Debug, Clone, Default)]
struct Switches {
    writes_fail: Arc<AtomicBool>,
    syncs_fail: Arc<AtomicBool>,
}

fn fail_if(switch: &AtomicBool) -> io::Result<()> {
    if switch.load(Ordering::SeqCst) {
        return Err(io::Error::other("the disk has failed"));
    }
    Ok(())
}

impl StorageBackend for FailingFile {
    fn len(&self) -> io::Result<u64> {
        self.file.len()
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.file.read(offset, out)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        fail_if(&self.switches.writes_fail)?;
        self.file.set_len(len)
    }

    fn sync_data(&self) -> io::Result<()> {
        fail_if(&self.switches.syncs_fail)?;
        self.file.sync_data()
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        fail_if(&self.switches.writes_fail)?;
        self.file.write(offset, data)
    }

    fn close(&self) -> io::Result<()> {
        self.file.close()
    }

    fn try_lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<bool, BackendError> {
        self.file.try_lock_range(start, end)
    }

    fn try_lock_shared_range(
        &self,
        start: Bound<u64>,
        end: Bound<u64>,
    ) -> Result<bool, BackendError> {
        self.file.try_lock_shared_range(start, end)
    }

    fn unlock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<(), BackendError> {
        self.file.unlock_range(start, end)
    }

    fn query_lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<bool, BackendError> {
        self.file.query_lock_range(start, end)
    }
}

fn store_on_failing_disk() -> (TempDir, Switches, Arc<Local>) {
    let dir = tempfile::tempdir().unwrap();
    drop(create(dir.path(), &Schema::first()).unwrap());
    let switches = Switches::default();
    let given = switches.clone();
    let open_file: OpenFile = Box::new(move |builder, path| {
        let file = OpenOptions::new().read(true).write(true).open(path)?;
        builder.create_with_backend(FailingFile {
            file: FileBackend::new(file)?,
            switches: given.clone(),
        })
    });
    let folder = Folder::acquire(dir.path()).unwrap();
    let path = folder.store_file();
    let engine = RedbEngine::open_with(folder, path, open_file).unwrap();
    let store = Local::start(Box::new(engine), &Schema::first()).unwrap();
    (dir, switches, Arc::new(store))
}

fn key(name: &str) -> Key {
    Key::new(name).unwrap()
}

fn put(name: &str) -> Batch {
    Batch::new().put(key(name), Value::new(b"here").unwrap())
}

async fn until_serving(store: &Local) {
    let mut status = store.shared.status.subscribe();
    let serving = status.wait_for(|status| status.condition == Condition::Serving);
    serving.await.unwrap();
}

#[tokio::test]
async fn a_failed_fsync_leaves_the_outcome_unknown_and_refuses_further_writes() {
    let (_dir, switches, store) = store_on_failing_disk();
    switches.syncs_fail.store(true, Ordering::SeqCst);
    assert!(matches!(
        store.commit(put("node/1")).await,
        Err(StoreError::OutcomeUnknown { .. })
    ));
    assert!(matches!(
        store.commit(put("node/2")).await,
        Err(StoreError::WritesRefused { .. })
    ));
    let Condition::WritesRefused { cause, .. } = store.health().await.condition else {
        panic!("still serving");
    };
    assert!(cause.contains("the disk has failed"), "{cause}");
}

#[tokio::test]
async fn the_store_comes_back_with_all_that_was_acknowledged() {
    for failing_writes in [false, true] {
        let (_dir, switches, store) = store_on_failing_disk();
        let switch = if failing_writes {
            switches.writes_fail
        } else {
            switches.syncs_fail
        };
        let mut acknowledged = Vec::new();
        for round in 0..3 {
            let name = format!("node/acknowledged/{round}");
            let outcome = store.commit(put(&name)).await.unwrap();
            assert!(matches!(outcome, CommitOutcome::Committed { .. }));
            acknowledged.push(name);
            switch.store(true, Ordering::SeqCst);
            let name = format!("node/unknown/{round}");
            assert!(store.commit(put(&name)).await.is_err());
            switch.store(false, Ordering::SeqCst);
            until_serving(&store).await;
        }
        for name in acknowledged {
            assert!(store.get(&key(&name)).await.unwrap().is_some(), "{name}");
        }
        assert_eq!(store.close().await, Ok(()));
    }
}

#[tokio::test]
async fn a_disk_that_stays_broken_is_tried_again_and_counted() {
    let (_dir, switches, store) = store_on_failing_disk();
    switches.syncs_fail.store(true, Ordering::SeqCst);
    store.commit(put("node/1")).await.unwrap_err();
    let mut status = store.shared.status.subscribe();
    let twice = status.wait_for(|status| {
        matches!(
            status.condition,
            Condition::WritesRefused {
                reopen_attempts: 2..,
                ..
            }
        )
    });
    twice.await.unwrap();
}

#[tokio::test]
async fn a_watch_goes_on_over_an_outage_without_a_gap() {
    let (_dir, switches, store) = store_on_failing_disk();
    let mut watch = store
        .watch(&Prefix::all(), StoreRevision::ZERO)
        .await
        .unwrap();
    let _ = store.commit(put("node/1")).await.unwrap();
    switches.syncs_fail.store(true, Ordering::SeqCst);
    store.commit(put("node/2")).await.unwrap_err();
    switches.syncs_fail.store(false, Ordering::SeqCst);
    until_serving(&store).await;
    let _ = store.commit(put("node/3")).await.unwrap();
    let last = store.revision().await.unwrap();
    for revision in 1..=last.0 {
        let WatchItem::Events(transaction) = watch.next().await.unwrap() else {
            panic!("compacted");
        };
        assert_eq!(transaction.revision, StoreRevision(revision));
    }
}

#[tokio::test]
async fn a_store_closes_during_an_outage() {
    let (_dir, switches, store) = store_on_failing_disk();
    switches.syncs_fail.store(true, Ordering::SeqCst);
    store.commit(put("node/1")).await.unwrap_err();
    // The outage is what matters here; the answer may be the disk's error or none.
    store.close().await.ok();
    assert_eq!(store.health().await.condition, Condition::Closed);
}
