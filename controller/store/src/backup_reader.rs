//! Reads a backup record by record and file by file, and refuses anything but a complete, unchanged one. Nothing it gives may be
//! kept before its trailer has been read.

use std::io::{self, ErrorKind, Read};

use data_encoding::HEXLOWER;
use sha2::{Digest, Sha256};

use crate::backup::{
    BackupHeader, BackupSummary, FIRST_FORMAT, FORMAT, MAGIC, TAG_FILE, TAG_RECORD, TAG_TRAILER,
};
use crate::backup_file::BackupFile;
use crate::error::{BackupFlaw, StoreError};
use crate::key::{Key, Value};
use crate::limits::{
    MAX_BACKUP_FILE_BYTES, MAX_BACKUP_FILE_NAME_BYTES, MAX_KEY_BYTES, MAX_VALUE_BYTES,
};
use crate::meta::Epoch;
use crate::page::Item;
use crate::record::{Entry, StoreRevision};

/// Reads a backup to its end and checks all of it. Blocks on the reader.
pub fn verify_backup(reader: &mut dyn Read) -> Result<BackupSummary, StoreError> {
    read_backup_files(reader, &mut |_| Ok(()))
}

/// The same, and gives each file that goes along. What was made of them counts for nothing unless this ends well.
pub fn read_backup_files(
    reader: &mut dyn Read,
    take: &mut dyn FnMut(BackupFile) -> io::Result<()>,
) -> Result<BackupSummary, StoreError> {
    let mut backup = BackupReader::start(reader)?;
    while let Some(part) = backup.next()? {
        if let Part::File(file) = part {
            let taken = take(file);
            taken.map_err(|error| StoreError::io("taking a file out of the backup", &error))?;
        }
    }
    backup.finish()
}

/// What stands between a backup's header and its trailer.
pub(crate) enum Part {
    Record(Item),
    File(BackupFile),
}

/// A backup that is being read.
pub(crate) struct BackupReader<'a> {
    input: HashedInput<'a>,
    header: BackupHeader,
    keys: u64,
    files: u64,
    last: Option<Key>,
}

impl<'a> BackupReader<'a> {
    pub(crate) fn start(reader: &'a mut dyn Read) -> Result<Self, StoreError> {
        let mut input = HashedInput {
            reader,
            hasher: Sha256::new(),
            offset: 0,
        };
        if input.array()? != MAGIC {
            return Err(input.refused(BackupFlaw::Foreign));
        }
        let format = u16::from_be_bytes(input.array()?);
        if !(FIRST_FORMAT..=FORMAT).contains(&format) {
            return Err(input.refused(BackupFlaw::Format { found: format }));
        }
        let header = BackupHeader {
            schema: u32::from_be_bytes(input.array()?),
            epoch: Epoch(input.array()?),
            revision: StoreRevision(u64::from_be_bytes(input.array()?)),
            taken_at_ms: u64::from_be_bytes(input.array()?),
        };
        Ok(Self {
            input,
            header,
            keys: 0,
            files: 0,
            last: None,
        })
    }

    pub(crate) fn header(&self) -> &BackupHeader {
        &self.header
    }

    /// The next record or file, or `None` where the trailer begins.
    pub(crate) fn next(&mut self) -> Result<Option<Part>, StoreError> {
        match self.input.array()? {
            [TAG_RECORD] if self.files > 0 => {
                Err(self.input.invalid("a record stands behind the files"))
            }
            [TAG_RECORD] => self.record().map(Part::Record).map(Some),
            [TAG_FILE] => self.file().map(Part::File).map(Some),
            [TAG_TRAILER] => Ok(None),
            [tag] => Err(self.input.invalid(&format!("no record begins with {tag}"))),
        }
    }

