//! One peer: its session machines, where it is, and when to try again. It never looks at the addresses inside packets.

mod paths;
mod probe;
mod retiring;
mod route;
mod secrets;
mod way;

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use crate::config::PeerConfig;
use crate::gaps::Gaps;
use crate::ingress::Ingress;
use crate::noise::{
    DATA_OVERHEAD_BYTES, DATAGRAM_MAX_BYTES, Kind, Noise, Opened, SessionIndex, Tick,
    announced_session,
};
use crate::offload::cut::PADDING_BYTES;
use crate::path::Path;
use crate::status::{PathKind, PeerDrops, PeerStatus};
use crate::wire::Wire;
use paths::CANDIDATE_INTERVAL;
pub(crate) use paths::News;
use probe::Probe;
use retiring::Retiring;
use route::{Heard, Route};
use secrets::Secrets;

/// A peer's number within its device; never used twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct PeerIndex(pub(crate) u32);

pub(crate) struct Peer {
    pub(crate) config: PeerConfig,
    noise: Noise,
    retiring: Retiring,
    route: Route,
    initiation: Option<SentInitiation>,
    /// Whose turn it is to see an initiation, of the targets that don't get each at once.
    next_turn: usize,
    retry: Retry,
    secrets: Secrets,
    last_handshake: Option<Instant>,
    last_rx: Option<Instant>,
    /// When a packet, and not a mere keepalive, was last sent or received.
    last_use: Option<Instant>,
    ticked: Instant,
    /// When the device means to tick next.
    pub(crate) next_tick: Instant,
    port_unreachable: Option<Instant>,
    rx_bytes: u64,
    tx_bytes: u64,
    gaps: Gaps,
    pub(crate) drops: PeerDrops,
    /// What the device has yet to tell.
    news: VecDeque<News>,
    pub(crate) ingress: Ingress,
}

/// An initiation under way, kept to be shown to the next candidate.
struct SentInitiation {
    message: Vec<u8>,
    /// How many targets saw it at once, and how many in turn since.
    at_once: usize,
    turns: usize,
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
    /// It is an initiation that only [another machine](Peer::relieve_noise) can answer.
    pub(crate) wants_relief: bool,
}

impl Peer {
    pub(crate) fn new(config: PeerConfig, noise: Noise, now: Instant) -> Self {
        Self {
            route: Route::new(&config, now),
            ingress: Ingress::new(&config.ingress),
            config,
            noise,
            retiring: Retiring::default(),
            initiation: None,
            next_turn: 0,
            retry: Retry::default(),
            secrets: Secrets::default(),
            last_handshake: None,
            last_rx: None,
            last_use: None,
            ticked: now,
            next_tick: now,
            port_unreachable: None,
            rx_bytes: 0,
            tx_bytes: 0,
            gaps: Gaps::default(),
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
        let Secrets { proven, .. } = std::mem::take(&mut self.secrets);
        self.change_noise(noise, proven, now)
    }

    /// The same with a machine that has the same key: what is known of that key holds, and the old machine makes no more handshakes.
    pub(crate) fn relieve_noise(&mut self, noise: Noise, now: Instant) -> Option<SessionIndex> {
        self.change_noise(noise, false, now)
    }

    fn change_noise(
        &mut self,
        noise: Noise,
        is_former: bool,
        now: Instant,
    ) -> Option<SessionIndex> {
        let old = std::mem::replace(&mut self.noise, noise);
        self.initiation = None;
        self.retry = Retry::default();
        self.retiring.push(old, is_former, now)
    }

    /// Whether it does not answer, and the time in our initiations may be the reason. One that answers is never shown a later time
    /// than need be: were that time wrong, it would refuse the right one.
    pub(crate) fn wants_later_time(&self) -> bool {
        self.secrets.asks() && self.noise.is_behind()
    }

    pub(crate) fn indexes(&self) -> impl Iterator<Item = SessionIndex> + '_ {
        std::iter::once(self.noise.index()).chain(self.retiring.indexes())
    }

    pub(crate) fn note_port_unreachable(&mut self, now: Instant) {
        self.port_unreachable = Some(now);
    }

    /// Whether a packet can be sent; if not, it is counted.
    pub(crate) fn may_send(&mut self, bytes: usize) -> bool {
        if !self.reachable() {
            self.drops.no_endpoint += 1;
            return false;
        }
        if bytes + PADDING_BYTES + DATA_OVERHEAD_BYTES > DATAGRAM_MAX_BYTES {
            self.drops.too_large += 1;
            return false;
        }
        true
    }

