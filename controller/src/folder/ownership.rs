//! Whose the files of a data folder are. Commands run by root leave them to the user that the controller runs as; the folder's
//! own owner says who that is. It follows no link and changes nothing outside the folder, even if that user moves things meanwhile:
//! every step goes from what is open to what is in it.

use std::ffi::{CStr, OsStr};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use rustix::fs::{
    AtFlags, CWD, Dir, FileType, Gid, Mode, OFlags, Stat, Uid, chownat, fstat, openat,
};

use super::FolderError;

/// Gives everything in the folder to the folder's owner. What is theirs already is not touched, so that whoever is not root
/// is asked for nothing.
///
/// # Errors
/// Of the system, and of a file that is not theirs and also stands elsewhere, where it may be somebody's.
pub fn hand_over(data: &Path) -> Result<(), FolderError> {
    let failed = |source| failed(data, source);
    // A link to the folder is whoever's who runs the command.
    let follow = AS_FOLDER.difference(OFlags::NOFOLLOW);
    let folder = openat(CWD, data, follow, Mode::empty()).map_err(failed)?;
    let owner = owner(&fstat(&folder).map_err(failed)?);
    give(&folder, data, owner)
}

fn give(folder: &OwnedFd, path: &Path, owner: (Uid, Gid)) -> Result<(), FolderError> {
    for entry in Dir::read_from(folder).map_err(|source| failed(path, source))? {
        let entry = entry.map_err(|source| failed(path, source))?;
        let name = entry.file_name();
        if name != c"." && name != c".." {
            let path = path.join(OsStr::from_bytes(name.to_bytes()));
            give_entry(folder, name, &path, owner)?;
        }
    }
    Ok(())
}

fn give_entry(
    folder: &OwnedFd,
    name: &CStr,
    path: &Path,
    to: (Uid, Gid),
) -> Result<(), FolderError> {
    let failed = |source| failed(path, source);
    let entry = openat(folder, name, AS_IT_IS, Mode::empty()).map_err(failed)?;
    let found = fstat(&entry).map_err(failed)?;
    let is_folder = FileType::from_raw_mode(found.st_mode) == FileType::Directory;
    if owner(&found) != to {
        if !is_folder && found.st_nlink > 1 {
            return Err(FolderError::ElsewhereToo(path.to_owned()));
        }
        let (uid, gid) = to;
        let itself = AtFlags::EMPTY_PATH;
        chownat(entry.as_fd(), c"", Some(uid), Some(gid), itself).map_err(failed)?;
    }
    if is_folder {
        let inner = openat(&entry, c".", AS_FOLDER, Mode::empty()).map_err(failed)?;
        give(&inner, path, to)?;
    }
    Ok(())
}

fn owner(found: &Stat) -> (Uid, Gid) {
    (Uid::from_raw(found.st_uid), Gid::from_raw(found.st_gid))
}

fn failed(path: &Path, source: impl Into<io::Error>) -> FolderError {
    FolderError::Io {
        path: path.to_owned(),
        source: source.into(),
    }
}

const AS_FOLDER: OFlags = OFlags::RDONLY
    .union(OFlags::DIRECTORY)
    .union(OFlags::NOFOLLOW)
    .union(OFlags::CLOEXEC);
/// A link is opened as a link.
const AS_IT_IS: OFlags = OFlags::PATH.union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::{MetadataExt, chown, symlink};

    use super::*;

    /// A folder of the service's in a temporary one of root's; None: only root can give one away.
    fn of_service(outside: &Path) -> Option<std::path::PathBuf> {
        let data = outside.join("data");
        fs::create_dir_all(data.join("store")).unwrap();
        fs::write(data.join("store/file"), "").unwrap();
        fs::write(outside.join("theirs"), "").unwrap();
        let given = chown(&data, Some(SERVICE), Some(SERVICE));
        if given.is_err() {
            println!("skip: only root can give a folder away");
        }
        given.is_ok().then_some(data)
    }

    fn owner_of(path: &Path) -> u32 {
        fs::symlink_metadata(path).unwrap().uid()
    }

    #[test]
    fn all_in_the_folder_is_given_and_nothing_to_which_a_link_leads() {
        let outside = tempfile::tempdir().unwrap();
        let Some(data) = of_service(outside.path()) else {
            return;
        };
        symlink("../theirs", data.join("link")).unwrap();
        symlink("..", data.join("way-out")).unwrap();
        let other_name = outside.path().join("other-name");
        symlink("data", &other_name).unwrap();
        hand_over(&other_name).unwrap();
        for ours in ["store", "store/file", "link", "way-out"] {
            assert_eq!(owner_of(&data.join(ours)), SERVICE, "{ours}");
        }
        assert_eq!(owner_of(&outside.path().join("theirs")), 0);
    }

    #[test]
    fn a_file_that_stands_elsewhere_too_is_refused() {
        let outside = tempfile::tempdir().unwrap();
        let Some(data) = of_service(outside.path()) else {
            return;
        };
        let theirs = outside.path().join("theirs");
        fs::hard_link(&theirs, data.join("store/second")).unwrap();
        let refused = hand_over(&data).unwrap_err().to_string();
        assert!(refused.contains("store/second"), "{refused}");
        assert_eq!(owner_of(&theirs), 0);
    }

    const SERVICE: u32 = 65_534;
}
