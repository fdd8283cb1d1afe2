//! The edge: binds the public ports, admits connections and hands each to TLS and HTTP. Decides nothing about requests.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use rustls::server::ResolvesServerCert;
use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio::time::{Instant, MissedTickBehavior, interval, sleep, timeout, timeout_at};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::activity::Activity;
use crate::admission::{Admission, Admitted};
use crate::candidates::Canaries;
use crate::config::{ControlHandoff, EdgeConfig, InternalHosts};
use crate::counters::EdgeCounters;
use crate::dial::Dialer;
use crate::exchange::Exchange;
use crate::gateway::{ClientLink, Gateway, Scheme};
use crate::origin::{Pool, sweep_interval};
use crate::route::RouteTable;
use crate::serve::{HttpDoor, Stop};
use crate::tls::TlsDoor;

/// The public side of a node: HTTPS in, HTTP through the tunnel out.
///
/// [`Edge::bind`] opens the listeners, so that ports below 1024 can be had before privileges are dropped;
/// [`Edge::run`] serves until it is cancelled, then finishes the requests under way within the drain limit.
pub struct Edge {
    config: EdgeConfig,
    https: Vec<TcpListener>,
    http: Vec<TcpListener>,
    counters: Arc<EdgeCounters>,
}

/// Why an edge can't start.
#[derive(Debug, thiserror::Error)]
pub enum EdgeError {
    #[error("can't listen on {address}: {source}")]
    Bind {
        address: SocketAddr,
        source: io::Error,
    },
    #[error("can't set up TLS for the edge: {0}")]
    Tls(rustls::Error),
}

/// Where an edge listens, as bound (port 0 resolved), in the order of the configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LocalAddrs {
    pub https: Vec<SocketAddr>,
    pub http: Vec<SocketAddr>,
}

impl Edge {
    /// Must be called inside a tokio runtime.
    pub fn bind(config: EdgeConfig) -> Result<Self, EdgeError> {
        Self::bind_by(config, listen)
    }

    /// The same with listeners that come from somewhere else, like [`listen`]'s.
    pub fn bind_by(
        config: EdgeConfig,
        open: impl Fn(SocketAddr) -> io::Result<std::net::TcpListener>,
    ) -> Result<Self, EdgeError> {
        let bind = |address: &SocketAddr| {
            let address = *address;
            let listener = open(address).and_then(TcpListener::from_std);
            listener.map_err(|source| EdgeError::Bind { address, source })
        };
        let https = config.https.iter().map(bind).collect::<Result<_, _>>()?;
        let http = config.http.iter().map(bind).collect::<Result<_, _>>()?;
        Ok(Self {
            config,
            https,
            http,
            counters: Arc::default(),
        })
    }

    pub fn local_addrs(&self) -> LocalAddrs {
        let bound = |listeners: &[TcpListener]| {
            let addresses = listeners.iter().map(TcpListener::local_addr);
            addresses.filter_map(Result::ok).collect()
        };
        LocalAddrs {
            https: bound(&self.https),
            http: bound(&self.http),
        }
    }

    pub fn counters(&self) -> Arc<EdgeCounters> {
        Arc::clone(&self.counters)
    }

    /// Serves until `shutdown` is cancelled; every task it started has ended when it returns.
    pub async fn run(
        self,
        routes: watch::Receiver<Arc<RouteTable>>,
        certs: Arc<dyn ResolvesServerCert>,
        dialer: Arc<dyn Dialer>,
        control: Option<ControlHandoff>,
        internal: Option<InternalHosts>,
        shutdown: CancellationToken,
    ) -> Result<(), EdgeError> {
        let counters = self.counters;
        let tls = TlsDoor::new(certs, control, Arc::clone(&counters)).map_err(EdgeError::Tls)?;
        let limits = self.config.limits.clone();
        let tasks = TaskTracker::new();
        let stop = Stop {
            drain: shutdown.clone(),
            cut: CancellationToken::new(),
        };
        let pool = Pool::new(
            dialer,
            limits.clone(),
            Arc::clone(&counters),
            tasks.clone(),
            stop.cut.clone(),
        );
        let gateway = Gateway {
            config: self.config,
            routes,
            internal: internal.unwrap_or_default(),
            canaries: Canaries::default(),
            exchange: Exchange {
                pool: Arc::clone(&pool),
                limits: limits.clone(),
                counters: Arc::clone(&counters),
                cut: stop.cut.clone(),
            },
            counters: Arc::clone(&counters),
            tasks: tasks.clone(),
            drain: stop.drain.clone(),
        };
        let (total, per_source) = (limits.connections, limits.connections_per_source);
        let floor = Arc::new(Floor {
            admission: Admission::new(total, per_source, Arc::clone(&counters) as _),
            handshakes: Semaphore::new(limits.handshakes),
            handshake: limits.handshake,
            tls,
            http: HttpDoor::new(limits.clone(), tasks.clone(), stop.clone()),
            gateway: Arc::new(gateway),
            counters,
            stop: stop.clone(),
            tasks: tasks.clone(),
        });
        let https = self
            .https
            .into_iter()
            .map(|listener| (listener, Port::Https));
        let http = self.http.into_iter().map(|listener| (listener, Port::Http));
        for (listener, port) in https.chain(http) {
            tasks.spawn(Arc::clone(&floor).accept(listener, port));
        }
        sweep_until(&shutdown, &pool, sweep_interval(&limits)).await;
        drain(&tasks, &pool, &stop, limits.drain).await;
        Ok(())
    }
}

