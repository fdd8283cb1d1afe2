//! What every engine must do, each scenario run for all of them.

use std::sync::Arc;

use malha_store::{
    Batch, Condition, Conflict, Event, MAX_BATCH_BYTES, MAX_LOG_TRANSACTIONS, MAX_OPS,
    MAX_PAGE_BYTES, MAX_VALUE_BYTES, Prefix, Schema, Store, StoreError, StoreRevision, Transaction,
    Value, Watch, WatchItem,
};
use tempfile::TempDir;
use tokio::task::JoinSet;

use super::{committed, conflicted, everything, key, prefix, put, text_of, value};

macro_rules! battery {
    ($($scenario:ident),* $(,)?) => {
        mod memory {
            $(#[tokio::test]
            async fn $scenario() {
                super::$scenario(malha_store::memory(&super::Schema::first()).unwrap()).await;
            })*
        }
        mod redb {
            $(#[tokio::test]
            async fn $scenario() {
                let (_dir, store) = super::embedded();
                super::$scenario(store).await;
            })*
        }
    };
}

battery![
    a_value_is_read_back_with_the_revisions_that_made_it,
    a_key_put_again_after_a_delete_is_created_anew,
    deleting_an_absent_key_changes_nothing,
    an_empty_batch_gives_the_present_revision,
    a_conflict_leaves_no_trace_of_its_batch,
    a_precondition_names_what_it_found,
    an_expected_revision_holds_only_until_the_next_commit,
    one_of_many_creators_of_a_key_wins,
    no_concurrent_update_is_lost,
    concurrent_commits_get_distinct_revisions,
    a_range_is_ordered_and_ends_with_its_prefix,
    a_range_goes_on_after_the_last_key_of_a_page,
    a_page_of_big_values_ends_early_and_says_so,
    a_batch_over_a_limit_is_refused_without_effect,
    the_biggest_batch_and_value_are_accepted,
    a_watch_gives_whole_transactions_in_order,
    a_watch_gives_only_events_under_its_prefix,
    a_watch_waits_for_the_next_commit,
    a_watch_behind_a_compaction_is_told_so,
    a_watch_after_an_unknown_revision_is_refused,
    a_snapshot_never_sees_later_commits,
    health_counts_keys_and_names_the_engine,
    a_closed_store_says_so_and_ends_its_watches,
];

fn embedded() -> (TempDir, Arc<dyn Store>) {
    let dir = tempfile::tempdir().unwrap();
    let store = malha_store::create(dir.path(), &Schema::first()).unwrap();
    (dir, store)
}

async fn a_value_is_read_back_with_the_revisions_that_made_it(store: Arc<dyn Store>) {
    let created = put(&*store, "node/1", "first").await;
    put(&*store, "node/2", "other").await;
    let modified = put(&*store, "node/1", "second").await;
    let entry = store.get(&key("node/1")).await.unwrap().unwrap();
    assert_eq!(entry.value, value("second"));
    assert_eq!((entry.created, entry.modified), (created, modified));
    assert_eq!((created, modified), (StoreRevision(1), StoreRevision(3)));
    assert_eq!(store.revision().await.unwrap(), modified);
}

async fn a_key_put_again_after_a_delete_is_created_anew(store: Arc<dyn Store>) {
    put(&*store, "node/1", "first").await;
    committed(&*store, Batch::new().delete(key("node/1"))).await;
    assert_eq!(text_of(&*store, "node/1").await, None);
    let again = put(&*store, "node/1", "second").await;
    let entry = store.get(&key("node/1")).await.unwrap().unwrap();
    assert_eq!(entry.created, again);
}

async fn deleting_an_absent_key_changes_nothing(store: Arc<dyn Store>) {
    let before = put(&*store, "node/1", "first").await;
    let after = committed(&*store, Batch::new().delete(key("node/2"))).await;
    assert_eq!(after, before);
}

async fn an_empty_batch_gives_the_present_revision(store: Arc<dyn Store>) {
    let revision = put(&*store, "node/1", "first").await;
    let checked = Batch::new().modified(key("node/1"), revision);
    assert_eq!(committed(&*store, checked).await, revision);
}

async fn a_conflict_leaves_no_trace_of_its_batch(store: Arc<dyn Store>) {
    let before = put(&*store, "token/1", "unused").await;
    let batch = Batch::new()
        .absent(key("token/1"))
        .put(key("node/1"), value("enrolled"))
        .delete(key("token/1"));
    let conflict = conflicted(&*store, batch).await;
    assert!(matches!(conflict, Conflict::Present { .. }));
    assert_eq!(text_of(&*store, "node/1").await, None);
    assert_eq!(text_of(&*store, "token/1").await.as_deref(), Some("unused"));
    assert_eq!(store.revision().await.unwrap(), before);
}

