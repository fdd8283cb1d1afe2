//! One controller as one process: opens the data folder, binds every listener, starts the parts, and ends them in order.

mod settle;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use malha_dns::DnsServer;
use malha_pki::{EdgeCertificates, server_config_control};
use malha_proto::{Fingerprint, HostName, NodeId, Revision, WgKey};
use malha_proxy::{ControlHandoff, Edge, EdgeConfig, InternalHosts, RouteTable};
use malha_zone::Zones;
use time::OffsetDateTime;
use tokio::net::TcpListener;
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::accounts::Sessions;
use crate::api::{self, ApiContext, HubStatus};
use crate::carriers::Carriers;
use crate::checks::{Checks, ChecksContext, History};
use crate::config::Config;
use crate::console::ControllerConsole;
use crate::coordinator::{Coordinator, Handle};
use crate::folder::{self, Folder};
use crate::hub::{self, Hub, HubPorts, Prober};
use crate::live::Live;
use crate::metrics::Metrics;
use crate::pairs::Pairs;
use crate::publish::Publisher;
use crate::rate::RateLimit;
use crate::session::{
    ControlListener, ENROLMENT_BURST, ENROLMENT_INTERVAL_MS, Registry, SessionContext, dispatch,
};
use crate::sweep;

use settle::settle;

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
    tasks: TaskTracker,
}

/// Where everything listens, port 0 resolved.
#[derive(Clone, Debug)]
pub struct Addresses {
    pub control: Vec<SocketAddr>,
    pub hub: Vec<SocketAddr>,
    pub https: Vec<SocketAddr>,
    pub http: Vec<SocketAddr>,
    pub dns: Vec<SocketAddr>,
    pub api: SocketAddr,
    pub metrics: Option<SocketAddr>,
}

impl Addresses {
    /// The TCP ports, by the keys that name them.
    fn hub_ports(&self) -> HubPorts {
        let named = |key: &'static str, all: &[SocketAddr]| -> Vec<_> {
            all.iter().map(|address| (key, *address)).collect()
        };
        HubPorts::new(
            [
                named("edge.https", &self.https),
                named("edge.http", &self.http),
                named("dns.listen", &self.dns),
                named("api.listen", &[self.api]),
                named("metrics.listen", self.metrics.as_slice()),
            ]
            .concat(),
        )
    }
}

/// Serves until `stop`, then drains.
pub async fn run(config: Config, stop: CancellationToken) -> anyhow::Result<()> {
    let running = start(&config, stop.clone()).await?;
    tracing::info!(
        control = ?running.addresses.control,
        https = ?running.addresses.https,
        dns = ?running.addresses.dns,
        api = %running.addresses.api,
        engine = %running.engine,
        revision = %running.handle.state().revision(),
        "malha serves"
    );
    stop.cancelled().await;
    running.finish().await;
    Ok(())
}

/// Starts every part. On an error nothing keeps running.
pub async fn start(config: &Config, stop: CancellationToken) -> anyhow::Result<Running> {
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
    // The coordinator outlives the others by a moment, so that their last commands are still answered.
    let writer_stop = CancellationToken::new();
    tasks.spawn(coordinator.run(writer_stop.clone()));
    let engine = hub::choose_engine(config.hub.engine);
    let hub_node = settle(
        config,
        &handle,
        WgKey(*hub_key.public_key().as_bytes()),
        overlay.fingerprint(),
        hub::public_endpoints(config, engine),
    )
    .await?;

    let bound = Bound::bind(config, &overlay).await?;
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
    let started = Hub::start(
        config,
        engine,
        hub_key,
        hub_node,
        handle.clone(),
        live.clone(),
        pairs.clone(),
    );
    let hub = Arc::new(started.map_err(|error| hub::explained(config, error))?);
    let sides = hub.take_quic().await?;
    let control = match sides.is_empty() {
        true => ControlListener::bind(&config.control.listen, bound.control_tls.clone())?,
        false => ControlListener::on_tunnel(sides, bound.control_tls.clone())?,
    };
    let certificates = Arc::new(EdgeCertificates::new(
        edge_authority.clone(),
        EDGE_CERTIFICATE_DAYS,
    ));
    let context = Arc::new(SessionContext {
        handle: handle.clone(),
        live: live.clone(),
        registry: registry.clone(),
        pairs: pairs.clone(),
        carriers: Arc::new(Carriers::new(hub.tunnel(), handle.clone())),
        streams: hub.streams(),
        authority: overlay.clone(),
        enrolments: RateLimit::new(ENROLMENT_BURST, ENROLMENT_INTERVAL_MS),
        stop: stop.clone(),
    });
    let (published, served) = watch::channel(Revision::default());
    let running = Running {
        handle: handle.clone(),
        live: live.clone(),
        registry: registry.clone(),
        hub: hub_node,
        engine,
        addresses: bound.addresses(control.local_addrs(), hub.listen_addrs().await)?,
        edge_authority_pem: edge_authority.certificate_pem().to_owned(),
        overlay_authority: overlay.fingerprint(),
        published: served,
        store: store.clone(),
        stop: stop.clone(),
        tasks: tasks.clone(),
    };
    let every_s = u64::from(config.checks.every_hours) * 3_600;
    let checks = Arc::new(Checks::new(ChecksContext {
        handle: handle.clone(),
        registry: registry.clone(),
        live: live.clone(),
        hub: Some(hub.clone()),
        authority: overlay.clone(),
        history: Arc::new(History::open(&folder::checks_dir(&config.data))?),
        public_https_port: config.edge.public_https_port,
        every: (every_s > 0).then(|| Duration::from_secs(every_s)),
    }));
    let api = ApiContext {
        handle: handle.clone(),
        live: live.clone(),
        registry: registry.clone(),
        pairs: pairs.clone(),
        store: store.clone(),
        audit_dir: folder::audit_dir(&config.data),
        authority: overlay.fingerprint(),
        hub: HubStatus {
            engine: engine.to_string(),
            wireguard: running.addresses.hub.clone(),
            quic: running.addresses.control.clone(),
        },
        checks,
        started_ms: crate::clock::now_ms(),
        hub_ports: Arc::new(running.addresses.hub_ports()),
    };
    let sessions = Arc::new(Sessions::new()?);
    let console = Arc::new(ControllerConsole::new(
        &api,
        sessions,
        config.edge.public_https_port,
    ));
    bound.spawn(
        config,
        Parts {
            tasks: &tasks,
            control,
            context,
            hub,
            certificates,
            published,
            api,
            console,
            stop: stop.clone(),
        },
    );
    tasks.spawn(sweep::sweep(handle, stop.clone()));
    tasks.spawn(async move {
        stop.cancelled().await;
        tokio::time::sleep(WRITER_GRACE).await;
        writer_stop.cancel();
    });
    tasks.close();
    guard.disarm();
    Ok(running)
}

