//! What pairs of nodes share beside their netmaps: preshared keys, where to meet, channels of the relay. It tells sessions and
//! the hub what changed for them, and moves everyone to new keys in time. It never touches the state.

mod candidates;
mod id;
mod relay;
mod table;

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use ipnet::IpNet;
use malha_core::{AuditName, State};
use malha_pki::{MasterKey, PairEpochs, PkiError};
use malha_proto::{Netmap, NodeId, PAIRS_SINCE_VERSION, RelayGrant};
use malha_store::audit::{AuditOutcome, AuditRecord};
use thiserror::Error;
use tokio::sync::Notify;
use tokio::time::{MissedTickBehavior, interval, sleep};
use tokio_util::sync::CancellationToken;

use crate::audit::line;
use crate::clock::now_ms;
use crate::coordinator::{Actor, Handle, MAX_KEPT_AT_ONCE, SubmitError};
use crate::folder::{PAIR_EPOCH_PREFIX, PAIR_EPOCHS_KEY};
use crate::session::Registry;

use table::Table;

pub use id::PairId;

/// Why the keys were not rotated.
#[derive(Debug, Error)]
pub enum RotationError {
    #[error("no new secret: {0}")]
    Secret(#[from] PkiError),
    #[error("{0}")]
    Store(#[from] SubmitError),
}

/// The key that a node shares with the hub.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeyEpoch {
    pub number: u64,
    /// When keys like it were new, milliseconds of the Unix epoch; None if that is too long ago to know.
    pub since_ms: Option<u64>,
}

/// A session's place here. A newer one of the same node makes it worthless.
#[derive(Clone, Copy, Debug)]
pub struct PairSession(u64);

/// All pairs. One per controller.
///
/// A pair gets a newer key only while both its ends are here to hear of it: when the second one comes, or in its turn after a
/// rotation. Until then both go on with the key that they have. The epoch of each pair is durable before anyone is told its
/// key, so that a restart of the controller finds the hub with the keys that the nodes have on disk.
pub struct Pairs {
    /// Locked for a look or a change of one node; sessions, hub and dispatcher meet here.
    table: Mutex<Table>,
    handle: Handle,
    registry: Arc<Registry>,
    master: MasterKey,
    hub: NodeId,
    last_session: AtomicU64,
    /// There are news for sessions.
    stirred: Notify,
    /// There are news for the hub.
    hub_bell: Notify,
    /// One rotation at a time.
    rotation: tokio::sync::Mutex<()>,
    /// The wall clock: an epoch's age must outlive this process, and a machine's sleep.
    clock: fn() -> u64,
}

impl Pairs {
    /// `at` says which epoch each pair has the key of.
    #[must_use]
    pub fn new(
        epochs: PairEpochs,
        at: BTreeMap<PairId, u64>,
        master: MasterKey,
        hub: NodeId,
        handle: Handle,
        registry: Arc<Registry>,
    ) -> Self {
        Self {
            table: Mutex::new(Table::new(epochs, hub, at)),
            handle,
            registry,
            master,
            hub,
            last_session: AtomicU64::new(0),
            stirred: Notify::new(),
            hub_bell: Notify::new(),
            rotation: tokio::sync::Mutex::default(),
            clock: now_ms,
        }
    }

    /// Of a controller without a folder.
    #[cfg(test)]
    pub(crate) fn alone(handle: Handle, registry: Arc<Registry>) -> Arc<Self> {
        let epochs = PairEpochs::create(now_ms()).expect("random bytes");
        let master = MasterKey::from_bytes([5; 32]);
        let at = BTreeMap::new();
        Arc::new(Self::new(epochs, at, master, NodeId(1), handle, registry))
    }

