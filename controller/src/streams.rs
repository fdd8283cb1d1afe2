//! The nodes' stream connections: QUIC beside the tunnel, for nodes whose own TCP sends badly over a path that loses packets.
//! It chooses by measured loss who is dialled that way; what a stream may reach, the node decides as in its tunnel.
//!
//! New streams of a node go over one connection, accepted only beside the control session with the same certificate. One that a
//! newer connection replaced, as after a renewal, stands until its streams have ended. All are closed as soon as the state no
//! longer lets their certificates be the node's.

mod choice;
mod line;
mod open;
mod stream;
#[cfg(test)]
pub(crate) mod tests;

pub use choice::{Choice, Way};

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use malha_core::{Node, State};
use malha_node::streams::{RELIEF_INTERVAL, most_slow};
use malha_proto::{Fingerprint, MAX_FORMER_STREAM_CONNECTIONS, NodeId, PathLoss, StreamOpen};
use quinn::Connection;
use tokio::time::{MissedTickBehavior, interval};

use crate::session::{PeerCertificate, Registry};

use line::{Former, Line, REFUSED};

/// The stream connections of all nodes. One per controller.
#[derive(Default)]
pub struct Streams {
    /// Locked for a map access; the hub, the listener and the prober meet here.
    lines: Mutex<Lines>,
}

#[derive(Default)]
struct Lines {
    /// What was measured holds for the path, not for the connection: kept while the node is active.
    paths: BTreeMap<NodeId, NodePath>,
    /// Those that new streams go by.
    newest: BTreeMap<NodeId, Entry>,
    /// Oldest first, [`MAX_FORMER_STREAM_CONNECTIONS`] of a node at most.
    former: BTreeMap<NodeId, Vec<Former>>,
}

struct NodePath {
    choice: Choice,
    /// Counters as last seen, to take differences from.
    tunnel: Option<PathLoss>,
    /// Changes when new dials take another way than before.
    turns: u64,
}

struct Entry {
    line: Arc<Line>,
    certificate: Fingerprint,
    /// Counters as last seen, to take differences from.
    quic: PathLoss,
    /// A dial found it silent or broken; until then nobody is sent that way.
    avoid_until: Option<Instant>,
}

impl Streams {
    /// Serves one connection from accept to end.
    pub async fn serve(
        self: Arc<Self>,
        connection: Connection,
        certificate: Option<PeerCertificate>,
        registry: &Registry,
        state: &State,
    ) {
        let certificate = certificate.filter(|certificate| {
            let session = registry.find(certificate.node);
            // The session may go on under a certificate that it has renewed since.
            let keys = session.map(|session| [session.tls_key, certificate.key]);
            keys.is_some_and(|keys| keys.iter().all(|key| is_good(state, certificate.node, key)))
        });
        let Some(certificate) = certificate else {
            connection.close(REFUSED, b"no control session with this certificate");
            return;
        };
        prepare(&connection);
        self.sit(certificate, &connection);
        tracing::debug!(node = %certificate.node, "a stream connection stands");
        while let Ok(mut report) = connection.accept_uni().await {
            let mut bytes = [0; PathLoss::BYTES];
            if report.read_exact(&mut bytes).await.is_ok() {
                self.reported(certificate.node, &connection, PathLoss::decode(&bytes));
            }
        }
        self.leave(certificate.node, &connection);
    }

    /// What the hub's tunnel has seen of a node's messages so far. What is lost while no connection stands is lost by an outage, or was
    /// long ago.
    pub fn tunnel_measured(&self, node: NodeId, total: PathLoss) {
        let lines = &mut *self.lock();
        if lines.newest.contains_key(&node)
            && let Some(path) = lines.paths.get_mut(&node)
        {
            let former = path.tunnel.replace(total).unwrap_or(total);
            path.note(former, total);
        }
    }

    /// The way of new dials to a node, as a number that changes with it.
    pub fn turns(&self, node: NodeId) -> u64 {
        self.lock().paths.get(&node).map_or(0, |path| path.turns)
    }

    /// Whether new dials to the node go beside the tunnel.
    pub fn is_taken(&self, node: NodeId) -> bool {
        self.taken(node).is_some()
    }

