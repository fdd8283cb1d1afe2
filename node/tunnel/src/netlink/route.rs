//! Where the kernel would send a packet, as rtnetlink(7) tells it. It changes no route.

use std::collections::BTreeSet;
use std::io;
use std::net::IpAddr;

use nix::errno::Errno;
use nix::sys::socket::SockProtocol;

use super::{Message, NLM_F_ACK, Netlink};

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

const RTM_GETROUTE: u16 = 26;
const RTA_DST: u16 = 1;
const RTMSG_BYTES: usize = 12;
/// Of `rtm_type` in `rtmsg`.
const TYPE_AT: usize = 7;
const RTN_LOCAL: u8 = 2;
const AF_INET: u8 = 2;
const AF_INET6: u8 = 10;
