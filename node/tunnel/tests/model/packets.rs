//! Random conversations between a node and its peers, drawn so that ports, flows and rules meet often. Checksums are right
//! unless the packet was broken on purpose.

use std::net::{IpAddr, SocketAddr};

use proptest::prelude::*;
use proptest::sample::{Index, select};

use super::{ICMP, Rule, TCP, UDP};

/// A packet on its way, some time after the one before it.
#[derive(Debug, Clone)]
pub(crate) struct Step {
    pub(crate) wait_s: u64,
    pub(crate) peer: usize,
    /// From this node to the peer.
    pub(crate) outward: bool,
    pub(crate) packet: Vec<u8>,
    /// Changed at random after it was made: nothing of it is certain, checksums neither.
    pub(crate) broken: bool,
}

/// The node's own addresses.
pub(crate) fn own() -> Vec<IpAddr> {
    vec![address(0, false), address(0, true)]
}

/// The addresses of a peer.
pub(crate) fn of_peer(peer: usize) -> Vec<IpAddr> {
    vec![address(peer + 1, false), address(peer + 1, true)]
}

/// Up to four rules of one peer.
pub(crate) fn rules() -> impl Strategy<Value = Vec<Rule>> {
    let rule = (select(vec![TCP, UDP, ICMP]), 79..84u16, 0..3u16);
    prop::collection::vec(rule, 0..4).prop_map(|rules| {
        let ports = |(protocol, first, more)| match protocol {
            ICMP => (ICMP, 0..=0),
            _ => (protocol, first..=first + more),
        };
        rules.into_iter().map(ports).collect()
    })
}

/// Up to `count` steps. `waits_s` are the pauses to choose from.
pub(crate) fn steps(count: usize, waits_s: &[u64]) -> impl Strategy<Value = Vec<Step>> {
    let waits_s = waits_s.to_vec();
    prop::collection::vec(drawn(waits_s), count)
}

fn drawn(waits_s: Vec<u64>) -> impl Strategy<Value = Step> {
    // Most of it between the same two, so that conversations go on.
    let whom = (
        select(vec![0, 0, 0, 0, 0, 0, 0, 1]),
        any::<bool>(),
        prop::bool::weighted(0.1),
        0..40u8,
    );
    let breaks = prop::option::weighted(0.1, (any::<Index>(), any::<u8>(), any::<bool>()));
    (whom, body(), breaks, select(waits_s)).prop_map(|(whom, body, breaks, wait_s)| {
        let (peer, outward, v6, stranger) = whom;
        let us = match stranger {
            0 => address(9, v6),
            _ => address(0, v6),
        };
        let them = address(peer + 1, v6);
        let mut packet = body.packet(us, them, outward);
        if let Some((at, value, cut)) = breaks {
            match cut {
                true => packet.truncate(at.index(packet.len() + 1)),
                false => *at.get_mut(&mut packet) = value,
            }
        }
        let broken = breaks.is_some();
        Step {
            wait_s,
            peer,
            outward,
            packet,
            broken,
        }
    })
}

#[derive(Debug, Clone)]
enum Body {
    Tcp(u16, u16, u8),
    Udp(u16, u16),
    Echo(bool, u16),
    /// An ICMP message of this kind (of IPv4; 1 to 4 in IPv6) about a packet of the other side.
    Error(u8, Box<Body>),
    Fragment(Box<Body>),
    Options(Box<Body>),
    /// Another kind of ICMP message.
    Icmp(u8),
    Strange(u8),
}

fn body() -> impl Strategy<Value = Body> {
    let ours = || select(vec![79, 79, 79, 79, 79, 80, 80, 83]);
    let theirs = || select(vec![5_000, 5_000, 5_000, 5_000, 5_000, 5_001]);
    // SYN, SYN-ACK, ACK, FIN-ACK, RST, SYN-RST, none.
    let flags = select(vec![
        0x02u8, 0x02, 0x02, 0x12, 0x10, 0x10, 0x11, 0x04, 0x04, 0x06, 0,
    ]);
    let plain = prop_oneof![
        8 => (ours(), theirs(), flags).prop_map(|(us, them, flags)| Body::Tcp(us, them, flags)),
        3 => (ours(), theirs()).prop_map(|(us, them)| Body::Udp(us, them)),
        2 => (any::<bool>(), 0..2u16).prop_map(|(request, id)| Body::Echo(request, id)),
    ];
    let inner = plain.clone();
    prop_oneof![
        16 => plain,
        3 => (inner.clone(), select(vec![3u8, 11, 12, 5, 4]))
            .prop_map(|(about, kind)| Body::Error(kind, Box::new(about))),
        1 => inner.clone().prop_map(|body| Body::Fragment(Box::new(body))),
        1 => inner.prop_map(|body| Body::Options(Box::new(body))),
        1 => select(vec![2u8, 5, 9, 13, 133, 135]).prop_map(Body::Icmp),
        1 => select(vec![0u8, 1, 2, 43, 47, 50, 58, 132, 135]).prop_map(Body::Strange),
    ]
}