    /// Closes the connections of those of `nodes` that may not have one any more. One whose certificate the node has put away since
    /// takes no new streams: whoever opens one with it today is a copy.
    pub fn review(&self, state: &State, nodes: &BTreeSet<NodeId>) {
        let mut lines = self.lock();
        for node in nodes {
            if !state.node(*node).is_some_and(Node::is_active) {
                lines.paths.remove(node);
            }
            let newest = lines.newest.get(node);
            if newest.is_some_and(|entry| !is_good(state, *node, &entry.certificate)) {
                lines.retire(*node);
            }
            if let Some(former) = lines.former.get_mut(node) {
                former.retain(|former| {
                    let stays = was_good(state, *node, &former.certificate);
                    if !stays {
                        former.close(b"the node's identity changed");
                    }
                    stays && former.stands()
                });
                if former.is_empty() {
                    lines.former.remove(node);
                }
            }
        }
    }

    /// [`review`](Self::review) of all nodes.
    pub fn review_all(&self, state: &State) {
        let all = {
            let lines = self.lock();
            let paths = lines.paths.keys();
            paths.chain(lines.former.keys()).copied().collect()
        };
        self.review(state, &all);
    }

    /// Looks for slow readers again and again, without end.
    pub async fn relieve(self: Arc<Self>) {
        let mut relief = interval(RELIEF_INTERVAL);
        relief.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            self.give_up_slow(relief.tick().await);
        }
    }

    /// Gives up readers that have been slow for the longest, where a connection has too many, or the hub; there the connections with
    /// the most pay first.
    fn give_up_slow(&self, now: tokio::time::Instant) {
        // Meanwhile nobody takes a line that is only held here for one that carries streams.
        let known = self.lock();
        let lines = known.all();
        let slow: Vec<_> = lines.iter().map(|line| line.readers.slow(now)).collect();
        let most = share(&slow);
        for line in lines {
            line.readers.keep(most, now);
        }
    }

    fn sit(&self, certificate: PeerCertificate, connection: &Connection) {
        let mut lines = self.lock();
        let stood = lines.newest.contains_key(&certificate.node);
        lines.retire(certificate.node);
        let path = lines.paths.entry(certificate.node);
        let path = path.or_insert_with(NodePath::new);
        path.tunnel = path.tunnel.filter(|_| stood);
        lines.turn(certificate.node);
        let entry = Entry {
            line: Line::new(connection.clone()),
            certificate: certificate.key,
            quic: PathLoss::default(),
            avoid_until: None,
        };
        lines.newest.insert(certificate.node, entry);
    }

    fn leave(&self, node: NodeId, connection: &Connection) {
        let mut lines = self.lock();
        if is_of(lines.newest.get(&node), connection) {
            lines.newest.remove(&node);
            lines.turn(node);
        }
    }

    fn reported(&self, node: NodeId, connection: &Connection, total: PathLoss) {
        let lines = &mut *self.lock();
        if is_of(lines.newest.get(&node), connection)
            && let Some(entry) = lines.newest.get_mut(&node)
            && let Some(path) = lines.paths.get_mut(&node)
        {
            let former = std::mem::replace(&mut entry.quic, total);
            path.note(former, total);
        }
    }

    fn taken(&self, node: NodeId) -> Option<Arc<Line>> {
        let lines = self.lock();
        let entry = lines.newest.get(&node)?;
        let avoided = entry
            .avoid_until
            .is_some_and(|until| Instant::now() < until);
        let path = lines.paths.get(&node)?;
        (path.choice.way() == Way::Quic && !avoided).then(|| entry.line.clone())
    }

    /// Nobody takes this connection for a while.
    fn avoid(&self, node: NodeId, connection: &Connection) {
        let mut lines = self.lock();
        if is_of(lines.newest.get(&node), connection)
            && let Some(entry) = lines.newest.get_mut(&node)
        {
            entry.avoid_until = Some(Instant::now() + AVOID_FOR);
            lines.turn(node);
        }
    }

    fn lock(&self) -> MutexGuard<'_, Lines> {
        self.lines.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Lines {
    /// Takes the node's newest connection out of use: once the entry is dropped, only its streams hold it. Without any it ends, and
    /// counts against no other.
    fn retire(&mut self, node: NodeId) {
        let Some(entry) = self.newest.remove(&node) else {
            return;
        };
        self.turn(node);
        if Line::has_streams(&entry.line) {
            let former = self.former.entry(node).or_default();
            former.retain(Former::stands);
            former.push(Former::new(&entry.line, entry.certificate));
            if former.len() > MAX_FORMER_STREAM_CONNECTIONS {
                former.remove(0).close(b"too many before this one");
            }
        }
    }

    /// New dials to the node leave a connection, or come to one.
    fn turn(&mut self, node: NodeId) {
        if let Some(path) = self.paths.get_mut(&node)
            && path.choice.way() == Way::Quic
        {
            path.turns += 1;
        }
    }

    fn all(&self) -> Vec<Arc<Line>> {
        let newest = self.newest.values().map(|entry| entry.line.clone());
        let former = self.former.values().flatten().filter_map(Former::line);
        newest.chain(former).collect()
    }
}

