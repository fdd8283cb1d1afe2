//! What is observed now, in memory only: sessions, reports, probes, tunnels. It gathers; malha-core's diagnosis judges. A
//! restart of the controller forgets it, and the next seconds bring it back.

mod balancing;

pub use balancing::Balancing;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Mutex, PoisonError};

use malha_core::State;
use malha_core::health::{Broken, Diagnosis, Observed, ServiceObserved};
use malha_core::limits::MAX_SERVICES_PER_NODE;
use malha_proto::{
    FarewellReason, Hop, HopState, MAX_PEERS, NodeId, NodeReport, PathKind, PathProbe, ServiceId,
    ServiceState,
};
use malha_tunnel::InterfaceState;
use tokio::sync::watch;

use crate::clock::now_ms;

/// The hub's side of a node's tunnel. Times are milliseconds of the Unix epoch.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TunnelSeen {
    pub endpoint: Option<SocketAddr>,
    pub path: Option<PathKind>,
    pub handshake_ms: Option<u64>,
    pub heard_ms: Option<u64>,
    pub port_unreachable_ms: Option<u64>,
    pub rx_bytes: u64,
    pub tx_bytes: u64,
}

/// The observations of all nodes. One per controller.
pub struct Live {
    /// Locked for a map access or one diagnosis; sessions, prober, hub and readers meet here.
    nodes: Mutex<BTreeMap<NodeId, LiveNode>>,
    /// Locked for a copy; the hub writes it each second, readers look at it.
    interface: Mutex<HubInterface>,
    pub balancing: Balancing,
    changed: watch::Sender<u64>,
    started_ms: u64,
}

/// The interface of the hub's tunnel.
#[derive(Clone, Default)]
struct HubInterface {
    state: InterfaceState,
    trouble_since_ms: Option<u64>,
}

#[derive(Default)]
struct LiveNode {
    observed: Observed,
    reports: BTreeMap<ServiceId, ServiceState>,
    tunnel: Option<TunnelSeen>,
    /// How its packets to its peers travel, as it told, while it has a session.
    paths: BTreeMap<NodeId, PathKind>,
    /// The policy for whose confirmation it waited in vain.
    policy_given_up: Option<u64>,
    /// How many peers its newest netmap has, where it takes fewer.
    too_many_peers: Option<u64>,
    verdict: Option<Diagnosis>,
}

impl Default for Live {
    fn default() -> Self {
        Self {
            nodes: Mutex::default(),
            interface: Mutex::default(),
            balancing: Balancing::default(),
            changed: watch::channel(0).0,
            started_ms: now_ms(),
        }
    }
}

