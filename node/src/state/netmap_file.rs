//! The last-known-good netmap on disk: a version byte, the SHA-256 of what follows, and the map in CBOR. A file that is not
//! exactly this is damaged, never half-read.

use std::path::Path;

use malha_proto::Netmap;
use sha2::{Digest, Sha256};

use super::{StateError, atomic};

pub(super) fn write(path: &Path, netmap: &Netmap) -> Result<(), StateError> {
    atomic::write(path, &encode(netmap))
}

pub(super) fn read(path: &Path) -> Result<Option<Netmap>, StateError> {
    let Some(bytes) = atomic::read(path)? else {
        return Ok(None);
    };
    decode(&bytes)
        .map(Some)
        .map_err(|why| StateError::damaged(path, why))
}

pub(super) fn encode(netmap: &Netmap) -> Vec<u8> {
    let mut bytes = vec![0; HEAD_BYTES];
    match minicbor::encode(netmap, &mut bytes) {
        Ok(()) => {}
        Err(infallible) => unreachable!("a Vec takes every write: {infallible}"),
    }
    bytes[0] = VERSION;
    let sum: [u8; SUM_BYTES] = Sha256::digest(&bytes[HEAD_BYTES..]).into();
    bytes[1..HEAD_BYTES].copy_from_slice(&sum);
    bytes
}

fn decode(bytes: &[u8]) -> Result<Netmap, String> {
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
