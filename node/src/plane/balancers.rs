//! The balancers of this node: what malha-proxy balances, reached through the tunnel. A tunnel balancer listens on the
//! overlay only, a public one on the machine's own addresses only.

use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use async_trait::async_trait;
use malha_proto::{
    Algorithm, BackendCondition, BackendMode, BackendReport, Balancer, BalancerId, Exposure,
    Netmap, ProxyProtocol, ServiceId,
};
use malha_proxy::balance::{
    self, Arrival, Connector, KernelListener, Limits, Link, Listener, Mode, Probe, ProxyHeader,
    Spec,
};
use malha_tunnel::{BoxStream, KernelPart, Tunnel, TunnelListener};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Instant;

#[derive(Default)]
pub(super) struct Balancers {
    open: BTreeMap<BalancerId, Running>,
}

struct Running {
    balancer: Balancer,
    at_work: balance::Balancer,
}

impl Balancers {
    /// Closes what the map no longer has, or has at another door, and resets its connections.
    pub(super) async fn close_changed(&mut self, wanted: &BTreeMap<BalancerId, Balancer>) {
        let stays = |it: &Balancer| wanted.get(&it.id).is_some_and(|w| is_same_door(it, w));
        let (stay, gone): (BTreeMap<_, _>, BTreeMap<_, _>) = std::mem::take(&mut self.open)
            .into_iter()
            .partition(|(_, open)| stays(&open.balancer));
        self.open = stay;
        for running in gone.into_values() {
            running.at_work.stop().await;
        }
    }

    pub(super) async fn close_all(&mut self) {
        self.close_changed(&BTreeMap::new()).await;
    }

    /// Opens what is missing and tells the others what changed; names each balancer that can't be so.
    pub(super) async fn open(
        &mut self,
        tunnel: &Arc<dyn Tunnel>,
        map: &Netmap,
    ) -> Vec<(BalancerId, Result<(), String>)> {
        let mut failed = Vec::new();
        for balancer in map.balancers.values() {
            if let Err(why) = self.follow(tunnel, map, balancer).await {
                failed.push((balancer.id, Err(why)));
            }
        }
        failed
    }

    /// How every server behind a balancer is.
    pub(super) fn reports(&self) -> Vec<BackendReport> {
        let reports = self.open.iter().flat_map(|(id, running)| {
            let backends = running.at_work.status().backends.into_iter();
            backends.map(|it| BackendReport {
                balancer: *id,
                service: ServiceId(it.id),
                condition: condition(it.condition),
                connections: u32::try_from(it.connections).unwrap_or(u32::MAX),
            })
        });
        reports.collect()
    }

    async fn follow(
        &mut self,
        tunnel: &Arc<dyn Tunnel>,
        map: &Netmap,
        balancer: &Balancer,
    ) -> Result<(), String> {
        let wanted = spec(balancer)?;
        match self.open.get_mut(&balancer.id) {
            Some(running) if running.balancer == *balancer => {}
            Some(running) => {
                let changed = running.at_work.change(wanted);
                changed.map_err(|error| error.to_string())?;
                running.balancer = balancer.clone();
            }
            None => {
                let listeners = listen(tunnel, map, balancer).await?;
                let connector = Arc::new(ThroughTunnel(Arc::clone(tunnel)));
                let at_work = balance::Balancer::start(wanted, listeners, connector);
                let running = Running {
                    balancer: balancer.clone(),
                    at_work: at_work.map_err(|error| error.to_string())?,
                };
                self.open.insert(balancer.id, running);
            }
        }
        Ok(())
    }
}

/// Both families or none.
async fn listen(
    tunnel: &Arc<dyn Tunnel>,
    map: &Netmap,
    balancer: &Balancer,
) -> Result<Vec<Box<dyn Listener>>, String> {
    let port = balancer.port.number();
    let named = |error: io::Error| format!("port {port}: {error}");
    let (v4, v6): (IpAddr, IpAddr) = match balancer.exposure {
        Exposure::Tunnel => (map.me.addresses.v4.into(), map.me.addresses.v6.into()),
        Exposure::Public => (Ipv4Addr::UNSPECIFIED.into(), Ipv6Addr::UNSPECIFIED.into()),
    };
    let mut listeners: Vec<Box<dyn Listener>> = Vec::new();
    for ip in [v4, v6] {
        let address = SocketAddr::new(ip, port);
        match balancer.exposure {
            Exposure::Tunnel => {
                let listener = tunnel.listen(address).await.map_err(named)?;
                listeners.push(Box::new(FromTunnel { listener, address }));
            }
            Exposure::Public => match KernelListener::bind(address) {
                Ok(listener) => listeners.push(Box::new(listener)),
                // A machine without IPv6 has nobody who could come that way.
                Err(_) if ip.is_ipv6() => {}
                Err(error) => return Err(named(error)),
            },
        }
    }
    Ok(listeners)
}

