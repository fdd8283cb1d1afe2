//! The programs under test: those that were built beside the running test.

use std::path::PathBuf;
use std::process::Command;
use std::sync::OnceLock;

use anyhow::{Context, Result, ensure};

/// The controller, hub, edge and operator's tool.
pub fn malha() -> Result<PathBuf> {
    find("malha")
}

/// The agent.
pub(super) fn malha_node() -> Result<PathBuf> {
    find("malha-node")
}

fn find(name: &str) -> Result<PathBuf> {
    static BUILT: OnceLock<Result<(), String>> = OnceLock::new();
    let built = BUILT.get_or_init(|| build().map_err(|error| format!("{error:#}")));
    built.clone().map_err(anyhow::Error::msg)?;
    Ok(folder()?.join(name))
}

/// `target/PROFILE`, two above `target/PROFILE/deps/THIS_TEST`.
fn folder() -> Result<PathBuf> {
    let test = std::env::current_exe()?;
    let folder = test
        .ancestors()
        .nth(2)
        .context("the test runs from an unusual place")?;
    Ok(folder.to_owned())
}

/// Tests of a package build only that package's programs, so these may be missing.
fn build() -> Result<()> {
    if ["malha", "malha-node"]
        .iter()
        .all(|name| folder().is_ok_and(|folder| folder.join(name).exists()))
    {
        return Ok(());
    }
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(cargo);
    command.args(["build", "-p", "malha", "-p", "malha-node"]);
    if folder()?.ends_with("release") {
        command.arg("--release");
    }
    let status = command.status()?;
    ensure!(status.success(), "building malha and malha-node: {status}");
    Ok(())
}
