//! Makes acknowledgements acceptable to smoltcp, which judges a segment by its sequence number alone and drops one outside of its
//! receive window together with the acknowledgement inside; and takes segments apart of which it would believe too much. It changes
//! no data.
//!
//! RFC 9293 §3.10.7.4 asks for more: "special allowance should be made to accept valid ACKs". A kernel that probes our full
//! window counts the probed bytes as sent, so all its later acknowledgements lie beyond our window; without this, a
//! connection whose reader waits for its own writer would stand still for ever. And two smoltcps whose acknowledgements crossed
//! and were lost, or late, repeat what the other has: each one's answer is numbered from before that, and so neither would ever believe
//! the other. WireGuard has authenticated the sender, so the blind injection against which the number is checked (RFC 5961) is not
//! a concern.

use std::net::IpAddr;

use smoltcp::wire::{IpAddress, Ipv4Packet, Ipv6Packet, TcpPacket, TcpSeqNumber};

/// What a segment says of the peer's sequence numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Sequence {
    pub(crate) first: u32,
    /// Behind the last byte, or the FIN.
    end: u32,
    pub(crate) ack: Option<u32>,
    pub(crate) syn: bool,
    fin: bool,
    has_data: bool,
    plain_ack: bool,
    /// There is no room at the sender.
    pub(crate) closed_window: bool,
}

/// What our side of the connection can take.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Expected {
    /// RCV.NXT of RFC 9293.
    pub(crate) next: u32,
    /// The last number that the peer acknowledged, SND.UNA there.
    pub(crate) acked: Option<u32>,
    /// Free space of the receive buffer.
    pub(crate) window_bytes: usize,
}

/// `packet` must have passed [`Headers::parse`](crate::packet::Headers::parse), so its IP header has no options, and its checksum
/// must have been found right, or it is joined from segments of which that is true.
pub(crate) fn sequence(packet: &[u8]) -> Option<Sequence> {
    let tcp = TcpPacket::new_checked(packet.get(ip_header_bytes(packet)?..)?).ok()?;
    let number = |number: TcpSeqNumber| u32::from_ne_bytes(number.0.to_ne_bytes());
    let first = number(tcp.seq_number());
    let bytes = u32::try_from(tcp.payload().len()).ok()? + u32::from(tcp.fin());
    Some(Sequence {
        first,
        end: first.wrapping_add(bytes),
        ack: tcp.ack().then(|| number(tcp.ack_number())),
        syn: tcp.syn(),
        fin: tcp.fin(),
        has_data: bytes > 0,
        plain_ack: tcp.ack() && !tcp.syn() && !tcp.rst(),
        closed_window: tcp.window_len() == 0,
    })
}

/// The acknowledgement of a segment that smoltcp would drop, in a segment that it accepts. A segment with data must still be
/// given to it afterwards, to be answered.
pub(crate) fn acceptable_ack(
    packet: &[u8],
    sequence: Sequence,
    expected: Expected,
) -> Option<Vec<u8>> {
    let repairs = sequence.is_beyond(expected) || sequence.is_behind(expected);
    (sequence.plain_ack && repairs).then(|| rewritten(packet, expected.next))?
}

impl Sequence {
    /// Whether smoltcp has to answer it, whatever it acknowledges: a FIN counts as data, and a keepalive wants an answer, too.
    pub(crate) fn wants_answer(self, expected: Expected) -> bool {
        self.has_data || self.first == expected.next.wrapping_sub(1)
    }

    pub(super) fn is_plain_ack(self) -> bool {
        self.plain_ack
    }

    /// Whether its sender lacks an acknowledgement of what it has sent, and is no answer to one.
    pub(super) fn is_behind_a_loss(self) -> bool {
        self.plain_ack && self.has_data
    }

    pub(super) fn data_bytes(self) -> usize {
        distance(self.first, self.end)
    }

    /// The number of the FIN, if data comes before it in the same segment.
    pub(super) fn end_of_data(self) -> Option<u32> {
        let end = self.end.wrapping_sub(1);
        (self.fin && !self.syn && end != self.first).then_some(end)
    }

    /// Further than the receive window.
    fn is_beyond(self, expected: Expected) -> bool {
        let beyond = distance(expected.next, self.first);
        match self.has_data {
            false => (1..=MAX_AHEAD_BYTES).contains(&beyond),
            true => (expected.window_bytes..=MAX_AHEAD_BYTES).contains(&beyond),
        }
    }

