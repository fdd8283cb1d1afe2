//! What the device does beside WireGuard: relays for others, asks a hub to relay for it, and follows its carriers. It never
//! opens what it passes on.

use std::time::Instant;

use super::{Device, push_event};
use crate::error::TunnelError;
use crate::key::PublicKey;
use crate::path::{CarrierId, ChannelId, Path, Transmit};
use crate::relay::{Frame, RelayPair, data};
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

    /// A frame between node and relay arrived.
    pub(super) fn handle_frame(&mut self, from: Path, frame: &[u8], now: Instant) {
        match Frame::parse(frame) {
            None => self.counters.malformed += 1,
            Some(Frame::Control(channel)) if self.server.serves(channel) => {
                if let Some(answer) = self.server.handle_control(from, channel, frame, now) {
                    self.wire.push(from, &answer);
                }
            }
            Some(Frame::Data(channel, _)) if self.server.serves(channel) => {
                let mut batch = frame.to_vec();
                let stride = batch.len();
                if let Some(to) = self.server.forward(from, &mut batch, stride, now) {
                    self.wire.push(to, &batch);
                }
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

    /// A datagram for a relay channel becomes one for the hub.
    pub(super) fn resolve(&mut self, transmit: Transmit) -> Option<Transmit> {
        let Path::Relay(channel) = transmit.path else {
            return Some(transmit);
        };
        Some(Transmit {
            path: self.path_of(channel)?,
            payload: data(channel, &transmit.payload),
        })
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
