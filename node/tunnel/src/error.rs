//! Every way in which a tunnel refuses or fails, each naming the attempt and whose fault it was.

use std::io;
use std::net::SocketAddr;

use ipnet::IpNet;

use crate::key::PublicKey;
use crate::path::ChannelId;

/// What went wrong when a tunnel was started or changed.
#[derive(Debug, thiserror::Error)]
pub enum TunnelError {
    #[error("{what}: {count} given, at most {limit} allowed")]
    TooMany {
        what: &'static str,
        count: usize,
        limit: usize,
    },
    #[error("a tunnel needs at least one overlay address")]
    NoAddress,
    #[error("overlay address {0} is not a unicast address")]
    BadAddress(IpNet),
    #[error("{what} is {value}; it must be between {low} and {high}")]
    OutOfRange {
        what: &'static str,
        value: usize,
        low: usize,
        high: usize,
    },
    #[error("interface name {0:?} must have 1 to 15 ASCII letters, digits, '-', '_' or '.'")]
    BadInterfaceName(String),
    #[error("peer endpoint {0} must have a unicast address and a port other than 0")]
    BadEndpoint(SocketAddr),
    #[error("the peer's public key is this node's own")]
    OwnKey,
    #[error("relay channel {} stands in the table twice; each channel belongs to one end of one pair", .0.0)]
    ChannelTwice(ChannelId),
    #[error("{0} is no peer of this tunnel")]
    UnknownPeer(PublicKey),
    #[error("binding the UDP socket {address}")]
    Bind {
        address: SocketAddr,
        #[source]
        source: io::Error,
    },
    #[error("the tunnel has no UDP socket number {0}")]
    NoSocket(usize),
    #[error("somebody has the QUIC side of the UDP socket {0} already")]
    QuicTaken(SocketAddr),
    #[error("creating the TUN interface {name:?} (needs root or CAP_NET_ADMIN)")]
    Interface {
        name: String,
        #[source]
        source: io::Error,
    },
    #[error("starting the tunnel's thread")]
    Thread(#[source] io::Error),
    #[error("{attempt} (the kernel engine needs root, WireGuard's module and nftables)")]
    Kernel {
        attempt: &'static str,
        #[source]
        source: io::Error,
    },
    #[error(
        "the kernel engine has one UDP port for all addresses; listen names the ports {0} and {1}"
    )]
    TwoPorts(u16, u16),
    #[error(
        "the kernel engine has no {0}; use the engine userspace where UDP does not always pass"
    )]
    NotInKernel(&'static str),
    #[error("the operating system gave no random bytes")]
    Random(#[from] getrandom::Error),
    #[error("the tunnel has been shut down")]
    Stopped,
}
