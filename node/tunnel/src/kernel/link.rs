//! The WireGuard interface as rtnetlink makes it: created, addressed, taken away. It touches no interface that it did not make.

use std::io;

use nix::net::if_::if_nametoindex;
use nix::sys::socket::SockProtocol;

use crate::netlink::link::{
    IFINFOMSG_BYTES, IFLA_IFNAME, RTM_GETLINK, RTM_NEWLINK, header, set_up,
};
use crate::netlink::{Attributes, Message, NLM_F_ACK, NLM_F_CREATE, NLM_F_EXCL, Netlink};

/// One interface; gone when dropped.
pub(super) struct Link {
    netlink: Netlink,
    name: String,
    index: u32,
}

impl Link {
    /// Makes an interface without addresses that is down. One that an earlier run left is replaced.
    ///
    /// # Errors
    /// `Unsupported` if the kernel has no WireGuard; `AlreadyExists` if an interface of this name belongs to somebody else.
    pub(super) fn create(name: &str, mtu_bytes: usize) -> io::Result<Self> {
        let mut netlink = Netlink::open(SockProtocol::NetlinkRoute)?;
        if let Err(error) = netlink.ask(creation(name, mtu_bytes), |_| {}) {
            if error.kind() != io::ErrorKind::AlreadyExists || !is_ours(&mut netlink, name)? {
                return Err(error);
            }
            netlink.ask(deletion(if_nametoindex(name)?), |_| {})?;
            netlink.ask(creation(name, mtu_bytes), |_| {})?;
        }
        let index = if_nametoindex(name)?;
        let link = Self {
            netlink,
            name: name.into(),
            index,
        };
        link.with_alias()
    }

    /// One that exists, or an index that is no interface's.
    #[cfg(test)]
    pub(super) fn found(name: &str, index: u32) -> io::Result<Self> {
        Ok(Self {
            netlink: Netlink::open(SockProtocol::NetlinkRoute)?,
            name: name.into(),
            index,
        })
    }

    pub(super) fn set_up(&mut self, up: bool) -> io::Result<()> {
        set_up(&mut self.netlink, self.index, up)
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// A mark by which a later run knows that nobody else made it.
    fn with_alias(mut self) -> io::Result<Self> {
        let mut alias = Message::new(RTM_NEWLINK, NLM_F_ACK).header(&header(self.index, 0, 0));
        alias.attribute(IFLA_IFALIAS, ALIAS);
        self.netlink.ask(alias, |_| {})?;
        Ok(self)
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        if let Err(error) = self.netlink.ask(deletion(self.index), |_| {}) {
            tracing::warn!(%error, interface = %self.name, "the interface could not be removed");
        }
    }
}

/// Whether an earlier run left an interface of this name.
pub(super) fn is_left(name: &str) -> io::Result<bool> {
    match if_nametoindex(name) {
        Ok(_) => is_ours(&mut Netlink::open(SockProtocol::NetlinkRoute)?, name),
        Err(_) => Ok(false),
    }
}

/// Removes the interface of this name, if an earlier run left it.
pub(super) fn remove_left(name: &str) -> io::Result<()> {
    if !is_left(name)? {
        return Ok(());
    }
    let mut netlink = Netlink::open(SockProtocol::NetlinkRoute)?;
    netlink.ask(deletion(if_nametoindex(name)?), |_| {})
}

fn is_ours(netlink: &mut Netlink, name: &str) -> io::Result<bool> {
    let mut question = Message::new(RTM_GETLINK, NLM_F_ACK).header(&header(0, 0, 0));
    question.text(IFLA_IFNAME, name);
    let mut ours = false;
    netlink.ask(question, |answer| {
        let attributes = Attributes(answer.get(IFINFOMSG_BYTES..).unwrap_or_default());
        let alias = attributes.find(IFLA_IFALIAS);
        ours |= alias.is_some_and(|alias| alias.strip_suffix(&[0]).unwrap_or(alias) == ALIAS);
    })?;
    Ok(ours)
}

fn creation(name: &str, mtu_bytes: usize) -> Message {
    let flags = NLM_F_ACK | NLM_F_CREATE | NLM_F_EXCL;
    let mut message = Message::new(RTM_NEWLINK, flags).header(&header(0, 0, 0));
    message.text(IFLA_IFNAME, name);
    let mtu = u32::try_from(mtu_bytes).unwrap_or(u32::MAX);
    message.attribute(IFLA_MTU, &mtu.to_ne_bytes());
    message.nested(IFLA_LINKINFO, |info| {
        info.text(IFLA_INFO_KIND, "wireguard");
    });
    message
}

fn deletion(index: u32) -> Message {
    Message::new(RTM_DELLINK, NLM_F_ACK).header(&header(index, 0, 0))
}

const ALIAS: &[u8] = b"made by malha";
const RTM_DELLINK: u16 = 17;
const IFLA_MTU: u16 = 4;
const IFLA_LINKINFO: u16 = 18;
const IFLA_IFALIAS: u16 = 20;
const IFLA_INFO_KIND: u16 = 1;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_creation_is_what_ip_link_add_sends() {
        let wanted: Vec<u8> = [
            &72u32.to_ne_bytes()[..],
            &16u16.to_ne_bytes(),
            &0x605u16.to_ne_bytes(),
            &[9, 0, 0, 0, 0, 0, 0, 0],
            &[0; 16],
            // IFLA_IFNAME "wg0", padded; IFLA_MTU 1280.
            &[8, 0, 3, 0, b'w', b'g', b'0', 0],
            &[8, 0, 4, 0, 0, 5, 0, 0],
            // IFLA_LINKINFO, nested, with IFLA_INFO_KIND "wireguard".
            &[20, 0, 18, 0x80, 14, 0, 1, 0],
            b"wireguard\0\0\0",
        ]
        .concat();
        let mut wanted = wanted;
        let length = wanted.len() as u32;
        wanted[0..4].copy_from_slice(&length.to_ne_bytes());
        assert_eq!(*creation("wg0", 1280).finish(9), wanted);
    }
}
