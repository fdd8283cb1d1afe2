//! Overlay addresses: one per family and node, taken from two pools.

use std::net::{Ipv4Addr, Ipv6Addr};

use ipnet::{Ipv4Net, Ipv6Net};
use minicbor::{Decode, Encode};
use serde::{Deserialize, Serialize};
use thiserror::Error;

/// The shared address space of carrier-grade NAT (RFC 6598): never routed on the internet, rarely used on LANs.
pub const DEFAULT_POOL_V4: Ipv4Net = Ipv4Net::new_assert(Ipv4Addr::new(100, 64, 0, 0), 10);

/// A node's overlay addresses.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Encode, Decode, Serialize, Deserialize,
)]
pub struct OverlayAddresses {
    #[n(0)]
    pub v4: Ipv4Addr,
    #[n(1)]
    pub v6: Ipv6Addr,
}

/// Where overlay addresses come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OverlayPools {
    pub v4: Ipv4Net,
    pub v6: Ipv6Net,
}

/// Why two networks can't be pools.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum PoolError {
    #[error("the IPv4 pool {0} is too small; give at least a /24")]
    SmallV4(Ipv4Net),
    #[error(
        "the IPv6 pool {0} must be a /48 to /64 of unique local addresses (RFC 4193: fd00::/8)"
    )]
    WrongV6(Ipv6Net),
}

impl OverlayPools {
    /// Checks size and kind; host bits are dropped.
    pub fn new(v4: Ipv4Net, v6: Ipv6Net) -> Result<Self, PoolError> {
        if v4.prefix_len() > 24 {
            return Err(PoolError::SmallV4(v4));
        }
        if !(48..=64).contains(&v6.prefix_len()) || v6.addr().octets()[0] != 0xfd {
            return Err(PoolError::WrongV6(v6));
        }
        Ok(Self {
            v4: v4.trunc(),
            v6: v6.trunc(),
        })
    }

    /// A random unique local /48 (RFC 4193 §3.2.1) beside the default IPv4 pool.
    #[must_use]
    pub fn with_random_v6(random: [u8; 5]) -> Self {
        let mut octets = [0; 16];
        octets[0] = 0xfd;
        octets[1..6].copy_from_slice(&random);
        Self {
            v4: DEFAULT_POOL_V4,
            v6: Ipv6Net::new_assert(Ipv6Addr::from(octets), 48),
        }
    }

    /// The pair of addresses at one offset: both families share the number, so that one can be read from the other.
    /// None outside the IPv4 pool, and for its first and last address.
    #[must_use]
    pub fn at(&self, offset: u32) -> Option<OverlayAddresses> {
        if offset == 0 || offset >= self.size() {
            return None;
        }
        Some(OverlayAddresses {
            v4: Ipv4Addr::from(u32::from(self.v4.network()) + offset),
            v6: Ipv6Addr::from(u128::from(self.v6.network()) + u128::from(offset)),
        })
    }

    /// The offset of an address pair; None when it is not from these pools.
    #[must_use]
    pub fn offset(&self, addresses: &OverlayAddresses) -> Option<u32> {
        self.v4
            .contains(&addresses.v4)
            .then(|| u32::from(addresses.v4) - u32::from(self.v4.network()))
            .filter(|offset| self.at(*offset) == Some(*addresses))
    }

    /// One past the last usable offset.
    #[must_use]
    pub fn size(&self) -> u32 {
        u32::from(self.v4.broadcast()) - u32::from(self.v4.network())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_families_share_the_offset() {
        let pools = OverlayPools::with_random_v6([1, 2, 3, 4, 5]);
        let addresses = pools.at(258).unwrap();
        assert_eq!(addresses.v4.to_string(), "100.64.1.2");
        assert_eq!(addresses.v6.to_string(), "fd01:203:405::102");
        assert_eq!(pools.offset(&addresses), Some(258));
    }

    #[test]
    fn network_and_broadcast_are_never_given() {
        let pools = OverlayPools::new("10.9.8.0/24".parse().unwrap(), "fd00::/64".parse().unwrap())
            .unwrap();
        assert!(pools.at(0).is_none() && pools.at(255).is_none() && pools.at(254).is_some());
    }

    #[test]
    fn a_pool_of_public_addresses_is_refused() {
        assert!(OverlayPools::new(DEFAULT_POOL_V4, "2001:db8::/48".parse().unwrap()).is_err());
        assert!(
            OverlayPools::new("10.0.0.0/25".parse().unwrap(), "fd00::/48".parse().unwrap())
                .is_err()
        );
    }
}
