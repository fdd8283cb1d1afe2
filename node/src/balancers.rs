//! The balancers that a netmap gives to its node, run by malha-proxy and reached through the tunnel: those of an agent, and
//! those of a controller's hub. A tunnel balancer listens on the overlay only, a public one on the machine's own addresses
//! only. It never decides who may come, or what a balancer shall be.

mod link;

use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use malha_proto::{
    Algorithm, BackendCondition, BackendMode, BackendReport, Balancer, BalancerCounts, BalancerId,
    BalancerReport, BalancerTrouble, Exposure, MAX_TROUBLE_CHARS, OverlayAddresses, ProxyProtocol,
    ServiceId,
};
use malha_proxy::balance::{
    self, BackendStatus, BalancerStatus, DEFAULT_HALF_OPEN, Limits, Listener, Mode, Probe,
    ProxyHeader, Spec,
};
use malha_tunnel::{Keeper, SETTLING, Tunnel};
use rustix::io::Errno;
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::plane::Former;
use link::{FromMachine, FromTunnel, ThroughTunnel};

/// The balancers of one tunnel.
#[derive(Default)]
pub struct Balancers {
    open: BTreeMap<BalancerId, Running>,
    /// Those that can't be as they should, and why.
    troubles: BTreeMap<BalancerId, BalancerTrouble>,
    former: Former,
    /// Until then a server that can't be reached is waited for.
    settled_at: Option<Instant>,
}

/// How balancers and the servers behind them are, at one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Balanced {
    pub balancers: Vec<BalancerReport>,
    pub backends: Vec<BackendReport>,
}

struct Running {
    balancer: Balancer,
    at_work: balance::Balancer,
}

impl Balancers {
    /// Those of a tunnel that begins now, where another run ended.
    #[must_use]
    pub fn after(former: Former) -> Self {
        Self {
            former,
            settled_at: Some(Instant::now() + SETTLING),
            ..Self::default()
        }
    }

    /// Closes what is wanted no longer, or at another door, and resets its connections.
    pub async fn close_changed(&mut self, wanted: &BTreeMap<BalancerId, Balancer>) {
        let stays = |it: &Balancer| wanted.get(&it.id).is_some_and(|w| is_same_door(it, w));
        let (stay, gone): (BTreeMap<_, _>, BTreeMap<_, _>) = std::mem::take(&mut self.open)
            .into_iter()
            .partition(|(_, open)| stays(&open.balancer));
        self.open = stay;
        self.troubles.retain(|id, _| wanted.contains_key(id));
        for running in gone.into_values() {
            running.at_work.stop().await;
        }
    }

    /// Closes all of them for a restart: no new connection is taken, and whoever waits for an answer has [`FINISH_LIMIT`] to
    /// get it.
    pub async fn finish_all(&mut self) {
        self.troubles.clear();
        let mut ending = JoinSet::new();
        for running in std::mem::take(&mut self.open).into_values() {
            ending.spawn(running.at_work.finish(FINISH_LIMIT));
        }
        ending.join_all().await;
    }

    /// Opens what is missing and tells the others what changed; names each balancer that can't be so. May be repeated: what
    /// failed is tried again.
    pub async fn open(
        &mut self,
        tunnel: &Arc<dyn Tunnel>,
        me: OverlayAddresses,
        wanted: &BTreeMap<BalancerId, Balancer>,
    ) -> Vec<(BalancerId, Result<(), String>)> {
        let mut failed = Vec::new();
        for balancer in wanted.values() {
            match self.follow(tunnel, me, balancer).await {
                Ok(()) => drop(self.troubles.remove(&balancer.id)),
                Err(trouble) => {
                    let why = format!("port {}: {trouble}", balancer.port);
                    self.troubles.insert(balancer.id, trouble);
                    failed.push((balancer.id, Err(why)));
                }
            }
        }
        failed
    }

    /// Whether something is not as it should be.
    #[must_use]
    pub fn is_in_trouble(&self) -> bool {
        !self.troubles.is_empty()
    }

    /// How all of them are.
    #[must_use]
    pub fn report(&self) -> Balanced {
        let mut all = Balanced::default();
        for (id, running) in &self.open {
            let status = running.at_work.status();
            all.balancers.push(BalancerReport {
                balancer: *id,
                trouble: self.troubles.get(id).cloned(),
                counts: counts(&status),
            });
            let backends = status.backends.iter().map(|it| backend(*id, it));
            all.backends.extend(backends);
        }
        let closed = self.troubles.iter();
        let closed = closed.filter(|(id, _)| !self.open.contains_key(id));
        all.balancers.extend(closed.map(|(id, why)| BalancerReport {
            balancer: *id,
            trouble: Some(why.clone()),
            counts: BalancerCounts::default(),
        }));
        all
    }

