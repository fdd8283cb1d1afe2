//! Files that a backup carries beside the records: what a controller keeps on its disk and would lose with it. The store gives them
//! names and limits, and does not know what is in them.

use async_trait::async_trait;

use crate::error::StoreError;
use crate::limits::{MAX_BACKUP_FILE_BYTES, MAX_BACKUP_FILE_NAME_BYTES};

/// A file of a backup.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BackupFile {
    /// A path below the folder of whoever made it: names of ASCII letters, digits, `.`, `_` and `-`, with `/` between them.
    pub name: String,
    pub content: Vec<u8>,
}

/// Gives a backup its files, one after the other, so that never more than one is in memory.
#[async_trait]
pub trait BackupFiles: Send {
    /// The next one; None where there are no more. An error ends the backup.
    async fn next(&mut self) -> Result<Option<BackupFile>, StoreError>;
}

/// A backup of records alone.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoFiles;

#[async_trait]
impl BackupFiles for NoFiles {
    async fn next(&mut self) -> Result<Option<BackupFile>, StoreError> {
        Ok(None)
    }
}

impl BackupFile {
    /// What keeps it out of a backup, be it written or read.
    pub(crate) fn problem(&self) -> Option<String> {
        if !is_name(&self.name) {
            return Some(format!("{:?} is no name of a file", self.name));
        }
        let bytes = self.content.len();
        (bytes > MAX_BACKUP_FILE_BYTES).then(|| {
            let name = &self.name;
            format!(
                "file {name} has {bytes} bytes, which is over the limit of {MAX_BACKUP_FILE_BYTES}"
            )
        })
    }
}

/// Never one that leads out of the folder it is put into.
fn is_name(name: &str) -> bool {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    let is_part =
        |part: &str| !part.is_empty() && !part.starts_with('.') && part.chars().all(is_plain);
    name.len() <= MAX_BACKUP_FILE_NAME_BYTES && name.split('/').all(is_part)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_name_leads_out_of_its_folder() {
        for name in ["checks/o7/runs.json", "a", "a-b_c.d"] {
            assert!(is_name(name), "{name}");
        }
        let long = "a".repeat(MAX_BACKUP_FILE_NAME_BYTES + 1);
        for name in [
            "",
            "/etc/passwd",
            "a//b",
            "../a",
            "a/../b",
            "a/",
            ".a",
            "a\\b",
            "ã",
            &long,
        ] {
            assert!(!is_name(name), "{name}");
        }
    }
}
