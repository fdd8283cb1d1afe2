//! `malha demo` as a person runs it: the real program on free ports, what it prints, and its processes. It never looks inside.

use std::ffi::OsString;
use std::fs::{self, File};
use std::net::{Ipv4Addr, TcpListener, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU16, Ordering};

use anyhow::{Context, Result, bail, ensure};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tempfile::TempDir;

use crate::lab::{PATIENCE, eventually, malha};

/// The demo's ports. Each is free for TCP and UDP when they are chosen.
#[derive(Clone, Copy, Debug)]
pub struct Ports {
    pub https: u16,
    pub http: u16,
    pub dns: u16,
    pub wireguard: u16,
    pub dashboard: u16,
    pub metrics: u16,
    pub garage: u16,
}

/// A demo that runs, in a folder of its own for temporary files. Dropping it ends it as an operator would, and prints its
/// log if the test failed.
pub struct Demo {
    pub ports: Ports,
    child: Child,
    folder: TempDir,
    log: PathBuf,
}

/// One of the demo's own processes.
#[derive(Clone, Copy, Debug)]
pub struct Part(Pid);

impl Ports {
    pub fn free() -> Result<Self> {
        Ok(Self {
            https: free_port()?,
            http: free_port()?,
            dns: free_port()?,
            wireguard: free_port()?,
            dashboard: free_port()?,
            metrics: free_port()?,
            garage: free_port()?,
        })
    }

    /// The flags of the demo, and the port that each sets.
    #[must_use]
    pub fn flags(&self) -> [(&'static str, u16); 7] {
        [
            ("--https-port", self.https),
            ("--http-port", self.http),
            ("--dns-port", self.dns),
            ("--wireguard-port", self.wireguard),
            ("--dashboard-port", self.dashboard),
            ("--metrics-port", self.metrics),
            ("--garage-port", self.garage),
        ]
    }

    /// `malha demo` on these ports, with its temporary files in `temporary`.
    pub fn command(&self, temporary: &Path) -> Result<Command> {
        let mut command = Command::new(malha()?);
        command.args(self.words()).env("TMPDIR", temporary);
        Ok(command)
    }

    /// `demo` and its flags.
    pub fn words(&self) -> impl Iterator<Item = OsString> {
        let flags = self.flags().into_iter();
        let flags = flags.flat_map(|(flag, port)| [flag.to_owned(), port.to_string()]);
        std::iter::once("demo".to_owned())
            .chain(flags)
            .map(OsString::from)
    }
}

impl Demo {
    /// A demo in a fresh folder that it will remove.
    pub fn start() -> Result<Self> {
        Self::with(Ports::free()?, &[])
    }

    /// A demo on these ports, with more words on its command line.
    pub fn with(ports: Ports, words: &[&str]) -> Result<Self> {
        let folder = tempfile::Builder::new().prefix("malha-test-").tempdir()?;
        let temporary = folder.path().join("tmp");
        fs::create_dir(&temporary)?;
        let log = folder.path().join("demo.log");
        let file = File::create(&log)?;
        let mut command = ports.command(&temporary)?;
        command.args(words).stdin(Stdio::null());
        command
            .stdout(Stdio::from(file.try_clone()?))
            .stderr(Stdio::from(file));
        let child = command.spawn().context("starting the demo")?;
        Ok(Self {
            ports,
            child,
            folder,
            log,
        })
    }

    /// Waits until the demo has printed a line with this text, and gives the first such line.
    pub fn prints(&mut self, text: &str) -> Result<String> {
        self.eventually(&format!("the demo prints {text}"), |printed| {
            let line = printed.lines().find(|line| line.contains(text));
            line.map(|line| line.trim().to_owned())
        })
    }

    /// Waits until the live view's last line has this text, and gives that line.
    pub fn shows(&mut self, text: &str) -> Result<String> {
        self.eventually(&format!("the live view shows {text}"), |printed| {
            let (_, live) = printed.split_once(LIVE)?;
            let line = live.lines().rfind(|line| line.contains(CONTROL_HOP))?;
            line.contains(text).then(|| line.trim().to_owned())
        })
    }

    /// Waits until the live view says that each hop works.
    pub fn is_well(&mut self) -> Result<()> {
        let well = "control ✔  →  túnel/tunnel ✔  →  serviço/service ✔";
        let line = self.shows(well)?;
        ensure!(
            line.ends_with(well),
            "all works, yet something is broken: {line}"
        );
        Ok(())
    }

