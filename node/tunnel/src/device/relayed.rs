//! What the device does beside WireGuard: relays for others, asks a hub to relay for it, and follows its carriers. It never
//! opens what it passes on.

use std::time::Instant;

use super::{Device, push_event};
use crate::config::PeerConfig;
use crate::error::TunnelError;
use crate::key::PublicKey;
use crate::path::{CarrierId, ChannelId, Path, Transmit};
use crate::peer::{News, PeerIndex};
use crate::relay::{Frame, RelayPair, all_on};
use crate::shard::ring::{Errand, Parcel};
use crate::status::{RelayCounters, TunnelEvent};

impl Device {
    /// Replaces the pairs between which this device relays.
    ///
    /// # Errors
    /// See [`Tunnel::set_relay_pairs`](crate::Tunnel::set_relay_pairs).
    pub fn set_relay_pairs(
        &mut self,
        pairs: Vec<RelayPair>,
        now: Instant,
    ) -> Result<(), TunnelError> {
        self.server.set_pairs(pairs, now)
    }

    /// A carrier to the peer `via` is open.
    pub fn handle_carrier_opened(&mut self, id: CarrierId, via: PublicKey, now: Instant) {
        let index = self.by_key.get(&via).copied();
        if let Some((index, peer)) =
            index.and_then(|index| Some((index, self.peers.get_mut(&index)?)))
        {
            peer.carrier_opened(id, now, &mut self.wire);
            self.tell_news(index, now);
        }
    }

    /// A carrier has ended: whoever was reached by it is somewhere else, or nowhere.
    pub fn handle_carrier_closed(&mut self, id: CarrierId, now: Instant) {
        let closed = TunnelEvent::CarrierClosed { id };
        push_event(&mut self.events, &mut self.counters, closed);
        self.forget_carrier(id, now);
        self.tell_others(|| Errand::CarrierClosed(id));
    }

    /// Whoever of this shard's peers was reached by this carrier is somewhere else, or nowhere.
    pub(super) fn forget_carrier(&mut self, id: CarrierId, now: Instant) {
        for index in self.peers.keys().copied().collect::<Vec<_>>() {
            if let Some(peer) = self.peers.get_mut(&index) {
                peer.carrier_closed(id, now, &mut self.wire);
                self.tell_news(index, now);
            }
        }
    }

    pub fn relay_counters(&self) -> RelayCounters {
        let counters = self.server.counters();
        RelayCounters {
            refused: counters.refused + self.strays,
            unbound: counters.unbound + self.pathless,
            ..counters
        }
    }

    pub(crate) fn has_peer(&self, key: &PublicKey) -> bool {
        self.by_key.contains_key(key)
    }

    /// Passes on datagrams of one channel together, if that is what they are. False if somebody else must look at them.
    pub(super) fn forward(
        &mut self,
        from: Path,
        frames: &[u8],
        stride: usize,
        now: Instant,
    ) -> bool {
        let first = &frames[..stride.min(frames.len())];
        let Some(Frame::Data(channel, _)) = Frame::parse(first) else {
            return false;
        };
        if !self.server.serves(channel) || !all_on(channel, frames, stride) {
            return false;
        }
        let mut batch = self.wire.batch_of(frames);
        let passed = self.server.forward(from, batch.bytes(), stride, now);
        if let Some((_, bytes)) = passed {
            batch.set_end(bytes);
        }
        self.wire
            .push_batch(passed.map(|(to, _)| to), batch, stride);
        true
    }

    /// A frame between node and relay arrived.
    pub(super) fn handle_frame(&mut self, from: Path, frame: &[u8], now: Instant) {
        match Frame::parse(frame) {
            None => self.counters.malformed += 1,
            Some(Frame::Control(channel)) if self.server.serves(channel) => {
                if let Some(answer) = self.server.handle_control(from, channel, frame, now) {
                    self.wire.push(from, &answer);
                }
            }
            // Came behind another kind of frame.
            Some(Frame::Data(channel, _)) if self.server.serves(channel) => {
                self.forward(from, frame, frame.len(), now);
            }
            Some(Frame::Control(channel)) => {
                if let Some(peer) = self.client.handle_control(channel, frame, now) {
                    self.repeat_initiation(&peer);
                }
                self.greet(now);
            }
            Some(Frame::Data(channel, _)) if self.is_from_hub(channel, from) => {
                self.handle_relayed(channel, frame, now);
            }
            Some(Frame::Data(..)) => self.strays += 1,
        }
    }

    /// A frame that the hub of one of our channels has sent.
    pub(super) fn handle_relayed(&mut self, channel: ChannelId, frame: &[u8], now: Instant) {
        let Some(Frame::Data(_, sealed)) = Frame::parse(frame) else {
            self.counters.malformed += 1;
            return;
        };
        self.client.touch(channel, now);
        self.handle_sealed(Path::Relay(channel), sealed, None, now);
    }

