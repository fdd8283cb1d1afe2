//! What the node observes: its own services, probed on schedule, and its peers' tunnels. Tells only what changed, and
//! everything at the start of a session.

use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;

use malha_proto::{
    BackendReport, BalancerId, BalancerReport, MAX_CANDIDATES, Netmap, NodeId, NodeReport,
    PeerObservation, Revision, ServiceId, ServiceKind, ServiceReport, ServiceState,
};

use super::{Action, Millis};
use crate::balancers::Balanced;

/// How often each service is probed, milliseconds.
pub const PROBE_INTERVAL_MS: Millis = 1_000;

/// How many peers one report names; the others wait for the next one. Keeps a report within its frame.
pub const MAX_REPORT_PEERS: usize = 500;

/// How many servers behind balancers one report names, and how many balancers.
const MAX_REPORT_BACKENDS: usize = 512;
const MAX_REPORT_BALANCERS: usize = 32;

#[derive(Debug, Default)]
pub(super) struct Health {
    services: BTreeMap<ServiceId, Watch>,
    peers: BTreeMap<NodeId, Seen>,
    /// Where the tunnel listens; None before it was said.
    listen: Option<Vec<SocketAddr>>,
    listen_told: bool,
    /// The servers behind this node's balancers, and whether each was told as it is.
    backends: BTreeMap<(BalancerId, ServiceId), (BackendReport, bool)>,
    /// The same for the balancers themselves.
    balancers: BTreeMap<BalancerId, (BalancerReport, bool)>,
}

#[derive(Debug)]
struct Watch {
    target: SocketAddr,
    kind: ServiceKind,
    state: ServiceState,
    since: Millis,
    told: bool,
    next_at: Millis,
    in_flight: bool,
    /// The probe under way is of an older target.
    outdated: bool,
}

#[derive(Debug)]
struct Seen {
    last: PeerObservation,
    handshake_at: Option<Millis>,
    /// When its bytes last grew, or when something was last done about its silence.
    heard_at: Millis,
    told: bool,
}

impl Health {
    /// Follows the map that is on its way to the data plane. What a quarantined node does not offer is not probed.
    pub(super) fn follow(&mut self, map: &Netmap, now: Millis) {
        let offered = map.services.iter().filter(|_| !map.me.quarantined);
        let offered: BTreeMap<_, _> = offered.collect();
        self.services.retain(|id, _| offered.contains_key(id));
        self.peers.retain(|id, _| map.peers.contains_key(id));
        for service in offered.into_values() {
            let fresh = Watch {
                target: service.target,
                kind: service.kind,
                state: ServiceState::Unknown,
                since: now,
                told: false,
                next_at: now,
                in_flight: false,
                outdated: false,
            };
            let watch = self.services.entry(service.id).or_insert(fresh);
            if (watch.target, watch.kind) != (service.target, service.kind) {
                watch.outdated = watch.in_flight;
                (watch.target, watch.kind) = (service.target, service.kind);
                watch.next_at = now;
            }
        }
    }

    pub(super) fn probe_due(&mut self, now: Millis, actions: &mut VecDeque<Action>) {
        for (id, watch) in &mut self.services {
            if !watch.in_flight && now >= watch.next_at {
                watch.in_flight = true;
                actions.push_back(Action::Probe {
                    service: *id,
                    target: watch.target,
                    kind: watch.kind,
                });
            }
        }
    }

    /// Whether this is news.
    pub(super) fn on_probed(&mut self, id: ServiceId, state: ServiceState, now: Millis) -> bool {
        let Some(watch) = self.services.get_mut(&id).filter(|watch| watch.in_flight) else {
            return false;
        };
        watch.in_flight = false;
        if std::mem::take(&mut watch.outdated) {
            return false;
        }
        watch.next_at = now + PROBE_INTERVAL_MS;
        if watch.state == state {
            return false;
        }
        watch.state = state;
        watch.since = now;
        watch.told = false;
        true
    }

    /// Takes what the tunnel sees now of the peers in `map`.
    pub(super) fn on_observed(&mut self, peers: Vec<PeerObservation>, map: &Netmap, now: Millis) {
        for seen in peers {
            if !map.peers.contains_key(&seen.peer) {
                continue;
            }
            let handshake_at = seen.handshake_age_ms.map(|age| now.saturating_sub(age));
            let known = self.peers.get(&seen.peer);
            let is_news = known.is_none_or(|known| {
                let last = &known.last;
                (last.endpoint, last.path, last.rx_bytes, last.tx_bytes)
                    != (seen.endpoint, seen.path, seen.rx_bytes, seen.tx_bytes)
                    || !is_about(known.handshake_at, handshake_at)
            });
            let told = known.is_some_and(|known| known.told) && !is_news;
            let heard = known.is_none_or(|known| known.last.rx_bytes != seen.rx_bytes);
            let heard_at = known.map_or(now, |known| known.heard_at);
            let entry = Seen {
                last: seen,
                handshake_at,
                heard_at: if heard { now } else { heard_at },
                told,
            };
            self.peers.insert(entry.last.peer, entry);
        }
    }

