//! The audit log: who did what to what, and how it ended, in append-only segment files in which each line carries the hash
//! of the one before. It is apart from the store, and never changes or removes a line that was acknowledged.
//!
//! A line counts as acknowledged once it and the head file are fsynced. A changed, removed, added or moved line is found by
//! [`verify`]; someone who can write the files can rewrite the whole chain, so keep the [`AuditHead`] elsewhere too, in the
//! store, and pass it to [`verify`].

mod head_file;
mod line;
mod segment;
#[cfg(test)]
mod tests;
mod verify;

use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};

use data_encoding::HEXLOWER;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::folder;
use head_file::HeadFile;
pub use verify::{AuditReport, verify};

/// What is written down about one attempt.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AuditRecord {
    /// Milliseconds since 1970.
    pub at_ms: u64,
    /// Who: an operator, an API key, a node, or the controller itself.
    pub actor: String,
    /// From where, such as an address.
    pub source: String,
    /// What was attempted, as noun and verb.
    pub action: String,
    /// On what.
    pub target: String,
    pub outcome: AuditOutcome,
    /// The revision the attempt led to, if it changed something.
    pub revision: Option<u64>,
    /// Anything else worth knowing. Never a secret.
    pub detail: BTreeMap<String, String>,
}

/// How an attempt ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum AuditOutcome {
    Accepted,
    /// A rule said no.
    Refused,
    /// Something broke.
    Failed,
}

/// A record with its place in the chain.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuditEntry {
    pub sequence: u64,
    pub hash: AuditHash,
    pub record: AuditRecord,
}

/// The end of the chain: the last line's number, from 1 on, and hash. It stands for everything before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct AuditHead {
    pub sequence: u64,
    pub hash: AuditHash,
}

impl AuditHead {
    /// The head of a log without lines.
    pub const EMPTY: Self = Self {
        sequence: 0,
        hash: AuditHash([0; HASH_BYTES]),
    };
}

/// SHA-256 of a line, written in hex.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct AuditHash(pub [u8; HASH_BYTES]);

/// Why the audit log did not do what it was asked, or what is wrong with it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AuditError {
    #[error("{dir}: in use by another malha serve; stop it or talk to it through the API")]
    InUse { dir: String },

    /// The caller's record, or number of records, is over the limit; nothing was written.
    #[error("audit record refused: {problem}")]
    TooLarge { problem: String },

    #[error(
        "{segment}, line {line}: {problem}; the audit log was changed outside malha or is damaged"
    )]
    BadLine {
        segment: String,
        line: u64,
        problem: String,
    },

    #[error("{segment} is missing; the audit log was changed outside malha or is damaged")]
    MissingSegment { segment: String },

    #[error(
        "the audit log ends at line {found}, but lines up to {acknowledged} were acknowledged; the rest was removed"
    )]
    Truncated { acknowledged: u64, found: u64 },

    #[error("line {sequence} is not the one that was acknowledged; the audit log was rewritten")]
    Rewritten { sequence: u64 },

    #[error(
        "{dir}: the file that holds the acknowledged head is missing or damaged, so it can't be told whether lines were \
         removed"
    )]
    HeadLost { dir: String },

    #[error("{attempt}: {problem}")]
    Io {
        attempt: &'static str,
        problem: String,
    },

    /// An earlier append failed half-way, and what it left can't be taken back yet. The next append tries again.
    #[error("the audit log takes no records until its disk does: {problem}, after: {cause}")]
    Stopped { cause: String, problem: String },
}

/// An audit log open for appending. One process has it; calls block on the disk.
pub struct AuditLog {
    dir: PathBuf,
    segment_bytes_limit: u64,
    head_file: HeadFile,
    head: AuditHead,
    segment: Option<OpenSegment>,
    recent: VecDeque<AuditEntry>,
    stopped: Option<String>,
}

struct OpenSegment {
    number: u64,
    file: File,
    /// Of acknowledged lines: what stands behind them is taken back.
    bytes: u64,
}

