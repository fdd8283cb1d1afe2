//! The commands that the documents show: the programs of today take each of them with these words and flags. None is run.

use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{Command, CommandFactory, Error};

use crate::tree::files;

#[test]
fn the_programs_take_the_commands_that_the_documents_show() {
    let (mut seen, mut wrong) = (0, Vec::new());
    let documents = files().into_iter().filter(|file| file.has_extension("md"));
    for document in documents.filter(|it| !it.path.ends_with("docs/API.md")) {
        for shown in commands(&document.text().unwrap_or_default()) {
            seen += 1;
            let words = words(&shown.text);
            let Err(error) = program(&words[0]).try_get_matches_from(&words) else {
                continue;
            };
            let asks_for_help = error.kind() == ErrorKind::DisplayHelp;
            if !asks_for_help && (shown.is_whole || !is_only_cut_short(&error)) {
                wrong.push(format!("{}: {}\n{error}", document.path, shown.text));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(seen > 100, "only {seen} commands");
}

/// Nothing in it is wrong, but something is missing.
fn is_only_cut_short(error: &Error) -> bool {
    match error.kind() {
        ErrorKind::MissingRequiredArgument
        | ErrorKind::MissingSubcommand
        | ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand => true,
        // So does clap report a flag without its value.
        ErrorKind::InvalidValue => {
            let given = error.get(ContextKind::InvalidValue);
            given == Some(&ContextValue::String(String::new()))
        }
        _ => false,
    }
}

struct Shown {
    text: String,
    /// It stands in a block of its own, to be typed as it is; in a sentence its name may be enough.
    is_whole: bool,
}

fn program(name: &str) -> Command {
    match name {
        "malha" => malha::cli::Cli::command(),
        _ => malha_node::cli::command(),
    }
}

fn commands(document: &str) -> Vec<Shown> {
    let mut found = Vec::new();
    let mut sentences = String::new();
    let mut is_block = false;
    for line in document.lines() {
        if line.starts_with("```") {
            is_block = !is_block;
            sentences.push('\n');
        } else if is_block {
            let line = line.split(" #").next().unwrap_or_default();
            let calls = line.split(" && ").map(str::trim);
            let calls = calls.map(|call| call.rsplit_once(" -- ").map_or(call, |(_, it)| it));
            found.extend(calls.filter(|call| is_call(call)).map(|call| Shown {
                text: call.to_owned(),
                is_whole: !call.ends_with('\\'),
            }));
        } else {
            sentences.push_str(line);
            sentences.push(' ');
        }
    }
    for part in sentences.split('\n') {
        let spans = part.split('`').skip(1).step_by(2);
        found.extend(spans.filter(|span| is_call(span)).map(|span| Shown {
            text: span.to_owned(),
            is_whole: false,
        }));
    }
    found
}

fn is_call(text: &str) -> bool {
    let mut words = text.split_whitespace();
    let is_ours = words.next().is_some_and(|name| PROGRAMS.contains(&name));
    is_ours && words.next().is_some() && !text.contains(", ")
}

/// As a shell would split them, with one of several values and something for each that is left open.
fn words(text: &str) -> Vec<String> {
    let mut words = Vec::new();
    let text = text.replace("$(date +%F)", "2026-11-22");
    let text = text.split(" >").next().unwrap_or_default();
    for (at, part) in text.split('"').enumerate() {
        match at % 2 {
            1 => words.push(part.to_owned()),
            _ => words.extend(part.split_whitespace().map(chosen)),
        }
    }
    words.retain(|word| word != "\\");
    words
}

fn chosen(word: &str) -> String {
    let first = word.split('|').next().unwrap_or_default();
    match first.trim_end_matches('…') {
        "N" | "NUMBER" | "PORT" | "VERSION" => "1".to_owned(),
        "" => "it".to_owned(),
        first => first.to_owned(),
    }
}

const PROGRAMS: [&str; 2] = ["malha", "malha-node"];
