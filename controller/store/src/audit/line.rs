//! One line of the audit log: JSON whose last field is the hash over all bytes before it, so that no byte can change
//! unseen.

use data_encoding::HEXLOWER;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::{AuditEntry, AuditError, AuditHash, AuditHead, AuditRecord, MAX_LINE_BYTES};

#[derive(Serialize)]
struct Chained<'a> {
    sequence: u64,
    previous: AuditHash,
    #[serde(flatten)]
    record: &'a AuditRecord,
}

/// A line whose own hash holds.
#[derive(Deserialize)]
pub(super) struct Line {
    sequence: u64,
    previous: AuditHash,
    hash: AuditHash,
    #[serde(flatten)]
    record: AuditRecord,
}

/// Adds the line of `record`, which follows `head`, to `bytes`, and gives the new head.
pub(super) fn append_line(
    bytes: &mut Vec<u8>,
    head: AuditHead,
    record: &AuditRecord,
) -> Result<AuditHead, AuditError> {
    let sequence = head.sequence + 1;
    let chained = Chained {
        sequence,
        previous: head.hash,
        record,
    };
    let mut body = serde_json::to_vec(&chained).map_err(|error| AuditError::TooLarge {
        problem: error.to_string(),
    })?;
    // The closing brace comes after the hash.
    body.pop();
    let line_bytes = body.len() + TAIL_BYTES + END.len();
    if line_bytes > MAX_LINE_BYTES {
        return Err(AuditError::TooLarge {
            problem: format!("its line has {line_bytes} bytes and the limit is {MAX_LINE_BYTES}"),
        });
    }
    let hash = body_hash(&body);
    bytes.extend_from_slice(&body);
    bytes.extend_from_slice(HASH_FIELD);
    bytes.extend_from_slice(HEXLOWER.encode(&hash.0).as_bytes());
    bytes.extend_from_slice(CLOSING);
    bytes.extend_from_slice(END);
    Ok(AuditHead { sequence, hash })
}

/// Reads a line without its end; says what is wrong with it otherwise.
pub(super) fn parse(line: &[u8]) -> Result<Line, String> {
    let body_bytes = line
        .len()
        .checked_sub(TAIL_BYTES)
        .ok_or("it is too short")?;
    let (body, tail) = line.split_at(body_bytes);
    let written = tail
        .strip_prefix(HASH_FIELD)
        .and_then(|rest| rest.strip_suffix(CLOSING))
        .ok_or("it does not end with its hash")?;
    if HEXLOWER.encode(&body_hash(body).0).as_bytes() != written {
        return Err("its hash does not match its content".to_owned());
    }
    serde_json::from_slice(line).map_err(|error| error.to_string())
}

impl Line {
    /// The head that the line says it follows.
    pub(super) fn claimed_before(&self) -> AuditHead {
        AuditHead {
            sequence: self.sequence.saturating_sub(1),
            hash: self.previous,
        }
    }

    /// The entry, if the line follows `head`.
    pub(super) fn following(self, head: AuditHead) -> Result<AuditEntry, String> {
        let expected = head.sequence + 1;
        if self.sequence != expected {
            return Err(format!("it has number {}, not {expected}", self.sequence));
        }
        if self.previous != head.hash {
            return Err("it does not follow the line before it".to_owned());
        }
        Ok(AuditEntry {
            sequence: self.sequence,
            hash: self.hash,
            record: self.record,
        })
    }
}

fn body_hash(body: &[u8]) -> AuditHash {
    AuditHash(Sha256::digest(body).into())
}

pub(super) const END: &[u8] = b"\n";
const HASH_FIELD: &[u8] = br#","hash":""#;
const CLOSING: &[u8] = br#""}"#;
const HEX_BYTES: usize = 64;
const TAIL_BYTES: usize = HASH_FIELD.len() + HEX_BYTES + CLOSING.len();
