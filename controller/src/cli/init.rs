//! `malha init`: configuration file, data folder, authorities, first operator, and the key with which the CLI speaks. It
//! overwrites nothing.

use std::io::Write;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use clap::Args;
use malha_core::{Answer, Command, Role, Scope};
use malha_proto::HostName;
use serde_json::json;
use tokio_util::sync::CancellationToken;

use crate::accounts::{api_key_text, hash_password, random_password};
use crate::cli::exit::{Exit, Failure};
use crate::cli::screen::Screen;
use crate::cli::session::USUAL_DATA;
use crate::cli::text;
use crate::config::Config;
use crate::coordinator::{Actor, Coordinator, Handle};
use crate::folder::{self, Folder};

#[derive(Clone, Debug, Args)]
pub(super) struct InitArgs {
    /// The configuration file; written if it does not exist, else used as it is
    #[arg(
        long,
        env = "MALHA_CONFIG",
        value_name = "FILE",
        default_value = "malha.toml"
    )]
    config: PathBuf,
    /// The data folder, for a new configuration file [default: /var/lib/malha]
    #[arg(long, env = "MALHA_DATA", value_name = "DIR")]
    data: Option<PathBuf>,
    /// The public name of this machine, for a new configuration file
    #[arg(long, env = "MALHA_HOST", value_name = "NAME")]
    host: Option<HostName>,
    /// The public address of this machine, for a new configuration file
    #[arg(long, env = "MALHA_ADDRESS", value_name = "IP")]
    address: Option<IpAddr>,
    /// The zone of names inside the overlay; not public
    #[arg(
        long,
        env = "MALHA_OVERLAY_ZONE",
        value_name = "ZONE",
        default_value = "malha.internal"
    )]
    overlay_zone: HostName,
}

/// What is shown once.
struct FirstSecrets {
    password: String,
    key_file: PathBuf,
}

pub(super) async fn run(args: InitArgs, screen: &Screen) -> Result<(), Failure> {
    let (config, written) = configuration(&args)?;
    let made = make(&config, args.overlay_zone.clone()).await;
    let secrets = made.inspect_err(|_| {
        if written {
            // What this very command wrote a moment ago would be in the way of the next attempt.
            let _ = std::fs::remove_file(&args.config);
        }
    })?;
    show(&args, &config, &secrets, screen);
    Ok(())
}

/// The configuration of the file, which is written if there is none; whether it was.
fn configuration(args: &InitArgs) -> Result<(Config, bool), Failure> {
    if args.config.exists() {
        if args.host.is_some() || args.address.is_some() || args.data.is_some() {
            return Err(Failure::said(Exit::Conflict, |lang| {
                text::config_exists(lang, args.config.display())
            }));
        }
        return Ok((Config::read(&args.config)?, false));
    }
    let (Some(host), Some(address)) = (&args.host, args.address) else {
        return Err(Failure::said(Exit::Usage, |lang| {
            text::config_missing(lang, args.config.display())
        }));
    };
    let data = args
        .data
        .clone()
        .unwrap_or_else(|| PathBuf::from(USUAL_DATA));
    let data = std::path::absolute(&data).map_err(|error| Failure::file(&data, &error))?;
    let config = Config::for_server(data, host.as_str(), address);
    let text = toml::to_string(&config)
        .map_err(|error| Failure::new(Exit::Internal, error.to_string()))?;
    let file = std::fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .open(&args.config);
    file.and_then(|mut file| {
        file.write_all(text.as_bytes())
            .and_then(|()| file.sync_all())
    })
    .map_err(|error| Failure::file(&args.config, &error))?;
    // Read as `malha serve` will, so that what was written is known to be right.
    Ok((Config::read(&args.config)?, true))
}

async fn make(config: &Config, overlay_zone: HostName) -> Result<FirstSecrets, Failure> {
    folder::create(&config.data, &config.master_key_file(), overlay_zone).await?;
    alone(config, async |handle| {
        first_secrets(handle, &config.data).await
    })
    .await
}

/// Does this to a folder that no controller has open.
pub(super) async fn alone<T>(
    config: &Config,
    work: impl AsyncFnOnce(&Handle) -> Result<T, Failure>,
) -> Result<T, Failure> {
    let Folder {
        store,
        state,
        audit,
        ..
    } = folder::open(&config.data, &config.master_key_file()).await?;
    let (coordinator, handle) = Coordinator::new(state, store.clone(), audit);
    let stop = CancellationToken::new();
    let running = tokio::spawn(coordinator.run(stop.clone()));
    let done = work(&handle).await;
    stop.cancel();
    // The coordinator has answered everything; its end only frees the store.
    let _ = running.await;
    store.close().await?;
    done
}

async fn first_secrets(handle: &Handle, data: &Path) -> Result<FirstSecrets, Failure> {
    let internal = |error: &dyn std::fmt::Display| Failure::new(Exit::Internal, error.to_string());
    let password = random_password().map_err(|error| internal(&error))?;
    let password_hash = hash_password(&password).map_err(|error| internal(&error))?;
    let name = FIRST_OPERATOR.parse().map_err(|error| internal(&error))?;
    let operator = Command::AddOperator {
        name,
        password_hash,
        role: Role::Owner,
    };
    handle
        .submit(operator, Actor::controller(), None)
        .await
        .map_err(|error| internal(&error))?;
    let key_file = write_first_key(handle, data).await?;
    Ok(FirstSecrets { password, key_file })
}

/// Makes the key of the CLI on this machine, and gives the file that it is in.
pub(super) async fn write_first_key(handle: &Handle, data: &Path) -> Result<PathBuf, Failure> {
    let internal = |error: &dyn std::fmt::Display| Failure::new(Exit::Internal, error.to_string());
    let name = FIRST_KEY.parse().map_err(|error| internal(&error))?;
    let key = Command::AddApiKey {
        name,
        scopes: [Scope::Admin].into(),
        expires_ms: None,
        operator: None,
    };
    let accepted = handle
        .submit(key, Actor::controller(), None)
        .await
        .map_err(|error| internal(&error))?;
    let Answer::ApiKey { secret, .. } = accepted.answer else {
        return Err(Failure::new(
            Exit::Internal,
            "creating the first API key gave no key",
        ));
    };
    let key_file = folder::admin_key_file(data);
    folder::write_secret(&key_file, &api_key_text(&secret))?;
    Ok(key_file)
}

fn show(args: &InitArgs, config: &Config, secrets: &FirstSecrets, screen: &Screen) {
    let (file, data) = (args.config.display(), config.data.display());
    if screen.json {
        return screen.json(&json!({
            "config": file.to_string(),
            "data": data.to_string(),
            "master_key_file": config.master_key_file(),
            "operator": FIRST_OPERATOR,
            "password": secrets.password,
            "key_file": secrets.key_file,
        }));
    }
    let lang = screen.lang;
    screen.note(&text::initialized(lang, file, data));
    screen.note(&text::master_key(lang, config.master_key_file().display()));
    screen.note(&text::first_operator(lang, FIRST_OPERATOR));
    screen.line(&secrets.password);
    screen.note(&text::next_step(lang, args.config.display()));
}

const FIRST_OPERATOR: &str = "admin";
/// Names the CLI of this machine in the audit log.
pub(super) const FIRST_KEY: &str = "cli";
