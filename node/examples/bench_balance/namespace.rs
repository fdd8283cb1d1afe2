//! Two network namespaces with a cable between them; gone when dropped. Needs root and iproute2.

use std::fs::File;
use std::io;
use std::process::Command;
use std::sync::Arc;

use nix::sched::{CloneFlags, setns};

pub(crate) struct Namespace(String);

impl Namespace {
    /// With a cable, at 192.168.77.1 and 192.168.77.2.
    pub(crate) fn joined_pair() -> io::Result<[Arc<Self>; 2]> {
        let pair = [Self::new("node")?, Self::new("far")?];
        let [here, there] = pair.each_ref().map(|it| &it.0);
        ip(&format!(
            "link add cable netns {here} type veth peer name cable netns {there}"
        ))?;
        for (namespace, number) in pair.iter().zip(1..) {
            let name = &namespace.0;
            ip(&format!(
                "-n {name} address add 192.168.77.{number}/24 dev cable"
            ))?;
            ip(&format!("-n {name} link set cable up"))?;
        }
        Ok(pair.map(Arc::new))
    }

    fn new(role: &str) -> io::Result<Self> {
        let namespace = Self(format!("malha-bench-{}-{role}", std::process::id()));
        ip(&format!("netns add {}", namespace.0))?;
        ip(&format!("-n {} link set lo up", namespace.0))?;
        Ok(namespace)
    }

    /// A program that runs in here, and dies with the thread that started it.
    pub(crate) fn command(&self, program: &str) -> Command {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &self.0]);
        command.args(["setpriv", "--pdeathsig", "KILL", program]);
        command
    }

    /// Moves the calling thread in here, for good.
    pub(crate) fn enter(&self) -> io::Result<()> {
        let file = File::open(format!("/var/run/netns/{}", self.0))?;
        Ok(setns(file, CloneFlags::CLONE_NEWNET)?)
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        // What is left needs a person.
        let _ = ip(&format!("netns del {}", self.0));
    }
}

fn ip(words: &str) -> io::Result<()> {
    let said = Command::new("ip").args(words.split(' ')).output()?;
    match said.status.success() {
        true => Ok(()),
        false => Err(io::Error::other(format!(
            "ip {words} (it needs root): {}",
            String::from_utf8_lossy(&said.stderr).trim()
        ))),
    }
}