impl AuditLog {
    /// Opens or makes the log in `dir` and checks its last two segments against the acknowledged head. Lines beyond that
    /// head that a crash left unfinished are cut off; anything else that is wrong is an error.
    pub fn open(dir: &Path) -> Result<Self, AuditError> {
        Self::open_with_segments_of(dir, SEGMENT_BYTES)
    }

    fn open_with_segments_of(dir: &Path, segment_bytes_limit: u64) -> Result<Self, AuditError> {
        folder::create_private(dir)
            .map_err(|error| AuditError::io("making the audit log's folder", &error))?;
        let (head_file, acknowledged) = HeadFile::open(dir)?;
        let mut log = Self {
            dir: dir.to_owned(),
            segment_bytes_limit,
            head_file,
            head: acknowledged,
            segment: None,
            recent: VecDeque::new(),
            stopped: None,
        };
        log.load(acknowledged)?;
        Ok(log)
    }

    /// Appends one record durably.
    pub fn append(&mut self, record: &AuditRecord) -> Result<AuditHead, AuditError> {
        self.append_all(std::slice::from_ref(record))
    }

    /// Appends records durably, in order, with one fsync for all. What an I/O error left half-written is taken back first by
    /// the next append, which goes on as if the failed one had never been.
    pub fn append_all(&mut self, records: &[AuditRecord]) -> Result<AuditHead, AuditError> {
        if let Some(cause) = self.stopped.clone() {
            self.resume().map_err(|error| AuditError::Stopped {
                cause,
                problem: error.to_string(),
            })?;
        }
        if records.len() > MAX_APPEND_RECORDS {
            return Err(AuditError::TooLarge {
                problem: format!(
                    "{} records at once are over the limit of {MAX_APPEND_RECORDS}",
                    records.len()
                ),
            });
        }
        let mut head = self.head;
        let mut bytes = Vec::new();
        let mut entries = Vec::new();
        for record in records {
            head = line::append_line(&mut bytes, head, record)?;
            entries.push(AuditEntry {
                sequence: head.sequence,
                hash: head.hash,
                record: record.clone(),
            });
        }
        if entries.is_empty() {
            return Ok(head);
        }
        if let Err(error) = self.write(&bytes, head) {
            self.stopped = Some(error.to_string());
            return Err(error);
        }
        self.head = head;
        for entry in entries {
            remember(&mut self.recent, entry);
        }
        Ok(head)
    }

    /// The end of the chain.
    pub fn head(&self) -> AuditHead {
        self.head
    }

    /// The last `count` entries, oldest first; at most [`MAX_TAIL_ENTRIES`].
    pub fn tail(&self, count: usize) -> Vec<AuditEntry> {
        let skipped = self.recent.len().saturating_sub(count);
        self.recent.iter().skip(skipped).cloned().collect()
    }

    fn load(&mut self, acknowledged: AuditHead) -> Result<(), AuditError> {
        let numbers = segment::list(&self.dir)?;
        let Some(&last) = numbers.last() else {
            return verify::reached(AuditHead::EMPTY, None, acknowledged);
        };
        let first_read = last.saturating_sub(1).max(1);
        let mut at = segment::head_before(&self.dir, first_read)?;
        let mut seen = (at.sequence == acknowledged.sequence).then_some(at.hash);
        let mut end = None;
        for number in first_read..=last {
            let read = segment::read(&self.dir, number, at, &mut |entry| {
                if entry.sequence == acknowledged.sequence {
                    seen = Some(entry.hash);
                }
                remember(&mut self.recent, entry);
            })?;
            at = read.head;
            if read.bad_line.is_some() && number != last {
                return Err(read.into_error(number));
            }
            end = Some(read);
        }
        if let Some(read) = end {
            if read.bad_line.is_some() && at.sequence < acknowledged.sequence {
                return Err(read.into_error(last));
            }
            verify::reached(at, seen, acknowledged)?;
            self.continue_segment(last, &read)?;
        }
        if at != acknowledged {
            self.head_file.write(at)?;
        }
        self.head = at;
        Ok(())
    }

