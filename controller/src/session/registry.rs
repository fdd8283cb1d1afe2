//! Which node has an open session, and the bell to ring when something changed for it. One per controller.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use malha_core::LiveSession;
use malha_proto::{Fingerprint, MachineFacts, NodeId, Revision};
use tokio::sync::{Notify, mpsc, watch};

use crate::session::Transport;
use crate::session::probes::{MAX_PROBE_REQUESTS, ProbeRequest};

/// What the registry knows of an open session.
#[derive(Clone, Debug)]
pub struct SessionSummary {
    pub instance: u64,
    /// SHA-256 of the public key of its certificate.
    pub tls_key: Fingerprint,
    pub transport: Transport,
    pub remote: SocketAddr,
    pub since_ms: u64,
    pub facts: MachineFacts,
    /// Of the protocol, as the node said in its hello.
    pub version: u16,
    /// The newest revision that the node said it runs with.
    pub applied: Revision,
}

/// What may be told to an open session from outside.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    Continue,
    /// A newer session of the same process took over.
    Superseded,
    /// Two machines show this identity.
    Cloned,
    /// The node is gone or its key is no longer good.
    Removed,
}

/// The handle of one session, held by its task.
pub struct Seat {
    pub bell: Arc<Notify>,
    pub order: watch::Receiver<Order>,
    /// Ports that the node shall look at.
    pub probes: mpsc::Receiver<ProbeRequest>,
    /// Counts frames received; the sign of life for a rival's hello.
    heard: watch::Sender<u64>,
    number: u64,
    node: NodeId,
}

/// All open sessions.
pub struct Registry {
    /// Locked for a map access only; sessions, the dispatcher and the API meet here.
    seats: Mutex<Seats>,
    applied: watch::Sender<u64>,
    /// The number of the last order to look at ports; random at first, so that no answer from before a restart fits.
    last_probe: AtomicU64,
}

#[derive(Default)]
struct Seats {
    by_node: BTreeMap<NodeId, Entry>,
    next_number: u64,
}

struct Entry {
    number: u64,
    summary: SessionSummary,
    bell: Arc<Notify>,
    order: watch::Sender<Order>,
    probes: mpsc::Sender<ProbeRequest>,
    heard: watch::Receiver<u64>,
}

impl Default for Registry {
    fn default() -> Self {
        Self {
            seats: Mutex::default(),
            applied: watch::channel(0).0,
            last_probe: AtomicU64::new(getrandom::u64().unwrap_or_default()),
        }
    }
}

impl Registry {
    /// Takes the node's seat; whoever sat there is told that it was superseded. The bell rings once, for what was committed
    /// between the session's first look at the state and now.
    pub fn sit(&self, node: NodeId, summary: SessionSummary) -> Seat {
        let bell = Arc::new(Notify::new());
        bell.notify_one();
        let (order, order_out) = watch::channel(Order::Continue);
        let (heard, heard_out) = watch::channel(0);
        let (probes, probes_out) = mpsc::channel(MAX_PROBE_REQUESTS);
        let mut seats = self.lock();
        seats.next_number += 1;
        let number = seats.next_number;
        let entry = Entry {
            number,
            summary,
            bell: bell.clone(),
            order,
            probes,
            heard: heard_out,
        };
        if let Some(former) = seats.by_node.insert(node, entry) {
            former.order.send_replace(Order::Superseded);
        }
        Seat {
            bell,
            order: order_out,
            probes: probes_out,
            heard,
            number,
            node,
        }
    }

    /// Leaves the seat, if it is still this session's. Says whether it was.
    pub fn leave(&self, seat: &Seat) -> bool {
        let mut seats = self.lock();
        let still = seats
            .by_node
            .get(&seat.node)
            .is_some_and(|entry| entry.number == seat.number);
        if still {
            seats.by_node.remove(&seat.node);
        }
        drop(seats);
        if still {
            self.applied.send_modify(|count| *count += 1);
        }
        still
    }

