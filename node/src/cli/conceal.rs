//! Takes a token that was typed out of the arguments, which every user of the machine can read in the process list as long as
//! the program runs: it starts itself again, with the token as its input.

use std::ffi::{OsStr, OsString};
use std::io::{self, Write};
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};

use clap::ArgMatches;
use clap::parser::ValueSource;
use malha_proto::MAX_TOKEN_CHARS;
use zeroize::Zeroizing;

use super::command;
use crate::text::Lang;

/// Starts the program again, as the same process, if a token is among its arguments. Must come before any thread. It returns if
/// there is none, or if it can't be done: then the token serves where it is.
pub fn conceal_token(args: &[OsString]) {
    if let Some((others, token)) = without_token(args) {
        // The argument still serves.
        let _ = start_again(&others, &token);
    }
}

/// The arguments that read the token from the input, and the token; None: no token was typed, or what was typed is wrong, which is
/// said where it is read.
fn without_token(args: &[OsString]) -> Option<(Vec<OsString>, Zeroizing<String>)> {
    let matches = command::command(Lang::En).try_get_matches_from(args).ok()?;
    let (command::UP | command::DOCTOR, flags) = matches.subcommand()? else {
        return None;
    };
    if !is_typed(flags, command::TOKEN) || is_typed(flags, command::TOKEN_FILE) {
        return None;
    }
    let token = Zeroizing::new(flags.get_one::<String>(command::TOKEN)?.clone());
    let is_token = |it: &&OsString| it.as_os_str() == OsStr::new(token.as_str());
    let (tokens, mut others): (Vec<_>, Vec<_>) = args.iter().cloned().partition(|it| is_token(&it));
    let flags_end = others.iter().position(|it| it == "--");
    let flags_end = flags_end.unwrap_or(others.len());
    let input = [format!("--{}", command::TOKEN_FILE), "-".to_owned()];
    others.splice(flags_end..flags_end, input.map(OsString::from));
    (tokens.len() == 1 && token.len() <= MAX_TOKEN_CHARS).then_some((others, token))
}

fn start_again(args: &[OsString], token: &str) -> io::Result<()> {
    let (name, rest) = args.split_first().ok_or(io::ErrorKind::InvalidInput)?;
    let (input, mut into_input) = io::pipe()?;
    // MAX_TOKEN_CHARS are fewer than what a pipe holds, so nobody need read them first.
    into_input.write_all(token.as_bytes())?;
    drop(into_input);
    let mut again = Command::new(std::env::current_exe()?);
    Err(again.arg0(name).args(rest).stdin(Stdio::from(input)).exec())
}

/// Whether it is among the arguments, and not in the environment.
pub(super) fn is_typed(flags: &ArgMatches, name: &str) -> bool {
    flags.value_source(name) == Some(ValueSource::CommandLine)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn concealed(line: &str) -> Option<(String, String)> {
        let args: Vec<_> = line.split(' ').map(OsString::from).collect();
        let (others, token) = without_token(&args)?;
        let others: Vec<_> = others.iter().filter_map(|it| it.to_str()).collect();
        Some((others.join(" "), token.to_string()))
    }

    #[test]
    fn a_typed_token_is_taken_out_wherever_it_stands() {
        let expected = |line: &str| Some((line.to_owned(), "malha_secret".to_owned()));
        assert_eq!(
            concealed("malha-node up malha_secret --state s"),
            expected("malha-node up --state s --token-file -")
        );
        assert_eq!(
            concealed("malha-node doctor --json malha_secret"),
            expected("malha-node doctor --json --token-file -")
        );
        assert_eq!(
            concealed("malha-node up --replace -- malha_secret"),
            expected("malha-node up --replace --token-file - --")
        );
    }

    #[test]
    fn what_has_no_token_or_is_wrong_is_left_alone() {
        for line in [
            "malha-node up --token-file f",
            "malha-node up malha_secret --token-file f",
            "malha-node up malha_secret --nonsense",
            "malha-node up same --state same",
            "malha-node status",
        ] {
            assert_eq!(concealed(line), None, "{line}");
        }
    }

    #[test]
    fn what_a_pipe_may_not_hold_is_left_to_be_refused() {
        let long = "a".repeat(MAX_TOKEN_CHARS + 1);
        assert_eq!(concealed(&format!("malha-node up {long}")), None);
    }
}
