//! The ways by which a datagram reaches another node. A path is an address for the underlay; nothing above it looks inside.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};

use crate::offload::buffer::Buffer;

/// One way to the other side.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Path {
    /// By UDP.
    Udp {
        /// Number of the local socket; `None` lets the sender choose one of the right family.
        local: Option<usize>,
        remote: SocketAddr,
    },
    /// Through a byte stream between node and hub, where only TCP passes.
    Carrier(CarrierId),
    /// Through the hub's relay, which can't read it; the number is our own channel.
    Relay(ChannelId),
}

/// A byte stream that carries datagrams; never used twice by one tunnel.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CarrierId(pub u32);

/// One end of a pair on a relay.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ChannelId(pub u32);

/// Datagrams to send: as many as the payload holds at `segment_bytes` each, the last of which may be shorter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Transmit {
    pub path: Path,
    pub payload: Buffer,
    pub segment_bytes: usize,
}

impl Transmit {
    pub fn datagrams(&self) -> impl Iterator<Item = &[u8]> {
        self.payload.chunks(self.segment_bytes.max(1))
    }

    pub(crate) fn count(&self) -> usize {
        self.payload.len().div_ceil(self.segment_bytes.max(1))
    }
}

impl Path {
    /// To an address, from whichever socket is of its family.
    pub fn udp(remote: SocketAddr) -> Self {
        Self::Udp {
            local: None,
            remote,
        }
    }

    /// The address on the other side; only UDP has one.
    pub fn remote(&self) -> Option<SocketAddr> {
        match self {
            Self::Udp { remote, .. } => Some(*remote),
            Self::Carrier(_) | Self::Relay(_) => None,
        }
    }

    /// What limits and cookies are counted by: the address, or one made up for each carrier and channel, in a block that
    /// no host has (RFC 6666).
    pub(crate) fn source(&self) -> IpAddr {
        let made_up = |kind: u16, number: u32| {
            let [a, b, c, d] = number.to_be_bytes();
            let halves = [u16::from_be_bytes([a, b]), u16::from_be_bytes([c, d])];
            Ipv6Addr::new(0x100 + kind, halves[0], halves[1], 0, 0, 0, 0, 0).into()
        };
        match self {
            Self::Udp { remote, .. } => remote.ip(),
            Self::Carrier(CarrierId(number)) => made_up(0, *number),
            Self::Relay(ChannelId(number)) => made_up(1, *number),
        }
    }
}
