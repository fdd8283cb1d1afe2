//! Two machines and the cable between them: network namespaces joined by a veth. Everything on them ends with it.

use std::fs::{self, File};
use std::io::Write;
use std::net::Ipv4Addr;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};

use super::meter::Meter;
use super::priority::give_back;
use crate::lab::namespace::{remove_orphans, remove_own};
use crate::lab::{Namespace, Process};

/// One of the two machines. The near one sends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Side {
    Near,
    Far,
}

/// Both machines, and the processor time of what runs on them.
pub(super) struct Wire {
    near: Namespace,
    far: Namespace,
    folder: PathBuf,
    pub(super) meter: Meter,
}

impl Side {
    pub(super) const BOTH: [Self; 2] = [Self::Far, Self::Near];

    pub(super) fn other(self) -> Self {
        match self {
            Self::Near => Self::Far,
            Self::Far => Self::Near,
        }
    }

    /// The address on the cable.
    pub(super) fn underlay(self) -> Ipv4Addr {
        Ipv4Addr::new(10, 77, 0, self.number())
    }

    /// The address inside a tunnel.
    pub(super) fn overlay(self) -> Ipv4Addr {
        Ipv4Addr::new(100, 96, 0, self.number())
    }

    fn number(self) -> u8 {
        match self {
            Self::Near => 1,
            Self::Far => 2,
        }
    }

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Near => "near",
            Self::Far => "far",
        }
    }

    /// A network interface that no other process of this machine has.
    pub(super) fn interface(self) -> String {
        format!("{INTERFACE}{}-{}", std::process::id(), self.number())
    }
}

impl Wire {
    pub(super) fn new() -> Result<Self> {
        remove_orphans();
        remove_files(|pid| !Path::new("/proc").join(pid).exists());
        let folder = folder_of(std::process::id());
        fs::create_dir(&folder).with_context(|| folder.display().to_string())?;
        let wire = Self {
            near: Namespace::new("near")?,
            far: Namespace::new("far")?,
            folder,
            meter: Meter::new(),
        };
        wire.near.connect("veth", &wire.far, "veth")?;
        for side in Side::BOTH {
            let namespace = wire.namespace(side);
            namespace.ip(&format!("address add {}/24 dev veth", side.underlay()))?;
            namespace.ip(&format!("link set veth mtu {UNDERLAY_MTU_BYTES} up"))?;
        }
        Ok(wire)
    }

    pub(super) fn namespace(&self, side: Side) -> &Namespace {
        match side {
            Side::Near => &self.near,
            Side::Far => &self.far,
        }
    }

    /// A file of this run that nobody else may read.
    pub(super) fn write(&self, name: &str, text: &str) -> Result<PathBuf> {
        let path = self.folder.join(name);
        let mut options = fs::OpenOptions::new();
        let file = options.create(true).truncate(true).write(true).mode(0o600);
        file.open(&path)?.write_all(text.as_bytes())?;
        Ok(path)
    }

    pub(super) fn log(&self, name: &str) -> PathBuf {
        self.folder.join(format!("{name}.log"))
    }

    /// Starts a program that runs until it is dropped; its processor time counts.
    pub(super) fn start(&self, name: &str, command: &mut Command) -> Result<Process> {
        let process = Process::start(name, command, &self.log(name))?;
        self.meter.count(process.id())?;
        Ok(process)
    }

    /// Runs a program to its end, and gives what it printed; its processor time counts.
    pub(super) fn run(
        &self,
        name: &str,
        command: &mut Command,
        limit: Duration,
    ) -> Result<Vec<u8>> {
        let (printed, log) = (self.folder.join(name), self.log(name));
        command
            .stdin(Stdio::null())
            .stdout(File::create(&printed)?)
            .stderr(File::create(&log)?);
        let child = command.spawn();
        let mut child = child.with_context(|| format!("starting {name}"))?;
        self.meter.count(child.id())?;
        let start = Instant::now();
        let status = loop {
            if let Some(status) = child.try_wait()? {
                break status;
            }
            if start.elapsed() > limit {
                child.kill()?;
                child.wait()?;
                bail!("{name} did not end within {} s", limit.as_secs());
            }
            std::thread::sleep(POLL);
        };
        let (printed, complaint) = (fs::read(printed)?, fs::read_to_string(log)?);
        ensure!(
            status.success(),
            "{name}: {status}: {}{}",
            String::from_utf8_lossy(&printed),
            complaint.trim()
        );
        Ok(printed)
    }
}

impl Drop for Wire {
    fn drop(&mut self) {
        remove_files(|pid| pid == std::process::id().to_string());
    }
}

/// Removes what this process has made, for one that ends without dropping anything.
pub fn clean_up() {
    give_back();
    remove_own();
    remove_files(|pid| pid == std::process::id().to_string());
}

/// Removes the files of chosen processes, and the sockets that killed contenders left. What can't be removed, the next run
/// tries again.
fn remove_files(chosen: impl Fn(&str) -> bool) {
    for entry in entries(&std::env::temp_dir()) {
        let name = entry.file_name();
        let pid = name.to_str().and_then(|name| name.strip_prefix(FOLDER));
        if pid.is_some_and(&chosen) {
            let _ = fs::remove_dir_all(entry.path());
        }
    }
    for entry in entries(Path::new(CONTROL_SOCKETS)) {
        let name = entry.file_name();
        let interface = name.to_str().and_then(|name| name.strip_prefix(INTERFACE));
        let pid = interface.and_then(|rest| rest.split('-').next());
        if pid.is_some_and(&chosen) {
            let _ = fs::remove_file(entry.path());
        }
    }
}

fn entries(folder: &Path) -> impl Iterator<Item = fs::DirEntry> {
    fs::read_dir(folder).into_iter().flatten().flatten()
}

fn folder_of(process: u32) -> PathBuf {
    std::env::temp_dir().join(format!("{FOLDER}{process}"))
}

/// Where userspace WireGuards listen for `wg`.
const CONTROL_SOCKETS: &str = "/var/run/wireguard";
const INTERFACE: &str = "mb";
const FOLDER: &str = "malha-bench-dataplane-";
const POLL: Duration = Duration::from_millis(5);
const UNDERLAY_MTU_BYTES: usize = 1500;
