//! A shard's trade with the others: takes what they have left for it, and hands over what is theirs. It never waits for them.

use std::time::Instant;

use socket2::Socket;

use super::{Underlay, arrive};
use crate::device::Device;
use crate::offload::buffer::Buffer;
use crate::offload::vnet::Work;
use crate::shard::ring::{Errand, Neighbours, Parcel};
use crate::socket::Batch;

impl Underlay {
    /// Does what other shards have left for this one, a bounded part of it, and gives the device to `after` now and then. False
    /// if there was nothing.
    pub(crate) fn take(&mut self, mut after: impl FnMut(&mut Device)) -> bool {
        let Some(others) = &mut self.neighbours else {
            return false;
        };
        others.recycle();
        if let Some(sockets) = others.next_sockets() {
            self.adopt(sockets);
        }
        let mut taken = false;
        for _ in 0..PARCELS {
            let Some(others) = &mut self.neighbours else {
                break;
            };
            let datagrams = others.next_datagrams();
            let packets = others.next_packets();
            if datagrams.is_none() && packets.is_none() {
                break;
            }
            taken = true;
            for (from, parcel) in datagrams.into_iter().chain(packets) {
                let done = self.run(parcel, &mut after);
                if let Some(others) = &mut self.neighbours {
                    others.give_back(from, done);
                }
            }
        }
        taken
    }

    /// Whether the tunnel has other shards.
    pub(crate) fn is_shard(&self) -> bool {
        self.neighbours.is_some()
    }

    /// Whether another shard is gone, and so the tunnel.
    pub(crate) fn has_ended(&self) -> bool {
        let others = self.neighbours.as_ref();
        others.is_some_and(Neighbours::have_ended)
    }

    /// The other shard whose peer a packet of this node is for.
    pub(crate) fn other_shard(&self, packet: &[u8]) -> Option<usize> {
        self.device.other_shard(packet)
    }

    /// Hands the packet of this node at the start of `packet` to the shard of its peer; the room is another's afterwards.
    pub(crate) fn hand_over(&mut self, to: usize, packet: &mut Buffer, bytes: usize, work: Work) {
        if let Some(others) = &mut self.neighbours {
            others.packet(to, packet, bytes, work);
        }
    }

    /// Sends the parcels that are ready, and wakes whom they are for.
    pub(super) fn settle(&mut self) {
        let Some(others) = &mut self.neighbours else {
            return;
        };
        while let Some((to, parcel)) = self.device.poll_errand() {
            others.send(to, parcel);
        }
        others.settle();
    }

    /// Does one errand, and gives back the bytes that it is done with.
    fn run(&mut self, parcel: Parcel, after: &mut impl FnMut(&mut Device)) -> Buffer {
        let now = Instant::now();
        match parcel.errand {
            Errand::Arrived { socket, mut meta } => {
                meta.stride = parcel.stride;
                let batch = Batch {
                    socket,
                    datagrams: &parcel.bytes,
                    meta,
                };
                arrive(&batch, &mut self.device, &mut self.quic, now, after);
                parcel.bytes
            }
            Errand::Packets(_) => {
                let done = self.device.handle_errand(parcel, now);
                self.transmit_full();
                done
            }
            _ => {
                let done = self.device.handle_errand(parcel, now);
                after(&mut self.device);
                done
            }
        }
    }

    /// The first shard has bound new sockets for all.
    fn adopt(&mut self, sockets: Vec<Socket>) {
        if let Err(error) = self.sockets.adopt(sockets) {
            tracing::error!(%error, "a shard is without its UDP sockets; others hand it what arrives");
        }
        self.blocked = false;
        self.device.handle_rebind(Instant::now());
    }
}

/// Parcels of each kind taken before the rest of the shard gets its turn. Most are as long as a super-packet.
const PARCELS: usize = 8;

#[cfg(test)]
mod tests;
