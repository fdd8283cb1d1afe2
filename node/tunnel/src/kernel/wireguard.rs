//! WireGuard's generic netlink family (linux/wireguard.h): what is said to the kernel about one interface and its peers, and
//! what it tells. Keys pass through; they are wiped with the message.

use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use ipnet::IpNet;
use nix::sys::socket::SockProtocol;

use crate::key::{PresharedKey, PrivateKey, PublicKey};
use crate::netlink::{Attributes, Message, NLM_F_ACK, NLM_F_DUMP, Netlink, array};

/// What is asked about an interface that runs.
pub(super) trait Device: Send {
    /// Adds a peer, if its allowed IPs are said; a peer that is not there is changed in nothing else.
    fn set_peer(&mut self, key: &PublicKey, change: &PeerChange<'_>) -> io::Result<()>;

    fn look(&mut self) -> io::Result<DeviceSeen>;

    /// Makes the kernel forget from which local address it spoke to each peer.
    fn forget_sources(&mut self) -> io::Result<()>;
}

/// The family's socket.
pub(super) struct WireGuard {
    netlink: Netlink,
    family: u16,
    interface: String,
}

/// What is set on a peer; `None` leaves it as it is.
#[derive(Default)]
pub(super) struct PeerChange<'a> {
    pub(super) remove: bool,
    /// All zeros take the preshared key away.
    pub(super) preshared_key: Option<&'a PresharedKey>,
    pub(super) endpoint: Option<SocketAddr>,
    /// Seconds; 0 means none.
    pub(super) keepalive_s: Option<u16>,
    pub(super) allowed_ips: Option<&'a [IpNet]>,
}

/// What the kernel tells of a peer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct PeerSeen {
    pub(super) endpoint: Option<SocketAddr>,
    /// Since the Unix epoch.
    pub(super) handshake: Option<Duration>,
    pub(super) rx_bytes: u64,
    pub(super) tx_bytes: u64,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct DeviceSeen {
    /// None before it has a private one.
    pub(super) key: Option<PublicKey>,
    pub(super) listen_port: u16,
    pub(super) peers: BTreeMap<PublicKey, PeerSeen>,
}

impl WireGuard {
    /// Speaks about an interface that exists, since only then the module is there.
    pub(super) fn open(interface: &str) -> io::Result<Self> {
        let mut netlink = Netlink::open(SockProtocol::NetlinkGeneric)?;
        let mut question =
            Message::new(GENL_ID_CTRL, NLM_F_ACK).header(&[CTRL_CMD_GETFAMILY, 1, 0, 0]);
        question.text(CTRL_ATTR_FAMILY_NAME, "wireguard");
        let mut family = None;
        netlink.ask(question, |answer| {
            let id = attributes(answer).find(CTRL_ATTR_FAMILY_ID);
            family = family.or(id.and_then(|id| array(id, 0)).map(u16::from_ne_bytes));
        })?;
        Ok(Self {
            netlink,
            family: family.ok_or(io::ErrorKind::Unsupported)?,
            interface: interface.into(),
        })
    }

    pub(super) fn set_device(
        &mut self,
        key: &PrivateKey,
        listen_port: Option<u16>,
    ) -> io::Result<()> {
        let mut message = self.setting();
        message.attribute(WGDEVICE_A_PRIVATE_KEY, key.as_bytes());
        if let Some(port) = listen_port {
            message.attribute(WGDEVICE_A_LISTEN_PORT, &port.to_ne_bytes());
        }
        self.netlink.ask(message, |_| {})
    }

    fn setting(&self) -> Message {
        let header = [WG_CMD_SET_DEVICE, WG_GENL_VERSION, 0, 0];
        let mut message = Message::new(self.family, NLM_F_ACK).header(&header);
        message.text(WGDEVICE_A_IFNAME, &self.interface);
        message
    }
}

impl Device for WireGuard {
    fn set_peer(&mut self, key: &PublicKey, change: &PeerChange<'_>) -> io::Result<()> {
        let mut message = self.setting();
        message.nested(WGDEVICE_A_PEERS, |peers| {
            peers.nested(0, |peer| write_peer(peer, key, change));
        });
        self.netlink.ask(message, |_| {})
    }

