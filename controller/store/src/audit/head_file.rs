//! The file that says up to which line the audit log has been acknowledged. Two slots are written in turn, so that a crash
//! in the middle of a write leaves the older one.

use std::fs::{File, TryLockError};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;

use sha2::{Digest, Sha256};

use super::{AuditError, AuditHash, AuditHead, HASH_BYTES};
use crate::folder;

/// The open file, which is also the lock on the log's folder.
pub(super) struct HeadFile {
    pub(super) file: File,
    next_slot: u64,
}

impl HeadFile {
    /// Opens or makes the file, locks it, and gives the acknowledged head. A new file is only right in a folder that has
    /// no lines, which the caller sees from the empty head.
    pub(super) fn open(dir: &Path) -> Result<(Self, AuditHead), AuditError> {
        let failed = |error| AuditError::io("opening the audit log's head file", &error);
        let file = folder::open_private(&dir.join(FILE_NAME)).map_err(failed)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                return Err(AuditError::InUse {
                    dir: dir.display().to_string(),
                });
            }
            Err(TryLockError::Error(error)) => {
                return Err(AuditError::io("locking the audit log", &error));
            }
        }
        if file.metadata().map_err(failed)?.len() == 0 {
            return Self::begin(dir, file);
        }
        let (slot, head) = newest(&file)
            .map_err(failed)?
            .ok_or_else(|| head_lost(dir))?;
        let next_slot = (slot + 1) % SLOTS;
        Ok((Self { file, next_slot }, head))
    }

    /// Makes `head` the acknowledged one, durably.
    pub(super) fn write(&mut self, head: AuditHead) -> Result<(), AuditError> {
        self.file
            .write_all_at(&encode(head), self.next_slot * SLOT_STRIDE)
            .and_then(|()| self.file.sync_data())
            .map_err(|error| AuditError::io("writing the audit log's head", &error))?;
        self.next_slot = (self.next_slot + 1) % SLOTS;
        Ok(())
    }

    fn begin(dir: &Path, file: File) -> Result<(Self, AuditHead), AuditError> {
        if !super::segment::list(dir)?.is_empty() {
            return Err(head_lost(dir));
        }
        let mut head_file = Self { file, next_slot: 0 };
        head_file.write(AuditHead::EMPTY)?;
        folder::sync_folder(dir)
            .map_err(|error| AuditError::io("making the audit log's head file", &error))?;
        Ok((head_file, AuditHead::EMPTY))
    }
}

/// Reads the acknowledged head without a lock.
pub(super) fn read(dir: &Path) -> Result<AuditHead, AuditError> {
    let newest = File::open(dir.join(FILE_NAME)).and_then(|file| newest(&file));
    match newest {
        Ok(Some((_, head))) => Ok(head),
        Ok(None) => Err(head_lost(dir)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Err(head_lost(dir)),
        Err(error) => Err(AuditError::io("reading the audit log's head file", &error)),
    }
}

fn newest(file: &File) -> io::Result<Option<(u64, AuditHead)>> {
    let mut newest: Option<(u64, AuditHead)> = None;
    for slot in 0..SLOTS {
        let mut bytes = [0; SLOT_BYTES];
        match file.read_exact_at(&mut bytes, slot * SLOT_STRIDE) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => continue,
            Err(error) => return Err(error),
        }
        let Some(head) = decode(&bytes) else {
            continue;
        };
        if newest.is_none_or(|(_, newest)| head.sequence > newest.sequence) {
            newest = Some((slot, head));
        }
    }
    Ok(newest)
}

fn encode(head: AuditHead) -> Vec<u8> {
    let body = [MAGIC.as_slice(), &head.sequence.to_be_bytes(), &head.hash.0].concat();
    let checksum: [u8; HASH_BYTES] = Sha256::digest(&body).into();
    [body.as_slice(), &checksum].concat()
}

fn decode(bytes: &[u8; SLOT_BYTES]) -> Option<AuditHead> {
    let (magic, rest) = bytes.split_first_chunk::<{ MAGIC.len() }>()?;
    let (sequence, rest) = rest.split_first_chunk::<8>()?;
    let (hash, _) = rest.split_first_chunk::<HASH_BYTES>()?;
    let head = AuditHead {
        sequence: u64::from_be_bytes(*sequence),
        hash: AuditHash(*hash),
    };
    (*magic == MAGIC && encode(head) == bytes).then_some(head)
}

fn head_lost(dir: &Path) -> AuditError {
    AuditError::HeadLost {
        dir: dir.display().to_string(),
    }
}

const FILE_NAME: &str = "head";
const MAGIC: [u8; 8] = *b"MALHAUD1";
const SLOT_BYTES: usize = MAGIC.len() + 8 + HASH_BYTES + HASH_BYTES;
const SLOTS: u64 = 2;
/// Far enough apart that no write touches both slots.
const SLOT_STRIDE: u64 = 4096;
