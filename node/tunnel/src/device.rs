//! The WireGuard device without I/O: datagrams and IP packets in, datagrams and IP packets out, `now` as an argument. It
//! owns no socket, no task and no clock (but see `noise` about boringtun's own, and the time of day is asked once).

#[cfg(test)]
mod cluster;
mod errands;
mod foreign;
mod membership;
mod receive;
mod relayed;
mod send;
mod ticks;

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use crate::allowed_ips::AllowedIps;
use crate::config::{Protocol, TunnelConfig};
use crate::error::TunnelError;
use crate::filter::{Filter, Verdict};
use crate::flood::InitiationLimit;
use crate::key::PublicKey;
use crate::noise::{Doorkeeper, LONGEST_MESSAGE_BYTES, SessionIndex};
use crate::offload::join::{Arrival, Joiner, Joins};
use crate::path::Transmit;
use crate::peer::{Peer, PeerIndex};
use crate::relay::{RelayClient, RelayServer};
use crate::shard::Place;
use crate::shard::ring::{Errand, Parcel};
use crate::status::{DeviceCounters, FilterCounters, PeerStatus, TunnelEvent};
use crate::wire::Wire;
use foreign::Foreigners;
pub(crate) use relayed::RELAY_SHARD;
use ticks::{GRID, Ticks};

/// A WireGuard interface as a machine without I/O.
///
/// Feed it with [`handle_datagram`](Self::handle_datagram) (from the underlay), [`handle_packet`](Self::handle_packet) (from
/// this node) and [`handle_timeout`](Self::handle_timeout) (at the time that [`poll_timeout`](Self::poll_timeout) names). After
/// each, drain [`poll_transmit`](Self::poll_transmit), [`poll_packet`](Self::poll_packet) and
/// [`poll_event`](Self::poll_event) until they are empty. What is not drained waits in bounded queues; past the bound it is
/// dropped and counted.
///
/// Every packet that comes out of `poll_packet` was decrypted, has a source address that the device-wide longest-prefix
/// table gives to the peer that sent it, and was admitted by that peer's ingress rules or answers something this node
/// opened.
///
/// A tunnel may have several, its shards: each holds some of the peers, and all know whose address is whose. What one has for
/// another it leaves as errands, and does theirs.
pub struct Device {
    place: Place,
    doorkeeper: Doorkeeper,
    limit: Arc<InitiationLimit>,
    filter: Filter,
    allowed_ips: AllowedIps,
    /// Boxed, since the table has nearly as many free places as taken ones.
    peers: BTreeMap<PeerIndex, Box<Peer>>,
    by_key: HashMap<PublicKey, PeerIndex>,
    by_session: HashMap<SessionIndex, PeerIndex>,
    foreign: Foreigners,
    errands: VecDeque<(usize, Parcel)>,
    next_peer: u32,
    ticks: Ticks,
    server: RelayServer,
    client: RelayClient,
    /// Frames that did not come from the hub of one of our channels.
    strays: u64,
    /// Frames for a channel whose hub has no path.
    pathless: u64,
    wire: Wire,
    /// Where handshake messages are opened.
    plain: Vec<u8>,
    /// Where a packet is padded that was lent to us without room behind it.
    outgoing: Vec<u8>,
    joiner: Joiner<Admitted>,
    events: VecDeque<TunnelEvent>,
    counters: DeviceCounters,
}

/// What the shards of a tunnel have together: who is let in, and how often.
#[derive(Clone)]
pub(crate) struct Gate {
    doorkeeper: Doorkeeper,
    limit: Arc<InitiationLimit>,
}

/// Whose packet was let in, and why: what continues it is let in for the same reason.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Admitted {
    peer: PeerIndex,
    verdict: Verdict,
}

impl Device {
    /// A device without peers.
    ///
    /// # Errors
    /// [`TunnelError`] names the value of `config` that is out of bounds.
    pub fn new(config: &TunnelConfig, now: Instant) -> Result<Self, TunnelError> {
        Self::at(Place::ALONE, Gate::new(config, now), config, now)
    }

