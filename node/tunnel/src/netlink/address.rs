//! Overlay addresses on an interface, as rtnetlink(7) sets and lists them. It takes none away: they go with their interface.

use std::fs;
use std::io;
use std::net::IpAddr;

use ipnet::IpNet;
use nix::errno::Errno;

use super::{Attributes, Message, NLM_F_ACK, NLM_F_CREATE, NLM_F_DUMP, NLM_F_EXCL, Netlink, array};

/// Gives an interface of ours those of the addresses that it has not, usable at once. Where the machine has IPv6 switched off,
/// it is switched on for this interface, and for no other: the overlay's IPv6 leads nowhere else.
///
/// The answer says why there is no IPv6, if there can't be any.
///
/// # Errors
/// The kernel refused an address, or all of them are IPv6 and there can't be any.
pub(crate) fn give(
    netlink: &mut Netlink,
    name: &str,
    index: u32,
    addresses: &[IpNet],
) -> io::Result<Option<String>> {
    let mut refused = None;
    for address in addresses {
        match add(netlink, index, *address) {
            Err(error) if address.addr().is_ipv6() && is_without_ipv6(&error) => {
                let allowed = allow_ipv6(name);
                match allowed.and_then(|()| add(netlink, index, *address)) {
                    Ok(()) => {}
                    Err(error) => refused = Some(error),
                }
            }
            added => added?,
        }
    }
    match refused {
        Some(error) if !addresses.iter().any(|it| it.addr().is_ipv4()) => Err(error),
        refused => Ok(refused.map(|error| error.to_string())),
    }
}

/// The addresses that an interface has.
pub(crate) fn list(netlink: &mut Netlink, index: u32) -> io::Result<Vec<IpNet>> {
    let mut found = Vec::new();
    let question = Message::new(RTM_GETADDR, NLM_F_DUMP).header(&[0; IFADDRMSG_BYTES]);
    netlink.ask(question, |answer| {
        let seen = parse(answer).filter(|(of, _)| *of == index);
        found.extend(seen.map(|(_, address)| address));
    })?;
    Ok(found)
}

/// One that is there already is no error.
fn add(netlink: &mut Netlink, index: u32, address: IpNet) -> io::Result<()> {
    match netlink.ask(addition(index, address), |_| {}) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        added => added,
    }
}

/// Switched off for the interface, or not in the kernel at all. To who has no right to ask the kernel says EPERM.
fn is_without_ipv6(error: &io::Error) -> bool {
    let number = error.raw_os_error().map(Errno::from_raw);
    matches!(
        number,
        Some(Errno::EACCES | Errno::EOPNOTSUPP | Errno::EAFNOSUPPORT)
    )
}

fn allow_ipv6(name: &str) -> io::Result<()> {
    let setting = format!("/proc/sys/net/ipv6/conf/{name}/disable_ipv6");
    let written = fs::write(&setting, "0");
    written.map_err(|error| io::Error::other(format!("writing 0 to {setting}: {error}")))?;
    tracing::info!(interface = %name, "this machine has IPv6 switched off; it is on for the overlay's interface alone");
    Ok(())
}

fn addition(index: u32, address: IpNet) -> Message {
    let (family, octets) = match address.addr() {
        IpAddr::V4(ip) => (AF_INET, ip.octets().to_vec()),
        IpAddr::V6(ip) => (AF_INET6, ip.octets().to_vec()),
    };
    let [a, b, c, d] = index.to_ne_bytes();
    let header = [family, address.prefix_len(), IFA_F_NODAD, 0, a, b, c, d];
    let flags = NLM_F_ACK | NLM_F_CREATE | NLM_F_EXCL;
    let mut message = Message::new(RTM_NEWADDR, flags).header(&header);
    message.attribute(IFA_LOCAL, &octets);
    message.attribute(IFA_ADDRESS, &octets);
    message
}

/// An interface's index, and an address of it.
fn parse(answer: &[u8]) -> Option<(u32, IpNet)> {
    let [_, prefix_len, ..] = array::<IFADDRMSG_BYTES>(answer, 0)?;
    let index = u32::from_ne_bytes(array(answer, INDEX_AT)?);
    let attributes = Attributes(answer.get(IFADDRMSG_BYTES..)?);
    // With IPv6 the local address stands alone only where there is one of the other side, too.
    let octets = attributes
        .find(IFA_LOCAL)
        .or_else(|| attributes.find(IFA_ADDRESS))?;
    let ip = match octets.len() {
        4 => IpAddr::from(array::<4>(octets, 0)?),
        _ => IpAddr::from(array::<16>(octets, 0)?),
    };
    Some((index, IpNet::new(ip, prefix_len).ok()?))
}

const RTM_NEWADDR: u16 = 20;
const RTM_GETADDR: u16 = 22;
const IFA_ADDRESS: u16 = 1;
const IFA_LOCAL: u16 = 2;
/// No duplicate address detection: nobody on the tunnel would answer, and until it was over no service could listen.
const IFA_F_NODAD: u8 = 2;
const AF_INET: u8 = 2;
const AF_INET6: u8 = 10;
/// struct ifaddrmsg: family, prefix, flags, scope, and the index.
const IFADDRMSG_BYTES: usize = 8;
const INDEX_AT: usize = 4;

#[cfg(test)]
mod tests {
    use nix::net::if_::if_nametoindex;
    use nix::sys::socket::SockProtocol;

    use super::*;

    #[test]
    fn loopback_has_its_address() {
        let mut netlink = Netlink::open(SockProtocol::NetlinkRoute).unwrap();
        let loopback = if_nametoindex("lo").unwrap();
        let listed = list(&mut netlink, loopback).unwrap();
        assert!(listed.contains(&"127.0.0.1/8".parse().unwrap()));
        assert_eq!(list(&mut netlink, i32::MAX as u32).unwrap(), []);
    }

    #[test]
    fn an_answer_that_is_cut_short_is_none() {
        let whole = addition(3, "fd00::1/48".parse().unwrap()).finish(1);
        let body = &whole[16..];
        let expected = (3, "fd00::1/48".parse().unwrap());
        assert_eq!(parse(body), Some(expected));
        for length in 0..IFADDRMSG_BYTES + 20 {
            assert_eq!(parse(&body[..length]), None, "{length}");
        }
    }
}
