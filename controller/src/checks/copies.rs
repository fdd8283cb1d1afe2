//! The history of checks on its way into a backup and out of one, so that a restored controller goes on with the chain of its evidence.
//! A copy holds whole runs only, also of a history that goes on meanwhile.

use std::collections::VecDeque;
use std::fs;
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;
use std::sync::Arc;

use async_trait::async_trait;
use malha_proto::OrganizationId;
use malha_store::{BackupFile, BackupFiles, StoreError};

use super::history::{History, INDEX_FILE, RunFile, RunSummary, write};

/// The files of a history for a backup, one organization after the other.
pub struct HistoryCopy {
    history: Arc<History>,
    organizations: VecDeque<OrganizationId>,
    current: Option<Current>,
}

/// The organization whose files go now.
struct Current {
    organization: OrganizationId,
    /// The oldest first.
    waiting: VecDeque<RunSummary>,
    copied: Vec<RunSummary>,
    /// The run's evidence, behind its report.
    evidence: Option<BackupFile>,
}

impl HistoryCopy {
    #[must_use]
    pub fn new(history: Arc<History>) -> Self {
        Self {
            organizations: history.organizations().into(),
            history,
            current: None,
        }
    }
}

#[async_trait]
impl BackupFiles for HistoryCopy {
    async fn next(&mut self) -> Result<Option<BackupFile>, StoreError> {
        loop {
            let Some(current) = &mut self.current else {
                let Some(organization) = self.organizations.pop_front() else {
                    return Ok(None);
                };
                self.current = Some(Current {
                    organization,
                    waiting: self.history.runs(organization).into_iter().rev().collect(),
                    copied: Vec::new(),
                    evidence: None,
                });
                continue;
            };
            if let Some(evidence) = current.evidence.take() {
                return Ok(Some(evidence));
            }
            if let Some(run) = current.waiting.pop_front() {
                let copied = current.copy(&self.history, run).await?;
                if copied.is_some() {
                    return Ok(copied);
                }
                continue;
            }
            let index = current.index()?;
            self.current = None;
            if index.is_some() {
                return Ok(index);
            }
        }
    }
}

impl Current {
    /// The run's report, with its evidence to follow; None if the run was forgotten meanwhile.
    async fn copy(
        &mut self,
        history: &History,
        run: RunSummary,
    ) -> Result<Option<BackupFile>, StoreError> {
        let report = self.read(history, run.started_ms, RunFile::Report).await?;
        let evidence = self
            .read(history, run.started_ms, RunFile::Evidence)
            .await?;
        let (Some(report), Some(evidence)) = (report, evidence) else {
            return Ok(None);
        };
        self.copied.push(run);
        self.evidence = Some(evidence);
        Ok(Some(report))
    }

    async fn read(
        &self,
        history: &History,
        started_ms: u64,
        file: RunFile,
    ) -> Result<Option<BackupFile>, StoreError> {
        let path = history.path(self.organization, started_ms, file);
        match tokio::fs::read(&path).await {
            Ok(content) => Ok(Some(self.file(&file.name(started_ms), content))),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(StoreError::io("reading what checks found", &error)),
        }
    }

    /// Of what was copied, behind it: what it names is there.
    fn index(&self) -> Result<Option<BackupFile>, StoreError> {
        if self.copied.is_empty() {
            return Ok(None);
        }
        let index = serde_json::to_vec(&self.copied);
        let index = index.map_err(|error| StoreError::InvalidBackupFile {
            problem: error.to_string(),
        })?;
        Ok(Some(self.file(INDEX_FILE, index)))
    }

    fn file(&self, name: &str, content: Vec<u8>) -> BackupFile {
        BackupFile {
            name: format!("{COPIES}{}/{name}", self.organization),
            content,
        }
    }
}

/// Puts a file of a backup where a history that is opened at `folder` finds it. What is no file of a history is refused: a newer
/// program may have put it there, and would miss it.
///
/// # Errors
/// Of the file system, and [`io::ErrorKind::InvalidData`] with the name of such a file.
pub fn restore_file(folder: &Path, file: &BackupFile) -> io::Result<()> {
    let unknown = || {
        let problem = format!("{:?} is nothing that this program keeps", file.name);
        io::Error::new(io::ErrorKind::InvalidData, problem)
    };
    let place = file
        .name
        .strip_prefix(COPIES)
        .and_then(|it| it.split_once('/'));
    let (organization, name) = place.ok_or_else(unknown)?;
    let organization: OrganizationId = organization.parse().map_err(|_| unknown())?;
    if name != INDEX_FILE && RunFile::of_name(name).is_none() {
        return Err(unknown());
    }
    let folder = folder.join(organization.to_string());
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(&folder)?;
    write(&folder.join(name), &file.content)
}

/// What the names of these files begin with in a backup.
const COPIES: &str = "checks/";

#[cfg(test)]
mod tests {
    use malha_check::RunLink;

    use super::*;

    const SEDEC: OrganizationId = OrganizationId(7);

    fn history(folder: &Path, runs: u64) -> Arc<History> {
        let history = History::open(folder).unwrap();
        for number in 1..=runs {
            let seen = format!("seen {number}");
            history
                .add(
                    SEDEC,
                    RunSummary::at(number * 1_000),
                    b"{}",
                    seen.as_bytes(),
                )
                .unwrap();
        }
        Arc::new(history)
    }

    async fn files(mut copy: HistoryCopy) -> Vec<BackupFile> {
        let mut files = Vec::new();
        while let Some(file) = copy.next().await.unwrap() {
            files.push(file);
        }
        files
    }

    #[tokio::test]
    async fn a_restored_history_goes_on_where_the_copied_one_was() {
        let (from, to) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let history = history(from.path(), 3);
        for file in files(HistoryCopy::new(history.clone())).await {
            restore_file(to.path(), &file).unwrap();
        }
        let restored = History::open(to.path()).unwrap();
        assert_eq!(restored.runs(SEDEC), history.runs(SEDEC));
        let evidence = restored.read(SEDEC, 2_000, RunFile::Evidence).unwrap();
        assert_eq!(evidence.as_deref(), Some(&b"seen 2"[..]));
        assert_eq!(
            restored.next_link(SEDEC),
            RunLink::after(3, "11".repeat(32))
        );
    }

    #[tokio::test]
    async fn a_run_that_is_forgotten_while_it_is_copied_is_not_in_the_copys_index() {
        let folder = tempfile::tempdir().unwrap();
        let history = history(folder.path(), 3);
        let mut copy = HistoryCopy::new(history.clone());
        let first = copy.next().await.unwrap().unwrap();
        assert_eq!(
            first.name,
            "checks/o7/1000.json".replace("o7", &SEDEC.to_string())
        );
        fs::remove_file(history.path(SEDEC, 2_000, RunFile::Evidence)).unwrap();
        let rest = files(copy).await;
        let index = rest.last().unwrap();
        let copied: Vec<RunSummary> = serde_json::from_slice(&index.content).unwrap();
        assert_eq!(copied, [RunSummary::at(1_000), RunSummary::at(3_000)]);
    }

    #[test]
    fn what_is_no_file_of_a_history_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let id = SEDEC.to_string();
        for name in [
            "master.key".to_owned(),
            "checks/runs.json".to_owned(),
            format!("checks/{id}/1000.pem"),
            format!("checks/{id}/x/1000.json"),
            format!("audit/{id}/1000.json"),
        ] {
            let content = Vec::new();
            let error = restore_file(folder.path(), &BackupFile { name, content }).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::InvalidData);
        }
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
    }
}
