//! What a packet says of itself, for the model: read anew from the RFCs, so that a mistake of the filter's parser shows.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use super::{Conversation, ICMP, TCP, UDP};

/// A packet that can be judged. Addresses without a port have 0.
pub(crate) struct Seen {
    pub(crate) protocol: u8,
    pub(crate) source: SocketAddr,
    pub(crate) destination: SocketAddr,
    pub(crate) kind: Kind,
}

#[derive(Clone, Copy)]
pub(crate) enum Kind {
    Tcp(Flags),
    Udp,
    Request,
    Reply,
    /// An ICMP error, and what it is about, seen from the sender of what it quotes.
    Error(Option<Conversation>),
    Other,
}

#[derive(Clone, Copy)]
pub(crate) struct Flags {
    pub(crate) fin: bool,
    pub(crate) syn: bool,
    pub(crate) rst: bool,
    pub(crate) ack: bool,
}

impl Flags {
    pub(crate) fn opens(self) -> bool {
        self.syn && !self.ack
    }

    /// A SYN alone or with ACK, a reset, or anything with ACK that is neither.
    pub(crate) fn are_sensible(self) -> bool {
        let kinds = [self.syn, self.fin, self.rst];
        let at_most_one = kinds.into_iter().filter(|kind| *kind).count() <= 1;
        at_most_one && (self.ack || self.syn || self.rst)
    }
}

/// The packet, or why it is refused unseen.
pub(crate) fn read(packet: &[u8]) -> Result<Seen, &'static str> {
    let ip = Ip::read(packet).ok_or("malformed")?;
    let end = ip.end;
    if end < ip.start || end > packet.len() {
        return Err("malformed");
    }
    if ip.fragment {
        return Err("fragment");
    }
    if ip.extended {
        return Err("extension");
    }
    let body = &packet[ip.start..end];
    let smallest = match ip.protocol {
        TCP => 20,
        UDP | ICMP => 8,
        _ => 0,
    };
    if body.len() < smallest {
        return Err("malformed");
    }
    let (kind, ports) = match ip.protocol {
        TCP => {
            let flag = |bit: u8| body[13] >> bit & 1 == 1;
            let (fin, syn, rst, ack) = (flag(0), flag(1), flag(2), flag(4));
            (Kind::Tcp(Flags { fin, syn, rst, ack }), ip.ports(body))
        }
        UDP => (Kind::Udp, ip.ports(body)),
        ICMP => (icmp(&ip, body), ip.ports(body)),
        _ => (Kind::Other, None),
    };
    let (from, to) = ports.unwrap_or((0, 0));
    Ok(Seen {
        protocol: ip.protocol,
        source: SocketAddr::new(ip.source, from),
        destination: SocketAddr::new(ip.destination, to),
        kind,
    })
}

struct Ip {
    source: IpAddr,
    destination: IpAddr,
    /// ICMPv6 counts as ICMP in IPv6, and ICMP there as nothing.
    protocol: u8,
    fragment: bool,
    /// Without the start of what was cut; IPv6 doesn't say it here.
    later_fragment: bool,
    extended: bool,
    start: usize,
    end: usize,
}

impl Ip {
    fn read(packet: &[u8]) -> Option<Self> {
        let first = *packet.first()?;
        match first >> 4 {
            4 if first & 15 >= 5 && packet.len() >= usize::from(first & 15) * 4 => Some(Self {
                source: v4(packet, 12),
                destination: v4(packet, 16),
                protocol: packet[9],
                // Everything but "don't fragment" and the reserved bit.
                fragment: packet[6] & 0b0011_1111 != 0 || packet[7] != 0,
                later_fragment: packet[6] & 0b0001_1111 != 0 || packet[7] != 0,
                extended: first & 15 > 5,
                start: usize::from(first & 15) * 4,
                end: usize::from(word(packet, 2)),
            }),
            6 if packet.len() >= 40 => Some(Self {
                source: v6(packet, 8),
                destination: v6(packet, 24),
                protocol: match packet[6] {
                    58 => ICMP,
                    ICMP => 255,
                    other => other,
                },
                fragment: packet[6] == 44,
                later_fragment: false,
                extended: [0, 43, 50, 51, 60, 135, 139, 140].contains(&packet[6]),
                start: 40,
                end: 40 + usize::from(word(packet, 4)),
            }),
            _ => None,
        }
    }

    fn ports(&self, body: &[u8]) -> Option<(u16, u16)> {
        match self.protocol {
            TCP | UDP if body.len() >= 4 => Some((word(body, 0), word(body, 2))),
            ICMP if body.len() >= 6 => Some((word(body, 4), word(body, 4))),
            _ => None,
        }
    }
}

fn icmp(ip: &Ip, body: &[u8]) -> Kind {
    let (request, reply, errors): (u8, u8, &[u8]) = match ip.source {
        IpAddr::V4(_) => (8, 0, &[3, 11, 12]),
        IpAddr::V6(_) => (128, 129, &[1, 2, 3, 4]),
    };
    match body[0] {
        kind if kind == request => Kind::Request,
        kind if kind == reply => Kind::Reply,
        kind if errors.contains(&kind) => Kind::Error(quoted(&body[8..])),
        _ => Kind::Other,
    }
}

/// A quoted packet may be cut short, so its length field says nothing.
fn quoted(packet: &[u8]) -> Option<Conversation> {
    let ip = Ip::read(packet).filter(|ip| !ip.later_fragment && !ip.extended)?;
    let body = &packet[ip.start..];
    // An echo is named by its header, of which all is quoted.
    let is_request = || body.len() >= 8 && matches!(icmp(&ip, body), Kind::Request);
    let (from, to) = ip
        .ports(body)
        .filter(|_| ip.protocol != ICMP || is_request())?;
    let source = SocketAddr::new(ip.source, from);
    Some((ip.protocol, source, SocketAddr::new(ip.destination, to)))
}

fn word(bytes: &[u8], at: usize) -> u16 {
    u16::from(bytes[at]) << 8 | u16::from(bytes[at + 1])
}

fn v4(bytes: &[u8], at: usize) -> IpAddr {
    Ipv4Addr::new(bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]).into()
}

fn v6(bytes: &[u8], at: usize) -> IpAddr {
    let words: [u16; 8] = std::array::from_fn(|n| word(bytes, at + 2 * n));
    Ipv6Addr::from(words).into()
}
