//! Random batches against a plain map that does the same, with reopenings and compactions in between.

use std::collections::BTreeMap;
use std::sync::Arc;

use malha_store::{
    Batch, CommitOutcome, Event, Op, Precondition, Prefix, Schema, Store, StoreRevision, Value,
    WatchItem,
};
use proptest::collection::vec;
use proptest::prelude::*;
use tempfile::TempDir;

use super::{everything, key};

#[derive(Debug, Clone)]
enum Step {
    Commit {
        /// How far the expected revision is from the right one.
        expect: Option<u64>,
        absent: Vec<u8>,
        /// Keys with how far the expected revision is from the right one.
        modified: Vec<(u8, u64)>,
        ops: BTreeMap<u8, Option<Vec<u8>>>,
    },
    Compact {
        back: u64,
    },
    Reopen,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let number = 0..KEYS;
    // Mostly right, so that most batches commit.
    let miss = prop_oneof![9 => Just(0), 1 => 1..3u64];
    let contents = prop_oneof![
        9 => vec(any::<u8>(), 0..40),
        1 => vec(any::<u8>(), 5_000..9_000),
    ];
    let commit = (
        proptest::option::weighted(0.2, miss.clone()),
        vec(number.clone(), 0..2),
        vec((number.clone(), miss), 0..2),
        proptest::collection::btree_map(number, proptest::option::weighted(0.7, contents), 0..5),
    )
        .prop_map(|(expect, absent, modified, ops)| Step::Commit {
            expect,
            absent,
            modified,
            ops,
        });
    vec(
        prop_oneof![
            20 => commit,
            1 => (0..5u64).prop_map(|back| Step::Compact { back }),
            1 => Just(Step::Reopen),
        ],
        1..60,
    )
}

/// What the store must hold: value, created, modified.
#[derive(Debug, Clone, Default, PartialEq)]
struct Model {
    revision: u64,
    entries: BTreeMap<String, (Vec<u8>, u64, u64)>,
}

impl Model {
    fn accepts(&self, batch: &Batch) -> bool {
        let modified = |key: &malha_store::Key| {
            let entry = self.entries.get(key.as_str());
            entry.map(|(_, _, modified)| StoreRevision(*modified))
        };
        batch
            .expect
            .is_none_or(|revision| revision.0 == self.revision)
            && batch.preconditions.iter().all(|condition| match condition {
                Precondition::Absent(key) => modified(key).is_none(),
                Precondition::Modified(key, revision) => modified(key) == Some(*revision),
            })
    }

    fn apply(&mut self, batch: &Batch) {
        let revision = self.revision + 1;
        for op in &batch.ops {
            match op {
                Op::Put(key, value) => {
                    let name = key.as_str().to_owned();
                    let entry = self.entries.get(&name);
                    let created = entry.map_or(revision, |(_, created, _)| *created);
                    let contents = value.as_bytes().to_vec();
                    self.entries.insert(name, (contents, created, revision));
                    self.revision = revision;
                }
                Op::Delete(key) => {
                    if self.entries.remove(key.as_str()).is_some() {
                        self.revision = revision;
                    }
                }
            }
        }
    }

    fn batch(&self, step: &Step) -> Option<Batch> {
        let Step::Commit {
            expect,
            absent,
            modified,
            ops,
        } = step
        else {
            return None;
        };
        let mut batch = Batch::new();
        batch.expect = expect.map(|miss| StoreRevision(self.revision + miss));
        // Two in three of these would conflict, so only the keys that are absent are asked for.
        for number in absent.iter().filter(|number| **number % 3 == 0) {
            batch = batch.absent(key(&name(*number)));
        }
        for (number, miss) in modified {
            if let Some((_, _, revision)) = self.entries.get(&name(*number)) {
                batch = batch.modified(key(&name(*number)), StoreRevision(revision + miss));
            }
        }
        for (number, contents) in ops {
            let key = key(&name(*number));
            batch = match contents {
                Some(contents) => batch.put(key, Value::new(contents).unwrap()),
                None => batch.delete(key),
            };
        }
        Some(batch)
    }
}

fn name(number: u8) -> String {
    format!("key/{number}")
}

async fn content(store: &dyn Store) -> Model {
    let snapshot = store.snapshot().await.unwrap();
    let entries = everything(&snapshot)
        .await
        .unwrap()
        .into_iter()
        .map(|item| {
            let contents = item.entry.value.as_bytes().to_vec();
            let revisions = (item.entry.created.0, item.entry.modified.0);
            (
                item.key.as_str().to_owned(),
                (contents, revisions.0, revisions.1),
            )
        });
    Model {
        revision: snapshot.revision().0,
        entries: entries.collect(),
    }
}

/// Applies the watched changes after `base` to it, up to the store's revision.
async fn replayed(store: &dyn Store, mut base: Model) -> Model {
    let last = store.revision().await.unwrap().0;
    let after = StoreRevision(base.revision);
    let mut watch = store.watch(&Prefix::all(), after).await.unwrap();
    while base.revision < last {
        let WatchItem::Events(transaction) = watch.next().await.unwrap() else {
            panic!("compacted");
        };
        base.revision = transaction.revision.0;
        for event in transaction.events {
            match event {
                Event::Put { key, entry } => base.entries.insert(
                    key.as_str().to_owned(),
                    (
                        entry.value.as_bytes().to_vec(),
                        entry.created.0,
                        entry.modified.0,
                    ),
                ),
                Event::Deleted { key } => base.entries.remove(key.as_str()),
            };
        }
    }
    base
}

async fn follow(steps: Vec<Step>, dir: Option<&TempDir>) {
    let schema = Schema::first();
    let mut store: Arc<dyn Store> = match dir {
        Some(dir) => malha_store::create(dir.path(), &schema).unwrap(),
        None => malha_store::memory(&schema).unwrap(),
    };
    let mut model = Model::default();
    // The model as it was when the change log was last trimmed.
    let mut base = model.clone();
    let mut past = vec![model.clone()];
    for step in steps {
        match &step {
            Step::Commit { .. } => {
                let batch = model.batch(&step).unwrap();
                let accepted = model.accepts(&batch);
                if accepted {
                    model.apply(&batch);
                    past.push(model.clone());
                }
                match store.commit(batch).await.unwrap() {
                    CommitOutcome::Committed { revision } => {
                        assert!(accepted);
                        assert_eq!(revision.0, model.revision);
                    }
                    CommitOutcome::Conflict(conflict) => assert!(!accepted, "{conflict}"),
                }
            }
            Step::Compact { back } => {
                let through = model.revision.saturating_sub(*back);
                store.compact(StoreRevision(through)).await.unwrap();
                if through > base.revision {
                    let found = past.iter().find(|past| past.revision == through);
                    base = found.unwrap().clone();
                }
            }
            Step::Reopen => {
                if let Some(dir) = dir {
                    store.close().await.unwrap();
                    store = malha_store::open(dir.path(), &schema).unwrap();
                }
            }
        }
    }
    assert_eq!(content(&*store).await, model);
    assert_eq!(store.health().await.keys, model.entries.len() as u64);
    assert_eq!(replayed(&*store, base).await, model);
}

fn run(steps: Vec<Step>, dir: Option<&TempDir>) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .unwrap();
    runtime.block_on(follow(steps, dir));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn the_memory_store_does_what_a_map_does(steps in steps()) {
        run(steps, None);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]

    #[test]
    fn the_redb_store_does_what_a_map_does(steps in steps()) {
        run(steps, Some(&tempfile::tempdir().unwrap()));
    }
}

const KEYS: u8 = 8;
