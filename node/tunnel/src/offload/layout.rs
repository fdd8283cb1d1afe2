//! Where the headers of a TCP or UDP packet lie, for packets that may be cut or joined. It refuses what it can't see through:
//! options, extension headers, fragments, lengths that don't fit. It never judges; `packet` does that for the filter.

use super::checksum::Sum;

/// A TCP or UDP packet without IPv4 options, IPv6 extension headers or fragmentation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Layout {
    pub(crate) family: Family,
    pub(crate) transport: Transport,
    /// Where TCP or UDP starts.
    pub(crate) transport_at: usize,
    pub(crate) payload_at: usize,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Family {
    V4,
    V6,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Transport {
    Tcp,
    Udp,
}

impl Layout {
    /// `None` unless the packet is of that plain kind and exactly as long as its IP header says.
    pub(crate) fn of(packet: &[u8]) -> Option<Self> {
        let (family, protocol, transport_at, length) = match packet.first()? {
            0x45 => {
                let header = packet.get(..IPV4_HEADER_BYTES)?;
                let fragmented = be16(header, 6) & IPV4_FRAGMENTED != 0;
                if fragmented {
                    return None;
                }
                let length = usize::from(be16(header, 2));
                (Family::V4, header[9], IPV4_HEADER_BYTES, length)
            }
            0x60..=0x6f => {
                let header = packet.get(..IPV6_HEADER_BYTES)?;
                let length = IPV6_HEADER_BYTES + usize::from(be16(header, 4));
                (Family::V6, header[6], IPV6_HEADER_BYTES, length)
            }
            _ => return None,
        };
        if length != packet.len() {
            return None;
        }
        let (transport, header_bytes) = match protocol {
            TCP => {
                let offset = usize::from(packet.get(transport_at + TCP_OFFSET_AT)? >> 4) * 4;
                if offset < TCP_HEADER_BYTES {
                    return None;
                }
                (Transport::Tcp, offset)
            }
            UDP => (Transport::Udp, UDP_HEADER_BYTES),
            _ => return None,
        };
        let payload_at = transport_at + header_bytes;
        (payload_at <= packet.len()).then_some(Self {
            family,
            transport,
            transport_at,
            payload_at,
        })
    }

    /// Where the transport's checksum stands, counted from its header.
    pub(crate) fn checksum_offset(&self) -> usize {
        match self.transport {
            Transport::Tcp => TCP_CHECKSUM_AT,
            Transport::Udp => UDP_CHECKSUM_AT,
        }
    }

    /// The pseudo-header's sum (RFC 9293 §3.1, RFC 8200 §8.1) without the length.
    pub(crate) fn pseudo_header(&self, packet: &[u8]) -> Sum {
        let addresses = match self.family {
            Family::V4 => &packet[12..20],
            Family::V6 => &packet[8..40],
        };
        let protocol = match self.transport {
            Transport::Tcp => TCP,
            Transport::Udp => UDP,
        };
        Sum::default().bytes(addresses).u16(u16::from(protocol))
    }

    /// Whether the checksums of IPv4 and of TCP or UDP are right. An absent UDP checksum is not.
    pub(crate) fn is_intact(&self, packet: &[u8]) -> bool {
        let segment = &packet[self.transport_at..];
        if self.transport == Transport::Udp {
            let absent = be16(segment, UDP_CHECKSUM_AT) == 0;
            if absent || usize::from(be16(segment, UDP_LENGTH_AT)) != segment.len() {
                return false;
            }
        }
        let ip = self.family == Family::V6
            || Sum::default()
                .bytes(&packet[..IPV4_HEADER_BYTES])
                .is_intact();
        let length = segment.len() as u32;
        ip && self
            .pseudo_header(packet)
            .u32(length)
            .bytes(segment)
            .is_intact()
    }
}

pub(crate) fn be16(bytes: &[u8], at: usize) -> u16 {
    u16::from_be_bytes([bytes[at], bytes[at + 1]])
}

pub(crate) fn be32(bytes: &[u8], at: usize) -> u32 {
    u32::from_be_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}

pub(crate) fn put16(bytes: &mut [u8], at: usize, value: u16) {
    bytes[at..at + 2].copy_from_slice(&value.to_be_bytes());
}

pub(crate) const IPV4_HEADER_BYTES: usize = 20;
pub(crate) const IPV4_LENGTH_AT: usize = 2;
pub(crate) const IPV4_ID_AT: usize = 4;
pub(crate) const IPV4_CHECKSUM_AT: usize = 10;
/// "More fragments" and the offset.
const IPV4_FRAGMENTED: u16 = 0x3fff;
pub(crate) const IPV6_HEADER_BYTES: usize = 40;
pub(crate) const IPV6_LENGTH_AT: usize = 4;
const TCP: u8 = 6;
const UDP: u8 = 17;
const TCP_HEADER_BYTES: usize = 20;
pub(crate) const TCP_SEQUENCE_AT: usize = 4;
const TCP_OFFSET_AT: usize = 12;
pub(crate) const TCP_FLAGS_AT: usize = 13;
const TCP_CHECKSUM_AT: usize = 16;
pub(crate) const TCP_FIN: u8 = 0x01;
pub(crate) const TCP_PSH: u8 = 0x08;
pub(crate) const TCP_ACK: u8 = 0x10;
pub(crate) const TCP_CWR: u8 = 0x80;
const UDP_HEADER_BYTES: usize = 8;
pub(crate) const UDP_LENGTH_AT: usize = 4;
pub(crate) const UDP_CHECKSUM_AT: usize = 6;