impl Running {
    /// Stops every part and waits for it, at most [`DRAIN`].
    pub async fn finish(self) {
        self.stop.cancel();
        if tokio::time::timeout(DRAIN, self.tasks.wait())
            .await
            .is_err()
        {
            tracing::warn!("some parts did not end in time");
        }
        if let Err(error) = self.store.close().await {
            tracing::error!(%error, "closing the store");
        }
    }
}

/// Every listener but the hub's, before anything is served.
struct Bound {
    control_tls: rustls::ServerConfig,
    edge: Edge,
    dns: Option<DnsServer>,
    api: TcpListener,
    /// The dashboard for the edge: the same pages with cookies that are Secure.
    behind_edge: TcpListener,
    metrics: Option<TcpListener>,
}

/// What the listeners serve.
struct Parts<'a> {
    tasks: &'a TaskTracker,
    control: ControlListener,
    context: Arc<SessionContext>,
    hub: Arc<Hub>,
    certificates: Arc<EdgeCertificates>,
    published: watch::Sender<Revision>,
    api: ApiContext,
    console: Arc<ControllerConsole>,
    stop: CancellationToken,
}

impl Bound {
    async fn bind(config: &Config, overlay: &malha_pki::Authority) -> anyhow::Result<Self> {
        let certificate =
            overlay.issue_controller(&[], OffsetDateTime::now_utc(), CONTROL_CERTIFICATE_DAYS)?;
        let control_tls = server_config_control(overlay, &certificate)?;
        let edge = EdgeConfig {
            http: config.edge.http.clone(),
            ..EdgeConfig::new(config.edge.https.clone(), config.edge.public_https_port)
        };
        let tcp = async |address: SocketAddr, key: &str| {
            TcpListener::bind(address)
                .await
                .with_context(|| format!("TCP {address} can't be had; free it or change {key}"))
        };
        Ok(Self {
            control_tls,
            edge: Edge::bind(edge).context("edge.https and edge.http")?,
            dns: match config.dns.listen.as_slice() {
                [] => None,
                addresses => Some(
                    DnsServer::bind(addresses, malha_dns::Limits::default())
                        .context("dns.listen")?,
                ),
            },
            api: tcp(config.api.listen, "api.listen").await?,
            behind_edge: tcp(
                SocketAddr::from(([127, 0, 0, 1], 0)),
                "nothing: any loopback port will do",
            )
            .await?,
            metrics: match config.metrics.listen {
                Some(address) => Some(tcp(address, "metrics.listen").await?),
                None => None,
            },
        })
    }

    fn addresses(
        &self,
        control: Vec<SocketAddr>,
        hub: Vec<SocketAddr>,
    ) -> anyhow::Result<Addresses> {
        let edge = self.edge.local_addrs();
        Ok(Addresses {
            control,
            hub,
            https: edge.https,
            http: edge.http,
            dns: self
                .dns
                .as_ref()
                .map(DnsServer::local_addrs)
                .unwrap_or_default(),
            api: self.api.local_addr()?,
            metrics: self
                .metrics
                .as_ref()
                .map(TcpListener::local_addr)
                .transpose()?,
        })
    }