async fn a_precondition_names_what_it_found(store: Arc<dyn Store>) {
    let revision = put(&*store, "node/1", "first").await;
    let stale = Batch::new()
        .modified(key("node/1"), StoreRevision(9))
        .put(key("node/1"), value("lost"));
    assert_eq!(
        conflicted(&*store, stale).await,
        Conflict::Modified {
            key: key("node/1"),
            expected: StoreRevision(9),
            found: Some(revision),
        }
    );
    let absent = Batch::new().modified(key("node/2"), revision);
    assert_eq!(
        conflicted(&*store, absent).await.to_string(),
        "node/2 was expected at revision 1 and is absent"
    );
}

async fn an_expected_revision_holds_only_until_the_next_commit(store: Arc<dyn Store>) {
    let seen = put(&*store, "node/1", "first").await;
    let batch = Batch::new()
        .expecting(seen)
        .put(key("node/1"), value("second"));
    let found = committed(&*store, batch.clone()).await;
    assert_eq!(
        conflicted(&*store, batch).await,
        Conflict::Revision {
            expected: seen,
            found
        }
    );
}

async fn one_of_many_creators_of_a_key_wins(store: Arc<dyn Store>) {
    let mut creators = JoinSet::new();
    for creator in 0..64 {
        let store = Arc::clone(&store);
        creators.spawn(async move {
            let batch = Batch::new()
                .absent(key("address/100.64.0.1"))
                .put(key("address/100.64.0.1"), value(&creator.to_string()))
                .put(key(&format!("node/{creator}")), value("has it"));
            store.commit(batch).await.unwrap()
        });
    }
    let outcomes = creators.join_all().await;
    let winners = outcomes
        .iter()
        .filter(|outcome| matches!(outcome, malha_store::CommitOutcome::Committed { .. }));
    assert_eq!(winners.count(), 1);
    let nodes = store.range(&prefix("node/"), None, 100).await.unwrap();
    assert_eq!(nodes.items.len(), 1);
}

async fn no_concurrent_update_is_lost(store: Arc<dyn Store>) {
    let counter = key("counter");
    put(&*store, "counter", "0").await;
    let mut clients = JoinSet::new();
    for _ in 0..8 {
        let store = Arc::clone(&store);
        let counter = counter.clone();
        clients.spawn(async move {
            let mut added = 0;
            while added < 5 {
                let entry = store.get(&counter).await.unwrap().unwrap();
                let number: u64 = std::str::from_utf8(entry.value.as_bytes())
                    .unwrap()
                    .parse()
                    .unwrap();
                let batch = Batch::new()
                    .modified(counter.clone(), entry.modified)
                    .put(counter.clone(), value(&(number + 1).to_string()));
                let outcome = store.commit(batch).await.unwrap();
                added += u64::from(matches!(
                    outcome,
                    malha_store::CommitOutcome::Committed { .. }
                ));
            }
        });
    }
    clients.join_all().await;
    assert_eq!(text_of(&*store, "counter").await.as_deref(), Some("40"));
}

async fn concurrent_commits_get_distinct_revisions(store: Arc<dyn Store>) {
    let mut clients = JoinSet::new();
    for client in 0..300 {
        let store = Arc::clone(&store);
        clients.spawn(async move { put(&*store, &format!("node/{client}"), "here").await });
    }
    let mut revisions = clients.join_all().await;
    revisions.sort();
    let expected: Vec<_> = (1..=300).map(StoreRevision).collect();
    assert_eq!(revisions, expected);
    assert_eq!(store.health().await.keys, 300);
}

async fn a_range_is_ordered_and_ends_with_its_prefix(store: Arc<dyn Store>) {
    for name in [
        "nodf", "node/2", "node", "node/10", "nod", "node0", "node/ä",
    ] {
        put(&*store, name, name).await;
    }
    let page = store.range(&prefix("node/"), None, 100).await.unwrap();
    let keys: Vec<_> = page.items.iter().map(|item| item.key.as_str()).collect();
    assert_eq!(keys, ["node/10", "node/2", "node/ä"]);
    assert_eq!(page.revision, StoreRevision(7));
    assert!(!page.more);
    let all = store.range(&Prefix::all(), None, 100).await.unwrap();
    assert_eq!(all.items.len(), 7);
}

