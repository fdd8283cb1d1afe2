//! Backups: the same on every engine, complete or refused.

use std::fs;
use std::io::Cursor;
use std::sync::Arc;

use async_trait::async_trait;
use malha_store::{
    BackupFile, BackupFiles, Batch, Migration, NoFiles, Prefix, Schema, Store, StoreError,
    StoreRevision, Value, WatchItem, backup, check, create, open, read_backup_files, restore,
    restore_to_memory, verify_backup,
};

use sha2::Digest;

use super::{committed, everything, key, put, text_of};

const TAKEN_AT_MS: u64 = 1_795_000_000_000;

async fn fill(store: &dyn Store) {
    for number in 0..40 {
        put(store, &format!("node/{number}"), "here").await;
    }
    put(store, "node/7", "changed").await;
    committed(store, Batch::new().delete(key("node/9"))).await;
    let big = Value::new(&vec![7; 100_000]).unwrap();
    committed(store, Batch::new().put(key("zone/chunk/1"), big)).await;
}

async fn backed_up(store: &dyn Store) -> Vec<u8> {
    let mut bytes = Vec::new();
    let summary = backup(store, TAKEN_AT_MS, &mut NoFiles, &mut bytes)
        .await
        .unwrap();
    assert_eq!(verify_backup(&mut bytes.as_slice()).unwrap(), summary);
    bytes
}

async fn filled_in_memory() -> Arc<dyn Store> {
    let store = malha_store::memory(&Schema::first()).unwrap();
    fill(&*store).await;
    store
}

#[tokio::test]
async fn a_backup_moves_everything_from_engine_to_engine() {
    let original = filled_in_memory().await;
    let first = backed_up(&*original).await;

    let dir = tempfile::tempdir().unwrap();
    let restored = restore(&mut Cursor::new(&first), dir.path(), &Schema::first()).unwrap();
    let embedded = open(dir.path(), &Schema::first()).unwrap();
    assert_eq!(embedded.epoch(), restored.epoch);
    let second = backed_up(&*embedded).await;

    let in_memory = restore_to_memory(&mut Cursor::new(&second), &Schema::first()).unwrap();
    let expected = everything(&original.snapshot().await.unwrap())
        .await
        .unwrap();
    for store in [&embedded, &in_memory] {
        let snapshot = store.snapshot().await.unwrap();
        assert!(everything(&snapshot).await.unwrap() == expected);
        assert_eq!(snapshot.revision(), StoreRevision(43));
    }
}

#[tokio::test]
async fn a_restored_store_has_a_new_epoch_and_goes_on_from_its_revision() {
    let original = filled_in_memory().await;
    let bytes = backed_up(&*original).await;
    let dir = tempfile::tempdir().unwrap();
    restore(&mut Cursor::new(&bytes), dir.path(), &Schema::first()).unwrap();
    let store = open(dir.path(), &Schema::first()).unwrap();
    assert_ne!(store.epoch(), original.epoch());
    assert_eq!(put(&*store, "node/1", "after").await, StoreRevision(44));
    let mut watch = store
        .watch(&Prefix::all(), StoreRevision(42))
        .await
        .unwrap();
    assert_eq!(
        watch.next().await.unwrap(),
        WatchItem::Compacted {
            oldest: StoreRevision(44)
        }
    );
    store.close().await.unwrap();
    assert!(check(dir.path()).unwrap().is_intact());
}

#[tokio::test]
async fn a_backup_shows_one_moment_while_commits_go_on() {
    let store = filled_in_memory().await;
    let mut bytes = Vec::new();
    let writing = async {
        for number in 0..50 {
            put(&*store, &format!("later/{number}"), "here").await;
        }
    };
    let mut no_files = NoFiles;
    let (summary, ()) = tokio::join!(
        backup(&*store, TAKEN_AT_MS, &mut no_files, &mut bytes),
        writing
    );
    let restored = restore_to_memory(&mut Cursor::new(&bytes), &Schema::first()).unwrap();
    let later = restored
        .range(&Prefix::new("later/").unwrap(), None, 100)
        .await
        .unwrap();
    let revision = summary.unwrap().header.revision.0;
    assert_eq!(later.items.len() as u64, revision - 43);
}

