//! Which addresses are public: those that the internet can lead to a machine. It never asks whether anybody has them.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Whether an address is not of one machine, its link or a private network, in whatever writing. Those of documentation (RFC 5737,
/// RFC 3849) count as public: they stand for public ones.
#[must_use]
pub fn is_public(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(ip) => {
            let first = ip.octets()[0];
            !(first == 0
                || first >= 224
                || ip.is_loopback()
                || ip.is_link_local()
                || ip.is_private()
                || is_carrier_space(ip)
                || is_benchmark(ip))
        }
        IpAddr::V6(ip) => is_global_unicast(ip),
    }
}

/// Whether an address is of the space that carriers share behind their translation (RFC 6598).
#[must_use]
pub fn is_carrier_space(ip: Ipv4Addr) -> bool {
    let [first, second, ..] = ip.octets();
    first == 100 && second & 0xc0 == 64
}

/// `198.18.0.0/15`, kept for benchmarks (RFC 2544).
fn is_benchmark(ip: Ipv4Addr) -> bool {
    let [first, second, ..] = ip.octets();
    first == 198 && second & 0xfe == 18
}

/// `2000::/3` (RFC 4291) without `2002::/16`, which leads to an IPv4 address (RFC 3056).
fn is_global_unicast(ip: Ipv6Addr) -> bool {
    let first = ip.segments()[0];
    first & 0xe000 == 0x2000 && first != 0x2002
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_of_one_network_is_told_from_what_is_everybodys() {
        for address in [
            "10.0.0.1",
            "172.16.0.1",
            "192.168.1.1",
            "127.0.0.1",
            "169.254.1.1",
            "100.64.0.1",
            "0.0.0.0",
            "224.0.0.1",
            "255.255.255.255",
            "198.18.0.1",
            "::1",
            "fd00::1",
            "fe80::1",
            "ff02::1",
            "::",
            "::ffff:10.0.0.1",
        ] {
            assert!(!is_public(address.parse().unwrap()), "{address}");
        }
        for address in [
            "201.49.10.7",
            "100.128.0.1",
            "172.32.0.1",
            "2001:db8::1",
            "198.20.0.1",
        ] {
            assert!(is_public(address.parse().unwrap()), "{address}");
        }
    }
}
