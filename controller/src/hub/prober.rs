//! Probes each service through the real path: hub, tunnel (or the stream beside it), node, target. What it met is the truth about a service; the
//! control channel's word is not.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::StreamExt;
use futures_util::stream;
use http_body_util::Empty;
use hyper::Request;
use hyper_util::rt::TokioIo;
use malha_core::State;
use malha_proto::{NodeId, PathProbe, ServiceId, ServiceKind};
use malha_proxy::Dialer;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::{MissedTickBehavior, interval, timeout};
use tokio_util::sync::CancellationToken;

use crate::clock::now_ms;
use crate::coordinator::Handle;
use crate::hub::Hub;
use crate::live::Live;

/// The prober of one hub.
pub struct Prober {
    pub hub: Arc<Hub>,
    pub handle: Handle,
    pub live: Arc<Live>,
}

enum Job {
    Service(Probe),
    /// Any service of the node will do: a refusal comes through the tunnel as well.
    Tunnel(NodeId, SocketAddr),
}

/// One service to probe.
struct Probe {
    node: NodeId,
    service: ServiceId,
    address: SocketAddr,
    kind: ServiceKind,
    host: String,
}

impl Prober {
    /// Probes everything each [`PROBE_INTERVAL`], at most [`PROBES_AT_ONCE`] at a time, until `stop`.
    pub async fn run(self, stop: CancellationToken) {
        let mut rounds = interval(PROBE_INTERVAL);
        rounds.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                _ = rounds.tick() => {}
                () = stop.cancelled() => return,
            }
            let jobs = self.jobs();
            let round =
                stream::iter(jobs).for_each_concurrent(PROBES_AT_ONCE, |job| self.run_job(job));
            tokio::select! {
                () = round => {}
                () = stop.cancelled() => return,
            }
        }
    }

    /// Every service, and the tunnel of each node whose requests go beside it, since nobody else asks whether it carries.
    fn jobs(&self) -> Vec<Job> {
        let mut jobs = Vec::new();
        let mut tunnels = BTreeSet::new();
        for probe in probes(&self.handle.state()) {
            if self.hub.is_beside_tunnel(probe.node) && tunnels.insert(probe.node) {
                jobs.push(Job::Tunnel(probe.node, probe.address));
            }
            jobs.push(Job::Service(probe));
        }
        jobs
    }

    async fn run_job(&self, job: Job) {
        match job {
            Job::Service(probe) => self.probe(probe).await,
            Job::Tunnel(node, address) => self.probe_tunnel(node, address).await,
        }
    }

    async fn probe_tunnel(&self, node: NodeId, address: SocketAddr) {
        let began_ms = now_ms();
        let carries = match self.hub.dial_in_tunnel(address, PROBE_TIMEOUT).await {
            Ok(_) => true,
            Err(error) => failed_dial(&error) == PathProbe::OriginFailed,
        };
        self.live.tunnel_probed(node, carries, began_ms, now_ms());
    }

    async fn probe(&self, probe: Probe) {
        let began_ms = now_ms();
        let met = match self.hub.dial(probe.address, PROBE_TIMEOUT).await {
            Ok(stream) => match probe.kind {
                ServiceKind::Http => http(stream, &probe.host).await,
                ServiceKind::Tcp => tcp(stream).await,
            },
            Err(error) => failed_dial(&error),
        };
        self.live
            .probed(probe.node, probe.service, met, began_ms, now_ms());
    }
}

/// Every service of every node that may have traffic, and the name to ask it for: its first route, else its own.
fn probes(state: &State) -> Vec<Probe> {
    let mut hosts = BTreeMap::new();
    for route in state.routes() {
        for service in &route.services {
            hosts
                .entry(*service)
                .or_insert_with(|| route.host.to_string());
        }
    }
    let probe = |service: &malha_core::Service| {
        let node = state.node(service.node)?;
        let host = hosts
            .remove(&service.id)
            .unwrap_or_else(|| service.name.to_string());
        let address = SocketAddr::from((node.addresses.v4, service.port.number()));
        Some(Probe {
            node: node.id,
            service: service.id,
            address,
            kind: service.kind,
            host,
        })
    };
    let mut probe = probe;
    state.services().filter_map(&mut probe).collect()
}

/// Any answer below 500 shows a living web server; what it thinks of `/` is its own affair.
async fn http(stream: malha_proxy::BoxStream, host: &str) -> PathProbe {
    let exchange = async {
        let (mut sender, mut connection) =
            hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
        let request = Request::get("/")
            .header("host", host)
            .header("user-agent", USER_AGENT)
            .header("connection", "close")
            .body(Empty::<Bytes>::new())
            .map_err(|_| ());
        let Ok(request) = request else {
            return Ok(None);
        };
        let mut answer = pin!(sender.send_request(request));
        // The connection may end in the same moment in which it hands over the answer.
        let answer = tokio::select! {
            answer = &mut answer => answer,
            _ = &mut connection => answer.await,
        };
        let _ = connection.into_parts().io.into_inner().shutdown().await;
        answer.map(|response| Some(response.status()))
    };
    match timeout(PROBE_TIMEOUT, exchange).await {
        Ok(Ok::<_, hyper::Error>(Some(status))) if !status.is_server_error() => PathProbe::Answered,
        Ok(_) | Err(_) => PathProbe::OriginFailed,
    }
}

/// The node accepts before its target does and resets when that refuses: silence for a moment means it stands.
async fn tcp(mut stream: malha_proxy::BoxStream) -> PathProbe {
    let mut byte = [0];
    let met = match timeout(TCP_SETTLE, stream.read(&mut byte)).await {
        Ok(Ok(0) | Err(_)) => PathProbe::OriginFailed,
        Ok(Ok(_)) | Err(_) => PathProbe::Answered,
    };
    // A service may note each reset; a probe comes every other second.
    let _ = stream.shutdown().await;
    met
}

fn failed_dial(error: &io::Error) -> PathProbe {
    match error.kind() {
        io::ErrorKind::ConnectionRefused | io::ErrorKind::ConnectionReset => {
            PathProbe::OriginFailed
        }
        _ => PathProbe::TunnelSilent,
    }
}

/// With [`PROBE_TIMEOUT`] it leaves a second of the five in which a dead hop must show.
const PROBE_INTERVAL: Duration = Duration::from_millis(1_500);
const PROBE_TIMEOUT: Duration = Duration::from_millis(2_000);
const TCP_SETTLE: Duration = Duration::from_millis(300);
const PROBES_AT_ONCE: usize = 512;
const USER_AGENT: &str = concat!("malha-probe/", env!("CARGO_PKG_VERSION"));
