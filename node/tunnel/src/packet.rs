//! The few header fields of an IP packet that routing and filtering look at. What can't be judged from the first
//! headers (fragments, options, extension headers) is said to be so, never guessed.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::config::Protocol;

/// What the filter needs to know of a packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Headers {
    pub(crate) source: IpAddr,
    pub(crate) destination: IpAddr,
    pub(crate) transport: Transport,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Transport {
    Tcp {
        ports: Ports,
        flags: TcpFlags,
    },
    Udp(Ports),
    EchoRequest {
        id: u16,
    },
    EchoReply {
        id: u16,
    },
    /// An ICMP error about a packet; `about` is that packet as far as the error quotes it.
    IcmpError {
        about: Option<Quoted>,
    },
    Other,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Ports {
    pub(crate) source: u16,
    pub(crate) destination: u16,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct TcpFlags {
    pub(crate) fin: bool,
    pub(crate) syn: bool,
    pub(crate) rst: bool,
    pub(crate) ack: bool,
}

impl TcpFlags {
    /// Whether a TCP may send these together (RFC 9293 §3.10.7); others are made to probe filters.
    pub(crate) fn are_sensible(self) -> bool {
        match (self.syn, self.fin, self.rst) {
            (true, false, false) | (false, false, true) => true,
            (false, _, false) => self.ack,
            _ => false,
        }
    }
}

/// The packet that an ICMP error quotes. For an echo both ports are its identifier.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Quoted {
    pub(crate) protocol: Protocol,
    pub(crate) source: IpAddr,
    pub(crate) destination: IpAddr,
    pub(crate) ports: Ports,
}

/// Why a packet can't be judged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Unjudged {
    Malformed,
    Fragment,
    /// IPv4 options or an IPv6 extension header.
    Extension,
}

/// Source and destination of a packet whose length field fits the bytes given.
pub(crate) fn addresses(packet: &[u8]) -> Option<(IpAddr, IpAddr)> {
    let header = IpHeader::parse(packet)?;
    Some((header.source, header.destination))
}

impl Headers {
    pub(crate) fn parse(packet: &[u8]) -> Result<Self, Unjudged> {
        let header = IpHeader::parse(packet).ok_or(Unjudged::Malformed)?;
        if header.fragment {
            return Err(Unjudged::Fragment);
        }
        if header.extended {
            return Err(Unjudged::Extension);
        }
        let transport = transport(&header).ok_or(Unjudged::Malformed)?;
        Ok(Self {
            source: header.source,
            destination: header.destination,
            transport,
        })
    }
}

struct IpHeader<'a> {
    source: IpAddr,
    destination: IpAddr,
    protocol: u8,
    fragment: bool,
    /// Its transport header was in another fragment; only IPv4's header says so.
    later_fragment: bool,
    extended: bool,
    ipv6: bool,
    payload: &'a [u8],
}

impl<'a> IpHeader<'a> {
    fn parse(packet: &'a [u8]) -> Option<Self> {
        let header = Self::parse_start(packet)?;
        let length = match header.ipv6 {
            false => usize::from(be16(packet, 2)?),
            true => IPV6_HEADER_BYTES + usize::from(be16(packet, 4)?),
        };
        let header_bytes = packet.len() - header.payload.len();
        (header_bytes..=packet.len())
            .contains(&length)
            .then(|| Self {
                payload: &packet[header_bytes..length],
                ..header
            })
    }

    /// Parses the headers without trusting the length field, for packets quoted in ICMP errors, which are cut short.
    fn parse_start(packet: &'a [u8]) -> Option<Self> {
        match packet.first()? >> 4 {
            4 => Self::parse_ipv4(packet),
            6 => Self::parse_ipv6(packet),
            _ => None,
        }
    }

