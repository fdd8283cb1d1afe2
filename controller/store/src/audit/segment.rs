//! The files of the audit log, numbered from 1 without gaps. It reads lines in order and stops at the first bad one; what
//! that means is decided by whoever reads.

use std::fs::{self, File, OpenOptions};
use std::io::{BufRead, BufReader, Read as _};
use std::path::{Path, PathBuf};

use super::line::{self, END};
use super::{AuditEntry, AuditError, AuditHead, MAX_LINE_BYTES};
use crate::folder;

/// How far a segment could be read.
pub(super) struct Read {
    /// The head after the last good line.
    pub(super) head: AuditHead,
    pub(super) intact_bytes: u64,
    pub(super) file_bytes: u64,
    /// The first bad line, with what is wrong with it.
    pub(super) bad_line: Option<(u64, String)>,
}

impl Read {
    pub(super) fn into_error(self, number: u64) -> AuditError {
        let (line, problem) = self.bad_line.unwrap_or_default();
        AuditError::BadLine {
            segment: name(number),
            line,
            problem,
        }
    }
}

/// The numbers of the segments there are; an error if there is a gap.
pub(super) fn list(dir: &Path) -> Result<Vec<u64>, AuditError> {
    let failed = |error| AuditError::io("listing the audit log's folder", &error);
    let mut numbers = Vec::new();
    for file in fs::read_dir(dir).map_err(failed)? {
        let file_name = file.map_err(failed)?.file_name();
        numbers.extend(file_name.to_str().and_then(parse_name));
    }
    numbers.sort_unstable();
    match (1..)
        .zip(&numbers)
        .find(|(expected, found)| expected != *found)
    {
        Some((expected, _)) => Err(AuditError::MissingSegment {
            segment: name(expected),
        }),
        None => Ok(numbers),
    }
}

/// Reads the lines that follow `head`, up to the end or the first bad one.
pub(super) fn read(
    dir: &Path,
    number: u64,
    mut head: AuditHead,
    visit: &mut dyn FnMut(AuditEntry),
) -> Result<Read, AuditError> {
    let failed = |error| AuditError::io("reading the audit log", &error);
    let file = File::open(path(dir, number)).map_err(failed)?;
    let file_bytes = file.metadata().map_err(failed)?.len();
    let mut input = BufReader::new(file);
    let mut intact_bytes = 0;
    let mut line_number = 0;
    let bad_line = loop {
        let mut bytes = Vec::new();
        let read = (&mut input)
            .take(MAX_LINE_BYTES as u64)
            .read_until(b'\n', &mut bytes)
            .map_err(failed)?;
        if read == 0 {
            break None;
        }
        line_number += 1;
        let entry = match bytes.strip_suffix(END) {
            Some(text) => line::parse(text).and_then(|line| line.following(head)),
            None if read == MAX_LINE_BYTES => Err("it is too long".to_owned()),
            None => Err("it is unfinished".to_owned()),
        };
        match entry {
            Ok(entry) => {
                head = AuditHead {
                    sequence: entry.sequence,
                    hash: entry.hash,
                };
                intact_bytes += read as u64;
                visit(entry);
            }
            Err(problem) => break Some((line_number, problem)),
        }
    };
    Ok(Read {
        head,
        intact_bytes,
        file_bytes,
        bad_line,
    })
}

/// The head that the first line of a segment says it follows. That it does is for [`verify`](super::verify) to see.
pub(super) fn head_before(dir: &Path, number: u64) -> Result<AuditHead, AuditError> {
    if number == 1 {
        return Ok(AuditHead::EMPTY);
    }
    let mut bytes = Vec::new();
    File::open(path(dir, number))
        .and_then(|file| {
            BufReader::new(file.take(MAX_LINE_BYTES as u64)).read_until(b'\n', &mut bytes)
        })
        .map_err(|error| AuditError::io("reading the audit log", &error))?;
    let first = bytes.strip_suffix(END).ok_or("it is unfinished".to_owned());
    match first.and_then(line::parse) {
        Ok(first) => Ok(first.claimed_before()),
        Err(problem) => Err(AuditError::BadLine {
            segment: name(number),
            line: 1,
            problem,
        }),
    }
}

pub(super) fn open(dir: &Path, number: u64) -> Result<File, AuditError> {
    OpenOptions::new()
        .append(true)
        .open(path(dir, number))
        .map_err(|error| AuditError::io("opening the audit log", &error))
}

pub(super) fn create(dir: &Path, number: u64) -> Result<File, AuditError> {
    let path = path(dir, number);
    folder::open_private(&path)
        .and_then(|_| folder::sync_folder(dir))
        .map_err(|error| AuditError::io("making an audit log segment", &error))?;
    open(dir, number)
}

pub(super) fn name(number: u64) -> String {
    format!("{NAME_START}{number:0NAME_DIGITS$}{NAME_END}")
}

fn path(dir: &Path, number: u64) -> PathBuf {
    dir.join(name(number))
}

fn parse_name(file_name: &str) -> Option<u64> {
    let number = file_name
        .strip_prefix(NAME_START)?
        .strip_suffix(NAME_END)?
        .parse()
        .ok()?;
    // Only the exact name counts, so that no number has two files.
    (name(number) == file_name).then_some(number)
}

const NAME_START: &str = "audit-";
const NAME_END: &str = ".jsonl";
const NAME_DIGITS: usize = 8;
