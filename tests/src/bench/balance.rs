//! `tests/bench/balance`: this balancer and HAProxy before the same two servers in one run, by turns: on the loopback, or with
//! `--tunnel` at an overlay address. Compares nothing with figures that somebody else published.

mod contender;
mod load;
mod loopback;
mod overlay;
mod report;

use std::path::Path;
use std::time::Duration;

use anyhow::{Result, bail, ensure};
use tempfile::TempDir;

use crate::lab::process::on_path;
use contender::Contender;
use load::{download, open_and_close};

/// Races, or does what one of its own programs is told to do.
pub fn balance(words: &[String]) -> Result<()> {
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    match &words[..] {
        [] => race(loopback::contenders),
        ["--tunnel"] => race(overlay::contenders),
        // What it starts itself.
        ["serve", addresses @ ..] => loopback::serve(addresses),
        ["serve-bound", addresses @ ..] => loopback::serve_bound(addresses),
        ["node"] => overlay::node(),
        ["far"] => overlay::far(),
        _ => bail!("it takes nothing, or --tunnel"),
    }
}

fn race(contenders: impl FnOnce(&Path) -> Result<Vec<Contender>>) -> Result<()> {
    ensure!(
        on_path("haproxy").is_some(),
        "haproxy is missing: install haproxy"
    );
    let folder = TempDir::new()?;
    let mut contenders = contenders(folder.path())?;
    for round in 0..ROUNDS {
        // Each begins a round in its turn: what the one before leaves behind falls on nobody alone.
        for turn in 0..contenders.len() {
            let at = (round + turn) % contenders.len();
            let contender = &mut contenders[at];
            let bytes = contender.measure(STREAMS, SPAN, download)?;
            let opened = contender.measure(OPENERS, SPAN, open_and_close)?;
            contender.rounds.push((bytes, opened));
        }
    }
    report::print(&contenders);
    Ok(())
}

const ROUNDS: usize = 7;
const SPAN: Duration = Duration::from_secs(2);
const STREAMS: usize = 4;
const OPENERS: usize = 8;
/// Of each balancer.
const THREADS: usize = 2;
/// As the balancer's own.
const BACKLOG: usize = 1024;
