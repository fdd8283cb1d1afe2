//! `malha serve`: reads the configuration, opens the log, and runs the controller until a signal.

use std::io::IsTerminal;
use std::path::PathBuf;

use clap::Args;
use malha_tunnel::QUIET_LOG;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::ParseError;

use crate::cli::exit::{Exit, Failure};
use crate::cli::screen::Screen;
use crate::cli::text;
use crate::config::{Config, Log, LogFormat};
use crate::folder;

#[derive(Clone, Debug, Args)]
pub(super) struct ServeArgs {
    /// The configuration file
    #[arg(
        long,
        env = "MALHA_CONFIG",
        value_name = "FILE",
        default_value = "malha.toml"
    )]
    config: PathBuf,
    /// Only check the configuration and that its data folder is there
    #[arg(long, env = "MALHA_CHECK")]
    check: bool,
}

pub(super) async fn run(args: ServeArgs, screen: &Screen) -> Result<(), Failure> {
    let config = Config::read(&args.config)?;
    let filter = log_filter(&config.log.level).map_err(|error| {
        Failure::new(
            Exit::Refused,
            format!("{}: log.level: {error}", args.config.display()),
        )
    })?;
    if !folder::store_dir(&config.data).exists() {
        return Err(folder::FolderError::Missing(config.data).into());
    }
    if args.check {
        screen.note(&text::config_right(screen.lang, args.config.display()));
        return Ok(());
    }
    open_log(&config.log, filter)?;
    let stop = CancellationToken::new();
    let stopper = tokio::spawn(stop_on_signal(stop.clone()));
    let ended = crate::serve::run(config, stop).await;
    stopper.abort();
    Ok(ended?)
}

fn log_filter(level: &str) -> Result<EnvFilter, ParseError> {
    EnvFilter::try_new(format!("{QUIET_LOG},{level}"))
}

fn open_log(log: &Log, filter: EnvFilter) -> Result<(), Failure> {
    let subscriber = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal());
    let opened = match log.format {
        LogFormat::Human => subscriber.try_init(),
        LogFormat::Json => subscriber.json().try_init(),
    };
    opened.map_err(|error| Failure::new(Exit::Internal, format!("opening the log: {error}")))
}

async fn stop_on_signal(stop: CancellationToken) {
    let (interrupt, terminate) = (
        signal(SignalKind::interrupt()),
        signal(SignalKind::terminate()),
    );
    let (Ok(mut interrupt), Ok(mut terminate)) = (interrupt, terminate) else {
        return tracing::error!("no signal can be heard; end this process with SIGKILL");
    };
    tokio::select! {
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
    }
    tracing::info!("stopping");
    stop.cancel();
}

#[cfg(test)]
mod tests {
    use tracing::Level;

    use super::*;

    #[test]
    fn the_log_says_nothing_of_single_handshakes_unless_asked_to() {
        for (level, is_heard) in [("info", false), ("info,boringtun=warn", true)] {
            let log = tracing_subscriber::fmt().with_env_filter(log_filter(level).unwrap());
            tracing::subscriber::with_default(log.finish(), || {
                let handshakes = tracing::enabled!(target: "boringtun::noise", Level::WARN);
                assert_eq!(
                    (handshakes, tracing::enabled!(Level::INFO)),
                    (is_heard, true)
                );
            });
        }
    }
}
