//! One peer: its session machines, where it is, and when to try again. It never looks at the addresses inside packets.

mod paths;
mod probe;
mod route;
mod way;

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use crate::config::PeerConfig;
use crate::ingress::Ingress;
use crate::noise::{
    DATA_OVERHEAD_BYTES, DATAGRAM_MAX_BYTES, Kind, Noise, Opened, SessionIndex, Tick,
    announced_session,
};
use crate::path::{Path, Transmit};
use crate::status::{PathKind, PeerDrops, PeerStatus};
use paths::CANDIDATE_INTERVAL;
pub(crate) use paths::News;
use probe::Probe;
use route::{Heard, Route};

/// A peer's number within its device; never used twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct PeerIndex(pub(crate) u32);

/// Where sealed datagrams go, and the scratch space for making them. One per device.
pub(crate) struct Wire {
    transmits: VecDeque<Transmit>,
    sealed: Vec<u8>,
    padded: Vec<u8>,
    mtu_bytes: usize,
    pub(crate) dropped: u64,
}

pub(crate) struct Peer {
    pub(crate) config: PeerConfig,
    noise: Noise,
    retiring: Option<Retiring>,
    route: Route,
    initiation: Option<SentInitiation>,
    retry: Retry,
    /// A session that we answered and that the peer has not yet used: it may be a replay.
    unconfirmed: Option<u32>,
    last_handshake: Option<Instant>,
    last_rx: Option<Instant>,
    port_unreachable: Option<Instant>,
    rx_bytes: u64,
    tx_bytes: u64,
    pub(crate) drops: PeerDrops,
    /// What the device has yet to tell.
    news: VecDeque<News>,
    pub(crate) ingress: Ingress,
}

/// The machine before the last change of key material: it still opens what is under way, and seals until its successor can.
struct Retiring {
    noise: Noise,
    until: Instant,
}

/// An initiation under way, kept to be shown to the next candidate.
struct SentInitiation {
    message: Vec<u8>,
    next_target: usize,
    next_at: Instant,
}

#[derive(Default)]
struct Retry {
    at: Option<Instant>,
    attempts: u32,
}

/// What came of a datagram.
#[derive(Debug, Default)]
pub(crate) struct Received {
    /// Length of the IP packet at the start of the buffer.
    pub(crate) packet_bytes: Option<usize>,
    pub(crate) handshake_completed: bool,
}

impl Wire {
    pub(crate) fn new(mtu_bytes: usize) -> Self {
        Self {
            transmits: VecDeque::new(),
            sealed: vec![0; DATAGRAM_MAX_BYTES],
            padded: Vec::new(),
            mtu_bytes,
            dropped: 0,
        }
    }

    pub(crate) fn pop(&mut self) -> Option<Transmit> {
        self.transmits.pop_front()
    }

    pub(crate) fn unpop(&mut self, transmit: Transmit) {
        self.transmits.push_front(transmit);
    }

    pub(crate) fn len(&self) -> usize {
        self.transmits.len()
    }

    pub(crate) fn push(&mut self, path: Path, payload: &[u8]) {
        if self.transmits.len() >= MAX_TRANSMITS {
            self.dropped += 1;
            return;
        }
        self.transmits.push_back(Transmit {
            path,
            payload: payload.to_vec(),
        });
    }

    /// The packet with zeros up to a multiple of 16 bytes, but not past the link's size (WireGuard paper §5.4.6).
    fn pad(&mut self, packet: &[u8]) {
        let padded = packet.len().next_multiple_of(PADDING_BYTES);
        self.padded.clear();
        self.padded.extend_from_slice(packet);
        self.padded
            .resize(padded.min(self.mtu_bytes.max(packet.len())), 0);
    }
}

impl Peer {
    pub(crate) fn new(config: PeerConfig, noise: Noise, now: Instant) -> Self {
        Self {
            route: Route::new(&config, now),
            ingress: Ingress::new(&config.ingress),
            config,
            noise,
            retiring: None,
            initiation: None,
            retry: Retry::default(),
            unconfirmed: None,
            last_handshake: None,
            last_rx: None,
            port_unreachable: None,
            rx_bytes: 0,
            tx_bytes: 0,
            drops: PeerDrops::default(),
            news: VecDeque::new(),
        }
    }

    /// Takes the new configuration and returns the old one.
    pub(crate) fn reconfigure(
        &mut self,
        config: PeerConfig,
        now: Instant,
        wire: &mut Wire,
    ) -> PeerConfig {
        self.route.set(&config, now);
        self.ingress.change(&config.ingress);
        let old = std::mem::replace(&mut self.config, config);
        self.obey(now, wire);
        old
    }

    /// Puts a new machine in the place of the old one, which keeps working until the new one has a session.
    /// Returns the index of the machine that is gone for good, if there is one.
    pub(crate) fn replace_noise(&mut self, noise: Noise, now: Instant) -> Option<SessionIndex> {
        let old = std::mem::replace(&mut self.noise, noise);
        self.initiation = None;
        self.unconfirmed = None;
        self.retry = Retry::default();
        let successor = Retiring {
            noise: old,
            until: now + RETIRE_AFTER,
        };
        match self.retiring.take() {
            // The last change never got a session: the machine before it is the one that both sides still share.
            Some(before) if before.noise.has_session() && !successor.noise.has_session() => {
                self.retiring = Some(before);
                Some(successor.noise.index())
            }
            before => {
                self.retiring = Some(successor);
                before.map(|before| before.noise.index())
            }
        }
    }

