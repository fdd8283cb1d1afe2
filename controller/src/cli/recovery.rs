//! `malha key recover`: a new `admin.key` for whoever has the stopped controller's folder, after a restore or when the key was
//! lost. It needs no key and no password, but the folder and its master key; a running controller is left alone.

use std::path::{Path, PathBuf};

use malha_core::Command;
use malha_proto::Label;
use serde_json::json;

use crate::cli::exit::{Exit, Failure};
use crate::cli::init::{FIRST_KEY, alone, write_first_key};
use crate::cli::screen::Screen;
use crate::cli::session::usual_config;
use crate::cli::text;
use crate::config::Config;
use crate::coordinator::{Actor, Handle};
use crate::folder;

/// Makes the key anew in the folder of this configuration. The key that had its name is refused from then on.
pub(super) async fn run(config: Option<PathBuf>, screen: &Screen) -> Result<(), Failure> {
    let config = Config::read(&config.unwrap_or_else(usual_config))?;
    let key_file = alone(&config, async |handle| renew(handle, &config.data).await).await?;
    folder::hand_over(&config.data)?;
    if screen.json {
        screen.json(&json!({ "key_file": key_file }));
    } else {
        screen.note(&text::key_recovered(screen.lang, key_file.display()));
    }
    Ok(())
}

async fn renew(handle: &Handle, data: &Path) -> Result<PathBuf, Failure> {
    let internal = |error: &dyn std::fmt::Display| Failure::new(Exit::Internal, error.to_string());
    let name: Label = FIRST_KEY.parse().map_err(|error| internal(&error))?;
    let lost = handle
        .state()
        .api_keys()
        .find(|key| key.name == name)
        .map(|key| key.id);
    if let Some(id) = lost {
        let removed = handle.submit(Command::RemoveApiKey { id }, Actor::controller(), None);
        removed.await.map_err(|error| internal(&error))?;
    }
    let former = folder::admin_key_file(data);
    match std::fs::remove_file(&former) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(Failure::file(&former, &error))
        }
        _ => write_first_key(handle, data).await,
    }
}
