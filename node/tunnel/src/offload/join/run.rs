//! One open super-packet: which segments continue it, and how its headers read when it is finished.

use crate::noise::LONGEST_MESSAGE_BYTES;
use crate::offload::buffer::Buffer;
use crate::offload::checksum::Sum;
use crate::offload::layout::{
    Family, IPV4_CHECKSUM_AT, IPV4_HEADER_BYTES, IPV4_ID_AT, IPV4_LENGTH_AT, IPV6_LENGTH_AT,
    Layout, TCP_ACK, TCP_FLAGS_AT, TCP_PSH, TCP_SEQUENCE_AT, Transport, UDP_LENGTH_AT, be16, be32,
    put16,
};
use crate::offload::vnet::Work;

use super::Joins;

pub(super) struct Run<L> {
    pub(super) buffer: Buffer,
    pub(super) label: L,
    layout: Layout,
    /// Payload bytes of every segment but the last.
    payload_bytes: usize,
    count: usize,
    next_sequence: u32,
    next_id: u16,
    /// A short segment or a push was the last.
    ended: bool,
}

/// Proof that a segment continues a run.
pub(super) struct Fit {
    payload_bytes: usize,
    push: bool,
}

impl<L> Run<L> {
    /// A run of one, if its head may be joined at all. The buffer is given by the caller.
    pub(super) fn start(packet: &[u8], layout: Layout, label: L, joins: Joins) -> Option<Self> {
        let payload_bytes = packet.len() - layout.payload_at;
        let (wanted, next_sequence, ended) = match layout.transport {
            Transport::Tcp => {
                let flags = packet[layout.transport_at + TCP_FLAGS_AT];
                let sequence = be32(packet, layout.transport_at + TCP_SEQUENCE_AT);
                let plain = flags & !TCP_PSH == TCP_ACK;
                let next = sequence.wrapping_add(payload_bytes as u32);
                (joins.tcp && plain, next, flags & TCP_PSH != 0)
            }
            Transport::Udp => (joins.udp, 0, false),
        };
        if !wanted || payload_bytes == 0 || !layout.is_intact(packet) {
            return None;
        }
        Some(Self {
            buffer: Buffer::default(),
            label,
            layout,
            payload_bytes,
            count: 1,
            next_sequence,
            next_id: id_of(packet, &layout).wrapping_add(1),
            ended,
        })
    }

    /// Where to open a packet of `bytes` so that its payload would lie behind what is there.
    pub(super) fn place(&self, bytes: usize) -> Option<usize> {
        let at = self.buffer.end() - self.layout.payload_at;
        // Nothing is opened in less room than the longest message of a handshake has, however short it is.
        let room_bytes = bytes.max(LONGEST_MESSAGE_BYTES);
        // Our own headers must stay readable for the comparison.
        let fits = at >= self.layout.payload_at && at + room_bytes <= self.buffer.capacity();
        (fits && !self.is_full()).then_some(at)
    }

    /// Whether nothing can continue it any more.
    pub(super) fn is_full(&self) -> bool {
        self.ended || self.count >= MAX_SEGMENTS
    }

    /// Whether both are of one TCP or UDP flow.
    pub(super) fn same_flow(&self, packet: &[u8], layout: &Layout) -> bool {
        let (own, at) = (&*self.buffer, layout.transport_at);
        let addresses = match layout.family {
            Family::V4 => 12..20,
            Family::V6 => 8..40,
        };
        self.layout.family == layout.family
            && self.layout.transport == layout.transport
            && own[addresses.clone()] == packet[addresses]
            && own[at..at + 4] == packet[at..at + 4]
    }

    /// Whether the segment continues this run exactly, with checksums that are right.
    pub(super) fn fit(&self, packet: &[u8], layout: &Layout) -> Option<Fit> {
        let payload_bytes = packet.len() - layout.payload_at;
        let joined = self.buffer.len() + payload_bytes;
        if self.is_full()
            || self.layout != *layout
            || payload_bytes == 0
            || payload_bytes > self.payload_bytes
            || joined > MAX_JOINED_BYTES
            || !self.same_flow(packet, layout)
            || !self.same_ip_header(packet)
        {
            return None;
        }
        let push = match layout.transport {
            Transport::Tcp => self.same_tcp_header(packet)?,
            Transport::Udp => false,
        };
        layout.is_intact(packet).then_some(Fit {
            payload_bytes,
            push,
        })
    }

