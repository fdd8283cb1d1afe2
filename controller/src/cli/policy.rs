//! `malha policy`: look at a text, see what it would change, put it in force, and come back. Nothing is saved that was not
//! shown first: `apply` asks, or takes the hash of the difference that was seen.

mod proposals;
pub(super) mod show;

use std::io::{BufRead, IsTerminal, Read};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::builder::PossibleValuesParser;
use clap::{Args, Subcommand};
use http::Method;
use malha_core::limits::MAX_POLICY_BYTES;
use serde_json::{Value, json};

use crate::api::{
    Policy, PolicyCheck, PolicyDifference, PolicyExplanation, PolicyProposal, PolicyVersion,
};
use crate::cli::exit::{Exit, Failure};
use crate::cli::session::{Session, parse};
use crate::cli::span::Span;
use crate::cli::text::{self, Word};
use crate::cli::text_file;

#[derive(Clone, Debug, Subcommand)]
pub(super) enum PolicyCommand {
    /// Print the policy's text: the one in force, or a former one
    Show {
        #[arg(value_name = "VERSION")]
        number: Option<u64>,
    },
    /// Look for mistakes in a file and run its tests; nothing is changed
    Check {
        /// TOML; `-` reads standard input
        file: PathBuf,
    },
    /// Run the tests of the policy in force, or of a file, against the nodes there are now
    Test { file: Option<PathBuf> },
    /// Show who would gain and who would lose which port, and the hash with which to apply it
    Diff { file: PathBuf },
    /// Put a file in force after showing what it changes
    Apply {
        file: PathBuf,
        /// The hash that `diff` showed; asks nothing, and is refused if anything else would change
        #[arg(long, env = "MALHA_DIFFERENCE", value_name = "HASH")]
        difference: Option<String>,
        /// Ask nothing
        #[arg(long, env = "MALHA_YES", conflicts_with = "difference")]
        yes: bool,
        /// The former policy comes back by itself unless `confirm` comes within this: 60s, 10m
        #[arg(long, env = "MALHA_CONFIRM_WITHIN", value_name = "SPAN")]
        confirm_within: Option<Span>,
        #[command(flatten)]
        emergency: Emergency,
    },
    /// List the changes that wait for a second operator
    Pending,
    /// Approve a change that another operator proposed, after showing what it changes
    Approve {
        /// Its number, or its hash or the beginning of it
        proposal: String,
        /// The hash that was shown; asks nothing, and is refused if anything else would change
        #[arg(long, env = "MALHA_DIFFERENCE", value_name = "HASH")]
        difference: Option<String>,
        /// Ask nothing
        #[arg(long, env = "MALHA_YES", conflicts_with = "difference")]
        yes: bool,
    },
    /// Reject a change that waits, or take back one's own
    Reject {
        /// Its number, or its hash or the beginning of it
        proposal: String,
    },
    /// Keep the policy that waits for its confirmation
    Confirm {
        /// The version that was applied
        #[arg(value_name = "VERSION")]
        number: u64,
    },
    /// List the versions
    History,
    /// Put a former version in force again
    Rollback {
        #[arg(value_name = "VERSION")]
        number: u64,
        #[command(flatten)]
        emergency: Emergency,
    },
    /// Say what each grant says of a packet
    Explain {
        /// Who would open: `ORG/SITE/NODE`, its last name if it is the only one, or id
        from: String,
        /// On whom
        to: String,
        /// The destination port; not for icmp
        #[arg(
            long,
            env = "MALHA_PORT",
            default_value_t = 0,
            hide_default_value = true
        )]
        port: u16,
        #[arg(long, env = "MALHA_PROTOCOL", default_value = "tcp", value_parser = PossibleValuesParser::new(["tcp", "udp", "icmp"]))]
        protocol: String,
        /// In this text in the place of the one in force
        #[arg(long, env = "MALHA_FILE")]
        file: Option<PathBuf>,
    },
}

