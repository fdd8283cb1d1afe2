//! The command line of `malha-node`: what is asked, done, and how it ends. Each refusal has its sentence and its exit code.

mod command;
mod conceal;
mod up;

use std::ffi::OsString;
use std::io::{self, IsTerminal, Write};
use std::path::Path;
use std::process::ExitCode;

use clap::ArgMatches;
use clap_complete::Shell;
use serde::Serialize;
use tokio::runtime;
use tokio_util::sync::CancellationToken;

use crate::agent::Ending;
use crate::config::{DEFAULT_FILE, LogFormat, Settings, Wishes};
use crate::descriptors::raise_limit;
use crate::doctor;
use crate::exit::Exit;
use crate::guard::{self, GuardChoice, GuardStatus};
use crate::plane::{Former, PlaneConfig};
use crate::run::{RunConfig, RunError, run};
use crate::state::{Ended, Identity, STATUS_SOCKET, Started, StateError, StateFolder};
use crate::status::{StatusError, ask};
use crate::text::{self, Lang};

pub use conceal::conceal_token;

/// Runs the program with these arguments, the first one being its name.
pub fn main(args: impl IntoIterator<Item = OsString>) -> ExitCode {
    let args: Vec<OsString> = args.into_iter().collect();
    let lang = command::language(&args);
    match dispatch(&args, lang) {
        Ok(exit) => exit.into(),
        Err(failure) => {
            eprintln!("malha-node: {}", failure.text);
            failure.exit.into()
        }
    }
}

/// What the program takes, in English.
pub fn command() -> clap::Command {
    command::command(Lang::En)
}

/// Why a command did not do what it was asked, in the words of the user's language.
#[derive(Debug)]
pub(crate) struct Failure {
    pub(crate) exit: Exit,
    pub(crate) text: String,
}

impl Failure {
    fn new(exit: Exit, text: String) -> Self {
        Self { exit, text }
    }

    fn internal(lang: Lang, why: impl std::fmt::Display) -> Self {
        Self::new(Exit::Internal, text::internal(lang, why))
    }

    fn config(lang: Lang, why: impl std::fmt::Display) -> Self {
        Self::new(Exit::Config, text::config(lang, why))
    }

    fn state(lang: Lang, error: &StateError) -> Self {
        let exit = match error {
            StateError::Locked(_) => Exit::Locked,
            _ => Exit::State,
        };
        Self::new(exit, text::state_folder(lang, error))
    }

    fn run(lang: Lang, error: &RunError) -> Self {
        match error {
            RunError::State(error) => Self::state(lang, error),
            RunError::Status(StatusError::LongPath(path)) => {
                Self::new(Exit::State, text::socket_path(lang, path.display()))
            }
            RunError::Status(error) => Self::new(Exit::State, text::state_folder(lang, error)),
            error => Self::new(error.into(), text::internal(lang, error)),
        }
    }

    fn ended(lang: Lang, ended: Ended) -> Self {
        match ended {
            Ended::Removed => Self::new(Exit::Removed, text::removed(lang)),
            Ended::Replaced => Self::new(Exit::Replaced, text::replaced(lang)),
        }
    }
}

fn dispatch(args: &[OsString], lang: Lang) -> Result<Exit, Failure> {
    let matches = match command::command(lang).try_get_matches_from(args) {
        Ok(matches) => matches,
        Err(error) => {
            // Help and version are no failure; clap knows where to print.
            let exit = match error.use_stderr() {
                true => Exit::Usage,
                false => Exit::Success,
            };
            let _ = error.print();
            return Ok(exit);
        }
    };
    match matches.subcommand() {
        Some((command::UP, flags)) => up(flags, lang),
        Some((command::RUN, flags)) => run_enrolled(flags, lang),
        Some((command::STATUS, flags)) => status(flags, lang),
        Some((command::DOCTOR, flags)) => doctor(flags, lang),
        Some((command::GUARD, flags)) => guard(flags, lang),
        Some((command::CHECK_CONFIG, flags)) => check_config(flags, lang),
        Some((command::COMPLETIONS, flags)) => completions(flags, lang),
        Some((command::MAN, _)) => man(lang),
        _ => Err(Failure::internal(lang, "no command")),
    }
}

