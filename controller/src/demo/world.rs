//! The demo's world: data folder, controller, node process, garage process, and what an operator would create for them. It
//! uses the public doors only, in the order in which a person would.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use malha_core::{Answer, Command, State};
use malha_proto::{
    EnrolToken, Exposure, Label, NodeId, OrganizationId, Port, Profile, RouteId, ServiceId,
    ServiceKind, SiteId,
};
use tempfile::TempDir;
use tokio::process::{Child, Command as Process};
use tokio_util::sync::CancellationToken;

use super::check::{self, HopResult, Target};
use super::ports::{Ports, loopback};
use super::{Args, check::hop};
use crate::accounts;
use crate::config::{Api, Config, Control, Dns, Edge, EngineChoice, Hub, Log, Metrics};
use crate::coordinator::Actor;
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
        let running = serve::start(&config, stop.child_token()).await?;
        let mut house = House {
            running,
            processes: Vec::new(),
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
}

impl House {
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
    let House {
        running, processes, ..
    } = house;
    let password = first_operator(running).await?;
    let site = site(running).await?;

    let garage_address = loopback(ports.garage_port).to_string();
    processes.push(spawn(
        data,
        "garage",
        &["demo-garage", "--listen", &garage_address],
        None,
    )?);
    let node_state = data.join("node");
    let (token, token_hop) = match running.handle.state().nodes_of(site).next() {
        Some(node) => (None, kept_token(node.id)),
        None => passed(hop("token", token(running, site)).await)
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
    processes.push(spawn(
        data,
        "node",
        &words,
        token.map(|token| token.expose()),
    )?);
    let mut agent = Agent {
        process: processes.last_mut().context("the node's process is gone")?,
        log: log_file(data, "node"),
    };
    let (node, enrol_hop) = passed(hop("enrolment", agent.alive(enrolled(running, site))).await)?;
    let service = publish(running, node, ports).await?;
    served(running).await?;
    let (_, tunnel_hop) = passed(hop("handshake", agent.alive(handshake(running, node))).await)?;
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
        log: Log::default(),
    }
}

async fn submit(running: &Running, command: Command) -> anyhow::Result<Answer> {
    let actor = Actor {
        name: "demo".to_owned(),
        source: None,
    };
    Ok(running.handle.submit(command, actor, None).await?.answer)
}

/// Makes the first operator, or finds that there is one.
async fn first_operator(running: &Running) -> anyhow::Result<Option<String>> {
    if running.handle.state().operator_by_name(OPERATOR).is_some() {
        return Ok(None);
    }
    let password = accounts::random_password()?;
    let password_hash = accounts::hash_password(&password)?;
    let role = malha_core::Role::Owner;
    submit(
        running,
        Command::AddOperator {
            name: OPERATOR.parse()?,
            password_hash,
            role,
        },
    )
    .await?;
    Ok(Some(password))
}

async fn site(running: &Running) -> anyhow::Result<SiteId> {
    let state = running.handle.state();
    let organization = organization(running, &state).await?;
    if let Some(site) = state.site_by_path(&format!("{ORGANIZATION}/{SITE}")) {
        return Ok(site.id);
    }
    let name: Label = SITE.parse()?;
    let display_name = "Garagem 01".to_owned();
    match submit(
        running,
        Command::CreateSite {
            organization,
            name,
            display_name,
        },
    )
    .await?
    {
        Answer::Site(id) => Ok(id),
        other => bail!("creating the site gave {other:?}"),
    }
}

async fn organization(running: &Running, state: &State) -> anyhow::Result<OrganizationId> {
    if let Some(organization) = state.organization_by_name(ORGANIZATION) {
        return Ok(organization.id);
    }
    let name: Label = ORGANIZATION.parse()?;
    let display_name = "Estacionamentos Demo".to_owned();
    match submit(running, Command::CreateOrganization { name, display_name }).await? {
        Answer::Organization(id) => Ok(id),
        other => bail!("creating the organization gave {other:?}"),
    }
}

async fn token(running: &Running, site: SiteId) -> anyhow::Result<(EnrolToken, String)> {
    let command = Command::CreateToken {
        site,
        profile: Profile::Garage,
        uses: 1,
        ttl_s: TOKEN_TTL_S,
    };
    let Answer::Token { id, secret } = submit(running, command).await? else {
        bail!("no token came")
    };
    let controllers = running.handle.state().settings().controllers.clone();
    let token = EnrolToken {
        id,
        secret,
        authority: running.overlay_authority,
        controllers,
    };
    Ok((token, format!("{id}, single use, {} min", TOKEN_TTL_S / 60)))
}

