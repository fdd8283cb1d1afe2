//! Waiting for something to become true. It is the only place where the lab lets time pass.

use std::time::{Duration, Instant};

use anyhow::{Context, Result};

/// Longer than anything here should take, even on a busy machine.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// Asks until the answer is no error, and gives it. After `deadline` the last error says what is missing.
pub fn eventually<T>(
    what: &str,
    deadline: Duration,
    probe: impl FnMut() -> Result<T>,
) -> Result<T> {
    eventually_each(INTERVAL, what, deadline, probe)
}

/// The same, with another pause between two questions.
pub fn eventually_each<T>(
    interval: Duration,
    what: &str,
    deadline: Duration,
    mut probe: impl FnMut() -> Result<T>,
) -> Result<T> {
    let start = Instant::now();
    loop {
        match probe() {
            Ok(answer) => return Ok(answer),
            Err(error) if start.elapsed() >= deadline => {
                return Err(error)
                    .with_context(|| format!("not within {} s: {what}", deadline.as_secs()));
            }
            Err(_) => std::thread::sleep(interval),
        }
    }
}

const INTERVAL: Duration = Duration::from_millis(100);
