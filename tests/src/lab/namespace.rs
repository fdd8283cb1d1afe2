//! Network namespaces: made with names of their own, and gone when dropped. It knows nothing of what runs in them.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};

use anyhow::{Context, Result, anyhow, ensure};
use nix::sched::{CloneFlags, setns};

use super::patience::{PATIENCE, eventually};
use super::process::{Process, checked, output};

/// A namespace with its own interfaces, and its own files where `ip netns exec` lays them over those of `/etc`.
pub struct Namespace {
    name: String,
    /// Who keeps its `/run` and `/etc`, where it has some of its own.
    holder: Option<Process>,
}

impl Namespace {
    /// A new one with its loopback up.
    pub fn new(role: &str) -> Result<Self> {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = format!("{PREFIX}{}-{number}-{role}", std::process::id());
        ip(&format!("netns add {name}"))?;
        let namespace = Self { name, holder: None };
        namespace.ip("link set lo up")?;
        Ok(namespace)
    }

    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Runs `ip` in here. The words are separated by blanks.
    pub fn ip(&self, words: &str) -> Result<()> {
        ip(&format!("-n {} {words}", self.name))
    }

    /// A cable from here to there.
    pub fn connect(&self, interface: &str, there: &Self, their_interface: &str) -> Result<()> {
        let (here, there) = (&self.name, &there.name);
        ip(&format!(
            "link add {interface} netns {here} type veth peer name {their_interface} netns {there}"
        ))
    }

    /// Loads a rule set of nftables.
    pub fn nft(&self, rules: &str) -> Result<()> {
        checked(self.command("nft").arg(rules)).map(drop)
    }

    /// Gives the programs that are started in here from now on an empty `/run` and a copy of `/etc`, which they share with each
    /// other and with nobody else.
    pub fn take_own_files(&mut self, log: &Path) -> Result<()> {
        let mut command = self.command("sh");
        command.args(["-c", OWN_FILES]);
        let holder = Process::start("the holder of files", &mut command, log)?;
        let ready = own_file(&holder, "/run/ready");
        eventually("the files are there", PATIENCE, || {
            ensure!(ready.exists(), "no {}", ready.display());
            Ok(())
        })?;
        self.holder = Some(holder);
        Ok(())
    }

    /// Where a file of this namespace's own is found from outside.
    pub fn own_file(&self, path: &str) -> Result<PathBuf> {
        let holder = self.holder.as_ref().context("it has no files of its own")?;
        Ok(own_file(holder, path))
    }

    /// A program that runs in here, with a plain environment, and dies with the thread that started it.
    pub fn command(&self, program: impl AsRef<OsStr>) -> Command {
        let mut command = match &self.holder {
            None => {
                let mut command = Command::new("ip");
                command.args(["netns", "exec", &self.name]);
                command
            }
            Some(holder) => {
                let mut command = Command::new("nsenter");
                let target = holder.id().to_string();
                command.args(["--target", &target, "--mount", "--net", "--"]);
                command
            }
        };
        command
            .args(["setpriv", "--pdeathsig", "KILL"])
            .arg(program);
        let path = std::env::var_os("PATH").unwrap_or_default();
        command
            .env_clear()
            .env("PATH", path)
            .env("LANG", "en_US.UTF-8")
            .env("HOME", "/nonexistent");
        command
    }

    /// What programs in here find at `/etc/FILE`, if this machine has such a file.
    pub fn set_etc(&self, file: &str, text: &str) -> Result<()> {
        let folder = self.etc();
        fs::create_dir_all(&folder)?;
        fs::write(folder.join(file), text).with_context(|| format!("{}/{file}", folder.display()))
    }

    /// Does the work on a thread in here. Sockets that it makes stay in here.
    pub fn within<T: Send>(&self, work: impl FnOnce() -> T + Send) -> Result<T> {
        let path = Path::new("/var/run/netns").join(&self.name);
        let file = File::open(&path).with_context(|| path.display().to_string())?;
        std::thread::scope(|scope| {
            let thread =
                scope.spawn(move || setns(file, CloneFlags::CLONE_NEWNET).map(|()| work()));
            Ok(thread
                .join()
                .map_err(|_| anyhow!("the work in {} panicked", self.name))??)
        })
    }

    fn etc(&self) -> PathBuf {
        Path::new(ETC).join(&self.name)
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        remove(&self.name);
    }
}

/// Removes what a run left behind that was killed.
pub(crate) fn remove_orphans() {
    remove_those(|pid| !Path::new("/proc").join(pid).exists());
}

/// Removes what this process has made, for one that is about to end without dropping anything.
pub(crate) fn remove_own() {
    let own = std::process::id().to_string();
    remove_those(|pid| pid == own);
}

fn remove_those(chosen: impl Fn(&str) -> bool) {
    let Ok(list) = output(Command::new("ip").args(["netns", "list"])) else {
        return;
    };
    let text = String::from_utf8_lossy(&list.stdout).into_owned();
    for name in text
        .lines()
        .filter_map(|line| line.split_whitespace().next())
    {
        let pid = name
            .strip_prefix(PREFIX)
            .and_then(|rest| rest.split('-').next());
        if pid.is_some_and(&chosen) {
            remove(name);
        }
    }
}

fn remove(name: &str) {
    // Nothing can be done about a namespace that stays; the next run tries again.
    let _ = ip(&format!("netns del {name}"));
    let _ = fs::remove_dir_all(Path::new(ETC).join(name));
}

fn own_file(holder: &Process, path: &str) -> PathBuf {
    PathBuf::from(format!("/proc/{}/root{path}", holder.id()))
}

fn ip(words: &str) -> Result<()> {
    checked(Command::new("ip").args(words.split_whitespace())).map(drop)
}

/// `ip netns exec` has made the mounts of this process its own.
const OWN_FILES: &str = "mount -t tmpfs lab /run && cp -a /etc /run/etc && mount --bind /run/etc /etc && touch /run/ready && exec sleep infinity";
const PREFIX: &str = "malha-lab-";
/// See ip-netns(8).
const ETC: &str = "/etc/netns";