    /// Packets of somebody are about to be [sealed](Self::seal_by): for which path, if there is any.
    pub(crate) fn sends(&mut self, now: Instant, wire: &mut Wire) -> Option<Path> {
        self.last_use = Some(now);
        self.route.sends(now);
        self.obey(now, wire);
        self.route.path()
    }

    /// Seals a packet, whose padding is on it, straight into the batch of a path; only an initiation, if there is no session, goes
    /// its own ways.
    pub(crate) fn seal_by(&mut self, path: Path, padded: &[u8], now: Instant, wire: &mut Wire) {
        let sealed_bytes = padded.len() + DATA_OVERHEAD_BYTES;
        let Some(room) = wire.room(path, sealed_bytes) else {
            return;
        };
        let noise = if self.noise.has_session() {
            &mut self.noise
        } else {
            let former = self.secrets.former_used;
            self.retiring.sealer(former).unwrap_or(&mut self.noise)
        };
        let message = noise.seal(padded, room);
        // Without a session the packet waits inside, and the message is an initiation, whose length no batch expects.
        let initiation =
            message.filter(|message| message.len() != sealed_bytes || Kind::is_initiation(message));
        match (message.is_some(), initiation.map(<[u8]>::to_vec)) {
            (_, Some(initiation)) => {
                wire.commit(0);
                self.transmit(&initiation, now, wire);
            }
            (true, None) => {
                wire.commit(sealed_bytes);
                self.tx_bytes += sealed_bytes as u64;
            }
            (false, None) => wire.commit(0),
        }
    }

