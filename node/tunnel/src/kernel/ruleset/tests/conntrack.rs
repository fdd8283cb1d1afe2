//! The passage of time for the namespace's conntrack: what its entries have left is shortened. No clock is waited for.

use std::os::fd::{AsRawFd, OwnedFd};

use nix::sys::socket::{MsgFlags, SockProtocol, recv, send};

use crate::netlink::{
    Attributes, HEADER_BYTES, Message, NLA_F_NESTED, NLM_F_DUMP, NLM_F_REQUEST, Netlink, array,
    listen,
};

pub(super) struct Conntrack {
    lists: Netlink,
    /// Takes many changes at a time, and hears only of those that failed.
    changes: OwnedFd,
}

impl Conntrack {
    pub(super) fn open() -> Self {
        Self {
            lists: Netlink::open(SockProtocol::NetlinkNetFilter).unwrap(),
            changes: listen(SockProtocol::NetlinkNetFilter, &[]).unwrap(),
        }
    }

    pub(super) fn wait(&mut self, wait_s: u32) {
        let mut changes = Vec::new();
        let list = Message::new(IPCTNL_MSG_CT_GET, NLM_F_DUMP).header(&[0; FAMILY_BYTES]);
        let shorten = |entry: &[u8]| changes.push(change(entry, wait_s));
        self.lists.ask(list, shorten).unwrap();
        for some in changes.chunks(CHANGES_PER_MESSAGE) {
            let fd = self.changes.as_raw_fd();
            send(fd, &some.concat(), MsgFlags::empty()).unwrap();
            let failed = recv(fd, &mut [0; 64], MsgFlags::empty());
            assert_eq!(failed, Err(nix::Error::EAGAIN));
        }
    }
}

/// An entry is found again by its first tuple and its zone.
fn change(entry: &[u8], wait_s: u32) -> Vec<u8> {
    let (family, attributes) = entry.split_at(FAMILY_BYTES);
    let find = |kind| Attributes(attributes).find(kind);
    let left_s = u32::from_be_bytes(array(find(CTA_TIMEOUT).unwrap(), 0).unwrap());
    // It was rounded down.
    let left_s = (left_s + 1).saturating_sub(wait_s);
    let tuple = find(CTA_TUPLE_ORIG).unwrap();
    let zone = find(CTA_ZONE).map(|zone| attribute(CTA_ZONE, zone));
    let body = [
        family,
        &attribute(NLA_F_NESTED | CTA_TUPLE_ORIG, tuple),
        &zone.unwrap_or_default(),
        &attribute(CTA_TIMEOUT, &left_s.to_be_bytes()),
    ];
    let body = body.concat();
    let length = (HEADER_BYTES + body.len()) as u32;
    let kind = [IPCTNL_MSG_CT_NEW, NLM_F_REQUEST].map(u16::to_ne_bytes);
    [&length.to_ne_bytes(), kind.as_flattened(), &[0; 8], &body].concat()
}

fn attribute(kind: u16, payload: &[u8]) -> Vec<u8> {
    let length = 4 + payload.len();
    let head = [length as u16, kind].map(u16::to_ne_bytes);
    let mut bytes = [head.as_flattened(), payload].concat();
    bytes.resize(length.next_multiple_of(4), 0);
    bytes
}

// linux/netfilter/nfnetlink_conntrack.h
const IPCTNL_MSG_CT_NEW: u16 = 1 << 8;
const IPCTNL_MSG_CT_GET: u16 = 1 << 8 | 1;
const CTA_TUPLE_ORIG: u16 = 1;
const CTA_TIMEOUT: u16 = 7;
const CTA_ZONE: u16 = 18;
/// `nfgenmsg`.
const FAMILY_BYTES: usize = 4;
const CHANGES_PER_MESSAGE: usize = 100;