/// On a second run in the same folder the node is enrolled already.
fn kept_token(node: NodeId) -> HopResult {
    HopResult {
        hop: "token",
        ok: true,
        millis: 0,
        detail: format!("not needed, {node} enrolled in a former run"),
    }
}

async fn enrolled(running: &Running, site: SiteId) -> anyhow::Result<(NodeId, String)> {
    let mut state = running.handle.watch();
    let found = state
        .wait_for(|state| state.nodes_of(site).next().is_some())
        .await?;
    let node = found
        .nodes_of(site)
        .next()
        .context("the node is gone again")?;
    Ok((node.id, format!("{} is {}", node.id, node.addresses.v4)))
}

async fn handshake(running: &Running, node: NodeId) -> anyhow::Result<((), String)> {
    let start = Instant::now();
    let mut changes = running.live.changes();
    while running
        .live
        .tunnel(node)
        .and_then(|tunnel| tunnel.handshake_ms)
        .is_none()
    {
        changes.changed().await?;
    }
    Ok((
        (),
        format!("WireGuard, after {} ms", start.elapsed().as_millis()),
    ))
}

/// Names the garage's web server as a service and gives it its public host name, unless a former run did.
async fn publish(running: &Running, node: NodeId, ports: &Ports) -> anyhow::Result<ServiceId> {
    let state = running.handle.state();
    let origin = HOST.split_once('.').map(|(_, zone)| zone).unwrap_or(HOST);
    let origin: malha_zone::ZoneName = origin.parse()?;
    if state.zone(&origin).is_none() {
        let name_servers = vec![format!("ns.{origin}").trim_end_matches('.').parse()?];
        let contact = format!("hostmaster.{origin}")
            .trim_end_matches('.')
            .parse()?;
        submit(
            running,
            Command::AddZone {
                origin,
                name_servers,
                contact,
            },
        )
        .await?;
    }
    let service = match state.services_of(node).next() {
        Some(service) => service.id,
        None => add_service(running, node, ports).await?,
    };
    if !state.routes().any(|route| route.host.as_str() == HOST) {
        add_route(running, service).await?;
    }
    Ok(service)
}

/// Waits until edge and DNS serve what was written.
async fn served(running: &Running) -> anyhow::Result<()> {
    let written = running.handle.state().revision();
    running
        .published
        .clone()
        .wait_for(|served| *served >= written)
        .await?;
    Ok(())
}

async fn add_service(running: &Running, node: NodeId, ports: &Ports) -> anyhow::Result<ServiceId> {
    let command = Command::AddService {
        node,
        name: "web".parse()?,
        port: Port::new(80).context("port 80")?,
        target: loopback(ports.garage_port),
        kind: ServiceKind::Http,
        exposure: Exposure::Public,
    };
    match submit(running, command).await? {
        Answer::Service(id) => Ok(id),
        other => bail!("adding the service gave {other:?}"),
    }
}

async fn add_route(running: &Running, service: ServiceId) -> anyhow::Result<RouteId> {
    let command = Command::AddRoute {
        host: HOST.parse()?,
        path: "/".to_owned(),
        services: [service].into_iter().collect(),
    };
    match submit(running, command).await? {
        Answer::Route(id) => Ok(id),
        other => bail!("adding the route gave {other:?}"),
    }
}

/// Starts this very program as another process. A token goes by the environment, where the process list does not show it.
fn spawn(data: &Path, name: &str, words: &[&str], token: Option<String>) -> anyhow::Result<Child> {
    let log = std::fs::File::create(log_file(data, name))?;
    let mut process = Process::new(std::env::current_exe()?);
    process
        .args(words)
        .stdin(Stdio::null())
        .stdout(Stdio::from(log.try_clone()?))
        .stderr(Stdio::from(log));
    process.kill_on_drop(true).process_group(0);
    if let Some(token) = token {
        process.env("MALHA_TOKEN", token);
    }
    process
        .spawn()
        .with_context(|| format!("starting the {name} process"))
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
const OPERATOR: &str = "admin";
const ORGANIZATION: &str = "demo";
const SITE: &str = "garagem-01";
const TOKEN_TTL_S: u64 = 600;
const END_PATIENCE: Duration = Duration::from_secs(5);