#[derive(Clone, Copy, Debug)]
enum Port {
    Https,
    Http,
}

/// What accept loops share.
struct Floor {
    admission: Arc<Admission>,
    handshakes: Semaphore,
    handshake: Duration,
    tls: TlsDoor,
    http: HttpDoor,
    gateway: Arc<Gateway>,
    counters: Arc<EdgeCounters>,
    stop: Stop,
    tasks: TaskTracker,
}

impl Floor {
    async fn accept(self: Arc<Self>, listener: TcpListener, port: Port) {
        loop {
            let accepted = tokio::select! {
                accepted = listener.accept() => accepted,
                () = self.stop.drain.cancelled() => return,
            };
            let (tcp, peer) = match accepted {
                Ok(accepted) => accepted,
                Err(error) => {
                    tracing::warn!(%error, "can't accept a connection");
                    sleep(ACCEPT_BACKOFF).await;
                    continue;
                }
            };
            if let Some(place) = self.admission.admit(peer.ip()) {
                let serve = Arc::clone(&self).serve(tcp, peer, port, place);
                self.tasks.spawn(serve);
            }
        }
    }

    async fn serve(self: Arc<Self>, tcp: TcpStream, peer: SocketAddr, port: Port, place: Admitted) {
        // Without it, small responses wait for the client's delayed acknowledgement.
        let _ = tcp.set_nodelay(true);
        let activity = Activity::new();
        match port {
            Port::Http => {
                let scheme = Scheme::Http;
                let link = link(peer, scheme, activity, place);
                let gateway = Arc::clone(&self.gateway);
                self.http.serve(tcp, false, link, gateway).await;
            }
            Port::Https => {
                let Some(web) = self.handshake(tcp, peer).await else {
                    return;
                };
                let server_name = web.server_name;
                let scheme = Scheme::Https { server_name };
                let link = link(peer, scheme, activity, place);
                let gateway = Arc::clone(&self.gateway);
                self.http.serve(web.stream, web.http2, link, gateway).await;
            }
        }
    }

    async fn handshake(&self, tcp: TcpStream, peer: SocketAddr) -> Option<crate::tls::WebStream> {
        let deadline = Instant::now() + self.handshake;
        let opened = async {
            let _turn = self.handshakes.acquire().await.ok()?;
            Some(self.tls.open(tcp, peer).await)
        };
        // A handshake under way is not given up at once for the end of the edge: its request would be lost with it.
        let opened = tokio::select! {
            opened = timeout_at(deadline, opened) => opened,
            () = self.stop.patience(std::future::pending()) => return None,
            () = self.stop.cut.cancelled() => return None,
        };
        let error = match opened {
            Ok(Some(Ok(web))) => return web,
            Ok(None) => return None,
            Ok(Some(Err(error))) => error,
            Err(_) => io::ErrorKind::TimedOut.into(),
        };
        self.counters.failed_handshakes.add(1);
        tracing::debug!(%peer, %error, "TLS handshake failed");
        None
    }
}

fn link(
    peer: SocketAddr,
    scheme: Scheme,
    activity: Arc<Activity>,
    place: Admitted,
) -> Arc<ClientLink> {
    Arc::new(ClientLink {
        peer,
        scheme,
        activity,
        _place: place,
    })
}

async fn sweep_until(shutdown: &CancellationToken, pool: &Pool, every: Duration) {
    let mut ticks = interval(every);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            _ = ticks.tick() => pool.sweep(),
            () = shutdown.cancelled() => return,
        }
    }
}

/// Lets requests end by themselves, then ends what is left.
async fn drain(tasks: &TaskTracker, pool: &Pool, stop: &Stop, limit: Duration) {
    tasks.close();
    pool.close();
    if timeout(limit, tasks.wait()).await.is_err() {
        tracing::warn!(left = tasks.len(), "requests were cut off at shutdown");
    }
    stop.cut.cancel();
    tasks.wait().await;
}

/// A listener that never blocks. An IPv6 socket takes IPv6 only, so that `0.0.0.0` and `[::]` can be bound side by side.
///
/// # Errors
/// What the kernel says.
pub fn listen(address: SocketAddr) -> io::Result<std::net::TcpListener> {
    let socket = Socket::new(
        Domain::for_address(address),
        Type::STREAM,
        Some(Protocol::TCP),
    )?;
    if address.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

const BACKLOG: i32 = 1024;
/// Pause after a failed accept, which usually means that file descriptors ran out.
const ACCEPT_BACKOFF: Duration = Duration::from_millis(100);
