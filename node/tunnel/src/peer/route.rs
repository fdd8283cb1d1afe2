//! Where a peer may be, and by which path its next datagram goes. It sends nothing and opens nothing: it is told what came by
//! which path, and gives orders.

mod questions;
mod silence;

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use super::probe::Token;
use super::way::{Way, rank, same};
use crate::config::PeerConfig;
use crate::path::{CarrierId, ChannelId, Path};
use silence::{Manners, Silence};

/// One peer's paths as a machine without I/O.
///
/// Without a fallback (a relay or a carrier) the route *follows*: packets go to where the last genuine one came from, as in
/// plain WireGuard. With one it *chooses*: the best path that is proven to work in both directions, by an answer that came
/// on it to a question that went on it, within the last seconds; if there is none, the fallback. A peer that never answered may
/// be plain WireGuard, which has UDP only: it is followed there until nothing comes.
///
/// After each call, [`poll_order`](Self::poll_order) until it is empty.
pub(crate) struct Route {
    endpoints: Vec<SocketAddr>,
    candidates: Vec<SocketAddr>,
    relay: Option<ChannelId>,
    carrier: Option<CarrierId>,
    /// Silence is looked for even while there is no fallback.
    watched: bool,
    current: Option<Path>,
    ways: Vec<Way>,
    /// By which path, and when, packets were last heard, if nothing was done since: more that came with them are no news.
    heard_last: Option<(Path, Instant)>,
    start: Instant,
    /// Whether questions can be sealed.
    session: bool,
    active_until: Instant,
    /// When a packet of somebody went by the path in use, and nothing has come by it since.
    owed: Option<Instant>,
    rounds_left: u32,
    round_at: Instant,
    /// Until when quick rounds have been spent.
    spent_until: Instant,
    bind_at: Instant,
    silence: Silence,
    manners: Manners,
    orders: VecDeque<Order>,
}

/// What the route wants done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Order {
    Ask(Path, Token),
    Answer(Path, Token),
    /// Send an empty packet, so that the peer learns where we send from now on.
    Announce(Path),
    /// Start a handshake.
    Initiate,
    /// Bind the relay channel anew, and see whether its hub is there: a NAT may have moved us, or no datagram passes any more
    /// since the given time.
    Bind(ChannelId, Instant),
    /// The peer is no longer here, but where packets now go.
    Left(Path),
    TellSilent,
    TellPath(Path),
    TellEndpoint(SocketAddr),
}

/// What a genuine datagram was.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Heard {
    /// An IP packet of somebody.
    Payload,
    /// An empty packet.
    Keepalive,
    /// The datagram that completes a handshake.
    Handshake,
    Ask(Token),
    Answer(Token),
}

impl Route {
    pub(crate) fn new(config: &PeerConfig, now: Instant) -> Self {
        Self {
            endpoints: config.endpoints.clone(),
            candidates: config.candidates.clone(),
            relay: config.relay.as_ref().map(|grant| grant.channel),
            carrier: None,
            watched: config.carrier_possible,
            current: None,
            ways: Vec::new(),
            heard_last: None,
            start: now,
            session: false,
            active_until: now,
            owed: None,
            rounds_left: ROUNDS_ON_CHANGE,
            round_at: now,
            spent_until: now,
            bind_at: now,
            silence: Silence::default(),
            manners: Manners::default(),
            orders: VecDeque::new(),
        }
    }

    pub(crate) fn set(&mut self, config: &PeerConfig, now: Instant) {
        self.heard_last = None;
        let relay = config.relay.as_ref().map(|grant| grant.channel);
        let new_places = self.candidates != config.candidates || self.endpoints != config.endpoints;
        self.endpoints.clone_from(&config.endpoints);
        self.candidates.clone_from(&config.candidates);
        self.watched = config.carrier_possible;
        let old_relay = std::mem::replace(&mut self.relay, relay);
        let new_relay = old_relay != relay;
        if let Some(old) = old_relay.filter(|_| new_relay) {
            self.forget(Path::Relay(old), now);
        }
        if new_relay {
            self.trust_current(now);
        }
        if (new_places || new_relay) && self.hasten(ROUNDS_ON_CHANGE, now) {
            self.tick(now);
        }
    }

