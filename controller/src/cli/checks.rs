//! `malha check`: what an organization declares of itself, whether it is so, and what earlier checks found. `verify` needs no
//! controller: evidence files and the authority's certificate are enough.

mod show;
mod verify;

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use clap::{Args, Subcommand};
use http::Method;
use malha_core::limits::MAX_DECLARATION_BYTES;
use serde_json::json;
use tokio::time::{Instant, sleep};

use crate::api::{CheckReport, CheckState, Checks, Declaration, NewCheck, OverlayAuthority};
use crate::cli::exit::{Exit, Failure};
use crate::cli::screen::Screen;
use crate::cli::session::{Connection, Session, parse};
use crate::cli::text::{self, Lang, Word};
use crate::cli::text_file;
use crate::client::part;

/// Check an organization, or one of the commands below.
#[derive(Clone, Debug, Args)]
#[command(args_conflicts_with_subcommands = true, subcommand_negates_reqs = true)]
pub(super) struct CheckArgs {
    #[command(subcommand)]
    command: Option<CheckCommand>,
    /// Name or id of the organization to check now
    #[arg(required = true)]
    org: Option<String>,
    /// Check nothing: show what the newest run found
    #[arg(long, env = "MALHA_LAST")]
    last: bool,
    /// Name what is in order too
    #[arg(long, env = "MALHA_ALL")]
    all: bool,
    /// Also write the report as one HTML file
    #[arg(long, env = "MALHA_HTML", value_name = "FILE")]
    html: Option<PathBuf>,
    /// Also write the signed evidence, for `verify`
    #[arg(long, env = "MALHA_EVIDENCE", value_name = "FILE")]
    evidence: Option<PathBuf>,
}

#[derive(Clone, Debug, Subcommand)]
pub(super) enum CheckCommand {
    /// Keep a file as what an organization declares of itself
    Declare {
        /// Name or id of the organization
        org: String,
        /// TOML; `-` reads standard input
        file: PathBuf,
    },
    /// Print what an organization declares
    Declaration {
        /// Name or id of the organization
        org: String,
    },
    /// Forget what an organization declares
    Withdraw {
        /// Name or id of the organization
        org: String,
    },
    /// List the runs of an organization
    History {
        /// Name or id of the organization
        org: String,
    },
    /// Print the certificate of the authority that signs evidence, for auditors
    Authority,
    /// Check evidence files without a controller: each by itself, and that no run between them is missing
    Verify {
        /// As `--evidence` wrote them; a folder stands for all evidence in it
        #[arg(required = true)]
        files: Vec<PathBuf>,
        /// PEM file with the authority's certificate [default: overlay-ca.pem in the data folder]
        #[arg(long, env = "MALHA_AUTHORITY", value_name = "FILE")]
        authority: Option<PathBuf>,
        /// Name what is in order too
        #[arg(long, env = "MALHA_ALL")]
        all: bool,
    },
}

/// [`Exit::Findings`] where something is not as declared, else [`Exit::Untested`] where something could not be tested.
pub(super) async fn run(
    args: CheckArgs,
    connection: &Connection,
    screen: Screen,
) -> Result<ExitCode, Failure> {
    let command = match (args.command, args.org) {
        (None, Some(org)) => {
            let session = Session::open(connection, screen)?;
            let wish = Wish {
                all: args.all,
                html: args.html,
                evidence: args.evidence,
            };
            return check(&session, &org, args.last, wish).await;
        }
        (
            Some(CheckCommand::Verify {
                files,
                authority,
                all,
            }),
            _,
        ) => {
            return verify::run(&files, authority.as_deref(), all, &screen);
        }
        (command, _) => command,
    };
    let session = Session::open(connection, screen)?;
    let at = |org: &str| format!("/organizations/{}/declaration", part(org));
    match command {
        Some(CheckCommand::Declare { org, file }) => declare(&session, &at(&org), &file).await?,
        Some(CheckCommand::Declaration { org }) => declaration(&session, &at(&org)).await?,
        Some(CheckCommand::Withdraw { org }) => session.remove(&at(&org)).await?,
        Some(CheckCommand::History { org }) => history(&session, &org).await?,
        Some(CheckCommand::Authority) => authority(&session).await?,
        // clap asks for the organization where there is no command.
        Some(CheckCommand::Verify { .. }) | None => {}
    }
    Ok(ExitCode::SUCCESS)
}

/// What is wished beside the answer.
struct Wish {
    all: bool,
    html: Option<PathBuf>,
    evidence: Option<PathBuf>,
}

