//! Where the kernel would send a packet, and the routes that addresses bring with them, as rtnetlink(7) tells and sets them. It
//! takes none away.

use std::collections::BTreeSet;
use std::io;
use std::net::IpAddr;

use ipnet::IpNet;
use nix::errno::Errno;
use nix::sys::socket::SockProtocol;

use super::{Attributes, Message, NLM_F_ACK, NLM_F_CREATE, Netlink, array};

/// Those of these addresses at which this machine itself would be reached. Whether one can be bound says nothing of that: a
/// sysctl allows it for all addresses.
///
/// # Errors
/// The kernel could not be asked; then nothing is known of any.
pub fn local_addresses(asked: &BTreeSet<IpAddr>) -> io::Result<BTreeSet<IpAddr>> {
    if asked.is_empty() {
        return Ok(BTreeSet::new());
    }
    let mut netlink = Netlink::open(SockProtocol::NetlinkRoute)?;
    let mut local = BTreeSet::new();
    for address in asked {
        if is_local(&mut netlink, *address)? {
            local.insert(*address);
        }
    }
    Ok(local)
}

/// Puts back the route to the network of an interface's address, as the kernel made it with the address. False if it was there.
/// What somebody has put in its place stays: behind it in IPv4, and before it in IPv6 if it has the same metric.
pub(crate) fn give(netlink: &mut Netlink, index: u32, address: IpNet) -> io::Result<bool> {
    if address.addr().is_ipv4() && address.prefix_len() == address.max_prefix_len() {
        // The kernel makes none.
        return Ok(false);
    }
    match netlink.ask(addition(index, address), |_| {}) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(false),
        // An interface without IPv6, too short for it perhaps, is none to IPv6. Whether it is gone others say.
        Err(error) if error.raw_os_error() == Some(Errno::ENODEV as i32) => {
            Err(io::Error::other(error))
        }
        Err(error) => Err(error),
    }
}

/// The network to which a route leads that somebody was told of: the beginning of the message is enough. None for the default
/// route.
pub(crate) fn destination(told: &[u8]) -> Option<IpNet> {
    let [_, prefix_len, ..] = array::<RTMSG_BYTES>(told, 0)?;
    let octets = Attributes(told.get(RTMSG_BYTES..)?).find(RTA_DST)?;
    let ip = match octets.len() {
        4 => IpAddr::from(array::<4>(octets, 0)?),
        _ => IpAddr::from(array::<16>(octets, 0)?),
    };
    IpNet::new(ip, prefix_len).ok()
}

fn addition(index: u32, address: IpNet) -> Message {
    let (family, scope) = match address {
        IpNet::V4(_) => (AF_INET, RT_SCOPE_LINK),
        IpNet::V6(_) => (AF_INET6, RT_SCOPE_UNIVERSE),
    };
    let mut header = [0; RTMSG_BYTES];
    header[..2].copy_from_slice(&[family, address.prefix_len()]);
    header[4..8].copy_from_slice(&[RT_TABLE_MAIN, RTPROT_KERNEL, scope, RTN_UNICAST]);
    let mut message = Message::new(RTM_NEWROUTE, NLM_F_ACK | NLM_F_CREATE).header(&header);
    match address {
        IpNet::V4(net) => {
            message.attribute(RTA_DST, &net.network().octets());
            message.attribute(RTA_PREFSRC, &net.addr().octets());
        }
        IpNet::V6(net) => {
            message.attribute(RTA_DST, &net.network().octets());
            message.attribute(RTA_PRIORITY, &IPV6_PRIORITY.to_ne_bytes());
        }
    }
    message.attribute(RTA_OIF, &index.to_ne_bytes());
    message
}

fn is_local(netlink: &mut Netlink, address: IpAddr) -> io::Result<bool> {
    let mut is_local = false;
    let answered = netlink.ask(question(address), |route| {
        is_local |= route.get(TYPE_AT) == Some(&RTN_LOCAL);
    });
    match answered {
        Ok(()) => Ok(is_local),
        Err(error) if is_no_route(&error) => Ok(false),
        Err(error) => Err(error),
    }
}

/// linux/rtnetlink.h: `rtmsg` with the whole address as destination.
fn question(address: IpAddr) -> Message {
    let (family, octets) = match address.to_canonical() {
        IpAddr::V4(ip) => (AF_INET, ip.octets().to_vec()),
        IpAddr::V6(ip) => (AF_INET6, ip.octets().to_vec()),
    };
    let bits = if family == AF_INET { 32 } else { 128 };
    let mut header = [0; RTMSG_BYTES];
    header[..2].copy_from_slice(&[family, bits]);
    let mut message = Message::new(RTM_GETROUTE, NLM_F_ACK).header(&header);
    message.attribute(RTA_DST, &octets);
    message
}

/// The kernel's words for no way there (none, `unreachable`, `blackhole`, `prohibit`), and for a family that it does not have.
fn is_no_route(error: &io::Error) -> bool {
    let no_route = [
        Errno::ENETUNREACH,
        Errno::EHOSTUNREACH,
        Errno::EINVAL,
        Errno::EACCES,
        Errno::EOPNOTSUPP,
        Errno::EAFNOSUPPORT,
    ];
    let code = error.raw_os_error();
    no_route.iter().any(|errno| code == Some(*errno as i32))
}

pub(crate) const RTM_NEWROUTE: u16 = 24;
pub(crate) const RTM_DELROUTE: u16 = 25;
const RTM_GETROUTE: u16 = 26;
const RTA_DST: u16 = 1;
const RTA_OIF: u16 = 4;
const RTA_PRIORITY: u16 = 6;
const RTA_PREFSRC: u16 = 7;
const RTMSG_BYTES: usize = 12;
/// Of `rtm_type` in `rtmsg`.
const TYPE_AT: usize = 7;
const RTN_UNICAST: u8 = 1;
const RTN_LOCAL: u8 = 2;
const RT_TABLE_MAIN: u8 = 254;
const RTPROT_KERNEL: u8 = 2;
const RT_SCOPE_UNIVERSE: u8 = 0;
const RT_SCOPE_LINK: u8 = 253;
/// IP6_RT_PRIO_ADDRCONF of net/ip6_route.h. Those of IPv4 have none.
const IPV6_PRIORITY: u32 = 256;
const AF_INET: u8 = 2;
const AF_INET6: u8 = 10;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_destination_of_a_route_is_read_from_the_beginning_of_its_message() {
        for (address, network) in [
            ("100.64.0.1/10", "100.64.0.0/10"),
            ("fd00::1/48", "fd00::/48"),
        ] {
            let whole = addition(3, address.parse().unwrap()).finish(1);
            let body = &whole[16..];
            let network: IpNet = network.parse().unwrap();
            let enough = RTMSG_BYTES + 4 + usize::from(network.max_prefix_len()) / 8;
            assert_eq!(destination(&body[..enough]), Some(network));
            for length in 0..enough {
                assert_eq!(destination(&body[..length]), None, "{length}");
            }
        }
    }
}