/// The way past the second approver.
#[derive(Clone, Debug, Args)]
pub(super) struct Emergency {
    /// Why you, an owner, act without the second approver: in force at once, and gone again after a day unless another
    /// operator confirms it
    #[arg(
        id = "emergency",
        long = "emergency",
        env = "MALHA_EMERGENCY",
        value_name = "REASON"
    )]
    reason: Option<String>,
}

impl PolicyCommand {
    /// [`Exit::Refused`] for a text that may not come in force, [`Exit::Denied`] where nothing opens the packet.
    pub(super) async fn run(self, session: &Session) -> Result<ExitCode, Failure> {
        match self {
            Self::Show { number } => show_text(session, number).await,
            Self::Check { file } => check(session, Some(&file)).await,
            Self::Test { file } => check(session, file.as_deref()).await,
            Self::Diff { file } => {
                let (value, _) = difference(session, &read(&file)?).await?;
                if session.screen.json {
                    session.screen.json(&value);
                }
                Ok(ExitCode::SUCCESS)
            }
            Self::Apply {
                file,
                difference,
                yes,
                confirm_within,
                emergency,
            } => {
                let text = read(&file)?;
                let hash = match difference {
                    Some(hash) => hash,
                    None => seen(session, &text, yes).await?,
                };
                apply(session, &text, &hash, confirm_within, emergency).await
            }
            Self::Pending => {
                session
                    .list::<PolicyProposal>("/policy/proposals", &[])
                    .await?;
                Ok(ExitCode::SUCCESS)
            }
            Self::Approve {
                proposal,
                difference,
                yes,
            } => proposals::approve(session, &proposal, difference, yes).await,
            Self::Reject { proposal } => {
                session.remove(&proposals::at(&proposal)).await?;
                Ok(ExitCode::SUCCESS)
            }
            Self::Confirm { number } => {
                let body = json!({ "version": number });
                write(session, Method::POST, "/policy/confirm", &body).await
            }
            Self::History => {
                session
                    .list::<PolicyVersion>("/policy/versions", &[])
                    .await?;
                Ok(ExitCode::SUCCESS)
            }
            Self::Rollback { number, emergency } => {
                let body = json!({ "version": number, "emergency": emergency.reason });
                write(session, Method::POST, "/policy/rollback", &body).await
            }
            Self::Explain {
                from,
                to,
                port,
                protocol,
                file,
            } => {
                let text = file.map(|file| read(&file)).transpose()?;
                let body = json!({ "from": from, "to": to, "port": port, "protocol": protocol, "text": text });
                explain(session, &body).await
            }
        }
    }
}

async fn show_text(session: &Session, version: Option<u64>) -> Result<ExitCode, Failure> {
    let (value, text) = match version {
        None => {
            let value = session.client().read("/policy").await?;
            let policy: Policy = parse(value.clone())?;
            (value, policy.text)
        }
        Some(version) => {
            let path = format!("/policy/versions/{version}");
            let value = session.client().read(&path).await?;
            let version: PolicyVersion = parse(value.clone())?;
            (value, version.text.unwrap_or_default())
        }
    };
    match session.screen.json {
        true => session.screen.json(&value),
        false => text.lines().for_each(|line| session.screen.line(line)),
    }
    Ok(ExitCode::SUCCESS)
}

async fn apply(
    session: &Session,
    text: &str,
    difference: &str,
    confirm_within: Option<Span>,
    emergency: Emergency,
) -> Result<ExitCode, Failure> {
    let within_ms = confirm_within.map(|span| span.seconds().saturating_mul(1_000));
    let body = json!({
        "text": text, "difference": difference, "confirm_within_ms": within_ms,
        "emergency": emergency.reason,
    });
    write(session, Method::PUT, "/policy", &body).await
}

async fn check(session: &Session, file: Option<&Path>) -> Result<ExitCode, Failure> {
    let text = file.map(read).transpose()?;
    let value = ask(session, "/policy/check", &json!({ "text": text })).await?;
    let check: PolicyCheck = parse(value.clone())?;
    match session.screen.json {
        true => session.screen.json(&value),
        false => show::check(&check, &session.screen),
    }
    Ok(match check.ok {
        true => Exit::Success.into(),
        false => Exit::Refused.into(),
    })
}

