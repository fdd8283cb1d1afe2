//! A peer on its paths: does what the route orders, and tells the device what became of it. It never decides which path is
//! better.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use super::Peer;
use super::probe::Probe;
use super::route::Order;
use crate::path::{CarrierId, ChannelId, Path};
use crate::status::{PathKind, TunnelEvent};
use crate::wire::Wire;

/// What the device must know of a peer's paths.
#[derive(Debug, Clone, Copy)]
pub(crate) enum News {
    Event(TunnelEvent),
    /// The relay channel to the peer, who is silent since then, should be bound anew.
    Bind(ChannelId, Instant),
    /// The peer has moved from here.
    Left(Path),
}

impl Peer {
    /// Whether any address is known at which the peer may be.
    pub(crate) fn reachable(&self) -> bool {
        self.route.known()
    }

    /// Whether this address is where we believe, or were told, that the peer is.
    pub(crate) fn may_be_at(&self, remote: SocketAddr) -> bool {
        self.route.may_be_at(remote)
    }

    /// Where packets for the peer go now.
    pub(crate) fn path(&self) -> Option<Path> {
        self.route.path()
    }

    /// Whether the peer was heard by this path.
    pub(crate) fn was_heard_by(&self, path: Path) -> bool {
        self.route.was_heard_by(path)
    }

    /// Whether the route needs a look sooner than one is planned.
    pub(crate) fn wants_tick(&self, now: Instant) -> bool {
        self.next_tick > now + SOON && !self.route.rests(now)
    }

    pub(crate) fn has_news(&self) -> bool {
        !self.news.is_empty()
    }

    /// The next thing that happened to the peer's paths.
    pub(crate) fn poll_news(&mut self) -> Option<News> {
        self.news.pop_front()
    }

    /// A carrier to this peer is open: whoever is silent is tried by it at once.
    pub(crate) fn carrier_opened(&mut self, id: CarrierId, now: Instant, wire: &mut Wire) {
        self.route.set_carrier(Some(id), now);
        self.obey(now, wire);
        self.initiate(now, wire);
    }

    /// This carrier has ended.
    pub(crate) fn carrier_closed(&mut self, id: CarrierId, now: Instant, wire: &mut Wire) {
        self.route.lose_carrier(id, now);
        self.obey(now, wire);
    }

    /// Looks closely at the path in use for a while, as if packets were sent: somebody else is silent since then.
    pub(crate) fn suspect(&mut self, since: Instant, now: Instant, wire: &mut Wire) {
        self.route.set_session(self.can_seal());
        self.route.suspect(since, now);
        self.obey(now, wire);
    }

    /// To be called every 250 ms.
    pub(super) fn tick_route(&mut self, now: Instant, wire: &mut Wire) {
        self.route.set_session(self.can_seal());
        self.route.tick(now);
        self.obey(now, wire);
    }

    /// Shows an initiation that is unanswered to the relay once more.
    pub(crate) fn repeat_initiation(&mut self, wire: &mut Wire) {
        let relay = self.config.relay.as_ref();
        if let Some((sent, grant)) = self.initiation.as_ref().zip(relay) {
            wire.push(Path::Relay(grant.channel), &sent.message);
        }
    }

    /// Shows an unanswered initiation to the next candidate; each sees it once. The next initiation goes on with whoever comes
    /// after, since in its time not all have a turn.
    pub(super) fn try_next_target(&mut self, now: Instant, wire: &mut Wire) {
        let Some(sent) = self.initiation.as_mut().filter(|sent| now >= sent.next_at) else {
            return;
        };
        let targets = self.route.targets();
        let others = targets.get(sent.at_once..).unwrap_or_default();
        if sent.turns >= others.len() {
            return;
        }
        let turn = self.next_turn % others.len();
        self.next_turn = turn + 1;
        sent.turns += 1;
        sent.next_at = now + CANDIDATE_INTERVAL;
        self.tx_bytes += sent.message.len() as u64;
        wire.push(others[turn], &sent.message);
    }

    /// Does what the route wants.
    pub(super) fn obey(&mut self, now: Instant, wire: &mut Wire) {
        let peer = self.config.public_key;
        while let Some(order) = self.route.poll_order() {
            let news = match order {
                Order::Ask(path, token) => {
                    self.say(path, &Probe::Ask(token).packet(), now, wire);
                    continue;
                }
                Order::Answer(path, token) => {
                    self.say(path, &Probe::Answer(token).packet(), now, wire);
                    continue;
                }
                Order::Announce(path) => {
                    self.say(path, &[], now, wire);
                    continue;
                }
                Order::Initiate => {
                    self.initiate(now, wire);
                    continue;
                }
                Order::Bind(channel, since) => News::Bind(channel, since),
                Order::Left(path) => News::Left(path),
                Order::TellSilent => News::Event(TunnelEvent::PathSilent { peer }),
                Order::TellPath(path) => News::Event(TunnelEvent::PathChanged {
                    peer,
                    path: PathKind::of(path),
                }),
                Order::TellEndpoint(endpoint) => {
                    News::Event(TunnelEvent::EndpointChanged { peer, endpoint })
                }
            };
            if self.news.len() < MAX_NEWS {
                self.news.push_back(news);
            }
        }
    }

    /// Seals something of our own for one path, if there is a session.
    fn say(&mut self, path: Path, packet: &[u8], now: Instant, wire: &mut Wire) {
        if self.can_seal() {
            let mut padded = packet.to_vec();
            padded.resize(wire.padded_bytes(packet.len()), 0);
            self.seal_by(path, &padded, now, wire);
        }
    }

    pub(super) fn can_seal(&self) -> bool {
        self.noise.has_session() || self.retiring.can_seal()
    }
}

/// A tick that is planned within this time is soon enough.
const SOON: Duration = Duration::from_millis(500);
/// The device takes the news after every call, and a call makes few.
const MAX_NEWS: usize = 64;
/// Time between two candidates; a handshake over a usable path takes less.
pub(super) const CANDIDATE_INTERVAL: Duration = Duration::from_millis(500);
