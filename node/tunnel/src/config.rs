//! What a tunnel and its peers are told to be, checked before use. It never changes a running tunnel.

use std::net::SocketAddr;
use std::ops::RangeInclusive;
use std::sync::Arc;

use ipnet::IpNet;

use crate::error::TunnelError;
use crate::keeper::Keeper;
use crate::key::{PresharedKey, PrivateKey, PublicKey};
use crate::relay::RelayGrant;
use crate::shard::MAX_SHARDS;

/// What a tunnel is: its key, its addresses on both sides, and its limits.
#[derive(Debug, Clone)]
pub struct TunnelConfig {
    pub private_key: PrivateKey,
    /// UDP addresses of the underlay. The first of each family sends to peers that have not been heard from; answers
    /// leave by the socket on which the peer was heard. Empty means all addresses of each family that the host has, at
    /// `wished_ports`. The `kernel` engine takes the port only, which must be one, and listens on it at every address.
    pub listen: Vec<SocketAddr>,
    /// Where an empty `listen` means; only if they are free, each time that sockets are bound.
    pub wished_ports: WishedPorts,
    /// This node's overlay addresses. Their prefix lengths say what is on the overlay: the engines with an
    /// interface route these prefixes into the tunnel.
    pub addresses: Vec<IpNet>,
    /// Largest IP packet inside the tunnel.
    pub mtu_bytes: usize,
    /// Name of the interface that the engines `userspace` and `kernel` make.
    pub interface: String,
    /// Most TCP connections at a time, those in TIME-WAIT included; only the `netstack` engine counts them.
    pub max_connections: usize,
    /// Largest receive buffer of a connection, and send buffer of the same size; only in the `netstack` engine. With many
    /// connections new ones get smaller buffers.
    pub connection_buffer_bytes: usize,
    /// Which batches are given to the kernel whole, and taken from it whole.
    pub offload: Offload,
    /// Threads among which the `userspace` engine spreads its peers, 1 to 16; `None` means 1 on a machine with fewer than four
    /// cores, half of the cores on a larger one, and never more than 8. The other engines don't look at it.
    pub shards: Option<usize>,
    /// Who keeps the TUN device and the listening sockets of the `userspace` engine for the next start. Without one they close with
    /// the tunnel.
    pub keeper: Option<Arc<dyn Keeper>>,
    /// Whether the keeper keeps the UDP sockets of the engines `userspace` and `netstack`, too. Not for a tunnel that is to be
    /// rebound: its own kept sockets would be in its way.
    pub keeps_datagrams: bool,
}

/// UDP ports, one for each family; 0 means any free one. The `kernel` engine, which has one for both, takes IPv4's, or else
/// IPv6's.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct WishedPorts {
    pub ipv4: u16,
    pub ipv6: u16,
}

/// What the kernel may cut and join for us. All of it falls back by itself where a kernel or a driver can't; to turn it off is
/// for those that can't and don't say so.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Offload {
    /// UDP segmentation: several datagrams in one call (Linux 4.18).
    pub udp_send: bool,
    /// UDP receive offload: several datagrams from one call (Linux 5.0).
    pub udp_receive: bool,
    /// TCP super-packets to and from the TUN device.
    pub tun_tcp: bool,
    /// UDP super-packets to and from the TUN device (Linux 6.2); only together with `tun_tcp`.
    pub tun_udp: bool,
}

/// One other node, and what it may send to this one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PeerConfig {
    pub public_key: PublicKey,
    pub preshared_key: Option<PresharedKey>,
    /// Where the peer may be; tried in turn with handshakes until one answers. Empty means that the peer dials us.
    pub endpoints: Vec<SocketAddr>,
    /// Where else the peer may be, as observed and not as declared: at most 16. They are tried beside the fallback, and
    /// a change of them starts a burst of probes, so that both sides open their NATs at the same time.
    pub candidates: Vec<SocketAddr>,
    /// The way through a hub that stays open while no direct one is proven. Only between nodes that both have one.
    pub relay: Option<RelayGrant>,
    /// Somebody will attach a carrier when this peer falls silent: it is probed, and its silence reported within seconds.
    /// Only for peers that answer probes, so not for plain WireGuard.
    pub carrier_possible: bool,
    /// Overlay addresses that belong to this peer. An exact prefix belongs to the peer to which it was given last.
    pub allowed_ips: Vec<IpNet>,
    /// Seconds between keepalives. Give it only on the side that dials, otherwise both sides start handshakes.
    pub keepalive_s: Option<u16>,
    /// What the peer may open towards this node. Empty means nothing; answers to what this node opened always pass.
    pub ingress: Vec<Allow>,
}

