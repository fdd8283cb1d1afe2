//! Which addresses nobody reaches over the internet. It looks nothing up.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Addresses that nobody reaches over the internet. Those kept for documentation count as public: a record that holds one is
/// caught by what is declared, and examples are written with them.
pub(crate) fn is_private(address: IpAddr) -> bool {
    match address.to_canonical() {
        IpAddr::V4(v4) => is_private_v4(v4),
        IpAddr::V6(v6) => is_private_v6(v6),
    }
}

fn is_private_v4(v4: Ipv4Addr) -> bool {
    let [a, b, ..] = v4.octets();
    v4.is_private()
        || v4.is_loopback()
        || v4.is_link_local()
        || v4.is_multicast()
        || a == 0
        || a >= 240
        // Shared by carriers (RFC 6598), benchmarks (RFC 2544).
        || (a == 100 && (64..128).contains(&b))
        || (a == 198 && (b == 18 || b == 19))
}

fn is_private_v6(v6: Ipv6Addr) -> bool {
    v6.is_loopback()
        || v6.is_unspecified()
        || v6.is_multicast()
        || v6.is_unique_local()
        || v6.is_unicast_link_local()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sample::ip;

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
            assert!(is_private(ip(address)), "{address}");
        }
        for address in [
            "201.49.10.7",
            "100.128.0.1",
            "172.32.0.1",
            "2001:db8::1",
            "198.20.0.1",
        ] {
            assert!(!is_private(ip(address)), "{address}");
        }
    }
}
