//! The engine that keeps everything in one redb file. A panic inside redb becomes an error here: a damaged file must
//! never end the process.

use std::io::ErrorKind;
use std::ops::Bound;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use redb::backends::FileBackend;
use redb::{
    Builder, CommitError, Database, DatabaseError, Durability, ReadOnlyTable, ReadableDatabase,
    StorageError, TableDefinition, TableError, TransactionError,
};

use super::{Engine, EngineError, View, Visit, Writes};
use crate::folder::{self, Folder};
use crate::limits::{CACHE_BYTES, COMPACT_FLOOR_BYTES};

/// Opens the file for redb, at first and again after each I/O error.
pub(crate) type OpenFile =
    Box<dyn Fn(&Builder, &Path) -> Result<Database, DatabaseError> + Send + Sync>;

/// One redb file. The folder's lock is held until the engine is closed, so a reopen can't lose the file to another process.
pub(crate) struct RedbEngine {
    folder: Mutex<Option<Folder>>,
    path: PathBuf,
    open_file: OpenFile,
    // Shared by readers and the writer; taken alone only to reopen and to close, which must own the database.
    database: RwLock<Option<Database>>,
}

impl RedbEngine {
    /// Makes a new file at `path`.
    pub(crate) fn create(folder: Folder, path: PathBuf) -> Result<Self, EngineError> {
        Self::open_with(folder, path, Box::new(create_file))
    }

    /// Opens the file at `path` and checks every page of it.
    pub(crate) fn open(folder: Folder, path: PathBuf) -> Result<Self, EngineError> {
        Self::open_with(folder, path, Box::new(|builder, path| builder.open(path)))
    }

    /// As [`Self::open`], with another way to the file's bytes.
    pub(crate) fn open_with(
        folder: Folder,
        path: PathBuf,
        open_file: OpenFile,
    ) -> Result<Self, EngineError> {
        let database = open_database(&open_file, &path)?;
        Ok(Self {
            folder: Mutex::new(Some(folder)),
            path,
            open_file,
            database: RwLock::new(Some(database)),
        })
    }

    /// Closes the engine and hands the folder back, still locked.
    pub(crate) fn into_folder(self) -> Result<Folder, EngineError> {
        close_database(self.database_alone().take())?;
        let folder = self.folder.into_inner();
        folder
            .unwrap_or_else(PoisonError::into_inner)
            .ok_or(EngineError::Closed)
    }

    fn database(&self) -> RwLockReadGuard<'_, Option<Database>> {
        self.database.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn database_alone(&self) -> RwLockWriteGuard<'_, Option<Database>> {
        self.database
            .write()
            .unwrap_or_else(PoisonError::into_inner)
    }

    fn is_closed(&self) -> bool {
        let folder = self.folder.lock().unwrap_or_else(PoisonError::into_inner);
        folder.is_none()
    }
}

impl Engine for RedbEngine {
    fn name(&self) -> &'static str {
        "redb"
    }

    fn view(&self) -> Result<Arc<dyn View>, EngineError> {
        let database = self.database();
        let database = database.as_ref().ok_or(EngineError::Closed)?;
        guarded(|| {
            let table = database.begin_read()?.open_table(RECORDS)?;
            Ok(Arc::new(RedbView(table)) as Arc<dyn View>)
        })
    }

    fn commit(&self, writes: &Writes) -> Result<(), EngineError> {
        let database = self.database();
        let database = database.as_ref().ok_or(EngineError::Closed)?;
        guarded(|| {
            let mut transaction = database.begin_write()?;
            transaction
                .set_durability(Durability::Immediate)
                .map_err(|error| EngineError::Io(error.to_string()))?;
            {
                let mut table = transaction.open_table(RECORDS)?;
                for (key, value) in writes {
                    match value {
                        Some(value) => table.insert(key.as_slice(), value.as_slice())?,
                        None => table.remove(key.as_slice())?,
                    };
                }
            }
            Ok(transaction.commit()?)
        })
    }

    fn reopen(&self) -> Result<(), EngineError> {
        if self.is_closed() {
            return Err(EngineError::Closed);
        }
        let spoiled = self.database_alone().take();
        // What went wrong is known already, and a second failure while letting go adds nothing to it.
        close_database(spoiled).ok();
        let database = open_database(&self.open_file, &self.path)?;
        *self.database_alone() = Some(database);
        Ok(())
    }

    fn close(&self) -> Result<(), EngineError> {
        let database = self.database_alone().take();
        let closed = close_database(database);
        *self.folder.lock().unwrap_or_else(PoisonError::into_inner) = None;
        closed
    }

    fn file_bytes(&self) -> Option<u64> {
        file_bytes(&self.path)
    }
}

