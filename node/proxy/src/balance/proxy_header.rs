//! The PROXY protocol's first words, versions 1 and 2: who the client is, said to a backend that asks for it. It never
//! reads one: the balancer believes nobody's word about an address.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};

/// The version that a backend understands (HAProxy's proxy-protocol.txt).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProxyHeader {
    /// A line of text, §2.1.
    V1,
    /// Binary, §2.2.
    V2,
}

impl ProxyHeader {
    /// The header for a connection that came from `source` to `destination`.
    pub fn encode(self, source: SocketAddr, destination: SocketAddr) -> Vec<u8> {
        let (from, to) = same_family(source.ip(), destination.ip());
        let ports = [source.port(), destination.port()];
        match self {
            Self::V1 => {
                let family = if from.is_ipv4() { "TCP4" } else { "TCP6" };
                let [source, destination] = ports;
                format!("PROXY {family} {from} {to} {source} {destination}\r\n").into_bytes()
            }
            Self::V2 => version_2(from, to, ports),
        }
    }
}

fn version_2(from: IpAddr, to: IpAddr, ports: [u16; 2]) -> Vec<u8> {
    let mut addresses = Vec::with_capacity(MAX_ADDRESSES_BYTES);
    for ip in [from, to] {
        match ip {
            IpAddr::V4(ip) => addresses.extend(ip.octets()),
            IpAddr::V6(ip) => addresses.extend(ip.octets()),
        }
    }
    addresses.extend(ports.iter().flat_map(|port| port.to_be_bytes()));
    let family = if from.is_ipv4() {
        TCP_OVER_IPV4
    } else {
        TCP_OVER_IPV6
    };
    // At most 36, so it fits.
    let [.., length] = addresses.len().to_be_bytes();
    let mut header = SIGNATURE.to_vec();
    header.extend([VERSION_2_PROXY, family, 0, length]);
    header.extend(addresses);
    header
}

/// Both addresses in one family; the header knows no mixture.
fn same_family(from: IpAddr, to: IpAddr) -> (IpAddr, IpAddr) {
    let (from, to) = (from.to_canonical(), to.to_canonical());
    if from.is_ipv4() == to.is_ipv4() {
        return (from, to);
    }
    let mapped = |ip: IpAddr| -> Ipv6Addr {
        match ip {
            IpAddr::V4(ip) => ip.to_ipv6_mapped(),
            IpAddr::V6(ip) => ip,
        }
    };
    (mapped(from).into(), mapped(to).into())
}

const SIGNATURE: [u8; 12] = *b"\r\n\r\n\0\r\nQUIT\n";
const VERSION_2_PROXY: u8 = 0x21;
const TCP_OVER_IPV4: u8 = 0x11;
const TCP_OVER_IPV6: u8 = 0x21;
const MAX_ADDRESSES_BYTES: usize = 36;

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> SocketAddr {
        text.parse().unwrap()
    }

    #[test]
    fn version_1_is_a_line_of_text() {
        let header = ProxyHeader::V1.encode(at("192.0.2.1:40000"), at("203.0.113.9:5500"));
        assert_eq!(header, b"PROXY TCP4 192.0.2.1 203.0.113.9 40000 5500\r\n");
        let header = ProxyHeader::V1.encode(at("[2001:db8::1]:1"), at("203.0.113.9:5500"));
        assert_eq!(
            header,
            b"PROXY TCP6 2001:db8::1 ::ffff:203.0.113.9 1 5500\r\n"
        );
    }

    #[test]
    fn version_2_is_the_bytes_of_the_specification() {
        let header = ProxyHeader::V2.encode(at("[::ffff:192.0.2.1]:256"), at("203.0.113.9:2"));
        let expected =
            b"\r\n\r\n\0\r\nQUIT\n\x21\x11\x00\x0c\xc0\x00\x02\x01\xcb\x00\x71\x09\x01\x00\x00\x02";
        assert_eq!(header, expected);
        let header = ProxyHeader::V2.encode(at("[2001:db8::1]:1"), at("[2001:db8::2]:2"));
        assert_eq!((header.len(), header[13], header[15]), (52, 0x21, 36));
    }
}
