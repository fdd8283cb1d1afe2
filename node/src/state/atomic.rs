//! Files that are old or new after a power cut, never half: temporary file, fsync, rename, fsync of the folder.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use zeroize::Zeroizing;

use super::StateError;

/// Every file of the folder is the agent's alone.
pub(super) const FILE_MODE: u32 = 0o600;

/// No file of the folder is longer: a netmap is at most one frame, give or take its head.
pub(super) const MAX_FILE_BYTES: u64 = 16 * 1024 * 1024;

pub(super) fn write(path: &Path, bytes: &[u8]) -> Result<(), StateError> {
    let temporary = temporary(path);
    let written = (|| {
        let mut options = OpenOptions::new();
        options.write(true).create_new(true).mode(FILE_MODE);
        let mut file = match options.open(&temporary) {
            // Left by a write that failed.
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                fs::remove_file(&temporary)?;
                options.open(&temporary)?
            }
            opened => opened?,
        };
        file.write_all(bytes)?;
        file.sync_all()?;
        fs::rename(&temporary, path)?;
        sync_folder(path)
    })();
    written.map_err(|error| StateError::io("writing", path, error))
}

/// None when there is no such file.
pub(super) fn read(path: &Path) -> Result<Option<Zeroizing<Vec<u8>>>, StateError> {
    let file = match File::open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        opened => opened.map_err(|error| StateError::io("opening", path, error))?,
    };
    let mut bytes = Zeroizing::new(Vec::new());
    file.take(MAX_FILE_BYTES)
        .read_to_end(&mut bytes)
        .map_err(|error| StateError::io("reading", path, error))?;
    Ok(Some(bytes))
}

/// Reads a text that nobody else may read; refuses it if somebody can.
pub(super) fn read_secret(path: &Path) -> Result<Option<Zeroizing<String>>, StateError> {
    let Some(bytes) = read(path)? else {
        return Ok(None);
    };
    if let Some(mode) = exposure(path)? {
        let path = path.to_owned();
        return Err(StateError::Exposed { path, mode });
    }
    let text = std::str::from_utf8(&bytes).map_err(|e| StateError::damaged(path, e))?;
    Ok(Some(Zeroizing::new(text.to_owned())))
}

/// The mode of a file that somebody else may read; None when nobody can, or there is none.
pub(super) fn exposure(path: &Path) -> Result<Option<u32>, StateError> {
    let mode = match fs::metadata(path) {
        Ok(about) => about.mode() & 0o777,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(StateError::io("reading", path, error)),
    };
    Ok((mode & 0o077 != 0).then_some(mode))
}

/// Moves a file over another one of the same name in the parent folder, if it is there.
pub(super) fn move_up(from: &Path, to: &Path) -> Result<(), StateError> {
    match fs::rename(from, to).and_then(|()| sync_folder(to)) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        moved => moved.map_err(|error| StateError::io("moving", from, error)),
    }
}

/// Removes a file if it is there, and whatever follows comes after that on the disk, too.
pub(super) fn remove(path: &Path) -> Result<(), StateError> {
    match fs::remove_file(path).and_then(|()| sync_folder(path)) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        removed => removed.map_err(|error| StateError::io("removing", path, error)),
    }
}

/// Clears what interrupted writes left in a folder.
pub(super) fn remove_leftovers(folder: &Path) -> Result<(), StateError> {
    let cleared = (|| {
        for entry in fs::read_dir(folder)? {
            let path = entry?.path();
            if path.extension().is_some_and(|end| end == TEMPORARY) {
                fs::remove_file(path)?;
            }
        }
        Ok(())
    })();
    cleared.map_err(|error| StateError::io("clearing", folder, error))
}

fn temporary(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".");
    name.push(TEMPORARY);
    name.into()
}

fn sync_folder(path: &Path) -> io::Result<()> {
    match path.parent() {
        Some(folder) => File::open(folder)?.sync_all(),
        None => Ok(()),
    }
}

const TEMPORARY: &str = "new";
