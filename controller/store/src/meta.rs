//! The store's own records: its epoch, its schema and its head. They are sealed like any other record.

use std::fmt;

use data_encoding::HEXLOWER;

use crate::engine::{View, Writes};
use crate::error::StoreError;
use crate::layout;
use crate::record::{StoreRevision, seal, unseal};

/// Names one life of a store: random, and new after a restore. A watcher that knows another epoch reads everything again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Epoch(pub(crate) [u8; EPOCH_BYTES]);

impl Epoch {
    pub(crate) fn random() -> Result<Self, StoreError> {
        let mut bytes = [0; EPOCH_BYTES];
        getrandom::fill(&mut bytes).map_err(|error| StoreError::Io {
            attempt: "drawing a random epoch",
            problem: error.to_string(),
        })?;
        Ok(Self(bytes))
    }
}

impl fmt::Display for Epoch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&HEXLOWER.encode(&self.0))
    }
}

/// How far the store has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Head {
    pub(crate) revision: StoreRevision,
    /// The first revision the change log still holds, or the next one if it holds none.
    pub(crate) oldest_change: StoreRevision,
    /// How many keys have a value; compared with what is found, so a vanished record is seen.
    pub(crate) keys: u64,
}

/// The records of a store that holds nothing yet.
pub(crate) fn first_writes(schema: u32, epoch: Epoch) -> Writes {
    let mut writes = Writes::new();
    let head = Head {
        oldest_change: StoreRevision::ZERO.next(),
        ..Head::default()
    };
    put_schema(&mut writes, schema);
    put_epoch(&mut writes, epoch);
    put_head(&mut writes, &head);
    writes
}

pub(crate) fn put_schema(writes: &mut Writes, schema: u32) {
    put(writes, layout::SCHEMA, &schema.to_be_bytes());
}

pub(crate) fn put_epoch(writes: &mut Writes, epoch: Epoch) {
    put(writes, layout::EPOCH, &epoch.0);
}

pub(crate) fn put_head(writes: &mut Writes, head: &Head) {
    let payload: Vec<u8> = [head.revision.0, head.oldest_change.0, head.keys]
        .iter()
        .flat_map(|number| number.to_be_bytes())
        .collect();
    put(writes, layout::HEAD, &payload);
}

pub(crate) fn read_schema(view: &dyn View) -> Result<u32, StoreError> {
    Ok(u32::from_be_bytes(read(view, layout::SCHEMA)?))
}

pub(crate) fn read_epoch(view: &dyn View) -> Result<Epoch, StoreError> {
    Ok(Epoch(read(view, layout::EPOCH)?))
}

pub(crate) fn read_head(view: &dyn View) -> Result<Head, StoreError> {
    let payload: [u8; 24] = read(view, layout::HEAD)?;
    let number = |index: usize| {
        let mut bytes = [0; 8];
        bytes.copy_from_slice(&payload[index * 8..(index + 1) * 8]);
        u64::from_be_bytes(bytes)
    };
    Ok(Head {
        revision: StoreRevision(number(0)),
        oldest_change: StoreRevision(number(1)),
        keys: number(2),
    })
}

fn put(writes: &mut Writes, key: &[u8], payload: &[u8]) {
    let sealed = seal(key, StoreRevision::ZERO, StoreRevision::ZERO, payload);
    writes.insert(key.to_vec(), Some(sealed));
}

fn read<const BYTES: usize>(view: &dyn View, key: &[u8]) -> Result<[u8; BYTES], StoreError> {
    let damaged = |problem| StoreError::damaged(layout::describe(key), problem);
    let sealed = view.get(key)?.ok_or_else(|| damaged("it is missing"))?;
    let payload = unseal(key, &sealed)?.payload;
    payload
        .try_into()
        .map_err(|_| damaged("it has the wrong length"))
}

const EPOCH_BYTES: usize = 16;
