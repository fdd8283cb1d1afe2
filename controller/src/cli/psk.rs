//! `malha psk`: the preshared keys of the tunnels.

use clap::Subcommand;
use http::Method;

use crate::api::{PskRotation, RotatePsk};
use crate::cli::exit::Failure;
use crate::cli::session::{Session, parse};
use crate::cli::text;

#[derive(Clone, Debug, Subcommand)]
pub(super) enum PskCommand {
    /// Make new preshared keys for every tunnel now; no connection breaks
    Rotate {
        /// Why, for the audit log
        #[arg(long, env = "MALHA_REASON", value_name = "TEXT")]
        reason: Option<String>,
    },
}

impl PskCommand {
    pub(super) async fn run(self, session: &Session) -> Result<(), Failure> {
        match self {
            Self::Rotate { reason } => rotate(session, reason).await,
        }
    }
}

async fn rotate(session: &Session, reason: Option<String>) -> Result<(), Failure> {
    let value = session
        .send(Method::POST, "/psk/rotate", Some(&RotatePsk { reason }))
        .await?;
    if session.screen.json {
        session.screen.json(&value);
        return Ok(());
    }
    let rotation: PskRotation = parse(value)?;
    let lang = session.screen.lang;
    session.screen.note(&text::rotated(lang, rotation.epoch));
    Ok(())
}