/// Also shows it, unless the answer is for a program.
async fn difference(session: &Session, text: &str) -> Result<(Value, PolicyDifference), Failure> {
    let value = ask(session, "/policy/diff", &json!({ "text": text })).await?;
    let difference: PolicyDifference = parse(value.clone())?;
    if !session.screen.json {
        show::difference(&difference, &session.screen);
    }
    Ok((value, difference))
}

/// Shows the difference and gives its hash, if whoever sits there agrees.
async fn seen(session: &Session, text: &str, yes: bool) -> Result<String, Failure> {
    let (_, difference) = difference(session, text).await?;
    agree(session, yes)?;
    Ok(difference.hash.to_string())
}

fn agree(session: &Session, yes: bool) -> Result<(), Failure> {
    if yes || agreed(session)? {
        return Ok(());
    }
    let refusal = Word::NothingChanged.text(session.screen.lang);
    Err(Failure::new(Exit::Refused, refusal))
}

/// Asks whoever sits at the terminal. Nobody there is no agreement.
fn agreed(session: &Session) -> Result<bool, Failure> {
    let input = std::io::stdin();
    if !input.is_terminal() {
        let refusal = Word::NobodyToAsk.text(session.screen.lang);
        return Err(Failure::new(Exit::Usage, refusal));
    }
    session
        .screen
        .note(Word::ApplyThis.text(session.screen.lang));
    let mut line = String::new();
    let mut answer = input.lock().take(MAX_ANSWER_BYTES);
    answer
        .read_line(&mut line)
        .map_err(|error| Failure::new(Exit::Internal, error.to_string()))?;
    Ok(["s", "sim", "y", "yes"].contains(&line.trim().to_ascii_lowercase().as_str()))
}

async fn write(
    session: &Session,
    method: Method,
    path: &str,
    body: &Value,
) -> Result<ExitCode, Failure> {
    let value = session.send(method, path, Some(body)).await?;
    if session.screen.json {
        session.screen.json(&value);
        return Ok(ExitCode::SUCCESS);
    }
    let policy: Policy = parse(value.clone())?;
    let (screen, lang) = (&session.screen, session.screen.lang);
    if let Some(proposal) = policy.proposed {
        let until = screen.moment(proposal.expires_ms);
        let organizations = proposal.organizations.join(", ");
        screen.note(&text::policy_proposed(
            lang,
            organizations,
            proposal.number,
            until,
        ));
        return Ok(ExitCode::SUCCESS);
    }
    screen.note(&text::policy_in_force(
        lang,
        policy.version,
        &value["revision"],
    ));
    if let Some(pending) = policy.pending {
        let deadline = screen.moment(pending.deadline_ms);
        screen.note(&text::policy_pending(
            lang,
            pending.former,
            deadline,
            policy.version,
        ));
        if pending.emergency.is_some() {
            screen.note(Word::AnotherConfirms.text(lang));
        }
    }
    session.applied(&value)?;
    Ok(ExitCode::SUCCESS)
}

async fn explain(session: &Session, body: &Value) -> Result<ExitCode, Failure> {
    let value = ask(session, "/policy/explain", body).await?;
    let explanation: PolicyExplanation = parse(value.clone())?;
    match session.screen.json {
        true => session.screen.json(&value),
        false => show::explanation(&explanation, &session.screen),
    }
    Ok(match explanation.allowed {
        true => Exit::Success.into(),
        false => Exit::Denied.into(),
    })
}

/// A question that needs a body.
async fn ask(session: &Session, path: &str, body: &Value) -> Result<Value, Failure> {
    Ok(session
        .client()
        .send(Method::POST, path, Some(body))
        .await?)
}

fn read(file: &Path) -> Result<String, Failure> {
    text_file::read(file, MAX_POLICY_BYTES)
}

const MAX_ANSWER_BYTES: u64 = 64;
