//! The parts of a controller, each as a task over what was bound for it. They end when their token is cancelled.

use std::sync::Arc;

use malha_dns::DnsServer;
use malha_proto::{HostName, Revision};
use malha_proxy::{ControlHandoff, Edge, InternalHosts, RouteTable};
use malha_zone::Zones;
use rustls::ServerConfig;
use time::OffsetDateTime;
use tokio::net::TcpListener;
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::certificates::Certificates;
use super::listeners::Listeners;
use crate::api::{self, ApiContext};
use crate::config::Config;
use crate::console::ControllerConsole;
use crate::hub::{Hub, Prepared, Prober};
use crate::metrics::Metrics;
use crate::publish::Publisher;
use crate::session::{ControlListener, SessionContext, dispatch};
use crate::sweep;

pub(super) struct Parts {
    pub(super) tasks: TaskTracker,
    pub(super) context: Arc<SessionContext>,
    pub(super) hub: Arc<Hub>,
    pub(super) certificates: Certificates,
    pub(super) api: ApiContext,
    pub(super) console: Arc<ControllerConsole>,
    pub(super) stop: CancellationToken,
}

impl Parts {
    pub(super) fn spawn(
        self,
        config: &Config,
        listeners: Listeners,
        control: ControlListener,
        prepared: Prepared,
        published: watch::Sender<Revision>,
    ) {
        let (routes, routes_out) = watch::channel(Arc::new(RouteTable::default()));
        let (zones, zones_out) = watch::channel(Arc::new(Zones::default()));
        let own_hosts: Vec<HostName> = config.api.public_host.iter().cloned().collect();
        let internal = internal_hosts(&own_hosts, &listeners.behind_edge);
        let metrics = self.metrics(&listeners);
        let publisher = Publisher {
            handle: self.context.handle.clone(),
            live: self.context.live.clone(),
            certificates: self.certificates.edge.clone(),
            own_hosts,
            routes,
            zones,
            published,
        };
        // Before anything is served: whoever waits since before the start must find its route.
        self.tasks.spawn(publisher.start(self.stop.clone()));
        self.spawn_loops();
        let [control_ended, edge_ended] = [(); 2].map(|()| CancellationToken::new());
        let ended = [control_ended.clone(), edge_ended.clone()];
        let handoff = self.spawn_control(control, listeners.handoff_tls(), ended);
        let ended = edge_ended.clone();
        self.spawn_edge(listeners.edge, routes_out, handoff, internal, ended);
        self.spawn_hub(prepared, control_ended, edge_ended.clone());
        if let Some(dns) = listeners.dns {
            self.spawn_dns(dns, zones_out);
        }
        self.spawn_pages(listeners.api, false, self.stop.clone());
        self.spawn_pages(listeners.behind_edge, true, edge_ended);
        if let Some(listener) = listeners.metrics {
            self.tasks.spawn(metrics.serve(listener, self.stop));
        }
    }

    fn metrics(&self, listeners: &Listeners) -> Metrics {
        Metrics {
            handle: self.context.handle.clone(),
            live: self.context.live.clone(),
            registry: self.context.registry.clone(),
            edge: listeners.edge.counters(),
            dns: listeners.dns.as_ref().map(DnsServer::counters),
            store: self.api.store.clone(),
            tunnel: self.hub.tunnel(),
        }
    }

    /// What listens to nobody outside.
    fn spawn_loops(&self) {
        let Self { tasks, context, .. } = self;
        let stop = || self.stop.clone();
        let (checks, pairs, carriers) = (
            self.api.checks.clone(),
            context.pairs.clone(),
            context.carriers.clone(),
        );
        let prober = Prober {
            hub: self.hub.clone(),
            handle: context.handle.clone(),
            live: context.live.clone(),
        };
        let token = stop();
        tasks.spawn(async move { checks.run(token).await });
        let token = stop();
        tasks.spawn(async move { pairs.run(token).await });
        let token = stop();
        tasks.spawn(async move { carriers.run(token).await });
        tasks.spawn(self.console.clone().run(stop()));
        tasks.spawn(dispatch(context.clone()));
        tasks.spawn(prober.run(stop()));
        tasks.spawn(
            self.certificates
                .clone()
                .renew(OffsetDateTime::now_utc, stop()),
        );
        tasks.spawn(sweep::sweep(context.handle.clone(), stop()));
    }

    /// The control channel says goodbye by the hub's sockets, and the edge has its last requests answered through the tunnel: it
    /// stays as long as both.
    fn spawn_hub(
        &self,
        prepared: Prepared,
        control_ended: CancellationToken,
        edge_ended: CancellationToken,
    ) {
        let (hub, stop) = (self.hub.clone(), self.stop.clone());
        self.tasks.spawn(async move {
            let last = async {
                tokio::join!(control_ended.cancelled(), edge_ended.cancelled());
            };
            hub.run(prepared, stop, last).await;
        });
    }

    /// Gives the edge's way to the control channel. Its streams are a way of the edge, so they stay as long as that.
    fn spawn_control(
        &self,
        control: ControlListener,
        tls: Arc<ServerConfig>,
        [ended, edge_ended]: [CancellationToken; 2],
    ) -> ControlHandoff {
        let (streams, handed_over) = mpsc::channel(HANDOFF_CAPACITY);
        let context = self.context.clone();
        self.tasks.spawn(async move {
            let _ended = ended.drop_guard();
            control.run(context, handed_over, edge_ended).await;
        });
        ControlHandoff {
            config: tls,
            streams,
        }
    }

    fn spawn_edge(
        &self,
        edge: Edge,
        routes: watch::Receiver<Arc<RouteTable>>,
        handoff: ControlHandoff,
        internal: InternalHosts,
        ended: CancellationToken,
    ) {
        let edge = edge.run(
            routes,
            self.certificates.edge.clone(),
            self.hub.clone(),
            Some(handoff),
            Some(internal),
            self.stop.clone(),
        );
        self.tasks.spawn(async move {
            let _ended = ended.drop_guard();
            if let Err(error) = edge.await {
                tracing::error!(%error, "the edge ended");
            }
        });
    }

    fn spawn_dns(&self, dns: DnsServer, zones: watch::Receiver<Arc<Zones>>) {
        let answering = dns.run(zones, self.stop.clone());
        self.tasks.spawn(async move {
            if let Err(error) = answering.await {
                tracing::error!(%error, "the DNS server ended");
            }
        });
    }

    /// Nobody comes any more once `last` is cancelled.
    fn spawn_pages(&self, listener: TcpListener, secure_cookies: bool, last: CancellationToken) {
        let pages = malha_web::WebConfig {
            secure_cookies,
            ..malha_web::WebConfig::default()
        };
        let pages = malha_web::router(self.console.clone(), pages);
        let router = api::router(self.api.clone()).merge(pages);
        let stop = self.stop.clone();
        self.tasks
            .spawn(api::serve(listener, router, secure_cookies, [stop, last]));
    }
}

/// The controller's own public names lead to the dashboard.
fn internal_hosts(own: &[HostName], dashboard: &TcpListener) -> InternalHosts {
    let dashboard = dashboard.local_addr().ok();
    let hosts = own
        .iter()
        .filter_map(|host| Some((host.as_str().parse().ok()?, dashboard?)));
    InternalHosts::new(hosts.collect::<Vec<_>>())
}

const HANDOFF_CAPACITY: usize = 1_024;