    fn spawn(self, config: &Config, parts: Parts<'_>) {
        let Parts {
            tasks,
            control,
            context,
            hub,
            certificates,
            published,
            api,
            console,
            stop,
        } = parts;
        let (handle, live) = (context.handle.clone(), context.live.clone());
        let (routes, routes_out) = watch::channel(Arc::new(RouteTable::default()));
        let (zones, zones_out) = watch::channel(Arc::new(Zones::default()));
        let own_hosts: Vec<HostName> = config.api.public_host.iter().cloned().collect();
        let behind_edge = self.behind_edge.local_addr().ok();
        let internal = own_hosts
            .iter()
            .filter_map(|host| Some((host.as_str().parse().ok()?, behind_edge?)));
        let internal = InternalHosts::new(internal.collect::<Vec<_>>());
        let (handed_over, control_streams) = mpsc::channel(HANDOFF_CAPACITY);
        let mut tcp_tls = self.control_tls;
        tcp_tls.alpn_protocols.push(CARRIER_ALPN.to_vec());
        let handoff = ControlHandoff {
            config: Arc::new(tcp_tls),
            streams: handed_over,
        };
        let publisher = Publisher {
            handle: handle.clone(),
            live: live.clone(),
            certificates: certificates.clone(),
            own_hosts,
            routes,
            zones,
            published,
        };
        let metrics = Metrics {
            handle: handle.clone(),
            live: live.clone(),
            registry: context.registry.clone(),
            edge: self.edge.counters(),
            dns: self.dns.as_ref().map(DnsServer::counters),
            store: api.store.clone(),
            tunnel: hub.tunnel(),
        };
        let prober = Prober {
            hub: hub.clone(),
            handle: handle.clone(),
            live,
        };
        tasks.spawn({
            let (checks, stop) = (api.checks.clone(), stop.clone());
            async move { checks.run(stop).await }
        });
        tasks.spawn(console.clone().run(stop.clone()));
        tasks.spawn(publisher.run(stop.clone()));
        tasks.spawn({
            let (pairs, stop) = (context.pairs.clone(), stop.clone());
            async move { pairs.run(stop).await }
        });
        tasks.spawn({
            let (carriers, stop) = (context.carriers.clone(), stop.clone());
            async move { carriers.run(stop).await }
        });
        tasks.spawn(dispatch(context.clone()));
        // The control channel says goodbye by the hub's sockets, so they stay as long.
        let hub_stop = CancellationToken::new();
        tasks.spawn({
            let ended = hub_stop.clone().drop_guard();
            async move {
                control.run(context, control_streams).await;
                drop(ended);
            }
        });
        tasks.spawn(renew_certificates(certificates.clone(), stop.clone()));
        tasks.spawn(prober.run(stop.clone()));
        let dialer = hub.clone();
        tasks.spawn(async move { hub.run(hub_stop).await });
        let edge = self.edge.run(
            routes_out,
            certificates,
            dialer,
            Some(handoff),
            Some(internal),
            stop.clone(),
        );
        tasks.spawn(async move {
            if let Err(error) = edge.await {
                tracing::error!(%error, "the edge ended");
            }
        });
        if let Some(dns) = self.dns {
            let answering = dns.run(zones_out, stop.clone());
            tasks.spawn(async move {
                if let Err(error) = answering.await {
                    tracing::error!(%error, "the DNS server ended");
                }
            });
        }
        for (listener, secure_cookies) in [(self.api, false), (self.behind_edge, true)] {
            let router = api::router(api.clone()).merge(malha_web::router(
                console.clone(),
                malha_web::WebConfig {
                    secure_cookies,
                    ..malha_web::WebConfig::default()
                },
            ));
            tasks.spawn(api::serve(listener, router, secure_cookies, stop.clone()));
        }
        if let Some(listener) = self.metrics {
            tasks.spawn(metrics.serve(listener, stop));
        }
    }
}

async fn renew_certificates(certificates: Arc<EdgeCertificates>, stop: CancellationToken) {
    loop {
        tokio::select! {
            () = tokio::time::sleep(RENEWAL_INTERVAL) => {}
            () = stop.cancelled() => return,
        }
        if let Err(error) = certificates.renew_due(OffsetDateTime::now_utc()) {
            tracing::error!(%error, "edge certificates were not renewed");
        }
    }
}

/// Issued at each start of the controller.
const CONTROL_CERTIFICATE_DAYS: u16 = 800;
const EDGE_CERTIFICATE_DAYS: u16 = 90;
/// A carrier begins as an HTTP request.
const CARRIER_ALPN: &[u8] = b"http/1.1";
const HANDOFF_CAPACITY: usize = 1_024;
const RENEWAL_INTERVAL: Duration = Duration::from_secs(6 * 60 * 60);
const WRITER_GRACE: Duration = Duration::from_millis(500);
const DRAIN: Duration = Duration::from_secs(15);
