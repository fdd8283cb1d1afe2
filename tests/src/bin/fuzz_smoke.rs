#![forbid(unsafe_code)]
//! `fuzz_smoke [--seconds N] [--seed N] [TARGET…]`: mutates the committed corpora and gives the mutants to the fuzz targets.
//! An input that breaks one is written to a file, and the program ends with 1.

use std::fs;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, SystemTime};

use anyhow::{Context, Result, ensure};
use malha_tests::fuzz::{Outcome, Target, campaign, targets};

fn main() -> Result<ExitCode> {
    let Order {
        targets,
        time,
        seed,
    } = Order::read(std::env::args().skip(1))?;
    println!("seed {seed}");
    for target in targets {
        let name = target.name;
        let (how, input) = match campaign(target.judge, target.corpus()?, seed, time, ENDLESS)? {
            Outcome::Survived(count) => {
                println!("{name}: {count} inputs");
                continue;
            }
            Outcome::Panicked(input) => ("panics", input),
            Outcome::Endless(input) => ("does not end", input),
        };
        println!("{name} {how} with {}", keep(name, &input)?.display());
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
                name => {
                    let target = all.iter().find(|target| target.name == name);
                    chosen.push(*target.with_context(|| format!("there is no target {name}"))?);
                }
            }
        }
        let longest_s = MAX_TIME.as_secs();
        ensure!(
            time <= MAX_TIME,
            "at most {longest_s} seconds for each target"
        );
        let targets = if chosen.is_empty() { all } else { chosen };
        Ok(Self {
            targets,
            time,
            seed,
        })
    }
}

fn keep(target: &str, input: &[u8]) -> Result<PathBuf> {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("fuzz/artifacts");
    fs::create_dir_all(&folder)?;
    let path = folder.join(format!("{target}-{}-bytes", input.len()));
    fs::write(&path, input)?;
    Ok(path)
}

const DEFAULT_TIME: Duration = Duration::from_secs(10);
const MAX_TIME: Duration = Duration::from_secs(24 * 60 * 60);
/// An input that takes longer never ends, even on a busy machine.
const ENDLESS: Duration = Duration::from_secs(15);