/// One permission of a peer to open something towards this node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Allow {
    pub protocol: Protocol,
    /// Destination ports; ignored for [`Protocol::Icmp`], which means echo requests.
    pub ports: RangeInclusive<u16>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Protocol {
    Tcp,
    Udp,
    Icmp,
}

impl TunnelConfig {
    /// A tunnel with default limits on free UDP ports.
    pub fn new(private_key: PrivateKey, addresses: Vec<IpNet>) -> Self {
        Self {
            private_key,
            listen: Vec::new(),
            wished_ports: WishedPorts::default(),
            addresses,
            mtu_bytes: DEFAULT_MTU_BYTES,
            interface: DEFAULT_INTERFACE.into(),
            max_connections: DEFAULT_MAX_CONNECTIONS,
            connection_buffer_bytes: DEFAULT_CONNECTION_BUFFER_BYTES,
            offload: Offload::ON,
            shards: None,
            keeper: None,
            keeps_datagrams: false,
        }
    }

    pub(crate) fn check(&self) -> Result<(), TunnelError> {
        at_most("listen addresses", self.listen.len(), MAX_LISTEN)?;
        at_most("overlay addresses", self.addresses.len(), MAX_ADDRESSES)?;
        if self.addresses.is_empty() {
            return Err(TunnelError::NoAddress);
        }
        for address in &self.addresses {
            let ip = address.addr();
            if ip.is_multicast() || ip.is_unspecified() {
                return Err(TunnelError::BadAddress(*address));
            }
        }
        let ipv6 = self.addresses.iter().any(|net| matches!(net, IpNet::V6(_)));
        let smallest = if ipv6 {
            MIN_MTU_IPV6_BYTES
        } else {
            MIN_MTU_BYTES
        };
        between("mtu_bytes", self.mtu_bytes, smallest, MAX_MTU_BYTES)?;
        between("max_connections", self.max_connections, 1, MAX_CONNECTIONS)?;
        between(
            "connection_buffer_bytes",
            self.connection_buffer_bytes,
            MIN_CONNECTION_BUFFER_BYTES,
            MAX_CONNECTION_BUFFER_BYTES,
        )?;
        between("shards", self.shards.unwrap_or(1), 1, MAX_SHARDS)?;
        let name_fits = (1..=MAX_INTERFACE_NAME_BYTES).contains(&self.interface.len());
        let name_plain = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
        if !name_fits || !self.interface.chars().all(name_plain) || self.interface.starts_with('.')
        {
            return Err(TunnelError::BadInterfaceName(self.interface.clone()));
        }
        Ok(())
    }
}

impl Offload {
    pub const ON: Self = Self {
        udp_send: true,
        udp_receive: true,
        tun_tcp: true,
        tun_udp: true,
    };
    /// One packet, one call.
    pub const OFF: Self = Self {
        udp_send: false,
        udp_receive: false,
        tun_tcp: false,
        tun_udp: false,
    };
}

impl From<bool> for Offload {
    fn from(on: bool) -> Self {
        if on { Self::ON } else { Self::OFF }
    }
}

impl Default for Offload {
    fn default() -> Self {
        Self::ON
    }
}

impl PeerConfig {
    /// A peer that dials us, owns nothing and may open nothing.
    pub fn new(public_key: PublicKey) -> Self {
        Self {
            public_key,
            preshared_key: None,
            endpoints: Vec::new(),
            candidates: Vec::new(),
            relay: None,
            carrier_possible: false,
            allowed_ips: Vec::new(),
            keepalive_s: None,
            ingress: Vec::new(),
        }
    }

    pub(crate) fn check(&self) -> Result<(), TunnelError> {
        at_most("endpoints of a peer", self.endpoints.len(), MAX_ENDPOINTS)?;
        at_most(
            "candidates of a peer",
            self.candidates.len(),
            MAX_CANDIDATES,
        )?;
        at_most(
            "allowed IPs of a peer",
            self.allowed_ips.len(),
            MAX_ALLOWED_IPS,
        )?;
        at_most("ingress rules of a peer", self.ingress.len(), MAX_INGRESS)?;
        for endpoint in self.endpoints.iter().chain(&self.candidates) {
            let ip = endpoint.ip();
            if ip.is_unspecified() || ip.is_multicast() || endpoint.port() == 0 {
                return Err(TunnelError::BadEndpoint(*endpoint));
            }
        }
        Ok(())
    }
}

