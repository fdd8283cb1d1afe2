//! The looks of a run: nodes look at ports and names on this controller's order, the controller takes the rest itself, overlay addresses
//! through its hub. What was not seen is told with the reason, and never as closed.

mod names;

use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures_util::StreamExt;
use futures_util::stream;
use malha_check::{
    BalancerSeen, CONNECT_LIMIT, Check, Dial, Failure, Observation, Probe, Seen, Stream, TcpSeen,
    Vantage, probes,
};
use malha_core::State;
use malha_proto::{
    BackendCondition, MAX_PROBE_TARGETS, NodeId, OverlayPools, PortState, ProbeTarget, ProbeWay,
};
use malha_proxy::Dialer;
use time::OffsetDateTime;
use tokio::net::{TcpStream, lookup_host};
use tokio::time::{Instant, sleep};

use super::subject::balancer_name;
use crate::live::Live;
use crate::paths;
use crate::session::{ProbeError, Registry};

type Ports = Vec<(Vantage, SocketAddr)>;
type Names = Vec<(Vantage, String)>;

/// What one node looks at.
#[derive(Default)]
struct Looks {
    ports: Ports,
    /// Ports at which it stays. They are orders of their own, for an older node can take the others.
    stays: Ports,
    names: Names,
}

/// Has nodes take the looks that are theirs: each node one order after the other, a few nodes at a time.
pub(super) async fn by_nodes(
    registry: &Registry,
    pools: &OverlayPools,
    checks: &[Check],
) -> Vec<Observation> {
    let mut of_node: BTreeMap<NodeId, Looks> = BTreeMap::new();
    for (vantage, probe) in probes(checks) {
        let Some(node) = vantage.node().map(|node| node.id) else {
            continue;
        };
        let looks = of_node.entry(node).or_default();
        match probe {
            Probe::TcpConnect { address } => looks.ports.push((vantage, address)),
            Probe::TcpStay { address } => looks.stays.push((vantage, address)),
            Probe::Dns { name, .. } => looks.names.push((vantage, name)),
            _ => {}
        }
    }
    let ends = Instant::now() + RUN_LIMIT;
    let nodes = of_node.into_iter().map(|(node, looks)| async move {
        let lookout = Lookout {
            registry,
            pools,
            node,
            ends,
        };
        let mut seen = lookout.look(&looks.ports, false).await;
        seen.extend(lookout.look(&looks.stays, true).await);
        seen.extend(names::look(registry, node, &looks.names, ends).await);
        let silent: Ports = seen.iter().filter_map(silent_door).collect();
        if !silent.is_empty() && Instant::now() + SECOND_LOOK_PAUSE < ends {
            sleep(SECOND_LOOK_PAUSE).await;
            seen.extend(lookout.look(&silent, false).await);
        }
        seen
    });
    let observations = stream::iter(nodes).buffered(NODES_AT_ONCE);
    observations.collect::<Vec<_>>().await.concat()
}

/// A node that looks, until the run's time is over.
struct Lookout<'a> {
    registry: &'a Registry,
    pools: &'a OverlayPools,
    node: NodeId,
    ends: Instant,
}

impl Lookout<'_> {
    async fn look(&self, looks: &[(Vantage, SocketAddr)], stays: bool) -> Vec<Observation> {
        let mut seen = Vec::with_capacity(looks.len());
        for some in looks.chunks(MAX_PROBE_TARGETS) {
            let states = self.ask(some, stays).await;
            let each = some.iter().enumerate();
            seen.extend(each.map(|(at, (vantage, address))| Observation {
                time: OffsetDateTime::now_utc(),
                vantage: vantage.clone(),
                probe: match stays {
                    true => Probe::TcpStay { address: *address },
                    false => Probe::TcpConnect { address: *address },
                },
                address: Some(*address),
                seen: match &states {
                    Ok(states) => seen_of(states.get(at), way(self.pools, address.ip())),
                    Err(why) => Seen::Failed { why: why.clone() },
                },
            }));
        }
        seen
    }

    async fn ask(
        &self,
        looks: &[(Vantage, SocketAddr)],
        stays: bool,
    ) -> Result<Vec<PortState>, Failure> {
        let target = |(_, address): &(Vantage, SocketAddr)| ProbeTarget {
            address: *address,
            way: way(self.pools, address.ip()),
            stays,
        };
        patiently(self.ends, || {
            let targets = looks.iter().map(target).collect();
            self.registry.probe(self.node, targets, LOOK_LIMIT_MS)
        })
        .await
    }
}