    /// A carrier to the peer is open, in the place of any before, or none is any more.
    pub(crate) fn set_carrier(&mut self, carrier: Option<CarrierId>, now: Instant) {
        self.heard_last = None;
        if let Some(old) = std::mem::replace(&mut self.carrier, carrier) {
            self.forget(Path::Carrier(old), now);
        }
        if self.chooses() {
            self.choose(now);
        }
    }

    /// A carrier has ended.
    pub(crate) fn lose_carrier(&mut self, id: CarrierId, now: Instant) {
        if self.carrier == Some(id) {
            self.set_carrier(None, now);
        } else {
            self.forget(Path::Carrier(id), now);
        }
    }

    /// A path is gone for good. Where packets go instead is told as any move is: relay channels may be bound to the path.
    fn forget(&mut self, path: Path, now: Instant) {
        self.heard_last = None;
        self.ways.retain(|way| way.path != path);
        if self.current != Some(path) {
            return;
        }
        let heard = self.ways.iter().filter(|way| way.heard.is_some());
        let last = heard.max_by_key(|way| way.heard).map(|way| way.path);
        match last {
            _ if self.chooses() => self.choose(now),
            Some(last) => self.switch(last),
            None => self.current = None,
        }
    }

    /// Whether there is a session to seal questions with.
    pub(crate) fn set_session(&mut self, session: bool) {
        self.session = session;
    }

    /// A genuine datagram came by this path.
    pub(crate) fn heard(&mut self, path: Path, heard: Heard, now: Instant) {
        let packets = (heard == Heard::Payload).then_some((path, now));
        if packets.is_some() && packets == self.heard_last {
            return;
        }
        self.heard_last = packets;
        let in_vain = self.watched && self.way(path).is_silent(now);
        self.learn_manners(path, heard, now);
        let way = self.way(path);
        // Now the socket is known by which it is heard.
        way.path = path;
        way.heard = Some(now);
        if self.current == Some(path) {
            self.owed = None;
        }
        if self.manners != Manners::Answers {
            self.silence.end();
        }
        match heard {
            Heard::Ask(token) => self.orders.push_back(Order::Answer(path, token)),
            Heard::Answer(token) => self.answered(path, token, now),
            Heard::Handshake => {
                self.session = true;
                self.way(path).begin(now);
                self.silence.end();
                // If this one brings no answers either, the next would only put off the empty packet by which plain WireGuard shows
                // that it hears us.
                self.silence.restarted = in_vain;
                self.round_at = now;
            }
            Heard::Payload => self.wake(now),
            Heard::Keepalive => {}
        }
        if !self.chooses() {
            // A peer on a carrier asks by UDP whether it could come back; it has not come yet.
            let probe = matches!(heard, Heard::Ask(_) | Heard::Answer(_));
            if !probe
                || self
                    .current
                    .is_none_or(|current| rank(current) == rank(path))
            {
                self.switch(path);
            }
            return;
        }
        if matches!(heard, Heard::Ask(_) | Heard::Payload) && self.manners != Manners::Plain {
            self.ask_back(path, now);
        }
        // While nothing is sent, an old proof is no reason to move.
        let news = matches!(heard, Heard::Answer(_) | Heard::Handshake);
        if news || self.is_active(now) {
            self.choose(now);
        }
    }

    /// A packet of somebody is about to go to the peer.
    pub(crate) fn sends(&mut self, now: Instant) {
        self.heard_last = None;
        self.owed.get_or_insert(now);
        self.wake(now);
    }

    /// Another peer is silent since then, which may be the network's fault: then it is this one's silence, too.
    pub(crate) fn suspect(&mut self, since: Instant, now: Instant) {
        self.heard_last = None;
        self.silence.around = Some(since);
        self.wake(now);
        self.tick(now);
    }

