//! What checks found, on disk beside the store: a folder per organization with the newest runs, each a report and an evidence
//! file. It keeps a stated number of runs and judges none.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use malha_check::{Report, RunLink};
use malha_proto::OrganizationId;
use serde::{Deserialize, Serialize};
use thiserror::Error;

use super::vantage::NoOutside;

/// Runs that are kept of one organization; the oldest are forgotten.
pub const MAX_RUNS_KEPT: usize = 60;

/// One run in a line.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunSummary {
    /// Names the run: no two of one organization begin in the same millisecond.
    pub started_ms: u64,
    pub ended_ms: u64,
    /// The number of the run in the chain of its organization's evidence, from 1; 0: it is older than the chain.
    #[serde(default)]
    pub sequence: u64,
    /// SHA-256 of its evidence file, hexadecimal.
    #[serde(default)]
    pub evidence_sha256: String,
    /// Who asked for it; None: the schedule.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub by: Option<String>,
    pub ok: usize,
    pub findings: usize,
    pub could_not_test: usize,
    /// Why nobody looked from outside, if nobody did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub no_outside: Option<NoOutside>,
}

#[cfg(test)]
impl RunSummary {
    /// One of a history in which a run begins each second.
    pub(super) fn at(started_ms: u64) -> Self {
        Self {
            started_ms,
            ended_ms: started_ms + 1,
            sequence: started_ms / 1_000,
            evidence_sha256: "11".repeat(32),
            by: None,
            ok: 3,
            findings: 1,
            could_not_test: 2,
            no_outside: None,
        }
    }
}

/// Why the history can't be read or written.
#[derive(Debug, Error)]
pub enum HistoryError {
    #[error("{}: {source}", .path.display())]
    Io { path: PathBuf, source: io::Error },
    #[error("{}: {source}; move the folder away, or bring it back from a copy", .path.display())]
    Content {
        path: PathBuf,
        source: serde_json::Error,
    },
}

/// What all runs left. One per controller.
pub struct History {
    folder: PathBuf,
    /// Locked for a look, or for the write of a run; runs come one after the other.
    runs: Mutex<BTreeMap<OrganizationId, Vec<RunSummary>>>,
}

/// Which file of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RunFile {
    /// What was checked and what came out, JSON.
    Report,
    /// The same with everything that was seen, signed.
    Evidence,
}

impl RunFile {
    /// As it is named beside those of other runs.
    pub(super) fn name(self, started_ms: u64) -> String {
        match self {
            Self::Report => format!("{started_ms}.json"),
            Self::Evidence => format!("{started_ms}.evidence"),
        }
    }

    /// Which file has such a name.
    pub(super) fn of_name(name: &str) -> Option<Self> {
        let (number, _) = name.split_once('.')?;
        let started_ms: u64 = number.parse().ok()?;
        let files = [Self::Report, Self::Evidence];
        files.into_iter().find(|file| file.name(started_ms) == name)
    }
}

impl History {
    /// Opens the folder; none is an empty history.
    pub fn open(folder: &Path) -> Result<Self, HistoryError> {
        let mut runs = BTreeMap::new();
        let entries = match fs::read_dir(folder) {
            Ok(entries) => Some(entries),
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => return Err(at(folder)(error)),
        };
        for entry in entries.into_iter().flatten() {
            let path = entry.map_err(at(folder))?.path();
            let name = path.file_name().and_then(|name| name.to_str());
            let Some(id) = name.and_then(|name| name.parse::<OrganizationId>().ok()) else {
                continue;
            };
            let index = path.join(INDEX_FILE);
            match fs::read(&index) {
                Ok(bytes) => {
                    let read = serde_json::from_slice(&bytes);
                    let read = read.map_err(|source| HistoryError::Content {
                        path: index,
                        source,
                    })?;
                    runs.insert(id, read);
                }
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(at(&index)(error)),
            }
        }
        Ok(Self {
            folder: folder.to_owned(),
            runs: Mutex::new(runs),
        })
    }

    /// Those that were checked.
    #[must_use]
    pub fn organizations(&self) -> Vec<OrganizationId> {
        self.lock().keys().copied().collect()
    }

    /// The newest first.
    #[must_use]
    pub fn runs(&self, organization: OrganizationId) -> Vec<RunSummary> {
        let runs = self.lock();
        let runs = runs.get(&organization).into_iter().flatten();
        runs.rev().cloned().collect()
    }

    #[must_use]
    pub fn newest(&self, organization: OrganizationId) -> Option<RunSummary> {
        self.lock().get(&organization)?.last().cloned()
    }

    /// The place of the next run.
    #[must_use]
    pub fn next_link(&self, organization: OrganizationId) -> RunLink {
        match self.newest(organization) {
            Some(run) if run.sequence > 0 => RunLink::after(run.sequence, run.evidence_sha256),
            _ => RunLink::first(),
        }
    }

    /// A file of a run; None if there is no such run.
    pub fn read(
        &self,
        organization: OrganizationId,
        started_ms: u64,
        file: RunFile,
    ) -> Result<Option<Vec<u8>>, HistoryError> {
        let is_known = self
            .lock()
            .get(&organization)
            .is_some_and(|runs| runs.iter().any(|run| run.started_ms == started_ms));
        if !is_known {
            return Ok(None);
        }
        let path = self.path(organization, started_ms, file);
        fs::read(&path).map(Some).map_err(at(&path))
    }

    /// The report of a run; None if there is no such run.
    pub fn report(
        &self,
        organization: OrganizationId,
        started_ms: u64,
    ) -> Result<Option<Report>, HistoryError> {
        let Some(bytes) = self.read(organization, started_ms, RunFile::Report)? else {
            return Ok(None);
        };
        let report = serde_json::from_slice(&bytes);
        report.map(Some).map_err(|source| HistoryError::Content {
            path: self.path(organization, started_ms, RunFile::Report),
            source,
        })
    }

