//! `malha psk`: the preshared keys of the tunnels.

use clap::Subcommand;
use http::Method;
use serde_json::json;

use crate::api::PskRotation;
use crate::cli::exit::Failure;
use crate::cli::session::{Session, parse};
use crate::cli::text;

#[derive(Clone, Debug, Subcommand)]
pub(super) enum PskCommand {
    /// Make new preshared keys for every tunnel now; no connection breaks
    Rotate,
}

impl PskCommand {
    pub(super) async fn run(self, session: &Session) -> Result<(), Failure> {
        match self {
            Self::Rotate => rotate(session).await,
        }
    }
}

async fn rotate(session: &Session) -> Result<(), Failure> {
    let value = session
        .send(Method::POST, "/psk/rotate", Some(&json!({})))
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
