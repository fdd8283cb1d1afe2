//! The embedded store on a disk that changes its bytes while the store is open, so that no check at opening can help.

use std::fs;
use std::sync::Arc;

use redb::Builder;
use tempfile::TempDir;

use super::{OpenFile, RedbEngine};
use crate::batch::Batch;
use crate::error::StoreError;
use crate::folder::Folder;
use crate::key::{Key, Prefix, Value};
use crate::local::{create, start};
use crate::page::Item;
use crate::schema::Schema;
use crate::store::Store;

async fn filled() -> (TempDir, Vec<Item>) {
    let dir = tempfile::tempdir().unwrap();
    let store = create(dir.path(), &Schema::first()).unwrap();
    for number in 0..60 {
        let key = Key::new(&format!("node/{number:02}")).unwrap();
        let contents = vec![number; 40 * usize::from(number) + 1];
        let batch = Batch::new().put(key, Value::new(&contents).unwrap());
        let _ = store.commit(batch).await.unwrap();
    }
    let items = read_all(&*store).await.unwrap().0;
    store.close().await.unwrap();
    (dir, items)
}

/// Opens the store without a page cache, so that each read goes to the disk.
fn open_uncached(dir: &TempDir) -> Arc<dyn Store> {
    let open_file: OpenFile = Box::new(|_, path| {
        let mut builder = Builder::new();
        builder.set_cache_size(0).set_check_integrity_on_open(true);
        builder.open(path)
    });
    let folder = Folder::acquire(dir.path()).unwrap();
    let path = folder.store_file();
    let engine = RedbEngine::open_with(folder, path, open_file).unwrap();
    start(Box::new(engine), &Schema::first()).unwrap()
}

/// What can be read, and the number of keys there should be.
async fn read_all(store: &dyn Store) -> Result<(Vec<Item>, u64), StoreError> {
    let snapshot = store.snapshot().await?;
    let page = snapshot.range(&Prefix::all(), None, 1000).await?;
    Ok((page.items, snapshot.keys()))
}

#[tokio::test]
async fn a_disk_that_rots_under_an_open_store_gives_no_other_data() {
    let (dir, expected) = filled().await;
    let path = dir.path().join("store.redb");
    let intact = fs::read(&path).unwrap();
    let mut refused = 0;
    for start in 0..ROUNDS {
        fs::write(&path, &intact).unwrap();
        let store = open_uncached(&dir);
        let mut rotten = fs::read(&path).unwrap();
        for byte in rotten.iter_mut().skip(start).step_by(ROT_EVERY_BYTES) {
            *byte ^= 0x10;
        }
        fs::write(&path, rotten).unwrap();
        match read_all(&*store).await {
            Ok((items, keys)) => {
                assert!(items.iter().all(|item| expected.contains(item)), "{start}");
                // A key that has vanished is told by the count.
                assert!(items.len() as u64 != keys || items == expected, "{start}");
            }
            Err(error) => {
                refused += 1;
                assert!(
                    matches!(error, StoreError::Damaged { .. }),
                    "{start}: {error}"
                );
            }
        }
        store.close().await.ok();
    }
    assert!(refused > ROUNDS / 2, "{refused} of {ROUNDS} refused");
}

const ROUNDS: usize = 40;
/// Odd, so that the rot falls on another place of each page.
const ROT_EVERY_BYTES: usize = 4_801;
