//! `malha check verify`: evidence files by themselves and as a chain, without a controller. It writes nothing.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use malha_check::{
    Chain, ChainedRun, EvidenceError, MAX_FILE_BYTES, Verified, chains, verify_evidence,
};
use serde_json::{Value, json};

use super::show;
use crate::checks::MAX_RUNS_KEPT;
use crate::cli::exit::{Exit, Failure};
use crate::cli::screen::Screen;
use crate::cli::session::data_folder;
use crate::cli::text;
use crate::cli::text_file;
use crate::folder::overlay_authority_file;

/// [`Exit::Damaged`] where a file is not as it was written, a verdict does not follow, or a run is missing between two others.
pub(super) fn run(
    named: &[PathBuf],
    authority: Option<&Path>,
    all: bool,
    screen: &Screen,
) -> Result<ExitCode, Failure> {
    let authority = match authority {
        Some(authority) => authority.to_owned(),
        None => overlay_authority_file(&data_folder(None)?),
    };
    let pem = text_file::read(&authority, MAX_PEM_BYTES)?;
    let authority = (&*authority, &*pem);
    if let [file] = named
        && !file.is_dir()
    {
        return one(file, authority, all, screen);
    }
    let mut runs = Vec::new();
    let mut damaged = Vec::new();
    let mut disagreeing = BTreeSet::new();
    for file in files(named, screen)? {
        match sound(&file, authority) {
            Ok(verified) => {
                let run = ChainedRun::new(file.display().to_string(), &verified);
                if !screen.json {
                    show::run(&run, &verified.disagreeing, screen);
                }
                if !verified.disagreeing.is_empty() {
                    disagreeing.insert(run.file.clone());
                }
                runs.push(run);
            }
            Err(failure) => {
                if !screen.json {
                    screen.note(failure.words(screen.lang));
                }
                damaged.push(failure.text);
            }
        }
    }
    let chains = chains(&runs);
    if screen.json {
        screen.json(&document(&runs, &chains, &damaged, &disagreeing));
    } else {
        show::chains(&chains, screen);
    }
    let is_broken = chains.iter().any(|it| !it.faults.is_empty());
    Ok(
        match damaged.is_empty() && disagreeing.is_empty() && !is_broken {
            true => Exit::Success.into(),
            false => Exit::Damaged.into(),
        },
    )
}

fn one(
    file: &Path,
    authority: (&Path, &str),
    all: bool,
    screen: &Screen,
) -> Result<ExitCode, Failure> {
    let verified = sound(file, authority)?;
    if screen.json {
        screen.json(&json!({
            "organization": verified.organization,
            "started_ms": verified.started.unix_timestamp() * 1_000,
            "ended_ms": verified.ended.unix_timestamp() * 1_000,
            "sequence": verified.link.sequence,
            "previous": verified.link.previous,
            "sha256": verified.sha256,
            "lines": verified.lines,
            "ok": verified.counts.ok,
            "findings": verified.counts.findings,
            "could_not_test": verified.counts.could_not_test,
            "disagreeing": verified.disagreeing,
        }));
    } else {
        show::verified(&verified, all, screen);
    }
    Ok(match verified.disagreeing.is_empty() {
        true => Exit::Success.into(),
        false => Exit::Damaged.into(),
    })
}

fn sound(file: &Path, (authority, pem): (&Path, &str)) -> Result<Verified, Failure> {
    let evidence = text_file::read(file, MAX_FILE_BYTES)?;
    verify_evidence(&evidence, pem).map_err(|error| {
        let at = match &error {
            EvidenceError::Authority | EvidenceError::AuthorityKey => authority,
            _ => file,
        };
        Failure::said(Exit::Damaged, |lang| {
            format!("{}: {}", at.display(), error.words(show::lang_of(lang)))
        })
    })
}

/// The files that are meant, in the order of their names; those of a folder, and of the folders in it, are told by what they end with.
fn files(named: &[PathBuf], screen: &Screen) -> Result<Vec<PathBuf>, Failure> {
    let mut files = Vec::new();
    for path in named {
        if !path.is_dir() {
            files.push(path.clone());
            continue;
        }
        let mut found = Vec::new();
        for entry in inside(path)? {
            match entry.is_dir() {
                true => found.extend(inside(&entry)?),
                false => found.push(entry),
            }
        }
        found.retain(|file| {
            let ending = file.extension().and_then(|it| it.to_str());
            matches!(ending, Some("evidence" | "jsonl"))
        });
        if found.is_empty() {
            let text = text::no_evidence(screen.lang, path.display());
            return Err(Failure::new(Exit::NotFound, text));
        }
        found.sort();
        files.extend(found);
    }
    if files.len() > MAX_FILES {
        let text = text::too_many_files(screen.lang, MAX_FILES);
        return Err(Failure::new(Exit::Refused, text));
    }
    Ok(files)
}

fn inside(folder: &Path) -> Result<Vec<PathBuf>, Failure> {
    let failed = |error| Failure::file(folder, &error);
    let entries = fs::read_dir(folder).map_err(failed)?;
    let paths = entries.map(|entry| entry.map(|it| it.path()));
    paths.collect::<Result<_, _>>().map_err(failed)
}

fn document(
    runs: &[ChainedRun],
    chains: &[Chain],
    damaged: &[String],
    disagreeing: &BTreeSet<String>,
) -> Value {
    let lang = malha_check::Lang::En;
    let run = |it: &ChainedRun| {
        json!({
            "file": it.file,
            "organization": it.organization,
            "sequence": it.link.sequence,
            "previous": it.link.previous,
            "sha256": it.sha256,
            "started_ms": it.started.unix_timestamp() * 1_000,
        })
    };
    let chain = |it: &Chain| {
        let faults: Vec<String> = it.faults.iter().map(|fault| fault.words(lang)).collect();
        json!({
            "organization": it.organization,
            "first": it.first,
            "last": it.last,
            "runs": it.runs,
            "faults": faults,
        })
    };
    json!({
        "runs": runs.iter().map(run).collect::<Vec<_>>(),
        "chains": chains.iter().map(chain).collect::<Vec<_>>(),
        "kept_by_a_controller": MAX_RUNS_KEPT,
        "damaged": damaged,
        "disagreeing": disagreeing,
    })
}

const MAX_PEM_BYTES: usize = 64 * 1_024;
/// Of one call.
const MAX_FILES: usize = 10_000;