    /// The demo's process that runs this hidden command: `demo-node` or `demo-garage`.
    pub fn part(&self, word: &str) -> Result<Part> {
        let own = Pid::from_raw(i32::try_from(self.child.id())?);
        parts_of(own)?
            .into_iter()
            .find_map(|(part, command_line)| {
                command_line
                    .iter()
                    .any(|found| found == word)
                    .then_some(part)
            })
            .with_context(|| format!("the demo has no process {word}"))
    }

    /// Everything that the demo has printed so far.
    #[must_use]
    pub fn printed(&self) -> String {
        String::from_utf8_lossy(&fs::read(&self.log).unwrap_or_default()).into_owned()
    }

    /// Where its temporary files are.
    #[must_use]
    pub fn temporary(&self) -> PathBuf {
        self.folder.path().join("tmp")
    }

    /// Sends a signal to the demo alone, and gives how it ended.
    pub fn end(&mut self, signal: Signal) -> Result<ExitStatus> {
        kill(Pid::from_raw(i32::try_from(self.child.id())?), signal)?;
        let child = &mut self.child;
        eventually("the demo ends", PATIENCE, || {
            child.try_wait()?.context("it runs")
        })
    }

    fn eventually<T>(&mut self, what: &str, seen: impl Fn(&str) -> Option<T>) -> Result<T> {
        let (log, child) = (&self.log, &mut self.child);
        let found = eventually(what, PATIENCE, || {
            let printed = fs::read_to_string(log)?;
            match (seen(&printed), child.try_wait()?) {
                (Some(found), _) => Ok(Ok(found)),
                (None, Some(status)) => Ok(Err(format!("{what}: it ended with {status}"))),
                (None, None) => bail!("printed so far:\n{printed}"),
            }
        })?;
        found.map_err(anyhow::Error::msg)
    }
}

impl Drop for Demo {
    fn drop(&mut self) {
        if std::thread::panicking() {
            println!("--- the demo printed\n{}", self.printed());
        }
        // It may have ended already; a demo that is killed would leave its processes behind.
        if matches!(self.child.try_wait(), Ok(None)) && self.end(Signal::SIGTERM).is_err() {
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }
}

impl Part {
    /// As if it had crashed.
    pub fn kill(self) -> Result<()> {
        Ok(kill(self.0, Signal::SIGKILL)?)
    }

    /// Whether it still runs. One that ended and that nobody has waited for yet does not.
    #[must_use]
    pub fn runs(self) -> bool {
        let status = fs::read_to_string(format!("/proc/{}/status", self.0));
        status.is_ok_and(|status| !status.contains("State:\tZ"))
    }
}

/// The children of a process, with their command lines.
fn parts_of(parent: Pid) -> Result<Vec<(Part, Vec<String>)>> {
    let mut children = Vec::new();
    for entry in fs::read_dir("/proc")? {
        let path = entry?.path();
        // A process may end while the list is read.
        let Some(child) = child_at(&path, parent) else {
            continue;
        };
        let Ok(command_line) = fs::read_to_string(path.join("cmdline")) else {
            continue;
        };
        let words = command_line.split('\0').map(str::to_owned).collect();
        children.push((child, words));
    }
    Ok(children)
}

/// The process with this entry, if it is a child of `parent`.
fn child_at(entry: &Path, parent: Pid) -> Option<Part> {
    let own: i32 = entry.file_name()?.to_str()?.parse().ok()?;
    let status = fs::read_to_string(entry.join("status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("PPid:"))?;
    let child = line.trim().parse() == Ok(parent.as_raw());
    child.then(|| Part(Pid::from_raw(own)))
}

/// A port of 127.0.0.1 that nobody has, below those that the system gives to clients by itself.
fn free_port() -> Result<u16> {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let start = u16::try_from(std::process::id() % u32::from(PORTS))?;
    for _ in 0..PORTS {
        let step = NEXT.fetch_add(1, Ordering::Relaxed);
        let port = FIRST_PORT + start.wrapping_add(step) % PORTS;
        let address = (Ipv4Addr::LOCALHOST, port);
        if TcpListener::bind(address).is_ok() && UdpSocket::bind(address).is_ok() {
            return Ok(port);
        }
    }
    bail!("no port is free")
}

const LIVE: &str = "Ao vivo / live";
const CONTROL_HOP: &str = "controle/control";
const FIRST_PORT: u16 = 20_000;
const PORTS: u16 = 12_000;