#[tokio::test]
async fn each_cut_off_backup_is_refused_before_anything_is_written() {
    let store = malha_store::memory(&Schema::first()).unwrap();
    put(&*store, "node/1", "here").await;
    put(&*store, "node/2", "here").await;
    let bytes = backed_up(&*store).await;
    let dir = tempfile::tempdir().unwrap();
    let target = dir.path().join("restored");
    for length in 0..bytes.len() {
        let refusal = restore(
            &mut Cursor::new(&bytes[..length]),
            &target,
            &Schema::first(),
        );
        assert!(
            matches!(refusal, Err(StoreError::InvalidBackup { .. })),
            "length {length}"
        );
        assert!(!target.exists(), "length {length}");
    }
}

#[tokio::test]
async fn each_flipped_bit_of_a_backup_is_found() {
    let store = malha_store::memory(&Schema::first()).unwrap();
    put(&*store, "node/1", "here").await;
    put(&*store, "node/2", "here").await;
    let bytes = backed_up(&*store).await;
    for position in 0..bytes.len() * 8 {
        let mut flipped = bytes.clone();
        flipped[position / 8] ^= 1 << (position % 8);
        assert!(
            verify_backup(&mut flipped.as_slice()).is_err(),
            "bit {position}"
        );
    }
}

#[tokio::test]
async fn a_backup_with_something_after_its_end_is_refused() {
    let mut bytes = backed_up(&*filled_in_memory().await).await;
    bytes.push(0);
    let refusal = verify_backup(&mut bytes.as_slice()).unwrap_err();
    assert!(
        refusal.to_string().contains("after its trailer"),
        "{refusal}"
    );
}

#[tokio::test]
async fn a_backup_of_a_newer_schema_is_refused_before_anything_is_written() {
    let newer = Schema::after(vec![Migration {
        to: 2,
        name: "nothing",
        run: |_| Ok(Vec::new()),
    }])
    .unwrap();
    let store = malha_store::memory(&newer).unwrap();
    put(&*store, "node/1", "here").await;
    let bytes = backed_up(&*store).await;
    let dir = tempfile::tempdir().unwrap();
    let target = dir.path().join("restored");
    let refusal = restore(&mut Cursor::new(&bytes), &target, &Schema::first()).unwrap_err();
    assert!(matches!(refusal, StoreError::NewerSchema { .. }));
    assert!(!target.exists());
}

#[tokio::test]
async fn a_backup_of_an_older_schema_is_migrated_when_it_is_opened() {
    let bytes = backed_up(&*filled_in_memory().await).await;
    let newer = Schema::after(vec![Migration {
        to: 2,
        name: "forget node/7",
        run: |_| Ok(vec![malha_store::Op::Delete(key("node/7"))]),
    }])
    .unwrap();
    let dir = tempfile::tempdir().unwrap();
    restore(&mut Cursor::new(&bytes), dir.path(), &newer).unwrap();
    let store = open(dir.path(), &newer).unwrap();
    assert_eq!(text_of(&*store, "node/7").await, None);
    assert_eq!(text_of(&*store, "node/8").await.as_deref(), Some("here"));
}

#[tokio::test]
async fn a_restore_never_writes_over_a_store() {
    let bytes = backed_up(&*filled_in_memory().await).await;
    let dir = tempfile::tempdir().unwrap();
    let store = create(dir.path(), &Schema::first()).unwrap();
    put(&*store, "node/1", "mine").await;
    let in_use = restore(&mut Cursor::new(&bytes), dir.path(), &Schema::first());
    assert!(matches!(in_use, Err(StoreError::InUse { .. })));
    store.close().await.unwrap();
    let occupied = restore(&mut Cursor::new(&bytes), dir.path(), &Schema::first());
    assert!(matches!(occupied, Err(StoreError::NotEmpty { .. })));
    let store = open(dir.path(), &Schema::first()).unwrap();
    assert_eq!(text_of(&*store, "node/1").await.as_deref(), Some("mine"));
}

