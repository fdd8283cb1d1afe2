//! The grammar of the command line. Every flag is also an environment variable, and its help is in the user's language.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::builder::{FalseyValueParser, PossibleValuesParser, TypedValueParser};
use clap::{Arg, ArgAction, ArgMatches, Command, value_parser};
use clap_complete::Shell;

use crate::config::{LogFormat, Wishes};
use crate::engine::EngineChoice;
use crate::text::{self, Lang};

pub(super) const UP: &str = "up";
pub(super) const RUN: &str = "run";
pub(super) const STATUS: &str = "status";
pub(super) const DOCTOR: &str = "doctor";
pub(super) const CHECK_CONFIG: &str = "check-config";
pub(super) const GUARD: &str = "guard";
pub(super) const GUARD_STATUS: &str = "status";
pub(super) const GUARD_REMOVE: &str = "remove";
pub(super) const GUARD_RESTORE: &str = "restore";
pub(super) const COMPLETIONS: &str = "completions";
pub(super) const MAN: &str = "man";

pub(super) const TOKEN: &str = "token";
pub(super) const TOKEN_FILE: &str = "token-file";
pub(super) const NAME: &str = "name";
pub(super) const REPLACE: &str = "replace";
pub(super) const JSON: &str = "json";
pub(super) const SHELL: &str = "shell";

const STATE: &str = "state";
const CONFIG: &str = "config";
const ENGINE: &str = "engine";
const NO_OFFLOAD: &str = "no-offload";
const TUNNEL_SHARDS: &str = "tunnel-shards";
const LOG: &str = "log";
const LOG_FORMAT: &str = "log-format";
const LANG: &str = "lang";

/// The language of the answer, before anything else is understood: `--lang`, its variable, then the locale.
pub(super) fn language(args: &[OsString]) -> Lang {
    let mut texts = args.iter().filter_map(|arg| arg.to_str());
    let mut given = None;
    while let Some(text) = texts.next() {
        if text == "--lang" {
            given = texts.next().map(str::to_owned);
        } else if let Some(tag) = text.strip_prefix("--lang=") {
            given = Some(tag.to_owned());
        }
    }
    let variable = |name| std::env::var(name).ok().filter(|tag| !tag.is_empty());
    given
        .or_else(|| variable("MALHA_NODE_LANG"))
        .or_else(|| variable("LC_ALL"))
        .or_else(|| variable("LANG"))
        .map_or(Lang::default(), |tag| Lang::of(&tag))
}

pub(super) fn command(lang: Lang) -> Command {
    let sub = |name: &'static str, about: String| Command::new(name).about(about);
    Command::new("malha-node")
        .version(env!("CARGO_PKG_VERSION"))
        .about(text::about(lang))
        .subcommand_required(true)
        .arg_required_else_help(true)
        .args(everywhere(lang))
        .subcommand(
            sub(UP, text::about_up(lang))
                .args(token(lang))
                .args(for_up(lang)),
        )
        .subcommand(sub(RUN, text::about_run(lang)))
        .subcommand(sub(STATUS, text::about_status(lang)).arg(json(lang)))
        .subcommand(
            sub(DOCTOR, text::about_doctor(lang))
                .args(token(lang))
                .arg(json(lang)),
        )
        .subcommand(
            sub(GUARD, text::about_guard(lang))
                .subcommand_required(true)
                .subcommand(sub(GUARD_STATUS, text::about_guard_status(lang)))
                .subcommand(sub(GUARD_REMOVE, text::about_guard_remove(lang)))
                .subcommand(sub(GUARD_RESTORE, text::about_guard_restore(lang))),
        )
        .subcommand(sub(CHECK_CONFIG, text::about_check_config(lang)).arg(json(lang)))
        .subcommand(
            sub(COMPLETIONS, text::about_completions(lang)).arg(
                Arg::new(SHELL)
                    .value_parser(value_parser!(Shell))
                    .required(true)
                    .help(text::help_shell(lang)),
            ),
        )
        .subcommand(sub(MAN, text::about_man(lang)))
}

