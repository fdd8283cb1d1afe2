//! What smoltcp takes for a network device: one packet in, a bounded queue of packets out. It promises to cut large packets
//! into segments and to fill in checksums, and holds no packet that came in.

use std::collections::VecDeque;
use std::num::{NonZeroU16, NonZeroUsize};

use smoltcp::phy::{Checksum, Device, DeviceCapabilities, Medium, PacketMeta, RxToken, TxToken};
use smoltcp::time::Instant;

use crate::offload::buffer::{Buffer, Pool};
use crate::offload::cut::PADDING_BYTES;
use crate::offload::layout::{Layout, Transport, put16};
use crate::offload::vnet::Work;

/// A packet that smoltcp sends, with room for padding behind it.
pub(crate) struct Departure {
    pub(crate) packet: Buffer,
    pub(crate) work: Work,
}

/// Packets that leave the stack.
#[derive(Default)]
pub(crate) struct Outbox {
    waiting: VecDeque<Departure>,
    bytes: usize,
    pool: Pool,
}

impl Outbox {
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    pub(crate) fn len(&self) -> usize {
        self.waiting.len()
    }

    pub(crate) fn pop(&mut self) -> Option<Departure> {
        let departure = self.waiting.pop_front()?;
        self.bytes -= departure.packet.len();
        Some(departure)
    }

    /// A packet whose checksum of TCP need not be right yet.
    pub(crate) fn push(&mut self, bytes: usize, fill: impl FnOnce(&mut [u8])) {
        Outbound::new(self).consume(bytes, fill);
    }

    /// Takes back a packet that has left, so that its buffer is used again.
    pub(crate) fn recycle(&mut self, departure: Departure) {
        self.pool.put_back(departure.packet);
    }
}

pub(crate) struct Link<'a> {
    pub(crate) inbound: Option<&'a [u8]>,
    pub(crate) outbox: &'a mut Outbox,
    /// Nothing is sent while this many bytes wait, except the immediate answer to the inbound packet.
    pub(crate) room_bytes: usize,
    pub(crate) mtu_bytes: usize,
}

pub(crate) struct Inbound<'a>(&'a [u8]);

pub(crate) struct Outbound<'a> {
    outbox: &'a mut Outbox,
    segment_bytes: Option<NonZeroU16>,
}

impl Device for Link<'_> {
    type RxToken<'t>
        = Inbound<'t>
    where
        Self: 't;
    type TxToken<'t>
        = Outbound<'t>
    where
        Self: 't;

    fn receive(&mut self, _: Instant) -> Option<(Inbound<'_>, Outbound<'_>)> {
        let packet = self.inbound.take()?;
        Some((Inbound(packet), Outbound::new(self.outbox)))
    }

    fn transmit(&mut self, _: Instant) -> Option<Outbound<'_>> {
        (self.outbox.bytes < self.room_bytes).then_some(Outbound::new(self.outbox))
    }

    fn capabilities(&self) -> DeviceCapabilities {
        let mut capabilities = DeviceCapabilities::default();
        capabilities.medium = Medium::Ip;
        capabilities.max_transmission_unit = self.mtu_bytes;
        // Checked before a packet comes here, and filled in when it has left.
        capabilities.checksum.tcp = Checksum::None;
        // Not `tcpv6`: smoltcp 0.14 hands its socket the limit and then drops an IPv6 packet that is longer than the MTU.
        capabilities.segmentation.tcpv4 = NonZeroUsize::new(SUPER_PACKET_BYTES);
        capabilities
    }
}

impl RxToken for Inbound<'_> {
    fn consume<R, F: FnOnce(&[u8]) -> R>(self, take: F) -> R {
        take(self.0)
    }
}

impl<'a> Outbound<'a> {
    fn new(outbox: &'a mut Outbox) -> Self {
        Self {
            outbox,
            segment_bytes: None,
        }
    }
}

impl TxToken for Outbound<'_> {
    fn consume<R, F: FnOnce(&mut [u8]) -> R>(self, bytes: usize, fill: F) -> R {
        let mut packet = self.outbox.pool.sized(bytes + PADDING_BYTES);
        packet.set_end(bytes);
        let space = &mut packet.room()[..bytes];
        space[..bytes.min(HEADERS_BYTES)].fill(0);
        let filled = fill(space);
        let work = match self.segment_bytes {
            Some(size) => Work::Cut {
                payload_bytes: usize::from(size.get()),
            },
            None => {
                fill_checksum(space);
                Work::None
            }
        };
        self.outbox.bytes += bytes;
        self.outbox.waiting.push_back(Departure { packet, work });
        filled
    }

    fn set_meta(&mut self, meta: PacketMeta) {
        self.segment_bytes = meta.segmentation_offload_size;
    }
}

/// Completes a TCP segment; anything else smoltcp has completed itself.
fn fill_checksum(packet: &mut [u8]) {
    let Some(layout) = Layout::of(packet).filter(|layout| layout.transport == Transport::Tcp)
    else {
        return;
    };
    let at = layout.transport_at + layout.checksum_offset();
    put16(packet, at, 0);
    let segment = &packet[layout.transport_at..];
    let length = u32::try_from(segment.len()).unwrap_or(0);
    let sum = layout.pseudo_header(packet).u32(length).bytes(segment);
    let checksum = u16::from_be_bytes(sum.checksum());
    put16(packet, at, checksum);
}

/// Its segments, sealed, fit one batch of datagrams.
const SUPER_PACKET_BYTES: usize = 61_000;
/// smoltcp leaves reserved bits as they are.
const HEADERS_BYTES: usize = 40 + 60;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::packet::build;

    #[test]
    fn a_segment_leaves_with_a_checksum_that_a_receiver_accepts() {
        for (from, to) in [
            ("10.0.0.2:80", "10.0.0.1:4000"),
            ("[fd00::2]:80", "[fd00::1]:4000"),
        ] {
            let mut packet = build::tcp(from, to, 0x10);
            if from.starts_with("10.") {
                smoltcp::wire::Ipv4Packet::new_unchecked(&mut packet).fill_checksum();
            }
            fill_checksum(&mut packet);
            assert!(Layout::of(&packet).unwrap().is_intact(&packet), "{from}");
        }
    }

    #[test]
    fn a_buffer_is_used_again_without_what_was_in_it() {
        let mut outbox = Outbox::default();
        Outbound::new(&mut outbox).consume(60, |space| space.fill(0xff));
        let departure = outbox.pop().unwrap();
        outbox.recycle(departure);
        Outbound::new(&mut outbox).consume(40, |space| assert!(space.iter().all(|b| *b == 0)));
        assert_eq!((outbox.len(), outbox.bytes()), (1, 40));
    }
}
