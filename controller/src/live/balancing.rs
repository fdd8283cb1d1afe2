//! What nodes say of the balancers that they run, in memory only. A node's word counts for its own balancers alone: readers
//! ask with the node that the state names.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use malha_core::State;
use malha_core::limits::{MAX_BACKENDS, MAX_BALANCERS_PER_NODE};
use malha_proto::{
    BackendReport, BalancerCounts, BalancerId, BalancerReport, BalancerTrouble, MAX_TROUBLE_CHARS,
    NodeId, ServiceId,
};
use tokio::sync::watch;

/// The balancers of all nodes. One per controller.
pub struct Balancing {
    /// Locked for a map access; sessions, the hub and readers meet here.
    seen: Mutex<Seen>,
    changed: watch::Sender<u64>,
}

#[derive(Default)]
struct Seen {
    nodes: BTreeMap<NodeId, OfNode>,
    /// What was counted since this controller began; `open` is not.
    totals: BalancerCounts,
}

#[derive(Default)]
struct OfNode {
    backends: BTreeMap<(BalancerId, ServiceId), BackendReport>,
    balancers: BTreeMap<BalancerId, BalancerReport>,
    /// The last counts of each balancer, which outlive a session: the next one begins with all of them.
    counted: BTreeMap<BalancerId, BalancerCounts>,
}

impl Default for Balancing {
    fn default() -> Self {
        Self {
            seen: Mutex::default(),
            changed: watch::channel(0).0,
        }
    }
}

