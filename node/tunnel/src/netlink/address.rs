//! Overlay addresses on an interface, as rtnetlink(7) sets them. It takes none away: they go with their interface.

use std::io;
use std::net::IpAddr;

use ipnet::IpNet;

use super::{Message, NLM_F_ACK, NLM_F_CREATE, NLM_F_EXCL, Netlink};

/// Adds an address that is usable at once.
pub(crate) fn add(netlink: &mut Netlink, index: u32, address: IpNet) -> io::Result<()> {
    netlink.ask(addition(index, address), |_| {})
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

const RTM_NEWADDR: u16 = 20;
const IFA_ADDRESS: u16 = 1;
const IFA_LOCAL: u16 = 2;
/// No duplicate address detection: nobody on the tunnel would answer, and until it was over no service could listen.
const IFA_F_NODAD: u8 = 2;
const AF_INET: u8 = 2;
const AF_INET6: u8 = 10;