impl Body {
    fn packet(&self, us: IpAddr, them: IpAddr, outward: bool) -> Vec<u8> {
        let (source, destination) = if outward { (us, them) } else { (them, us) };
        let v6 = us.is_ipv6();
        let icmp = if v6 { 58 } else { 1 };
        let ports = |ours: u16, theirs: u16| {
            let (from, to) = if outward {
                (ours, theirs)
            } else {
                (theirs, ours)
            };
            [from.to_be_bytes(), to.to_be_bytes()].concat()
        };
        let (protocol, payload) = match self {
            Self::Tcp(ours, theirs, flags) => {
                let rest = [&[0; 8], &[0x50, *flags, 4, 0, 0, 0, 0, 0][..]].concat();
                (TCP, [ports(*ours, *theirs), rest].concat())
            }
            Self::Udp(ours, theirs) => (UDP, [ports(*ours, *theirs), vec![0, 9, 0, 0, 7]].concat()),
            Self::Echo(request, id) => {
                let kind = [[0, 8], [129, 128]][usize::from(v6)][usize::from(*request)];
                let id = id.to_be_bytes();
                (icmp, vec![kind, 0, 0, 0, id[0], id[1], 0, 1])
            }
            Self::Icmp(kind) => (icmp, vec![*kind, 0, 0, 0, 0, 1, 0, 1]),
            Self::Error(kind, about) => {
                let head = [if v6 { kind % 5 } else { *kind }, 1, 0, 0, 0, 0, 0, 0];
                let about = about.packet(us, them, !outward);
                (icmp, [&head, about.as_slice()].concat())
            }
            Self::Fragment(body) if v6 => {
                let inner = body.packet(us, them, outward);
                let head = [inner[6], 0, 0, 1, 0, 0, 0, 1];
                (44, [&head, &inner[40..]].concat())
            }
            Self::Options(body) if v6 => {
                let inner = body.packet(us, them, outward);
                let head = [inner[6], 0, 1, 4, 0, 0, 0, 0];
                (60, [&head, &inner[40..]].concat())
            }
            Self::Fragment(body) => {
                let mut packet = body.packet(us, them, outward);
                packet[6] |= 0x20;
                return with_header_checksum(packet, 20);
            }
            Self::Options(body) => {
                let mut packet = body.packet(us, them, outward);
                packet.splice(20..20, [1, 1, 1, 1]);
                packet[0] += 1;
                packet[3] += 4;
                return with_header_checksum(packet, 24);
            }
            Self::Strange(protocol) => (*protocol, vec![8; 24]),
        };
        ip(source, destination, protocol, payload)
    }
}

fn ip(source: IpAddr, destination: IpAddr, protocol: u8, mut payload: Vec<u8>) -> Vec<u8> {
    let length = u16::try_from(payload.len()).unwrap();
    let ends = [octets(source), octets(destination)].concat();
    let at = match protocol {
        TCP => Some(16),
        UDP => Some(6),
        1 | 58 => Some(2),
        _ => None,
    };
    if let Some(at) = at {
        payload[at..at + 2].fill(0);
        let pseudo = [&length.to_be_bytes()[..], &[0, protocol]].concat();
        let pseudo = if protocol == 1 {
            Vec::new()
        } else {
            [ends.clone(), pseudo].concat()
        };
        let sum = checksum(&[pseudo, payload.clone()].concat());
        payload[at..at + 2].copy_from_slice(&sum.to_be_bytes());
    }
    if source.is_ipv6() {
        let length = length.to_be_bytes();
        let head = [0x60, 0, 0, 0, length[0], length[1], protocol, 64];
        return [&head[..], &ends, &payload].concat();
    }
    let length = (length + 20).to_be_bytes();
    let head = [
        0x45, 0, length[0], length[1], 0, 0, 0, 0, 64, protocol, 0, 0,
    ];
    with_header_checksum([&head[..], &ends, &payload].concat(), 20)
}

fn with_header_checksum(mut packet: Vec<u8>, header_bytes: usize) -> Vec<u8> {
    packet[10..12].fill(0);
    let sum = checksum(&packet[..header_bytes]);
    packet[10..12].copy_from_slice(&sum.to_be_bytes());
    packet
}

/// RFC 1071.
fn checksum(bytes: &[u8]) -> u16 {
    let words = bytes.chunks(2);
    let mut sum: u32 = words
        .map(|word| u32::from(word[0]) << 8 | word.get(1).map_or(0, |low| u32::from(*low)))
        .sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !u16::try_from(sum).unwrap()
}

fn address(host: usize, v6: bool) -> IpAddr {
    let host = u8::try_from(host).unwrap() + 1;
    match v6 {
        false => SocketAddr::from(([10, 0, 0, host], 0)).ip(),
        true => SocketAddr::from(([0xfd00, 0, 0, 0, 0, 0, 0, u16::from(host)], 0)).ip(),
    }
}

fn octets(address: IpAddr) -> Vec<u8> {
    match address {
        IpAddr::V4(v4) => v4.octets().to_vec(),
        IpAddr::V6(v6) => v6.octets().to_vec(),
    }
}

pub(crate) const PEERS: usize = 2;
