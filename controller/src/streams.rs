//! The nodes' stream connections: QUIC beside the tunnel, for nodes whose own TCP sends badly over a path that loses packets.
//! It chooses by measured loss who is dialled that way; what a stream may reach, the node decides as in its tunnel.
//!
//! At most one connection per node, accepted only beside the control session with the same certificate, and closed as soon as
//! the state no longer lets that certificate be the node.

mod choice;
mod open;
mod stream;
#[cfg(test)]
pub(crate) mod tests;

pub use choice::{Choice, Way};

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use malha_core::State;
use malha_proto::{Fingerprint, NodeId, PathLoss, StreamOpen};
use quinn::{Connection, VarInt};

use crate::session::{PeerCertificate, Registry};

/// The stream connections of all nodes. One per controller.
#[derive(Default)]
pub struct Streams {
    /// Locked for a map access; the hub, the listener and the prober meet here.
    nodes: Mutex<BTreeMap<NodeId, Entry>>,
}

struct Entry {
    connection: Connection,
    certificate: Fingerprint,
    choice: Choice,
    /// Counters as last seen, to take differences from.
    tunnel: Option<PathLoss>,
    quic: PathLoss,
    /// A dial found it silent or broken; until then nobody is sent that way.
    avoid_until: Option<Instant>,
    /// Changes when new dials take another way than before.
    turns: u64,
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
        connection.set_max_concurrent_bi_streams(0_u32.into());
        connection.set_max_concurrent_uni_streams(MAX_REPORTS.into());
        connection.set_receive_window(CONNECTION_WINDOW_BYTES.into());
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

    /// What the hub's tunnel has seen of a node's messages so far.
    pub fn tunnel_measured(&self, node: NodeId, total: PathLoss) {
        if let Some(entry) = self.lock().get_mut(&node) {
            // What was lost before the connection stood may be long ago.
            let former = entry.tunnel.replace(total).unwrap_or(total);
            entry.note(former, total);
        }
    }

    /// The way of new dials to a node, as a number that changes with it.
    pub fn turns(&self, node: NodeId) -> u64 {
        self.lock().get(&node).map_or(0, |entry| entry.turns)
    }

    /// Whether new dials to the node go beside the tunnel.
    pub fn is_taken(&self, node: NodeId) -> bool {
        self.taken(node).is_some()
    }

    /// Closes the connections of those of `nodes` that may not have one any more.
    pub fn review(&self, state: &State, nodes: &BTreeSet<NodeId>) {
        let mut entries = self.lock();
        for node in nodes {
            let stays = |entry: &Entry| is_good(state, *node, &entry.certificate);
            if entries.get(node).is_some_and(|entry| !stays(entry))
                && let Some(gone) = entries.remove(node)
            {
                gone.connection
                    .close(REFUSED, b"the node's identity changed");
            }
        }
    }

    /// [`review`](Self::review) of all nodes.
    pub fn review_all(&self, state: &State) {
        let all = self.lock().keys().copied().collect();
        self.review(state, &all);
    }

    fn sit(&self, certificate: PeerCertificate, connection: &Connection) {
        let mut entries = self.lock();
        let former = entries.remove(&certificate.node);
        // What was measured holds for the path, not for the connection.
        let (choice, turns) = former.map_or((Choice::new(Instant::now()), 0), |former| {
            former.connection.close(REFUSED, b"superseded");
            (former.choice, former.turns + 1)
        });
        let entry = Entry {
            connection: connection.clone(),
            certificate: certificate.key,
            choice,
            tunnel: None,
            quic: PathLoss::default(),
            avoid_until: None,
            turns,
        };
        entries.insert(certificate.node, entry);
    }

    fn leave(&self, node: NodeId, connection: &Connection) {
        let mut entries = self.lock();
        if is_of(entries.get(&node), connection) {
            entries.remove(&node);
        }
    }

    fn reported(&self, node: NodeId, connection: &Connection, total: PathLoss) {
        let mut entries = self.lock();
        if is_of(entries.get(&node), connection)
            && let Some(entry) = entries.get_mut(&node)
        {
            let former = std::mem::replace(&mut entry.quic, total);
            entry.note(former, total);
        }
    }

    fn taken(&self, node: NodeId) -> Option<Connection> {
        let entries = self.lock();
        let entry = entries.get(&node)?;
        let avoided = entry
            .avoid_until
            .is_some_and(|until| Instant::now() < until);
        (entry.choice.way() == Way::Quic && !avoided).then(|| entry.connection.clone())
    }

    /// Nobody takes this connection for a while.
    fn avoid(&self, node: NodeId, connection: &Connection) {
        let mut entries = self.lock();
        if is_of(entries.get(&node), connection)
            && let Some(entry) = entries.get_mut(&node)
        {
            entry.avoid_until = Some(Instant::now() + AVOID_FOR);
            entry.turns += 1;
        }
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<NodeId, Entry>> {
        self.nodes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Entry {
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

fn is_of(entry: Option<&Entry>, connection: &Connection) -> bool {
    entry.is_some_and(|entry| entry.connection.stable_id() == connection.stable_id())
}

/// Whether whoever shows this key is the node.
fn is_good(state: &State, node: NodeId, key: &Fingerprint) -> bool {
    state.node(node).is_some_and(|node| {
        let former = node.former_tls_keys.iter();
        let mut former = former.filter(|former| !former.copied);
        node.is_active() && (node.tls_key == *key || former.any(|former| former.key == *key))
    })
}

/// Loss reports under way; the node sends one each 2 s at most.
const MAX_REPORTS: u32 = 2;
/// What one node's services may have sent that visitors have not taken yet, over all its streams.
const CONNECTION_WINDOW_BYTES: u32 = 8 * 1024 * 1024;
const AVOID_FOR: Duration = Duration::from_secs(10);
const REFUSED: VarInt = VarInt::from_u32(1);