    fn continue_segment(&mut self, number: u64, read: &segment::Read) -> Result<(), AuditError> {
        let file = segment::open(&self.dir, number)?;
        if read.intact_bytes < read.file_bytes {
            let cut_bytes = read.file_bytes - read.intact_bytes;
            tracing::warn!(
                cut_bytes,
                "cutting an unfinished, unacknowledged audit line"
            );
            file.set_len(read.intact_bytes)
                .map_err(|error| AuditError::io("cutting an unfinished audit line", &error))?;
        }
        // Complete lines beyond the acknowledged head may not be durable yet, and are about to be acknowledged.
        file.sync_all()
            .map_err(|error| AuditError::io("making the audit log durable", &error))?;
        self.segment = Some(OpenSegment {
            number,
            file,
            bytes: read.intact_bytes,
        });
        Ok(())
    }

    fn write(&mut self, bytes: &[u8], head: AuditHead) -> Result<(), AuditError> {
        let added_bytes = bytes.len() as u64;
        let segment = self.segment_for(added_bytes)?;
        segment
            .file
            .write_all(bytes)
            .and_then(|()| segment.file.sync_data())
            .map_err(|error| AuditError::io("appending to the audit log", &error))?;
        self.head_file.write(head)?;
        if let Some(segment) = &mut self.segment {
            segment.bytes += added_bytes;
        }
        Ok(())
    }

    /// Takes back what a failed append left. The head goes first: after a crash between the two there are lines that nobody
    /// acknowledged, which the next start knows, and never an acknowledged head without its lines.
    fn resume(&mut self) -> Result<(), AuditError> {
        self.head_file.write(self.head)?;
        match &mut self.segment {
            Some(segment) => {
                segment.file = segment::open(&self.dir, segment.number)?;
                let cut = segment.file.set_len(segment.bytes);
                cut.and_then(|()| segment.file.sync_all())
                    .map_err(|error| AuditError::io("cutting an unfinished audit line", &error))?;
            }
            // Not even the file of a new segment could be made.
            None => {
                self.recent.clear();
                self.load(self.head)?;
            }
        }
        tracing::info!(
            lines = self.head.sequence,
            "the audit log takes records again"
        );
        self.stopped = None;
        Ok(())
    }

    fn segment_for(&mut self, bytes: u64) -> Result<&mut OpenSegment, AuditError> {
        let segment = match self.segment.take() {
            Some(segment)
                if segment.bytes == 0 || segment.bytes + bytes <= self.segment_bytes_limit =>
            {
                segment
            }
            full => {
                let number = full.map_or(1, |segment| segment.number + 1);
                let file = segment::create(&self.dir, number)?;
                OpenSegment {
                    number,
                    file,
                    bytes: 0,
                }
            }
        };
        Ok(self.segment.insert(segment))
    }
}

fn remember(recent: &mut VecDeque<AuditEntry>, entry: AuditEntry) {
    if recent.len() == MAX_TAIL_ENTRIES {
        recent.pop_front();
    }
    recent.push_back(entry);
}

impl AuditError {
    fn io(attempt: &'static str, error: &std::io::Error) -> Self {
        Self::Io {
            attempt,
            problem: error.to_string(),
        }
    }
}

impl fmt::Display for AuditHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&HEXLOWER.encode(&self.0))
    }
}

impl Serialize for AuditHash {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for AuditHash {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        HEXLOWER
            .decode(text.as_bytes())
            .ok()
            .and_then(|bytes| bytes.try_into().ok())
            .map(Self)
            .ok_or_else(|| serde::de::Error::custom("a hash is 64 lowercase hex digits"))
    }
}

/// Most entries [`AuditLog::tail`] gives.
pub const MAX_TAIL_ENTRIES: usize = 1000;
/// Most records in one [`AuditLog::append_all`]; with the line limit this keeps the acknowledged head in the last two
/// segments.
pub const MAX_APPEND_RECORDS: usize = 1000;
/// Longest line, in bytes with its end.
pub const MAX_LINE_BYTES: usize = 16 * 1024;
const SEGMENT_BYTES: u64 = 64 * 1024 * 1024;
const HASH_BYTES: usize = 32;
