//! One target under fire: the corpus first, then its mutants until the time is over.

use std::panic::catch_unwind;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use super::Mutator;

/// How a campaign ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// So many inputs were judged.
    Survived(u64),
    /// This input made the target panic.
    Panicked(Vec<u8>),
    /// The target did not come back from this input.
    Endless(Vec<u8>),
}

/// Gives `judge` inputs for `time`, in a thread of its own. An input that takes longer than `endless` ends it.
pub fn campaign(
    judge: fn(&[u8]),
    corpus: Vec<Vec<u8>>,
    seed: u64,
    time: Duration,
    endless: Duration,
) -> Result<Outcome> {
    let mutator = Mutator::new(corpus.clone(), seed).context("an empty corpus")?;
    let progress = Progress::default();
    let (ended, end) = mpsc::channel();
    std::thread::spawn({
        let progress = progress.clone();
        move || {
            let survived = catch_unwind(move || judge_all(judge, corpus, mutator, time, &progress));
            // Nobody listens any more when an input was taken for endless and ended after all.
            let _ = ended.send(survived.is_ok());
        }
    });
    let mut seen = 0;
    loop {
        match end.recv_timeout(endless) {
            Ok(true) => return Ok(Outcome::Survived(progress.now().0)),
            Ok(false) => return Ok(Outcome::Panicked(std::mem::take(&mut progress.now().1))),
            Err(RecvTimeoutError::Timeout) => {
                let now = progress.now();
                if now.0 == seen {
                    return Ok(Outcome::Endless(now.1.clone()));
                }
                seen = now.0;
            }
            Err(RecvTimeoutError::Disconnected) => bail!("the judging thread vanished"),
        }
    }
}

/// How many inputs were begun, and the last of them. Shared with the thread that may never come back.
#[derive(Clone, Default)]
struct Progress(Arc<Mutex<(u64, Vec<u8>)>>);

impl Progress {
    fn now(&self) -> MutexGuard<'_, (u64, Vec<u8>)> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn begin(&self, input: &[u8]) {
        let mut now = self.now();
        now.0 += 1;
        now.1.clear();
        now.1.extend_from_slice(input);
    }
}

fn judge_all(
    judge: fn(&[u8]),
    corpus: Vec<Vec<u8>>,
    mut mutator: Mutator,
    time: Duration,
    progress: &Progress,
) {
    let start = Instant::now();
    let mutants = std::iter::from_fn(|| (start.elapsed() < time).then(|| mutator.mutant()));
    for input in corpus.into_iter().chain(mutants) {
        progress.begin(&input);
        judge(&input);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LONG: Duration = Duration::from_secs(30);

    fn judged(judge: fn(&[u8]), time: Duration, endless: Duration) -> Outcome {
        campaign(judge, vec![b"malha".to_vec()], 1, time, endless).unwrap()
    }

    #[test]
    fn the_input_that_panics_is_found_and_given_back() {
        let outcome = judged(|input| assert!(input.len() < 300), LONG, LONG);
        assert!(matches!(outcome, Outcome::Panicked(input) if input.len() >= 300));
    }

    #[test]
    fn the_input_that_never_ends_is_given_back() {
        let outcome = judged(|_| std::thread::park(), LONG, Duration::from_millis(50));
        assert_eq!(outcome, Outcome::Endless(b"malha".to_vec()));
    }

    #[test]
    fn without_time_the_corpus_alone_is_judged() {
        assert_eq!(judged(|_| {}, Duration::ZERO, LONG), Outcome::Survived(1));
    }
}
