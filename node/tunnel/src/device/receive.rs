//! From the underlay to this node: whose datagram it is, what is in it, and whether that may pass.

use std::time::Instant;

use super::{Admitted, Device, push_event};
use crate::allowed_ips::AllowedIps;
use crate::demux::Demux;
use crate::filter::{Filter, Verdict};
use crate::noise::{DATAGRAM_MAX_BYTES, Kind, Knock, SessionIndex};
use crate::offload::join::Joiner;
use crate::packet::addresses;
use crate::path::Path;
use crate::peer::{Peer, PeerIndex};
use crate::shard::ring::Errand;
use crate::status::TunnelEvent;

impl Device {
    /// Datagrams of one sender arrived together from the underlay, each `stride` long but the last, which may be shorter.
    pub fn handle_datagrams(&mut self, path: Path, datagrams: &[u8], stride: usize, now: Instant) {
        self.greet(now);
        if Demux::of(datagrams) == Demux::Relay
            && (self.forward(path, datagrams, stride, now) || self.pass_on(path, datagrams, stride))
        {
            return;
        }
        let mut before = None;
        for datagram in datagrams.chunks(stride.max(1)) {
            match Demux::of(datagram) {
                Demux::WireGuard => before = self.handle_sealed(path, datagram, before, now),
                Demux::Relay if self.pass_on(path, datagram, datagram.len()) => {}
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

    /// A WireGuard message arrived, by whatever path, with the message `before` it, if there was one. Returns what it is for the
    /// next: whoever opens many in a row looks once for whose they are.
    pub(super) fn handle_sealed(
        &mut self,
        path: Path,
        datagram: &[u8],
        before: Option<Before>,
        now: Instant,
    ) -> Option<Before> {
        if datagram.len() > DATAGRAM_MAX_BYTES {
            self.counters.malformed += 1;
            return None;
        }
        let Some(kind) = Kind::of(datagram) else {
            self.counters.malformed += 1;
            return None;
        };
        if let Some(known) = before.filter(|before| kind == before.kind()) {
            self.open(known.peer, path, kind, datagram, now);
            return before;
        }
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
        let index = index?;
        self.refresh_time(index, now);
        self.open(index, path, kind, datagram, now);
        match kind {
            Kind::Data { session } => Some(Before {
                session,
                peer: index,
            }),
            _ => None,
        }
    }

    /// A message for, or from, a peer of this shard, whose time is [fresh](Self::refresh_time).
    pub(super) fn open(
        &mut self,
        index: PeerIndex,
        path: Path,
        kind: Kind,
        datagram: &[u8],
        now: Instant,
    ) {
        let Some(peer) = self.peers.get_mut(&index) else {
            return;
        };
        let data = matches!(kind, Kind::Data { .. });
        let plain = match data {
            true => self.joiner.land(datagram.len()),
            false => &mut self.plain,
        };
        let received = peer.receive(path, kind, datagram, plain, now, &mut self.wire);
        if received.wants_relief {
            if let Ok(session) = self.fresh_session() {
                self.renew(index, session, Peer::relieve_noise, now);
                self.open(index, path, kind, datagram, now);
            }
            return;
        }
        let (news, pace) = (peer.has_news(), peer.wants_tick(now));
        let met = received
            .handshake_completed
            .then_some(peer.config.public_key);
        if let Some(peer) = met {
            let event = TunnelEvent::HandshakeCompleted { peer };
            push_event(&mut self.events, &mut self.counters, event);
        }
        match received.packet_bytes {
            Some(bytes) => deliver(
                (index, peer),
                bytes,
                &mut self.joiner,
                &mut self.filter,
                &self.allowed_ips,
                now,
            ),
            None if data => self.joiner.discard(),
            None => {}
        }
        if let Some(hub) = met {
            // That this machine slept is known to sessions, and not to the clock by which channels say HELLO. A relay keeps a channel
            // for 120 s, after which a session is made anew, too: with every session they are bound, so none is lost for long.
            self.bind_anew(hub, now);
            self.greet(now);
        }
        self.keep_up(index, news, pace, now);
    }

    /// Finds out who sent an initiation, cheapest checks first. `None` also if the rest is another shard's.
    fn knock(&mut self, path: Path, datagram: &[u8], now: Instant) -> Option<PeerIndex> {
        let source = path.source();
        if !self.doorkeeper.is_addressed(datagram) {
            self.counters.unknown_peer += 1;
            return None;
        }
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
        if let Some(peer) = key.filter(|key| self.foreign.index(key).is_some()) {
            let errand = Errand::Knock { path, peer };
            let home = self.place.of_peer(&peer);
            self.leave_datagrams(home, errand, datagram, datagram.len());
            return None;
        }
        let index = key.and_then(|key| self.by_key.get(&key).copied());
        self.counters.unknown_peer += u64::from(index.is_none());
        index
    }
}

/// The packet that was opened where it landed goes on if its source is the sender's and the filter admits it. One that continues
/// another of the same peer has the same source, and is admitted for the same reason.
fn deliver(
    (index, peer): (PeerIndex, &mut Peer),
    bytes: usize,
    joiner: &mut Joiner<Admitted>,
    filter: &mut Filter,
    allowed_ips: &AllowedIps,
    now: Instant,
) {
    let own = |admitted: &Admitted| admitted.peer == index;
    if let Some(admitted) = joiner.extend(bytes, own) {
        filter.count(&mut peer.ingress, admitted.verdict);
        return;
    }
    joiner.lift(bytes);
    if let Some(admitted) = joiner.append(bytes, own) {
        filter.count(&mut peer.ingress, admitted.verdict);
        return;
    }
    let packet = joiner.lifted(bytes);
    let source_owner = addresses(packet).and_then(|(source, _)| allowed_ips.owner(source));
    if source_owner != Some(index) {
        peer.drops.spoofed += 1;
        return;
    }
    let verdict = filter.enter(index, &mut peer.ingress, packet, now);
    if matches!(verdict, Verdict::Refused(_)) {
        return;
    }
    let admitted = Admitted {
        peer: index,
        verdict,
    };
    joiner.start(bytes, admitted);
}

/// The data message before this one, of those that came together.
#[derive(Clone, Copy)]
pub(super) struct Before {
    session: u32,
    peer: PeerIndex,
}

impl Before {
    fn kind(self) -> Kind {
        Kind::Data {
            session: self.session,
        }
    }
}