fn up(flags: &ArgMatches, lang: Lang) -> Result<Exit, Failure> {
    let asked = Asked::read(flags, lang)?;
    let settings = asked.settle(lang)?;
    let wish = up::Wish::read(flags, lang)?;
    init_log(&settings, lang)?;
    block_on(lang, async {
        let folder = open(&settings, lang)?;
        let identity = up::identity(&folder, wish, &settings, lang).await?;
        run_until_end(folder, identity, &settings, &asked, lang).await
    })
}

fn run_enrolled(flags: &ArgMatches, lang: Lang) -> Result<Exit, Failure> {
    let asked = Asked::read(flags, lang)?;
    let settings = asked.settle(lang)?;
    init_log(&settings, lang)?;
    let folder = open(&settings, lang)?;
    let identity = folder.identity().map_err(|e| Failure::state(lang, &e))?;
    let Some(identity) = identity else {
        return Err(not_enrolled(&settings, lang));
    };
    if let Some(ended) = identity.ended {
        return Err(Failure::ended(lang, ended));
    }
    block_on(
        lang,
        run_until_end(folder, identity, &settings, &asked, lang),
    )
}

async fn run_until_end(
    folder: StateFolder,
    identity: Identity,
    settings: &Settings,
    asked: &Asked,
    lang: Lang,
) -> Result<Exit, Failure> {
    raise_limit();
    let (engine, engine_reason) = settings.decide_engine();
    tracing::info!(%engine, reason = ?engine_reason, "starting");
    let started = Started::now(settings, &asked.typed, engine, engine_reason.clone());
    if let Err(error) = folder.save_started(&started) {
        tracing::warn!(%error, "the doctor will not know how this agent was started");
    }
    let config = RunConfig {
        plane: PlaneConfig {
            engine,
            listen: settings.listen.clone(),
            interface: settings.interface.clone(),
            mtu_bytes: settings.mtu_bytes,
            offload: settings.offload.into(),
            shards: settings.tunnel_shards,
            guard: settings.guard(),
            former: Former::default(),
        },
        engine_reason,
        probes: settings.probes,
        names: settings.names,
    };
    let ending = run(folder, identity, config, CancellationToken::new())
        .await
        .map_err(|error| Failure::run(lang, &error))?;
    match ending {
        Ending::Stopped => Ok(Exit::Success),
        Ending::Removed => Err(Failure::ended(lang, Ended::Removed)),
        Ending::Replaced => Err(Failure::ended(lang, Ended::Replaced)),
    }
}

fn status(flags: &ArgMatches, lang: Lang) -> Result<Exit, Failure> {
    let settings = settings(flags, lang)?;
    let socket = settings.state.join(STATUS_SOCKET);
    let document = block_on(lang, async {
        ask(&socket)
            .await
            .map_err(|error| no_status(&error, &settings, lang))
    })?;
    match flags.get_flag(command::JSON) {
        true => print_json(&document, lang)?,
        false => print(&document.page(lang), lang)?,
    }
    match document.is_healthy() {
        true => Ok(Exit::Success),
        false => Ok(Exit::Degraded),
    }
}

fn no_status(error: &StatusError, settings: &Settings, lang: Lang) -> Failure {
    match error {
        StatusError::NotRunning(_) => {
            let state = settings.state.display();
            Failure::new(Exit::NotRunning, text::not_running(lang, state))
        }
        StatusError::LongPath(path) => {
            Failure::new(Exit::State, text::socket_path(lang, path.display()))
        }
        error => Failure::new(Exit::State, text::status_unreadable(lang, error)),
    }
}

fn doctor(flags: &ArgMatches, lang: Lang) -> Result<Exit, Failure> {
    let (settings, started) = Asked::read(flags, lang)?.settle_as_started(lang)?;
    let token = up::read_token(flags, lang)?;
    let report = block_on(lang, async {
        Ok(doctor::examine(settings, started, token, lang).await)
    })?;
    match flags.get_flag(command::JSON) {
        true => print_json(&report, lang)?,
        false => print(&report.page(lang), lang)?,
    }
    match report.healthy {
        true => Ok(Exit::Success),
        false => Ok(Exit::PROBLEM),
    }
}

