//! The machine with the public address that runs `malha serve`, and the operator who sits at it.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use super::binaries;
use super::internet::{HUB, HUB_NAME, HUB_V6, Internet};
use super::namespace::Namespace;
use super::patience::{PATIENCE, eventually};
use super::process::{Process, checked, output};
use super::supervisor::Supervisor;

/// One installation of the controller, with its data in `data` of its folder.
pub struct Hub {
    pub namespace: Namespace,
    controller: Option<Process>,
    folder: PathBuf,
    /// Who keeps descriptors of the controller while it does not run.
    pub supervisor: Option<Supervisor>,
}

impl Hub {
    pub(super) fn new(internet: &Internet, lab: &Path) -> Result<Self> {
        let namespace = Namespace::new("hub")?;
        internet.attach(&namespace, "wan", HUB)?;
        Internet::add_v6(&namespace, "wan", HUB_V6)?;
        let folder = lab.join("hub");
        fs::create_dir_all(&folder)?;
        Ok(Self {
            namespace,
            controller: None,
            folder,
            supervisor: None,
        })
    }

    /// `malha init`, as on a new server.
    pub fn init(&self) -> Result<()> {
        let config = self.config();
        let data = self.data();
        let words = ["init", "--host", HUB_NAME, "--address", HUB];
        checked(
            self.command(&words)?
                .arg("--config")
                .arg(&config)
                .arg("--data")
                .arg(data),
        )?;
        let text = fs::read_to_string(&config)?;
        Ok(fs::write(
            &config,
            text.replace("level = \"info\"", "level = \"malha=debug,info\""),
        )?)
    }

    /// Tells nodes that the hub is also to be found by IPv6. To be called before [`Self::serve`].
    pub fn offers_v6(&self) -> Result<()> {
        let (v4, v6) = (format!("\"{HUB}:51820\""), format!("\"[{HUB_V6}]:51820\""));
        self.reconfigure(&v4, &format!("{v4}, {v6}"))
    }

    /// Takes that back. To be called before [`Self::serve`].
    pub fn offers_v4_only(&self) -> Result<()> {
        self.reconfigure(&format!(", \"[{HUB_V6}]:51820\""), "")
    }

    /// Writes something else into the configuration, for the next [`Self::serve`].
    pub fn reconfigure(&self, former: &str, text: &str) -> Result<()> {
        let whole = fs::read_to_string(self.config())?;
        ensure!(
            whole.contains(former),
            "no {former} in the configuration:\n{whole}"
        );
        Ok(fs::write(self.config(), whole.replace(former, text))?)
    }

    /// Gives the edge an IPv6 address beside the other. To be called before [`Self::serve`].
    pub fn publishes_by_v6(&self) -> Result<()> {
        let (v4, v6) = (format!("addresses = [\"{HUB}\""), format!("\"{HUB_V6}\""));
        self.reconfigure(&v4, &format!("{v4}, {v6}"))
    }

    /// `malha restore` into the data folder, which must be gone, with the secrets that were kept elsewhere.
    pub fn restore(&self, backup: &Path, kept: &Path) -> Result<()> {
        checked(
            self.command(&["restore"])?
                .arg(backup)
                .arg("--data")
                .arg(self.data()),
        )?;
        for secret in SECRETS {
            fs::copy(kept.join(secret), self.data().join(secret))
                .with_context(|| format!("bringing {secret} back"))?;
        }
        Ok(())
    }

    /// What a backup leaves out on purpose, copied to a folder elsewhere.
    pub fn keep_secrets(&self, kept: &Path) -> Result<()> {
        fs::create_dir_all(kept)?;
        for secret in SECRETS {
            fs::copy(self.data().join(secret), kept.join(secret))?;
        }
        Ok(())
    }

    /// Has a service manager for the controller from its next start on.
    pub fn supervise(&mut self) -> Result<()> {
        self.supervisor = Some(Supervisor::new(&self.folder.join("notify"))?);
        Ok(())
    }

    /// `malha serve`, until the API answers.
    pub fn serve(&mut self) -> Result<()> {
        let mut command = self.command(&["serve"])?;
        command.arg("--config").arg(self.config());
        let log = self.folder.with_file_name("hub-serve.log");
        let controller = match &self.supervisor {
            None => Process::start("malha serve", &mut command, &log)?,
            Some(supervisor) => {
                let mut service = supervisor.dress(&command)?;
                Process::start("malha serve", &mut service.command, &log)?
            }
        };
        self.controller = Some(controller);
        eventually("the API answers", PATIENCE, || {
            self.controller()?.check_runs()?;
            self.malha(&["status"]).map(drop)
        })
    }

    /// The running controller.
    pub fn controller(&mut self) -> Result<&mut Process> {
        self.controller
            .as_mut()
            .context("no controller was started")
    }

    /// Cuts the power of the controller while others use it.
    pub fn cut(&self) -> Result<()> {
        self.controller
            .as_ref()
            .context("no controller was started")?
            .cut()
    }

    /// A command of the operator that must succeed, and what it prints.
    pub fn malha(&self, words: &[&str]) -> Result<String> {
        checked(&mut self.operator(words)?)
    }

    /// The same with `--json`.
    pub fn json(&self, words: &[&str]) -> Result<Value> {
        let text = checked(self.operator(words)?.arg("--json"))?;
        serde_json::from_str(&text)
            .with_context(|| format!("malha {} --json: {text}", words.join(" ")))
    }

    /// A command of the operator, however it ends.
    pub fn attempt(&self, words: &[&str]) -> Result<Output> {
        output(&mut self.operator(words)?)
    }

    /// The text of a new token. `words` are those of `malha token add` or `malha node replace`.
    pub fn token(&self, words: &[&str]) -> Result<String> {
        Ok(self.malha(words)?.trim().to_owned())
    }

    /// A node as `malha node show` gives it.
    pub fn node(&self, path: &str) -> Result<Value> {
        self.json(&["node", "show", path])
    }

    /// The authority of the edge's certificates, for clients.
    #[must_use]
    pub fn edge_authority(&self) -> PathBuf {
        self.data().join("edge-ca.pem")
    }

    #[must_use]
    pub fn data(&self) -> PathBuf {
        self.folder.join("data")
    }

    #[must_use]
    pub fn config(&self) -> PathBuf {
        self.folder.join("malha.toml")
    }

    /// `malha` on this machine.
    pub fn command(&self, words: &[&str]) -> Result<Command> {
        let mut command = self.namespace.command(binaries::malha()?);
        command.args(words);
        Ok(command)
    }

    fn operator(&self, words: &[&str]) -> Result<Command> {
        let mut command = self.command(words)?;
        command.env("MALHA_KEY_FILE", self.data().join("admin.key"));
        Ok(command)
    }
}

const SECRETS: [&str; 2] = ["master.key", "admin.key"];