async fn a_range_goes_on_after_the_last_key_of_a_page(store: Arc<dyn Store>) {
    for number in 0..5 {
        put(&*store, &format!("node/{number}"), "here").await;
    }
    let nodes = prefix("node/");
    let first = store.range(&nodes, None, 3).await.unwrap();
    assert!(first.more);
    let after = &first.items[2].key;
    let second = store.range(&nodes, Some(after), 3).await.unwrap();
    let keys: Vec<_> = second.items.iter().map(|item| item.key.as_str()).collect();
    assert_eq!(keys, ["node/3", "node/4"]);
    assert!(!second.more);
    let beyond = store.range(&nodes, Some(&key("site/1")), 3).await.unwrap();
    assert!(beyond.items.is_empty());
    let before = store.range(&nodes, Some(&key("edge/1")), 9).await.unwrap();
    assert_eq!(before.items.len(), 5);
}

async fn a_page_of_big_values_ends_early_and_says_so(store: Arc<dyn Store>) {
    let big = Value::new(&vec![7; MAX_VALUE_BYTES]).unwrap();
    let pages_worth = MAX_PAGE_BYTES / MAX_VALUE_BYTES;
    for number in 0..pages_worth + 2 {
        let batch = Batch::new().put(key(&format!("chunk/{number:02}")), big.clone());
        committed(&*store, batch).await;
    }
    let page = store.range(&Prefix::all(), None, 1000).await.unwrap();
    assert!(page.more);
    assert_eq!(page.items.len(), pages_worth);
}

async fn a_batch_over_a_limit_is_refused_without_effect(store: Arc<dyn Store>) {
    let mut batch = Batch::new();
    for number in 0..=MAX_OPS {
        batch = batch.put(key(&format!("node/{number}")), value("here"));
    }
    assert!(matches!(
        store.commit(batch).await,
        Err(StoreError::InvalidBatch { .. })
    ));
    assert_eq!(store.revision().await.unwrap(), StoreRevision::ZERO);
}

async fn the_biggest_batch_and_value_are_accepted(store: Arc<dyn Store>) {
    let biggest = Value::new(&vec![7; MAX_VALUE_BYTES]).unwrap();
    let rest = Value::new(&vec![8; MAX_BATCH_BYTES - MAX_VALUE_BYTES - 2]).unwrap();
    let batch = Batch::new()
        .put(key("a"), biggest.clone())
        .put(key("b"), rest);
    committed(&*store, batch).await;
    let read = store.get(&key("a")).await.unwrap().unwrap();
    assert_eq!(read.value, biggest);
    let mut widest = Batch::new();
    for number in 0..MAX_OPS {
        widest = widest.put(key(&format!("node/{number}")), value("here"));
    }
    committed(&*store, widest).await;
    assert_eq!(store.health().await.keys, MAX_OPS as u64 + 2);
}

async fn next_transaction(watch: &mut Watch) -> Transaction {
    match watch.next().await.unwrap() {
        WatchItem::Events(transaction) => transaction,
        WatchItem::Compacted { oldest } => panic!("compacted to {oldest}"),
    }
}

fn touched(transaction: &Transaction) -> Vec<&str> {
    transaction
        .events
        .iter()
        .map(|event| event.key().as_str())
        .collect()
}

async fn a_watch_gives_whole_transactions_in_order(store: Arc<dyn Store>) {
    put(&*store, "seen", "before").await;
    let mut batch = Batch::new();
    for number in 0..500 {
        batch = batch.put(key(&format!("node/{number:03}")), value("here"));
    }
    committed(&*store, batch).await;
    committed(&*store, Batch::new().delete(key("node/007"))).await;
    let mut watch = store.watch(&Prefix::all(), StoreRevision(1)).await.unwrap();
    let first = next_transaction(&mut watch).await;
    assert_eq!(
        (first.revision, first.events.len()),
        (StoreRevision(2), 500)
    );
    let second = next_transaction(&mut watch).await;
    assert_eq!(second.revision, StoreRevision(3));
    assert_eq!(
        second.events,
        [Event::Deleted {
            key: key("node/007")
        }]
    );
}

async fn a_watch_gives_only_events_under_its_prefix(store: Arc<dyn Store>) {
    let mut watch = store
        .watch(&prefix("node/"), StoreRevision::ZERO)
        .await
        .unwrap();
    put(&*store, "site/1", "not watched").await;
    let mixed = Batch::new()
        .put(key("site/2"), value("not watched"))
        .put(key("node/1"), value("watched"));
    let revision = committed(&*store, mixed).await;
    let transaction = next_transaction(&mut watch).await;
    assert_eq!(transaction.revision, revision);
    assert_eq!(touched(&transaction), ["node/1"]);
    let Event::Put { entry, .. } = &transaction.events[0] else {
        panic!("{transaction:?}");
    };
    assert_eq!(entry, &store.get(&key("node/1")).await.unwrap().unwrap());
}