/// Speaks to the kernel and not to an agent: the guard may be there without one.
fn guard(flags: &ArgMatches, lang: Lang) -> Result<Exit, Failure> {
    if flags.subcommand_name() == Some(command::GUARD_RESTORE) {
        return restore_guard(flags, lang);
    }
    let settings = settings(flags, lang)?;
    let interface = &settings.interface;
    let failed = |why: io::Error| Failure::new(Exit::State, text::guard_unreadable(lang, why));
    if flags.subcommand_name() == Some(command::GUARD_REMOVE) {
        guard::remove(interface).map_err(failed)?;
        print(&text::guard_removed(lang), lang)?;
        say_guards_left(None, lang)?;
        return Ok(Exit::Success);
    }
    let wanted = (settings.guard != GuardChoice::Off).then_some(interface.as_str());
    say_guards_left(wanted, lang)?;
    match guard::is_in_place(interface).map_err(failed)? {
        true => {
            print(&text::guard_is_in_place(lang), lang)?;
            Ok(Exit::Success)
        }
        false => {
            print(&text::guard_is_not_in_place(lang), lang)?;
            Ok(Exit::Degraded)
        }
    }
}

fn restore_guard(flags: &ArgMatches, lang: Lang) -> Result<Exit, Failure> {
    let asked = Asked::read(flags, lang).and_then(|asked| asked.settle_as_started(lang));
    // A mistake in the configuration opens nothing that was closed before it was made.
    let (settings, started, mistake) = match asked {
        Ok((settings, started)) => (settings, started.ok().flatten(), None),
        Err(mistake) => match settle_as_last_guarded(flags, lang) {
            Some((settings, started)) => (settings, Some(started), Some(mistake)),
            None => return Err(mistake),
        },
    };
    let status = block_on(lang, async {
        let status = guard::restore(&settings, started.as_ref()).await;
        status.map_err(|error| match error {
            StateError::Locked(_) => Failure::new(Exit::Locked, text::guard_is_the_agents(lang)),
            error => Failure::state(lang, &error),
        })
    })?;
    if let GuardStatus::Failed(why) = status {
        return Err(Failure::new(Exit::State, text::guard_unreadable(lang, why)));
    }
    print(&text::status_guard(lang, status.say(lang)), lang)?;
    mistake.map_or(Ok(Exit::Success), Err)
}

/// The settings of the last guard and the start that had it; None where neither is known without the configuration.
fn settle_as_last_guarded(flags: &ArgMatches, lang: Lang) -> Option<(Settings, Started)> {
    let typed = command::wishes(flags);
    let state = typed.clone().settle().ok()?.state;
    let started = Started::glimpse(&state).ok()??;
    let asked = Asked {
        typed: typed.or(started.guard_wishes()?),
        file: Wishes::default(),
    };
    Some((asked.settle(lang).ok()?, started))
}

fn say_guards_left(wanted: Option<&str>, lang: Lang) -> Result<(), Failure> {
    // Who may not ask is told so by the answer to the question itself.
    for table in guard::left_behind(wanted).unwrap_or_default() {
        print(&text::guard_is_left(lang, table), lang)?;
    }
    Ok(())
}

fn check_config(flags: &ArgMatches, lang: Lang) -> Result<Exit, Failure> {
    let settings = settings(flags, lang)?;
    match flags.get_flag(command::JSON) {
        true => print_json(&settings, lang)?,
        false => print(&text::config_fine(lang), lang)?,
    }
    Ok(Exit::Success)
}

fn completions(flags: &ArgMatches, lang: Lang) -> Result<Exit, Failure> {
    let shell = flags.get_one::<Shell>(command::SHELL).copied();
    let shell = shell.ok_or_else(|| Failure::internal(lang, "no shell"))?;
    let mut script = Vec::new();
    clap_complete::generate(
        shell,
        &mut command::command(lang),
        "malha-node",
        &mut script,
    );
    print_bytes(&script, lang)?;
    Ok(Exit::Success)
}

