//! Processor time of everything that takes part in a measurement: a control group of its own, or what the kernel tells of
//! each process where there is none.

use std::cell::RefCell;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result};
use nix::sys::resource::{UsageWho, getrusage};
use nix::unistd::{SysconfVar, sysconf};

/// Counts the processor time of chosen processes.
pub(super) struct Meter {
    group: Option<PathBuf>,
    /// Those that may still run; only needed without a group.
    counted: RefCell<Vec<u32>>,
}

impl Meter {
    pub(super) fn new() -> Self {
        let root = mount_of_groups();
        if let Some(root) = &root {
            remove_orphans(root);
        }
        let group = root.and_then(|root| {
            let group = root.join(format!("{GROUP}{}", std::process::id()));
            fs::create_dir(&group).ok()?;
            used_by(&group).ok()?;
            Some(group)
        });
        Self {
            group,
            counted: RefCell::default(),
        }
    }

    /// How the time is counted, for people.
    pub(super) fn method(&self) -> &'static str {
        match self.group {
            Some(_) => "processor time: a control group of its own",
            None => "processor time: of each process, since no control group can be made here",
        }
    }

    /// From now on this process counts.
    pub(super) fn count(&self, process: u32) -> Result<()> {
        match &self.group {
            Some(group) => {
                let written = fs::write(group.join("cgroup.procs"), process.to_string());
                // One that has already ended has nothing more to count.
                let gone = !Path::new("/proc").join(process.to_string()).exists();
                if gone { Ok(()) } else { Ok(written?) }
            }
            None => {
                self.counted.borrow_mut().push(process);
                Ok(())
            }
        }
    }

    /// The processor time used so far.
    pub(super) fn used(&self) -> Result<Duration> {
        match &self.group {
            Some(group) => used_by(group),
            None => {
                let running = self.counted.borrow();
                let running: Duration = running.iter().filter_map(|it| used_by_one(*it)).sum();
                let usage = getrusage(UsageWho::RUSAGE_CHILDREN)?;
                let micros = [usage.user_time(), usage.system_time()]
                    .map(|time| time.tv_sec() * 1_000_000 + time.tv_usec());
                let ended = u64::try_from(micros.iter().sum::<i64>())?;
                Ok(running + Duration::from_micros(ended))
            }
        }
    }
}

impl Drop for Meter {
    fn drop(&mut self) {
        if let Some(group) = &self.group {
            // A process that is still ending keeps it; then the next run removes it.
            let _ = fs::remove_dir(group);
        }
    }
}

/// The processor time of one process, if it runs.
fn used_by_one(process: u32) -> Option<Duration> {
    let stat = fs::read_to_string(format!("/proc/{process}/stat")).ok()?;
    // The name may hold blanks, so what follows it is counted from its closing parenthesis (proc(5)).
    let (_, fields) = stat.rsplit_once(')')?;
    let mut fields = fields.split_whitespace().skip(FIELDS_BEFORE_UTIME);
    let user: f64 = fields.next()?.parse().ok()?;
    let system: f64 = fields.next()?.parse().ok()?;
    let per_s = sysconf(SysconfVar::CLK_TCK).ok()??;
    Some(Duration::from_secs_f64((user + system) / per_s as f64))
}

/// The same to the nanosecond, of a process whose threads all still run.
pub(super) fn busy(process: u32) -> Result<Duration> {
    let threads = fs::read_dir(format!("/proc/{process}/task"))?;
    threads.map(|thread| scheduled(&thread?.path())).sum()
}

/// Of the thread that asks.
pub(super) fn busy_thread() -> Result<Duration> {
    scheduled(Path::new("/proc/thread-self"))
}

fn scheduled(thread: &Path) -> Result<Duration> {
    let text = fs::read_to_string(thread.join("schedstat"))?;
    let run = text.split(' ').next().context("an empty schedstat")?;
    Ok(Duration::from_nanos(run.parse()?))
}

fn used_by(group: &Path) -> Result<Duration> {
    let stat = fs::read_to_string(group.join("cpu.stat"))?;
    let micros = stat
        .lines()
        .find_map(|line| line.strip_prefix("usage_usec "))
        .context("cpu.stat has no usage_usec")?;
    Ok(Duration::from_micros(micros.trim().parse()?))
}

/// Where control groups of version 2 are; `cpu.stat` is there even if the controller is not.
fn mount_of_groups() -> Option<PathBuf> {
    let mounts = fs::read_to_string("/proc/mounts").ok()?;
    let mut words = mounts.lines().map(|line| line.split(' '));
    words.find_map(|mut words| {
        let (_, path, kind) = (words.next()?, words.next()?, words.next()?);
        (kind == "cgroup2").then(|| PathBuf::from(path))
    })
}

fn remove_orphans(root: &Path) {
    for entry in fs::read_dir(root).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let pid = name.to_str().and_then(|name| name.strip_prefix(GROUP));
        if pid.is_some_and(|pid| !Path::new("/proc").join(pid).exists()) {
            let _ = fs::remove_dir(entry.path());
        }
    }
}

const GROUP: &str = "malha-bench-";
/// From the state to majflt, see proc(5).
const FIELDS_BEFORE_UTIME: usize = 11;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_busy_process_has_used_time() {
        let process = std::process::id();
        let before = used_by_one(process).unwrap();
        let mut sum = 0_u64;
        while used_by_one(process).unwrap() == before {
            sum = (0..1_000_000).fold(sum, |sum, n| std::hint::black_box(sum ^ n));
        }
        let coarse = used_by_one(process).unwrap();
        assert!(coarse > before);
        // Other tests' threads may end meanwhile, while they are read even, so the finer figure is only known to be above zero.
        let mut finer = std::iter::repeat_with(|| busy(process))
            .take(1_000)
            .flatten();
        assert!(finer.next().unwrap() > Duration::ZERO);
    }
}