async fn check(session: &Session, org: &str, last: bool, wish: Wish) -> Result<ExitCode, Failure> {
    let at = format!("/organizations/{}/checks", part(org));
    let (screen, tag) = (&session.screen, tag(session.screen.lang));
    if !last {
        run_now(session, &at).await?;
    }
    let value = session
        .client()
        .read(&format!("{at}/newest?lang={tag}"))
        .await?;
    let report: CheckReport = parse(value.clone())?;
    let run = report.summary.run;
    for (file, what) in [
        (wish.html, format!("html?lang={tag}")),
        (wish.evidence, "evidence".to_owned()),
    ] {
        if let Some(file) = file {
            download(session, &format!("{at}/{run}/{what}"), &file).await?;
        }
    }
    match screen.json {
        true => screen.json(&value),
        false => show::report(&report, wish.all, screen),
    }
    Ok(
        match (report.summary.findings, report.summary.could_not_test) {
            (0, 0) => Exit::Success.into(),
            (0, _) => Exit::Untested.into(),
            _ => Exit::Findings.into(),
        },
    )
}

/// How the API is asked for a language.
fn tag(lang: Lang) -> &'static str {
    match lang {
        Lang::Pt => "pt",
        Lang::En => "en",
    }
}

/// Asks for a run and waits until it is over.
async fn run_now(session: &Session, at: &str) -> Result<(), Failure> {
    let newest = |checks: &Checks| checks.runs.first().map(|run| run.run);
    let told = format!("{at}?lang={}", tag(session.screen.lang));
    let before = newest(&parse(session.client().read(&told).await?)?);
    let asked = session.client().send(Method::POST, at, Some(&NewCheck {}));
    asked.await?;
    session
        .screen
        .note(Word::Checking.text(session.screen.lang));
    let ends = Instant::now() + PATIENCE;
    loop {
        let checks: Checks = parse(session.client().read(&told).await?)?;
        if checks.state == CheckState::Idle {
            return match checks.failure {
                Some(failure) => Err(Failure::new(Exit::Internal, failure)),
                None if newest(&checks) != before => Ok(()),
                None => {
                    let text = Word::CheckLost.text(session.screen.lang);
                    Err(Failure::new(Exit::Unreachable, text))
                }
            };
        }
        if Instant::now() >= ends {
            let text = Word::CheckLong.text(session.screen.lang);
            return Err(Failure::new(Exit::Unreachable, text));
        }
        sleep(LOOK_PAUSE).await;
    }
}

async fn download(session: &Session, path: &str, file: &Path) -> Result<(), Failure> {
    let failed = |error| Failure::file(file, &error);
    let mut out = tokio::fs::File::create(file).await.map_err(failed)?;
    session.client().download(path, &mut out).await?;
    out.sync_all().await.map_err(failed)?;
    let lang = session.screen.lang;
    session
        .screen
        .note(&text::file_written(lang, file.display()));
    Ok(())
}

async fn declare(session: &Session, at: &str, file: &Path) -> Result<(), Failure> {
    let text = text_file::read(file, MAX_DECLARATION_BYTES)?;
    let body = json!({ "text": text });
    let value = session.send(Method::PUT, at, Some(&body)).await?;
    if session.screen.json {
        session.screen.json(&value);
        return Ok(());
    }
    let lang = session.screen.lang;
    session
        .screen
        .note(&text::written(lang, &value["revision"]));
    session.applied(&value)
}

async fn declaration(session: &Session, at: &str) -> Result<(), Failure> {
    let value = session.client().read(at).await?;
    if session.screen.json {
        session.screen.json(&value);
        return Ok(());
    }
    let declaration: Declaration = parse(value)?;
    let lines = declaration.text.lines();
    lines.for_each(|line| session.screen.line(line));
    Ok(())
}

async fn history(session: &Session, org: &str) -> Result<(), Failure> {
    let lang = tag(session.screen.lang);
    let at = format!("/organizations/{}/checks?lang={lang}", part(org));
    let value = session.client().read(&at).await?;
    match session.screen.json {
        true => session.screen.json(&value),
        false => show::history(&parse::<Checks>(value)?, &session.screen),
    }
    Ok(())
}

async fn authority(session: &Session) -> Result<(), Failure> {
    let value = session.client().read("/authority").await?;
    if session.screen.json {
        session.screen.json(&value);
        return Ok(());
    }
    let authority: OverlayAuthority = parse(value)?;
    let lines = authority.certificate_pem.lines();
    lines.for_each(|line| session.screen.line(line));
    Ok(())
}

/// How long a run is waited for.
const PATIENCE: Duration = Duration::from_secs(20 * 60);
const LOOK_PAUSE: Duration = Duration::from_secs(1);