impl Live {
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Changes whenever a verdict, or something shown beside it, changed.
    #[must_use]
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.changed.subscribe()
    }

    /// A session opened.
    pub fn session_opened(&self, node: NodeId, now_ms: u64) {
        self.note(node, now_ms, |live| live.observed.session_ms = Some(now_ms));
    }

    /// The session ended, and the node has no other.
    pub fn session_closed(&self, node: NodeId, farewell: Option<FarewellReason>, now_ms: u64) {
        self.note(node, now_ms, |live| {
            live.observed.session_ms = None;
            live.observed.ended = Some((now_ms, farewell));
            live.paths.clear();
        });
        self.balancing.silent(node);
    }

    /// A node told what it sees of its services.
    pub fn report(&self, node: NodeId, report: &NodeReport, now_ms: u64) {
        let mut is_news = false;
        self.balancing
            .report(node, &report.balancers, &report.backends);
        self.note(node, now_ms, |live| {
            let former = (live.policy_given_up, live.too_many_peers);
            is_news = former != (report.policy_given_up, report.too_many_peers);
            if let (None, Some(peers)) = (live.too_many_peers, report.too_many_peers) {
                tracing::warn!(%node, peers, limit = MAX_PEERS, "a node has more peers than it takes, and keeps its former netmap");
            }
            live.policy_given_up = report.policy_given_up;
            live.too_many_peers = report.too_many_peers;
            for seen in &report.peers {
                match seen.path {
                    Some(path) if live.paths.len() < MAX_PATHS_SEEN => {
                        live.paths.insert(seen.peer, path);
                    }
                    _ => drop(live.paths.remove(&seen.peer)),
                }
            }
            for service in &report.services {
                if live.reports.len() >= MAX_SERVICES_SEEN
                    && !live.reports.contains_key(&service.service)
                {
                    continue;
                }
                live.reports.insert(service.service, service.state);
                if let Some(observed) = live.observed.services.get_mut(&service.service) {
                    observed.report = service.state;
                }
            }
        });
        self.ring(is_news);
    }

    /// How packets from a node to a peer that is no hub travel, as the node told last.
    #[must_use]
    pub fn path(&self, from: NodeId, to: NodeId) -> Option<PathKind> {
        self.lock().get(&from)?.paths.get(&to).copied()
    }

    /// The version of a policy that the node no longer follows, since nobody confirmed it in time.
    #[must_use]
    pub fn policy_given_up(&self, node: NodeId) -> Option<u64> {
        self.lock().get(&node)?.policy_given_up
    }

    /// How many peers a node's newest netmap has, where they are more than it takes: it goes on with the one before.
    #[must_use]
    pub fn too_many_peers(&self, node: NodeId) -> Option<u64> {
        self.lock().get(&node)?.too_many_peers
    }

    /// A probe through the real path came back. Silence since before the last handshake says nothing of the tunnel now.
    pub fn probed(
        &self,
        node: NodeId,
        service: ServiceId,
        probe: PathProbe,
        began_ms: u64,
        now_ms: u64,
    ) {
        self.note(node, now_ms, |live| {
            let handshake_ms = live.tunnel.and_then(|tunnel| tunnel.handshake_ms);
            if probe == PathProbe::TunnelSilent && handshake_ms > Some(began_ms) {
                return;
            }
            let report = live
                .reports
                .get(&service)
                .copied()
                .unwrap_or(ServiceState::Unknown);
            live.observed.services.insert(
                service,
                ServiceObserved {
                    probe,
                    probed_ms: now_ms,
                    report,
                },
            );
        });
    }

    /// A probe through the tunnel alone came back, or nothing did, while requests take another way.
    pub fn tunnel_probed(&self, node: NodeId, carries: bool, began_ms: u64, now_ms: u64) {
        self.note(node, now_ms, |live| {
            let handshake_ms = live.tunnel.and_then(|tunnel| tunnel.handshake_ms);
            if carries || handshake_ms <= Some(began_ms) {
                live.observed.tunnel_probe = Some((carries, now_ms));
            }
        });
    }

    /// What the hub's tunnel sees of its peers.
    pub fn tunnels(&self, seen: BTreeMap<NodeId, TunnelSeen>, now_ms: u64) {
        let mut nodes = self.lock();
        let mut changed = false;
        for (node, tunnel) in seen {
            let live = nodes.entry(node).or_default();
            let former = live.tunnel.replace(tunnel);
            live.observed.heard_ms = tunnel.heard_ms;
            live.observed.port_unreachable_ms = tunnel.port_unreachable_ms;
            let first_handshake = former.and_then(|former| former.handshake_ms).is_none()
                && tunnel.handshake_ms.is_some();
            if first_handshake {
                live.observed
                    .services
                    .retain(|_, seen| seen.probe != PathProbe::TunnelSilent);
            }
            changed |= live.judge(now_ms) || first_handshake;
        }
        drop(nodes);
        self.ring(changed);
    }

    /// What became of the interface of the hub's own tunnel.
    pub fn hub_interface_seen(&self, state: InterfaceState, now_ms: u64) {
        let mut interface = self.lock_interface();
        let changed = interface.state != state;
        let since_ms = interface.trouble_since_ms.unwrap_or(now_ms);
        interface.trouble_since_ms = state.trouble.is_some().then_some(since_ms);
        interface.state = state;
        drop(interface);
        self.ring(changed);
    }

    /// The same, as the hub saw it last.
    #[must_use]
    pub fn hub_interface(&self) -> InterfaceState {
        self.lock_interface().state.clone()
    }

    /// Forgets what is gone from the state.
    pub fn forget_removed(&self, state: &State) {
        self.lock().retain(|node, live| {
            live.observed
                .services
                .retain(|service, _| state.service(*service).is_some());
            live.reports
                .retain(|service, _| state.service(*service).is_some());
            state.node(*node).is_some()
        });
        self.balancing.forget_removed(state);
    }

    /// The verdict on a node, as of now. None for a node that is not in the state; all hops unknown for one never seen. The
    /// hub is this process: it is up as long as there is one to ask, but its tunnel may have lost what it needs of its interface.
    #[must_use]
    pub fn diagnosis(&self, state: &State, node: NodeId) -> Option<Diagnosis> {
        if state.node(node)?.hub {
            let trouble_since_ms = self.lock_interface().trouble_since_ms;
            let tunnel = trouble_since_ms.map_or(HopState::Up(self.started_ms), HopState::Down);
            return Some(Diagnosis {
                control: HopState::Up(self.started_ms),
                link: HopState::Up(self.started_ms),
                agent: HopState::Up(self.started_ms),
                tunnel,
                services: BTreeMap::new(),
                causes: BTreeMap::new(),
                broken: trouble_since_ms.map(|since_ms| Broken {
                    hop: Hop::Tunnel,
                    since_ms,
                    service: None,
                }),
            });
        }
        let mut nodes = self.lock();
        let live = nodes.entry(node).or_default();
        live.observed
            .services
            .retain(|service, _| state.service(*service).is_some());
        // Time alone may have changed the verdict; whoever notices tells the others.
        let changed = live.judge(now_ms());
        let verdict = live.verdict.clone();
        drop(nodes);
        self.ring(changed);
        verdict
    }

    /// The hub's side of a node's tunnel.
    #[must_use]
    pub fn tunnel(&self, node: NodeId) -> Option<TunnelSeen> {
        self.lock().get(&node).and_then(|live| live.tunnel)
    }

    /// The hop that keeps requests from a service, if one does, and since when.
    #[must_use]
    pub fn service_broken(&self, state: &State, service: ServiceId) -> Option<(Hop, u64)> {
        let node = state.service(service)?.node;
        let nodes = self.lock();
        let verdict = nodes.get(&node)?.verdict.as_ref()?;
        match (verdict.broken, verdict.services.get(&service)) {
            (_, Some(HopState::Down(since_ms))) => Some((Hop::Service, *since_ms)),
            // Its requests come through, perhaps beside a tunnel that does not carry.
            (_, Some(HopState::Up(_))) => None,
            (Some(broken), _) if matches!(broken.hop, Hop::Link | Hop::Agent | Hop::Tunnel) => {
                Some((broken.hop, broken.since_ms))
            }
            _ => None,
        }
    }

    fn note(&self, node: NodeId, now_ms: u64, note: impl FnOnce(&mut LiveNode)) {
        let mut nodes = self.lock();
        let live = nodes.entry(node).or_default();
        note(live);
        let changed = live.judge(now_ms);
        drop(nodes);
        self.ring(changed);
    }

    fn ring(&self, changed: bool) {
        if changed {
            self.changed.send_modify(|count| *count += 1);
        }
    }

    fn lock_interface(&self) -> std::sync::MutexGuard<'_, HubInterface> {
        (self.interface.lock()).unwrap_or_else(PoisonError::into_inner)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, BTreeMap<NodeId, LiveNode>> {
        self.nodes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl LiveNode {
    /// Judges anew; says whether the verdict changed.
    fn judge(&mut self, now_ms: u64) -> bool {
        let verdict = self.observed.diagnose(self.verdict.as_ref(), now_ms);
        let changed = self.verdict.as_ref() != Some(&verdict);
        self.verdict = Some(verdict);
        changed
    }
}

/// Peers of one node whose path is remembered: as many as a netmap has.
const MAX_PATHS_SEEN: usize = 20_000;
/// Services of one node whose state is remembered: more than it may have, since those that are gone are forgotten later.
const MAX_SERVICES_SEEN: usize = 4 * MAX_SERVICES_PER_NODE;

#[cfg(test)]
mod tests {
    use super::*;

    const NODE: NodeId = NodeId(1);
    const WEB: ServiceId = ServiceId(2);

    #[test]
    fn only_a_changed_verdict_rings() {
        let live = Live::new();
        let mut changes = live.changes();
        live.probed(NODE, WEB, PathProbe::Answered, 900, 1_000);
        assert!(changes.has_changed().unwrap());
        changes.mark_unchanged();
        live.probed(NODE, WEB, PathProbe::Answered, 1_900, 2_000);
        assert!(!changes.has_changed().unwrap());
        live.probed(NODE, WEB, PathProbe::OriginFailed, 2_900, 3_000);
        assert!(changes.has_changed().unwrap());
    }

    #[test]
    fn a_node_that_invents_services_fills_no_memory() {
        let live = Live::new();
        for first in 0..100 {
            let invented = (0..1_000).map(|n| malha_proto::ServiceReport {
                service: ServiceId(first * 1_000 + n),
                state: ServiceState::Up,
            });
            let report = NodeReport {
                services: invented.collect(),
                ..NodeReport::default()
            };
            live.report(NODE, &report, 1_000);
        }
        assert_eq!(live.lock()[&NODE].reports.len(), MAX_SERVICES_SEEN);
    }

    #[test]
    fn a_node_that_fell_back_rings_once_and_its_paths_go_with_its_session() {
        let live = Live::new();
        let other = NodeId(9);
        let observation = malha_proto::PeerObservation {
            peer: other,
            endpoint: None,
            handshake_age_ms: None,
            rx_bytes: 0,
            tx_bytes: 0,
            path: Some(PathKind::Relay),
        };
        let report = NodeReport {
            peers: vec![observation],
            policy_given_up: Some(7),
            ..NodeReport::default()
        };
        live.report(NODE, &NodeReport::default(), 500);
        let mut changes = live.changes();
        live.report(NODE, &report, 1_000);
        assert!(changes.has_changed().unwrap());
        changes.mark_unchanged();
        live.report(NODE, &report, 1_500);
        assert!(!changes.has_changed().unwrap());
        assert_eq!(live.path(NODE, other), Some(PathKind::Relay));
        assert_eq!(live.policy_given_up(NODE), Some(7));
        live.session_closed(NODE, None, 2_000);
        assert_eq!(live.path(NODE, other), None);
        assert_eq!(live.policy_given_up(NODE), Some(7), "it still filters so");
    }

    #[test]
    fn a_node_with_too_many_peers_rings_until_its_map_fits() {
        let live = Live::new();
        live.report(NODE, &NodeReport::default(), 500);
        let mut changes = live.changes();
        for (told, rings) in [(Some(20_001), true), (Some(20_001), false), (None, true)] {
            let report = NodeReport {
                too_many_peers: told,
                ..NodeReport::default()
            };
            live.report(NODE, &report, 1_000);
            assert_eq!(changes.has_changed().unwrap(), rings);
            changes.mark_unchanged();
            assert_eq!(live.too_many_peers(NODE), told);
        }
    }

    #[test]
    fn silence_from_before_the_first_handshake_is_forgotten() {
        let live = Live::new();
        let tunnel = || live.lock()[&NODE].verdict.as_ref().unwrap().tunnel;
        live.probed(NODE, WEB, PathProbe::TunnelSilent, 900, 1_000);
        assert!(matches!(tunnel(), HopState::Down(_)));
        let seen = TunnelSeen {
            handshake_ms: Some(2_000),
            heard_ms: Some(2_000),
            ..TunnelSeen::default()
        };
        live.tunnels(BTreeMap::from([(NODE, seen)]), 2_000);
        live.probed(NODE, WEB, PathProbe::TunnelSilent, 1_500, 3_500);
        assert!(matches!(tunnel(), HopState::Up(_)));
        live.probed(NODE, WEB, PathProbe::TunnelSilent, 3_500, 5_500);
        assert!(matches!(tunnel(), HopState::Down(_)));
    }
}
