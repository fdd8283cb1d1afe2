//! How long a super-packet may be, an attribute of the link that has no older way to be set. Speaks rtnetlink(7), one request and one
//! answer, and nothing else.

use std::io;
use std::os::fd::AsRawFd;

use nix::sys::socket::{
    AddressFamily, MsgFlags, NetlinkAddr, SockFlag, SockProtocol, SockType, recv, sendto, socket,
};

/// Sets the longest TCP or UDP super-packet, in bytes, that the kernel gives to an interface (Linux 6.0 and later).
pub(super) fn set_super_packet_limit(interface: u32, bytes: u32) -> io::Result<()> {
    let channel = socket(
        AddressFamily::Netlink,
        SockType::Raw,
        SockFlag::SOCK_CLOEXEC,
        SockProtocol::NetlinkRoute,
    )?;
    let message = request(interface, bytes);
    let kernel = NetlinkAddr::new(0, 0);
    sendto(channel.as_raw_fd(), &message, &kernel, MsgFlags::empty())?;
    let mut answer = [0; 256];
    let read = recv(channel.as_raw_fd(), &mut answer, MsgFlags::empty())?;
    acknowledged(&answer[..read])
}

/// `struct nlmsghdr`, `struct ifinfomsg` and one attribute, in the order of the host's bytes.
fn request(interface: u32, bytes: u32) -> [u8; REQUEST_BYTES] {
    let mut message = [0; REQUEST_BYTES];
    let mut put = |at: usize, value: &[u8]| message[at..at + value.len()].copy_from_slice(value);
    put(0, &(REQUEST_BYTES as u32).to_ne_bytes());
    put(4, &RTM_NEWLINK.to_ne_bytes());
    put(6, &(NLM_F_REQUEST | NLM_F_ACK).to_ne_bytes());
    put(8, &SEQUENCE.to_ne_bytes());
    put(20, &interface.to_ne_bytes());
    put(32, &8u16.to_ne_bytes());
    put(34, &IFLA_GSO_MAX_SIZE.to_ne_bytes());
    put(36, &bytes.to_ne_bytes());
    message
}

/// An answer is an error message whose number is 0 for success.
fn acknowledged(answer: &[u8]) -> io::Result<()> {
    let kind = answer
        .get(4..6)
        .map(|it| u16::from_ne_bytes([it[0], it[1]]));
    let number = answer.get(16..20).and_then(|it| it.try_into().ok());
    match (kind, number.map(i32::from_ne_bytes)) {
        (Some(NLMSG_ERROR), Some(0)) => Ok(()),
        (Some(NLMSG_ERROR), Some(number)) => Err(io::Error::from_raw_os_error(-number)),
        _ => Err(io::ErrorKind::InvalidData.into()),
    }
}

const REQUEST_BYTES: usize = 16 + 16 + 8;
const SEQUENCE: u32 = 1;
const RTM_NEWLINK: u16 = 16;
const NLM_F_REQUEST: u16 = 1;
const NLM_F_ACK: u16 = 4;
const NLMSG_ERROR: u16 = 2;
const IFLA_GSO_MAX_SIZE: u16 = 41;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernel_understands_the_question() {
        // Nobody has interface number 0x7fff_ffff, and the kernel says so, instead of calling the message malformed.
        let error = set_super_packet_limit(0x7fff_ffff, 60_000).unwrap_err();
        let expected = [nix::libc::ENODEV, nix::libc::EPERM];
        assert!(expected.contains(&error.raw_os_error().unwrap()), "{error}");
    }

    #[test]
    fn an_answer_that_is_cut_short_is_no_success() {
        for bytes in 0..20 {
            assert!(acknowledged(&[0; 64][..bytes]).is_err());
        }
    }
}