struct RedbView(ReadOnlyTable<&'static [u8], &'static [u8]>);

impl View for RedbView {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, EngineError> {
        guarded(|| Ok(self.0.get(key)?.map(|value| value.value().to_vec())))
    }

    fn scan(
        &self,
        from: Bound<&[u8]>,
        until: &[u8],
        visit: &mut Visit<'_>,
    ) -> Result<(), EngineError> {
        guarded(|| {
            for row in self.0.range::<&[u8]>((from, Bound::Excluded(until)))? {
                let (key, value) = row?;
                if visit(key.value(), value.value()).is_break() {
                    break;
                }
            }
            Ok(())
        })
    }
}

fn open_database(open_file: &OpenFile, path: &Path) -> Result<Database, EngineError> {
    guarded(|| {
        let mut builder = Builder::new();
        builder
            .set_cache_size(CACHE_BYTES)
            .set_check_integrity_on_open(true);
        let mut database = open_file(&builder, path)?;
        compact_if_mostly_free(&mut database, file_bytes(path).unwrap_or(0))?;
        Ok(database)
    })
}

fn create_file(builder: &Builder, path: &Path) -> Result<Database, DatabaseError> {
    let file = folder::open_private(path)?;
    builder.create_with_backend(FileBackend::new(file)?)
}

/// redb gives no space back by itself; a file that is mostly free is rewritten while nobody uses it yet.
fn compact_if_mostly_free(database: &mut Database, file_bytes: u64) -> Result<(), EngineError> {
    if file_bytes < COMPACT_FLOOR_BYTES {
        return Ok(());
    }
    let transaction = database.begin_write()?;
    let stats = transaction.stats()?;
    let used_bytes = stats.allocated_pages() * stats.page_size() as u64;
    transaction.abort()?;
    if used_bytes < file_bytes / 2 {
        database
            .compact()
            .map_err(|error| EngineError::Io(error.to_string()))?;
    }
    Ok(())
}

fn file_bytes(path: &Path) -> Option<u64> {
    std::fs::metadata(path).ok().map(|metadata| metadata.len())
}

fn close_database(database: Option<Database>) -> Result<(), EngineError> {
    match database {
        Some(database) => guarded(|| Ok(database.close()?)),
        None => Ok(()),
    }
}

fn guarded<T>(attempt: impl FnOnce() -> Result<T, EngineError>) -> Result<T, EngineError> {
    catch_unwind(AssertUnwindSafe(attempt)).unwrap_or_else(|panic| {
        let cause = panic
            .downcast_ref::<String>()
            .map(String::as_str)
            .or_else(|| panic.downcast_ref::<&str>().copied())
            .unwrap_or("no reason given");
        Err(EngineError::Damaged(format!("the engine gave up: {cause}")))
    })
}

impl From<StorageError> for EngineError {
    fn from(error: StorageError) -> Self {
        match error {
            StorageError::Corrupted(problem) => Self::Damaged(problem),
            StorageError::DatabaseClosed => Self::Closed,
            // The file is empty, or ends before a page that it says it has.
            StorageError::Io(error)
                if matches!(
                    error.kind(),
                    ErrorKind::InvalidData | ErrorKind::UnexpectedEof
                ) =>
            {
                Self::Damaged(format!("it is cut short: {error}"))
            }
            other => Self::Io(other.to_string()),
        }
    }
}

impl From<DatabaseError> for EngineError {
    fn from(error: DatabaseError) -> Self {
        match error {
            DatabaseError::DatabaseAlreadyOpen | DatabaseError::LockProtocolMismatch => Self::InUse,
            DatabaseError::UpgradeRequired(version) => {
                Self::Damaged(format!("its file format {version} is not the one in use"))
            }
            DatabaseError::Storage(error) => error.into(),
            other => Self::Io(other.to_string()),
        }
    }
}

impl From<TransactionError> for EngineError {
    fn from(error: TransactionError) -> Self {
        match error {
            TransactionError::Storage(error) => error.into(),
            other => Self::Io(other.to_string()),
        }
    }
}

impl From<TableError> for EngineError {
    fn from(error: TableError) -> Self {
        match error {
            TableError::Storage(error) => error.into(),
            other => Self::Damaged(other.to_string()),
        }
    }
}

impl From<CommitError> for EngineError {
    fn from(error: CommitError) -> Self {
        match error {
            CommitError::Storage(error) => error.into(),
            other => Self::Io(other.to_string()),
        }
    }
}

const RECORDS: TableDefinition<&[u8], &[u8]> = TableDefinition::new("records");

#[cfg(test)]
mod tests;
