//! The only file that touches boringtun: one WireGuard session machine per peer, with every trap of its API guarded. It
//! knows no sockets, no addresses of the overlay and no policy.
//!
//! boringtun reads the boot-time clock by itself, so `now` can't be given to it. Session ages and handshake retries follow
//! that clock; [`Noise::tick`] must be called every 250 ms, since session ages are checked nowhere else.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use blake2::digest::consts::U16;
use blake2::digest::{Digest, KeyInit, Mac};
use blake2::{Blake2s256, Blake2sMac};
use boringtun::noise::errors::WireGuardError;
use boringtun::noise::handshake::parse_handshake_anon;
use boringtun::noise::rate_limiter::RateLimiter;
use boringtun::noise::{Packet, Tunn, TunnResult};
use nix::time::{ClockId, clock_gettime};
use x25519_dalek::StaticSecret;

use crate::key::{PresharedKey, PrivateKey, PublicKey};
use crate::shard::Place;

/// Largest UDP payload.
pub(crate) const DATAGRAM_MAX_BYTES: usize = 65_535;
/// What WireGuard adds to a packet: header, counter and tag.
pub(crate) const DATA_OVERHEAD_BYTES: usize = 32;

/// What kind of message a datagram claims to be, and for which of our sessions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Initiation,
    Response { session: u32 },
    Cookie { session: u32 },
    Data { session: u32 },
}

/// The half of the handshake that is the whole tunnel's: finds out who knocks, and asks for a cookie when there is too much
/// knocking. Its copies count together.
#[derive(Clone)]
pub(crate) struct Doorkeeper {
    secret: StaticSecret,
    public: x25519_dalek::PublicKey,
    limiter: Arc<RateLimiter>,
    /// Of the first checksum of what is addressed to us (WireGuard protocol, `mac1`).
    mac1_key: [u8; 32],
}

/// What the doorkeeper makes of an initiation.
pub(crate) enum Knock {
    From(PublicKey),
    /// We are under load: send this back, and forget the initiation.
    Cookie([u8; COOKIE_BYTES]),
    Refused,
}

/// One peer's session machine.
pub(crate) struct Noise {
    /// Most of what a peer holds: places for eight sessions, 11 KB. It is made with the peer and stays: making it costs a quarter of
    /// a handshake, which must not come on top when all members of a hub call at once; and it knows the time in the
    /// last initiation, without which a recorded one would be answered.
    tunn: Box<Tunn>,
    index: SessionIndex,
    /// The peer has proven that it has a session with us. boringtun takes one that we only answered for such a one when its place is that of
    /// the last, which is one in eight.
    established: bool,
    /// Whether the machine has a session to seal with. It reads a clock when it is asked, so it is asked only after what may change
    /// that: a handshake or a tick.
    seals: bool,
    /// The number of the last session that was begun, whether or not anything came of it.
    last: u32,
    /// The numbers of the last two sessions in which the peer was heard, and since when: for a while it may seal with the older one.
    in_use: [Option<(u32, Instant)>; 2],
    /// [`booted_at`] when it was made.
    booted_at: Option<Duration>,
    #[cfg(test)]
    expire: bool,
}

/// The upper 24 bits of the session numbers that a machine hands out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct SessionIndex(u32);

