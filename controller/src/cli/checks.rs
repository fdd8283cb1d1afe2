//! `malha check`: what an organization declares of itself, and whether it is so.

use std::path::PathBuf;

use clap::Subcommand;
use http::Method;
use malha_core::limits::MAX_DECLARATION_BYTES;
use serde_json::json;

use crate::api::Declaration;
use crate::cli::exit::Failure;
use crate::cli::session::{Session, parse};
use crate::cli::text;
use crate::cli::text_file;
use crate::client::part;

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
}

impl CheckCommand {
    pub(super) async fn run(self, session: &Session) -> Result<(), Failure> {
        let at = |org: &str| format!("/organizations/{}/declaration", part(org));
        match self {
            Self::Declare { org, file } => {
                let text = text_file::read(&file, MAX_DECLARATION_BYTES)?;
                let body = json!({ "text": text });
                let value = session.send(Method::PUT, &at(&org), Some(&body)).await?;
                if session.screen.json {
                    session.screen.json(&value);
                    return Ok(());
                }
                let lang = session.screen.lang;
                let revision = &value["revision"];
                session.screen.note(&text::written(lang, revision));
                session.applied(&value)
            }
            Self::Declaration { org } => {
                let value = session.client().read(&at(&org)).await?;
                if session.screen.json {
                    session.screen.json(&value);
                    return Ok(());
                }
                let declaration: Declaration = parse(value)?;
                let lines = declaration.text.lines();
                lines.for_each(|line| session.screen.line(line));
                Ok(())
            }
            Self::Withdraw { org } => session.remove(&at(&org)).await,
        }
    }
}
