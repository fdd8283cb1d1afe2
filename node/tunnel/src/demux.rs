//! Who a datagram on the tunnel's sockets is for, by its first byte. It never looks further.

/// The protocols that share the tunnel's UDP sockets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Demux {
    WireGuard,
    /// Frames of ours: between a node and a relay.
    Relay,
    /// QUIC sets this bit in every packet (RFC 9000 §17.2, §17.3).
    Quic,
    Unknown,
}

impl Demux {
    pub(crate) fn of(datagram: &[u8]) -> Self {
        match datagram.first() {
            Some(1..=4) => Self::WireGuard,
            Some(0x08..=0x3f) => Self::Relay,
            Some(first) if first & 0x40 != 0 => Self::Quic,
            _ => Self::Unknown,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_first_byte_belongs_to_two_protocols() {
        let of = |range: std::ops::RangeInclusive<u8>, wanted| {
            for first in range {
                assert_eq!(Demux::of(&[first, 0]), wanted, "{first:#x}");
            }
        };
        of(0..=0, Demux::Unknown);
        of(1..=4, Demux::WireGuard);
        of(5..=7, Demux::Unknown);
        of(8..=0x3f, Demux::Relay);
        of(0x40..=0x7f, Demux::Quic);
        of(0x80..=0xbf, Demux::Unknown);
        of(0xc0..=0xff, Demux::Quic);
        assert_eq!(Demux::of(&[]), Demux::Unknown);
    }
}
