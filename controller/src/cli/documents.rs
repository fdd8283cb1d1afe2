//! What the program can say about itself: shell completions, manual pages, and the document of its API.

use std::io::Write;
use std::path::Path;

use clap::CommandFactory;
use clap_complete::Shell;

use crate::api::{markdown, openapi_json};
use crate::cli::Cli;
use crate::cli::exit::Failure;

pub(super) fn completions(shell: Shell) {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "malha", &mut script);
    print(&script);
}

/// One page per command.
pub(super) fn man(dir: &Path) -> Result<(), Failure> {
    std::fs::create_dir_all(dir)
        .and_then(|()| clap_mangen::generate_to(Cli::command(), dir))
        .map_err(|error| Failure::file(dir, &error))
}

pub(super) fn openapi(as_markdown: bool) {
    let document = openapi_json();
    print(
        if as_markdown {
            markdown(&document)
        } else {
            document
        }
        .as_bytes(),
    );
}

fn print(bytes: &[u8]) {
    // Whoever closed the pipe has read enough.
    let _ = std::io::stdout().lock().write_all(bytes);
}
