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
                || is_carrier_space(ip))
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

/// `2000::/3` (RFC 4291) without `2002::/16`, which leads to an IPv4 address (RFC 3056).
fn is_global_unicast(ip: Ipv6Addr) -> bool {
    let first = ip.segments()[0];
    first & 0xe000 == 0x2000 && first != 0x2002
}
