//! `malha-node`, the program: everything is in the library, so that others can start the same code.

#![forbid(unsafe_code)]

use std::process::ExitCode;

fn main() -> ExitCode {
    malha_node::cli::main(std::env::args_os())
}
