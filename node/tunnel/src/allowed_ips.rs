//! Which peer owns an overlay address: one longest-prefix table over all peers, for both directions and both families.

use std::net::IpAddr;

use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use prefix_trie::PrefixMap;

use crate::peer::PeerIndex;

/// The device-wide longest-prefix table.
#[derive(Default)]
pub(crate) struct AllowedIps {
    v4: PrefixMap<Ipv4Net, PeerIndex>,
    v6: PrefixMap<Ipv6Net, PeerIndex>,
}

impl AllowedIps {
    /// The peer with the longest prefix that holds `address`.
    pub(crate) fn owner(&self, address: IpAddr) -> Option<PeerIndex> {
        match address {
            IpAddr::V4(ip) => self.v4.get_lpm(&Ipv4Net::from(ip)).map(|(_, peer)| *peer),
            IpAddr::V6(ip) => self.v6.get_lpm(&Ipv6Net::from(ip)).map(|(_, peer)| *peer),
        }
    }

    /// Gives `prefixes` to `peer`. An exact prefix that another peer had moves to this one.
    pub(crate) fn assign(&mut self, peer: PeerIndex, prefixes: &[IpNet]) {
        for prefix in prefixes {
            match prefix.trunc() {
                IpNet::V4(net) => self.v4.insert(net, peer),
                IpNet::V6(net) => self.v6.insert(net, peer),
            };
        }
    }

    /// Takes back those of `prefixes` that still belong to `peer`.
    pub(crate) fn release(&mut self, peer: PeerIndex, prefixes: &[IpNet]) {
        for prefix in prefixes {
            match prefix.trunc() {
                IpNet::V4(net) if self.v4.get(&net) == Some(&peer) => self.v4.remove(&net),
                IpNet::V6(net) if self.v6.get(&net) == Some(&peer) => self.v6.remove(&net),
                _ => None,
            };
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn naive_owner(assigned: &[(IpNet, PeerIndex)], address: IpAddr) -> Option<PeerIndex> {
        let mut best: Option<(u8, PeerIndex)> = None;
        for (net, peer) in assigned {
            let longest = best.is_none_or(|(length, _)| net.prefix_len() >= length);
            if net.contains(&address) && longest {
                best = Some((net.prefix_len(), *peer));
            }
        }
        best.map(|(_, peer)| peer)
    }

    fn crowded_net() -> impl Strategy<Value = IpNet> {
        prop_oneof![
            (any::<[u8; 2]>(), 0u8..=32).prop_map(|(b, len)| IpNet::new(
                [10, b[0] & 3, b[1] & 3, 1].into(),
                len
            )
            .unwrap()),
            (any::<[u8; 2]>(), 0u8..=128).prop_map(|(b, len)| {
                let ip = [
                    0xfd00,
                    u16::from(b[0] & 3),
                    0,
                    0,
                    0,
                    0,
                    0,
                    u16::from(b[1] & 3),
                ];
                IpNet::new(ip.into(), len).unwrap()
            }),
        ]
    }

    proptest! {
        #[test]
        fn owner_is_the_last_assignment_of_the_longest_prefix(
            peers in prop::collection::vec(prop::collection::vec(crowded_net(), 0..4), 1..6),
            removed in 0usize..6,
            probes in prop::collection::vec(crowded_net(), 1..20),
        ) {
            let mut table = AllowedIps::default();
            let mut naive = Vec::new();
            for (number, nets) in peers.iter().enumerate() {
                let peer = PeerIndex(number as u32);
                table.assign(peer, nets);
                naive.extend(nets.iter().map(|net| (net.trunc(), peer)));
            }
            let gone = PeerIndex(removed as u32);
            if let Some(nets) = peers.get(removed) {
                table.release(gone, nets);
            }
            let mut owners = std::collections::BTreeMap::new();
            for (net, peer) in naive {
                owners.insert(net, peer);
            }
            let left: Vec<_> = owners.into_iter().filter(|(_, peer)| *peer != gone).collect();
            for probe in probes {
                prop_assert_eq!(table.owner(probe.addr()), naive_owner(&left, probe.addr()));
            }
        }
    }
}