    /// Books a segment whose payload is now behind the others.
    pub(super) fn grow(&mut self, fit: Fit) {
        self.count += 1;
        self.next_sequence = self.next_sequence.wrapping_add(fit.payload_bytes as u32);
        self.next_id = self.next_id.wrapping_add(1);
        self.ended = fit.push || fit.payload_bytes < self.payload_bytes;
        if fit.push {
            let at = self.layout.transport_at + TCP_FLAGS_AT;
            self.buffer.room()[at] |= TCP_PSH;
        }
    }

    /// The packet, and what is left to do to it. A run of one is the packet as it came.
    pub(super) fn finish(mut self) -> (Buffer, Work) {
        if self.count == 1 {
            return (self.buffer, Work::None);
        }
        let bytes = self.buffer.end();
        let at = self.layout.transport_at;
        let packet = &mut self.buffer.room()[..bytes];
        // Both fit 16 bits, since `fit` keeps to MAX_JOINED_BYTES.
        let (length, transport_length) = (bytes as u16, (bytes - at) as u16);
        match self.layout.family {
            Family::V4 => {
                put16(packet, IPV4_LENGTH_AT, length);
                put16(packet, IPV4_CHECKSUM_AT, 0);
                let checksum = Sum::default()
                    .bytes(&packet[..IPV4_HEADER_BYTES])
                    .checksum();
                packet[IPV4_CHECKSUM_AT..IPV4_CHECKSUM_AT + 2].copy_from_slice(&checksum);
            }
            Family::V6 => put16(packet, IPV6_LENGTH_AT, transport_length),
        }
        if self.layout.transport == Transport::Udp {
            put16(packet, at + UDP_LENGTH_AT, transport_length);
        }
        let partial = self.layout.pseudo_header(packet).u16(transport_length);
        let checksum_at = at + self.layout.checksum_offset();
        packet[checksum_at..checksum_at + 2].copy_from_slice(&partial.partial());
        let work = Work::Cut {
            payload_bytes: self.payload_bytes,
        };
        (self.buffer, work)
    }

    /// All but lengths, checksums and addresses, which are compared elsewhere. Identifiers must count up, or stand still where
    /// nothing may be fragmented, so that they mean nothing (RFC 6864 §4.1).
    fn same_ip_header(&self, packet: &[u8]) -> bool {
        let own = &*self.buffer;
        match self.layout.family {
            Family::V4 => {
                let id = be16(packet, IPV4_ID_AT);
                let unfragmentable = packet[6] & IPV4_DONT_FRAGMENT != 0;
                let still = unfragmentable && id == be16(own, IPV4_ID_AT);
                own[..2] == packet[..2]
                    && own[6..10] == packet[6..10]
                    && (id == self.next_id || still)
            }
            Family::V6 => own[..4] == packet[..4] && own[6..8] == packet[6..8],
        }
    }

    /// The next sequence number, and all else equal but the push flag, which is given back.
    fn same_tcp_header(&self, packet: &[u8]) -> Option<bool> {
        let own = &self.buffer[self.layout.transport_at..self.layout.payload_at];
        let other = &packet[self.layout.transport_at..self.layout.payload_at];
        let same = be32(other, TCP_SEQUENCE_AT) == self.next_sequence
            && own[8..TCP_FLAGS_AT] == other[8..TCP_FLAGS_AT]
            && own[TCP_FLAGS_AT] == other[TCP_FLAGS_AT] & !TCP_PSH
            && own[14..16] == other[14..16]
            && own[18..] == other[18..];
        same.then_some(other[TCP_FLAGS_AT] & TCP_PSH != 0)
    }
}

fn id_of(packet: &[u8], layout: &Layout) -> u16 {
    match layout.family {
        Family::V4 => be16(packet, IPV4_ID_AT),
        Family::V6 => 0,
    }
}

const IPV4_DONT_FRAGMENT: u8 = 0x40;
/// As many as the kernel puts into one UDP super-packet.
const MAX_SEGMENTS: usize = 64;
/// What an IP header can express.
const MAX_JOINED_BYTES: usize = 65_535;
