//! Which two nodes share what, as a machine without I/O: what is observed goes in, news per node come out. The work follows
//! the change: one node's change makes news for its own peers that are here, and for no one else.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::time::Duration;

use malha_pki::PairEpochs;
use malha_proto::{NodeId, Pair, PairKey, Pairs, Peer, WgKey};

use crate::pairs::relay::RelayTable;
use crate::pairs::{PairId, candidates};
use crate::rate::Debt;

/// Everything known of pairs. One per controller.
pub(super) struct Table {
    epochs: PairEpochs,
    hub: NodeId,
    ends: BTreeMap<NodeId, End>,
    /// The epoch of each pair whose ends share a key.
    at: BTreeMap<PairId, u64>,
    /// Pairs that may be moved to the newest epoch.
    pending: BTreeSet<PairId>,
    /// Nodes whose candidates have changed too often to be told of at once.
    late: BTreeSet<NodeId>,
    relay: RelayTable,
}

/// One node as an end of its pairs.
struct End {
    /// The session that hears of its pairs; None while it is away.
    session: Option<u64>,
    key: Option<WgKey>,
    peers: BTreeMap<NodeId, WgKey>,
    /// Where its own interfaces listen, as it says.
    listen: Vec<SocketAddr>,
    /// Where the hub's tunnel hears it.
    seen: Option<SocketAddr>,
    /// For what its peers were told of that.
    told: Debt,
    news: News,
}

impl Default for End {
    fn default() -> Self {
        Self {
            session: None,
            key: None,
            peers: BTreeMap::new(),
            listen: Vec::new(),
            seen: None,
            told: Debt::none(),
            news: News::default(),
        }
    }
}

/// What a node that is here has not been told yet.
#[derive(Debug, PartialEq, Eq)]
enum News {
    Of(BTreeSet<NodeId>),
    Everything,
}

impl Default for News {
    fn default() -> Self {
        Self::Of(BTreeSet::new())
    }
}

impl News {
    fn is_any(&self) -> bool {
        *self != Self::default()
    }

    fn add(&mut self, peer: NodeId) {
        if let Self::Of(peers) = self {
            peers.insert(peer);
        }
    }
}

impl Table {
    /// `at` says which epoch each pair has the key of. The hub is always here.
    pub(super) fn new(epochs: PairEpochs, hub: NodeId, at: BTreeMap<PairId, u64>) -> Self {
        let hub_end = End {
            session: Some(HUB_SESSION),
            news: News::Everything,
            ..End::default()
        };
        Self {
            epochs,
            hub,
            ends: BTreeMap::from([(hub, hub_end)]),
            at,
            pending: BTreeSet::new(),
            late: BTreeSet::new(),
            relay: RelayTable::new(hub),
        }
    }

    pub(super) fn epochs(&self) -> &PairEpochs {
        &self.epochs
    }

    pub(super) fn epochs_in_use(&self) -> BTreeSet<u64> {
        self.at.values().copied().collect()
    }

    /// The epoch of the key that a node shares with the hub.
    pub(super) fn epoch_of(&self, node: NodeId) -> Option<u64> {
        self.at.get(&PairId::of(node, self.hub)).copied()
    }

    pub(super) fn known(&self) -> Vec<NodeId> {
        self.ends.keys().copied().collect()
    }

    /// Whether it is not known yet who a node's peers are.
    pub(super) fn is_unfollowed(&self, node: NodeId) -> bool {
        self.ends.get(&node).is_none_or(|end| end.key.is_none())
    }

    /// A session that hears of pairs opened: its node is to be told everything, and may get newer keys.
    pub(super) fn opened(&mut self, node: NodeId, session: u64) {
        let end = self.ends.entry(node).or_default();
        end.session = Some(session);
        end.news = News::Everything;
        let peers: Vec<NodeId> = end.peers.keys().copied().collect();
        self.consider(node, peers);
    }

    /// The session ended, unless the node has another already.
    pub(super) fn closed(&mut self, node: NodeId, session: u64) {
        if let Some(end) = self
            .ends
            .get_mut(&node)
            .filter(|e| e.session == Some(session))
        {
            end.session = None;
            end.news = News::default();
        }
    }

