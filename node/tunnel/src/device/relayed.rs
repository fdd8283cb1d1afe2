//! What the device does beside WireGuard: relays for others, asks a hub to relay for it, and follows its carriers. It never
//! opens what it passes on.

use std::time::Instant;

use super::{Device, push_event};
use crate::error::TunnelError;
use crate::key::PublicKey;
use crate::path::{CarrierId, ChannelId, Path, Transmit};
use crate::relay::{Frame, RelayPair};
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
        let _ = (id, via, now);
    }

    /// A carrier has ended: whoever was reached by it is somewhere else, or nowhere.
    pub fn handle_carrier_closed(&mut self, id: CarrierId, now: Instant) {
        let _ = now;
        push_event(
            &mut self.events,
            &mut self.counters,
            TunnelEvent::CarrierClosed { id },
        );
    }

    pub fn relay_counters(&self) -> RelayCounters {
        self.server.counters()
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
        if !self.server.serves(channel) {
            return false;
        }
        let mut batch = self.wire.batch_of(frames);
        let to = self.server.forward(from, batch.bytes(), stride, now);
        self.wire.push_batch(to, batch, stride);
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
            Some(Frame::Control(channel)) => self.client.handle_control(channel, frame, now),
            Some(Frame::Data(channel, sealed)) => {
                if self.client.via(channel).is_some() {
                    self.client.touch(channel, now);
                    self.handle_sealed(Path::Relay(channel), sealed, now);
                }
            }
        }
    }

    /// Says the HELLOs that are due.
    pub(super) fn greet(&mut self, now: Instant) {
        while let Some((via, hello)) = self.client.poll_hello(now) {
            if let Some(path) = self.path_to(&via) {
                self.wire.push(path, &hello);
            }
        }
    }

    /// Datagrams for a relay channel, whose frames are around them already, go to the hub.
    pub(super) fn resolve(&mut self, transmit: Transmit) -> Option<Transmit> {
        let Path::Relay(channel) = transmit.path else {
            return Some(transmit);
        };
        let Some(path) = self.path_of(channel) else {
            self.wire.put_back(transmit);
            return None;
        };
        Some(Transmit { path, ..transmit })
    }

    fn path_of(&self, channel: ChannelId) -> Option<Path> {
        self.path_to(&self.client.via(channel)?)
    }

    /// Where a hub is; never through a relay itself.
    fn path_to(&self, hub: &PublicKey) -> Option<Path> {
        let peer = self.peers.get(self.by_key.get(hub)?)?;
        peer.path().filter(|path| !matches!(path, Path::Relay(_)))
    }
}