async fn a_watch_waits_for_the_next_commit(store: Arc<dyn Store>) {
    let mut watch = store
        .watch(&Prefix::all(), StoreRevision::ZERO)
        .await
        .unwrap();
    let watcher = tokio::spawn(async move { next_transaction(&mut watch).await });
    put(&*store, "node/1", "here").await;
    assert_eq!(touched(&watcher.await.unwrap()), ["node/1"]);
}

async fn a_watch_behind_a_compaction_is_told_so(store: Arc<dyn Store>) {
    for number in 0..4 {
        put(&*store, &format!("node/{number}"), "here").await;
    }
    store.compact(StoreRevision(2)).await.unwrap();
    let mut late = store.watch(&Prefix::all(), StoreRevision(1)).await.unwrap();
    assert_eq!(
        late.next().await.unwrap(),
        WatchItem::Compacted {
            oldest: StoreRevision(3)
        }
    );
    let mut in_time = store.watch(&Prefix::all(), StoreRevision(2)).await.unwrap();
    let transaction = next_transaction(&mut in_time).await;
    assert_eq!(transaction.revision, StoreRevision(3));
    assert_eq!(store.health().await.oldest_change, StoreRevision(3));
    assert!(store.compact(StoreRevision(5)).await.is_err());
}

async fn a_watch_after_an_unknown_revision_is_refused(store: Arc<dyn Store>) {
    put(&*store, "node/1", "here").await;
    assert_eq!(
        store.watch(&Prefix::all(), StoreRevision(2)).await.err(),
        Some(StoreError::UnknownRevision {
            asked: StoreRevision(2),
            head: StoreRevision(1),
        })
    );
}

async fn a_snapshot_never_sees_later_commits(store: Arc<dyn Store>) {
    put(&*store, "node/1", "before").await;
    put(&*store, "node/2", "before").await;
    let snapshot = store.snapshot().await.unwrap();
    let later = Batch::new()
        .put(key("node/1"), value("after"))
        .delete(key("node/2"))
        .put(key("node/3"), value("after"));
    committed(&*store, later).await;
    let items = everything(&snapshot).await.unwrap();
    let keys: Vec<_> = items.iter().map(|item| item.key.as_str()).collect();
    assert_eq!(keys, ["node/1", "node/2"]);
    assert!(items.iter().all(|item| item.entry.value == value("before")));
    assert_eq!(snapshot.revision(), StoreRevision(2));
    assert_eq!(snapshot.keys(), 2);
}

async fn health_counts_keys_and_names_the_engine(store: Arc<dyn Store>) {
    put(&*store, "node/1", "here").await;
    put(&*store, "node/2", "here").await;
    committed(&*store, Batch::new().delete(key("node/1"))).await;
    let health = store.health().await;
    assert_eq!(health.condition, Condition::Serving);
    assert_eq!(health.keys, 1);
    assert_eq!(health.queued_commits, 0);
    assert_eq!(health.file_bytes.is_some(), health.engine == "redb");
}

async fn a_closed_store_says_so_and_ends_its_watches(store: Arc<dyn Store>) {
    let mut watch = store
        .watch(&Prefix::all(), StoreRevision::ZERO)
        .await
        .unwrap();
    store.close().await.unwrap();
    assert_eq!(watch.next().await, Err(StoreError::Closed));
    assert_eq!(store.get(&key("node/1")).await, Err(StoreError::Closed));
    let late = Batch::new().put(key("node/1"), value("late"));
    assert_eq!(store.commit(late).await, Err(StoreError::Closed));
    assert_eq!(store.revision().await, Err(StoreError::Closed));
    assert_eq!(store.health().await.condition, Condition::Closed);
    assert_eq!(store.close().await, Err(StoreError::Closed));
}

#[tokio::test]
async fn a_watcher_that_falls_behind_the_change_log_is_told_to_read_again() {
    let store = malha_store::memory(&Schema::first()).unwrap();
    let mut slow = store
        .watch(&Prefix::all(), StoreRevision::ZERO)
        .await
        .unwrap();
    for _ in 0..=MAX_LOG_TRANSACTIONS {
        put(&*store, "node/1", "again").await;
    }
    let oldest = StoreRevision(2);
    assert_eq!(slow.next().await.unwrap(), WatchItem::Compacted { oldest });
}
