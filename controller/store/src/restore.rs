//! Brings a backup back as a new store with a new epoch. It reads the whole backup before it writes anything, and never
//! writes over a store.

use std::io::{Read, Seek};
use std::path::Path;
use std::sync::Arc;

use crate::backup::BackupSummary;
use crate::backup_reader::{BackupReader, Part, verify_backup};
use crate::engine::memory::MemoryEngine;
use crate::engine::redb::RedbEngine;
use crate::engine::{Engine, Writes};
use crate::error::StoreError;
use crate::folder::Folder;
use crate::inspect::inspect;
use crate::layout;
use crate::limits::{MAX_GROUP_BYTES, MAX_OPS};
use crate::local;
use crate::meta::{self, Epoch, Head};
use crate::record::seal;
use crate::schema::Schema;
use crate::store::Store;

/// What a restore has made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Restored {
    /// The backup it came from.
    pub backup: BackupSummary,
    /// The name of the store's new life.
    pub epoch: Epoch,
}

/// Restores into `dir`, which must not hold a store. The store appears complete or not at all; migrations run when it is
/// opened. Blocks on the reader and the disk.
pub fn restore(
    reader: &mut (impl Read + Seek),
    dir: &Path,
    schema: &Schema,
) -> Result<Restored, StoreError> {
    admit_backup(reader, schema)?;
    let folder = Folder::acquire(dir)?;
    if folder.store_file().exists() {
        return Err(StoreError::NotEmpty {
            dir: dir.display().to_string(),
        });
    }
    let staging = folder.staging_file()?;
    let engine = RedbEngine::create(folder, staging)?;
    let loaded = load(reader, &engine);
    let folder = engine.into_folder()?;
    match loaded {
        Ok(restored) => {
            folder.publish_staging()?;
            Ok(restored)
        }
        Err(error) => {
            folder.staging_file()?;
            Err(error)
        }
    }
}

/// Restores into a new store in memory.
pub fn restore_to_memory(
    reader: &mut (impl Read + Seek),
    schema: &Schema,
) -> Result<Arc<dyn Store>, StoreError> {
    admit_backup(reader, schema)?;
    let engine = MemoryEngine::new();
    load(reader, &engine)?;
    local::start(Box::new(engine), schema)
}

/// Reads all of the backup once, and goes back to its start.
fn admit_backup(reader: &mut (impl Read + Seek), schema: &Schema) -> Result<(), StoreError> {
    rewind(reader)?;
    let summary = verify_backup(reader)?;
    schema.admit(summary.header.schema)?;
    rewind(reader)
}

fn rewind(reader: &mut impl Seek) -> Result<(), StoreError> {
    let rewound = reader.rewind();
    rewound.map_err(|error| StoreError::io("going back to the start of the backup", &error))
}

fn load(reader: &mut dyn Read, engine: &dyn Engine) -> Result<Restored, StoreError> {
    let mut input = BackupReader::start(reader)?;
    let mut writes = Writes::new();
    let mut bytes = 0;
    while let Some(part) = input.next()? {
        // Files are for who asks for them.
        let Part::Record(item) = part else { continue };
        let key = layout::data_key(&item.key);
        let entry = item.entry;
        let sealed = seal(&key, entry.created, entry.modified, entry.value.as_bytes());
        bytes += key.len() + sealed.len();
        writes.insert(key, Some(sealed));
        if writes.len() == MAX_OPS || bytes > MAX_GROUP_BYTES {
            engine.commit(&writes)?;
            writes.clear();
            bytes = 0;
        }
    }
    let header = input.header().clone();
    let backup = input.finish()?;
    let epoch = Epoch::random()?;
    let head = Head {
        revision: header.revision,
        oldest_change: header.revision.next(),
        keys: backup.keys,
    };
    meta::put_schema(&mut writes, header.schema);
    meta::put_epoch(&mut writes, epoch);
    meta::put_head(&mut writes, &head);
    engine.commit(&writes)?;
    inspect(&*engine.view()?)?.intact()?;
    Ok(Restored { backup, epoch })
}
