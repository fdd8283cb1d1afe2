//! The operator CLI: noun, then verb. Commands about what the overlay holds are clients of the HTTP API; the few that work on
//! files of this machine say so. It decides nothing.

mod agencies;
mod backup;
mod balancers;
mod checks;
mod documents;
mod exit;
mod export;
mod init;
mod integrity;
mod nodes;
mod operators;
mod organizations;
mod policy;
mod profiles;
mod psk;
mod publishing;
mod recovery;
mod screen;
mod serve;
mod session;
mod span;
mod status;
#[cfg(test)]
mod tests;
mod text;
mod text_file;
mod tokens;
mod trace;
mod zones;

pub use exit::Exit;

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};

use crate::cli::exit::{EXIT_CODES, Failure};
use crate::cli::screen::Screen;
use crate::cli::session::{Connection, Session};
use crate::cli::text::{Lang, Word};
use crate::demo;

/// Malha's controller, hub and edge, and the tool that operates them.
#[derive(Debug, Parser)]
#[command(name = "malha", version, after_help = EXIT_CODES, max_term_width = 110, propagate_version = true)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
    #[command(flatten)]
    connection: Connection,
    #[command(flatten)]
    output: Output,
}

/// How answers are shown.
#[derive(Clone, Debug, Args)]
struct Output {
    /// Answer with one JSON document
    #[arg(long, global = true, env = "MALHA_JSON")]
    json: bool,
    /// Language of the answers: pt-BR or en; else of the locale
    #[arg(long, global = true, env = "MALHA_LANG", value_name = "TAG")]
    lang: Option<String>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Make a controller on this machine: configuration, data folder, authorities, first operator
    Init(init::InitArgs),
    /// Run the controller, its hub, edge, DNS server and dashboard
    Serve(serve::ServeArgs),
    /// The whole main job on this machine, without root or configuration
    Demo(demo::Args),
    #[command(hide = true)]
    DemoGarage(demo::GarageArgs),
    #[command(hide = true)]
    DemoNode(DemoNodeArgs),
    /// The controller at a glance
    Status,
    /// Organizations
    #[command(subcommand)]
    Org(organizations::OrganizationCommand),
    /// Sites: garages, and environments of an organization
    #[command(subcommand)]
    Site(organizations::SiteCommand),
    /// Enrolment tokens
    #[command(subcommand)]
    Token(tokens::TokenCommand),
    /// Nodes: enrolled machines
    #[command(subcommand)]
    Node(nodes::NodeCommand),
    /// Services: named ports that nodes offer
    #[command(subcommand)]
    Service(publishing::ServiceCommand),
    /// Routes: public host names and paths
    #[command(subcommand)]
    Route(publishing::RouteCommand),
    /// Grants: who may open what on whom
    #[command(subcommand)]
    Grant(publishing::GrantCommand),
    /// The policy: one text that says who may open what on whom
    #[command(subcommand)]
    Policy(policy::PolicyCommand),
    /// Profiles: the ports that each role has
    #[command(subcommand)]
    Profile(profiles::ProfileCommand),
    /// Balancers: a port of a node spread over services of others
    #[command(subcommand)]
    Balancer(balancers::BalancerCommand),
    /// Check what an organization declares against what is there
    Check(checks::CheckArgs),
    /// Configurations for programs that others run
    #[command(subcommand)]
    Export(export::ExportCommand),
    /// Why a packet between two nodes passes or not: the rule that decides, and the way
    Trace(trace::TraceArgs),
    /// Public DNS zones
    #[command(subcommand)]
    Zone(zones::ZoneCommand),
    /// Record sets of public zones
    #[command(subcommand)]
    Record(zones::RecordCommand),
    /// Operators
    #[command(subcommand)]
    Operator(operators::OperatorCommand),
    /// API keys
    #[command(subcommand)]
    Key(operators::KeyCommand),
    /// Preshared keys of the tunnels
    #[command(subcommand)]
    Psk(psk::PskCommand),
    /// The audit log
    #[command(subcommand)]
    Audit(integrity::AuditCommand),
    /// Back up the store, from the running controller or from its stopped folder
    #[command(args_conflicts_with_subcommands = true, subcommand_negates_reqs = true)]
    Backup(backup::BackupArgs),
    /// Bring a backup back into an empty folder of this machine
    Restore(backup::RestoreArgs),
    /// The store in a stopped controller's folder on this machine
    #[command(subcommand)]
    Store(integrity::StoreCommand),
    /// Print completions for a shell
    Completions { shell: clap_complete::Shell },
    /// Write the manual pages into a folder
    Man { dir: PathBuf },
    /// Print the API's document
    #[command(hide = true)]
    Openapi {
        /// As a page for people
        #[arg(long, env = "MALHA_MARKDOWN")]
        markdown: bool,
    },
}

