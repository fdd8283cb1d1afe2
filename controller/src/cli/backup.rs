//! `malha backup`, `malha backup verify` and `malha restore`: the store, and what checks found. A backup appears under its name only
//! when it is whole and verified, and a restore writes over nothing.

use std::fs::{File, OpenOptions};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::{Args, Subcommand};
use malha_store::{BackupSummary, Batch, CommitOutcome, Op, Prefix, Store, verify_backup};
use serde_json::{Value, json};

use crate::checks::{History, HistoryCopy, restore_file};
use crate::cli::exit::{Exit, Failure};
use crate::cli::screen::Screen;
use crate::cli::session::Session;
use crate::cli::text;
use crate::clock::now_ms;
use crate::folder;

#[derive(Clone, Debug, Args)]
pub(super) struct BackupArgs {
    #[command(subcommand)]
    verb: Option<BackupVerb>,
    /// The file to write; refused if it exists
    #[arg(required = true)]
    file: Option<PathBuf>,
    /// Read this folder of a stopped controller instead of asking a running one
    #[arg(long, env = "MALHA_BACKUP_DATA", value_name = "DIR")]
    data: Option<PathBuf>,
}

#[derive(Clone, Debug, Subcommand)]
enum BackupVerb {
    /// Check that a backup is whole and unchanged
    Verify { file: PathBuf },
}

#[derive(Clone, Debug, Args)]
pub(super) struct RestoreArgs {
    /// The backup
    file: PathBuf,
    /// The data folder; must not hold a store
    #[arg(long, env = "MALHA_DATA", value_name = "DIR")]
    data: PathBuf,
}

/// What needs no controller.
pub(super) enum LocalBackup {
    Verify(PathBuf),
    Take { file: PathBuf, data: PathBuf },
}

impl BackupArgs {
    pub(super) fn local(&self) -> Result<Option<LocalBackup>, Failure> {
        match (&self.verb, &self.file, &self.data) {
            (Some(BackupVerb::Verify { file }), _, _) => {
                Ok(Some(LocalBackup::Verify(file.clone())))
            }
            (None, Some(file), Some(data)) => Ok(Some(LocalBackup::Take {
                file: file.clone(),
                data: data.clone(),
            })),
            (None, Some(_), None) => Ok(None),
            (None, None, _) => Err(Failure::said(Exit::Usage, text::name_a_file)),
        }
    }
}

/// From the running controller.
pub(super) async fn download(args: BackupArgs, session: &Session) -> Result<(), Failure> {
    let file = args.file.unwrap_or_default();
    let partial = Partial::create(&file)?;
    let mut writer = tokio::fs::File::from_std(partial.handle()?);
    session.client().download("/backup", &mut writer).await?;
    show_written(&partial.publish()?, &file, &session.screen);
    Ok(())
}

pub(super) async fn run_local(local: LocalBackup, screen: &Screen) -> Result<(), Failure> {
    match local {
        LocalBackup::Verify(file) => verify(&file, screen),
        LocalBackup::Take { file, data } => {
            let store = malha_store::open(&folder::store_dir(&data), &folder::schema())?;
            let partial = Partial::create(&file)?;
            let mut writer = tokio::fs::File::from_std(partial.handle()?);
            let history = History::open(&folder::checks_dir(&data))?;
            let mut files = HistoryCopy::new(Arc::new(history));
            malha_store::backup(&*store, now_ms(), &mut files, &mut writer).await?;
            tokio::io::AsyncWriteExt::flush(&mut writer)
                .await
                .map_err(|error| Failure::file(&file, &error))?;
            store.close().await?;
            show_written(&partial.publish()?, &file, screen);
            Ok(())
        }
    }
}

pub(super) async fn restore(args: RestoreArgs, screen: &Screen) -> Result<(), Failure> {
    let mut file = File::open(&args.file).map_err(|error| Failure::file(&args.file, &error))?;
    let store_dir = folder::store_dir(&args.data);
    let history = StagedHistory::read(&mut file, &args.data)?;
    let restored = malha_store::restore(&mut file, &store_dir, &folder::schema())?;
    history.publish()?;
    forget_leases(&*malha_store::open(&store_dir, &folder::schema())?).await?;
    folder::hand_over(&args.data)?;
    let is_kept = history.is_kept && restored.backup.files > 0;
    if screen.json {
        let mut document = json!({ "data": args.data, "backup": summary(&restored.backup) });
        document["checks_kept"] = is_kept.into();
        screen.json(&document);
        return Ok(());
    }
    let (lang, data) = (screen.lang, args.data.display());
    screen.note(&text::restored(lang, data, restored.backup.keys));
    if is_kept {
        let checks = folder::checks_dir(&args.data);
        screen.note(&text::checks_kept(lang, checks.display()));
    }
    Ok(())
}

/// What checks found, taken out of a backup but not yet where a controller looks for it; removed unless it is published.
struct StagedHistory {
    staged: PathBuf,
    target: PathBuf,
    /// There is a history already. It goes on from there: it may be newer than the backup's, and evidence is never written over.
    is_kept: bool,
}