    fn parse_ipv4(packet: &'a [u8]) -> Option<Self> {
        let header_bytes = usize::from(packet[0] & 0x0f) * 4;
        if header_bytes < IPV4_HEADER_BYTES || packet.len() < header_bytes {
            return None;
        }
        let fragmentation = be16(packet, 6)?;
        Some(Self {
            source: Ipv4Addr::from(array::<4>(packet, 12)?).into(),
            destination: Ipv4Addr::from(array::<4>(packet, 16)?).into(),
            protocol: packet[9],
            fragment: fragmentation & (IPV4_MORE_FRAGMENTS | IPV4_OFFSET_MASK) != 0,
            later_fragment: fragmentation & IPV4_OFFSET_MASK != 0,
            extended: header_bytes != IPV4_HEADER_BYTES,
            ipv6: false,
            payload: &packet[header_bytes..],
        })
    }

    fn parse_ipv6(packet: &'a [u8]) -> Option<Self> {
        let payload = packet.get(IPV6_HEADER_BYTES..)?;
        let protocol = packet[6];
        Some(Self {
            source: Ipv6Addr::from(array::<16>(packet, 8)?).into(),
            destination: Ipv6Addr::from(array::<16>(packet, 24)?).into(),
            protocol,
            fragment: protocol == IPV6_FRAGMENT,
            later_fragment: false,
            extended: IPV6_EXTENSIONS.contains(&protocol),
            ipv6: true,
            payload,
        })
    }
}

fn transport(header: &IpHeader<'_>) -> Option<Transport> {
    let payload = header.payload;
    Some(match (header.protocol, header.ipv6) {
        (TCP, _) => {
            let flags = *payload.get(TCP_FLAGS_OFFSET)?;
            if payload.len() < TCP_HEADER_BYTES {
                return None;
            }
            Transport::Tcp {
                ports: ports(payload)?,
                flags: TcpFlags {
                    fin: flags & 0x01 != 0,
                    syn: flags & 0x02 != 0,
                    rst: flags & 0x04 != 0,
                    ack: flags & 0x10 != 0,
                },
            }
        }
        (UDP, _) if payload.len() < UDP_HEADER_BYTES => return None,
        (UDP, _) => Transport::Udp(ports(payload)?),
        (ICMPV4, false) => icmp(payload, ECHO_REQUEST_V4, 0, &[3, 11, 12])?,
        (ICMPV6, true) => icmp(payload, ECHO_REQUEST_V6, 129, &[1, 2, 3, 4])?,
        _ => Transport::Other,
    })
}

fn icmp(payload: &[u8], request: u8, reply: u8, errors: &[u8]) -> Option<Transport> {
    if payload.len() < ICMP_HEADER_BYTES {
        return None;
    }
    let id = be16(payload, 4)?;
    Some(match payload[0] {
        kind if kind == request => Transport::EchoRequest { id },
        kind if kind == reply => Transport::EchoReply { id },
        kind if errors.contains(&kind) => Transport::IcmpError {
            about: quoted(&payload[ICMP_HEADER_BYTES..]),
        },
        _ => Transport::Other,
    })
}

/// A router behind the peer may have cut a whole IPv4 packet of ours, and then quotes its first fragment.
fn quoted(packet: &[u8]) -> Option<Quoted> {
    let header = IpHeader::parse_start(packet)?;
    if header.later_fragment || header.extended {
        return None;
    }
    let (protocol, ports) = match (header.protocol, header.ipv6) {
        (TCP, _) => (Protocol::Tcp, ports(header.payload)?),
        (UDP, _) => (Protocol::Udp, ports(header.payload)?),
        (ICMPV4, false) => (Protocol::Icmp, echo(header.payload, ECHO_REQUEST_V4)?),
        (ICMPV6, true) => (Protocol::Icmp, echo(header.payload, ECHO_REQUEST_V6)?),
        _ => return None,
    };
    Some(Quoted {
        protocol,
        source: header.source,
        destination: header.destination,
        ports,
    })
}

/// Of a quoted echo only a request asks for anything, and every error quotes its whole header (RFC 792, RFC 4443).
fn echo(header: &[u8], request: u8) -> Option<Ports> {
    let header = array::<ICMP_HEADER_BYTES>(header, 0)?;
    let id = be16(&header, 4)?;
    (header[0] == request).then_some(Ports {
        source: id,
        destination: id,
    })
}

fn ports(payload: &[u8]) -> Option<Ports> {
    Some(Ports {
        source: be16(payload, 0)?,
        destination: be16(payload, 2)?,
    })
}