fn man(lang: Lang) -> Result<Exit, Failure> {
    let mut page = Vec::new();
    clap_mangen::Man::new(command::command(lang))
        .render(&mut page)
        .map_err(|error| Failure::internal(lang, error))?;
    print_bytes(&page, lang)?;
    Ok(Exit::Success)
}

/// None before the first one.
type LastStart = Result<Option<Started>, StateError>;

/// What the user wants, and where it was said.
struct Asked {
    /// By flags and environment.
    typed: Wishes,
    file: Wishes,
}

impl Asked {
    fn read(flags: &ArgMatches, lang: Lang) -> Result<Self, Failure> {
        let default = Path::new(DEFAULT_FILE);
        let file = match command::config_file(flags) {
            Some(path) => Wishes::read(&path),
            None if default.exists() => Wishes::read(default),
            None => Ok(Wishes::default()),
        };
        Ok(Self {
            typed: command::wishes(flags),
            file: file.map_err(|why| Failure::config(lang, why))?,
        })
    }

    /// The settings of an agent that was started with what its last start was, where nothing else is typed now; and that start.
    fn settle_as_started(self, lang: Lang) -> Result<(Settings, LastStart), Failure> {
        let here = self.settle(lang)?;
        let started = Started::glimpse(&here.state);
        let Ok(Some(last)) = &started else {
            return Ok((here, started));
        };
        let as_started = Self {
            typed: self.typed.or(last.arguments.clone().into()),
            file: self.file,
        };
        Ok((as_started.settle(lang)?, started))
    }

    fn settle(&self, lang: Lang) -> Result<Settings, Failure> {
        let wishes = self.typed.clone().or(self.file.clone());
        let settings = wishes.settle().map_err(|why| Failure::config(lang, why))?;
        Ok(Settings {
            engine_is_typed: self.typed.engine.is_some(),
            ..settings
        })
    }
}

fn settings(flags: &ArgMatches, lang: Lang) -> Result<Settings, Failure> {
    Asked::read(flags, lang)?.settle(lang)
}

fn open(settings: &Settings, lang: Lang) -> Result<StateFolder, Failure> {
    StateFolder::open(&settings.state).map_err(|error| Failure::state(lang, &error))
}

fn not_enrolled(settings: &Settings, lang: Lang) -> Failure {
    let state = settings.state.display();
    Failure::new(Exit::NotEnrolled, text::not_enrolled(lang, state))
}

/// Logs go to standard error, so that what a command prints stays clean.
fn init_log(settings: &Settings, lang: Lang) -> Result<(), Failure> {
    let filter = settings
        .log_filter()
        .map_err(|why| Failure::config(lang, why))?;
    let log = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_ansi(io::stderr().is_terminal())
        .with_writer(io::stderr);
    // A process that has a log already keeps it.
    let _ = match settings.log_format {
        LogFormat::Human => log.try_init(),
        LogFormat::Json => log.json().try_init(),
    };
    Ok(())
}

/// Runs a command to its end. A name look-up that hangs does not hold it up.
fn block_on<T>(
    lang: Lang,
    command: impl Future<Output = Result<T, Failure>>,
) -> Result<T, Failure> {
    let runtime = runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::internal(lang, error))?;
    let result = runtime.block_on(command);
    runtime.shutdown_background();
    result
}

fn print_json(value: &impl Serialize, lang: Lang) -> Result<(), Failure> {
    let json = serde_json::to_string_pretty(value);
    print(&json.map_err(|error| Failure::internal(lang, error))?, lang)
}

fn print(line: &str, lang: Lang) -> Result<(), Failure> {
    print_bytes(format!("{line}\n").as_bytes(), lang)
}

/// A reader that has seen enough, like `head`, is no failure.
fn print_bytes(bytes: &[u8], lang: Lang) -> Result<(), Failure> {
    let mut out = io::stdout().lock();
    match out.write_all(bytes).and_then(|()| out.flush()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            Err(Failure::internal(lang, error))
        }
        _ => Ok(()),
    }
}