    /// All of it is known, but for what it acknowledges. One that acknowledges nothing new is late, or a question, and left alone.
    fn is_behind(self, expected: Expected) -> bool {
        let known = (1..=MAX_AHEAD_BYTES).contains(&distance(self.first, expected.next))
            && distance(self.end, expected.next) <= MAX_AHEAD_BYTES;
        let news = self.ack.zip(expected.acked);
        known && news.is_some_and(|(ack, acked)| is_later(ack, acked))
    }
}

/// Whether one acknowledgement says more than another.
pub(crate) fn is_later(ack: u32, than: u32) -> bool {
    (1..=MAX_AHEAD_BYTES).contains(&distance(than, ack))
}

/// How far it is on from one number to the other; they wrap.
pub(super) fn distance(from: u32, to: u32) -> usize {
    usize::try_from(to.wrapping_sub(from)).unwrap_or(usize::MAX)
}

/// The same acknowledgement without data or options, at another sequence number.
pub(super) fn rewritten(packet: &[u8], first: u32) -> Option<Vec<u8>> {
    let ip_bytes = ip_header_bytes(packet)?;
    let mut copy = packet.get(..ip_bytes + TCP_HEADER_BYTES)?.to_vec();
    let (source, destination) = match copy[0] >> 4 {
        4 => {
            let mut ip = Ipv4Packet::new_unchecked(&mut copy);
            ip.set_total_len(u16::try_from(ip_bytes + TCP_HEADER_BYTES).ok()?);
            ip.fill_checksum();
            (
                IpAddress::from(ip.src_addr()),
                IpAddress::from(ip.dst_addr()),
            )
        }
        _ => {
            let mut ip = Ipv6Packet::new_unchecked(&mut copy);
            ip.set_payload_len(u16::try_from(TCP_HEADER_BYTES).ok()?);
            (
                IpAddress::from(ip.src_addr()),
                IpAddress::from(ip.dst_addr()),
            )
        }
    };
    let mut tcp = TcpPacket::new_unchecked(&mut copy[ip_bytes..]);
    tcp.set_seq_number(TcpSeqNumber(i32::from_ne_bytes(first.to_ne_bytes())));
    tcp.set_header_len(u8::try_from(TCP_HEADER_BYTES).ok()?);
    tcp.set_fin(false);
    tcp.set_psh(false);
    tcp.fill_checksum(&source, &destination);
    Some(copy)
}

/// The same segment without its FIN. Its checksum is not corrected.
pub(super) fn without_fin(packet: &[u8]) -> Option<Vec<u8>> {
    let mut copy = packet.to_vec();
    set_fin(&mut copy, false)?;
    Some(copy)
}

/// The FIN of a segment alone, at the number that it has. Its checksum is not corrected.
pub(super) fn fin_alone(packet: &[u8], number: u32) -> Option<Vec<u8>> {
    let mut copy = rewritten(packet, number)?;
    set_fin(&mut copy, true)?;
    Some(copy)
}

/// Has a segment say that its sender has room for at least one byte. Its checksum is not corrected.
pub(super) fn open_window(packet: &mut [u8]) -> Option<()> {
    let ip_bytes = ip_header_bytes(packet)?;
    TcpPacket::new_unchecked(packet.get_mut(ip_bytes..)?).set_window_len(1);
    Some(())
}

fn set_fin(packet: &mut [u8], fin: bool) -> Option<()> {
    let ip_bytes = ip_header_bytes(packet)?;
    TcpPacket::new_unchecked(packet.get_mut(ip_bytes..)?).set_fin(fin);
    Some(())
}

/// Has a segment acknowledge something else. Its checksum is not corrected: whoever is given it trusts it.
pub(super) fn acknowledge(packet: &mut [u8], ack: u32) -> Option<()> {
    let ip_bytes = ip_header_bytes(packet)?;
    let mut tcp = TcpPacket::new_unchecked(packet.get_mut(ip_bytes..)?);
    tcp.set_ack_number(TcpSeqNumber(i32::from_ne_bytes(ack.to_ne_bytes())));
    Some(())
}

fn ip_header_bytes(packet: &[u8]) -> Option<usize> {
    let (source, _) = crate::packet::addresses(packet)?;
    Some(match source {
        IpAddr::V4(_) => IPV4_HEADER_BYTES,
        IpAddr::V6(_) => IPV6_HEADER_BYTES,
    })
}

