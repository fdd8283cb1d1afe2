//! Programs of the lab: started with their output in a log, ended on purpose or with the test.

use std::fs::File;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};

use anyhow::{Context, Result, bail};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::patience::{PATIENCE, eventually};

/// A program that runs until somebody ends it.
pub struct Process {
    name: String,
    child: Child,
    log: PathBuf,
}

impl Process {
    /// Starts it. The log goes on where an earlier start ended.
    pub fn start(name: &str, command: &mut Command, log: &Path) -> Result<Self> {
        let file = File::options().create(true).append(true).open(log)?;
        command
            .stdin(Stdio::null())
            .stdout(Stdio::from(file.try_clone()?))
            .stderr(Stdio::from(file));
        let child = command
            .spawn()
            .with_context(|| format!("starting {name}"))?;
        Ok(Self {
            name: name.to_owned(),
            child,
            log: log.to_owned(),
        })
    }

    #[must_use]
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// As if power were cut: SIGKILL.
    pub fn kill(&mut self) -> Result<()> {
        self.cut()?;
        self.child.wait()?;
        Ok(())
    }

    /// The same from beside, while others use what it serves.
    pub fn cut(&self) -> Result<()> {
        self.signal(Signal::SIGKILL)
    }

    /// As an operator stops it: SIGTERM. It must end by itself and well.
    pub fn stop(&mut self) -> Result<()> {
        self.signal(Signal::SIGTERM)?;
        let status = self.ended()?;
        if !status.success() {
            bail!("{} ended with {status} after SIGTERM", self.name);
        }
        Ok(())
    }

    /// How it ended, which must be soon.
    pub fn ended(&mut self) -> Result<ExitStatus> {
        let (name, child) = (&self.name, &mut self.child);
        eventually(&format!("{name} ends"), PATIENCE, || {
            child.try_wait()?.context("it runs")
        })
    }

    /// An error when it does not run any more.
    pub fn check_runs(&mut self) -> Result<()> {
        match self.child.try_wait()? {
            None => Ok(()),
            Some(status) => bail!(
                "{} ended with {status}:\n{}",
                self.name,
                last_lines(&self.log)
            ),
        }
    }

    fn signal(&self, signal: Signal) -> Result<()> {
        Ok(kill(
            Pid::from_raw(i32::try_from(self.child.id())?),
            signal,
        )?)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Runs a program to its end.
pub fn output(command: &mut Command) -> Result<Output> {
    let output = command.stdin(Stdio::null()).output();
    output.with_context(|| format!("starting {}", command.get_program().display()))
}

/// Runs a program that must succeed, and gives what it printed.
pub(crate) fn checked(command: &mut Command) -> Result<String> {
    let output = output(command)?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    let words: Vec<_> = command
        .get_args()
        .map(|word| word.to_string_lossy())
        .collect();
    let complaint = String::from_utf8_lossy(&output.stderr);
    let how = match output.status.signal() {
        Some(signal) => format!("signal {signal}"),
        None => format!("exit code {}", output.status.code().unwrap_or_default()),
    };
    bail!(
        "{} {}: {how}: {}",
        command.get_program().display(),
        words.join(" "),
        complaint.trim()
    )
}

pub(super) fn is_installed(tool: &str) -> bool {
    on_path(tool).is_some()
}

/// Where a program is found by its name.
pub(crate) fn on_path(tool: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .map(|folder| folder.join(tool))
        .find(|program| program.is_file())
}

/// The ends of all logs below a folder.
pub(super) fn print_logs(folder: &Path) {
    let Ok(entries) = std::fs::read_dir(folder) else {
        return;
    };
    let mut paths: Vec<_> = entries.flatten().map(|entry| entry.path()).collect();
    paths.sort();
    for path in paths {
        if path.extension().is_some_and(|extension| extension == "log") {
            println!("--- {}\n{}", path.display(), last_lines(&path));
        }
    }
}

fn last_lines(log: &Path) -> String {
    let text = std::fs::read(log).unwrap_or_default();
    let text = String::from_utf8_lossy(&text).into_owned();
    let lines: Vec<_> = text.lines().collect();
    lines[lines.len().saturating_sub(SHOWN_LINES)..].join("\n")
}

const SHOWN_LINES: usize = 40;