impl NodePath {
    fn new() -> Self {
        Self {
            choice: Choice::new(Instant::now()),
            tunnel: None,
            turns: 0,
        }
    }

    fn note(&mut self, former: PathLoss, total: PathLoss) {
        let before = self.choice.way();
        let sent = total.sent.saturating_sub(former.sent);
        let lost = i64::try_from(total.lost).unwrap_or(0) - i64::try_from(former.lost).unwrap_or(0);
        self.choice.note(sent, lost, Instant::now());
        if self.choice.way() != before {
            self.turns += 1;
            tracing::info!(way = ?self.choice.way(), "a node's requests take another way");
        }
    }
}

/// Limits a connection as the hub wants it for streams.
pub fn prepare(connection: &Connection) {
    connection.set_max_concurrent_bi_streams(0_u32.into());
    connection.set_max_concurrent_uni_streams(MAX_REPORTS.into());
    connection.set_receive_window(CONNECTION_WINDOW_BYTES.into());
}

/// How many slow readers each connection may have, of those with these numbers of them.
fn share(slow: &[usize]) -> usize {
    let in_all = |most: usize| slow.iter().map(|slow| most.min(*slow)).sum::<usize>();
    let shares = (1..=MOST_SLOW).rev();
    let mut fitting = shares.filter(|most| in_all(*most) <= MAX_SLOW_READERS);
    fitting.next().unwrap_or(1)
}

fn is_of(entry: Option<&Entry>, connection: &Connection) -> bool {
    entry.is_some_and(|entry| entry.line.connection().stable_id() == connection.stable_id())
}

/// Whether whoever shows this key is the node.
fn is_good(state: &State, node: NodeId, key: &Fingerprint) -> bool {
    state.node(node).is_some_and(|node| {
        let former = node.former_tls_keys.iter();
        let mut former = former.filter(|former| !former.copied);
        node.is_active() && (node.tls_key == *key || former.any(|former| former.key == *key))
    })
}

/// Whether whoever showed this key then was the node, and nobody is known to have copied it. The same lets a session go on.
fn was_good(state: &State, node: NodeId, key: &Fingerprint) -> bool {
    state.node(node).is_some_and(|node| {
        let mut former = node.former_tls_keys.iter();
        let copied = former.any(|former| former.key == *key && former.copied);
        node.is_active() && node.knows_key(key) && !copied
    })
}

/// Loss reports under way; the node sends one each 2 s at most.
const MAX_REPORTS: u32 = 2;
/// What a visitor may not have taken yet. With 20 ms and 1 % loss a stream gets about two fifths of a window in each round trip, for what
/// comes behind a lost packet waits for its repetition.
pub(crate) const STREAM_WINDOW_BYTES: u32 = 3 * 1024 * 1024;
/// The same over all streams of a node.
const CONNECTION_WINDOW_BYTES: u32 = 96 * 1024 * 1024;
const MOST_SLOW: usize = most_slow(CONNECTION_WINDOW_BYTES, STREAM_WINDOW_BYTES);
/// Over all nodes: what waits for them takes 510 MiB. Each connection may have one, however many there are.
const MAX_SLOW_READERS: usize = 170;
const AVOID_FOR: Duration = Duration::from_secs(10);
