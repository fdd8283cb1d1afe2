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

/// Datagrams of one sender, cut where QUIC begins and ends: one socket may speak both, and the kernel joins by length alone.
/// True for those that are QUIC.
pub(crate) fn split_quic(datagrams: &[u8], stride: usize) -> impl Iterator<Item = (bool, &[u8])> {
    let stride = stride.max(1);
    let is_quic = |datagram: &[u8]| Demux::of(datagram) == Demux::Quic;
    let mut rest = datagrams;
    std::iter::from_fn(move || {
        let quic = is_quic(rest);
        let same = rest.chunks(stride).take_while(|it| is_quic(it) == quic);
        let bytes = (same.count() * stride).min(rest.len());
        let (run, tail) = rest.split_at(bytes);
        rest = tail;
        (!run.is_empty()).then_some((quic, run))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_batch_of_both_protocols_is_cut_between_them() {
        let batch = [
            &[4, 4, 4][..],
            &[0x40, 1, 1],
            &[0xc0, 2, 2],
            &[1, 3, 3],
            &[0x7f],
        ]
        .concat();
        let runs: Vec<_> = split_quic(&batch, 3).collect();
        assert_eq!(
            runs,
            [
                (false, &batch[..3]),
                (true, &batch[3..9]),
                (false, &batch[9..12]),
                (true, &batch[12..])
            ]
        );
        assert_eq!(split_quic(&[], 3).count(), 0);
        assert_eq!(split_quic(&batch[..3], 1).count(), 1);
    }

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