impl Allow {
    pub fn tcp(ports: RangeInclusive<u16>) -> Self {
        Self {
            protocol: Protocol::Tcp,
            ports,
        }
    }

    pub fn udp(ports: RangeInclusive<u16>) -> Self {
        Self {
            protocol: Protocol::Udp,
            ports,
        }
    }

    /// Echo requests.
    pub fn icmp() -> Self {
        Self {
            protocol: Protocol::Icmp,
            ports: 0..=u16::MAX,
        }
    }

    pub(crate) fn covers(&self, protocol: Protocol, port: u16) -> bool {
        self.protocol == protocol && (protocol == Protocol::Icmp || self.ports.contains(&port))
    }
}

pub(crate) fn at_most(what: &'static str, count: usize, limit: usize) -> Result<(), TunnelError> {
    if count > limit {
        return Err(TunnelError::TooMany { what, count, limit });
    }
    Ok(())
}

fn between(what: &'static str, value: usize, low: usize, high: usize) -> Result<(), TunnelError> {
    if !(low..=high).contains(&value) {
        return Err(TunnelError::OutOfRange {
            what,
            value,
            low,
            high,
        });
    }
    Ok(())
}

/// The smallest link that IPv6 allows (RFC 8200 §5), so it fits behind CGNAT and LTE too.
const DEFAULT_MTU_BYTES: usize = 1280;
const DEFAULT_INTERFACE: &str = "malha0";
const DEFAULT_MAX_CONNECTIONS: usize = 2000;
const DEFAULT_CONNECTION_BUFFER_BYTES: usize = 2 * 1024 * 1024;

const MAX_LISTEN: usize = 16;
const MAX_ADDRESSES: usize = 8;
/// Endpoints of a peer; one with more is refused.
pub const MAX_ENDPOINTS: usize = 8;
const MAX_CANDIDATES: usize = 16;
const MAX_ALLOWED_IPS: usize = 1024;
const MAX_INGRESS: usize = 256;
const MAX_CONNECTIONS: usize = 65_536;
const MIN_MTU_BYTES: usize = 576;
const MIN_MTU_IPV6_BYTES: usize = 1280;
const MAX_MTU_BYTES: usize = 9216;
const MIN_CONNECTION_BUFFER_BYTES: usize = 16 * 1024;
const MAX_CONNECTION_BUFFER_BYTES: usize = 4 * 1024 * 1024;
const MAX_INTERFACE_NAME_BYTES: usize = 15;

#[cfg(test)]
mod tests {
    use super::*;

    fn config() -> TunnelConfig {
        TunnelConfig::new(
            PrivateKey::generate(),
            vec!["100.64.0.1/10".parse().unwrap()],
        )
    }

    #[test]
    fn defaults_are_accepted() {
        config().check().unwrap();
    }

    #[test]
    fn an_ipv6_overlay_refuses_a_link_smaller_than_1280() {
        let mut config = config();
        config.mtu_bytes = 1279;
        config.check().unwrap();
        config.addresses.push("fd00::1/48".parse().unwrap());
        let error = config.check().unwrap_err().to_string();
        assert_eq!(error, "mtu_bytes is 1279; it must be between 1280 and 9216");
    }

    #[test]
    fn hostile_interface_names_are_refused() {
        for name in ["", "..", "a/b", "a b", "sixteen-letters-", "é"] {
            let mut config = config();
            config.interface = name.into();
            assert!(
                matches!(config.check(), Err(TunnelError::BadInterfaceName(_))),
                "{name:?}"
            );
        }
    }

    #[test]
    fn endpoints_that_nobody_can_answer_are_refused() {
        for endpoint in ["0.0.0.0:1", "192.0.2.1:0", "224.0.0.1:1", "[::]:1"] {
            let mut peer = PeerConfig::new(PrivateKey::generate().public_key());
            peer.endpoints.push(endpoint.parse().unwrap());
            assert!(
                matches!(peer.check(), Err(TunnelError::BadEndpoint(_))),
                "{endpoint}"
            );
        }
    }
}
