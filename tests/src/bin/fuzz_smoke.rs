#![forbid(unsafe_code)]
//! `fuzz_smoke [--seconds N] [--seed N] [TARGET…]`: mutates the committed corpora and gives the mutants to the fuzz targets.
//! An input that breaks one is written to a file, and the program ends with 1.

use std::fs;
use std::panic::catch_unwind;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use anyhow::{Context, Result, bail, ensure};
use malha_tests::fuzz::{Mutator, Target, targets};

fn main() -> Result<ExitCode> {
    let order = Order::read(std::env::args().skip(1))?;
    println!("seed {}", order.seed);
    for target in &order.targets {
        let Some(broken) = fuzz(*target, order.time, order.seed)? else {
            continue;
        };
        let path = keep(target.name, &broken)?;
        println!("{}: broken by {}", target.name, path.display());
        return Ok(ExitCode::FAILURE);
    }
    Ok(ExitCode::SUCCESS)
}

struct Order {
    targets: Vec<Target>,
    time: Duration,
    seed: u64,
}

impl Order {
    fn read(mut words: impl Iterator<Item = String>) -> Result<Self> {
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH)?;
        let (mut time, mut seed) = (DEFAULT_TIME, now.as_secs());
        let (mut chosen, all) = (Vec::new(), targets()?);
        while let Some(word) = words.next() {
            let mut number = || {
                let value = words
                    .next()
                    .with_context(|| format!("{word} needs a number"))?;
                value.parse().with_context(|| format!("{word} {value}"))
            };
            match word.as_str() {
                "--seconds" => time = Duration::from_secs(number()?),
                "--seed" => seed = number()?,
                name => chosen.push(
                    *all.iter()
                        .find(|target| target.name == name)
                        .with_context(|| format!("there is no target {name}"))?,
                ),
            }
        }
        ensure!(
            time <= MAX_TIME,
            "at most {} seconds for each target",
            MAX_TIME.as_secs()
        );
        let targets = if chosen.is_empty() { all } else { chosen };
        Ok(Self {
            targets,
            time,
            seed,
        })
    }
}

/// The input that is being judged, and how many were.
type Progress = Arc<Mutex<(u64, Vec<u8>)>>;

/// Judges the corpus, then mutants of it until the time is over. Gives the input that panicked or never came back.
fn fuzz(target: Target, time: Duration, seed: u64) -> Result<Option<Vec<u8>>> {
    let corpus = target.corpus()?;
    let mutator = Mutator::new(corpus.clone(), seed).context("an empty corpus")?;
    let progress = Progress::default();
    let (ended, end) = mpsc::channel();
    let worker = std::thread::spawn({
        let progress = progress.clone();
        move || {
            let survived = catch_unwind(move || judge_all(target, corpus, mutator, time, &progress));
            // The receiver is gone only when the input before this one was taken for endless.
            let _ = ended.send(survived.is_ok());
        }
    });
    let mut seen = 0;
    loop {
        match end.recv_timeout(ENDLESS) {
            Ok(survived) => {
                let _ = worker.join();
                let (count, input) = std::mem::take(
                    &mut *progress.lock().unwrap_or_else(PoisonError::into_inner),
                );
                println!("{}: {count} inputs", target.name);
                return Ok((!survived).then_some(input));
            }
            Err(RecvTimeoutError::Timeout) => {
                let progress = progress.lock().unwrap_or_else(PoisonError::into_inner);
                if progress.0 == seen {
                    println!("{}: no end after {} s", target.name, ENDLESS.as_secs());
                    return Ok(Some(progress.1.clone()));
                }
                seen = progress.0;
            }
            Err(RecvTimeoutError::Disconnected) => bail!("{}: the worker vanished", target.name),
        }
    }
}

fn judge_all(
    target: Target,
    corpus: Vec<Vec<u8>>,
    mut mutator: Mutator,
    time: Duration,
    progress: &Progress,
) {
    let judge = |input: Vec<u8>| {
        {
            let mut progress = progress.lock().unwrap_or_else(PoisonError::into_inner);
            progress.0 += 1;
            progress.1.clone_from(&input);
        }
        (target.judge)(&input);
    };
    corpus.into_iter().for_each(judge);
    let start = Instant::now();
    while start.elapsed() < time {
        judge(mutator.mutant());
    }
}

fn keep(target: &str, input: &[u8]) -> Result<PathBuf> {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("fuzz/artifacts");
    fs::create_dir_all(&folder)?;
    let path = folder.join(format!("{target}-{}", input.len()));
    fs::write(&path, input)?;
    Ok(path)
}

const DEFAULT_TIME: Duration = Duration::from_secs(10);
const MAX_TIME: Duration = Duration::from_secs(24 * 60 * 60);
/// An input that takes longer never ends, even on a busy machine.
const ENDLESS: Duration = Duration::from_secs(15);