    pub(crate) fn indexes(&self) -> impl Iterator<Item = SessionIndex> + '_ {
        let retiring = self.retiring.iter().map(|retiring| retiring.noise.index());
        std::iter::once(self.noise.index()).chain(retiring)
    }

    pub(crate) fn note_port_unreachable(&mut self, now: Instant) {
        self.port_unreachable = Some(now);
    }

    /// Seals a packet and queues it.
    pub(crate) fn send(&mut self, packet: &[u8], now: Instant, wire: &mut Wire) {
        if !self.reachable() {
            self.drops.no_endpoint += 1;
            return;
        }
        if packet.len() + PADDING_BYTES + DATA_OVERHEAD_BYTES > DATAGRAM_MAX_BYTES {
            self.drops.too_large += 1;
            return;
        }
        if !packet.is_empty() {
            self.route.wake(now);
            self.obey(now, wire);
        }
        let path = self.route.path();
        self.seal_by(path, packet, now, wire);
    }

    /// Seals a packet for one path; only an initiation, if there is no session, goes its own ways.
    fn seal_by(&mut self, path: Option<Path>, packet: &[u8], now: Instant, wire: &mut Wire) {
        wire.pad(packet);
        let mut sealed = std::mem::take(&mut wire.sealed);
        let message = match &mut self.retiring {
            Some(old) if !self.noise.has_session() && old.noise.has_session() => {
                old.noise.seal(&wire.padded, &mut sealed)
            }
            _ => self.noise.seal(&wire.padded, &mut sealed),
        };
        match (message, path) {
            (Some(message), Some(path)) if !Kind::is_initiation(message) => {
                self.tx_bytes += message.len() as u64;
                wire.push(path, message);
            }
            (Some(message), _) => self.transmit(message, now, wire),
            (None, _) => {}
        }
        wire.sealed = sealed;
    }

    /// Tells the peer where we are now, after our own address changed.
    pub(crate) fn announce(&mut self, now: Instant, wire: &mut Wire) {
        if self.noise.has_session() {
            self.send(&[], now, wire);
        } else if !self.config.endpoints.is_empty() {
            self.initiate(now, wire);
        }
    }

    /// Starts a handshake now.
    pub(crate) fn initiate(&mut self, now: Instant, wire: &mut Wire) {
        self.retry.at = None;
        if !self.reachable() {
            return;
        }
        let mut sealed = std::mem::take(&mut wire.sealed);
        if let Some(message) = self.noise.initiate(&mut sealed) {
            self.transmit(message, now, wire);
        }
        wire.sealed = sealed;
    }

    /// Opens one datagram; an IP packet inside is left at the start of `plain`.
    pub(crate) fn receive(
        &mut self,
        path: Path,
        kind: Kind,
        datagram: &[u8],
        plain: &mut [u8],
        now: Instant,
        wire: &mut Wire,
    ) -> Received {
        let source = path.source();
        let noise = match (kind, &mut self.retiring) {
            (Kind::Data { session }, Some(old))
                if old.noise.index() == SessionIndex::of_session(session) =>
            {
                &mut old.noise
            }
            _ => &mut self.noise,
        };
        let mut received = Received::default();
        let mut heard = Heard::Keepalive;
        match (kind, noise.open(source, datagram, plain)) {
            (_, Opened::Refused) => {
                self.drops.unopened += 1;
                return received;
            }
            (_, Opened::Reply(reply)) => {
                self.tx_bytes += reply.len() as u64;
                wire.push(path, reply);
                match (kind, Kind::of(reply)) {
                    // An initiation may be a recording, so its source is answered but does not become the endpoint.
                    (Kind::Initiation, Some(Kind::Response { .. })) => {
                        self.unconfirmed = announced_session(reply);
                        return received;
                    }
                    (Kind::Response { .. }, Some(Kind::Data { .. })) => {
                        received.handshake_completed = true
                    }
                    // A cookie reply, because of load: nothing is proven.
                    _ => return received,
                }
            }
            (Kind::Data { .. }, Opened::Packet(packet)) => {
                heard = match Probe::of(packet) {
                    Some(Probe::Ask(token)) => Heard::Ask(token),
                    Some(Probe::Answer(token)) => Heard::Answer(token),
                    None => Heard::Payload,
                };
                if heard == Heard::Payload {
                    received.packet_bytes = Some(packet.len());
                }
            }
            (Kind::Data { .. }, Opened::Done) => {}
            (_, Opened::Packet(_) | Opened::Done) => return received,
        }
        self.rx_bytes += datagram.len() as u64;
        self.last_rx = Some(now);
        if let Kind::Data { session } = kind
            && self.unconfirmed == Some(session)
        {
            received.handshake_completed = true;
        }
        if received.handshake_completed {
            self.route.heard(path, Heard::Handshake, now);
            self.handshake_completed(now, wire);
        }
        self.route.heard(path, heard, now);
        self.obey(now, wire);
        received
    }

    /// To be called every 250 ms. True when the machine has just given up.
    pub(crate) fn tick(&mut self, now: Instant, wire: &mut Wire) -> bool {
        let mut sealed = std::mem::take(&mut wire.sealed);
        if let Some(old) = &mut self.retiring {
            // Only its session ages matter; the successor makes the handshakes.
            let _ = old.noise.tick(&mut sealed);
        }
        let expired = match self.noise.tick(&mut sealed) {
            Tick::Idle => false,
            Tick::Send(message) => {
                self.transmit(message, now, wire);
                false
            }
            Tick::Expired => self.schedule_retry(now),
        };
        wire.sealed = sealed;
        if self.retry.at.is_some_and(|at| now >= at) {
            self.initiate(now, wire);
        }
        self.tick_route(now, wire);
        self.try_next_target(now, wire);
        expired
    }

    /// The index of a retired machine whose time is over.
    pub(crate) fn retire(&mut self, now: Instant) -> Option<SessionIndex> {
        let old = self.retiring.take_if(|old| now >= old.until)?;
        Some(old.noise.index())
    }

    pub(crate) fn status(&self, now: Instant) -> PeerStatus {
        let age = |at: Option<Instant>| at.map(|at| now.saturating_duration_since(at));
        PeerStatus {
            public_key: self.config.public_key,
            endpoint: self.route.proven().and_then(|path| path.remote()),
            path: self.route.proven().map(PathKind::of),
            last_handshake_age: age(self.last_handshake),
            last_rx_age: age(self.last_rx),
            port_unreachable_age: age(self.port_unreachable),
            rx_bytes: self.rx_bytes,
            tx_bytes: self.tx_bytes,
            drops: PeerDrops {
                filtered: self.ingress.refusals(),
                ..self.drops
            },
            rules: self.ingress.rules().to_vec(),
            answers: self.ingress.answers(),
        }
    }

    fn handshake_completed(&mut self, now: Instant, wire: &mut Wire) {
        self.unconfirmed = None;
        self.initiation = None;
        self.retry = Retry::default();
        self.last_handshake = Some(now);
        self.port_unreachable = None;
        if let Some(old) = &mut self.retiring {
            old.until = old.until.min(now + RETIRE_GRACE);
        }
        let mut sealed = std::mem::take(&mut wire.sealed);
        for _ in 0..MAX_WAITING {
            let Some(message) = self.noise.flush(&mut sealed) else {
                break;
            };
            self.transmit(message, now, wire);
        }
        wire.sealed = sealed;
    }

    /// Sends one of our own messages to where it should go.
    fn transmit(&mut self, message: &[u8], now: Instant, wire: &mut Wire) {
        if !Kind::is_initiation(message) {
            if let Some(path) = self.route.path() {
                self.tx_bytes += message.len() as u64;
                wire.push(path, message);
            }
            return;
        }
        self.route.initiated(now);
        let at_once = self.route.at_once(now);
        for path in self.route.targets().into_iter().take(at_once) {
            self.tx_bytes += message.len() as u64;
            wire.push(path, message);
        }
        self.initiation = Some(SentInitiation {
            message: message.to_vec(),
            next_target: at_once,
            next_at: now + CANDIDATE_INTERVAL,
        });
    }

    /// Plans the next try after giving up. True if this is news. A peer that dials us, and to which we have nothing to say,
    /// is waited for.
    fn schedule_retry(&mut self, now: Instant) -> bool {
        let dials = !self.config.endpoints.is_empty() || self.config.keepalive_s.is_some();
        if !dials || self.retry.at.is_some() {
            return false;
        }
        let base = RETRY_FIRST * (1 << self.retry.attempts.min(RETRY_DOUBLINGS));
        // Between half and one and a half times the pause; without randomness all nodes would return together.
        let jitter = f64::from(getrandom::u32().unwrap_or(u32::MAX / 2)) / f64::from(u32::MAX);
        self.retry.at = Some(now + base.mul_f64(0.5 + jitter));
        self.retry.attempts += 1;
        true
    }
}

#[cfg(test)]
impl Peer {
    pub(crate) fn noise_mut(&mut self) -> &mut Noise {
        &mut self.noise
    }
}

const PADDING_BYTES: usize = 16;
/// Datagrams that wait for a socket at a time, over all peers.
pub(crate) const MAX_TRANSMITS: usize = 4096;
/// As many packets as boringtun keeps while there is no session.
const MAX_WAITING: usize = 256;
/// REJECT_AFTER_TIME of the WireGuard paper §6.1: no session lives longer.
const RETIRE_AFTER: Duration = Duration::from_secs(180);
/// What is under way for an old session when the new one is proven arrives within this time.
const RETIRE_GRACE: Duration = Duration::from_secs(10);
const RETRY_FIRST: Duration = Duration::from_secs(1);
/// 64 s at most, times jitter.
const RETRY_DOUBLINGS: u32 = 6;