impl StagedHistory {
    fn read(backup: &mut File, data: &Path) -> Result<Self, Failure> {
        let target = folder::checks_dir(data);
        let history = Self {
            staged: target.with_extension("unfinished"),
            is_kept: target.exists(),
            target,
        };
        // A folder that holds a store is refused by the restore itself, with its own words.
        if history.is_kept || folder::store_dir(data).exists() {
            return Ok(history);
        }
        history.clear();
        let mut take = |file| restore_file(&history.staged, &file);
        malha_store::read_backup_files(backup, &mut take)?;
        Ok(history)
    }

    fn publish(&self) -> Result<(), Failure> {
        if !self.staged.exists() {
            return Ok(());
        }
        let published = std::fs::rename(&self.staged, &self.target).and_then(|()| {
            let data = self.target.parent().unwrap_or(Path::new("."));
            File::open(data)?.sync_all()
        });
        published.map_err(|error| Failure::file(&self.target, &error))
    }

    fn clear(&self) {
        let _ = std::fs::remove_dir_all(&self.staged);
    }
}

impl Drop for StagedHistory {
    fn drop(&mut self) {
        self.clear();
    }
}

/// Nodes hold newer leases than the backup knows. Without a record of a lease each may go on with the one it has; with an
/// old one it would be taken for a copy of itself.
async fn forget_leases(store: &dyn Store) -> Result<(), Failure> {
    let prefix = Prefix::new(LEASE_RECORDS)?;
    loop {
        let page = store.range(&prefix, None, MAX_DELETED).await?;
        if page.items.is_empty() {
            break;
        }
        let ops = page
            .items
            .into_iter()
            .map(|item| Op::Delete(item.key))
            .collect();
        if let CommitOutcome::Conflict(conflict) = store
            .commit(Batch {
                ops,
                ..Batch::default()
            })
            .await?
        {
            return Err(Failure::new(Exit::Conflict, conflict.to_string()));
        }
    }
    Ok(store.close().await?)
}

fn verify(path: &Path, screen: &Screen) -> Result<(), Failure> {
    let mut file = File::open(path).map_err(|error| Failure::file(path, &error))?;
    let found = verify_backup(&mut file)?;
    if screen.json {
        screen.json(&summary(&found));
    } else {
        let taken = screen.moment(found.header.taken_at_ms);
        screen.line(&text::backup_right(
            screen.lang,
            path.display(),
            found.keys,
            taken,
            &found.sha256,
        ));
    }
    Ok(())
}

fn show_written(backup: &BackupSummary, path: &Path, screen: &Screen) {
    if screen.json {
        return screen.json(&summary(backup));
    }
    let bytes = std::fs::metadata(path).map_or(0, |metadata| metadata.len());
    screen.note(&text::backup_written(
        screen.lang,
        path.display(),
        bytes,
        backup.header.revision,
    ));
}

fn summary(backup: &BackupSummary) -> Value {
    json!({
        "schema": backup.header.schema,
        "store_revision": backup.header.revision.0,
        "taken_at_ms": backup.header.taken_at_ms,
        "keys": backup.keys,
        "files": backup.files,
        "sha256": backup.sha256,
    })
}

/// A backup that is not whole yet, under another name; removed unless it is published.
struct Partial {
    path: PathBuf,
    target: PathBuf,
}

impl Partial {
    fn create(target: &Path) -> Result<Self, Failure> {
        if target.exists() {
            return Err(Failure::said(Exit::Conflict, |lang| {
                text::file_exists(lang, target.display())
            }));
        }
        let mut name = target.as_os_str().to_owned();
        name.push(".partial");
        let path = PathBuf::from(name);
        let made = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&path);
        made.map_err(|error| Failure::file(&path, &error))?;
        Ok(Self {
            path,
            target: target.to_owned(),
        })
    }

    fn handle(&self) -> Result<File, Failure> {
        OpenOptions::new()
            .write(true)
            .open(&self.path)
            .map_err(|error| Failure::file(&self.path, &error))
    }

    /// Verifies it, makes it durable and gives it its name.
    fn publish(self) -> Result<BackupSummary, Failure> {
        let failed = |error: &std::io::Error| Failure::file(&self.path, error);
        let mut file = File::open(&self.path).map_err(|error| failed(&error))?;
        let summary = verify_backup(&mut file)?;
        file.sync_all()
            .and_then(|()| std::fs::hard_link(&self.path, &self.target))
            .map_err(|error| failed(&error))?;
        let parent = self
            .target
            .parent()
            .filter(|parent| !parent.as_os_str().is_empty())
            .unwrap_or(Path::new("."));
        File::open(parent)
            .and_then(|folder| folder.sync_all())
            .map_err(|error| failed(&error))?;
        Ok(summary)
    }
}

impl Drop for Partial {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.path);
    }
}

/// Where malha-core stores leases.
const LEASE_RECORDS: &str = "e/lease/";
const MAX_DELETED: usize = 500;