const IPV4_HEADER_BYTES: usize = 20;
const IPV6_HEADER_BYTES: usize = 40;
const TCP_HEADER_BYTES: usize = 20;
/// Farther ahead is no probe but nonsense, or an old number seen from the wrong side.
const MAX_AHEAD_BYTES: usize = 16 * 1024 * 1024;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::packet::build;

    const ACK: u8 = 0x10;
    /// What each [`segment`] acknowledges.
    const ACKED: u32 = 7;

    fn segment(first: u32, body: &[u8]) -> Vec<u8> {
        let source: IpAddr = "10.0.0.2".parse().unwrap();
        let destination: IpAddr = "10.0.0.1".parse().unwrap();
        let header = build::tcp("10.0.0.2:80", "10.0.0.1:4000", ACK).split_off(IPV4_HEADER_BYTES);
        let mut packet = build::ip(source, destination, 6, &[&header, body].concat());
        let mut tcp = TcpPacket::new_unchecked(&mut packet[IPV4_HEADER_BYTES..]);
        tcp.set_seq_number(TcpSeqNumber(first as i32));
        tcp.set_ack_number(TcpSeqNumber(7));
        tcp.set_window_len(500);
        tcp.fill_checksum(&source.into(), &destination.into());
        packet
    }

    fn repaired(packet: &[u8], next: u32, window_bytes: usize) -> Option<Vec<u8>> {
        acceptable_ack(
            packet,
            sequence(packet).unwrap(),
            Expected {
                next,
                acked: Some(ACKED),
                window_bytes,
            },
        )
    }

    #[test]
    fn an_acknowledgement_behind_a_probe_is_moved_to_where_it_is_accepted() {
        let packet = repaired(&segment(1004, b""), 1000, 0).unwrap();
        let tcp = TcpPacket::new_checked(&packet[IPV4_HEADER_BYTES..]).unwrap();
        assert_eq!(
            (tcp.seq_number().0, tcp.ack_number().0, tcp.window_len()),
            (1000, 7, 500)
        );
        assert!(sequence(&packet).is_some());
        assert!(
            Ipv4Packet::new_checked(&packet[..])
                .unwrap()
                .verify_checksum()
        );
    }

    #[test]
    fn the_acknowledgement_inside_a_probe_is_taken_out() {
        let packet = repaired(&segment(1000, b"probe"), 1000, 0).unwrap();
        let sequence = sequence(&packet).unwrap();
        assert_eq!((sequence.first, sequence.has_data), (1000, false));
    }

    #[test]
    fn what_smoltcp_accepts_is_left_alone() {
        assert_eq!(repaired(&segment(1000, b""), 1000, 0), None);
        assert_eq!(repaired(&segment(1100, b"data"), 1000, 4096), None);
        assert_eq!(
            repaired(&segment(999, b""), 1000, 0),
            None,
            "a keepalive must be answered"
        );
    }

    #[test]
    fn the_acknowledgement_inside_joined_segments_is_taken_out() {
        // What was joined has no checksum any more: each part's was verified before.
        let mut joined = segment(1000, b"probe");
        joined[IPV4_HEADER_BYTES + 16..IPV4_HEADER_BYTES + 18].fill(0);
        let packet = repaired(&joined, 1000, 0).unwrap();
        let tcp = TcpPacket::new_checked(&packet[IPV4_HEADER_BYTES..]).unwrap();
        let address = |last| IpAddress::v4(10, 0, 0, last);
        assert!(tcp.verify_checksum(&address(2), &address(1)));
    }

    #[test]
    fn news_in_a_segment_that_is_known_are_taken_out_and_nothing_else() {
        let known = segment(900, b"known");
        assert_eq!(repaired(&known, 1000, 4096), None, "no news");
        let behind = |next, acked| {
            let expected = Expected {
                next,
                acked: Some(acked),
                window_bytes: 4096,
            };
            acceptable_ack(&known, sequence(&known).unwrap(), expected)
        };
        let packet = behind(1000, ACKED - 1).unwrap();
        let taken = sequence(&packet).unwrap();
        assert_eq!(
            (taken.first, taken.ack, taken.has_data),
            (1000, Some(ACKED), false)
        );
        assert_eq!(
            behind(1000, ACKED + 1),
            None,
            "older than what is acknowledged"
        );
        assert_eq!(behind(903, ACKED - 1), None, "a part of it is new");
        assert_eq!(behind(900, ACKED - 1), None, "all of it is new");
    }

    #[test]
    fn numbers_may_wrap() {
        assert!(repaired(&segment(3, b""), u32::MAX - 1, 0).is_some());
    }
}