    /// The path is looked at closely for a while.
    fn wake(&mut self, now: Instant) {
        let slept = now >= self.active_until;
        self.active_until = now + ACTIVE_FOR;
        if !slept || !self.chooses() {
            return;
        }
        self.trust_current(now);
        self.rounds_left = self.rounds_left.max(ROUNDS_ON_WAKE);
        self.round_at = now;
        self.tick(now);
    }

    /// An initiation was sent.
    pub(crate) fn initiated(&mut self, now: Instant) {
        self.silence.since.get_or_insert(now);
    }

    /// To be called every 250 ms, unless it [rests](Self::rests).
    pub(crate) fn tick(&mut self, now: Instant) {
        self.heard_last = None;
        if self.rests(now) {
            return;
        }
        let active = self.is_active(now);
        self.judge_silence(now);
        if self.session && (active || self.watched) {
            self.check_current(now);
        }
        if self.chooses() {
            let stuck = matches!(self.current, Some(Path::Carrier(_)));
            if self.session && (active || stuck || self.rounds_left > 0) {
                self.explore(now);
            }
            if active || self.watched {
                self.choose(now);
            }
        } else if self.session {
            self.ask_elsewhere(now);
        }
    }

    pub(crate) fn poll_order(&mut self) -> Option<Order> {
        self.orders.pop_front()
    }

    /// Where packets go.
    pub(crate) fn path(&self) -> Option<Path> {
        self.current.or_else(|| self.targets().into_iter().next())
    }

    /// Where packets go, if anything genuine ever came from there.
    pub(crate) fn proven(&self) -> Option<Path> {
        let current = self.current?;
        let mut ways = self.ways.iter();
        ways.find(|way| way.path == current && way.heard.is_some())?;
        Some(current)
    }

    /// Whether there is any path to try.
    pub(crate) fn known(&self) -> bool {
        self.current.is_some() || self.chooses() || self.places().next().is_some()
    }

    /// Whether this address is where we believe, or were told, that the peer is.
    pub(crate) fn may_be_at(&self, remote: SocketAddr) -> bool {
        self.current.and_then(|path| path.remote()) == Some(remote)
            || self.places().any(|place| place == remote)
    }

    /// Whether anything genuine came by this path.
    pub(crate) fn was_heard_by(&self, path: Path) -> bool {
        let mut ways = self.ways.iter();
        ways.any(|way| way.heard.is_some() && same(way.path, path))
    }

    /// Whether nothing is to be done until somebody sends, or something comes.
    pub(crate) fn rests(&self, now: Instant) -> bool {
        if !self.chooses() {
            return !self.watched;
        }
        let silence = &self.silence;
        let judged = silence.told.is_some() && (silence.restarted || !self.session);
        let stuck = matches!(self.current, Some(Path::Carrier(_)));
        let asking = self.session && self.rounds_left > 0;
        let busy = self.is_active(now) || self.watched || stuck || asking;
        !busy && (silence.since.is_none() || judged)
    }

    /// Every path on which the peer may be reached, the one in use first, then the fallbacks.
    pub(crate) fn targets(&self) -> Vec<Path> {
        let mut targets: Vec<Path> = Vec::new();
        let learnt = self.ways.iter().filter(|way| way.heard.is_some());
        let learnt = learnt.filter(|_| self.chooses()).map(|way| way.path);
        let all = self.current.into_iter().chain(self.fallbacks());
        for path in all.chain(self.places().map(Path::udp)).chain(learnt) {
            if !targets.iter().any(|known| same(*known, path)) {
                targets.push(path);
            }
        }
        targets
    }

    /// How many of the [`targets`](Self::targets) get an initiation at once; the others get it in turn while it is unanswered.
    pub(crate) fn at_once(&self, now: Instant) -> usize {
        let active = self.is_active(now);
        let mut ways = self.ways.iter();
        let proven = ways.any(|way| Some(way.path) == self.current && way.is_fresh(now, active));
        if proven {
            return 1;
        }
        let fallbacks = self.fallbacks();
        let others = fallbacks.filter(|path| Some(*path) != self.current).count();
        (usize::from(self.current.is_some()) + others).max(1)
    }