fn everywhere(lang: Lang) -> [Arg; 8] {
    let global = |name: &'static str, value: &'static str, variable: &'static str| {
        let arg = Arg::new(name).long(name).env(variable).global(true);
        arg.value_name(value)
    };
    let engines = PossibleValuesParser::new(["auto", "userspace", "netstack", "kernel"]).map(
        |name| match name.as_str() {
            "userspace" => EngineChoice::Userspace,
            "netstack" => EngineChoice::Netstack,
            "kernel" => EngineChoice::Kernel,
            _ => EngineChoice::Auto,
        },
    );
    let formats = PossibleValuesParser::new(["human", "json"]).map(|name| match name.as_str() {
        "json" => LogFormat::Json,
        _ => LogFormat::Human,
    });
    [
        global(STATE, "DIR", "MALHA_NODE_STATE")
            .value_parser(value_parser!(PathBuf))
            .help(text::help_state(lang)),
        global(CONFIG, "FILE", "MALHA_NODE_CONFIG")
            .value_parser(value_parser!(PathBuf))
            .help(text::help_config(lang)),
        global(ENGINE, "ENGINE", "MALHA_NODE_ENGINE")
            .value_parser(engines)
            .help(text::help_engine(lang)),
        Arg::new(NO_OFFLOAD)
            .long(NO_OFFLOAD)
            .env("MALHA_NODE_NO_OFFLOAD")
            .global(true)
            .action(ArgAction::SetTrue)
            .value_parser(FalseyValueParser::new())
            .help(text::help_no_offload(lang)),
        global(TUNNEL_SHARDS, "N", "MALHA_NODE_TUNNEL_SHARDS")
            .value_parser(value_parser!(usize))
            .help(text::help_tunnel_shards(lang)),
        global(LOG, "LEVEL", "MALHA_NODE_LOG").help(text::help_log(lang)),
        global(LOG_FORMAT, "FORMAT", "MALHA_NODE_LOG_FORMAT")
            .value_parser(formats)
            .help(text::help_log_format(lang)),
        global(LANG, "LANG", "MALHA_NODE_LANG").help(text::help_lang(lang)),
    ]
}

/// Where a token comes from.
fn token(lang: Lang) -> [Arg; 2] {
    [
        Arg::new(TOKEN)
            .env("MALHA_TOKEN")
            .hide_env_values(true)
            .value_name("TOKEN")
            .help(text::help_token(lang)),
        Arg::new(TOKEN_FILE)
            .long(TOKEN_FILE)
            .env("MALHA_NODE_TOKEN_FILE")
            .value_name("PATH")
            .value_parser(value_parser!(PathBuf))
            .help(text::help_token_file(lang)),
    ]
}

fn for_up(lang: Lang) -> [Arg; 2] {
    [
        Arg::new(NAME)
            .long(NAME)
            .env("MALHA_NODE_NAME")
            .value_name("LABEL")
            .help(text::help_name(lang)),
        Arg::new(REPLACE)
            .long(REPLACE)
            .env("MALHA_NODE_REPLACE")
            .action(ArgAction::SetTrue)
            .value_parser(FalseyValueParser::new())
            .help(text::help_replace(lang)),
    ]
}

fn json(lang: Lang) -> Arg {
    Arg::new(JSON)
        .long(JSON)
        .env("MALHA_NODE_JSON")
        .action(ArgAction::SetTrue)
        .value_parser(FalseyValueParser::new())
        .help(text::help_json(lang))
}

pub(super) fn config_file(flags: &ArgMatches) -> Option<PathBuf> {
    flags.get_one(CONFIG).cloned()
}

/// What flags and environment say.
pub(super) fn wishes(flags: &ArgMatches) -> Wishes {
    Wishes {
        state: flags.get_one(STATE).cloned(),
        engine: flags.get_one(ENGINE).copied(),
        offload: flags.get_flag(NO_OFFLOAD).then_some(false),
        tunnel_shards: flags.get_one(TUNNEL_SHARDS).copied(),
        log: flags.get_one(LOG).cloned(),
        log_format: flags.get_one(LOG_FORMAT).copied(),
        ..Wishes::default()
    }
}