/// What came of a message.
#[derive(Debug)]
pub(crate) enum Opened<'a> {
    /// Genuine, and nothing is left to do.
    Done,
    /// Genuine; this must be sent back.
    Reply(&'a [u8]),
    /// Genuine; this is the IP packet inside, without padding.
    Packet(&'a [u8]),
    /// A genuine initiation, newer than any before it. Another machine must answer it: this one has no place for one more session.
    Full,
    /// Forged, replayed, too old or too long.
    Refused,
}

/// What a machine wants at a tick.
pub(crate) enum Tick<'a> {
    Idle,
    Send(&'a [u8]),
    /// Given up after 90 s without an answer, or after 9 minutes without a new session.
    Expired,
}

impl Kind {
    pub(crate) fn of(datagram: &[u8]) -> Option<Self> {
        Some(match Tunn::parse_incoming_packet(datagram).ok()? {
            Packet::HandshakeInit(_) => Self::Initiation,
            Packet::HandshakeResponse(p) => Self::Response {
                session: p.receiver_idx,
            },
            Packet::PacketCookieReply(p) => Self::Cookie {
                session: p.receiver_idx,
            },
            Packet::PacketData(p) => Self::Data {
                session: p.receiver_idx,
            },
        })
    }

    /// Our session that the message is for.
    pub(crate) fn session(self) -> Option<u32> {
        match self {
            Self::Initiation => None,
            Self::Response { session } | Self::Cookie { session } | Self::Data { session } => {
                Some(session)
            }
        }
    }

    /// The kind of a message that we made ourselves.
    pub(crate) fn is_initiation(message: &[u8]) -> bool {
        matches!(Self::of(message), Some(Self::Initiation))
    }
}

impl Doorkeeper {
    pub(crate) fn new(private_key: PrivateKey) -> Self {
        let secret = private_key.secret();
        let public = x25519_dalek::PublicKey::from(&secret);
        Self {
            limiter: Arc::new(RateLimiter::new(&public, LOAD_LIMIT)),
            mac1_key: (Blake2s256::new().chain_update(b"mac1----"))
                .chain_update(public.as_bytes())
                .finalize()
                .into(),
            public,
            secret,
        }
    }

    /// Whether who made an initiation knows our public key. It costs some thousandth of what comes after it, and a stranger does
    /// not use up what a source may ask.
    pub(crate) fn is_addressed(&self, datagram: &[u8]) -> bool {
        let parts = datagram.split_at_checked(MAC1_AT);
        let Some((covered, Some(mac1))) = parts.map(|(it, rest)| (it, rest.get(..MAC1_BYTES)))
        else {
            return false;
        };
        let mac = <Blake2sMac<U16> as KeyInit>::new((&self.mac1_key).into());
        mac.chain_update(covered).verify_slice(mac1).is_ok()
    }

    pub(crate) fn public_key(&self) -> PublicKey {
        PublicKey::from_bytes(self.public.to_bytes())
    }

    /// Starts a new counting period once a second; harmless to call more often.
    pub(crate) fn tick(&self) {
        self.limiter.reset_count();
    }

    /// Checksum, load, and only then the first Diffie-Hellman.
    pub(crate) fn knock(&self, source: IpAddr, datagram: &[u8]) -> Knock {
        let mut cookie = [0; COOKIE_BYTES];
        let initiation = match self
            .limiter
            .verify_packet(Some(source), datagram, &mut cookie)
        {
            Ok(Packet::HandshakeInit(initiation)) => initiation,
            Err(TunnResult::WriteToNetwork(_)) => return Knock::Cookie(cookie),
            Ok(_) | Err(_) => return Knock::Refused,
        };
        let half = parse_handshake_anon(&self.secret, &self.public, &initiation);
        half.map_or(Knock::Refused, |half| {
            Knock::From(PublicKey::from_bytes(half.peer_static_public))
        })
    }

    pub(crate) fn machine(
        &self,
        peer: PublicKey,
        preshared_key: Option<&PresharedKey>,
        keepalive_s: Option<u16>,
        index: SessionIndex,
    ) -> Noise {
        let tunn = Tunn::new(
            self.secret.clone(),
            x25519_dalek::PublicKey::from(*peer.as_bytes()),
            preshared_key.map(|key| *key.as_bytes()),
            keepalive_s,
            index.0,
            Some(Arc::clone(&self.limiter)),
        );
        Noise {
            tunn: Box::new(tunn),
            index,
            established: false,
            seals: false,
            last: 0,
            in_use: [None; 2],
            booted_at: booted_at(),
            #[cfg(test)]
            expire: false,
        }
    }
}

impl SessionIndex {
    /// Its low bits name the shard.
    pub(crate) fn random(place: Place) -> Result<Self, getrandom::Error> {
        Ok(Self(place.mark(getrandom::u32()? >> SESSION_BITS)))
    }

    /// The machine to which a session number belongs.
    pub(crate) fn of_session(session: u32) -> Self {
        Self(session >> SESSION_BITS)
    }
}

impl Noise {
    pub(crate) fn index(&self) -> SessionIndex {
        self.index
    }

    /// Whether the clock was set forward since the machine was made. It asks for the time of day but then, and its initiations go on
    /// from there: a peer that has seen a later time takes them for recordings.
    pub(crate) fn is_behind(&self) -> bool {
        let made = self.booted_at.zip(booted_at());
        made.is_some_and(|(then, now)| now.saturating_sub(then) > CLOCK_STEP)
    }

    /// Whether the answer to an initiation would take the place of a session in use. boringtun looks at nothing but the number, so
    /// eight initiations that come to nothing, as those with another preshared key, would end it.
    pub(crate) fn is_full(&self, now: Instant) -> bool {
        let place = |session: u32| session % SESSION_PLACES;
        let next = place(self.last.wrapping_add(1));
        let lives = |since: Instant| now.saturating_duration_since(since) < REJECT_AFTER;
        let mut in_use = self.in_use.into_iter().flatten();
        self.seals && in_use.any(|(session, since)| place(session) == next && lives(since))
    }

    /// Whether data can be sealed now.
    pub(crate) fn has_session(&self) -> bool {
        self.established && self.seals
    }

    /// How long ago the newest session that data can be sealed with was made.
    pub(crate) fn session_age(&self) -> Option<Duration> {
        let age = self.tunn.time_since_last_handshake();
        age.filter(|_| self.established)
    }

    /// Verifies and opens one datagram into `buffer`.
    pub(crate) fn open<'b>(
        &mut self,
        source: IpAddr,
        datagram: &[u8],
        buffer: &'b mut [u8],
        now: Instant,
    ) -> Opened<'b> {
        // boringtun panics on a datagram, even a forged one, that is longer than the buffer.
        let fits = datagram.len() <= buffer.len() && buffer.len() >= LONGEST_MESSAGE_BYTES;
        if datagram.is_empty() || !fits {
            return Opened::Refused;
        }
        if counter(datagram).is_some_and(|counter| counter >= REJECT_AFTER_MESSAGES) {
            return Opened::Refused;
        }
        let is_data = datagram.first() == Some(&DATA_TYPE);
        let is_full = datagram.first() == Some(&INITIATION_TYPE) && self.is_full(now);
        let buffer = match is_full {
            // boringtun verifies an initiation, then looks whether the answer fits, and takes a place only after that.
            true => &mut buffer[..COOKIE_BYTES],
            false => buffer,
        };
        let opened = self.tunn.decapsulate(Some(source), datagram, buffer);
        if !is_data || !self.seals {
            self.look();
        }
        let (opened, heard) = match opened {
            TunnResult::Done => (Opened::Done, is_data),
            TunnResult::WriteToNetwork(reply) => {
                self.note_begun(reply);
                // The first packet of a session that we began.
                let heard = reply.first() == Some(&DATA_TYPE);
                (Opened::Reply(reply), heard)
            }
            TunnResult::WriteToTunnelV4(packet, _) | TunnResult::WriteToTunnelV6(packet, _) => {
                (Opened::Packet(packet), is_data)
            }
            TunnResult::Err(WireGuardError::DestinationBufferTooSmall) if is_full => {
                (Opened::Full, false)
            }
            TunnResult::Err(_) => (Opened::Refused, false),
        };
        if heard {
            self.note_heard(datagram, now);
        }
        opened
    }

    /// Seals a packet whose padding is already on it. Without a session the packet waits in a queue of 256 and the result,
    /// if any, is an initiation. An empty packet is a keepalive.
    pub(crate) fn seal<'b>(&mut self, padded: &[u8], buffer: &'b mut [u8]) -> Option<&'b [u8]> {
        let needed = padded.len() + DATA_OVERHEAD_BYTES;
        if buffer.len() < needed.max(LONGEST_MESSAGE_BYTES) {
            return None;
        }
        if !self.established && self.seals {
            // The peer could not open it; the packet is lost, which no queue of ours could mend.
            return self.initiate_unless_under_way(buffer);
        }
        match self.tunn.encapsulate(padded, buffer) {
            TunnResult::WriteToNetwork(message) => {
                self.note_begun(message);
                Some(message)
            }
            _ => None,
        }
    }

    /// The next packet that waited for a session. To be called until `None`, and only when there is a session: otherwise
    /// boringtun reorders its queue and starts a handshake across the peer's.
    pub(crate) fn flush<'b>(&mut self, buffer: &'b mut [u8]) -> Option<&'b [u8]> {
        if !self.has_session() {
            return None;
        }
        match self.tunn.decapsulate(None, &[], buffer) {
            TunnResult::WriteToNetwork(message) => Some(message),
            _ => None,
        }
    }

    pub(crate) fn tick<'b>(&mut self, buffer: &'b mut [u8]) -> Tick<'b> {
        #[cfg(test)]
        if self.expire {
            return Tick::Expired;
        }
        let result = self.tunn.update_timers(buffer);
        self.look();
        self.established &= self.seals;
        if !self.seals {
            self.in_use = [None; 2];
        }
        match result {
            TunnResult::WriteToNetwork(message) => {
                self.note_begun(message);
                Tick::Send(message)
            }
            TunnResult::Err(WireGuardError::ConnectionExpired) => Tick::Expired,
            _ => Tick::Idle,
        }
    }

    /// A new initiation, whatever went before; this also ends the expired state.
    pub(crate) fn initiate<'b>(&mut self, buffer: &'b mut [u8]) -> Option<&'b [u8]> {
        #[cfg(test)]
        {
            self.expire = false;
        }
        self.initiation(buffer, true)
    }

    /// A new initiation, unless another waits for its answer.
    pub(crate) fn initiate_unless_under_way<'b>(
        &mut self,
        buffer: &'b mut [u8],
    ) -> Option<&'b [u8]> {
        self.initiation(buffer, false)
    }

    fn look(&mut self) {
        self.seals = self.tunn.time_since_last_handshake().is_some();
    }

    fn initiation<'b>(&mut self, buffer: &'b mut [u8], again: bool) -> Option<&'b [u8]> {
        match self.tunn.format_handshake_initiation(buffer, again) {
            TunnResult::WriteToNetwork(message) => {
                self.note_begun(message);
                Some(message)
            }
            _ => None,
        }
    }

    /// A message of ours: an initiation or a response begins a session.
    fn note_begun(&mut self, message: &[u8]) {
        if let Some(Kind::Initiation | Kind::Response { .. }) = Kind::of(message) {
            self.last = announced_session(message).unwrap_or(self.last);
        }
    }

    /// A message of the peer that proves that it has a session with us.
    fn note_heard(&mut self, message: &[u8], now: Instant) {
        self.established = true;
        let Some(session) = Kind::of(message).and_then(Kind::session) else {
            return;
        };
        let [newest, _] = self.in_use;
        if newest.is_none_or(|(known, _)| known != session) {
            self.in_use = [Some((session, now)), newest];
        }
    }

    /// As if the clock had been set forward by this much since the machine was made.
    #[cfg(test)]
    pub(crate) fn fall_behind(&mut self, by: Duration) {
        self.booted_at = self.booted_at.map(|at| at.saturating_sub(by));
    }

    /// As if it had been set back.
    #[cfg(test)]
    pub(crate) fn run_ahead(&mut self, by: Duration) {
        self.booted_at = self.booted_at.map(|at| at + by);
    }

    /// Puts the machine where 90 unanswered seconds would put it.
    #[cfg(test)]
    pub(crate) fn expire(&mut self) {
        self.expire = true;
    }
}

