//! `malha store check`, `malha audit verify` and `malha audit tail`: whether what is stored is what was written. They repair
//! nothing.

use std::path::{Path, PathBuf};

use clap::Subcommand;
use malha_store::StoreError;
use malha_store::audit::{AuditHead, verify};
use serde_json::json;

use crate::cli::exit::{Exit, Failure};
use crate::cli::screen::Screen;
use crate::cli::session::data_folder;
use crate::cli::text;
use crate::folder;

#[derive(Clone, Debug, Subcommand)]
pub(super) enum StoreCommand {
    /// Read everything in the store of a stopped controller and check it
    Check {
        /// The data folder [default: of malha.toml, else /var/lib/malha]
        #[arg(long, env = "MALHA_DATA", value_name = "DIR")]
        data: Option<PathBuf>,
    },
}

#[derive(Clone, Debug, Subcommand)]
pub(super) enum AuditCommand {
    /// Check the whole audit log in the files of this machine, line by line
    Verify {
        /// The data folder [default: of malha.toml, else /var/lib/malha]
        #[arg(long, env = "MALHA_DATA", value_name = "DIR")]
        data: Option<PathBuf>,
    },
    /// Show the newest lines
    Tail {
        /// How many
        #[arg(long, short = 'n', env = "MALHA_LINES", default_value_t = 50, value_parser = clap::value_parser!(u16).range(1..=1000))]
        lines: u16,
    },
}

pub(super) fn check_store(command: &StoreCommand, screen: &Screen) -> Result<(), Failure> {
    let StoreCommand::Check { data } = command;
    let report = malha_store::check(&folder::store_dir(&data_folder(data.as_deref())?))?;
    if screen.json {
        screen.json(&json!({
            "intact": report.is_intact(),
            "schema": report.schema,
            "store_revision": report.revision.0,
            "keys": report.keys,
            "changes": report.changes,
            "file_bytes": report.file_bytes,
            "damages": report.damages,
            "named_damages": report.named_damages,
        }));
    } else if report.is_intact() {
        screen.line(&text::store_right(
            screen.lang,
            report.keys,
            report.revision,
            report.file_bytes,
        ));
    }
    if report.is_intact() {
        return Ok(());
    }
    let lines: Vec<String> = std::iter::once(text::store_damaged(screen.lang, report.damages))
        .chain(report.named_damages)
        .collect();
    Err(Failure::new(Exit::Damaged, lines.join("; ")))
}

pub(super) async fn verify_audit(data: Option<PathBuf>, screen: &Screen) -> Result<(), Failure> {
    let data = data_folder(data.as_deref())?;
    let expected = committed_head(&data).await?;
    let report = verify(&folder::audit_dir(&data), expected)?;
    if screen.json {
        screen.json(&json!({
            "lines": report.head.sequence,
            "hash": report.head.hash,
            "segments": report.segments,
            "lines_beyond_expected": report.lines_beyond_expected,
            "unfinished_bytes": report.unfinished_bytes,
            "compared_with_store": expected.is_some(),
        }));
    } else {
        screen.line(&text::audit_right(
            screen.lang,
            report.head.sequence,
            report.segments,
            report.head.hash,
        ));
    }
    Ok(())
}

/// The head that the store holds. A running controller keeps its store to itself; the log is then compared with its own
/// head file.
async fn committed_head(data: &Path) -> Result<Option<AuditHead>, Failure> {
    let store = match malha_store::open(&folder::store_dir(data), &folder::schema()) {
        Ok(store) => store,
        Err(StoreError::InUse { .. }) => return Ok(None),
        Err(error) => return Err(error.into()),
    };
    let head = folder::audit_head(&*store).await;
    store.close().await?;
    Ok(Some(head?))
}