    fn look(&mut self) -> io::Result<DeviceSeen> {
        let header = [WG_CMD_GET_DEVICE, WG_GENL_VERSION, 0, 0];
        let mut question = Message::new(self.family, NLM_F_ACK | NLM_F_DUMP).header(&header);
        question.text(WGDEVICE_A_IFNAME, &self.interface);
        let mut seen = DeviceSeen::default();
        self.netlink.ask(question, |answer| {
            read_device(attributes(answer), &mut seen)
        })?;
        Ok(seen)
    }

    fn forget_sources(&mut self) -> io::Result<()> {
        let mut message = self.setting();
        message.attribute(WGDEVICE_A_FWMARK, &[0; 4]);
        self.netlink.ask(message, |_| {})
    }
}

fn write_peer(peer: &mut Message, key: &PublicKey, change: &PeerChange<'_>) {
    peer.attribute(WGPEER_A_PUBLIC_KEY, key.as_bytes());
    let flag = match change.allowed_ips {
        _ if change.remove => WGPEER_F_REMOVE_ME,
        Some(_) => WGPEER_F_REPLACE_ALLOWEDIPS,
        // Otherwise the kernel would make one that owns no address.
        None => WGPEER_F_UPDATE_ONLY,
    };
    peer.attribute(WGPEER_A_FLAGS, &flag.to_ne_bytes());
    if let Some(key) = change.preshared_key {
        peer.attribute(WGPEER_A_PRESHARED_KEY, key.as_bytes());
    }
    if let Some(endpoint) = change.endpoint {
        peer.attribute(WGPEER_A_ENDPOINT, &socket_address(endpoint));
    }
    if let Some(seconds) = change.keepalive_s {
        peer.attribute(WGPEER_A_KEEPALIVE, &seconds.to_ne_bytes());
    }
    let Some(prefixes) = change.allowed_ips else {
        return;
    };
    peer.nested(WGPEER_A_ALLOWEDIPS, |list| {
        for prefix in prefixes {
            list.nested(0, |item| {
                let (family, octets) = match prefix.addr() {
                    IpAddr::V4(ip) => (AF_INET, ip.octets().to_vec()),
                    IpAddr::V6(ip) => (AF_INET6, ip.octets().to_vec()),
                };
                item.attribute(WGALLOWEDIP_A_FAMILY, &family.to_ne_bytes());
                item.attribute(WGALLOWEDIP_A_IPADDR, &octets);
                item.attribute(WGALLOWEDIP_A_CIDR_MASK, &[prefix.prefix_len()]);
            });
        }
    });
}

/// A long list of allowed IPs comes in several messages; those after the first say nothing else of their peer.
fn read_device(device: Attributes<'_>, seen: &mut DeviceSeen) {
    for (kind, payload) in device {
        match kind {
            WGDEVICE_A_PUBLIC_KEY => seen.key = array(payload, 0).map(PublicKey::from_bytes),
            WGDEVICE_A_LISTEN_PORT => {
                seen.listen_port = array(payload, 0).map_or(0, u16::from_ne_bytes);
            }
            WGDEVICE_A_PEERS => {
                let peers = Attributes(payload).map(|(_, peer)| Attributes(peer));
                seen.peers.extend(peers.filter_map(read_peer));
            }
            _ => {}
        }
    }
}

fn read_peer(peer: Attributes<'_>) -> Option<(PublicKey, PeerSeen)> {
    let number = |kind| Some(u64::from_ne_bytes(array(peer.find(kind)?, 0)?));
    let handshake = peer.find(WGPEER_A_LAST_HANDSHAKE).and_then(|time| {
        let seconds = u64::from_ne_bytes(array(time, 0)?);
        let nanoseconds = u64::from_ne_bytes(array(time, 8)?);
        Some(Duration::from_secs(seconds) + Duration::from_nanos(nanoseconds))
    });
    let seen = PeerSeen {
        endpoint: peer.find(WGPEER_A_ENDPOINT).and_then(read_socket_address),
        handshake: handshake.filter(|since| !since.is_zero()),
        rx_bytes: number(WGPEER_A_RX_BYTES)?,
        tx_bytes: number(WGPEER_A_TX_BYTES)?,
    };
    let key = array(peer.find(WGPEER_A_PUBLIC_KEY)?, 0)?;
    Some((PublicKey::from_bytes(key), seen))
}