/// The time of day at which the host was booted, by what the clock says now: the same until somebody sets it, since what makes a
/// clock run faster or slower holds for both of these.
fn booted_at() -> Option<Duration> {
    let since_boot = clock_gettime(ClockId::CLOCK_BOOTTIME).ok()?;
    let time = SystemTime::now().duration_since(UNIX_EPOCH).ok()?;
    Some(time.saturating_sub(since_boot.into()))
}

/// The number of our session that a response or an initiation of ours announces.
pub(crate) fn announced_session(message: &[u8]) -> Option<u32> {
    let bytes = message.get(4..8)?;
    Some(u32::from_le_bytes(bytes.try_into().ok()?))
}

/// The counter of a data message, genuine or not.
fn counter(datagram: &[u8]) -> Option<u64> {
    let is_data = datagram.first() == Some(&DATA_TYPE);
    let bytes = datagram.get(8..16).filter(|_| is_data)?;
    Some(u64::from_le_bytes(bytes.try_into().ok()?))
}

const INITIATION_TYPE: u8 = 1;
const DATA_TYPE: u8 = 4;
/// REJECT_AFTER_TIME of the WireGuard paper §6.1: no session lives longer.
pub(crate) const REJECT_AFTER: Duration = Duration::from_secs(180);
/// WireGuard paper §6.1. boringtun never looks, and overflows, which is a panic, near the end of the range: without this an
/// enrolled peer could end the tunnel of all the others.
const REJECT_AFTER_MESSAGES: u64 = u64::MAX - (1 << 13);
const COOKIE_BYTES: usize = 64;
/// An initiation, which boringtun may write wherever it is given a buffer.
pub(crate) const LONGEST_MESSAGE_BYTES: usize = 148;
/// boringtun numbers its sessions with the lower 8 bits.
const SESSION_BITS: u32 = 8;
/// It keeps a session at the place that the lowest bits of the number name.
const SESSION_PLACES: u32 = 8;
/// An initiation is repeated after as much, and has caught up with less by then.
const CLOCK_STEP: Duration = Duration::from_secs(5);
/// Handshakes a second above which cookies are asked for. Each costs 0.15 to 0.25 ms of CPU.
const HANDSHAKES_PER_S: u64 = 400;
/// The limiter sees each initiation twice: at the door, and in the peer's machine.
const LOAD_LIMIT: u64 = 2 * HANDSHAKES_PER_S;
/// Where the first checksum of an initiation is.
const MAC1_AT: usize = 116;
const MAC1_BYTES: usize = 16;
