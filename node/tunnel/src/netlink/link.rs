//! Whether an interface is up, and under which name, as rtnetlink(7) tells and sets it. It knows no kind of interface.

use std::io;

use super::{Attributes, Message, NLM_F_ACK, Netlink, array};

/// An interface as the kernel has it.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Seen {
    pub(crate) name: String,
    pub(crate) is_up: bool,
}

/// # Errors
/// ENODEV: there is no interface of this index.
pub(crate) fn look(netlink: &mut Netlink, index: u32) -> io::Result<Seen> {
    let question = Message::new(RTM_GETLINK, NLM_F_ACK).header(&header(index, 0, 0));
    let mut seen = None;
    netlink.ask(question, |answer| seen = parse(answer))?;
    seen.ok_or_else(|| io::ErrorKind::InvalidData.into())
}

pub(crate) fn set_up(netlink: &mut Netlink, index: u32, up: bool) -> io::Result<()> {
    let header = header(index, if up { IFF_UP } else { 0 }, IFF_UP);
    netlink.ask(Message::new(RTM_NEWLINK, NLM_F_ACK).header(&header), |_| {})
}

/// struct ifinfomsg: family, type, index, flags, and which of the flags are meant.
pub(crate) fn header(index: u32, flags: u32, meant: u32) -> [u8; IFINFOMSG_BYTES] {
    let mut header = [0; IFINFOMSG_BYTES];
    header[4..8].copy_from_slice(&index.to_ne_bytes());
    header[FLAGS_AT..FLAGS_AT + 4].copy_from_slice(&flags.to_ne_bytes());
    header[12..16].copy_from_slice(&meant.to_ne_bytes());
    header
}

fn parse(answer: &[u8]) -> Option<Seen> {
    let flags = u32::from_ne_bytes(array(answer, FLAGS_AT)?);
    let name = Attributes(answer.get(IFINFOMSG_BYTES..)?).find(IFLA_IFNAME)?;
    let name = name.strip_suffix(&[0]).unwrap_or(name);
    Some(Seen {
        name: String::from_utf8_lossy(name).into_owned(),
        is_up: flags & IFF_UP != 0,
    })
}

pub(crate) const RTM_NEWLINK: u16 = 16;
pub(crate) const RTM_GETLINK: u16 = 18;
pub(crate) const IFLA_IFNAME: u16 = 3;
pub(crate) const IFINFOMSG_BYTES: usize = 16;
const FLAGS_AT: usize = 8;
const IFF_UP: u32 = 1;

#[cfg(test)]
mod tests {
    use nix::net::if_::if_nametoindex;
    use nix::sys::socket::SockProtocol;

    use super::*;

    #[test]
    fn an_interface_is_seen_and_one_that_is_not_there_is_told_from_it() {
        let mut netlink = Netlink::open(SockProtocol::NetlinkRoute).unwrap();
        let loopback = if_nametoindex("lo").unwrap();
        let seen = look(&mut netlink, loopback).unwrap();
        let lo = Seen {
            name: "lo".into(),
            is_up: true,
        };
        assert_eq!(seen, lo);
        let absent = look(&mut netlink, i32::MAX as u32).unwrap_err();
        assert_eq!(absent.raw_os_error(), Some(nix::libc::ENODEV));
    }

    #[test]
    fn an_answer_that_is_cut_short_is_none() {
        for length in 0..IFINFOMSG_BYTES {
            assert_eq!(parse(&[0; IFINFOMSG_BYTES][..length]), None);
        }
    }
}
