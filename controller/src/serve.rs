//! One controller as one process: opens the data folder, binds every listener, starts the parts, and ends them in order.

mod certificates;
mod doors;
mod listeners;
mod parts;
mod settle;

use std::sync::Arc;
use std::time::Duration;

use malha_node::descriptors::raise_limit;
use malha_node::kept::Kept;
use malha_node::notify::Notifier;
use malha_pki::{ControlCertificate, EdgeCertificates};
use malha_proto::{Fingerprint, NodeId, Revision, WgKey};
use malha_tunnel::Keeper;
use time::OffsetDateTime;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::TaskTracker;

use crate::accounts::Sessions;
use crate::api::{ApiContext, HubStatus};
use crate::carriers::Carriers;
use crate::checks::{Checks, ChecksContext, History};
use crate::config::Config;
use crate::console::ControllerConsole;
use crate::coordinator::{Coordinator, Handle};
use crate::folder::{self, Folder};
use crate::hub::{self, Hub, HubParts};
use crate::live::Live;
use crate::pairs::Pairs;
use crate::session::{Registry, SessionContext, SessionLimits};

use certificates::Certificates;
use doors::Doors;
use listeners::Listeners;
use parts::Parts;
use settle::settle;

pub use listeners::Addresses;
pub use settle::OWN_ORGANIZATION;

/// A controller that runs; its parts end when its token is cancelled.
pub struct Running {
    pub handle: Handle,
    pub live: Arc<Live>,
    pub registry: Arc<Registry>,
    pub hub: NodeId,
    pub engine: malha_tunnel::Engine,
    pub addresses: Addresses,
    /// The authority behind the edge's certificates, PEM.
    pub edge_authority_pem: String,
    pub overlay_authority: Fingerprint,
    /// The newest revision that edge and DNS serve.
    pub published: watch::Receiver<Revision>,
    store: Arc<dyn malha_store::Store>,
    stop: CancellationToken,
    /// Cancelled when the hub's tunnel has ended by itself.
    hub_lost: CancellationToken,
    /// All but the coordinator.
    tasks: TaskTracker,
    /// Ends the coordinator when it is dropped.
    writer: DropGuard,
    writing: JoinHandle<()>,
}

/// Serves until `stop`, then drains. A service manager is told how it goes and keeps the sockets for the next start.
pub async fn run(config: Config, stop: CancellationToken) -> anyhow::Result<()> {
    raise_limit();
    let notifier = Notifier::from_env();
    let keeper: Arc<dyn Keeper> = Arc::new(Kept::from_env());
    let running = start(&config, Some(keeper), stop.clone()).await?;
    notifier.ready();
    tracing::info!(
        control = ?running.addresses.control,
        https = ?running.addresses.https,
        dns = ?running.addresses.dns,
        api = %running.addresses.api,
        engine = %running.engine,
        revision = %running.handle.state().revision(),
        "malha serves"
    );
    let lost = running.hub_lost.clone();
    tokio::select! {
        () = stop.cancelled() => {}
        () = lost.cancelled() => {}
    }
    notifier.stopping();
    running.finish().await;
    anyhow::ensure!(
        !lost.is_cancelled(),
        "the hub's tunnel ended by itself, and nothing reaches a node without it: was its interface removed? Start the controller again"
    );
    Ok(())
}