    async fn follow(
        &mut self,
        tunnel: &Arc<dyn Tunnel>,
        me: OverlayAddresses,
        balancer: &Balancer,
    ) -> Result<(), BalancerTrouble> {
        match self.open.get_mut(&balancer.id) {
            Some(running) if running.balancer == *balancer => {}
            Some(running) => {
                let wanted = spec(balancer).map_err(other)?;
                running.at_work.change(wanted).map_err(other)?;
                running.balancer = balancer.clone();
            }
            None => {
                let wanted = spec(balancer).map_err(other)?;
                let listeners = listen(tunnel, self.former.keeper.as_ref(), me, balancer).await?;
                let connector = Arc::new(ThroughTunnel {
                    tunnel: Arc::clone(tunnel),
                    settled_at: self.settled_at,
                });
                let at_work = balance::Balancer::start(wanted, listeners, connector);
                let running = Running {
                    balancer: balancer.clone(),
                    at_work: at_work.map_err(other)?,
                };
                self.assume(&running);
                self.open.insert(balancer.id, running);
            }
        }
        Ok(())
    }

    /// Has a balancer that begins believe what was known of its servers.
    fn assume(&self, running: &Running) {
        for backend in &running.balancer.backends {
            let remembered = &self.former.remembered;
            let known = remembered.condition(running.balancer.id, backend.service);
            if let Some(known) = known {
                running.at_work.assume(backend.service.0, assumed(known));
            }
        }
    }
}

fn counts(it: &BalancerStatus) -> BalancerCounts {
    BalancerCounts {
        open: it.open_connections,
        taken: it.accepted_connections,
        over_limit: it.refused_connections,
        not_allowed: it.strange_connections,
        unserved: it.unserved_connections,
        retried: it.retried_connections,
        bytes_in: it.bytes_in,
        bytes_out: it.bytes_out,
    }
}

fn backend(balancer: BalancerId, it: &BackendStatus) -> BackendReport {
    BackendReport {
        balancer,
        service: ServiceId(it.id),
        condition: condition(it.condition),
        connections: u32::try_from(it.connections).unwrap_or(u32::MAX),
    }
}

/// Both families or none, but for IPv6 where this machine, or its overlay, has none.
async fn listen(
    tunnel: &Arc<dyn Tunnel>,
    keeper: Option<&Arc<dyn Keeper>>,
    me: OverlayAddresses,
    balancer: &Balancer,
) -> Result<Vec<Box<dyn Listener>>, BalancerTrouble> {
    let port = balancer.port.number();
    let named = |error: io::Error| match error.kind() {
        io::ErrorKind::AddrInUse => BalancerTrouble::PortTaken,
        io::ErrorKind::PermissionDenied => BalancerTrouble::PortForbidden,
        _ => other(error),
    };
    let (v4, v6): (IpAddr, IpAddr) = match balancer.exposure {
        Exposure::Tunnel => (me.v4.into(), me.v6.into()),
        Exposure::Public => (Ipv4Addr::UNSPECIFIED.into(), Ipv6Addr::UNSPECIFIED.into()),
    };
    let mut listeners: Vec<Box<dyn Listener>> = Vec::new();
    for ip in [v4, v6] {
        let address = SocketAddr::new(ip, port);
        match balancer.exposure {
            Exposure::Tunnel if ip.is_ipv6() && !tunnel.has_ipv6() => {}
            Exposure::Tunnel => {
                let listener = tunnel.listen(address).await.map_err(named)?;
                listeners.push(Box::new(FromTunnel { listener, address }));
            }
            Exposure::Public => match FromMachine::open(address, keeper).await {
                Ok(listener) => listeners.push(Box::new(listener)),
                // Nobody could come that way.
                Err(error) if is_without_family(ip, &error) => {}
                Err(error) => return Err(named(error)),
            },
        }
    }
    Ok(listeners)
}

/// Whether this machine has no IPv6 at all. What else keeps its door closed may pass, so that it is told and tried again.
fn is_without_family(ip: IpAddr, error: &io::Error) -> bool {
    let is_absent = error.kind() == io::ErrorKind::AddrNotAvailable
        || Errno::from_io_error(error) == Some(Errno::AFNOSUPPORT);
    ip.is_ipv6() && is_absent
}

fn other(error: impl std::fmt::Display) -> BalancerTrouble {
    let why = error.to_string();
    BalancerTrouble::Other(why.chars().take(MAX_TROUBLE_CHARS).collect())
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
            half_open: DEFAULT_HALF_OPEN,
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

fn assumed(it: BackendCondition) -> balance::Condition {
    match it {
        BackendCondition::Unproven => balance::Condition::Unproven,
        BackendCondition::Up => balance::Condition::Up,
        BackendCondition::Suspect => balance::Condition::Suspect,
        BackendCondition::Down => balance::Condition::Down,
        BackendCondition::Recovering => balance::Condition::Recovering,
    }
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

/// New connections are refused meanwhile, and for no longer than a failover may take.
pub const FINISH_LIMIT: Duration = Duration::from_secs(2);

#[cfg(test)]
mod tests;
