//! Echo requests and replies as bytes, of both families, and the fragments of one. They are what a story counts: each request
//! that passed is answered exactly once.

use std::net::IpAddr;

/// An echo request with this number and `data_bytes` of data.
pub(crate) fn request(from: IpAddr, to: IpAddr, number: u16, data_bytes: usize) -> Vec<u8> {
    let mut icmp = vec![0, 0, 0, 0, 0x4d, 0x4d];
    icmp.extend(number.to_be_bytes());
    icmp.extend((0..data_bytes).map(|n| n as u8));
    match (from, to) {
        (IpAddr::V4(from), IpAddr::V4(to)) => {
            icmp[0] = REQUEST_V4;
            let sum = checksum(&icmp);
            icmp[2..4].copy_from_slice(&sum);
            let addresses = [from.octets(), to.octets()].concat();
            [v4_header(&addresses, icmp.len(), 0), icmp].concat()
        }
        (IpAddr::V6(from), IpAddr::V6(to)) => {
            icmp[0] = REQUEST_V6;
            let addresses = [from.octets(), to.octets()].concat();
            let length = (icmp.len() as u32).to_be_bytes();
            let pseudo = [&addresses[..], &length, &[0, 0, 0, ICMPV6], &icmp].concat();
            let sum = checksum(&pseudo);
            icmp[2..4].copy_from_slice(&sum);
            let mut packet = vec![0x60, 0, 0, 0];
            packet.extend((icmp.len() as u16).to_be_bytes());
            packet.extend([ICMPV6, 64]);
            [packet, addresses, icmp].concat()
        }
        _ => panic!("{from} and {to} are of different families"),
    }
}

/// The number in an echo reply, if that is what the packet is.
pub(crate) fn reply(packet: &[u8]) -> Option<u16> {
    let icmp = match packet.first()? >> 4 {
        4 if packet.get(9) == Some(&ICMP) => packet.get(20..)?,
        6 if packet.get(6) == Some(&ICMPV6) => packet.get(40..)?,
        _ => return None,
    };
    let number = icmp.get(6..8)?;
    [REPLY_V4, REPLY_V6]
        .contains(&icmp[0])
        .then(|| u16::from_be_bytes([number[0], number[1]]))
}

/// An IPv4 packet cut in two after `first_bytes` of its payload, a multiple of 8.
pub(crate) fn cut(packet: &[u8], first_bytes: usize) -> [Vec<u8>; 2] {
    let addresses = &packet[12..20];
    let (first, rest) = packet[20..].split_at(first_bytes);
    let offset = first_bytes as u16 / 8;
    [
        [
            &v4_header(addresses, first.len(), MORE_FRAGMENTS)[..],
            first,
        ]
        .concat(),
        [&v4_header(addresses, rest.len(), offset)[..], rest].concat(),
    ]
}

/// How long an IP packet says it is: what follows is padding.
pub(crate) fn length_bytes(packet: &[u8]) -> usize {
    match packet[0] >> 4 {
        4 => usize::from(u16::from_be_bytes([packet[2], packet[3]])),
        _ => 40 + usize::from(u16::from_be_bytes([packet[4], packet[5]])),
    }
}

fn v4_header(addresses: &[u8], payload_bytes: usize, fragment: u16) -> Vec<u8> {
    let mut header = vec![0x45, 0];
    header.extend((20 + payload_bytes as u16).to_be_bytes());
    header.extend([0x12, 0x34]);
    header.extend(fragment.to_be_bytes());
    header.extend([64, ICMP, 0, 0]);
    header.extend(addresses);
    let sum = checksum(&header);
    header[10..12].copy_from_slice(&sum);
    header
}

/// RFC 1071
fn checksum(bytes: &[u8]) -> [u8; 2] {
    let mut sum: u32 = bytes
        .chunks(2)
        .map(|pair| u32::from(u16::from_be_bytes([pair[0], *pair.get(1).unwrap_or(&0)])))
        .sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    (!(sum as u16)).to_be_bytes()
}

const ICMP: u8 = 1;
const ICMPV6: u8 = 58;
const REQUEST_V4: u8 = 8;
const REPLY_V4: u8 = 0;
const REQUEST_V6: u8 = 128;
const REPLY_V6: u8 = 129;
const MORE_FRAGMENTS: u16 = 0x2000;