/// Starts every part, with the sockets that are kept from the last run. On an error nothing keeps running.
pub async fn start(
    config: &Config,
    keeper: Option<Arc<dyn Keeper>>,
    stop: CancellationToken,
) -> anyhow::Result<Running> {
    let guard = stop.clone().drop_guard();
    let Folder {
        store,
        state,
        audit,
        overlay,
        edge: edge_authority,
        master,
        epochs,
        pair_epochs,
        hub_key,
    } = folder::open(&config.data, &config.master_key_file()).await?;
    let (overlay, edge_authority) = (Arc::new(overlay), Arc::new(edge_authority));
    let tasks = TaskTracker::new();
    let (coordinator, handle) = Coordinator::new(state, store.clone(), audit);
    // The coordinator outlives the others, so that their last commands are still answered.
    let writer_stop = CancellationToken::new();
    let writing = tokio::spawn(coordinator.run(writer_stop.clone()));
    let writer = writer_stop.drop_guard();
    let engine = hub::choose_engine(config.hub.engine);
    let hub_node = settle(
        config,
        &handle,
        WgKey(*hub_key.public_key().as_bytes()),
        overlay.fingerprint(),
        hub::public_endpoints(config, engine),
    )
    .await?;

    let doors = Doors::new(config, engine, keeper.clone());
    let now = OffsetDateTime::now_utc();
    let control = ControlCertificate::issue(overlay.clone(), CONTROL_CERTIFICATE_DAYS, now)?;
    let certificates = Certificates {
        control: Arc::new(control),
        edge: Arc::new(EdgeCertificates::new(
            edge_authority.clone(),
            EDGE_CERTIFICATE_DAYS,
        )),
    };
    let listeners = Listeners::bind(config, certificates.control.clone(), &doors)?;
    let live = Arc::new(Live::new());
    let registry = Arc::new(Registry::default());
    let pairs = Arc::new(Pairs::new(
        epochs,
        pair_epochs,
        master,
        hub_node,
        handle.clone(),
        registry.clone(),
    ));
    let parts = HubParts {
        key: hub_key,
        node: hub_node,
        handle: handle.clone(),
        live: live.clone(),
        pairs: pairs.clone(),
        keeper,
    };
    let started = Hub::start(config, engine, parts);
    let hub = Arc::new(started.map_err(|error| hub::explained(config, error))?);
    let control = listeners.control(config, &hub, &doors).await?;
    let context = Arc::new(SessionContext {
        handle: handle.clone(),
        live: live.clone(),
        registry: registry.clone(),
        pairs,
        carriers: Arc::new(Carriers::new(hub.tunnel(), handle.clone())),
        streams: hub.streams(),
        authority: overlay,
        limits: SessionLimits::default(),
        stop: stop.clone(),
    });
    let (published, served) = watch::channel(Revision::default());
    let running = Running {
        handle,
        live,
        registry,
        hub: hub_node,
        engine,
        addresses: listeners.addresses(control.local_addrs(), hub.listen_addrs().await)?,
        edge_authority_pem: edge_authority.certificate_pem().to_owned(),
        overlay_authority: context.authority.fingerprint(),
        published: served,
        store,
        stop: stop.clone(),
        hub_lost: hub.lost(),
        tasks: tasks.clone(),
        writer,
        writing,
    };
    let checks = checks(config, &context, hub.clone())?;
    let api = api_context(config, &running, &context, checks);
    let sessions = Arc::new(Sessions::new()?);
    let https_port = config.edge.public_https_port;
    let console = Arc::new(ControllerConsole::new(&api, sessions, https_port));
    let parts = Parts {
        tasks: tasks.clone(),
        context,
        hub: hub.clone(),
        certificates,
        api,
        console,
        stop: stop.clone(),
    };
    let prepared = hub.prepare().await;
    parts.spawn(config, listeners, control, prepared, published);
    tasks.close();
    guard.disarm();
    Ok(running)
}

fn checks(config: &Config, context: &SessionContext, hub: Arc<Hub>) -> anyhow::Result<Arc<Checks>> {
    let every_s = u64::from(config.checks.every_hours) * 3_600;
    Ok(Arc::new(Checks::new(ChecksContext {
        handle: context.handle.clone(),
        registry: context.registry.clone(),
        live: context.live.clone(),
        hub: Some(hub),
        authority: context.authority.clone(),
        history: Arc::new(History::open(&folder::checks_dir(&config.data))?),
        public_https_port: config.edge.public_https_port,
        every: (every_s > 0).then(|| Duration::from_secs(every_s)),
    })))
}

fn api_context(
    config: &Config,
    running: &Running,
    context: &SessionContext,
    checks: Arc<Checks>,
) -> ApiContext {
    ApiContext {
        handle: context.handle.clone(),
        live: context.live.clone(),
        registry: context.registry.clone(),
        pairs: context.pairs.clone(),
        store: running.store.clone(),
        audit_dir: folder::audit_dir(&config.data),
        authority: running.overlay_authority,
        hub: HubStatus {
            engine: running.engine.to_string(),
            wireguard: running.addresses.hub.clone(),
            quic: running.addresses.control.clone(),
            ..HubStatus::default()
        },
        checks,
        started_ms: crate::clock::now_ms(),
        hub_ports: Arc::new(running.addresses.hub_ports()),
    }
}

impl Running {
    /// Stops every part and waits for it, at most [`DRAIN`].
    pub async fn finish(self) {
        self.stop.cancel();
        let ended = async {
            self.tasks.wait().await;
            drop(self.writer);
            self.writing.await
        };
        match tokio::time::timeout(DRAIN, ended).await {
            Ok(Ok(())) => {}
            Ok(Err(failure)) => tracing::error!(%failure, "the coordinator ended badly"),
            Err(_) => tracing::warn!("some parts did not end in time"),
        }
        if let Err(error) = self.store.close().await {
            tracing::error!(%error, "closing the store");
        }
    }
}

const CONTROL_CERTIFICATE_DAYS: u16 = 800;
const EDGE_CERTIFICATE_DAYS: u16 = 90;
const DRAIN: Duration = Duration::from_secs(15);