fn spec(it: &Balancer) -> Result<Spec, String> {
    let backends = it.backends.iter().map(|backend| balance::Backend {
        id: backend.service.0,
        address: backend.address,
        mode: match backend.mode {
            BackendMode::Serve => Mode::Serve,
            BackendMode::Drain => Mode::Drain,
            BackendMode::Maintenance => Mode::Maintenance,
        },
    });
    let mut check = balance::Check::new(match &it.health {
        None => Probe::Tcp,
        Some(health) => Probe::Http {
            port: health.port.number(),
            path: health.path.clone(),
        },
    });
    check.interval = Duration::from_millis(it.check_interval_ms.into());
    let sources = it.allowed_sources.iter().map(|prefix| {
        let net = prefix.net();
        net.ok_or_else(|| format!("{prefix} is not a prefix"))
    });
    let spec = Spec {
        algorithm: match it.algorithm {
            Algorithm::LeastConnections => balance::Algorithm::LeastConnections,
            Algorithm::SourceAffinity => balance::Algorithm::SourceAffinity,
        },
        backends: backends.collect(),
        check,
        proxy_header: it.proxy_protocol.map(|version| match version {
            ProxyProtocol::V1 => ProxyHeader::V1,
            ProxyProtocol::V2 => ProxyHeader::V2,
        }),
        slow_start: Duration::from_secs(it.slow_start_s.into()),
        limits: Limits {
            connect: Duration::from_millis(it.connect_ms.into()),
            idle: Duration::from_secs(it.idle_s.into()),
            connections: usize::try_from(it.connections).unwrap_or(usize::MAX),
            connections_per_source: usize::try_from(it.connections_per_source)
                .unwrap_or(usize::MAX),
        },
        allowed_sources: sources.collect::<Result<_, _>>()?,
    };
    spec.check().map_err(|error| error.to_string())?;
    Ok(spec)
}

/// What needs no other listener is only told to the running balancer.
fn is_same_door(one: &Balancer, other: &Balancer) -> bool {
    (one.port, one.exposure) == (other.port, other.exposure)
}

fn condition(it: balance::Condition) -> BackendCondition {
    match it {
        balance::Condition::Unproven => BackendCondition::Unproven,
        balance::Condition::Up => BackendCondition::Up,
        balance::Condition::Suspect => BackendCondition::Suspect,
        balance::Condition::Down => BackendCondition::Down,
        balance::Condition::Recovering => BackendCondition::Recovering,
    }
}

struct FromTunnel {
    listener: TunnelListener,
    address: SocketAddr,
}

#[async_trait]
impl Listener for FromTunnel {
    async fn accept(&mut self) -> io::Result<Arrival> {
        let (stream, source) = self.listener.accept().await?;
        Ok(Arrival {
            link: link(stream),
            source,
            destination: self.address,
        })
    }
}

struct ThroughTunnel(Arc<dyn Tunnel>);

#[async_trait]
impl Connector for ThroughTunnel {
    async fn connect(&self, address: SocketAddr, limit: Duration) -> io::Result<Link> {
        let stream = self.0.dial(address, Instant::now() + limit).await?;
        Ok(link(stream))
    }
}

fn link(stream: BoxStream) -> Link {
    match stream.into_kernel() {
        Ok(KernelPart { tcp, cut }) => Link::kernel(tcp, Some(cut)),
        Err(stream) => Link::other(Box::new(OfTunnel(stream))),
    }
}

/// A stream of the tunnel's own TCP, as the balancer knows streams.
struct OfTunnel(BoxStream);

impl balance::Stream for OfTunnel {
    fn abort(&mut self) {
        self.0.abort();
    }
}

impl AsyncRead for OfTunnel {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(cx, buffer)
    }
}

impl AsyncWrite for OfTunnel {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        data: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(cx, data)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(cx)
    }
}
