//! Cuts a super-packet into its segments in place: each segment's headers are written over the end of the payload before it,
//! which the caller must be done with by then. It never copies a payload and never trusts a length from outside.

use std::ops::Range;

use super::checksum::Sum;
use super::layout::{
    Family, IPV4_CHECKSUM_AT, IPV4_ID_AT, IPV4_LENGTH_AT, IPV6_LENGTH_AT, Layout, TCP_CWR, TCP_FIN,
    TCP_FLAGS_AT, TCP_PSH, TCP_SEQUENCE_AT, Transport, UDP_LENGTH_AT, be16, be32, put16,
};
use super::vnet::Refused;

/// A super-packet that is being cut.
pub(crate) struct Cutter<'a> {
    packet: &'a mut [u8],
    bytes: usize,
    layout: Layout,
    payload_bytes: usize,
    /// The headers as they came; the lengths, sums and flags in them are replaced in each segment.
    headers: [u8; MAX_HEADER_BYTES],
    /// Sums of what is the same in all segments.
    ip_sum: Sum,
    transport_sum: Sum,
    first_id: u16,
    first_sequence: u32,
    flags: u8,
    /// Where the next segment's payload starts.
    next: usize,
    number: usize,
}

impl<'a> Cutter<'a> {
    /// `buffer` starts with a super-packet of `bytes`; what lies behind it is room for padding.
    pub(crate) fn new(
        buffer: &'a mut [u8],
        bytes: usize,
        payload_bytes: usize,
    ) -> Result<Self, Refused> {
        let packet = buffer.get(..bytes).ok_or(Refused)?;
        let layout = Layout::of(packet).ok_or(Refused)?;
        let payload = bytes - layout.payload_at;
        if payload_bytes == 0 || payload == 0 || payload.div_ceil(payload_bytes) > MAX_SEGMENTS {
            return Err(Refused);
        }
        let mut headers = [0; MAX_HEADER_BYTES];
        headers[..layout.payload_at].copy_from_slice(&packet[..layout.payload_at]);
        let (first_sequence, flags) = match layout.transport {
            Transport::Tcp => (
                be32(packet, layout.transport_at + TCP_SEQUENCE_AT),
                packet[layout.transport_at + TCP_FLAGS_AT],
            ),
            Transport::Udp => (0, 0),
        };
        let first_id = match layout.family {
            Family::V4 => be16(packet, IPV4_ID_AT),
            Family::V6 => 0,
        };
        let mut cutter = Self {
            packet: buffer,
            bytes,
            layout,
            payload_bytes,
            headers,
            ip_sum: Sum::default(),
            transport_sum: Sum::default(),
            first_id,
            first_sequence,
            flags,
            next: layout.payload_at,
            number: 0,
        };
        cutter.blank();
        Ok(cutter)
    }

    /// Writes the next segment's headers and tells where it lies; `None` after the last. The segment before it is gone then.
    pub(crate) fn next(&mut self) -> Option<Range<usize>> {
        if self.next >= self.bytes {
            return None;
        }
        let end = self.bytes.min(self.next + self.payload_bytes);
        let start = self.next - self.layout.payload_at;
        self.packet[start..self.next].copy_from_slice(&self.headers[..self.layout.payload_at]);
        self.fill(start, end);
        self.next = end;
        self.number += 1;
        Some(start..end)
    }

    /// The segments of one super-packet but the last have this many bytes.
    pub(crate) fn segment_bytes(&self) -> usize {
        (self.layout.payload_at + self.payload_bytes).min(self.bytes)
    }

    /// The buffer in which the segments lie.
    pub(crate) fn buffer(&mut self) -> &mut [u8] {
        self.packet
    }

