//! Files that must become valid together. They are written in a subfolder; the last one is the marker that makes them count;
//! then they move up, the marker last. A crash before the marker changes nothing, a crash after it is finished at the next
//! start.

use std::fs::{self, DirBuilder};
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use super::{FOLDER_MODE, IDENTITY, Keys, LEASE, NETMAP, StateError, atomic, keys};

pub(super) struct Staging {
    folder: PathBuf,
    /// All that may move up, in this order; the last one is the marker.
    files: &'static [&'static str],
}

impl Staging {
    pub(super) fn enrolment(state: &Path) -> Self {
        let files = &[
            keys::WG_KEY,
            keys::TLS_KEY,
            keys::CERTIFICATE,
            LEASE,
            NETMAP,
            IDENTITY,
        ];
        let folder = state.join("enrolling");
        Self { folder, files }
    }

    pub(super) fn renewal(state: &Path) -> Self {
        let files = &[keys::WG_KEY, keys::TLS_KEY, keys::CERTIFICATE];
        let folder = state.join("renewing");
        Self { folder, files }
    }

    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    /// Starts anew with these keys. The label says what they are for and is written last. What has its marker moves up first: a
    /// part of it may have done so already, and the rest is nowhere else.
    pub(super) fn begin(&self, state: &Path, keys: &Keys, label: &str) -> Result<(), StateError> {
        self.finish(state)?;
        self.discard()?;
        let mut builder = DirBuilder::new();
        builder.mode(FOLDER_MODE);
        builder
            .create(&self.folder)
            .map_err(|e| StateError::io("making", &self.folder, e))?;
        keys.write(&self.folder)?;
        self.put(LABEL, label.as_bytes())
    }

    /// The keys that were made for this purpose; None when there are none.
    pub(super) fn keys_labelled(&self, label: &str) -> Result<Option<Keys>, StateError> {
        let found = atomic::read(&self.path(LABEL))?;
        if found.is_none_or(|found| found[..] != *label.as_bytes()) {
            return Ok(None);
        }
        Keys::read(&self.folder)
    }

    pub(super) fn put(&self, name: &str, bytes: &[u8]) -> Result<(), StateError> {
        atomic::write(&self.path(name), bytes)
    }

    /// Moves the files up if the marker is there.
    pub(super) fn finish(&self, state: &Path) -> Result<(), StateError> {
        let Some(marker) = self.marker() else {
            return Ok(());
        };
        let is_there = marker.try_exists();
        if !is_there.map_err(|e| StateError::io("looking for", &marker, e))? {
            return Ok(());
        }
        for name in self.files {
            atomic::move_up(&self.path(name), &state.join(name))?;
        }
        self.discard()
    }

    /// Throws all of it away, first what makes it count: nothing that a kill leaves may move up.
    pub(super) fn discard(&self) -> Result<(), StateError> {
        for path in self.marker().into_iter().chain([self.path(LABEL)]) {
            atomic::remove(&path)?;
        }
        match fs::remove_dir_all(&self.folder) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            removed => removed.map_err(|e| StateError::io("clearing", &self.folder, e)),
        }
    }

    fn marker(&self) -> Option<PathBuf> {
        self.files.last().map(|name| self.path(name))
    }
}

const LABEL: &str = "label";
