//! The network a client speaks from, which is what limits are kept for: one host may own every
//! address of an IPv6 prefix.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// The IPv4 /24 or IPv6 /56 that shares a response rate.
pub(crate) fn rate_network(address: IpAddr) -> IpAddr {
    network(address, 24, 56)
}

/// The IPv4 address or IPv6 /64 that shares a number of connections.
pub(crate) fn connection_network(address: IpAddr) -> IpAddr {
    network(address, 32, 64)
}

fn network(address: IpAddr, ipv4_bits: u32, ipv6_bits: u32) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V4(address) => {
            let mask = u32::MAX << (u32::BITS - ipv4_bits);
            Ipv4Addr::from_bits(address.to_bits() & mask).into()
        }
        IpAddr::V6(address) => {
            let mask = u128::MAX << (u128::BITS - ipv6_bits);
            Ipv6Addr::from_bits(address.to_bits() & mask).into()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn clients_of_one_network_count_together() {
        assert_eq!(rate_network(ip("192.0.2.7")), ip("192.0.2.0"));
        assert_eq!(
            rate_network(ip("2001:db8:0:12ff::1")),
            ip("2001:db8:0:1200::")
        );
        assert_eq!(connection_network(ip("192.0.2.7")), ip("192.0.2.7"));
        assert_eq!(
            connection_network(ip("2001:db8::1:2:3:4")),
            ip("2001:db8::")
        );
    }

    #[test]
    fn a_mapped_address_is_its_ipv4_address() {
        assert_eq!(rate_network(ip("::ffff:192.0.2.7")), ip("192.0.2.0"));
    }
}