    /// Tells who has news, and moves nodes to new keys, until `stop`.
    pub async fn run(&self, stop: CancellationToken) {
        let mut turn = interval(TURN);
        turn.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                () = self.stirred.notified() => {
                    // What changes together is told together.
                    sleep(DEBOUNCE).await;
                    let waiting = self.table().with_news();
                    self.registry.ring(&waiting);
                }
                _ = turn.tick() => self.turn().await,
                () = stop.cancelled() => return,
            }
        }
    }

    /// A node's session opens; `version` is what the node speaks. None for one that knows nothing of pairs: it has no keys
    /// from now on.
    pub async fn open(&self, node: NodeId, version: u16) -> Option<PairSession> {
        self.follow(&self.handle.state(), [&node]);
        if version < PAIRS_SINCE_VERSION {
            let pairs = self.table().drop_keys(node);
            self.record(&pairs, None).await;
            return None;
        }
        let session = PairSession(self.last_session.fetch_add(1, Ordering::Relaxed) + 1);
        self.table().opened(node, session.0);
        // A node with few peers, so nearly each, gets its keys with its first message.
        self.move_pairs().await;
        Some(session)
    }

    /// The session is over.
    pub fn close(&self, node: NodeId, session: PairSession) {
        self.table().closed(node, session.0);
    }

    /// What a session has to tell its node now; it counts as told.
    #[must_use]
    pub fn news(&self, node: NodeId, session: PairSession) -> Vec<malha_proto::Pairs> {
        let news = self.table().take(node, session.0);
        self.ring_hub();
        news
    }

    /// These nodes' netmaps have changed.
    pub fn follow<'a>(&self, state: &State, nodes: impl IntoIterator<Item = &'a NodeId>) {
        for node in nodes {
            // The hub follows by itself, with the netmap that it needs anyway.
            if *node == self.hub {
                continue;
            }
            // One that is gone is forgotten when its removal is told.
            if let Some((map, entity)) = state.netmap(*node).zip(state.node(*node)) {
                self.table().follow(*node, entity.wg_key, &map.peers);
            }
        }
        self.stir();
    }

    /// All netmaps may have changed.
    pub fn follow_all(&self, state: &State) {
        let known = self.table().known();
        self.follow(state, &known);
    }

    /// Nodes are gone for good.
    pub async fn forget(&self, nodes: &BTreeSet<NodeId>) {
        let pairs: Vec<PairId> = {
            let mut table = self.table();
            nodes.iter().flat_map(|node| table.forget(*node)).collect()
        };
        self.stir();
        self.record(&pairs, None).await;
    }

    /// A node says where its own interfaces listen.
    pub fn listens(&self, node: NodeId, said: &[SocketAddr]) {
        let state = self.handle.state();
        let pools = state.settings().pools;
        let overlay = [IpNet::from(pools.v4), IpNet::from(pools.v6)];
        let usable = candidates::usable(said, &overlay);
        let mut table = self.table();
        if table.listens(node, usable) {
            table.tell_of(node);
            drop(table);
            self.stir();
        }
    }

    /// The hub's tunnel hears nodes there.
    pub fn seen(&self, endpoints: impl IntoIterator<Item = (NodeId, SocketAddr)>) {
        for (node, endpoint) in endpoints {
            if !self.table().seen(node, endpoint) {
                continue;
            }
            if self.table().is_unfollowed(node) {
                self.follow(&self.handle.state(), [&node]);
            }
            self.table().tell_of(node);
            self.stir();
        }
    }

    /// Makes new keys for every pair; those of nodes that are here move to them within the next seconds, the others when both
    /// ends are here.
    pub async fn rotate(
        &self,
        actor: &Actor,
        reason: Option<String>,
    ) -> Result<u64, RotationError> {
        let _one = self.rotation.lock().await;
        self.begin_epoch(actor, reason).await
    }

    /// The key that a node shares with the hub; None for one without.
    #[must_use]
    pub fn key_epoch(&self, node: NodeId) -> Option<KeyEpoch> {
        let table = self.table();
        let number = table.epoch_of(node)?;
        Some(KeyEpoch {
            number,
            since_ms: table.epochs().since_ms(number),
        })
    }

    /// The hub's tunnel relays nothing: to be called before any session opens.
    pub fn close_relay(&self) {
        self.table().relay().close();
    }

    /// Returns when there may be news for the hub.
    pub async fn hub_stirred(&self) {
        self.hub_bell.notified().await;
    }

    /// The hub's netmap, and what the hub has to know of its pairs; it counts as told.
    #[must_use]
    pub fn hub_news(&self, map: Option<&Netmap>) -> Vec<malha_proto::Pairs> {
        let state = self.handle.state();
        let mut table = self.table();
        if let Some((map, hub)) = map.zip(state.node(self.hub)) {
            table.follow(self.hub, hub.wg_key, &map.peers);
        }
        table.take_for_hub()
    }

    /// The channels of the relay and whose they are, if they are others than at the last call.
    #[must_use]
    pub fn relay_news(&self) -> Option<Vec<[(NodeId, RelayGrant); 2]>> {
        self.table().relay().take_change()
    }

    /// Rotates when it is time, gives the next pairs their turn, and tells of nodes that were not told of at once.
    async fn turn(&self) {
        if self.table().tell_late() {
            self.stir();
        }
        let one = self.rotation.lock().await;
        if self.is_time()
            && let Err(error) = self.begin_epoch(&Actor::controller(), None).await
        {
            tracing::warn!(%error, "the preshared keys stay as they are; trying again");
        }
        drop(one);
        self.move_pairs().await;
    }

    /// Whether the newest epoch is a day old. One that begins well ahead of now is from a clock that stood wrong, and would
    /// keep its keys until that day.
    fn is_time(&self) -> bool {
        let now_ms = (self.clock)();
        let table = self.table();
        let began_ms = table.epochs().since_ms(table.epochs().newest());
        began_ms.is_some_and(|began_ms| {
            now_ms.saturating_sub(began_ms) >= EPOCH_MS
                || began_ms.saturating_sub(now_ms) >= CLOCK_STEP_MS
        })
    }

    /// The next epoch, durable before it counts. Whoever calls holds `rotation`.
    async fn begin_epoch(
        &self,
        actor: &Actor,
        reason: Option<String>,
    ) -> Result<u64, RotationError> {
        let now_ms = (self.clock)();
        let epochs = {
            let table = self.table();
            table.epochs().rotated(now_ms, &table.epochs_in_use())?
        };
        let newest = epochs.newest();
        let sealed = String::from(epochs.seal(&self.master)?);
        let record = serde_json::to_vec(&sealed)
            .map_err(|error| SubmitError::Unavailable(error.to_string()))?;
        let target = format!("epoch {newest}");
        let mut line: AuditRecord = line(
            actor,
            AuditName::PskRotate,
            target,
            AuditOutcome::Accepted,
            now_ms,
        );
        line.detail
            .extend(reason.map(|reason| ("reason".to_owned(), reason)));
        let records = vec![(PAIR_EPOCHS_KEY.to_owned(), Some(record))];
        self.handle.keep(records, Some(line)).await?;
        self.table().begin_epoch(epochs);
        Ok(newest)
    }

    /// Gives the next pairs the newest key, durably first. Where the disk refuses, they stay with what they have.
    async fn move_pairs(&self) {
        let (pairs, newest) = {
            let mut table = self.table();
            (table.take_movable(MOVED_PER_TURN), table.epochs().newest())
        };
        if pairs.is_empty() {
            return;
        }
        let is_kept = self.record(&pairs, Some(newest)).await;
        let mut table = self.table();
        match is_kept {
            true => pairs
                .into_iter()
                .for_each(|pair| table.set(pair, Some(newest))),
            false => table.put_back(pairs),
        }
        drop(table);
        self.stir();
    }

    async fn record(&self, pairs: &[PairId], epoch: Option<u64>) -> bool {
        let value = epoch.map(|epoch| epoch.to_be_bytes().to_vec());
        for some in pairs.chunks(MAX_KEPT_AT_ONCE) {
            let records = some
                .iter()
                .map(|pair| (format!("{PAIR_EPOCH_PREFIX}{pair}"), value.clone()));
            if let Err(error) = self.handle.keep(records.collect(), None).await {
                tracing::warn!(%error, "the epoch of some pairs' keys could not be noted");
                return false;
            }
        }
        true
    }

    fn stir(&self) {
        self.stirred.notify_one();
        self.ring_hub();
    }

    fn ring_hub(&self) {
        self.hub_bell.notify_one();
    }

    fn table(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// How long the keys of one epoch are the newest.
const EPOCH_MS: u64 = 24 * 60 * 60 * 1_000;
/// A clock that is set back by less than this was right enough.
const CLOCK_STEP_MS: u64 = 60 * 60 * 1_000;
/// Changes within this time are told together.
const DEBOUNCE: Duration = Duration::from_millis(200);
/// How often the next pairs get new keys, and how many then: a rotation is no storm of handshakes.
const TURN: Duration = Duration::from_secs(1);
const MOVED_PER_TURN: usize = 500;

#[cfg(test)]
mod tests;