/// The agent's own arguments, for the demo's node process.
#[derive(Clone, Debug, Args)]
struct DemoNodeArgs {
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    args: Vec<OsString>,
}

/// The whole program.
#[must_use]
pub fn main() -> ExitCode {
    let Cli {
        command,
        connection,
        output,
    } = Cli::parse();
    if matches!(command, Command::DemoNode(_) | Command::DemoGarage(_)) {
        demo::end_with_the_demo();
    }
    // The agent brings its own runtime.
    if let Command::DemoNode(DemoNodeArgs { args }) = command {
        return malha_node::cli::main(std::iter::once(OsString::from("malha-node")).chain(args));
    }
    let lang = Lang::choose(output.lang.as_deref());
    let json = output.json;
    let screen = Screen { json, lang };
    let ended = match tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
    {
        Ok(runtime) => runtime.block_on(run(command, &connection, screen)),
        Err(error) => Err(Failure::new(
            Exit::Internal,
            format!("the runtime can't start: {error}"),
        )),
    };
    match ended {
        Ok(code) => code,
        Err(failure) => {
            report(&failure, &Screen { json, lang });
            failure.exit.into()
        }
    }
}

async fn run(
    command: Command,
    connection: &Connection,
    screen: Screen,
) -> Result<ExitCode, Failure> {
    match command {
        Command::Init(args) => init::run(args, &screen).await?,
        Command::Serve(args) => serve::run(args, &screen).await?,
        Command::Demo(args) => return Ok(demo::main(args).await?),
        Command::DemoGarage(args) => return Ok(demo::garage(args).await?),
        Command::Restore(args) => backup::restore(args, &screen).await?,
        Command::Store(command) => integrity::check_store(&command, &screen)?,
        Command::Completions { shell } => documents::completions(shell),
        Command::Man { dir } => documents::man(&dir)?,
        Command::Openapi { markdown } => documents::openapi(markdown),
        Command::Audit(integrity::AuditCommand::Verify { data }) => {
            integrity::verify_audit(data, &screen).await?
        }
        Command::Key(operators::KeyCommand::Recover { config }) => {
            recovery::run(config, &screen).await?;
        }
        Command::Backup(args) => match args.local()? {
            Some(local) => backup::run_local(local, &screen).await?,
            None => backup::download(args, &Session::open(connection, screen)?).await?,
        },
        // Only the agent's own process has it, and it ended in main.
        Command::DemoNode(_) => {}
        Command::Trace(args) => {
            return trace::run(&args, &Session::open(connection, screen)?).await;
        }
        Command::Check(args) => return checks::run(args, connection, screen).await,
        Command::Policy(command) => {
            return command.run(&Session::open(connection, screen)?).await;
        }
        remote => run_remote(remote, &Session::open(connection, screen)?).await?,
    }
    Ok(ExitCode::SUCCESS)
}

async fn run_remote(command: Command, session: &Session) -> Result<(), Failure> {
    match command {
        Command::Status => status::status(session).await,
        Command::Org(command) => command.run(session).await,
        Command::Site(command) => command.run(session).await,
        Command::Token(command) => command.run(session).await,
        Command::Node(command) => command.run(session).await,
        Command::Service(command) => command.run(session).await,
        Command::Route(command) => command.run(session).await,
        Command::Grant(command) => command.run(session).await,
        Command::Profile(command) => command.run(session).await,
        Command::Balancer(command) => command.run(session).await,
        Command::Export(command) => command.run(session).await,
        Command::Zone(command) => command.run(session).await,
        Command::Record(command) => command.run(session).await,
        Command::Operator(command) => command.run(session).await,
        Command::Key(command) => command.run(session).await,
        Command::Psk(command) => command.run(session).await,
        Command::Audit(integrity::AuditCommand::Tail { lines }) => {
            status::audit_tail(session, lines).await
        }
        _ => Ok(()),
    }
}

/// What went wrong and what to do, on standard error.
fn report(failure: &Failure, screen: &Screen) {
    if screen.json {
        let problem = failure.problem.clone();
        let document = problem.unwrap_or_else(
            || serde_json::json!({ "detail": failure.text, "exit": failure.exit as u8 }),
        );
        return screen.note(&document.to_string());
    }
    screen.note(&format!("malha: {}", failure.words(screen.lang)));
    let status = failure
        .problem
        .as_ref()
        .and_then(|problem| problem["status"].as_u64());
    let hint = match (status, failure.exit) {
        (Some(403), _) => Some(Word::HintScope),
        (_, Exit::NotAllowed) => Some(Word::HintKey),
        (Some(_), Exit::Unreachable) => Some(Word::HintLater),
        (None, Exit::Unreachable) => Some(Word::HintUnreachable),
        (Some(_), Exit::NotFound) => Some(Word::HintLook),
        _ => None,
    };
    if let Some(hint) = hint {
        screen.note(hint.text(screen.lang));
    }
}
