//! The demo's world: data folder, controller, node process, garage process, and what an operator would create for them. It
//! uses the public doors only, in the order in which a person would.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, bail};
use malha_proto::{NodeId, ServiceId};
use tempfile::TempDir;
use tokio::process::{Child, ChildStdin, Command as Process};
use tokio_util::sync::CancellationToken;

use super::check::{self, HopResult, Target};
use super::furnish::{self, OPERATOR};
use super::ports::{Ports, loopback};
use super::{Args, LIFELINE, check::hop};
use crate::config::{Api, Checks, Config, Control, Dns, Edge, EngineChoice, Hub, Log, Metrics};
use crate::folder;
use crate::serve::{self, Running};

/// The demo's world, through which traffic can go.
pub(super) struct World {
    pub house: House,
    pub ports: Ports,
    pub data: PathBuf,
    pub operator: String,
    /// None on a second run in the same folder: it was shown at the first.
    pub password: Option<String>,
    pub node: NodeId,
    pub service: ServiceId,
    /// The hops passed on the way here.
    pub hops: Vec<HopResult>,
}

/// Everything that runs and lies around, and is gone after [`House::finish`].
pub(super) struct House {
    pub running: Running,
    processes: Vec<Child>,
    /// Their standard inputs, which close with this process however it ends: they end with it then.
    lifelines: Vec<ChildStdin>,
    _temporary: Option<TempDir>,
}

/// Ctrl-C came before the world was complete.
#[derive(Debug, thiserror::Error)]
#[error("interrupted")]
struct Interrupted;

impl World {
    /// Starts everything and waits until the node carries traffic. On an error, and at `stop`, nothing is left.
    pub(super) async fn start(args: &Args, stop: &CancellationToken) -> anyhow::Result<Self> {
        args.ports.check()?;
        let temporary = args
            .data
            .is_none()
            .then(|| tempfile::Builder::new().prefix("malha-demo-").tempdir())
            .transpose()?;
        let data = match (&args.data, &temporary) {
            (Some(data), _) => std::path::absolute(data)?,
            (None, Some(temporary)) => temporary.path().to_owned(),
            (None, None) => bail!("no data folder"),
        };
        let config = config(&data, &args.ports);
        if !folder::store_dir(&config.data).exists() {
            folder::create(
                &config.data,
                &config.master_key_file(),
                "malha.internal".parse()?,
            )
            .await?;
        }
        args.ports.keep(&data)?;
        let running = serve::start(&config, None, stop.child_token()).await?;
        let mut house = House {
            running,
            processes: Vec::new(),
            lifelines: Vec::new(),
            _temporary: temporary,
        };
        let settled = tokio::select! {
            settled = settle(&mut house, &data, &args.ports) => settled,
            () = stop.cancelled() => Err(Interrupted.into()),
        };
        match settled {
            Ok(Settled {
                password,
                node,
                service,
                hops,
            }) => Ok(Self {
                house,
                ports: args.ports,
                data,
                operator: OPERATOR.to_owned(),
                password,
                node,
                service,
                hops,
            }),
            Err(error) => {
                house.finish().await;
                Err(error)
            }
        }
    }

    /// Walks the public way: DNS, TLS, HTTP, download, WebSocket. Stops at the broken hop.
    pub(super) async fn walk(&self) -> Vec<HopResult> {
        let target = self.target();
        let mut walked = Vec::new();
        if let Err(broken) = walk(&target, &mut walked).await {
            walked.push(broken);
        }
        walked
    }

    pub(super) fn target(&self) -> Target {
        Target {
            host: HOST.to_owned(),
            https: loopback(self.ports.https_port),
            dns: loopback(self.ports.dns_port),
            authority_pem: self.house.running.edge_authority_pem.clone(),
        }
    }

    /// Where the edge's authority lies for `curl --cacert`.
    #[must_use]
    pub(super) fn authority_file(&self) -> PathBuf {
        folder::edge_authority_file(&self.data)
    }

    /// A command of the CLI that reaches this world, without its words.
    pub(super) fn cli(&self) -> String {
        let program = std::env::current_exe();
        let program = program.unwrap_or_else(|_| PathBuf::from("malha"));
        format!(
            "{} --api http://localhost:{} --key-file {}",
            program.display(),
            self.ports.dashboard_port,
            folder::admin_key_file(&self.data).display()
        )
    }
}

impl House {
    /// Starts this very program as another process. A token goes by the environment, where the process list does not show it.
    fn spawn(
        &mut self,
        data: &Path,
        name: &str,
        words: &[&str],
        token: Option<String>,
    ) -> anyhow::Result<()> {
        let log = std::fs::File::create(log_file(data, name))?;
        let mut process = Process::new(std::env::current_exe()?);
        process
            .args(words)
            .env(LIFELINE, "1")
            .stdin(Stdio::piped())
            .stdout(Stdio::from(log.try_clone()?))
            .stderr(Stdio::from(log));
        process.kill_on_drop(true).process_group(0);
        if let Some(token) = token {
            process.env("MALHA_TOKEN", token);
        }
        let mut child = process
            .spawn()
            .with_context(|| format!("starting the {name} process"))?;
        self.lifelines.extend(child.stdin.take());
        self.processes.push(child);
        Ok(())
    }

    /// Ends the processes and the controller, and removes the temporary folder.
    pub(super) async fn finish(mut self) {
        for process in &mut self.processes {
            end(process).await;
        }
        self.running.finish().await;
    }
}