#[tokio::test]
async fn a_restore_leaves_no_unfinished_file() {
    let bytes = backed_up(&*filled_in_memory().await).await;
    let dir = tempfile::tempdir().unwrap();
    restore(&mut Cursor::new(&bytes), dir.path(), &Schema::first()).unwrap();
    let mut names: Vec<_> = fs::read_dir(dir.path())
        .unwrap()
        .map(|file| file.unwrap().file_name())
        .collect();
    names.sort();
    assert_eq!(names, ["lock", "store.redb"]);
}

/// Files that are there already.
struct Ready(Vec<BackupFile>);

#[async_trait]
impl BackupFiles for Ready {
    async fn next(&mut self) -> Result<Option<BackupFile>, StoreError> {
        Ok(self.0.pop())
    }
}

fn file(name: &str, content: &[u8]) -> BackupFile {
    BackupFile {
        name: name.to_owned(),
        content: content.to_vec(),
    }
}

#[tokio::test]
async fn files_go_along_and_the_store_is_restored_beside_them() {
    let store = filled_in_memory().await;
    let files = vec![
        file("checks/o7/2.evidence", &[7; 3_000_000]),
        file("checks/o7/runs.json", b""),
    ];
    let mut bytes = Vec::new();
    let mut ready = Ready(files.clone());
    let summary = backup(&*store, TAKEN_AT_MS, &mut ready, &mut bytes)
        .await
        .unwrap();
    assert_eq!(summary.files, 2);
    assert_eq!(verify_backup(&mut bytes.as_slice()).unwrap(), summary);
    let mut found = Vec::new();
    let mut take = |file| {
        found.push(file);
        Ok(())
    };
    let read = read_backup_files(&mut bytes.as_slice(), &mut take).unwrap();
    assert_eq!(read, summary);
    found.reverse();
    assert_eq!(found, files);
    let restored = restore_to_memory(&mut Cursor::new(&bytes), &Schema::first()).unwrap();
    assert_eq!(
        text_of(&*restored, "node/7").await.as_deref(),
        Some("changed")
    );
    for length in [bytes.len() / 2, bytes.len() - 1] {
        assert!(verify_backup(&mut &bytes[..length]).is_err());
    }
}

#[tokio::test]
async fn a_file_whose_name_leads_elsewhere_is_neither_written_nor_read() {
    let store = filled_in_memory().await;
    let mut bytes = Vec::new();
    let mut wrong = Ready(vec![file("../master.key", b"mine")]);
    let refused = backup(&*store, TAKEN_AT_MS, &mut wrong, &mut bytes).await;
    assert!(matches!(refused, Err(StoreError::InvalidBackupFile { .. })));

    let mut bytes = Vec::new();
    let mut right = Ready(vec![file("aa/master.key", b"mine")]);
    backup(&*store, TAKEN_AT_MS, &mut right, &mut bytes)
        .await
        .unwrap();
    let at = bytes.windows(3).rposition(|it| it == b"aa/").unwrap();
    bytes[at..at + 2].copy_from_slice(b"..");
    let refusal = verify_backup(&mut bytes.as_slice()).unwrap_err();
    assert!(
        refusal.to_string().contains("no name of a file"),
        "{refusal}"
    );
}

#[tokio::test]
async fn a_backup_of_the_first_format_is_read() {
    let mut bytes = backed_up(&*filled_in_memory().await).await;
    bytes[9] = 1;
    let end = bytes.len() - 32;
    let hash = sha2::Sha256::digest(&bytes[..end]);
    bytes[end..].copy_from_slice(&hash);
    assert_eq!(verify_backup(&mut bytes.as_slice()).unwrap().files, 0);
    restore_to_memory(&mut Cursor::new(&bytes), &Schema::first()).unwrap();
}
