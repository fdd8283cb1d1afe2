//! A damaged file gives the right data or a clear error: never other data, never a panic.

use std::fs;
use std::path::Path;

use malha_store::{Batch, Item, Schema, StoreError, Value, check, create, open};

use super::dice::Dice;
use super::{committed, everything, key};

/// A closed store with values of many sizes, some of them replaced and some deleted.
async fn filled(dir: &Path) -> Vec<Item> {
    let store = create(dir, &Schema::first()).unwrap();
    let mut dice = Dice::seeded(7);
    for round in 0..30 {
        let mut batch = Batch::new();
        for _ in 0..10 {
            let number = dice.below(120);
            let length = [20, 300, 3_000, 12_000][dice.below(4) as usize];
            let contents = vec![(round * 7 + number) as u8; length];
            let key = key(&format!("node/{number:03}"));
            if batch.ops.iter().all(|op| *op.key() != key) {
                batch = batch.put(key, Value::new(&contents).unwrap());
            }
        }
        committed(&*store, batch).await;
        let gone = key(&format!("node/{:03}", dice.below(120)));
        committed(&*store, Batch::new().delete(gone)).await;
    }
    let items = everything(&store.snapshot().await.unwrap()).await.unwrap();
    store.close().await.unwrap();
    items
}

fn damage(intact: &[u8], dice: &mut Dice) -> Vec<u8> {
    let mut bytes = intact.to_vec();
    let length = bytes.len() as u64;
    let at = dice.below(length) as usize;
    match dice.below(6) {
        0 => bytes[at] ^= 1 << dice.below(8),
        1 => {
            let end = (at + 16).min(bytes.len());
            bytes[at..end].iter_mut().for_each(|byte| *byte ^= 0xff);
        }
        2 => {
            let page = at / PAGE_BYTES * PAGE_BYTES;
            bytes[page..page + PAGE_BYTES].fill(0);
        }
        3 => bytes.truncate(at),
        4 => bytes.extend_from_slice(&vec![0xa5; dice.below(3 * PAGE_BYTES as u64) as usize]),
        _ => {
            let other = dice.below(length) as usize / PAGE_BYTES * PAGE_BYTES;
            let page = at / PAGE_BYTES * PAGE_BYTES;
            bytes.copy_within(other..other + PAGE_BYTES, page);
        }
    }
    bytes
}

async fn read_all(dir: &Path) -> Result<Vec<Item>, StoreError> {
    let store = open(dir, &Schema::first())?;
    let items = everything(&store.snapshot().await?).await;
    store.close().await?;
    items
}

#[tokio::test]
async fn a_damaged_file_gives_the_right_data_or_a_clear_error() {
    let dir = tempfile::tempdir().unwrap();
    let expected = filled(dir.path()).await;
    let path = dir.path().join("store.redb");
    let intact = fs::read(&path).unwrap();
    let mut refused = 0;
    for seed in 0..DAMAGED_FILES {
        fs::write(&path, damage(&intact, &mut Dice::seeded(seed))).unwrap();
        match read_all(dir.path()).await {
            Ok(items) => assert!(items == expected, "seed {seed}: other data"),
            Err(error) => {
                refused += 1;
                assert!(
                    matches!(error, StoreError::Damaged { .. }),
                    "seed {seed}: {error}"
                );
            }
        }
    }
    assert!(refused > DAMAGED_FILES / 10, "{refused} refused");
    fs::write(&path, &intact).unwrap();
    assert!(read_all(dir.path()).await.unwrap() == expected);
}

#[tokio::test]
async fn a_damaged_file_names_the_way_out() {
    let dir = tempfile::tempdir().unwrap();
    filled(dir.path()).await;
    let path = dir.path().join("store.redb");
    let half = fs::metadata(&path).unwrap().len() / 2;
    let file = fs::OpenOptions::new().write(true).open(&path).unwrap();
    file.set_len(half).unwrap();
    for refusal in [
        open(dir.path(), &Schema::first()).err().unwrap(),
        check(dir.path()).err().unwrap(),
    ] {
        let text = refusal.to_string();
        assert!(text.contains("malha store check"), "{text}");
        assert!(text.contains("malha restore"), "{text}");
    }
}

#[tokio::test]
async fn an_emptied_file_is_damage_and_not_a_new_store() {
    let dir = tempfile::tempdir().unwrap();
    filled(dir.path()).await;
    fs::write(dir.path().join("store.redb"), b"").unwrap();
    assert!(matches!(
        open(dir.path(), &Schema::first()),
        Err(StoreError::Damaged { .. })
    ));
}

/// Which commit counts as the last one is said here.
#[tokio::test]
async fn a_damaged_file_header_gives_the_right_data_or_a_clear_error() {
    let dir = tempfile::tempdir().unwrap();
    let expected = filled(dir.path()).await;
    let path = dir.path().join("store.redb");
    let intact = fs::read(&path).unwrap();
    let each_bit = (0..FLAG_BYTES).flat_map(|at| (0..8).map(move |bit| (at, 1 << bit)));
    let each_byte = (FLAG_BYTES..HEADER_BYTES).map(|at| (at, 0x55));
    for (at, flip) in each_bit.chain(each_byte) {
        let mut flipped = intact.clone();
        flipped[at] ^= flip;
        fs::write(&path, &flipped).unwrap();
        match read_all(dir.path()).await {
            Ok(items) => assert!(items == expected, "byte {at}: other data"),
            Err(error) => assert!(
                matches!(error, StoreError::Damaged { .. }),
                "byte {at}: {error}"
            ),
        }
    }
}

const PAGE_BYTES: usize = 4096;
const DAMAGED_FILES: u64 = 300;
/// redb's magic number and flags.
const FLAG_BYTES: usize = 24;
/// redb's whole header with its two commit slots.
const HEADER_BYTES: usize = 320;