    /// Keeps a run durably, and forgets the oldest where there are too many. It blocks.
    pub fn add(
        &self,
        organization: OrganizationId,
        run: RunSummary,
        report: &[u8],
        evidence: &[u8],
    ) -> Result<(), HistoryError> {
        let folder = self.folder.join(organization.to_string());
        fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&folder)
            .map_err(at(&folder))?;
        for (file, bytes) in [(RunFile::Report, report), (RunFile::Evidence, evidence)] {
            let path = self.path(organization, run.started_ms, file);
            write(&path, bytes).map_err(at(&path))?;
        }
        let mut kept = self.lock().get(&organization).cloned().unwrap_or_default();
        kept.push(run);
        let excess = kept.len().saturating_sub(MAX_RUNS_KEPT);
        let forgotten: Vec<RunSummary> = kept.drain(..excess).collect();
        let index = folder.join(INDEX_FILE);
        let bytes = serde_json::to_vec(&kept).map_err(|source| HistoryError::Content {
            path: index.clone(),
            source,
        })?;
        write(&index, &bytes).map_err(at(&index))?;
        self.lock().insert(organization, kept);
        for run in forgotten {
            for file in [RunFile::Report, RunFile::Evidence] {
                let path = self.path(organization, run.started_ms, file);
                if let Err(error) = fs::remove_file(&path) {
                    tracing::warn!(%error, path = %path.display(), "an old run's file stays");
                }
            }
        }
        Ok(())
    }

    pub(super) fn path(
        &self,
        organization: OrganizationId,
        started_ms: u64,
        file: RunFile,
    ) -> PathBuf {
        self.folder
            .join(organization.to_string())
            .join(file.name(started_ms))
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, BTreeMap<OrganizationId, Vec<RunSummary>>> {
        self.runs.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whole or not at all, also after a power cut.
pub(super) fn write(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let staged = path.with_extension("new");
    let mut file = fs::OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(&staged)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    fs::rename(&staged, path)?;
    let folder = path.parent().unwrap_or_else(|| Path::new("."));
    File::open(folder)?.sync_all()
}

fn at(path: &Path) -> impl FnOnce(io::Error) -> HistoryError + use<> {
    let path = path.to_owned();
    move |source| HistoryError::Io { path, source }
}

pub(super) const INDEX_FILE: &str = "runs.json";

#[cfg(test)]
mod tests {
    use super::*;

    const SEDEC: OrganizationId = OrganizationId(7);

    #[test]
    fn runs_outlive_the_process_the_newest_first() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("checks");
        let history = History::open(&path).unwrap();
        history
            .add(SEDEC, RunSummary::at(1_000), b"{}", b"seen")
            .unwrap();
        history
            .add(SEDEC, RunSummary::at(2_000), b"{}", b"seen again")
            .unwrap();
        let history = History::open(&path).unwrap();
        assert_eq!(
            history.runs(SEDEC),
            [RunSummary::at(2_000), RunSummary::at(1_000)]
        );
        let evidence = history.read(SEDEC, 2_000, RunFile::Evidence).unwrap();
        assert_eq!(evidence.as_deref(), Some(&b"seen again"[..]));
        assert!(
            history
                .read(SEDEC, 3_000, RunFile::Report)
                .unwrap()
                .is_none()
        );
        assert!(history.newest(OrganizationId(8)).is_none());
    }

    #[test]
    fn the_next_run_follows_the_newest_also_where_older_ones_are_forgotten() {
        let folder = tempfile::tempdir().unwrap();
        let history = History::open(folder.path()).unwrap();
        assert_eq!(history.next_link(SEDEC), RunLink::first());
        let unchained = RunSummary {
            sequence: 0,
            ..RunSummary::at(500)
        };
        history.add(SEDEC, unchained, b"{}", b"seen").unwrap();
        assert_eq!(history.next_link(SEDEC), RunLink::first());
        let last = u64::try_from(MAX_RUNS_KEPT).unwrap() + 3;
        for number in 1..=last {
            let run = RunSummary::at(number * 1_000);
            history.add(SEDEC, run, b"{}", b"seen").unwrap();
        }
        let link = History::open(folder.path()).unwrap().next_link(SEDEC);
        assert_eq!(link, RunLink::after(last, "11".repeat(32)));
    }

    #[test]
    fn the_oldest_runs_are_forgotten_with_their_files() {
        let folder = tempfile::tempdir().unwrap();
        let history = History::open(folder.path()).unwrap();
        let count = u64::try_from(MAX_RUNS_KEPT).unwrap() + 2;
        for started_ms in 0..count {
            history
                .add(SEDEC, RunSummary::at(started_ms), b"{}", b"seen")
                .unwrap();
        }
        assert_eq!(history.runs(SEDEC).len(), MAX_RUNS_KEPT);
        let files = fs::read_dir(folder.path().join(SEDEC.to_string())).unwrap();
        assert_eq!(files.count(), 2 * MAX_RUNS_KEPT + 1);
    }

    #[test]
    fn a_damaged_index_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let history = History::open(folder.path()).unwrap();
        history
            .add(SEDEC, RunSummary::at(1_000), b"{}", b"seen")
            .unwrap();
        fs::write(folder.path().join(SEDEC.to_string()).join(INDEX_FILE), b"[").unwrap();
        let error = History::open(folder.path()).err().unwrap().to_string();
        assert!(error.contains(INDEX_FILE), "{error}");
    }
}