    /// One shard of a tunnel, without peers.
    pub(crate) fn at(
        place: Place,
        Gate { doorkeeper, limit }: Gate,
        config: &TunnelConfig,
        now: Instant,
    ) -> Result<Self, TunnelError> {
        config.check()?;
        let own = config.addresses.iter().map(|net| net.addr()).collect();
        Ok(Self {
            place,
            doorkeeper,
            limit,
            filter: Filter::new(own),
            allowed_ips: AllowedIps::default(),
            peers: BTreeMap::new(),
            by_key: HashMap::new(),
            by_session: HashMap::new(),
            foreign: Foreigners::default(),
            errands: VecDeque::new(),
            next_peer: 0,
            ticks: Ticks::new(now),
            server: RelayServer::new(now)?,
            client: RelayClient::new(now, unix_ms()),
            strays: 0,
            pathless: 0,
            wire: Wire::new(config.mtu_bytes),
            plain: vec![0; LONGEST_MESSAGE_BYTES],
            outgoing: Vec::new(),
            joiner: Joiner::new(Joins::default()),
            events: VecDeque::new(),
            counters: DeviceCounters::default(),
        })
    }

    /// Which arriving packets may be joined into super-packets; at first none.
    pub fn set_joins(&mut self, joins: Joins) {
        self.joiner.set_joins(joins);
    }

    /// Time has passed. Calling it early does nothing.
    pub fn handle_timeout(&mut self, now: Instant) {
        self.greet(now);
        while let Some((at, due)) = self.ticks.pop(now) {
            for index in due {
                // A plan that was replaced by another is void, and so is one for a peer that is gone.
                if self
                    .peers
                    .get(&index)
                    .is_some_and(|peer| peer.next_tick == at)
                {
                    self.tick(index, now);
                }
            }
        }
    }

    /// Our own underlay address may have changed: tells every peer that knows us.
    pub fn handle_rebind(&mut self, now: Instant) {
        for peer in self.peers.values_mut() {
            peer.announce(now, &mut self.wire);
        }
        self.client.moved(None, now);
        self.greet(now);
    }

    /// Peers may have restarted: starts a handshake with each whose address was configured.
    pub fn handle_refresh(&mut self, now: Instant) {
        for peer in self.peers.values_mut() {
            if !peer.config.endpoints.is_empty() {
                peer.initiate(now, &mut self.wire);
            }
        }
    }

    /// A host on the underlay said that nothing listens at `remote`. Whose datagram it was, is not said.
    pub fn handle_port_unreachable(&mut self, remote: SocketAddr, now: Instant) {
        self.note_port_unreachable(remote, now);
        self.tell_others(|| Errand::PortUnreachable(remote));
    }

    fn note_port_unreachable(&mut self, remote: SocketAddr, now: Instant) {
        for peer in self
            .peers
            .values_mut()
            .filter(|peer| peer.may_be_at(remote))
        {
            peer.note_port_unreachable(now);
            let event = TunnelEvent::PortUnreachable {
                peer: peer.config.public_key,
                endpoint: remote,
            };
            push_event(&mut self.events, &mut self.counters, event);
        }
    }

    /// The next batch of datagrams for the underlay, by UDP or a carrier.
    pub fn poll_transmit(&mut self) -> Option<Transmit> {
        while let Some(transmit) = self.wire.pop() {
            if let Some(transmit) = self.resolve(transmit) {
                return Some(transmit);
            }
        }
        None
    }

    /// The next batch that is full. For who has more to send first, but no reason to hold back what is done.
    pub fn poll_full_transmit(&mut self) -> Option<Transmit> {
        while let Some(transmit) = self.wire.pop_closed() {
            if let Some(transmit) = self.resolve(transmit) {
                return Some(transmit);
            }
        }
        None
    }

    /// Gives back a datagram that the socket had no room for; it will be the next one.
    pub fn unpoll_transmit(&mut self, transmit: Transmit) {
        self.wire.unpop(transmit);
    }

    /// Datagrams that wait for [`poll_transmit`](Self::poll_transmit).
    pub fn transmits_waiting(&self) -> usize {
        self.wire.len()
    }

    /// Takes back a batch that was sent, so that its buffer is used again.
    pub fn recycle_transmit(&mut self, transmit: Transmit) {
        self.wire.put_back(transmit);
    }

    /// The next IP packet, or joined packets, for this node.
    pub fn poll_packet(&mut self) -> Option<Arrival> {
        self.joiner.poll()
    }

    /// The next of them that nothing can join any more. For who has more to receive first.
    pub fn poll_full_packet(&mut self) -> Option<Arrival> {
        self.joiner.poll_closed()
    }

    /// Takes back a packet that was delivered, so that its buffer is used again.
    pub fn recycle_packet(&mut self, arrival: Arrival) {
        self.joiner.put_back(arrival);
    }

    pub fn poll_event(&mut self) -> Option<TunnelEvent> {
        self.events.pop_front()
    }