/// A look that met silence where somebody may come in: a tunnel that one side has lost is back after a while, and silence of the
/// first moment would be a finding that is none. The later look counts.
fn silent_door(it: &Observation) -> Option<(Vantage, SocketAddr)> {
    let is_door = matches!(
        it.vantage,
        Vantage::MemberWithGrant { .. } | Vantage::Server { .. }
    );
    let is_silent = it.seen == Seen::Tcp(TcpSeen::Silent);
    let address = it.address.filter(|_| is_door && is_silent)?;
    Some((it.vantage.clone(), address))
}

/// One order, again while the node is busy with another.
async fn patiently<T, F: Future<Output = Result<T, ProbeError>>>(
    ends: Instant,
    order: impl Fn() -> F,
) -> Result<T, Failure> {
    loop {
        match order().await {
            Ok(seen) => return Ok(seen),
            Err(ProbeError::Busy) if Instant::now() + BUSY_PAUSE < ends => sleep(BUSY_PAUSE).await,
            Err(ProbeError::Busy) => return Err(Failure::NoTime),
            Err(ProbeError::Offline) => return Err(Failure::NodeOffline),
            Err(error) => {
                let reason = error.to_string();
                return Err(Failure::NodeRefused { reason });
            }
        }
    }
}

fn way(pools: &OverlayPools, ip: IpAddr) -> ProbeWay {
    match is_overlay(pools, ip) {
        true => ProbeWay::Overlay,
        false => ProbeWay::Underlay,
    }
}

fn is_overlay(pools: &OverlayPools, ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(ip) => pools.v4.contains(&ip),
        IpAddr::V6(ip) => pools.v6.contains(&ip),
    }
}

fn seen_of(state: Option<&PortState>, way: ProbeWay) -> Seen {
    let local = |error: &str| Failure::Local {
        error: error.to_owned(),
    };
    let why = match (state, way) {
        (Some(PortState::Open), _) => return Seen::Tcp(TcpSeen::Open),
        (Some(PortState::Refused), _) => return Seen::Tcp(TcpSeen::Refused),
        (Some(PortState::Silent), _) => return Seen::Tcp(TcpSeen::Silent),
        (Some(PortState::Dismissed), _) => return Seen::Tcp(TcpSeen::Dismissed),
        // Inside the overlay, to have no way is what the absence of a grant means.
        (Some(PortState::Unreachable), _) | (Some(PortState::NoWay), ProbeWay::Overlay) => {
            return Seen::Tcp(TcpSeen::Unreachable);
        }
        (Some(PortState::NoWay), ProbeWay::Underlay) => Failure::NoRoute,
        (Some(PortState::Forbidden), _) => Failure::NodeRefused {
            reason: "it looks at public addresses only (probes in its node.toml)".to_owned(),
        },
        (Some(PortState::Failed), _) => local("no socket or no tunnel"),
        (None, _) => local("no answer"),
    };
    Seen::Failed { why }
}

