//! The WireGuard device without I/O: datagrams and IP packets in, datagrams and IP packets out, `now` as an argument. It
//! owns no socket, no task and no clock (but see `noise` about boringtun's own, and the time of day is asked once).

mod relayed;
mod ticks;

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::net::{IpAddr, SocketAddr};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use crate::allowed_ips::AllowedIps;
use crate::config::{PeerConfig, TunnelConfig};
use crate::demux::Demux;
use crate::error::TunnelError;
use crate::filter::{Filter, Verdict};
use crate::flood::InitiationLimit;
use crate::key::PublicKey;
use crate::noise::{
    DATAGRAM_MAX_BYTES, Doorkeeper, Kind, Knock, LONGEST_MESSAGE_BYTES, SessionIndex,
};
use crate::offload::cut::{Cutter, PADDING_BYTES, padded};
use crate::offload::join::{Arrival, Joiner, Joins};
use crate::offload::vnet::{Refused, Work, complete};
use crate::packet::addresses;
use crate::path::{Path, Transmit};
use crate::peer::{Peer, PeerIndex, Received};
use crate::relay::{RelayClient, RelayServer};
use crate::status::{DeviceCounters, FilterCounters, PeerStatus, TunnelEvent};
use crate::wire::Wire;
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
pub struct Device {
    doorkeeper: Doorkeeper,
    limit: InitiationLimit,
    filter: Filter,
    allowed_ips: AllowedIps,
    peers: BTreeMap<PeerIndex, Peer>,
    by_key: HashMap<PublicKey, PeerIndex>,
    by_session: HashMap<SessionIndex, PeerIndex>,
    next_peer: u32,
    ticks: Ticks,
    server: RelayServer,
    client: RelayClient,
    /// Frames for or of a channel whose hub is not there.
    strays: u64,
    wire: Wire,
    /// Where handshake messages are opened.
    plain: Vec<u8>,
    /// Where a packet is padded that was lent to us without room behind it.
    outgoing: Vec<u8>,
    joiner: Joiner<Admitted>,
    events: VecDeque<TunnelEvent>,
    counters: DeviceCounters,
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
        config.check()?;
        let own = config.addresses.iter().map(|net| net.addr()).collect();
        Ok(Self {
            doorkeeper: Doorkeeper::new(config.private_key.clone()),
            limit: InitiationLimit::new(now),
            filter: Filter::new(own),
            allowed_ips: AllowedIps::default(),
            peers: BTreeMap::new(),
            by_key: HashMap::new(),
            by_session: HashMap::new(),
            next_peer: 0,
            ticks: Ticks::new(now),
            server: RelayServer::new(now)?,
            client: RelayClient::new(now, unix_ms()),
            strays: 0,
            wire: Wire::new(config.mtu_bytes),
            plain: vec![0; LONGEST_MESSAGE_BYTES],
            outgoing: Vec::new(),
            joiner: Joiner::new(Joins::default()),
            events: VecDeque::new(),
            counters: DeviceCounters::default(),
        })
    }

    /// Adds a peer, or changes one. Established sessions of all peers stay; a change of the preshared key or keepalive
    /// starts a new handshake, and the old session carries the traffic until that has succeeded.
    pub fn set_peer(&mut self, config: PeerConfig, now: Instant) -> Result<(), TunnelError> {
        self.joiner.close_all();
        config.check()?;
        if config.public_key == self.doorkeeper.public_key() {
            return Err(TunnelError::OwnKey);
        }
        match self.by_key.get(&config.public_key).copied() {
            Some(index) => self.change_peer(index, config, now),
            None => self.add_peer(config, now),
        }
    }

    /// Forgets a peer at once: its sessions, its addresses and its flows. False if there was none.
    pub fn remove_peer(&mut self, key: &PublicKey) -> bool {
        self.joiner.close_all();
        let Some(index) = self.by_key.remove(key) else {
            return false;
        };
        if let Some(peer) = self.peers.remove(&index) {
            for session in peer.indexes() {
                self.by_session.remove(&session);
            }
            self.allowed_ips.release(index, &peer.config.allowed_ips);
            if let Some(grant) = &peer.config.relay {
                self.client.revoke(grant.channel);
            }
        }
        self.filter.forget_peer(index);
        true
    }

    /// Which arriving packets may be joined into super-packets; at first none.
    pub fn set_joins(&mut self, joins: Joins) {
        self.joiner.set_joins(joins);
    }

    /// Datagrams of one sender arrived together from the underlay, each `stride` long but the last, which may be shorter.
    pub fn handle_datagrams(&mut self, path: Path, datagrams: &[u8], stride: usize, now: Instant) {
        self.greet(now);
        if Demux::of(datagrams) == Demux::Relay && self.forward(path, datagrams, stride, now) {
            return;
        }
        for datagram in datagrams.chunks(stride.max(1)) {
            match Demux::of(datagram) {
                Demux::WireGuard => self.handle_sealed(path, datagram, now),
                Demux::Relay => self.handle_frame(path, datagram, now),
                Demux::Quic => self.counters.quic += 1,
                Demux::Unknown => self.counters.malformed += 1,
            }
        }
    }

    /// A datagram arrived from the underlay.
    pub fn handle_datagram(&mut self, path: Path, datagram: &[u8], now: Instant) {
        self.handle_datagrams(path, datagram, datagram.len(), now);
    }

    /// A WireGuard message arrived, by whatever path.
    fn handle_sealed(&mut self, path: Path, datagram: &[u8], now: Instant) {
        if datagram.len() > DATAGRAM_MAX_BYTES {
            self.counters.malformed += 1;
            return;
        }
        let Some(kind) = Kind::of(datagram) else {
            self.counters.malformed += 1;
            return;
        };
        if !matches!(kind, Kind::Data { .. }) {
            self.doorkeeper.tick();
        }
        let index = match kind {
            Kind::Initiation => self.knock(path, datagram, now),
            Kind::Response { session } | Kind::Cookie { session } | Kind::Data { session } => {
                let session = SessionIndex::of_session(session);
                let owner = self.by_session.get(&session).copied();
                self.counters.unknown_session += u64::from(owner.is_none());
                owner
            }
        };
        let Some(index) = index else {
            return;
        };
        self.refresh_time(index, now);
        let Some(peer) = self.peers.get_mut(&index) else {
            return;
        };
        let data = matches!(kind, Kind::Data { .. });
        let plain = match data {
            true => self.joiner.land(datagram.len()),
            false => &mut self.plain,
        };
        let received = peer.receive(path, kind, datagram, plain, now, &mut self.wire);
        let (news, pace) = (peer.has_news(), peer.wants_tick(now));
        match received.packet_bytes {
            Some(bytes) => self.deliver(index, bytes, now),
            None if data => self.joiner.discard(),
            None => {}
        }
        self.report(index, &received);
        self.keep_up(index, news, pace, now);
    }

    /// This node sends an IP packet.
    pub fn handle_packet(&mut self, packet: &[u8], now: Instant) {
        let mut outgoing = std::mem::take(&mut self.outgoing);
        outgoing.clear();
        outgoing.extend_from_slice(packet);
        outgoing.resize(packet.len() + PADDING_BYTES, 0);
        self.handle_super_packet(&mut outgoing, packet.len(), Work::None, now);
        self.outgoing = outgoing;
    }

    /// This node sends the packet, or super-packet, of `bytes` at the start of `buffer`, which has 16 bytes or more behind it.
    /// The buffer holds nothing of use afterwards.
    pub fn handle_super_packet(
        &mut self,
        buffer: &mut [u8],
        bytes: usize,
        work: Work,
        now: Instant,
    ) {
        if buffer.len() < bytes + PADDING_BYTES {
            self.counters.malformed_packets += 1;
            return;
        }
        let packet = &buffer[..bytes];
        let owner =
            addresses(packet).and_then(|(_, destination)| self.allowed_ips.owner(destination));
        let Some(index) = owner else {
            self.counters.no_peer += 1;
            return;
        };
        self.refresh_time(index, now);
        let Some(peer) = self.peers.get_mut(&index) else {
            return;
        };
        self.filter.leave(index, &peer.ingress, packet, now);
        let sent = send(peer, buffer, bytes, work, now, &mut self.wire);
        let (news, pace) = (peer.has_news(), peer.wants_tick(now));
        if sent.is_err() {
            self.counters.malformed_packets += 1;
        }
        self.keep_up(index, news, pace, now);
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

    /// A host on the underlay said that nothing listens at `remote`.
    pub fn handle_port_unreachable(&mut self, remote: SocketAddr, now: Instant) {
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
        DeviceCounters {
            transmits_dropped: self.wire.dropped,
            packets_dropped: self.joiner.dropped(),
            ..self.counters
        }
    }

    pub fn filter_counters(&self) -> FilterCounters {
        self.filter.counters()
    }

    /// The key of the peer that owns an overlay address.
    pub fn owner(&self, address: IpAddr) -> Option<PublicKey> {
        let index = self.allowed_ips.owner(address)?;
        Some(self.peers.get(&index)?.config.public_key)
    }

    /// Whether there is any address to which packets for `address` could be sent. False also when no peer owns it.
    pub fn reachable(&self, address: IpAddr) -> bool {
        let owner = self.allowed_ips.owner(address);
        owner
            .and_then(|index| self.peers.get(&index))
            .is_some_and(Peer::reachable)
    }

    fn add_peer(&mut self, config: PeerConfig, now: Instant) -> Result<(), TunnelError> {
        if self.peers.len() >= MAX_PEERS {
            return Err(TunnelError::TooMany {
                what: "peers",
                count: self.peers.len() + 1,
                limit: MAX_PEERS,
            });
        }
        let index = PeerIndex(self.next_peer);
        self.next_peer += 1;
        let session = self.fresh_session()?;
        let noise = self.doorkeeper.machine(
            config.public_key,
            config.preshared_key.as_ref(),
            config.keepalive_s,
            session,
        );
        self.by_session.insert(session, index);
        self.by_key.insert(config.public_key, index);
        self.allowed_ips.assign(index, &config.allowed_ips);
        if let Some(grant) = &config.relay {
            self.client.grant(config.public_key, grant, now);
        }
        let mut peer = Peer::new(config, noise, now);
        peer.initiate(now, &mut self.wire);
        peer.next_tick = self.ticks.plan(index, now + GRID);
        self.peers.insert(index, peer);
        self.greet(now);
        Ok(())
    }

    fn change_peer(
        &mut self,
        index: PeerIndex,
        config: PeerConfig,
        now: Instant,
    ) -> Result<(), TunnelError> {
        let session = self.fresh_session()?;
        let Some(peer) = self.peers.get_mut(&index) else {
            return Ok(());
        };
        let old = peer.reconfigure(config, now, &mut self.wire);
        if old.allowed_ips != peer.config.allowed_ips {
            self.allowed_ips.release(index, &old.allowed_ips);
            self.allowed_ips.assign(index, &peer.config.allowed_ips);
        }
        let new_secret = old.preshared_key != peer.config.preshared_key;
        if new_secret || old.keepalive_s != peer.config.keepalive_s {
            let noise = self.doorkeeper.machine(
                peer.config.public_key,
                peer.config.preshared_key.as_ref(),
                peer.config.keepalive_s,
                session,
            );
            self.by_session.insert(session, index);
            if let Some(gone) = peer.replace_noise(noise, now) {
                self.by_session.remove(&gone);
            }
            peer.initiate(now, &mut self.wire);
        } else if old.endpoints != peer.config.endpoints && !peer.config.endpoints.is_empty() {
            peer.initiate(now, &mut self.wire);
        }
        peer.next_tick = self.ticks.plan(index, now + GRID);
        self.change_grant(index, &old, now);
        self.tell_news(index, now);
        Ok(())
    }

    /// A random session index that no machine of this device has.
    fn fresh_session(&self) -> Result<SessionIndex, TunnelError> {
        // At most 2 in 2^24 indexes are taken per peer, so the first try nearly always succeeds.
        loop {
            let session = SessionIndex::random()?;
            if !self.by_session.contains_key(&session) {
                return Ok(session);
            }
        }
    }

    /// Finds out who sent an initiation, cheapest checks first.
    fn knock(&mut self, path: Path, datagram: &[u8], now: Instant) -> Option<PeerIndex> {
        let source = path.source();
        if !self.limit.admit(source, now) {
            self.counters.flooded += 1;
            return None;
        }
        let key = match self.doorkeeper.knock(source, datagram) {
            Knock::From(key) => Some(key),
            Knock::Cookie(cookie) => {
                self.counters.cookies_sent += 1;
                self.wire.push(path, &cookie);
                return None;
            }
            Knock::Refused => None,
        };
        let index = key.and_then(|key| self.by_key.get(&key).copied());
        self.counters.unknown_peer += u64::from(index.is_none());
        index
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
        let Some(peer) = self.peers.get_mut(&index) else {
            return;
        };
        if peer.tick(now, &mut self.wire) {
            let event = TunnelEvent::HandshakeUnanswered {
                peer: peer.config.public_key,
            };
            push_event(&mut self.events, &mut self.counters, event);
        }
        if let Some(session) = peer.retire(now) {
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

    fn report(&mut self, index: PeerIndex, received: &Received) {
        if received.handshake_completed
            && let Some(peer) = self.peers.get(&index)
        {
            let peer = peer.config.public_key;
            let event = TunnelEvent::HandshakeCompleted { peer };
            push_event(&mut self.events, &mut self.counters, event);
        }
    }

    fn count(&mut self, index: PeerIndex, verdict: Verdict) {
        if let Some(peer) = self.peers.get_mut(&index) {
            self.filter.count(&mut peer.ingress, verdict);
        }
    }

    /// The packet that was opened where it landed goes on if its source is the sender's and the filter admits it. One that
    /// continues another of the same peer has the same source, and is admitted for the same reason.
    fn deliver(&mut self, index: PeerIndex, bytes: usize, now: Instant) {
        let own = |admitted: &Admitted| admitted.peer == index;
        if let Some(admitted) = self.joiner.extend(bytes, own) {
            self.count(index, admitted.verdict);
            return;
        }
        self.joiner.lift(bytes);
        if let Some(admitted) = self.joiner.append(bytes, own) {
            self.count(index, admitted.verdict);
            return;
        }
        let packet = self.joiner.lifted(bytes);
        let Some(peer) = self.peers.get_mut(&index) else {
            return;
        };
        let source_owner = addresses(packet).and_then(|(source, _)| self.allowed_ips.owner(source));
        if source_owner != Some(index) {
            peer.drops.spoofed += 1;
            return;
        }
        let verdict = self.filter.enter(index, &mut peer.ingress, packet, now);
        if matches!(verdict, Verdict::Refused(_)) {
            return;
        }
        let admitted = Admitted {
            peer: index,
            verdict,
        };
        self.joiner.start(bytes, admitted);
    }
}

/// Does the work that was left to us, and seals what comes of it.
fn send(
    peer: &mut Peer,
    buffer: &mut [u8],
    bytes: usize,
    work: Work,
    now: Instant,
    wire: &mut Wire,
) -> Result<(), Refused> {
    if let Work::Cut { payload_bytes } = work {
        let mut cutter = Cutter::new(buffer, bytes, payload_bytes)?;
        if !peer.may_send(cutter.segment_bytes()) {
            return Ok(());
        }
        while let Some(segment) = cutter.next() {
            let padded_bytes = wire.padded_bytes(segment.len());
            padded(cutter.buffer(), segment, padded_bytes, |it| {
                peer.seal(it, now, wire)
            });
        }
        return Ok(());
    }
    if let Work::Checksum { start, offset } = work {
        complete(&mut buffer[..bytes], start, offset)?;
    }
    if peer.may_send(bytes) {
        let padded_bytes = wire.padded_bytes(bytes);
        padded(buffer, 0..bytes, padded_bytes, |it| {
            peer.seal(it, now, wire)
        });
    }
    Ok(())
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
