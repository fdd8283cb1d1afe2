//! The embedded store and its folder: opening, locking, privacy, migrating and checking.

use std::fs;
use std::ops::ControlFlow;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use malha_store::{
    Migration, MigrationError, Op, Prefix, Records, Schema, StoreError, StoreRevision, Value,
    WatchItem, check, create, open, open_or_create,
};

use super::{key, prefix, put, text_of};

fn first() -> Schema {
    Schema::first()
}

#[tokio::test]
async fn what_was_committed_is_there_after_closing_and_opening() {
    let dir = tempfile::tempdir().unwrap();
    let store = create(dir.path(), &first()).unwrap();
    let revision = put(&*store, "node/1", "here").await;
    let epoch = store.epoch();
    store.close().await.unwrap();
    let store = open(dir.path(), &first()).unwrap();
    assert_eq!(text_of(&*store, "node/1").await.as_deref(), Some("here"));
    assert_eq!(store.revision().await.unwrap(), revision);
    assert_eq!(store.epoch(), epoch);
}

#[tokio::test]
async fn a_watch_goes_on_over_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let store = create(dir.path(), &first()).unwrap();
    put(&*store, "node/1", "here").await;
    put(&*store, "node/2", "here").await;
    store.close().await.unwrap();
    let store = open(dir.path(), &first()).unwrap();
    let mut watch = store.watch(&Prefix::all(), StoreRevision(1)).await.unwrap();
    let WatchItem::Events(transaction) = watch.next().await.unwrap() else {
        panic!("compacted");
    };
    assert_eq!(transaction.revision, StoreRevision(2));
}

#[tokio::test]
async fn a_dropped_store_frees_its_folder_at_once() {
    let dir = tempfile::tempdir().unwrap();
    let store = create(dir.path(), &first()).unwrap();
    put(&*store, "node/1", "here").await;
    drop(store);
    let store = open(dir.path(), &first()).unwrap();
    assert_eq!(text_of(&*store, "node/1").await.as_deref(), Some("here"));
}

#[tokio::test]
async fn a_second_open_is_told_who_has_the_folder() {
    let dir = tempfile::tempdir().unwrap();
    let _store = create(dir.path(), &first()).unwrap();
    let refusal = open(dir.path(), &first()).err().unwrap();
    assert_eq!(
        refusal.to_string(),
        format!(
            "{}: in use by another malha serve; stop it or talk to it through the API",
            dir.path().display()
        )
    );
    assert!(matches!(check(dir.path()), Err(StoreError::InUse { .. })));
}

#[tokio::test]
async fn a_folder_without_a_store_is_not_taken_for_an_empty_store() {
    let dir = tempfile::tempdir().unwrap();
    let absent = dir.path().join("absent");
    for path in [dir.path(), &absent] {
        let refusal = open(path, &first()).err().unwrap();
        assert!(refusal.to_string().contains("malha init"), "{refusal}");
        assert!(matches!(check(path), Err(StoreError::Missing { .. })));
    }
    assert!(!absent.exists());
}

#[tokio::test]
async fn a_store_is_never_made_over_another() {
    let dir = tempfile::tempdir().unwrap();
    let store = create(dir.path(), &first()).unwrap();
    put(&*store, "node/1", "here").await;
    store.close().await.unwrap();
    let refusal = create(dir.path(), &first()).err().unwrap();
    assert!(matches!(refusal, StoreError::NotEmpty { .. }));
    let store = open_or_create(dir.path(), &first()).unwrap();
    assert_eq!(text_of(&*store, "node/1").await.as_deref(), Some("here"));
}

#[tokio::test]
async fn what_a_crash_while_making_a_store_left_is_replaced() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("store.redb.unfinished"), b"half a file").unwrap();
    let store = open_or_create(dir.path(), &first()).unwrap();
    put(&*store, "node/1", "here").await;
    store.close().await.unwrap();
    assert!(check(dir.path()).unwrap().is_intact());
}

#[tokio::test]
async fn only_the_owner_can_read_the_folder_and_its_files() {
    let dir = tempfile::tempdir().unwrap();
    let made = dir.path().join("data").join("store");
    let _store = create(&made, &first()).unwrap();
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&made), 0o700);
    for file in fs::read_dir(&made).unwrap() {
        assert_eq!(mode(&file.unwrap().path()), 0o600);
    }
    let shared = dir.path().join("shared");
    fs::create_dir(&shared).unwrap();
    fs::set_permissions(&shared, fs::Permissions::from_mode(0o755)).unwrap();
    let _second = create(&shared, &first()).unwrap();
    assert_eq!(mode(&shared), 0o700);
}