    /// Reads the trailer, which must fit all that was read, and the end.
    pub(crate) fn finish(mut self) -> Result<BackupSummary, StoreError> {
        let counted = u64::from_be_bytes(self.input.array()?);
        if counted != self.keys {
            return Err(self.input.invalid(&format!(
                "it has {} records and should have {counted}",
                self.keys
            )));
        }
        let hash: [u8; 32] = self.input.hasher.clone().finalize().into();
        if self.input.array()? != hash {
            return Err(self.input.refused(BackupFlaw::Checksum));
        }
        self.input.end()?;
        Ok(BackupSummary {
            header: self.header,
            keys: self.keys,
            files: self.files,
            sha256: HEXLOWER.encode(&hash),
        })
    }

    fn record(&mut self) -> Result<Item, StoreError> {
        let input = &mut self.input;
        let key = input.field(MAX_KEY_BYTES)?;
        let key = std::str::from_utf8(&key)
            .map_err(|error| input.invalid(&error.to_string()))
            .and_then(|text| Key::new(text).map_err(|error| input.invalid(&error.to_string())))?;
        let created = StoreRevision(u64::from_be_bytes(input.array()?));
        let modified = StoreRevision(u64::from_be_bytes(input.array()?));
        let value = Value::new(&input.field(MAX_VALUE_BYTES)?)?;
        if self.last.as_ref().is_some_and(|last| *last >= key) {
            return Err(input.invalid("its records are out of order"));
        }
        if created > modified || modified > self.header.revision {
            return Err(input.invalid("the revisions of a record are out of order"));
        }
        self.last = Some(key.clone());
        self.keys += 1;
        let entry = Entry {
            value,
            created,
            modified,
        };
        Ok(Item { key, entry })
    }

    fn file(&mut self) -> Result<BackupFile, StoreError> {
        let input = &mut self.input;
        let name = input.field(MAX_BACKUP_FILE_NAME_BYTES)?;
        let name = String::from_utf8(name).map_err(|error| input.invalid(&error.to_string()))?;
        let content = input.field(MAX_BACKUP_FILE_BYTES)?;
        let file = BackupFile { name, content };
        if let Some(problem) = file.problem() {
            return Err(input.invalid(&problem));
        }
        self.files += 1;
        Ok(file)
    }
}

struct HashedInput<'a> {
    reader: &'a mut dyn Read,
    hasher: Sha256,
    offset: u64,
}

impl HashedInput<'_> {
    fn fill(&mut self, bytes: &mut [u8]) -> Result<(), StoreError> {
        self.reader.read_exact(bytes).map_err(|error| {
            if error.kind() == ErrorKind::UnexpectedEof {
                self.refused(BackupFlaw::Short)
            } else {
                StoreError::io("reading the backup", &error)
            }
        })?;
        self.hasher.update(&*bytes);
        self.offset += bytes.len() as u64;
        Ok(())
    }

    fn array<const BYTES: usize>(&mut self) -> Result<[u8; BYTES], StoreError> {
        let mut bytes = [0; BYTES];
        self.fill(&mut bytes)?;
        Ok(bytes)
    }

    fn field(&mut self, limit: usize) -> Result<Vec<u8>, StoreError> {
        let length = u32::from_be_bytes(self.array()?) as usize;
        if length > limit {
            return Err(self.invalid(&format!(
                "a field of {length} bytes is over the limit of {limit}"
            )));
        }
        // A length that the file does not keep must not take the memory that it names.
        let mut bytes = Vec::new();
        while bytes.len() < length {
            let start = bytes.len();
            bytes.resize(length.min(start + PIECE_BYTES), 0);
            self.fill(&mut bytes[start..])?;
        }
        Ok(bytes)
    }

    fn end(&mut self) -> Result<(), StoreError> {
        match self.reader.read(&mut [0]) {
            Ok(0) => Ok(()),
            Ok(_) => Err(self.invalid("it goes on after its trailer")),
            Err(error) => Err(StoreError::io("reading the backup", &error)),
        }
    }

    fn invalid(&self, problem: &str) -> StoreError {
        self.refused(BackupFlaw::Changed(problem.to_owned()))
    }

    fn refused(&self, flaw: BackupFlaw) -> StoreError {
        StoreError::InvalidBackup {
            offset: self.offset,
            flaw,
        }
    }
}

const PIECE_BYTES: usize = 1024 * 1024;