    /// Takes what differs between segments out of the headers, and sums the rest once.
    fn blank(&mut self) {
        let at = self.layout.transport_at;
        match self.layout.family {
            Family::V4 => {
                put16(&mut self.headers, IPV4_LENGTH_AT, 0);
                put16(&mut self.headers, IPV4_ID_AT, 0);
                put16(&mut self.headers, IPV4_CHECKSUM_AT, 0);
                self.ip_sum = Sum::default().bytes(&self.headers[..at]);
            }
            Family::V6 => put16(&mut self.headers, IPV6_LENGTH_AT, 0),
        }
        match self.layout.transport {
            Transport::Tcp => {
                let sequence = at + TCP_SEQUENCE_AT;
                self.headers[sequence..sequence + 4].fill(0);
                self.headers[at + TCP_FLAGS_AT] = 0;
            }
            Transport::Udp => put16(&mut self.headers, at + UDP_LENGTH_AT, 0),
        }
        put16(&mut self.headers, at + self.layout.checksum_offset(), 0);
        let pseudo = self.layout.pseudo_header(&self.headers);
        self.transport_sum = pseudo.bytes(&self.headers[at..self.layout.payload_at]);
    }

    /// Completes the blank headers at `start` for a segment that ends at `end`.
    fn fill(&mut self, start: usize, end: usize) {
        let number = self.number;
        let flags = self.flags_of(number, end == self.bytes);
        let packet = &mut self.packet[start..end];
        let at = self.layout.transport_at;
        // Both fit 16 bits: a segment is no longer than the whole, whose length field was read.
        let (length, transport_length) = (packet.len() as u16, (packet.len() - at) as u16);
        match self.layout.family {
            Family::V4 => {
                let id = self.first_id.wrapping_add(number as u16);
                put16(packet, IPV4_LENGTH_AT, length);
                put16(packet, IPV4_ID_AT, id);
                let checksum = self.ip_sum.u16(length).u16(id).checksum();
                packet[IPV4_CHECKSUM_AT..IPV4_CHECKSUM_AT + 2].copy_from_slice(&checksum);
            }
            Family::V6 => put16(packet, IPV6_LENGTH_AT, transport_length),
        }
        let mut sum = self.transport_sum.u16(transport_length);
        match self.layout.transport {
            Transport::Tcp => {
                let offset = (number * self.payload_bytes) as u32;
                let sequence = self.first_sequence.wrapping_add(offset);
                packet[at + TCP_SEQUENCE_AT..at + TCP_SEQUENCE_AT + 4]
                    .copy_from_slice(&sequence.to_be_bytes());
                packet[at + TCP_FLAGS_AT] = flags;
                sum = sum.u32(sequence).u16(u16::from(flags));
            }
            Transport::Udp => {
                put16(packet, at + UDP_LENGTH_AT, transport_length);
                sum = sum.u16(transport_length);
            }
        }
        let mut checksum = sum.bytes(&packet[self.layout.payload_at..]).checksum();
        // Zero would mean "none" (RFC 768).
        if self.layout.transport == Transport::Udp && checksum == [0, 0] {
            checksum = [0xff, 0xff];
        }
        let checksum_at = at + self.layout.checksum_offset();
        packet[checksum_at..checksum_at + 2].copy_from_slice(&checksum);
    }

    /// The end of the data is at the end, and a reduced window is told once (RFC 3168 §6.1.2).
    fn flags_of(&self, number: usize, last: bool) -> u8 {
        let mut flags = self.flags;
        if !last {
            flags &= !(TCP_FIN | TCP_PSH);
        }
        if number > 0 {
            flags &= !TCP_CWR;
        }
        flags
    }
}

/// Lends out the segment at `range` followed by zeros up to `padded_bytes` in all, and puts back what was there.
pub(crate) fn padded<T>(
    buffer: &mut [u8],
    range: Range<usize>,
    padded_bytes: usize,
    use_it: impl FnOnce(&[u8]) -> T,
) -> T {
    let end = range.start + padded_bytes;
    let mut saved = [0; PADDING_BYTES];
    let padding = range.end..end;
    saved[..padding.len()].copy_from_slice(&buffer[padding.clone()]);
    buffer[padding.clone()].fill(0);
    let used = use_it(&buffer[range.start..end]);
    buffer[padding.clone()].copy_from_slice(&saved[..padding.len()]);
    used
}

/// WireGuard pads to multiples of this (paper §5.4.6), so a buffer needs as much room behind a packet.
pub(crate) const PADDING_BYTES: usize = 16;
/// IPv6 and TCP with all its options.
const MAX_HEADER_BYTES: usize = 40 + 60;
/// 64 KiB in segments of 48 bytes, the least that Linux lets TCP send (`tcp_min_snd_mss`), are fewer.
const MAX_SEGMENTS: usize = 1500;
