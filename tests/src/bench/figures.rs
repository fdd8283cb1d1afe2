//! Figures from measurements: percentiles, resident memory, the disk's own speed.

use std::fs;
use std::io::Write;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

/// Times in milliseconds, sorted.
#[derive(Clone, Debug, Default)]
pub(super) struct Samples(Vec<f64>);

impl FromIterator<Duration> for Samples {
    fn from_iter<I: IntoIterator<Item = Duration>>(times: I) -> Self {
        let mut millis: Vec<f64> = times
            .into_iter()
            .map(|time| time.as_secs_f64() * 1e3)
            .collect();
        millis.sort_by(f64::total_cmp);
        Self(millis)
    }
}

impl Samples {
    /// The smallest sample that at least this share of all is not above; 0 when there is none.
    pub(super) fn at(&self, share: f64) -> f64 {
        let rank = (share * self.0.len() as f64).ceil() as usize;
        self.0.get(rank.saturating_sub(1)).copied().unwrap_or(0.0)
    }
}

/// The memory of a process that is in RAM, in bytes.
pub(super) fn resident_bytes(process: u32) -> Result<f64> {
    let status = fs::read_to_string(format!("/proc/{process}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kib = line.and_then(|line| line.trim().strip_suffix(" kB"));
    Ok(kib
        .context("no VmRSS of the process")?
        .trim()
        .parse::<f64>()?
        * 1_024.0)
}

/// How long this disk takes to make 4 KiB durable: what every durable write must wait for.
pub(super) fn fsyncs(folder: &Path, count: usize) -> Result<Samples> {
    let path = folder.join("fsync");
    let mut file = fs::File::create(&path)?;
    let times = (0..count).map(|_| {
        let start = Instant::now();
        file.write_all(&[0; 4_096])?;
        file.sync_data()?;
        Ok(start.elapsed())
    });
    let samples = times.collect::<Result<Samples>>()?;
    fs::remove_file(path)?;
    Ok(samples)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_samples_that_were_taken() {
        let samples: Samples = (1..=100).rev().map(Duration::from_millis).collect();
        assert_eq!(
            (samples.at(0.5), samples.at(0.99), samples.at(1.0)),
            (50.0, 99.0, 100.0)
        );
        assert_eq!(Samples::default().at(0.5), 0.0);
    }

    #[test]
    fn a_process_has_memory() {
        assert!(resident_bytes(std::process::id()).unwrap() > 100_000.0);
    }
}