fn be16(bytes: &[u8], at: usize) -> Option<u16> {
    array::<2>(bytes, at).map(u16::from_be_bytes)
}

fn array<const N: usize>(bytes: &[u8], at: usize) -> Option<[u8; N]> {
    bytes.get(at..at + N)?.try_into().ok()
}

const IPV4_HEADER_BYTES: usize = 20;
const IPV4_MORE_FRAGMENTS: u16 = 0x2000;
const IPV4_OFFSET_MASK: u16 = 0x1fff;
const IPV6_HEADER_BYTES: usize = 40;
const TCP_HEADER_BYTES: usize = 20;
const TCP_FLAGS_OFFSET: usize = 13;
const UDP_HEADER_BYTES: usize = 8;
const ICMP_HEADER_BYTES: usize = 8;
const TCP: u8 = 6;
const UDP: u8 = 17;
const ICMPV4: u8 = 1;
const ICMPV6: u8 = 58;
const ECHO_REQUEST_V4: u8 = 8;
const ECHO_REQUEST_V6: u8 = 128;
const IPV6_FRAGMENT: u8 = 44;
/// Hop-by-hop, routing, ESP, AH, destination options, mobility, HIP, shim6 (RFC 7045).
const IPV6_EXTENSIONS: [u8; 8] = [0, 43, 50, 51, 60, 135, 139, 140];

/// Packets for tests; checksums are left zero, since nothing here reads them.
#[cfg(test)]
pub(crate) mod build {
    use super::*;

    pub(crate) fn udp(source: &str, destination: &str, body: &[u8]) -> Vec<u8> {
        let (source, source_port) = split(source);
        let (destination, destination_port) = split(destination);
        let mut payload = Vec::new();
        payload.extend(source_port.to_be_bytes());
        payload.extend(destination_port.to_be_bytes());
        payload.extend((8 + body.len() as u16).to_be_bytes());
        payload.extend([0, 0]);
        payload.extend(body);
        ip(source, destination, UDP, &payload)
    }

    pub(crate) fn tcp(source: &str, destination: &str, flags: u8) -> Vec<u8> {
        let (source, source_port) = split(source);
        let (destination, destination_port) = split(destination);
        let mut payload = vec![0; TCP_HEADER_BYTES];
        payload[0..2].copy_from_slice(&source_port.to_be_bytes());
        payload[2..4].copy_from_slice(&destination_port.to_be_bytes());
        payload[12] = 5 << 4;
        payload[TCP_FLAGS_OFFSET] = flags;
        ip(source, destination, TCP, &payload)
    }

    pub(crate) fn icmp(
        source: IpAddr,
        destination: IpAddr,
        kind: u8,
        id: u16,
        body: &[u8],
    ) -> Vec<u8> {
        let mut payload = vec![kind, 0, 0, 0];
        payload.extend(id.to_be_bytes());
        payload.extend([0, 0]);
        payload.extend(body);
        let protocol = if source.is_ipv4() { ICMPV4 } else { ICMPV6 };
        ip(source, destination, protocol, &payload)
    }

    pub(crate) fn ip(source: IpAddr, destination: IpAddr, protocol: u8, payload: &[u8]) -> Vec<u8> {
        let mut packet = Vec::new();
        match (source, destination) {
            (IpAddr::V4(source), IpAddr::V4(destination)) => {
                packet.extend([0x45, 0]);
                packet.extend((20 + payload.len() as u16).to_be_bytes());
                packet.extend([0, 0, 0, 0, 64, protocol, 0, 0]);
                packet.extend(source.octets());
                packet.extend(destination.octets());
            }
            (IpAddr::V6(source), IpAddr::V6(destination)) => {
                packet.extend([0x60, 0, 0, 0]);
                packet.extend((payload.len() as u16).to_be_bytes());
                packet.extend([protocol, 64]);
                packet.extend(source.octets());
                packet.extend(destination.octets());
            }
            _ => panic!("both addresses must be of one family"),
        }
        packet.extend(payload);
        packet
    }

