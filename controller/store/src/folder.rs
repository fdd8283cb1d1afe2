//! The folder a store lives in: private to its owner, locked for one process, and with files that appear complete or not
//! at all.

use std::fs::{self, DirBuilder, File, OpenOptions, Permissions, TryLockError};
use std::io;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use crate::error::StoreError;

/// A locked folder. Dropping it gives the lock up.
#[derive(Debug)]
pub(crate) struct Folder {
    path: PathBuf,
    // Held for its lock only, which the operating system gives up if the process dies.
    _lock: File,
}

impl Folder {
    /// Makes the folder if needed, makes it private, and locks it; [`StoreError::InUse`] if another process has it.
    pub(crate) fn acquire(path: &Path) -> Result<Self, StoreError> {
        create_private(path)
            .map_err(|error| StoreError::io_at("making the store's folder", path, &error))?;
        let lock_file = path.join(LOCK_FILE);
        let lock = open_private(&lock_file).map_err(|error| {
            StoreError::io_at("opening the store's lock file", &lock_file, &error)
        })?;
        match lock.try_lock() {
            Ok(()) => Ok(Self {
                path: path.to_owned(),
                _lock: lock,
            }),
            Err(TryLockError::WouldBlock) => Err(StoreError::InUse {
                dir: path.display().to_string(),
            }),
            Err(TryLockError::Error(error)) => {
                Err(StoreError::io("locking the store's folder", &error))
            }
        }
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// The store's file.
    pub(crate) fn store_file(&self) -> PathBuf {
        self.path.join(STORE_FILE)
    }

    /// A name for a store file in the making; what an earlier attempt left there is removed.
    pub(crate) fn staging_file(&self) -> Result<PathBuf, StoreError> {
        let staging = self.path.join(STAGING_FILE);
        match fs::remove_file(&staging) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(StoreError::io("removing an unfinished store file", &error))
            }
            _ => Ok(staging),
        }
    }

    /// Gives the finished staging file its final name, durably.
    pub(crate) fn publish_staging(&self) -> Result<(), StoreError> {
        let staging = self.path.join(STAGING_FILE);
        File::open(&staging)
            .and_then(|file| file.sync_all())
            .and_then(|()| fs::rename(&staging, self.store_file()))
            .and_then(|()| sync_folder(&self.path))
            .map_err(|error| StoreError::io("putting the finished store file in place", &error))
    }
}

/// Makes a folder, and those above it, for the owner only; a folder that is there already is made private.
pub(crate) fn create_private(path: &Path) -> io::Result<()> {
    if path.is_dir() {
        let mode = fs::metadata(path)?.permissions().mode();
        if mode & OTHERS_MASK != 0 {
            fs::set_permissions(path, Permissions::from_mode(FOLDER_MODE))?;
        }
        return Ok(());
    }
    DirBuilder::new()
        .recursive(true)
        .mode(FOLDER_MODE)
        .create(path)?;
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => sync_folder(parent),
        _ => Ok(()),
    }
}

/// Opens a file to read and write, making it for the owner only if it is absent.
pub(crate) fn open_private(path: &Path) -> io::Result<File> {
    OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(FILE_MODE)
        .open(path)
}

/// Makes the folder's list of names durable.
pub(crate) fn sync_folder(path: &Path) -> io::Result<()> {
    File::open(path)?.sync_all()
}

const LOCK_FILE: &str = "lock";
const STORE_FILE: &str = "store.redb";
const STAGING_FILE: &str = "store.redb.unfinished";
const FOLDER_MODE: u32 = 0o700;
const FILE_MODE: u32 = 0o600;
const OTHERS_MASK: u32 = 0o077;
