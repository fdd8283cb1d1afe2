//! What a shard's device asks of the devices of others, and does for them: whatever arrives or leaves where its peer, hub,
//! carrier or relay is not. A tunnel with one shard never gets here.

use std::time::Instant;

use super::Device;
use super::foreign::Channel;
use crate::key::PublicKey;
use crate::noise::Kind;
use crate::offload::buffer::Buffer;
use crate::packet::addresses;
use crate::path::{ChannelId, Path, Transmit};
use crate::relay::{Frame, all_on};
use crate::shard::ring::{Errand, Packet, Parcel};

impl Device {
    /// The next errand for another shard, and which.
    pub(crate) fn poll_errand(&mut self) -> Option<(usize, Parcel)> {
        self.errands.pop_front()
    }

    /// The other shard whose peer a packet of this node is for.
    pub(crate) fn other_shard(&self, packet: &[u8]) -> Option<usize> {
        if self.place.is_alone() {
            return None;
        }
        let (_, destination) = addresses(packet)?;
        let owner = self.allowed_ips.owner(destination)?;
        let key = self.foreign.key(owner)?;
        Some(self.place.of_peer(&key))
    }

    /// Does what another shard asks. Gives back the bytes that it is done with.
    pub(crate) fn handle_errand(&mut self, parcel: Parcel, now: Instant) -> Buffer {
        let Parcel {
            errand,
            stride,
            mut bytes,
        } = parcel;
        match errand {
            // Whoever has sockets takes these; without the socket it is still clear who sent them.
            Errand::Arrived { socket, meta } => {
                let path = Path::Udp {
                    local: Some(socket),
                    remote: meta.addr,
                };
                self.handle_datagrams(path, &bytes, stride, now);
            }
            Errand::Carried(id) => self.handle_datagrams(Path::Carrier(id), &bytes, stride, now),
            Errand::Knock { path, peer } => self.handle_knock(path, &peer, &bytes, now),
            Errand::Frames(path) => {
                if !self.pass_on(path, &bytes, stride) {
                    for frame in bytes.chunks(stride.max(1)) {
                        self.handle_frame(path, frame, now);
                    }
                }
            }
            Errand::Relayed(channel) => {
                for frame in bytes.chunks(stride.max(1)) {
                    self.handle_relayed(channel, frame, now);
                }
            }
            Errand::ToHub(hub) => {
                let path = self.path_to(&hub);
                if path.is_none() {
                    self.pathless += bytes.len().div_ceil(stride.max(1)) as u64;
                }
                self.wire
                    .push_batch(path, std::mem::take(&mut bytes), stride);
            }
            Errand::ToCarrier(id) => {
                let path = Some(Path::Carrier(id));
                self.wire
                    .push_batch(path, std::mem::take(&mut bytes), stride);
            }
            Errand::Packets(packets) => self.handle_packets(&mut bytes, &packets, now),
            Errand::PortUnreachable(remote) => self.note_port_unreachable(remote, now),
            Errand::CarrierClosed(id) => self.forget_carrier(id, now),
            Errand::HubMoved(hub) => {
                self.client.moved(Some(&hub), now);
                self.greet(now);
            }
            Errand::SuspectHub(hub, since) => self.suspect(&hub, since, now),
            Errand::Left(node, left, path) => self.server.follow(&node, left, path),
        }
        bytes
    }

    /// Leaves something to another shard; too much of it is dropped and counted.
    pub(super) fn leave_to(&mut self, shard: usize, parcel: Parcel) {
        if self.errands.len() >= MAX_ERRANDS {
            self.counters.transmits_dropped += 1;
            return;
        }
        self.errands.push_back((shard, parcel));
    }

    /// Leaves a copy of datagrams to another shard.
    pub(super) fn leave_datagrams(
        &mut self,
        shard: usize,
        errand: Errand,
        datagrams: &[u8],
        stride: usize,
    ) {
        let parcel = Parcel {
            errand,
            stride,
            bytes: self.wire.batch_of(datagrams),
        };
        self.leave_to(shard, parcel);
    }