/// struct sockaddr_in or sockaddr_in6.
fn socket_address(address: SocketAddr) -> Vec<u8> {
    let port = address.port().to_be_bytes();
    match address {
        SocketAddr::V4(v4) => [
            &AF_INET.to_ne_bytes()[..],
            &port,
            &v4.ip().octets(),
            &[0; 8],
        ]
        .concat(),
        SocketAddr::V6(v6) => [
            &AF_INET6.to_ne_bytes()[..],
            &port,
            &[0; 4],
            &v6.ip().octets(),
            &v6.scope_id().to_ne_bytes(),
        ]
        .concat(),
    }
}

fn read_socket_address(bytes: &[u8]) -> Option<SocketAddr> {
    let port = u16::from_be_bytes(array(bytes, 2)?);
    match u16::from_ne_bytes(array(bytes, 0)?) {
        AF_INET => Some((Ipv4Addr::from(array::<4>(bytes, 4)?), port).into()),
        AF_INET6 => Some((Ipv6Addr::from(array::<16>(bytes, 8)?), port).into()),
        _ => None,
    }
}

fn attributes(answer: &[u8]) -> Attributes<'_> {
    Attributes(answer.get(GENLMSGHDR_BYTES..).unwrap_or_default())
}

const GENL_ID_CTRL: u16 = 0x10;
const CTRL_CMD_GETFAMILY: u8 = 3;
const CTRL_ATTR_FAMILY_ID: u16 = 1;
const CTRL_ATTR_FAMILY_NAME: u16 = 2;
const GENLMSGHDR_BYTES: usize = 4;
const WG_GENL_VERSION: u8 = 1;
const WG_CMD_GET_DEVICE: u8 = 0;
const WG_CMD_SET_DEVICE: u8 = 1;
const WGDEVICE_A_IFNAME: u16 = 2;
const WGDEVICE_A_PRIVATE_KEY: u16 = 3;
const WGDEVICE_A_PUBLIC_KEY: u16 = 4;
const WGDEVICE_A_LISTEN_PORT: u16 = 6;
const WGDEVICE_A_FWMARK: u16 = 7;
const WGDEVICE_A_PEERS: u16 = 8;
const WGPEER_A_PUBLIC_KEY: u16 = 1;
const WGPEER_A_PRESHARED_KEY: u16 = 2;
const WGPEER_A_FLAGS: u16 = 3;
const WGPEER_A_ENDPOINT: u16 = 4;
const WGPEER_A_KEEPALIVE: u16 = 5;
const WGPEER_A_LAST_HANDSHAKE: u16 = 6;
const WGPEER_A_RX_BYTES: u16 = 7;
const WGPEER_A_TX_BYTES: u16 = 8;
const WGPEER_A_ALLOWEDIPS: u16 = 9;
const WGPEER_F_REMOVE_ME: u32 = 1;
const WGPEER_F_REPLACE_ALLOWEDIPS: u32 = 2;
const WGPEER_F_UPDATE_ONLY: u32 = 4;
const WGALLOWEDIP_A_FAMILY: u16 = 1;
const WGALLOWEDIP_A_IPADDR: u16 = 2;
const WGALLOWEDIP_A_CIDR_MASK: u16 = 3;
const AF_INET: u16 = 2;
const AF_INET6: u16 = 10;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn socket_addresses_come_back_as_they_went() {
        for text in ["192.0.2.1:51820", "[2001:db8::7]:443"] {
            let address: SocketAddr = text.parse().unwrap();
            assert_eq!(read_socket_address(&socket_address(address)), Some(address));
        }
        assert_eq!(read_socket_address(&[2, 0, 0]), None);
    }

    #[test]
    fn a_peer_is_read_from_the_pieces_of_a_dump() {
        let key = PrivateKey::from_bytes([7; 32]).public_key();
        let mut first = Message::new(0, 0);
        first.attribute(WGDEVICE_A_PUBLIC_KEY, key.as_bytes());
        first.attribute(WGDEVICE_A_LISTEN_PORT, &51820u16.to_ne_bytes());
        first.nested(WGDEVICE_A_PEERS, |peers| {
            peers.nested(0, |peer| {
                peer.attribute(WGPEER_A_PUBLIC_KEY, key.as_bytes());
                peer.attribute(WGPEER_A_RX_BYTES, &148u64.to_ne_bytes());
                peer.attribute(WGPEER_A_TX_BYTES, &92u64.to_ne_bytes());
                let time = [5u64.to_ne_bytes(), 1u64.to_ne_bytes()].concat();
                peer.attribute(WGPEER_A_LAST_HANDSHAKE, &time);
            });
        });
        let mut rest = Message::new(0, 0);
        rest.nested(WGDEVICE_A_PEERS, |peers| {
            peers.nested(0, |peer| {
                peer.attribute(WGPEER_A_PUBLIC_KEY, key.as_bytes())
            });
        });
        let mut seen = DeviceSeen::default();
        for message in [first, rest] {
            read_device(Attributes(&message.finish(1)[16..]), &mut seen);
        }
        assert_eq!((seen.key, seen.listen_port), (Some(key), 51820));
        let peer = PeerSeen {
            endpoint: None,
            handshake: Some(Duration::new(5, 1)),
            rx_bytes: 148,
            tx_bytes: 92,
        };
        assert_eq!(seen.peers, BTreeMap::from([(key, peer)]));
    }

    #[test]
    fn a_peer_is_written_as_the_header_says() {
        let key = PrivateKey::from_bytes([7; 32]).public_key();
        let prefixes = ["10.0.0.2/32".parse().unwrap(), "fd00::/64".parse().unwrap()];
        let change = PeerChange {
            keepalive_s: Some(25),
            allowed_ips: Some(&prefixes),
            ..PeerChange::default()
        };
        let mut message = Message::new(0, 0);
        write_peer(&mut message, &key, &change);
        let bytes = message.finish(1);
        let golden = [
            &[36, 0, 1, 0][..],
            key.as_bytes(),
            &[8, 0, 3, 0, 2, 0, 0, 0],
            &[6, 0, 5, 0, 25, 0, 0, 0],
            // WGPEER_A_ALLOWEDIPS with two items.
            &[72, 0, 9, 0x80],
            &[
                28, 0, 0, 0x80, 6, 0, 1, 0, 2, 0, 0, 0, 8, 0, 2, 0, 10, 0, 0, 2, 5, 0, 3, 0, 32, 0,
                0, 0,
            ],
            &[40, 0, 0, 0x80, 6, 0, 1, 0, 10, 0, 0, 0, 20, 0, 2, 0],
            &[0xfd, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0],
            &[5, 0, 3, 0, 64, 0, 0, 0],
        ]
        .concat();
        // Both items are padded to four bytes inside the list's length.
        assert_eq!(bytes[16..], golden);
    }

    #[test]
    fn a_change_of_a_peer_that_is_not_there_makes_none() {
        let key = PrivateKey::from_bytes([7; 32]).public_key();
        let flags = |change: PeerChange<'_>| {
            let mut message = Message::new(0, 0);
            write_peer(&mut message, &key, &change);
            let flags = Attributes(&message.finish(1)[16..])
                .find(WGPEER_A_FLAGS)
                .map(<[u8]>::to_vec);
            u32::from_ne_bytes(flags.unwrap().try_into().unwrap())
        };
        assert_eq!(flags(PeerChange::default()), 4);
        let removal = PeerChange {
            remove: true,
            ..PeerChange::default()
        };
        assert_eq!(flags(removal), 1);
    }
}