    /// Tells what happened to a peer's paths, and binds channels anew when the way to their hub has changed.
    pub(super) fn tell_news(&mut self, index: PeerIndex, now: Instant) {
        let mut moved = None;
        while let Some(peer) = self.peers.get_mut(&index)
            && let Some(news) = peer.poll_news()
        {
            match news {
                News::Event(event) => {
                    if let TunnelEvent::EndpointChanged { peer, .. }
                    | TunnelEvent::PathChanged { peer, .. } = event
                    {
                        moved = Some(peer);
                    }
                    push_event(&mut self.events, &mut self.counters, event);
                }
                News::Bind(channel, since) => {
                    self.client.bind(channel, now);
                    self.suspect_hub(channel, since, now);
                }
                News::Left(left) => {
                    let node = peer.config.public_key;
                    if let Some(path) = peer.path() {
                        self.follow(node, left, path);
                    }
                }
            }
        }
        if let Some(hub) = moved {
            self.bind_anew(hub, now);
        }
        self.greet(now);
    }

    /// Our channels at this hub are bound to a place where we are not, or the hub may have forgotten them.
    pub(super) fn bind_anew(&mut self, hub: PublicKey, now: Instant) {
        self.client.moved(Some(&hub), now);
        if self.foreign.need(&hub) {
            self.tell_others(|| Errand::HubMoved(hub));
        }
    }

    /// A peer's configuration has changed: its channel may be another one.
    pub(super) fn change_grant(&mut self, index: PeerIndex, old: &PeerConfig, now: Instant) {
        let Some(peer) = self.peers.get(&index) else {
            return;
        };
        let (old, new) = (&old.relay, &peer.config.relay);
        if let Some(gone) = old.as_ref().filter(|_| old != new) {
            self.client.revoke(gone.channel, &peer.config.public_key);
        }
        if let Some(grant) = new {
            self.client.grant(peer.config.public_key, grant, now);
            self.greet(now);
        }
    }

    /// A relay is about to be needed: whether its hub is there must be known before a connection waits for it.
    fn suspect_hub(&mut self, channel: ChannelId, since: Instant, now: Instant) {
        let Some(hub) = self.client.via(channel) else {
            return;
        };
        if self.foreign.index(&hub).is_some() {
            let home = self.place.of_peer(&hub);
            self.leave_to(home, Parcel::note(Errand::SuspectHub(hub, since)));
        }
        self.suspect(&hub, since, now);
    }

    /// Looks closely at the path to a peer of this shard, since another is silent.
    pub(super) fn suspect(&mut self, key: &PublicKey, since: Instant, now: Instant) {
        let index = self.by_key.get(key);
        if let Some(peer) = index.and_then(|index| self.peers.get_mut(index)) {
            peer.suspect(since, now, &mut self.wire);
        }
    }

    /// The relay is in the first shard.
    fn follow(&mut self, node: PublicKey, left: Path, path: Path) {
        match self.place.number() {
            RELAY_SHARD => self.server.follow(&node, left, path),
            _ => self.leave_to(RELAY_SHARD, Parcel::note(Errand::Left(node, left, path))),
        }
    }

    /// Only the hub of a channel may say that something came through it.
    fn is_from_hub(&self, channel: ChannelId, from: Path) -> bool {
        let hub = self.client.via(channel);
        hub.is_some_and(|hub| self.is_heard(&hub, from))
    }

    /// Whether a peer of this shard was heard by this path.
    pub(super) fn is_heard(&self, key: &PublicKey, from: Path) -> bool {
        let index = self.by_key.get(key);
        let peer = index.and_then(|index| self.peers.get(index));
        peer.is_some_and(|peer| peer.was_heard_by(from))
    }

    /// A relay passes what goes to this peer from now on; what went before was lost.
    fn repeat_initiation(&mut self, peer: &PublicKey) {
        let index = self.by_key.get(peer);
        if let Some(peer) = index.and_then(|index| self.peers.get_mut(index)) {
            peer.repeat_initiation(&mut self.wire);
        }
    }

    /// Says the HELLOs that are due.
    pub(super) fn greet(&mut self, now: Instant) {
        while let Some((via, hello)) = self.client.poll_hello(now) {
            if let Some(path) = self.path_to(&via) {
                self.wire.push(path, &hello);
            } else if self.foreign.index(&via).is_some() {
                let home = self.place.of_peer(&via);
                self.leave_datagrams(home, Errand::ToHub(via), &hello, hello.len());
            }
        }
    }

    /// Datagrams for a relay channel, whose frames are around them already, go to the hub.
    pub(super) fn resolve(&mut self, transmit: Transmit) -> Option<Transmit> {
        let transmit = match self.place.is_alone() {
            true => transmit,
            false => self.resolve_elsewhere(transmit)?,
        };
        let Path::Relay(channel) = transmit.path else {
            return Some(transmit);
        };
        let hub = self.client.via(channel);
        let Some(path) = hub.and_then(|hub| self.path_to(&hub)) else {
            self.pathless += transmit.count() as u64;
            self.wire.put_back(transmit);
            return None;
        };
        Some(Transmit { path, ..transmit })
    }

    /// Where a hub is; never through a relay itself.
    pub(super) fn path_to(&self, hub: &PublicKey) -> Option<Path> {
        let peer = self.peers.get(self.by_key.get(hub)?)?;
        peer.path().filter(|path| !matches!(path, Path::Relay(_)))
    }
}

/// The shard that relays for others.
pub(crate) const RELAY_SHARD: usize = 0;

#[cfg(test)]
mod tests;
