//! What the controller said, on disk: a version byte, the SHA-256 of what follows, and the value in CBOR. A file that is not
//! exactly this is damaged, never half-read.

use std::path::Path;

use minicbor::{Decode, Encode};
use sha2::{Digest, Sha256};

use super::{StateError, atomic};

pub(super) fn write<T: Encode<()>>(path: &Path, value: &T) -> Result<(), StateError> {
    atomic::write(path, &encode(value))
}

/// None when there is no such file.
pub(super) fn read<T>(path: &Path) -> Result<Option<T>, StateError>
where
    T: for<'b> Decode<'b, ()>,
{
    let Some(bytes) = atomic::read(path)? else {
        return Ok(None);
    };
    decode(&bytes)
        .map(Some)
        .map_err(|why| StateError::damaged(path, why))
}

pub(super) fn encode<T: Encode<()>>(value: &T) -> Vec<u8> {
    let mut bytes = vec![0; HEAD_BYTES];
    match minicbor::encode(value, &mut bytes) {
        Ok(()) => {}
        Err(infallible) => unreachable!("a Vec takes every write: {infallible}"),
    }
    bytes[0] = VERSION;
    let sum: [u8; SUM_BYTES] = Sha256::digest(&bytes[HEAD_BYTES..]).into();
    bytes[1..HEAD_BYTES].copy_from_slice(&sum);
    bytes
}

fn decode<T>(bytes: &[u8]) -> Result<T, String>
where
    T: for<'b> Decode<'b, ()>,
{
    let (head, body) = bytes
        .split_first_chunk::<HEAD_BYTES>()
        .ok_or("it is cut short")?;
    if head[0] != VERSION {
        return Err(format!("it is of version {}", head[0]));
    }
    if head[1..] != Sha256::digest(body)[..] {
        return Err("its checksum is wrong".into());
    }
    minicbor::decode(body).map_err(|error| error.to_string())
}

const VERSION: u8 = 1;
const SUM_BYTES: usize = 32;
const HEAD_BYTES: usize = 1 + SUM_BYTES;