    /// The node's own key and its peers are these now; no peers for one that is held apart.
    pub(super) fn follow(&mut self, node: NodeId, key: WgKey, peers: &BTreeMap<NodeId, Peer>) {
        let end = self.ends.entry(node).or_default();
        let peers: BTreeMap<_, _> = peers.values().map(|peer| (peer.id, peer.key)).collect();
        if end.key.replace(key).is_some_and(|former| former != key) {
            end.news = News::Everything;
            for partner in self.relay.rekeyed(node) {
                self.tell(partner, node);
            }
        }
        let end = self.ends.entry(node).or_default();
        let former = std::mem::replace(&mut end.peers, peers);
        let is_new = |(peer, key): &(&NodeId, &WgKey)| former.get(*peer) != Some(*key);
        let new: Vec<NodeId> = (end.peers.iter().filter(is_new))
            .map(|(id, _)| *id)
            .collect();
        new.iter().for_each(|peer| end.news.add(*peer));
        let gone = former.into_keys();
        let gone: Vec<_> = gone.filter(|id| !end.peers.contains_key(id)).collect();
        for peer in gone {
            self.relay.withdraw(node, peer);
        }
        self.consider(node, new);
    }

    /// The node is gone for good; the pairs that had a key.
    pub(super) fn forget(&mut self, node: NodeId) -> Vec<PairId> {
        self.relay.withdraw_all(node);
        self.ends.remove(&node);
        self.drop_keys(node)
    }

    /// A node knows nothing of keys any more; the pairs that had one.
    pub(super) fn drop_keys(&mut self, node: NodeId) -> Vec<PairId> {
        let with_key = self.at.keys().filter(|pair| pair.ends().contains(&node));
        let with_key: Vec<PairId> = with_key.copied().collect();
        for pair in &with_key {
            self.set(*pair, None);
        }
        with_key
    }

    /// Where a node's own interfaces listen; whether that is news, for [`Self::tell_of`].
    pub(super) fn listens(&mut self, node: NodeId, addresses: Vec<SocketAddr>) -> bool {
        let listen = &mut self.ends.entry(node).or_default().listen;
        std::mem::replace(listen, addresses) != *listen
    }

    /// Where the hub's tunnel hears a node; whether that is news, for [`Self::tell_of`].
    pub(super) fn seen(&mut self, node: NodeId, endpoint: SocketAddr) -> bool {
        let seen = &mut self.ends.entry(node).or_default().seen;
        seen.replace(endpoint) != Some(endpoint)
    }

    /// A node's candidates have changed: its peers that are here must know, now or, where that was so too often, at
    /// [`Self::tell_late`]. The hub finds nodes by itself.
    pub(super) fn tell_of(&mut self, node: NodeId) {
        let Some(end) = self.ends.get_mut(&node) else {
            return;
        };
        if end.told.over(TOLD_AHEAD).is_some() {
            self.late.insert(node);
            return;
        }
        end.told.add(TOLD_EACH);
        let mut peers: Vec<NodeId> = end.peers.keys().copied().collect();
        peers.retain(|peer| *peer != self.hub);
        for peer in peers {
            self.tell(peer, node);
        }
    }

    /// Tells of those who had to wait and no longer have to; whether there were any.
    pub(super) fn tell_late(&mut self) -> bool {
        let late = std::mem::take(&mut self.late);
        late.iter().for_each(|node| self.tell_of(*node));
        self.late.len() < late.len()
    }

    /// The next epoch begins. Nobody's key changes by that: pairs move in their turn.
    pub(super) fn begin_epoch(&mut self, epochs: PairEpochs) {
        self.epochs = epochs;
        let here = self.ends.iter().filter(|(_, end)| end.session.is_some());
        let pairs = here.flat_map(|(id, end)| end.peers.keys().map(|peer| PairId::of(*id, *peer)));
        self.pending = pairs.collect();
    }

    /// Takes pairs that can have the newest key now, at most `most`: both ends are here, so both will hear of it.
    pub(super) fn take_movable(&mut self, most: usize) -> Vec<PairId> {
        let newest = Some(self.epochs.newest());
        let mut movable = Vec::new();
        while movable.len() < most
            && let Some(pair) = self.pending.pop_first()
        {
            let is_behind = self.at.get(&pair).copied() != newest;
            if is_behind && pair.ends().iter().all(|end| self.is_here(*end)) {
                movable.push(pair);
            }
        }
        movable
    }

