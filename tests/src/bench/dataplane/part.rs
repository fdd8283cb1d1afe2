//! Programs that the benchmark starts on its machines are itself, told to play a part. No part outlives who started it.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, bail};

use super::wire::{Side, Wire};
use super::{crowd, lossy, shards, strangers, stream};

/// This program on one of the machines, told to play a part; what the part needs to know comes after it.
pub(super) fn part(wire: &Wire, side: Side, name: &str) -> Result<Command> {
    let mut command = wire.namespace(side).command(std::env::current_exe()?);
    command.args([MARK, name]);
    Ok(command)
}

/// Plays a part, if the words say so.
pub fn take_part(words: &[String]) -> Option<Result<()>> {
    let (mark, words) = words.split_first()?;
    (mark == MARK).then(|| play(words))
}

fn play(words: &[String]) -> Result<()> {
    let (name, words) = words.split_first().context("which part?")?;
    let file = || words.first().map(Path::new).context("the part's file?");
    match name.as_str() {
        "stream" => stream::play(words),
        "gather" => shards::play(words),
        "crowd" => crowd::play(file()?),
        "strangers" => strangers::play(file()?),
        "lossy" => lossy::play(file()?),
        other => bail!("{other} is no part"),
    }
}

/// The word that tells a part from a plan.
const MARK: &str = "--part";
