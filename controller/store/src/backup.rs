//! Writes everything in a store as one stream that no engine's format shows in: header, records in the order of their
//! keys, files that go along, trailer with count and SHA-256. It leaves out the change log, which means nothing in another life of the store.

use data_encoding::HEXLOWER;
use sha2::{Digest, Sha256};
use tokio::io::{AsyncWrite, AsyncWriteExt};

use crate::backup_file::{BackupFile, BackupFiles};
use crate::error::StoreError;
use crate::key::Prefix;
use crate::limits::MAX_PAGE_ENTRIES;
use crate::meta::Epoch;
use crate::page::Item;
use crate::record::StoreRevision;
use crate::store::Store;

/// What a backup says about itself before its records.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BackupHeader {
    pub schema: u32,
    pub epoch: Epoch,
    pub revision: StoreRevision,
    /// When it was taken, in milliseconds since 1970, as the one who took it said.
    pub taken_at_ms: u64,
}

/// A complete backup.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BackupSummary {
    pub header: BackupHeader,
    pub keys: u64,
    /// Files that go along.
    pub files: u64,
    /// SHA-256 over all bytes before it, in hex.
    pub sha256: String,
}

/// Writes a backup of one moment while the store goes on, and then the files. The caller makes the file private and durable.
pub async fn backup<W: AsyncWrite + Unpin + Send>(
    store: &dyn Store,
    taken_at_ms: u64,
    files: &mut dyn BackupFiles,
    writer: &mut W,
) -> Result<BackupSummary, StoreError> {
    let snapshot = store.snapshot().await?;
    let header = BackupHeader {
        schema: snapshot.schema(),
        epoch: snapshot.epoch(),
        revision: snapshot.revision(),
        taken_at_ms,
    };
    let mut output = HashedOutput {
        writer,
        hasher: Sha256::new(),
    };
    output.write(&encode_header(&header)).await?;
    let mut keys: u64 = 0;
    let mut after = None;
    loop {
        let page = snapshot
            .range(&Prefix::all(), after.as_ref(), MAX_PAGE_ENTRIES)
            .await?;
        for item in &page.items {
            output.write(&encode_record(item)).await?;
            keys += 1;
        }
        match page.items.last() {
            Some(last) if page.more => after = Some(last.key.clone()),
            _ => break,
        }
    }
    if keys != snapshot.keys() {
        return Err(StoreError::damaged(
            "the store's file",
            format!("it has {keys} keys and should have {}", snapshot.keys()),
        ));
    }
    drop(snapshot);
    let mut carried: u64 = 0;
    while let Some(file) = files.next().await? {
        if let Some(problem) = file.problem() {
            return Err(StoreError::InvalidBackupFile { problem });
        }
        output.write(&encode_file_head(&file)).await?;
        output.write(&file.content).await?;
        carried += 1;
    }
    let sha256 = output.finish(keys).await?;
    Ok(BackupSummary {
        header,
        keys,
        files: carried,
        sha256,
    })
}

struct HashedOutput<'a, W> {
    writer: &'a mut W,
    hasher: Sha256,
}

impl<W: AsyncWrite + Unpin + Send> HashedOutput<'_, W> {
    async fn write(&mut self, bytes: &[u8]) -> Result<(), StoreError> {
        self.hasher.update(bytes);
        write_all(self.writer, bytes).await
    }

    async fn finish(mut self, keys: u64) -> Result<String, StoreError> {
        self.write(&[TAG_TRAILER]).await?;
        self.write(&keys.to_be_bytes()).await?;
        let hash: [u8; 32] = self.hasher.finalize().into();
        write_all(self.writer, &hash).await?;
        let flushed = self.writer.flush().await;
        flushed.map_err(|error| StoreError::io("writing the backup", &error))?;
        Ok(HEXLOWER.encode(&hash))
    }
}

async fn write_all<W: AsyncWrite + Unpin>(writer: &mut W, bytes: &[u8]) -> Result<(), StoreError> {
    let written = writer.write_all(bytes).await;
    written.map_err(|error| StoreError::io("writing the backup", &error))
}

fn encode_header(header: &BackupHeader) -> Vec<u8> {
    [
        MAGIC.as_slice(),
        &FORMAT.to_be_bytes(),
        &header.schema.to_be_bytes(),
        &header.epoch.0,
        &header.revision.0.to_be_bytes(),
        &header.taken_at_ms.to_be_bytes(),
    ]
    .concat()
}

fn encode_record(item: &Item) -> Vec<u8> {
    let key = item.key.as_str().as_bytes();
    let value = item.entry.value.as_bytes();
    [
        [TAG_RECORD].as_slice(),
        &(key.len() as u32).to_be_bytes(),
        key,
        &item.entry.created.0.to_be_bytes(),
        &item.entry.modified.0.to_be_bytes(),
        &(value.len() as u32).to_be_bytes(),
        value,
    ]
    .concat()
}

fn encode_file_head(file: &BackupFile) -> Vec<u8> {
    let name = file.name.as_bytes();
    [
        [TAG_FILE].as_slice(),
        &(name.len() as u32).to_be_bytes(),
        name,
        &(file.content.len() as u32).to_be_bytes(),
    ]
    .concat()
}

pub(crate) const MAGIC: [u8; 8] = *b"MALHABAK";
pub(crate) const FORMAT: u16 = 2;
/// Without files.
pub(crate) const FIRST_FORMAT: u16 = 1;
pub(crate) const TAG_RECORD: u8 = 1;
pub(crate) const TAG_TRAILER: u8 = 2;
/// Behind the records.
pub(crate) const TAG_FILE: u8 = 3;