    /// Those could not be moved; their turn comes again.
    pub(super) fn put_back(&mut self, pairs: Vec<PairId>) {
        self.pending.extend(pairs);
    }

    /// A pair has the key of another epoch from now on, or none any more; each end that is here will hear of it.
    pub(super) fn set(&mut self, pair: PairId, epoch: Option<u64>) {
        match epoch {
            Some(epoch) => self.at.insert(pair, epoch),
            None => self.at.remove(&pair),
        };
        let [low, high] = pair.ends();
        self.tell(low, high);
        self.tell(high, low);
    }

    /// Nodes that are here and have news.
    pub(super) fn with_news(&self) -> Vec<NodeId> {
        let waiting = self.ends.iter();
        let waiting = waiting.filter(|(_, end)| end.session.is_some() && end.news.is_any());
        waiting.map(|(id, _)| *id).collect()
    }

    /// The news of a node as messages, which from now on it has been told. None of them for a session that was replaced.
    pub(super) fn take(&mut self, node: NodeId, session: u64) -> Vec<Pairs> {
        let Some(end) = self
            .ends
            .get_mut(&node)
            .filter(|e| e.session == Some(session))
        else {
            return Vec::new();
        };
        let Some(me) = end.key else {
            return Vec::new();
        };
        let peers = end.peers.clone();
        let (all, about) = match std::mem::take(&mut end.news) {
            News::Everything => (true, peers.keys().copied().collect()),
            News::Of(peers) => (false, peers),
        };
        let pairs = about.into_iter().filter_map(|id| {
            let key = *peers.get(&id)?;
            Some(self.pair(node, me, id, key))
        });
        let pairs: Vec<_> = pairs.collect();
        Pairs::messages(all, me, pairs).collect()
    }

    /// The hub's.
    pub(super) fn take_for_hub(&mut self) -> Vec<Pairs> {
        self.take(self.hub, HUB_SESSION)
    }

    pub(super) fn relay(&mut self) -> &mut RelayTable {
        &mut self.relay
    }

    /// A node that is here has news of a peer. One that is not hears everything when it comes.
    fn tell(&mut self, to: NodeId, about: NodeId) {
        if let Some(end) = self.ends.get_mut(&to).filter(|end| end.session.is_some()) {
            end.news.add(about);
        }
    }

    fn is_here(&self, node: NodeId) -> bool {
        self.ends
            .get(&node)
            .is_some_and(|end| end.session.is_some())
    }

    fn consider(&mut self, node: NodeId, peers: Vec<NodeId>) {
        if self.is_here(node) {
            let pairs = peers.into_iter().map(|peer| PairId::of(node, peer));
            self.pending.extend(pairs);
        }
    }

    fn pair(&mut self, node: NodeId, me: WgKey, peer: NodeId, key: WgKey) -> Pair {
        let epoch = self.at.get(&PairId::of(node, peer)).copied();
        let psk = epoch.and_then(|epoch| {
            Some(PairKey {
                secret: self.epochs.psk(epoch, &me, &key)?,
                since_ms: self.epochs.since_ms(epoch)?,
                epoch,
            })
        });
        let between_nodes = node != self.hub && peer != self.hub;
        let other = self.ends.get(&peer).filter(|_| between_nodes);
        let candidates = other.map_or(vec![], |end| candidates::of(end.seen, &end.listen));
        // Without a key there was never a moment at which both could be told of a relay.
        let can_relay = between_nodes && epoch.is_some();
        Pair {
            peer,
            key,
            candidates,
            relay: can_relay.then(|| self.relay.grant(node, peer)).flatten(),
            psk,
        }
    }
}

/// A node's peers hear of its candidates five times at once, and then once in this time: each change has all of them knock at the
/// new addresses.
const TOLD_EACH: Duration = Duration::from_secs(5);
const TOLD_AHEAD: Duration = Duration::from_secs(20);
/// The hub has no session: it is this process.
const HUB_SESSION: u64 = 0;

#[cfg(test)]
mod tests;