#[tokio::test]
async fn a_check_reports_an_intact_store() {
    let dir = tempfile::tempdir().unwrap();
    let store = create(dir.path(), &first()).unwrap();
    put(&*store, "node/1", "here").await;
    put(&*store, "node/1", "again").await;
    let epoch = store.epoch();
    store.close().await.unwrap();
    let report = check(dir.path()).unwrap();
    assert!(report.is_intact());
    assert_eq!((report.keys, report.changes), (1, 2));
    assert_eq!((report.epoch, report.revision), (epoch, StoreRevision(2)));
}

fn uppercase(records: &Records<'_>) -> Result<Vec<Op>, MigrationError> {
    let mut ops = Vec::new();
    records.for_each(&prefix("node/"), &mut |key, entry| {
        let upper = entry.value.as_bytes().to_ascii_uppercase();
        if let Ok(value) = Value::new(&upper) {
            ops.push(Op::Put(key, value));
        }
        ControlFlow::Continue(())
    })?;
    Ok(ops)
}

fn exclaim(records: &Records<'_>) -> Result<Vec<Op>, MigrationError> {
    let entry = records.get(&key("node/1"))?.ok_or("node/1 is absent")?;
    let louder = [entry.value.as_bytes(), b"!"].concat();
    Ok(vec![Op::Put(key("node/1"), Value::new(&louder)?)])
}

fn fail(_: &Records<'_>) -> Result<Vec<Op>, MigrationError> {
    Err("node/1 has no site".into())
}

fn step(
    to: u32,
    name: &'static str,
    run: fn(&Records<'_>) -> Result<Vec<Op>, MigrationError>,
) -> Migration {
    Migration { to, name, run }
}

#[tokio::test]
async fn migrations_run_once_and_in_order() {
    let dir = tempfile::tempdir().unwrap();
    let store = create(dir.path(), &first()).unwrap();
    put(&*store, "node/1", "here").await;
    store.close().await.unwrap();
    let schema = Schema::after(vec![
        step(2, "uppercase", uppercase),
        step(3, "exclaim", exclaim),
    ])
    .unwrap();
    for _ in 0..2 {
        let store = open(dir.path(), &schema).unwrap();
        assert_eq!(text_of(&*store, "node/1").await.as_deref(), Some("HERE!"));
        store.close().await.unwrap();
    }
    let report = check(dir.path()).unwrap();
    assert!(report.is_intact());
    assert_eq!((report.schema, report.changes), (3, 0));
}

#[tokio::test]
async fn a_failed_migration_is_named_and_changes_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let store = create(dir.path(), &first()).unwrap();
    put(&*store, "node/1", "here").await;
    store.close().await.unwrap();
    let schema = Schema::after(vec![step(2, "sites", fail)]).unwrap();
    assert_eq!(
        open(dir.path(), &schema).err().unwrap().to_string(),
        "migration to schema 2 (sites) failed and changed nothing: node/1 has no site"
    );
    let store = open(dir.path(), &first()).unwrap();
    assert_eq!(text_of(&*store, "node/1").await.as_deref(), Some("here"));
}

#[tokio::test]
async fn data_of_a_newer_schema_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let newer = Schema::after(vec![step(2, "uppercase", uppercase)]).unwrap();
    let store = create(dir.path(), &newer).unwrap();
    store.close().await.unwrap();
    let refusal = open(dir.path(), &first()).err().unwrap();
    assert_eq!(
        refusal,
        StoreError::NewerSchema {
            found: 2,
            supported: 1
        }
    );
}

#[tokio::test]
async fn data_that_is_too_old_to_migrate_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let store = create(dir.path(), &first()).unwrap();
    store.close().await.unwrap();
    let much_newer = Schema::after(vec![step(5, "exclaim", exclaim)]).unwrap();
    let refusal = open(dir.path(), &much_newer).err().unwrap();
    assert_eq!(
        refusal,
        StoreError::OlderSchema {
            found: 1,
            oldest: 4
        }
    );
}

#[test]
fn migrations_out_of_order_are_refused() {
    let skipping = vec![step(2, "uppercase", uppercase), step(4, "exclaim", exclaim)];
    assert!(Schema::after(skipping).is_err());
    assert!(Schema::after(Vec::new()).is_err());
    assert!(Schema::after(vec![step(1, "exclaim", exclaim)]).is_err());
}