    /// Whether a condition or a trouble is news; numbers wait for the next report.
    pub(super) fn on_balanced(&mut self, balanced: Balanced) -> bool {
        let mut old = std::mem::take(&mut self.backends);
        let mut is_news = false;
        for report in balanced.backends {
            let key = (report.balancer, report.service);
            let known = old.remove(&key);
            let told = known.is_some_and(|(known, told)| told && known == report);
            is_news |= known.is_none_or(|(known, _)| known.condition != report.condition);
            self.backends.insert(key, (report, told));
        }
        let mut old = std::mem::take(&mut self.balancers);
        for report in balanced.balancers {
            let known = old.remove(&report.balancer);
            let told = (known.as_ref()).is_some_and(|(known, told)| *told && *known == report);
            is_news |= known.is_none_or(|(known, _)| known.trouble != report.trouble);
            self.balancers.insert(report.balancer, (report, told));
        }
        is_news
    }

    /// Whether this is news.
    pub(super) fn on_listens(&mut self, mut addresses: Vec<SocketAddr>) -> bool {
        addresses.truncate(MAX_CANDIDATES);
        if self.listen.as_ref() == Some(&addresses) {
            return false;
        }
        self.listen = Some(addresses);
        self.listen_told = false;
        true
    }

    /// Whether a hub, which probes every service all the time, has not been heard for so long that something should be done;
    /// said once per silence of [`HUB_PATIENCE_MS`].
    pub(super) fn hub_went_silent(&mut self, map: &Netmap, now: Millis) -> bool {
        if map.services.is_empty() {
            return false;
        }
        let is_hub = |id: &NodeId| map.peers.get(id).is_some_and(|peer| peer.hub);
        let hubs = self.peers.iter_mut().filter(|(id, _)| is_hub(id));
        let mut silent = hubs
            .filter(|(_, seen)| now.saturating_sub(seen.heard_at) >= HUB_PATIENCE_MS)
            .peekable();
        let went_silent = silent.peek().is_some();
        silent.for_each(|(_, seen)| seen.heard_at = now);
        went_silent
    }

    /// A new session knows nothing.
    pub(super) fn tell_all(&mut self) {
        self.services.values_mut().for_each(|w| w.told = false);
        self.peers.values_mut().for_each(|seen| seen.told = false);
        self.listen_told = false;
        self.backends
            .values_mut()
            .for_each(|(_, told)| *told = false);
        self.balancers
            .values_mut()
            .for_each(|(_, told)| *told = false);
    }

    pub(super) fn report(&mut self, applied: Revision, now: Millis) -> NodeReport {
        let services = self.services.iter_mut().filter(|(_, watch)| !watch.told);
        let services = services
            .map(|(id, watch)| {
                watch.told = true;
                ServiceReport {
                    service: *id,
                    state: watch.state,
                }
            })
            .collect();
        let peers = self.peers.values_mut().filter(|seen| !seen.told);
        let peers = peers
            .take(MAX_REPORT_PEERS)
            .map(|seen| {
                seen.told = true;
                PeerObservation {
                    handshake_age_ms: seen.handshake_at.map(|at| now.saturating_sub(at)),
                    ..seen.last
                }
            })
            .collect();
        let told = std::mem::replace(&mut self.listen_told, true);
        let backends = self.backends.values_mut().filter(|(_, told)| !told);
        let backends = backends
            .take(MAX_REPORT_BACKENDS)
            .map(|(report, told)| {
                *told = true;
                *report
            })
            .collect();
        NodeReport {
            applied,
            services,
            peers,
            listen: self.listen.clone().filter(|_| !told),
            backends,
            policy_given_up: None,
            balancers: self.balancer_reports(),
            too_many_peers: None,
        }
    }

    fn balancer_reports(&mut self) -> Vec<BalancerReport> {
        let untold = self.balancers.values_mut().filter(|(_, told)| !told);
        let reports = untold.take(MAX_REPORT_BALANCERS).map(|(report, told)| {
            *told = true;
            report.clone()
        });
        reports.collect()
    }

    /// Each service's state, and since when.
    pub(super) fn services(&self) -> impl Iterator<Item = (ServiceId, ServiceState, Millis)> + '_ {
        self.services
            .iter()
            .map(|(id, watch)| (*id, watch.state, watch.since))
    }

    pub(super) fn timeout(&self) -> Option<Millis> {
        let waiting = self.services.values().filter(|watch| !watch.in_flight);
        waiting.map(|watch| watch.next_at).min()
    }
}

/// Three probes of the hub. After this, milliseconds, the way back is taken to be lost: a NAT on it may have a new address.
pub const HUB_PATIENCE_MS: Millis = 5_000;

/// Ages are measured once a second: nearer handshakes than this are the same one.
const SAME_HANDSHAKE_MS: Millis = 2_000;

fn is_about(one: Option<Millis>, other: Option<Millis>) -> bool {
    match (one, other) {
        (Some(one), Some(other)) => one.abs_diff(other) < SAME_HANDSHAKE_MS,
        (one, other) => one == other,
    }
}
