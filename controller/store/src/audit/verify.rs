//! Checks an audit log offline, line by line from the first, and names the first bad one. It changes nothing and needs no
//! lock, so it also works beside a running controller and on a copy.

use std::path::Path;

use super::{AuditError, AuditHash, AuditHead, head_file, segment};

/// What a log that holds together consists of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuditReport {
    pub segments: u64,
    /// The end of the chain; its sequence is also the number of lines.
    pub head: AuditHead,
    /// Lines after the expected head. Some are normal if that head was recorded a moment before.
    pub lines_beyond_expected: u64,
    /// Bytes at the very end that were never acknowledged: being written, or left by a crash.
    pub unfinished_bytes: u64,
}

/// Reads the whole log in `dir`. The log must reach the head in its head file, and `expected_head`, which should come from
/// somewhere the log's writer can't reach. Blocks on the disk.
pub fn verify(dir: &Path, expected_head: Option<AuditHead>) -> Result<AuditReport, AuditError> {
    let acknowledged = head_file::read(dir)?;
    let expected = expected_head.unwrap_or(acknowledged);
    let numbers = segment::list(dir)?;
    let mut at = AuditHead::EMPTY;
    let mut seen_acknowledged = None;
    let mut seen_expected = None;
    let mut unfinished_bytes = 0;
    for (index, &number) in numbers.iter().enumerate() {
        let read = segment::read(dir, number, at, &mut |entry| {
            if entry.sequence == acknowledged.sequence {
                seen_acknowledged = Some(entry.hash);
            }
            if entry.sequence == expected.sequence {
                seen_expected = Some(entry.hash);
            }
        })?;
        at = read.head;
        if read.bad_line.is_some() {
            let last = index + 1 == numbers.len();
            if !last || at.sequence < acknowledged.sequence.max(expected.sequence) {
                return Err(read.into_error(number));
            }
            unfinished_bytes = read.file_bytes - read.intact_bytes;
        }
    }
    reached(at, seen_acknowledged, acknowledged)?;
    reached(at, seen_expected, expected)?;
    Ok(AuditReport {
        segments: numbers.len() as u64,
        head: at,
        lines_beyond_expected: at.sequence - expected.sequence,
        unfinished_bytes,
    })
}

/// Whether a chain that ends at `end`, and had the hash `seen` at the number of `head`, contains `head`.
pub(super) fn reached(
    end: AuditHead,
    seen: Option<AuditHash>,
    head: AuditHead,
) -> Result<(), AuditError> {
    if end.sequence < head.sequence {
        return Err(AuditError::Truncated {
            acknowledged: head.sequence,
            found: end.sequence,
        });
    }
    let found = if head.sequence == AuditHead::EMPTY.sequence {
        Some(AuditHead::EMPTY.hash)
    } else {
        seen
    };
    if found == Some(head.hash) {
        Ok(())
    } else {
        Err(AuditError::Rewritten {
            sequence: head.sequence,
        })
    }
}