/// What the nodes of balancers say of the servers behind them.
pub(super) fn of_balancers(state: &State, live: &Live, checks: &[Check]) -> Vec<Observation> {
    let seen = |name: &str| {
        let found = state
            .balancers()
            .find(|it| balancer_name(state, it.node, it) == name)?;
        let mut seen = BalancerSeen {
            up: Vec::new(),
            down: Vec::new(),
        };
        for service in found.backends.keys() {
            let condition = live
                .balancing
                .backend(found.node, found.id, *service)?
                .condition;
            let server = state.service(*service)?;
            let server = paths::node(state, server.node);
            match condition {
                BackendCondition::Up => seen.up.push(server),
                BackendCondition::Unproven => return None,
                BackendCondition::Suspect
                | BackendCondition::Down
                | BackendCondition::Recovering => seen.down.push(server),
            }
        }
        Some(seen)
    };
    let own = probes(checks).into_iter().filter_map(|(vantage, probe)| {
        let Probe::Balancer { name } = &probe else {
            return None;
        };
        let seen = seen(name).map(Seen::Balancer);
        Some(Observation {
            time: OffsetDateTime::now_utc(),
            vantage,
            address: None,
            seen: seen.unwrap_or_else(|| Seen::Failed {
                why: Failure::Before {
                    error: "its node has not told of every server yet".to_owned(),
                },
            }),
            probe,
        })
    });
    own.collect()
}

/// This controller's ways out: its hub into the overlay, its own sockets elsewhere.
pub(super) struct Ways {
    pub(super) hub: Option<Arc<dyn Dialer>>,
    pub(super) pools: OverlayPools,
}

#[async_trait]
impl Dial for Ways {
    async fn resolve(&self, host: &str) -> io::Result<Vec<IpAddr>> {
        let found = lookup_host((host, 0)).await?;
        Ok(found.map(|address| address.ip()).collect())
    }

    async fn connect(&self, address: SocketAddr) -> io::Result<Box<dyn Stream>> {
        if !is_overlay(&self.pools, address.ip()) {
            return Ok(Box::new(TcpStream::connect(address).await?));
        }
        match &self.hub {
            Some(hub) => Ok(Box::new(hub.dial(address, CONNECT_LIMIT).await?)),
            None => Err(io::ErrorKind::NetworkUnreachable.into()),
        }
    }

    fn has_udp(&self, address: IpAddr) -> bool {
        !is_overlay(&self.pools, address)
    }
}

/// For each connection that a node attempts, and for as long it stays.
const LOOK_LIMIT_MS: u32 = 3_000;
/// All looks of nodes in one run.
const RUN_LIMIT: Duration = Duration::from_secs(300);
/// A node that has looked much lately takes the next order after about this.
const BUSY_PAUSE: Duration = Duration::from_secs(4);
/// WireGuard begins anew after 15 s of traffic without an answer.
const SECOND_LOOK_PAUSE: Duration = Duration::from_secs(16);
const NODES_AT_ONCE: usize = 8;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_connection_is_open_and_what_was_not_looked_at_is_not_closed() {
        use PortState::{Dismissed, Failed, Forbidden, NoWay, Open, Refused, Silent, Unreachable};
        for way in [ProbeWay::Overlay, ProbeWay::Underlay] {
            assert_eq!(seen_of(Some(&Open), way), Seen::Tcp(TcpSeen::Open));
            assert_eq!(seen_of(Some(&Refused), way), Seen::Tcp(TcpSeen::Refused));
            assert_eq!(seen_of(Some(&Silent), way), Seen::Tcp(TcpSeen::Silent));
            let dismissed = Seen::Tcp(TcpSeen::Dismissed);
            assert_eq!(seen_of(Some(&Dismissed), way), dismissed);
            let unreachable = Seen::Tcp(TcpSeen::Unreachable);
            assert_eq!(seen_of(Some(&Unreachable), way), unreachable);
            for state in [Some(&Forbidden), Some(&Failed), None] {
                let seen = seen_of(state, way);
                assert!(matches!(seen, Seen::Failed { .. }), "{state:?}: {seen:?}");
            }
        }
        let no_route = Seen::Failed {
            why: Failure::NoRoute,
        };
        assert_eq!(seen_of(Some(&NoWay), ProbeWay::Underlay), no_route);
        let no_peer = Seen::Tcp(TcpSeen::Unreachable);
        assert_eq!(seen_of(Some(&NoWay), ProbeWay::Overlay), no_peer);
    }
}