    /// Notes a revision that a node said it runs with.
    pub fn applied(&self, seat: &Seat, revision: Revision) {
        let mut seats = self.lock();
        if let Some(entry) = seats
            .by_node
            .get_mut(&seat.node)
            .filter(|entry| entry.number == seat.number)
        {
            entry.summary.applied = entry.summary.applied.max(revision);
        }
        drop(seats);
        self.applied.send_modify(|count| *count += 1);
    }

    /// Notes where a node's session comes from now.
    pub fn moved(&self, seat: &Seat, remote: SocketAddr) {
        let mut seats = self.lock();
        if let Some(entry) = seats
            .by_node
            .get_mut(&seat.node)
            .filter(|entry| entry.number == seat.number)
        {
            entry.summary.remote = remote;
        }
    }

    /// Changes whenever a node applied something or left.
    #[must_use]
    pub fn progress(&self) -> watch::Receiver<u64> {
        self.applied.subscribe()
    }

    /// Rings for each of these nodes that is here.
    pub fn ring<'a>(&self, nodes: impl IntoIterator<Item = &'a NodeId>) {
        let seats = self.lock();
        for node in nodes {
            if let Some(entry) = seats.by_node.get(node) {
                entry.bell.notify_one();
            }
        }
    }

    /// Rings for everyone.
    pub fn ring_all(&self) {
        for entry in self.lock().by_node.values() {
            entry.bell.notify_one();
        }
    }

    /// Tells a node's open session to end.
    pub fn order(&self, node: NodeId, order: Order) {
        if let Some(entry) = self.lock().by_node.get(&node) {
            entry.order.send_replace(order);
        }
    }

    #[must_use]
    pub fn find(&self, node: NodeId) -> Option<SessionSummary> {
        self.lock()
            .by_node
            .get(&node)
            .map(|entry| entry.summary.clone())
    }

    /// The newest revision that a node with an open session runs with.
    #[must_use]
    pub fn applied_by(&self, node: NodeId) -> Option<Revision> {
        self.lock()
            .by_node
            .get(&node)
            .map(|entry| entry.summary.applied)
    }

    /// The protocol's version that a node speaks, and the way for orders to look at ports.
    pub(super) fn probe_orders(&self, node: NodeId) -> Option<(u16, mpsc::Sender<ProbeRequest>)> {
        let seats = self.lock();
        let entry = seats.by_node.get(&node)?;
        Some((entry.summary.version, entry.probes.clone()))
    }

    pub(super) fn next_probe_number(&self) -> u64 {
        self.last_probe
            .fetch_add(1, Ordering::Relaxed)
            .wrapping_add(1)
    }

    #[must_use]
    pub fn is_open(&self, node: NodeId) -> bool {
        self.lock().by_node.contains_key(&node)
    }

    #[must_use]
    pub fn count(&self) -> usize {
        self.lock().by_node.len()
    }

    /// The open session of a node that another process now claims to be. If it is another instance, waits until it is
    /// heard, at most `patience`: a machine that still talks, and stays, can't have been restarted. What comes within
    /// [`LATE_BYTES_PAUSE`] does not count, nor does what has its end right behind it: it may be a dead process's last
    /// words, which its kernel repeats until the network takes them.
    pub async fn challenge(
        &self,
        node: NodeId,
        newcomer: u64,
        patience: Duration,
    ) -> Option<LiveSession> {
        let (summary, mut heard) = {
            let seats = self.lock();
            let entry = seats.by_node.get(&node)?;
            (entry.summary.clone(), entry.heard.clone())
        };
        let talks = async {
            tokio::time::sleep(LATE_BYTES_PAUSE).await;
            heard.mark_unchanged();
            heard.changed().await.is_ok()
        };
        let alive = summary.instance != newcomer
            && tokio::time::timeout(patience, talks).await.unwrap_or(false)
            && stays(heard).await;
        let SessionSummary {
            instance,
            tls_key,
            remote,
            facts,
            ..
        } = summary;
        Some(LiveSession {
            instance,
            tls_key,
            alive,
            facts,
            source: Some(remote),
        })
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Seats> {
        self.seats.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether a session that was heard is not about to end.
async fn stays(mut heard: watch::Receiver<u64>) -> bool {
    let leaves = async { while heard.changed().await.is_ok() {} };
    tokio::time::timeout(LATE_BYTES_PAUSE, leaves)
        .await
        .is_err()
}

impl Seat {
    /// A frame came in.
    pub fn heard(&self) {
        self.heard.send_modify(|count| *count += 1);
    }
}

const LATE_BYTES_PAUSE: Duration = Duration::from_millis(500);

#[cfg(test)]
mod tests {
    use super::*;
    use malha_proto::MachineId;

    fn summary(instance: u64) -> SessionSummary {
        SessionSummary {
            instance,
            tls_key: Fingerprint([2; 32]),
            transport: Transport::Quic,
            remote: "192.0.2.1:1".parse().unwrap(),
            since_ms: 0,
            facts: MachineFacts {
                host_name: "garagem".into(),
                machine: MachineId([1; 16]),
                agent_version: "1".into(),
                os: "linux".into(),
                engine: None,
            },
            version: malha_proto::PROTOCOL_VERSION,
            applied: Revision(0),
        }
    }

    #[test]
    fn the_newer_session_of_a_node_supersedes_the_older_and_keeps_its_seat_when_that_leaves() {
        let registry = Registry::default();
        let old = registry.sit(NodeId(1), summary(7));
        let new = registry.sit(NodeId(1), summary(8));
        assert_eq!(*old.order.borrow(), Order::Superseded);
        assert!(!registry.leave(&old));
        assert_eq!(
            registry.find(NodeId(1)).map(|summary| summary.instance),
            Some(8)
        );
        assert!(registry.leave(&new));
        assert_eq!(registry.count(), 0);
    }

    /// A challenge during which the sitting session is heard once, this long after it began.
    async fn challenged(heard_after: Duration) -> bool {
        let registry = Registry::default();
        let seat = registry.sit(NodeId(1), summary(7));
        let (live, ()) = tokio::join!(
            registry.challenge(NodeId(1), 8, Duration::from_secs(2)),
            async {
                tokio::time::sleep(heard_after).await;
                seat.heard();
            }
        );
        live.unwrap().alive
    }

    #[tokio::test(start_paused = true)]
    async fn a_session_that_goes_on_talking_after_a_rivals_hello_is_alive() {
        assert!(challenged(Duration::from_millis(1_500)).await);
    }

    #[tokio::test(start_paused = true)]
    async fn last_words_on_their_way_and_silence_are_no_signs_of_life() {
        assert!(!challenged(Duration::from_millis(100)).await);
        assert!(!challenged(Duration::from_secs(5)).await);
    }

    #[tokio::test(start_paused = true)]
    async fn last_words_with_the_end_right_behind_them_are_no_sign_of_life() {
        let registry = Registry::default();
        let seat = registry.sit(NodeId(1), summary(7));
        let (live, ()) = tokio::join!(
            registry.challenge(NodeId(1), 8, Duration::from_secs(2)),
            async {
                tokio::time::sleep(Duration::from_millis(1_500)).await;
                seat.heard();
                tokio::time::sleep(Duration::from_millis(50)).await;
                registry.leave(&seat);
                drop(seat);
            }
        );
        assert!(!live.unwrap().alive);
    }

    #[tokio::test]
    async fn a_reconnection_of_the_same_process_is_not_made_to_wait() {
        let registry = Registry::default();
        let _seat = registry.sit(NodeId(1), summary(7));
        let live = registry
            .challenge(NodeId(1), 7, Duration::from_secs(3_600))
            .await;
        assert!(live.is_some_and(|live| !live.alive && live.instance == 7));
    }
}