/// How a failure to start looks in the check's report.
#[must_use]
pub(super) fn failed_hop(error: &anyhow::Error) -> HopResult {
    match error.downcast_ref::<BrokenHop>() {
        Some(broken) => broken.0.clone(),
        None => HopResult {
            hop: "start",
            ok: false,
            millis: 0,
            detail: format!("{error:#}"),
        },
    }
}

#[derive(Debug, thiserror::Error)]
#[error("{}: {}", .0.hop, .0.detail)]
struct BrokenHop(HopResult);

fn passed<T>(outcome: Result<T, HopResult>) -> Result<T, BrokenHop> {
    outcome.map_err(BrokenHop)
}

async fn walk(target: &Target, walked: &mut Vec<HopResult>) -> Result<(), HopResult> {
    let (address, dns) = hop("dns", check::resolve(target)).await?;
    walked.push(dns);
    let (tls, tls_hop) = hop("tls", check::open_tls(target, address)).await?;
    walked.push(tls_hop);
    let ((), http) = hop("http", check::fetch_page(target, tls)).await?;
    walked.push(http);
    let again = async || {
        hop("tls", check::open_tls(target, address))
            .await
            .map(|(tls, _)| tls)
    };
    let ((), download) = hop("download", check::fetch_download(target, again().await?)).await?;
    walked.push(download);
    let ((), echo) = hop("websocket", check::echo(target, again().await?)).await?;
    walked.push(echo);
    Ok(())
}

/// What an operator would make of an empty controller.
struct Settled {
    password: Option<String>,
    node: NodeId,
    service: ServiceId,
    hops: Vec<HopResult>,
}

async fn settle(house: &mut House, data: &Path, ports: &Ports) -> anyhow::Result<Settled> {
    let password = furnish::first_operator(&house.running).await?;
    furnish::cli_key(&house.running, data).await?;
    let site = furnish::site(&house.running).await?;

    let garage_address = loopback(ports.garage_port).to_string();
    let words = ["demo-garage", "--listen", &garage_address];
    house.spawn(data, "garage", &words, None)?;
    let node_state = data.join("node");
    let (token, token_hop) = match house.running.handle.state().nodes_of(site).next() {
        Some(node) => (None, furnish::kept_token(node.id)),
        None => passed(hop("token", furnish::token(&house.running, site)).await)
            .map(|(token, hop)| (Some(token), hop))?,
    };
    let verb = if token.is_some() { "up" } else { "run" };
    let words = [
        "demo-node",
        verb,
        "--state",
        &node_state.to_string_lossy(),
        "--engine",
        "netstack",
    ];
    house.spawn(data, "node", &words, token.map(|token| token.expose()))?;
    let House {
        running, processes, ..
    } = house;
    let mut agent = Agent {
        process: processes.last_mut().context("the node's process is gone")?,
        log: log_file(data, "node"),
    };
    let (node, enrol_hop) =
        passed(hop("enrolment", agent.alive(furnish::enrolled(running, site))).await)?;
    let service = furnish::publish(running, node, ports).await?;
    furnish::served(running).await?;
    let (_, tunnel_hop) =
        passed(hop("handshake", agent.alive(furnish::handshake(running, node))).await)?;
    Ok(Settled {
        password,
        node,
        service,
        hops: vec![token_hop, enrol_hop, tunnel_hop],
    })
}

/// The node's process and what it writes.
struct Agent<'a> {
    process: &'a mut Child,
    log: PathBuf,
}

impl Agent<'_> {
    /// Waits for what only a living node can bring. A node that ends has said why in its last line.
    async fn alive<T>(
        &mut self,
        work: impl Future<Output = anyhow::Result<T>>,
    ) -> anyhow::Result<T> {
        let status = tokio::select! {
            done = work => return done,
            status = self.process.wait() => status?,
        };
        let log = std::fs::read(&self.log).unwrap_or_default();
        let log = String::from_utf8_lossy(&log);
        bail!(
            "the node ended with {status}: {}",
            log.lines().last().unwrap_or_default()
        )
    }
}

fn config(data: &Path, ports: &Ports) -> Config {
    Config {
        data: data.to_owned(),
        master_key: None,
        control: Control {
            listen: vec![loopback(ports.https_port)],
            addresses: vec![loopback(ports.https_port).to_string()],
        },
        hub: Hub {
            listen: vec![loopback(ports.wireguard_port)],
            endpoints: vec![loopback(ports.wireguard_port)],
            engine: EngineChoice::Netstack,
            interface: "malha0".to_owned(),
            mtu_bytes: 1_280,
            offload: true,
            tunnel_shards: None,
        },
        edge: Edge {
            https: vec![loopback(ports.https_port)],
            http: vec![loopback(ports.http_port)],
            addresses: vec![loopback(0).ip()],
            public_https_port: ports.https_port,
        },
        dns: Dns {
            listen: vec![loopback(ports.dns_port)],
        },
        api: Api {
            listen: loopback(ports.dashboard_port),
            public_host: None,
        },
        metrics: Metrics {
            listen: Some(loopback(ports.metrics_port)),
        },
        checks: Checks { every_hours: 0 },
        log: Log::default(),
    }
}

fn log_file(data: &Path, process: &str) -> PathBuf {
    data.join(format!("{process}.log"))
}

async fn end(process: &mut Child) {
    if let Some(pid) = process.id() {
        let _ = Process::new("kill")
            .args(["-TERM", &pid.to_string()])
            .status()
            .await;
    }
    if tokio::time::timeout(END_PATIENCE, process.wait())
        .await
        .is_err()
    {
        let _ = process.kill().await;
    }
}

/// The public name: under `localhost`, which browsers resolve by themselves.
pub(super) const HOST: &str = "garagem-01.localhost";
const END_PATIENCE: Duration = Duration::from_secs(5);
