//! The envelope around each stored value: version, revisions, payload and a hash over the key and all of them, so that a
//! changed, moved or mixed-up record is seen. It never guards against someone who can write the file and knows the format.

use std::fmt;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::error::StoreError;
use crate::key::Value;
use crate::layout;

/// The number of a committed change. It only grows, within one [`Epoch`](crate::Epoch).
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct StoreRevision(pub u64);

impl StoreRevision {
    /// The revision of a store nothing was ever committed to.
    pub const ZERO: Self = Self(0);

    pub(crate) fn next(self) -> Self {
        Self(self.0 + 1)
    }
}

impl fmt::Display for StoreRevision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A stored value with the revisions that made it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    pub value: Value,
    /// The revision that first put the key since it was last absent.
    pub created: StoreRevision,
    /// The revision that last put the key.
    pub modified: StoreRevision,
}

/// An opened envelope; the payload borrows from the stored bytes.
pub(crate) struct Unsealed<'a> {
    pub(crate) created: StoreRevision,
    pub(crate) modified: StoreRevision,
    pub(crate) payload: &'a [u8],
}

/// Puts `payload` into an envelope that only `key` can open.
pub(crate) fn seal(
    key: &[u8],
    created: StoreRevision,
    modified: StoreRevision,
    payload: &[u8],
) -> Vec<u8> {
    let mut sealed = Vec::with_capacity(HEADER_BYTES + payload.len() + HASH_BYTES);
    sealed.push(ENVELOPE_VERSION);
    sealed.extend_from_slice(&created.0.to_be_bytes());
    sealed.extend_from_slice(&modified.0.to_be_bytes());
    sealed.extend_from_slice(payload);
    let hash = envelope_hash(key, &sealed);
    sealed.extend_from_slice(&hash);
    sealed
}

/// Opens the envelope stored under `key`, or says that it is damaged.
pub(crate) fn unseal<'a>(key: &[u8], sealed: &'a [u8]) -> Result<Unsealed<'a>, StoreError> {
    let damaged = |problem: &str| StoreError::damaged(layout::describe(key), problem);
    let Some((body, hash)) = sealed.split_last_chunk::<HASH_BYTES>() else {
        return Err(damaged("it is shorter than an envelope"));
    };
    if envelope_hash(key, body) != *hash {
        return Err(damaged("its checksum does not match its content"));
    }
    let parts = body.split_first().and_then(|(version, rest)| {
        let (created, rest) = rest.split_first_chunk::<8>()?;
        let (modified, payload) = rest.split_first_chunk::<8>()?;
        Some((*version, created, modified, payload))
    });
    match parts {
        Some((ENVELOPE_VERSION, created, modified, payload)) => Ok(Unsealed {
            created: StoreRevision(u64::from_be_bytes(*created)),
            modified: StoreRevision(u64::from_be_bytes(*modified)),
            payload,
        }),
        Some((version, ..)) => Err(damaged(&format!("envelope version {version} is unknown"))),
        None => Err(damaged("it is shorter than an envelope")),
    }
}

/// Opens the envelope of a caller's record.
pub(crate) fn unseal_entry(key: &[u8], sealed: &[u8]) -> Result<Entry, StoreError> {
    let unsealed = unseal(key, sealed)?;
    let value = Value::new(unsealed.payload)
        .map_err(|error| StoreError::damaged(layout::describe(key), error.to_string()))?;
    Ok(Entry {
        value,
        created: unsealed.created,
        modified: unsealed.modified,
    })
}

fn envelope_hash(key: &[u8], body: &[u8]) -> [u8; HASH_BYTES] {
    let mut hasher = Sha256::new();
    hasher.update((key.len() as u64).to_be_bytes());
    hasher.update(key);
    hasher.update(body);
    let full: [u8; 32] = hasher.finalize().into();
    let mut truncated = [0; HASH_BYTES];
    truncated.copy_from_slice(&full[..HASH_BYTES]);
    truncated
}

const ENVELOPE_VERSION: u8 = 1;
const HEADER_BYTES: usize = 1 + 8 + 8;
const HASH_BYTES: usize = 16;

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &[u8] = b"d/node/1";

    fn sealed() -> Vec<u8> {
        seal(KEY, StoreRevision(3), StoreRevision(7), b"payload")
    }

    #[test]
    fn an_envelope_gives_back_what_was_put_in() {
        let sealed = sealed();
        let unsealed = unseal(KEY, &sealed).unwrap();
        assert_eq!(unsealed.created, StoreRevision(3));
        assert_eq!(unsealed.modified, StoreRevision(7));
        assert_eq!(unsealed.payload, b"payload");
    }

    #[test]
    fn each_flipped_bit_is_damage() {
        let intact = sealed();
        for position in 0..intact.len() * 8 {
            let mut flipped = intact.clone();
            flipped[position / 8] ^= 1 << (position % 8);
            assert!(unseal(KEY, &flipped).is_err(), "bit {position}");
        }
    }

    #[test]
    fn each_cut_is_damage() {
        let intact = sealed();
        for length in 0..intact.len() {
            assert!(unseal(KEY, &intact[..length]).is_err(), "length {length}");
        }
    }

    #[test]
    fn a_record_moved_to_another_key_is_damage() {
        let error = unseal_entry(b"d/node/2", &sealed()).unwrap_err();
        assert!(
            error.to_string().starts_with("record node/2 is damaged"),
            "{error}"
        );
    }
}
