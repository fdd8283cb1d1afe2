//! The command line as a whole: that it holds together, and what every part of it promises.

use clap::{Arg, Command, CommandFactory, Parser};

use super::Cli;
use super::exit::EXIT_CODES;

fn each_command(command: &Command, path: &str, visit: &mut impl FnMut(&str, &Command)) {
    visit(path, command);
    for sub in command
        .get_subcommands()
        .filter(|sub| sub.get_name() != "help")
    {
        each_command(sub, &format!("{path} {}", sub.get_name()), visit);
    }
}

fn refuses(line: &str) -> bool {
    let error = match Cli::try_parse_from(line.split(' ')) {
        Ok(_) => return false,
        Err(error) => error,
    };
    error.exit_code() == 2
}

#[test]
fn the_command_line_holds_together() {
    Cli::command().debug_assert();
}

#[test]
fn every_flag_is_also_a_variable() {
    let mut command = Cli::command();
    command.build();
    each_command(&command, "malha", &mut |path, command| {
        let own = |arg: &&Arg| {
            arg.get_long()
                .is_some_and(|long| !["help", "version"].contains(&long))
        };
        // The demo's flags are the demo's.
        let flags = command
            .get_arguments()
            .filter(own)
            .filter(|_| !path.starts_with("malha demo"));
        for flag in flags {
            let variable = flag
                .get_env()
                .and_then(|name| name.to_str())
                .unwrap_or_default();
            assert!(
                variable.starts_with("MALHA_"),
                "{path} --{}",
                flag.get_long().unwrap_or_default()
            );
        }
    });
}

#[test]
fn every_command_that_is_shown_says_what_it_does() {
    each_command(&Cli::command(), "malha", &mut |path, command| {
        assert!(
            command.is_hide_set() || command.get_about().is_some(),
            "{path}"
        );
    });
    assert!(
        Cli::command()
            .get_after_help()
            .is_some_and(|help| help.to_string() == EXIT_CODES)
    );
}

#[test]
fn no_secret_can_be_an_argument() {
    let mut command = Cli::command();
    command.build();
    each_command(&command, "malha", &mut |path, command| {
        for arg in command.get_arguments() {
            let name = arg.get_id().as_str();
            let secret = ["password", "secret", "api_key"].contains(&name);
            assert!(!secret, "{path} {name}");
        }
    });
}

#[test]
fn wrong_lines_are_refused_as_wrong_usage() {
    for line in [
        "malha",
        "malha nothing",
        "malha org",
        "malha org add",
        "malha org add a b",
        "malha org list --limit 3",
        "malha token add a/b",
        "malha token add a/b --profile warehouse",
        "malha token add a/b --profile garage --ttl 7",
        "malha token add a/b --profile garage --uses -1",
        "malha service add n web --port 70000 --target 127.0.0.1:1",
        "malha service add n web --port 80 --target 127.0.0.1:1 --exposure world",
        "malha route add a.example",
        "malha node resolve n --keep both",
        "malha operator add ana",
        "malha operator add ana --role king",
        "malha key add script",
        "malha trace --from a",
        "malha trace --from a --to b --port 70000",
        "malha trace --from a --to b --port 80 --protocol gre",
        "malha record put example.org www A",
        "malha audit tail -n 0",
        "malha audit tail -n 1001",
        "malha backup",
        "malha restore file",
        "malha completions cobol",
    ] {
        assert!(refuses(line), "{line}");
    }
}

#[test]
fn right_lines_are_understood() {
    for line in [
        "malha status --json",
        "malha --json --lang pt-BR node list --site a/b",
        "malha backup file",
        "malha backup file --data dir",
        "malha backup verify file",
        "malha service add a/b/c web --port 80 --target 127.0.0.1:8080 --exposure public --wait",
        "malha route add a.example.org/painel --service a/b/c/web --service a/b/d/web",
        "malha zone add example.com --name-server hub.example.com",
        "malha record put example.org www TXT --ttl 60 -- -x",
        "malha trace --from a/b/c --to 100.64.0.3 --port 5500 --protocol udp --json",
        "malha trace --from hub --to a/b/c/web",
        "malha token remove t1",
        "malha node endpoints n1",
        "malha demo-node up --state /x --engine netstack",
    ] {
        if let Err(error) = Cli::try_parse_from(line.split(' ')) {
            panic!("{line}: {error}");
        }
    }
}