    /// Tells the peer where we are now, after our own address changed.
    pub(crate) fn announce(&mut self, now: Instant, wire: &mut Wire) {
        if self.can_seal() {
            if self.may_send(0)
                && let Some(path) = self.route.path()
            {
                self.seal_by(path, &[], now, wire);
            }
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
        let mut sealed = std::mem::take(&mut wire.scratch);
        if let Some(message) = self.noise.initiate(&mut sealed) {
            self.transmit(message, now, wire);
        }
        wire.scratch = sealed;
        self.plan_former(now);
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
        let noise = match kind.session() {
            Some(session) => self.retiring.of_session(session),
            None => None,
        };
        let noise = noise.unwrap_or(&mut self.noise);
        let mut received = Received::default();
        let mut heard = Heard::Keepalive;
        match (kind, noise.open(source, datagram, plain, now)) {
            (_, Opened::Refused) => {
                self.drops.unopened += 1;
                return received;
            }
            (_, Opened::Full) => {
                received.wants_relief = true;
                return received;
            }
            (_, Opened::Reply(reply)) => {
                self.tx_bytes += reply.len() as u64;
                wire.push(path, reply);
                match (kind, Kind::of(reply)) {
                    // An initiation may be a recording, so its source is answered but does not become the endpoint.
                    (Kind::Initiation, Some(Kind::Response { .. })) => {
                        let session = announced_session(reply);
                        self.answered((path, datagram), session, plain, now, wire);
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
                    self.last_use = Some(now);
                    received.packet_bytes = Some(packet.len());
                }
            }
            (Kind::Data { .. }, Opened::Done) => {}
            (_, Opened::Packet(_) | Opened::Done) => return received,
        }
        self.rx_bytes += datagram.len() as u64;
        self.last_rx = Some(now);
        if let Kind::Data { session } = kind {
            received.handshake_completed = self.secrets.is_unconfirmed(session);
            if !self.secrets.proven {
                self.retiring.prove(session, now);
            }
            self.gaps.arrived(datagram);
        }
        if let Some(session) = kind.session().filter(|_| received.handshake_completed) {
            self.route.heard(path, Heard::Handshake, now);
            self.handshake_completed(session, now, wire);
        }
        self.route.heard(path, heard, now);
        self.obey(now, wire);
        received
    }

    /// To be called after [`rest`](Self::rest), and before anything else is done with a peer that was not ticked for 250 ms:
    /// boringtun believes that the time is that of the last tick. True when the machine has just given up.
    pub(crate) fn tick(&mut self, now: Instant, wire: &mut Wire) -> bool {
        self.ticked = now;
        let mut sealed = std::mem::take(&mut wire.scratch);
        let (mut expired, mut asked) = (false, false);
        match self.noise.tick(&mut sealed) {
            Tick::Idle => {}
            Tick::Send(message) => {
                asked = Kind::is_initiation(message);
                self.transmit(message, now, wire);
            }
            Tick::Expired => expired = self.schedule_retry(now),
        }
        wire.scratch = sealed;
        self.tick_retiring(self.is_used(now), now, wire);
        self.initiate_with_former(now, wire);
        if asked && !self.can_seal() {
            self.plan_former(now);
        }
        if self.retry.at.is_some_and(|at| now >= at) {
            self.initiate(now, wire);
        }
        self.tick_route(now, wire);
        self.try_next_target(now, wire);
        expired
    }

    /// Whether the machine's idea of the time is too old to work with.
    pub(crate) fn is_stale(&self, now: Instant) -> bool {
        now.saturating_duration_since(self.ticked) >= TICK
    }

    /// How long after a tick nothing can come due. What ends sessions, asks for new ones or answers with keepalives follows
    /// use; an idle peer has only its session's end, which every use looks at first, and its own keepalives.
    pub(crate) fn rest(&self, now: Instant) -> Duration {
        let waiting = self.initiation.is_some()
            || self.retry.at.is_some()
            || self.retiring.is_pressing()
            || self.secrets.is_pressing();
        if waiting || self.is_used(now) || !self.route.rests(now) {
            TICK
        } else if self.config.keepalive_s.is_some() {
            KEEPALIVE_PRECISION
        } else {
            IDLE_REST
        }
    }

    /// The index of a retired machine whose time is over.
    pub(crate) fn retire(&mut self, now: Instant) -> Option<SessionIndex> {
        self.retiring.retire(now)
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
            rx_expected: self.gaps.loss().sent,
            rx_lost: self.gaps.loss().lost,
            drops: PeerDrops {
                filtered: self.ingress.refusals(),
                ..self.drops
            },
            rules: self.ingress.rules().to_vec(),
            answers: self.ingress.answers(),
        }
    }

    /// A packet, and not a mere keepalive, went or came within the time in which that has consequences.
    fn is_used(&self, now: Instant) -> bool {
        let used = |at: Instant| now.saturating_duration_since(at) < IN_USE;
        self.last_use.is_some_and(used)
    }

    /// With the machine that this session belongs to.
    fn handshake_completed(&mut self, session: u32, now: Instant, wire: &mut Wire) {
        self.initiation = None;
        self.next_turn = 0;
        self.last_handshake = Some(now);
        self.port_unreachable = None;
        if self.retiring.of_session(session).is_some() {
            self.secrets.fall_back();
        } else {
            self.retry = Retry::default();
            self.secrets.prove();
            self.retiring.hasten(now);
        }
        let mut sealed = std::mem::take(&mut wire.scratch);
        for _ in 0..MAX_WAITING {
            let noise = self.retiring.of_session(session);
            let noise = noise.unwrap_or(&mut self.noise);
            let Some(message) = noise.flush(&mut sealed) else {
                break;
            };
            self.transmit(message, now, wire);
        }
        wire.scratch = sealed;
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
        if announced_session(message).map(SessionIndex::of_session) == Some(self.noise.index()) {
            self.secrets.note_asked();
        }
        self.route.initiated(now);
        let at_once = self.route.at_once(now);
        for path in self.route.targets().into_iter().take(at_once) {
            self.tx_bytes += message.len() as u64;
            wire.push(path, message);
        }
        self.initiation = Some(SentInitiation {
            message: message.to_vec(),
            at_once,
            turns: 0,
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

/// boringtun checks session ages and retries only when asked; this is how often it is asked while there is something to ask.
const TICK: Duration = Duration::from_millis(250);
/// KEEPALIVE_TIMEOUT + REKEY_TIMEOUT of the WireGuard paper §6.1, the last moment at which use has a consequence, with a margin.
const IN_USE: Duration = Duration::from_secs(20);
/// A keepalive may be late by this much.
const KEEPALIVE_PRECISION: Duration = Duration::from_secs(1);
/// How late an idle peer forgets a dead session, or starts the handshake that is due 120 s after the last.
const IDLE_REST: Duration = Duration::from_secs(5);
/// As many packets as boringtun keeps while there is no session.
const MAX_WAITING: usize = 256;
const RETRY_FIRST: Duration = Duration::from_secs(1);
/// 64 s at most, times jitter.
const RETRY_DOUBLINGS: u32 = 6;
