//! The ten bytes before each packet of a TUN device with IFF_VNET_HDR (`struct virtio_net_hdr`): what is left to do to the
//! packet. It never believes a value that the packet itself contradicts.

use super::checksum::Sum;
use super::layout::{Family, Layout, Transport, UDP_CHECKSUM_AT, put16};

/// What the sender of a packet left to us.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Work {
    /// The packet is complete.
    #[default]
    None,
    /// The checksum over the bytes from `start` on, to be put at `start + offset`.
    Checksum { start: usize, offset: usize },
    /// To be cut into segments of so many payload bytes, all checksums included.
    Cut { payload_bytes: usize },
}

/// A header that no honest kernel writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Refused;

impl Work {
    /// Reads the header that came before a packet.
    pub fn parse(header: &[u8; HEADER_BYTES]) -> Result<Self, Refused> {
        let [flags, kind, ..] = *header;
        let number = |at: usize| usize::from(u16::from_ne_bytes([header[at], header[at + 1]]));
        let (size, start, offset) = (number(4), number(6), number(8));
        match kind & !ECN {
            GSO_NONE if flags & NEEDS_CHECKSUM == 0 => Ok(Self::None),
            GSO_NONE => Ok(Self::Checksum { start, offset }),
            GSO_TCPV4 | GSO_TCPV6 | GSO_UDP_L4 if size > 0 => Ok(Self::Cut {
                payload_bytes: size,
            }),
            _ => Err(Refused),
        }
    }

    /// The header that tells a kernel what is left to do to `packet`.
    pub fn header(&self, packet: &[u8]) -> [u8; HEADER_BYTES] {
        let mut header = [0; HEADER_BYTES];
        let Self::Cut { payload_bytes } = *self else {
            return header;
        };
        let Some(layout) = Layout::of(packet) else {
            return header;
        };
        header[0] = NEEDS_CHECKSUM;
        header[1] = match (layout.transport, layout.family) {
            (Transport::Tcp, Family::V4) => GSO_TCPV4,
            (Transport::Tcp, Family::V6) => GSO_TCPV6,
            (Transport::Udp, _) => GSO_UDP_L4,
        };
        let mut put = |at: usize, value: usize| {
            let value = u16::try_from(value).unwrap_or(u16::MAX);
            header[at..at + 2].copy_from_slice(&value.to_ne_bytes());
        };
        put(2, layout.payload_at);
        put(4, payload_bytes);
        put(6, layout.transport_at);
        put(8, layout.checksum_offset());
        header
    }
}

/// Completes a checksum whose field holds the sum of the pseudo-header.
pub(crate) fn complete(packet: &mut [u8], start: usize, offset: usize) -> Result<(), Refused> {
    let at = start.checked_add(offset).ok_or(Refused)?;
    if start >= packet.len() || at + 2 > packet.len() {
        return Err(Refused);
    }
    let mut checksum = Sum::default().bytes(&packet[start..]).checksum();
    // For UDP zero would mean "none", and its other form is meant (RFC 768).
    if checksum == [0, 0] && offset == UDP_CHECKSUM_AT {
        checksum = [0xff, 0xff];
    }
    put16(packet, at, u16::from_be_bytes(checksum));
    Ok(())
}

pub(crate) const HEADER_BYTES: usize = 10;
const NEEDS_CHECKSUM: u8 = 1;
const GSO_NONE: u8 = 0;
const GSO_TCPV4: u8 = 1;
const GSO_TCPV6: u8 = 4;
const GSO_UDP_L4: u8 = 5;
const ECN: u8 = 0x80;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn unknown_kinds_and_zero_sizes_are_refused() {
        for kind in [2u8, 3, 6, 0x7f, GSO_TCPV4, GSO_TCPV6, GSO_UDP_L4] {
            let header = [1, kind, 0, 0, 0, 0, 0, 0, 0, 0];
            assert_eq!(Work::parse(&header), Err(Refused), "{kind}");
        }
    }

    proptest! {
        #[test]
        fn any_header_over_any_packet_does_no_harm(
            header in any::<[u8; HEADER_BYTES]>(),
            mut packet in prop::collection::vec(any::<u8>(), 0..100),
        ) {
            if let Ok(Work::Checksum { start, offset }) = Work::parse(&header) {
                let fits = start < packet.len() && start + offset + 2 <= packet.len();
                prop_assert_eq!(complete(&mut packet, start, offset).is_ok(), fits);
            }
        }
    }
}