    fn split(address: &str) -> (IpAddr, u16) {
        let address: std::net::SocketAddr = address.parse().unwrap();
        (address.ip(), address.port())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_length_field_longer_than_the_packet_is_malformed() {
        let mut packet = build::udp("10.0.0.1:1", "10.0.0.2:2", b"x");
        packet.truncate(packet.len() - 1);
        assert_eq!(Headers::parse(&packet), Err(Unjudged::Malformed));
        assert_eq!(addresses(&packet), None);
    }

    #[test]
    fn first_and_later_fragments_are_both_fragments() {
        for bits in [0x2000u16, 0x0001, 0x2010] {
            let mut packet = build::udp("10.0.0.1:1", "10.0.0.2:2", b"x");
            packet[6..8].copy_from_slice(&bits.to_be_bytes());
            assert_eq!(Headers::parse(&packet), Err(Unjudged::Fragment));
        }
        let v6 = build::ip(
            "fd00::1".parse().unwrap(),
            "fd00::2".parse().unwrap(),
            44,
            &[6; 40],
        );
        assert_eq!(Headers::parse(&v6), Err(Unjudged::Fragment));
    }

    #[test]
    fn options_and_extension_headers_are_not_judged() {
        let mut v4 = build::udp("10.0.0.1:1", "10.0.0.2:2", b"xxxxxxxx");
        v4[0] = 0x46;
        assert_eq!(Headers::parse(&v4), Err(Unjudged::Extension));
        for next in IPV6_EXTENSIONS {
            let v6 = build::ip(
                "fd00::1".parse().unwrap(),
                "fd00::2".parse().unwrap(),
                next,
                &[6; 40],
            );
            assert_eq!(Headers::parse(&v6), Err(Unjudged::Extension));
        }
    }

    #[test]
    fn an_icmp_error_names_the_packet_it_is_about() {
        let about = build::udp("10.0.0.1:4000", "10.0.0.2:53", b"question");
        let error = build::icmp(
            "10.0.0.2".parse().unwrap(),
            "10.0.0.1".parse().unwrap(),
            3,
            0,
            &about[..28],
        );
        let headers = Headers::parse(&error).unwrap();
        let quoted = Quoted {
            protocol: Protocol::Udp,
            source: "10.0.0.1".parse().unwrap(),
            destination: "10.0.0.2".parse().unwrap(),
            ports: Ports {
                source: 4000,
                destination: 53,
            },
        };
        assert_eq!(
            headers.transport,
            Transport::IcmpError {
                about: Some(quoted)
            }
        );
    }

    #[test]
    fn of_echoes_an_icmp_error_names_whole_requests_only() {
        for (us, them, request, reply) in [
            ("10.0.0.1", "10.0.0.2", 8, 0),
            ("fd00::1", "fd00::2", 128, 129),
        ] {
            let (us, them) = (us.parse().unwrap(), them.parse().unwrap());
            let echo = |kind| build::icmp(us, them, kind, 7, b"");
            let id = quoted(&echo(request)).map(|quoted| quoted.ports.source);
            assert_eq!(id, Some(7));
            assert_eq!(quoted(&echo(reply)), None);
            let mut cut = echo(request);
            cut.pop();
            assert_eq!(quoted(&cut), None);
        }
    }

    #[test]
    fn an_icmp_error_may_name_a_packet_by_its_first_fragment() {
        let mut about = build::udp("10.0.0.1:4000", "10.0.0.2:53", b"question");
        let whole = quoted(&about);
        let mut by = |fragmentation: u16| {
            about[6..8].copy_from_slice(&fragmentation.to_be_bytes());
            quoted(&about)
        };
        assert!(whole.is_some());
        assert_eq!([by(0x2000), by(0x2001), by(0x0001)], [whole, None, None]);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(4000))]

        #[test]
        fn any_bytes_are_parsed_or_refused(mut packet in prop::collection::vec(any::<u8>(), 0..120), version in 0u8..3) {
            if let Some(first) = packet.first_mut() {
                *first = [0x45, 0x60, *first][usize::from(version)];
            }
            if let Ok(headers) = Headers::parse(&packet) {
                prop_assert_eq!(addresses(&packet), Some((headers.source, headers.destination)));
            }
        }
    }
}
