//! Whose the files of a data folder are. Commands run by root leave them to the user that the controller runs as; the folder's
//! own owner says who that is. It follows no link and changes nothing outside the folder.

use std::fs;
use std::io;
use std::os::unix::fs::{MetadataExt, lchown};
use std::path::Path;

use super::FolderError;

/// Gives everything in the folder to the folder's owner. What is theirs already is not touched, so that whoever is not root
/// is asked for nothing.
pub fn hand_over(data: &Path) -> Result<(), FolderError> {
    let owner = fs::symlink_metadata(data).map_err(|source| failed(data, source))?;
    give(data, (owner.uid(), owner.gid()))
}

fn give(folder: &Path, owner: (u32, u32)) -> Result<(), FolderError> {
    for entry in fs::read_dir(folder).map_err(|source| failed(folder, source))? {
        let path = entry.map_err(|source| failed(folder, source))?.path();
        let found = fs::symlink_metadata(&path).map_err(|source| failed(&path, source))?;
        if (found.uid(), found.gid()) != owner {
            let (uid, gid) = owner;
            lchown(&path, Some(uid), Some(gid)).map_err(|source| failed(&path, source))?;
        }
        if found.is_dir() {
            give(&path, owner)?;
        }
    }
    Ok(())
}

fn failed(path: &Path, source: io::Error) -> FolderError {
    FolderError::Io {
        path: path.to_owned(),
        source,
    }
}
