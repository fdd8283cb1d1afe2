//! A machine that is, or becomes, a node: its state folder, its agent and its web interface.

use std::fs;
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use anyhow::{Context, Result, bail};
use serde_json::Value;

use super::binaries;
use super::internet::{HUB, HUB_NAME};
use super::namespace::Namespace;
use super::patience::{PATIENCE, eventually};
use super::process::{Process, checked, output};
use super::supervisor::Supervisor;

/// One machine. Its agent and its web server are processes that the test may kill.
pub struct Machine {
    pub namespace: Namespace,
    pub agent: Option<Process>,
    pub web: Option<Process>,
    folder: PathBuf,
    role: String,
    environment: Vec<(&'static str, String)>,
    /// Who keeps descriptors of the agent while it does not run.
    pub supervisor: Option<Supervisor>,
}

impl Machine {
    pub(super) fn new(lab: &Path, role: &str) -> Result<Self> {
        let namespace = Namespace::new(role)?;
        let folder = lab.join(role);
        fs::create_dir_all(&folder)?;
        namespace.set_etc("hosts", &format!("127.0.0.1 localhost\n{HUB} {HUB_NAME}\n"))?;
        namespace.set_etc("resolv.conf", "")?;
        // As systemd makes it: 32 hexadecimal digits.
        namespace.set_etc("machine-id", &format!("{:0<32}\n", hexadecimal(role)))?;
        Ok(Self {
            namespace,
            agent: None,
            web: None,
            folder,
            role: role.to_owned(),
            environment: Vec::new(),
            supervisor: None,
        })
    }

    /// What the agent finds in its environment from its next start on.
    pub fn set_environment(&mut self, name: &'static str, value: &str) {
        self.environment.push((name, value.to_owned()));
    }

    /// Has a service manager for the agent from its next start on.
    pub fn supervise(&mut self) -> Result<()> {
        self.supervisor = Some(Supervisor::new(&self.folder.join("notify"))?);
        Ok(())
    }

    /// `malha-node` with its state in this machine's folder.
    pub fn node(&self, words: &[&str]) -> Result<Command> {
        let mut command = self.namespace.command(binaries::malha_node()?);
        command
            .args(words)
            .arg("--state")
            .arg(self.state())
            .env(
                "MALHA_NODE_LOG",
                "malha_node=debug,malha_tunnel=debug,malha_proxy=debug,info",
            )
            .envs(self.environment.iter().map(|(name, value)| (name, value)));
        if self.config().exists() {
            command.arg("--config").arg(self.config());
        }
        Ok(command)
    }

    /// Writes the agent's configuration file.
    pub fn configure(&self, text: &str) -> Result<()> {
        Ok(fs::write(self.config(), text)?)
    }

    /// Enrols with `malha-node up` and keeps running.
    pub fn enrol(&mut self, token: &str, words: &[&str]) -> Result<()> {
        let mut command = self.node(&[&["up"], words].concat())?;
        self.start(command.env("MALHA_TOKEN", token))
    }

    /// `malha-node run`, as at each boot.
    pub fn boot(&mut self, words: &[&str]) -> Result<()> {
        let mut command = self.node(&[&["run"], words].concat())?;
        self.start(&mut command)
    }

    /// Runs `malha-node up` with a token that should be refused.
    pub fn try_to_enrol(&self, token: &str) -> Result<Output> {
        output(self.node(&["up"])?.env("MALHA_TOKEN", token))
    }

    /// Whether an identity is on its disk.
    #[must_use]
    pub fn is_enrolled(&self) -> bool {
        self.state().join("identity.json").exists()
    }

    /// The running agent.
    pub fn agent(&mut self) -> Result<&mut Process> {
        self.agent.as_mut().context("no agent was started here")
    }

    /// What `malha-node status --json` says.
    pub fn status(&self) -> Result<Value> {
        let output = output(&mut self.node(&["status", "--json"])?)?;
        serde_json::from_slice(&output.stdout).with_context(|| {
            format!(
                "malha-node status: {}",
                String::from_utf8_lossy(&output.stderr).trim()
            )
        })
    }

    /// Waits until `malha-node status` finds everything well.
    pub fn becomes_healthy(&mut self) -> Result<()> {
        let what = format!("{} is healthy", self.role);
        eventually(&what, PATIENCE, || {
            self.agent()?.check_runs()?;
            let output = output(&mut self.node(&["status"])?)?;
            if !output.status.success() {
                bail!(
                    "{}",
                    String::from_utf8_lossy(&[output.stdout, output.stderr].concat())
                );
            }
            Ok(())
        })
    }

    /// Starts the sample web interface of a garage.
    pub fn start_web(&mut self, listen: &str) -> Result<()> {
        let mut command = self.namespace.command(binaries::malha()?);
        command.args(["demo-garage", "--listen", listen]);
        self.web = Some(Process::start(
            "the web interface",
            &mut command,
            &self.log("web"),
        )?);
        let listen: SocketAddr = listen.parse()?;
        eventually("the web interface listens", PATIENCE, || {
            let connection = self.namespace.within(|| TcpStream::connect(listen))?;
            Ok(connection.map(drop)?)
        })
    }

    /// Opens a URL from here, through the kernel.
    pub fn open(&self, url: &str) -> Result<String> {
        checked(self.namespace.command("curl").args([
            "--silent",
            "--show-error",
            "--fail",
            "--max-time",
            "3",
            url,
        ]))
    }

    /// Where `malha-node` keeps everything.
    #[must_use]
    pub fn state(&self) -> PathBuf {
        self.folder.join("state")
    }

    /// Copies the state folder of another machine, as an imaged disk carries it along.
    pub fn copy_disk_of(&self, other: &Self) -> Result<()> {
        fs::create_dir_all(self.state())?;
        let mode = fs::metadata(other.state())?.permissions();
        fs::set_permissions(self.state(), mode)?;
        for entry in fs::read_dir(other.state())? {
            let entry = entry?;
            if entry.file_type()?.is_file() {
                fs::copy(entry.path(), self.state().join(entry.file_name()))?;
            }
        }
        Ok(())
    }

    fn start(&mut self, command: &mut Command) -> Result<()> {
        let name = format!("the agent of {}", self.role);
        let log = self.log("agent");
        let agent = match &self.supervisor {
            None => Process::start(&name, command, &log)?,
            Some(supervisor) => {
                let mut service = supervisor.dress(command)?;
                Process::start(&name, &mut service.command, &log)?
            }
        };
        self.agent = Some(agent);
        Ok(())
    }

    fn config(&self) -> PathBuf {
        self.folder.join("node.toml")
    }

    fn log(&self, program: &str) -> PathBuf {
        self.folder
            .with_file_name(format!("{}-{program}.log", self.role))
    }
}

fn hexadecimal(role: &str) -> String {
    role.bytes().map(|byte| format!("{byte:02x}")).collect()
}