    /// When [`handle_timeout`](Self::handle_timeout) wants to be called; `None` without peers.
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.ticks
            .next()
            .into_iter()
            .chain(self.client.poll_timeout())
            .min()
    }

    /// All peers, in the order in which they were added.
    pub fn peers(&self, now: Instant) -> Vec<PeerStatus> {
        self.peers.values().map(|peer| peer.status(now)).collect()
    }

    pub fn counters(&self) -> DeviceCounters {
        let mut counters = DeviceCounters {
            transmits_dropped: self.wire.dropped,
            packets_dropped: self.joiner.dropped(),
            ..self.counters
        };
        for peer in self.peers.values() {
            counters.add_peer(&peer.drops);
        }
        counters
    }

    pub fn filter_counters(&self) -> FilterCounters {
        self.filter.counters()
    }

    /// The key of the peer that owns an overlay address.
    pub fn owner(&self, address: IpAddr) -> Option<PublicKey> {
        let index = self.allowed_ips.owner(address)?;
        let own = self.peers.get(&index).map(|peer| peer.config.public_key);
        own.or_else(|| self.foreign.key(index))
    }

    /// Whether there is any address to which packets for `address` could be sent. False also when no peer owns it, or one of
    /// another shard.
    pub fn reachable(&self, address: IpAddr) -> bool {
        let owner = self.allowed_ips.owner(address);
        owner
            .and_then(|index| self.peers.get(&index))
            .is_some_and(|peer| peer.reachable())
    }

    /// Whether a peer of another shard owns this address.
    pub(crate) fn is_foreign(&self, address: IpAddr) -> bool {
        let owner = self.allowed_ips.owner(address);
        owner.is_some_and(|owner| self.foreign.key(owner).is_some())
    }

    /// Whether a permission of the peer covers this port of this node. False for a stranger.
    pub(crate) fn permits(&self, key: &PublicKey, protocol: Protocol, port: u16) -> bool {
        let peer = self.by_key.get(key).and_then(|index| self.peers.get(index));
        peer.is_some_and(|peer| peer.ingress.covering(protocol, port).is_some())
    }

    /// Judges and counts a TCP connection that a peer opens by another way than the tunnel.
    pub(crate) fn enter_stream(&mut self, key: &PublicKey, port: u16) -> bool {
        let index = self.by_key.get(key);
        let Some(peer) = index.and_then(|index| self.peers.get_mut(index)) else {
            return false;
        };
        let verdict = self.filter.enter_stream(&mut peer.ingress, port);
        matches!(verdict, Verdict::Rule(_))
    }

    /// Ticks a peer that is about to be used after a rest.
    fn refresh_time(&mut self, index: PeerIndex, now: Instant) {
        if self
            .peers
            .get(&index)
            .is_some_and(|peer| peer.is_stale(now))
        {
            self.tick(index, now);
        }
    }

    fn tick(&mut self, index: PeerIndex, now: Instant) {
        let late = (self.peers.get(&index)).is_some_and(|peer| peer.wants_later_time());
        if late && let Ok(session) = self.fresh_session() {
            self.call_anew(index, session, now);
        }
        let Some(peer) = self.peers.get_mut(&index) else {
            return;
        };
        if peer.tick(now, &mut self.wire) {
            let event = TunnelEvent::HandshakeUnanswered {
                peer: peer.config.public_key,
            };
            push_event(&mut self.events, &mut self.counters, event);
        }
        while let Some(session) = peer.retire(now) {
            self.by_session.remove(&session);
        }
        peer.next_tick = self.ticks.plan(index, now + peer.rest(now));
        if peer.has_news() {
            self.tell_news(index, now);
        }
    }

    /// After a peer was used: tells what came of it, and ticks it soon if its route has begun to ask.
    fn keep_up(&mut self, index: PeerIndex, news: bool, pace: bool, now: Instant) {
        if news {
            self.tell_news(index, now);
        }
        if pace && let Some(peer) = self.peers.get_mut(&index) {
            peer.next_tick = self.ticks.plan(index, now + GRID);
        }
    }
}

impl Gate {
    pub(crate) fn new(config: &TunnelConfig, now: Instant) -> Self {
        Self {
            doorkeeper: Doorkeeper::new(config.private_key.clone()),
            limit: Arc::new(InitiationLimit::new(now)),
        }
    }
}

fn unix_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |since| since.as_millis() as u64)
}

fn push_event(
    events: &mut VecDeque<TunnelEvent>,
    counters: &mut DeviceCounters,
    event: TunnelEvent,
) {
    if events.len() >= MAX_EVENTS {
        counters.events_dropped += 1;
        return;
    }
    events.push_back(event);
}

const MAX_PEERS: usize = 65_536;
const MAX_EVENTS: usize = 4096;

#[cfg(test)]
mod tests;
