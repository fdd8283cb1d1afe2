//! `tests/bench/balance`: this balancer and HAProxy before the same two servers in one run, by turns: on the loopback, or with
//! `--tunnel` at an overlay address. Compares nothing with figures that somebody else published.

#![forbid(unsafe_code)]

mod contender;
mod load;
mod loopback;
mod namespace;
mod overlay;
mod report;

use std::io;
use std::time::Duration;

use contender::Contender;
use load::{download, open_and_close};

fn main() -> io::Result<()> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    match &words[..] {
        [] => race(loopback::contenders()?),
        ["--tunnel"] => overlay::contenders().and_then(|(stage, contenders)| {
            let raced = race(contenders);
            drop(stage);
            raced
        }),
        // What it starts itself.
        ["serve", addresses @ ..] => loopback::serve(addresses),
        ["serve-bound", addresses @ ..] => loopback::serve_bound(addresses),
        ["node"] => overlay::node(),
        ["far"] => overlay::far(),
        _ => Err(io::Error::other("it takes nothing, or --tunnel")),
    }
}

fn race(mut contenders: Vec<Contender>) -> io::Result<()> {
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
