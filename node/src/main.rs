//! `malha-node`, the program: everything is in the library, so that others can start the same code.

#![forbid(unsafe_code)]

use std::process::ExitCode;

fn main() -> ExitCode {
    let args: Vec<_> = std::env::args_os().collect();
    malha_node::cli::conceal_token(&args);
    malha_node::cli::main(args)
}
