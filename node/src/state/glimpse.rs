//! A state folder as it is, for who only looks: nothing is made, locked, mended or finished, and no key is read.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use malha_proto::Netmap;
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;

use super::{IDENTITY, Identity, NETMAP, StateError, Validity, atomic, checked_file, keys};

/// What a folder says, each part by itself.
#[derive(Debug)]
pub struct Glimpse {
    /// None before the first enrolment, also without a folder.
    pub identity: Result<Option<Identity>, StateError>,
    pub netmap: Result<Option<Netmap>, StateError>,
    /// When the node's certificate is valid.
    pub validity: Result<Option<Validity>, StateError>,
}

/// A file or folder that others than its owner may use.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Exposed {
    pub path: PathBuf,
    pub mode: u32,
}

impl Glimpse {
    #[must_use]
    pub fn of(folder: &Path) -> Self {
        Self {
            identity: Identity::read(&folder.join(IDENTITY)),
            netmap: checked_file::read(&folder.join(NETMAP)),
            validity: validity(&folder.join(keys::CERTIFICATE)),
        }
    }
}

/// What of a folder others may use, the folder itself first.
///
/// # Errors
/// There is no such folder, or it may not be read.
pub fn exposed(folder: &Path) -> io::Result<Vec<Exposed>> {
    let entries = fs::read_dir(folder)?.take(MAX_ENTRIES);
    let inside = entries.map(|entry| entry.map(|it| it.path()));
    let all = std::iter::once(Ok(folder.to_owned())).chain(inside);
    let mut found = Vec::new();
    for path in all {
        let path = path?;
        let mode = match fs::symlink_metadata(&path) {
            Ok(about) => about.mode() & 0o777,
            // A running agent replaces its files.
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            Err(error) => return Err(error),
        };
        if mode & 0o077 != 0 {
            found.push(Exposed { path, mode });
        }
    }
    Ok(found)
}

fn validity(path: &Path) -> Result<Option<Validity>, StateError> {
    let Some(pem) = atomic::read(path)? else {
        return Ok(None);
    };
    let certificate =
        CertificateDer::from_pem_slice(&pem).map_err(|e| StateError::damaged(path, e))?;
    let validity = Validity::of(&certificate);
    let validity = validity.ok_or_else(|| StateError::damaged(path, "it is no certificate"))?;
    Ok(Some(validity))
}

/// A state folder has a dozen.
const MAX_ENTRIES: usize = 1_000;

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use tempfile::TempDir;

    use super::*;

    #[test]
    fn a_look_leaves_no_trace_where_nothing_is() {
        let parent = TempDir::new().unwrap();
        let folder = parent.path().join("state");
        let glimpse = Glimpse::of(&folder);
        assert!(matches!(glimpse.identity, Ok(None)));
        assert!(matches!(glimpse.netmap, Ok(None)));
        assert!(matches!(glimpse.validity, Ok(None)));
        assert!(!folder.exists());
        assert!(exposed(&folder).is_err());
    }

    #[test]
    fn what_others_may_read_is_found() {
        let folder = TempDir::new().unwrap();
        let set = |path: &Path, mode| {
            fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
        };
        let (open, closed) = (folder.path().join("wg.key"), folder.path().join("node.key"));
        for (path, mode) in [(&open, 0o640), (&closed, 0o600)] {
            fs::write(path, "x").unwrap();
            set(path, mode);
        }
        set(folder.path(), 0o700);
        let found = Exposed {
            path: open,
            mode: 0o640,
        };
        assert_eq!(exposed(folder.path()).unwrap(), [found]);
    }
}
