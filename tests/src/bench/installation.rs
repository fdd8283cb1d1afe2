//! A controller of its own on loopback, as `malha init` and `malha serve` make it, and the operator's way to it.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use malha::client::{Client, part};
use malha::config::{Config, EngineChoice};
use malha_proto::EnrolToken;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::{Value, json};
use tokio::process::{Child, Command};
use tokio::time::{sleep, timeout};

/// One controller with its data in `folder`.
pub(super) struct Installation {
    pub(super) control: SocketAddr,
    folder: PathBuf,
    config: Config,
    controller: Child,
    operator: Client,
}

impl Installation {
    /// `malha init`, then `malha serve` until its API answers.
    pub(super) async fn start(folder: &Path) -> Result<Self> {
        let config = config(folder)?;
        fs::write(folder.join(CONFIG_FILE), toml::to_string(&config)?)?;
        let config_file = folder.join(CONFIG_FILE);
        let mut init = program("malha")?;
        let init = init
            .arg("init")
            .arg("--config")
            .arg(config_file)
            .output()
            .await?;
        let complaint = String::from_utf8_lossy(&init.stderr);
        ensure!(
            init.status.success(),
            "malha init: {}: {complaint}",
            init.status
        );
        let key = fs::read_to_string(malha::folder::admin_key_file(&config.data))?;
        let operator = Client::new(&format!("http://{}", config.api.listen), &key, None)?;
        let controller = serve(folder, &operator).await?;
        let control = config.control.listen[0];
        Ok(Self {
            control,
            folder: folder.to_owned(),
            config,
            controller,
            operator,
        })
    }

    /// Ends the controller in order and starts it again from its disk.
    pub(super) async fn restart(&mut self) -> Result<()> {
        terminate(&mut self.controller).await?;
        self.controller = serve(&self.folder, &self.operator).await?;
        Ok(())
    }

    /// The controller's process.
    pub(super) fn process(&self) -> Result<u32> {
        self.controller.id().context("the controller ended")
    }

    /// Where public URLs are answered.
    pub(super) fn https(&self) -> SocketAddr {
        self.config.edge.https[0]
    }

    /// The authority of the edge's certificates, PEM.
    pub(super) fn edge_authority(&self) -> PathBuf {
        malha::folder::edge_authority_file(&self.config.data)
    }

    /// Creates something; the answer shows it.
    pub(super) async fn create(&self, path: &str, body: &Value) -> Result<Value> {
        self.send(http::Method::POST, path, body).await
    }

    /// Changes something.
    pub(super) async fn put(&self, path: &str, body: &Value) -> Result<Value> {
        self.send(http::Method::PUT, path, body).await
    }

    /// Whether a node of this path exists.
    pub(super) async fn has_node(&self, path: &str) -> bool {
        self.operator.read(&node(path)).await.is_ok()
    }

    /// A site, and a token for this many machines there.
    pub(super) async fn site(&self, name: &str, machines: usize) -> Result<EnrolToken> {
        self.create(
            "/sites",
            &json!({ "organization": ORGANIZATION, "name": name }),
        )
        .await?;
        let body = json!({ "site": format!("{ORGANIZATION}/{name}"), "profile": "garage", "uses": machines });
        let created = self.create("/tokens", &body).await?;
        let text = created["token"]
            .as_str()
            .context("the answer shows no token")?;
        Ok(text.parse()?)
    }

    async fn send(&self, method: http::Method, path: &str, body: &Value) -> Result<Value> {
        let answer = self.operator.send(method, path, Some(body)).await;
        answer.with_context(|| format!("{path} with {body}"))
    }
}

/// The API's path of a node.
pub(super) fn node(path: &str) -> String {
    format!("/nodes/{}", part(path))
}

/// A program that was built beside this one. It ends with this one.
pub(super) fn program(name: &str) -> Result<Command> {
    let own = std::env::current_exe()?;
    let path = own.with_file_name(name);
    ensure!(
        path.exists(),
        "{} is missing: tests/bench/control builds it",
        path.display()
    );
    let mut command = Command::new(path);
    command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .kill_on_drop(true);
    Ok(command)
}

/// Ends a process as an operator does, and waits for it.
pub(super) async fn terminate(process: &mut Child) -> Result<()> {
    if let Some(id) = process.id() {
        kill(Pid::from_raw(i32::try_from(id)?), Signal::SIGTERM)?;
    }
    timeout(PATIENCE, process.wait())
        .await
        .context("a process does not end")??;
    Ok(())
}

/// A port of 127.0.0.1 that is free for UDP and TCP.
pub(super) fn free_port() -> Result<u16> {
    for _ in 0..PORT_ATTEMPTS {
        let udp = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?;
        let address = udp.local_addr()?;
        if TcpListener::bind(address).is_ok() {
            return Ok(address.port());
        }
    }
    anyhow::bail!("no port is free for both UDP and TCP")
}

async fn serve(folder: &Path, operator: &Client) -> Result<Child> {
    let mut controller = program("malha")?
        .arg("serve")
        .arg("--config")
        .arg(folder.join(CONFIG_FILE))
        .spawn()?;
    let ready = async {
        while operator.read("/status").await.is_err() {
            if let Some(status) = controller.try_wait()? {
                anyhow::bail!("malha serve: {status}");
            }
            sleep(POLL).await;
        }
        Ok(())
    };
    timeout(PATIENCE, ready)
        .await
        .context("the API does not answer")??;
    Ok(controller)
}

fn config(folder: &Path) -> Result<Config> {
    let here = |port: u16| SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    let public = free_port()?;
    let mut config =
        Config::for_server(folder.join("data"), "localhost", Ipv4Addr::LOCALHOST.into());
    config.control.listen = vec![here(public)];
    config.control.addresses = vec![here(public).to_string()];
    config.hub.listen = vec![here(free_port()?)];
    config.hub.endpoints = config.hub.listen.clone();
    config.hub.engine = EngineChoice::Netstack;
    config.edge.https = vec![here(public)];
    config.edge.http = vec![];
    config.edge.public_https_port = public;
    config.dns.listen = vec![];
    config.api.listen = here(free_port()?);
    config.api.public_host = None;
    config.metrics.listen = None;
    config.log.level = "error".to_owned();
    Ok(config)
}

/// The organization of everything that is measured.
pub(super) const ORGANIZATION: &str = "bench";
const CONFIG_FILE: &str = "malha.toml";
const PATIENCE: Duration = Duration::from_secs(60);
const POLL: Duration = Duration::from_millis(25);
const PORT_ATTEMPTS: usize = 20;
