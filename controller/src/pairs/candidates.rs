//! Where a node's peers may try it without a relay: what the hub sees of it, then what it says of itself. An address that
//! leads to the one who tries, to many, or back into the overlay is no candidate.

use std::net::{IpAddr, SocketAddr};

use ipnet::IpNet;
use malha_proto::MAX_CANDIDATES;

/// Best first, each once.
pub(super) fn of(seen: Option<SocketAddr>, listen: &[SocketAddr]) -> Vec<SocketAddr> {
    let mut candidates: Vec<SocketAddr> = Vec::new();
    for address in seen.into_iter().chain(listen.iter().copied()) {
        if candidates.len() < MAX_CANDIDATES && !candidates.contains(&address) {
            candidates.push(address);
        }
    }
    candidates
}

/// What is usable of the addresses that a node says it listens at.
pub(super) fn usable(said: &[SocketAddr], overlay: &[IpNet]) -> Vec<SocketAddr> {
    let usable = said.iter().copied().filter(|address| {
        let ip = address.ip();
        address.port() != 0 && leads_somewhere(ip) && !overlay.iter().any(|pool| pool.contains(&ip))
    });
    usable.take(MAX_CANDIDATES).collect()
}

fn leads_somewhere(ip: IpAddr) -> bool {
    let nowhere = ip.is_unspecified() || ip.is_loopback() || ip.is_multicast();
    !nowhere
        && match ip {
            IpAddr::V4(ip) => !ip.is_link_local() && !ip.is_broadcast(),
            IpAddr::V6(ip) => !ip.is_unicast_link_local() && ip.to_ipv4_mapped().is_none(),
        }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> SocketAddr {
        text.parse().unwrap()
    }

    #[test]
    fn what_leads_nowhere_or_into_the_overlay_is_left_out() {
        let overlay = [
            "100.64.0.0/10".parse().unwrap(),
            "fd00:1::/48".parse().unwrap(),
        ];
        let said = [
            "127.0.0.1:1",
            "0.0.0.0:1",
            "169.254.1.1:1",
            "224.0.0.1:1",
            "255.255.255.255:1",
            "192.168.0.7:0",
            "100.64.0.7:1",
            "[::1]:1",
            "[fe80::1]:1",
            "[::ffff:192.0.2.1]:1",
            "[fd00:1::7]:1",
            "192.168.0.7:51820",
            "[2001:db8::7]:51820",
        ];
        let said: Vec<_> = said.map(at).into();
        assert_eq!(
            usable(&said, &overlay),
            [at("192.168.0.7:51820"), at("[2001:db8::7]:51820")]
        );
    }

    #[test]
    fn what_the_hub_sees_comes_first_and_nothing_twice() {
        let seen = at("203.0.113.7:40000");
        let listen = [at("192.168.0.7:51820"), seen, at("[2001:db8::7]:51820")];
        assert_eq!(of(Some(seen), &listen), [seen, listen[0], listen[2]]);
    }

    #[test]
    fn there_are_never_too_many() {
        let listen: Vec<_> = (1..=100)
            .map(|port| at(&format!("192.0.2.1:{port}")))
            .collect();
        assert_eq!(usable(&listen, &[]).len(), MAX_CANDIDATES);
        assert_eq!(of(Some(at("192.0.2.2:1")), &listen).len(), MAX_CANDIDATES);
    }
}
