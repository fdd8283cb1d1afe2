//! Why the state folder can't be used: each names the file and the way out.

use std::io;
use std::path::{Path, PathBuf};

use thiserror::Error;

#[derive(Debug, Error)]
pub enum StateError {
    #[error("{attempt} {}: {source}", path.display())]
    Io {
        attempt: &'static str,
        path: PathBuf,
        source: io::Error,
    },
    #[error("another malha-node runs with this state folder ({} is locked); stop it first", .0.display())]
    Locked(PathBuf),
    #[error("{} is not empty and not a state folder of malha-node; give a folder of its own", .0.display())]
    Foreign(PathBuf),
    #[error("{} can be read by others (mode {mode:o}); the key in it must be taken as known. Enrol again with a new token, or, if you are sure, chmod 600 it", path.display())]
    Exposed { path: PathBuf, mode: u32 },
    #[error("{} is missing; restore the folder, or enrol again with a token of \"malha node replace\"", .0.display())]
    Missing(PathBuf),
    #[error("{} is damaged: {why}", path.display())]
    Damaged { path: PathBuf, why: String },
    #[error("{} was written by a newer malha-node (version {version}); update this one", path.display())]
    Newer { path: PathBuf, version: u32 },
    #[error("making a key: {0}")]
    Key(String),
    /// The controller's fault.
    #[error("the controller's certificate for this node: {0}")]
    Certificate(String),
}

impl StateError {
    pub(super) fn io(attempt: &'static str, path: &Path, source: io::Error) -> Self {
        let path = path.to_owned();
        Self::Io {
            attempt,
            path,
            source,
        }
    }

    pub(super) fn missing(path: &Path) -> Self {
        Self::Missing(path.to_owned())
    }

    pub(super) fn damaged(path: &Path, why: impl ToString) -> Self {
        let (path, why) = (path.to_owned(), why.to_string());
        Self::Damaged { path, why }
    }
}