    /// Lets all other shards know something.
    pub(super) fn tell_others(&mut self, errand: impl Fn() -> Errand) {
        for shard in self.place.others() {
            self.leave_to(shard, Parcel::note(errand()));
        }
    }

    /// Leaves a batch to the shard where its hub or carrier is, if that is another.
    pub(super) fn resolve_elsewhere(&mut self, transmit: Transmit) -> Option<Transmit> {
        let elsewhere = match transmit.path {
            Path::Relay(channel) => {
                let hub = self.client.via(channel);
                hub.map(|hub| (self.place.of_peer(&hub), Errand::ToHub(hub)))
            }
            Path::Carrier(id) => Some((self.place.of_number(id.0), Errand::ToCarrier(id))),
            Path::Udp { .. } => None,
        };
        match elsewhere.filter(|(shard, _)| *shard != self.place.number()) {
            None => Some(transmit),
            Some((shard, errand)) => {
                let parcel = Parcel {
                    errand,
                    stride: transmit.segment_bytes,
                    bytes: transmit.payload,
                };
                self.leave_to(shard, parcel);
                None
            }
        }
    }

    /// Leaves relay frames of one channel to the shard where the channel's hub is, which knows whether they came from there, and
    /// that one to the shard of the peer behind it. False if they are for this one.
    pub(super) fn pass_on(&mut self, from: Path, frames: &[u8], stride: usize) -> bool {
        let first = &frames[..stride.min(frames.len())];
        let Some(frame) = Frame::parse(first).filter(|_| !self.place.is_alone()) else {
            return false;
        };
        let (Frame::Control(channel) | Frame::Data(channel, _)) = frame;
        let Some(Channel { via, peer }) = self.channel(channel) else {
            return false;
        };
        let together = match frame {
            Frame::Control(_) => first.len() == frames.len(),
            Frame::Data(..) => all_on(channel, frames, stride),
        };
        if self.server.serves(channel) || !together {
            return false;
        }
        let (home, hub) = (self.place.of_peer(&peer), self.place.of_peer(&via));
        let here = self.place.number();
        let (shard, errand) = match frame {
            Frame::Control(_) => (home, Errand::Frames(from)),
            Frame::Data(..) if hub != here => (hub, Errand::Frames(from)),
            Frame::Data(..) if self.is_heard(&via, from) => (home, Errand::Relayed(channel)),
            Frame::Data(..) => return false,
        };
        if shard != here {
            self.leave_datagrams(shard, errand, frames, stride);
        }
        shard != here
    }

    /// Where one of our relay channels leads, whoever's peer it is for.
    fn channel(&self, channel: ChannelId) -> Option<Channel> {
        let own = self.client.via(channel).zip(self.client.peer(channel));
        own.map(|(via, peer)| Channel { via, peer })
            .or_else(|| self.foreign.channel(channel))
    }

    /// An initiation that another shard has let in.
    fn handle_knock(&mut self, path: Path, peer: &PublicKey, message: &[u8], now: Instant) {
        self.doorkeeper.tick();
        match self.by_key.get(peer).copied() {
            Some(index) => {
                self.refresh_time(index, now);
                self.open(index, path, Kind::Initiation, message, now);
            }
            // Removed meanwhile.
            None => self.counters.unknown_peer += 1,
        }
    }

    /// Packets of this node for peers of ours.
    fn handle_packets(&mut self, bytes: &mut Buffer, packets: &[Packet], now: Instant) {
        for packet in packets {
            let Some(room) = bytes.room().get_mut(packet.start..) else {
                self.counters.malformed_packets += 1;
                continue;
            };
            self.handle_super_packet(room, packet.bytes, packet.work, now);
        }
    }
}

/// Parcels between two times that they are taken. A batch of datagrams is one.
const MAX_ERRANDS: usize = 4096;

#[cfg(test)]
mod tests;