impl Balancing {
    /// Changes with every report that says something new.
    #[must_use]
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.changed.subscribe()
    }

    /// A node told how its balancers are, as far as that changed.
    pub fn report(&self, node: NodeId, balancers: &[BalancerReport], backends: &[BackendReport]) {
        if balancers.is_empty() && backends.is_empty() {
            return;
        }
        let mut is_news = false;
        let mut seen = self.lock();
        let Seen { nodes, totals } = &mut *seen;
        let of_node = nodes.entry(node).or_default();
        for backend in backends {
            let key = (backend.balancer, backend.service);
            is_news |= put(&mut of_node.backends, key, *backend, MAX_BACKENDS_SEEN);
        }
        for report in balancers {
            let id = report.balancer;
            let report = BalancerReport {
                trouble: report.trouble.as_ref().map(shown),
                ..*report
            };
            let former = of_node.counted.get(&id).copied();
            let most = MAX_BALANCERS_PER_NODE;
            if put(&mut of_node.counted, id, report.counts, most) {
                count(totals, former.as_ref(), &report.counts);
            }
            is_news |= put(&mut of_node.balancers, id, report, most);
        }
        drop(seen);
        if is_news {
            self.ring();
        }
    }

    /// Nobody speaks for a node's balancers any more.
    pub fn silent(&self, node: NodeId) {
        if let Some(of_node) = self.lock().nodes.get_mut(&node) {
            of_node.backends.clear();
            of_node.balancers.clear();
        }
        self.ring();
    }

    /// Forgets what is gone from the state.
    pub fn forget_removed(&self, state: &State) {
        self.lock().nodes.retain(|node, of_node| {
            let is_its = |id: &BalancerId| state.balancer(*id).is_some_and(|it| it.node == *node);
            of_node.balancers.retain(|id, _| is_its(id));
            of_node.counted.retain(|id, _| is_its(id));
            of_node.backends.retain(|(balancer, service), _| {
                let balancer = state.balancer(*balancer);
                balancer.is_some_and(|it| it.backends.contains_key(service))
            });
            state.node(*node).is_some()
        });
    }

    /// What a node said of a server behind one of its balancers.
    #[must_use]
    pub fn backend(
        &self,
        node: NodeId,
        balancer: BalancerId,
        service: ServiceId,
    ) -> Option<BackendReport> {
        let seen = self.lock();
        let backends = &seen.nodes.get(&node)?.backends;
        backends.get(&(balancer, service)).copied()
    }

    /// What a node said of one of its balancers.
    #[must_use]
    pub fn balancer(&self, node: NodeId, balancer: BalancerId) -> Option<BalancerReport> {
        let seen = self.lock();
        seen.nodes.get(&node)?.balancers.get(&balancer).cloned()
    }

    /// What all balancers counted since this controller began. Never goes down, but for `open`, which is as of now.
    #[must_use]
    pub fn totals(&self) -> BalancerCounts {
        let seen = self.lock();
        let reports = seen.nodes.values().flat_map(|it| it.balancers.values());
        let open = reports.map(|it| it.counts.open);
        BalancerCounts {
            open: open.fold(0, u64::saturating_add),
            ..seen.totals
        }
    }

    fn ring(&self) {
        self.changed.send_modify(|count| *count += 1);
    }

    fn lock(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Says whether that changed anything. What there is no place for is left out: a node may name what it does not run.
fn put<K: Ord, V: PartialEq>(map: &mut BTreeMap<K, V>, key: K, value: V, most: usize) -> bool {
    let has_place = map.len() < most || map.contains_key(&key);
    let is_news = has_place && map.get(&key) != Some(&value);
    if is_news {
        map.insert(key, value);
    }
    is_news
}

/// One without a former count only begins: what came before belongs to another controller's time.
fn count(totals: &mut BalancerCounts, former: Option<&BalancerCounts>, now: &BalancerCounts) {
    let Some(former) = former else {
        return;
    };
    let figures: [Figure; 7] = [
        |it| &mut it.taken,
        |it| &mut it.over_limit,
        |it| &mut it.not_allowed,
        |it| &mut it.unserved,
        |it| &mut it.retried,
        |it| &mut it.bytes_in,
        |it| &mut it.bytes_out,
    ];
    let (mut former, mut now) = (*former, *now);
    // Opened anew, it counts from nothing.
    let begins_anew = figures.iter().any(|it| *it(&mut now) < *it(&mut former));
    for figure in figures {
        let before = if begins_anew { 0 } else { *figure(&mut former) };
        let total = figure(totals);
        *total = total.saturating_add(*figure(&mut now) - before);
    }
}

type Figure = fn(&mut BalancerCounts) -> &mut u64;

fn shown(trouble: &BalancerTrouble) -> BalancerTrouble {
    let BalancerTrouble::Other(why) = trouble else {
        return trouble.clone();
    };
    let visible = why.chars().filter(|it| !it.is_control());
    BalancerTrouble::Other(visible.take(MAX_TROUBLE_CHARS).collect())
}

/// Servers behind balancers that are remembered of a node: every balancer with all its servers.
const MAX_BACKENDS_SEEN: usize = MAX_BALANCERS_PER_NODE * MAX_BACKENDS;

#[cfg(test)]
mod tests {
    use super::*;

    const NODE: NodeId = NodeId(1);

    fn report(balancer: u64, taken: u64) -> BalancerReport {
        BalancerReport {
            balancer: BalancerId(balancer),
            trouble: None,
            counts: BalancerCounts {
                open: 1,
                taken,
                ..BalancerCounts::default()
            },
        }
    }

    #[test]
    fn totals_go_on_over_a_new_session_and_over_a_new_start_of_the_balancer() {
        let balancing = Balancing::default();
        let taken = |count| {
            balancing.report(NODE, &[report(7, count)], &[]);
            balancing.totals().taken
        };
        assert_eq!(taken(100), 0, "of before this controller");
        assert_eq!(taken(130), 30);
        balancing.silent(NODE);
        assert_eq!((balancing.totals().taken, balancing.totals().open), (30, 0));
        assert_eq!(taken(140), 40);
        assert_eq!(taken(5), 45);
    }

    #[test]
    fn a_node_that_invents_balancers_fills_no_memory() {
        let balancing = Balancing::default();
        for id in 0..1_000 {
            let backend = BackendReport {
                balancer: BalancerId(id),
                service: ServiceId(id),
                condition: malha_proto::BackendCondition::Up,
                connections: 0,
            };
            balancing.report(NODE, &[report(id, 1)], &[backend]);
        }
        let seen = balancing.lock();
        let of_node = &seen.nodes[&NODE];
        assert_eq!(of_node.balancers.len(), MAX_BALANCERS_PER_NODE);
        assert_eq!(of_node.counted.len(), MAX_BALANCERS_PER_NODE);
        assert_eq!(of_node.backends.len(), MAX_BACKENDS_SEEN);
    }

    #[test]
    fn a_trouble_is_short_and_without_control_characters() {
        let balancing = Balancing::default();
        let mut odd = report(7, 0);
        let why = format!("\u{1b}[2J{}", "x".repeat(1_000));
        odd.trouble = Some(BalancerTrouble::Other(why));
        balancing.report(NODE, &[odd], &[]);
        let kept = balancing.balancer(NODE, BalancerId(7)).unwrap();
        let trouble = kept.trouble.unwrap().to_string();
        assert!(trouble.starts_with("[2J") && trouble.chars().count() == MAX_TROUBLE_CHARS);
    }
}