    fn chooses(&self) -> bool {
        self.relay.is_some() || self.carrier.is_some()
    }

    fn is_active(&self, now: Instant) -> bool {
        now < self.active_until
    }

    /// UDP addresses that were given, declared ones first.
    fn places(&self) -> impl Iterator<Item = SocketAddr> + '_ {
        self.endpoints.iter().chain(&self.candidates).copied()
    }

    fn fallbacks(&self) -> impl Iterator<Item = Path> + 'static {
        let relay = self.relay.map(Path::Relay);
        relay.into_iter().chain(self.carrier.map(Path::Carrier))
    }

    /// The entry of this path, made if need be in the place of the learnt one that was not heard for longest.
    fn way(&mut self, path: Path) -> &mut Way {
        let found = self.ways.iter().position(|way| same(way.path, path));
        let at = found.unwrap_or_else(|| {
            if self.ways.len() >= MAX_WAYS {
                let spare = |(_, way): &(usize, &Way)| Some(way.path) != self.current;
                let oldest = self.ways.iter().enumerate().filter(spare);
                let oldest = oldest.min_by_key(|(_, way)| way.heard).map(|(at, _)| at);
                self.ways.swap_remove(oldest.unwrap_or(0));
            }
            // Most peers are heard by one path only.
            self.ways.reserve_exact(1);
            self.ways.push(Way::new(path));
            self.ways.len() - 1
        });
        &mut self.ways[at]
    }

    /// A path that worked before a pause is believed in until it has had the time to fail.
    fn trust_current(&mut self, now: Instant) {
        let current = self.current;
        if let Some(way) = self.ways.iter_mut().find(|way| Some(way.path) == current)
            && way
                .heard
                .is_some_and(|heard| now - heard < TRUST_AFTER_PAUSE)
        {
            way.trust(now);
        }
    }

    fn choose(&mut self, now: Instant) {
        let active = self.is_active(now);
        let fresh = self.ways.iter().filter(|way| way.is_fresh(now, active));
        let best = fresh.min_by_key(|way| {
            let used = Some(way.path) == self.current;
            (rank(way.path), way.is_in_doubt(now), !used)
        });
        let silent = |path: &Path| {
            let mut ways = self.ways.iter();
            ways.any(|way| way.path == *path && way.is_silent(now))
        };
        let next = best.map(|way| way.path).or_else(|| self.followed());
        let next = match next {
            Some(next) => Some(next),
            None => self
                .fallbacks()
                .find(|path| !silent(path))
                .or_else(|| self.fallbacks().next()),
        };
        if let Some(next) = next {
            self.switch(next);
        }
    }

    fn switch(&mut self, next: Path) {
        let before = self.current.replace(next);
        if before == Some(next) {
            return;
        }
        self.owed = None;
        if let Some(left) = before.filter(|_| !self.chooses()) {
            self.orders.push_back(Order::Left(left));
        }
        if before.map(rank) != Some(rank(next)) {
            self.orders.push_back(Order::TellPath(next));
        }
        let remote = next.remote();
        if let Some(remote) = remote.filter(|_| before.and_then(|path| path.remote()) != remote) {
            self.orders.push_back(Order::TellEndpoint(remote));
        }
        if self.chooses() && self.session {
            self.orders.push_back(Order::Announce(next));
        }
    }
}

/// Declared endpoints, candidates, a relay, a carrier, and a few learnt.
const MAX_WAYS: usize = 34;
/// How long after a packet of somebody the path is watched closely.
const ACTIVE_FOR: Duration = Duration::from_secs(10);
/// After a change both sides ask for 3 s, so that their questions meet in the NATs between them.
const ROUNDS_ON_CHANGE: u32 = 12;
const ROUNDS_ON_WAKE: u32 = 4;
/// A NAT forgets a mapping after 30 s at the earliest (RFC 4787 REQ-5 asks for 2 minutes; garages see less).
const TRUST_AFTER_PAUSE: Duration = Duration::from_secs(25);

#[cfg(test)]
mod tests;
