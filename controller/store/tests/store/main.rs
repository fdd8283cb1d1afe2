//! The store through its door: one battery for all engines, a model, damage, folders and backups.

#![forbid(unsafe_code)]
#![allow(clippy::unwrap_used)]

mod backup;
mod battery;
mod damage;
mod dice;
mod folder;
mod model;

use malha_store::{
    Batch, CommitOutcome, Conflict, Entry, Item, Key, Prefix, Snapshot, Store, StoreRevision, Value,
};

fn key(text: &str) -> Key {
    Key::new(text).unwrap()
}

fn prefix(text: &str) -> Prefix {
    Prefix::new(text).unwrap()
}

fn value(text: &str) -> Value {
    Value::new(text.as_bytes()).unwrap()
}

/// Commits a batch that must succeed.
async fn committed(store: &dyn Store, batch: Batch) -> StoreRevision {
    match store.commit(batch).await.unwrap() {
        CommitOutcome::Committed { revision } => revision,
        CommitOutcome::Conflict(conflict) => panic!("{conflict}"),
    }
}

/// Commits a batch that must conflict.
async fn conflicted(store: &dyn Store, batch: Batch) -> Conflict {
    match store.commit(batch).await.unwrap() {
        CommitOutcome::Conflict(conflict) => conflict,
        CommitOutcome::Committed { revision } => panic!("committed as {revision}"),
    }
}

async fn put(store: &dyn Store, at: &str, text: &str) -> StoreRevision {
    committed(store, Batch::new().put(key(at), value(text))).await
}

async fn text_of(store: &dyn Store, at: &str) -> Option<String> {
    let entry: Option<Entry> = store.get(&key(at)).await.unwrap();
    entry.map(|entry| String::from_utf8(entry.value.as_bytes().to_vec()).unwrap())
}

/// Everything in a snapshot, read page by page.
async fn everything(snapshot: &Snapshot) -> Result<Vec<Item>, malha_store::StoreError> {
    let mut items: Vec<Item> = Vec::new();
    loop {
        let after = items.last().map(|item| item.key.clone());
        let page = snapshot.range(&Prefix::all(), after.as_ref(), 100).await?;
        items.extend(page.items);
        if !page.more {
            return Ok(items);
        }
    }
}
