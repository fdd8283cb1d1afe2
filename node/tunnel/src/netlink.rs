//! The kernel's netlink sockets (RFC 3549): messages of nested attributes, asked and answered one at a time. It knows no
//! family's meaning. Messages may carry keys, so their bytes are wiped.

pub(crate) mod address;
pub(crate) mod connections;
pub(crate) mod link;
pub(crate) mod route;

use std::io;
use std::os::fd::{AsRawFd, OwnedFd};

use nix::sys::socket::{
    AddressFamily, MsgFlags, NetlinkAddr, SockFlag, SockProtocol, SockType, bind, recv, send,
    setsockopt, socket, sockopt,
};
use nix::sys::time::TimeVal;
use zeroize::Zeroizing;

/// A request under construction.
pub(crate) struct Message {
    bytes: Zeroizing<Vec<u8>>,
}

/// One socket of one family.
pub(crate) struct Netlink {
    socket: OwnedFd,
    sequence: u32,
    buffer: Zeroizing<Vec<u8>>,
}

/// The attributes of an answer, in order. What does not fit its length ends them.
#[derive(Clone, Copy)]
pub(crate) struct Attributes<'a>(pub(crate) &'a [u8]);

impl Message {
    pub(crate) fn new(kind: u16, flags: u16) -> Self {
        // Room for a peer with its allowed IPs: a vector that grows leaves copies of keys behind.
        let mut bytes = Zeroizing::new(Vec::with_capacity(MESSAGE_MAX_BYTES));
        bytes.extend([0; 4]);
        bytes.extend(kind.to_ne_bytes());
        bytes.extend((flags | NLM_F_REQUEST).to_ne_bytes());
        bytes.extend([0; 8]);
        Self { bytes }
    }

    /// The family's own header.
    pub(crate) fn header(mut self, header: &[u8]) -> Self {
        self.bytes.extend(header);
        self
    }

    pub(crate) fn attribute(&mut self, kind: u16, payload: &[u8]) {
        self.measured(kind, |message| message.bytes.extend(payload));
    }

    pub(crate) fn text(&mut self, kind: u16, text: &str) {
        self.measured(kind, |message| {
            message.bytes.extend(text.as_bytes());
            message.bytes.push(0);
        });
    }

    pub(crate) fn nested(&mut self, kind: u16, fill: impl FnOnce(&mut Self)) {
        self.measured(kind | NLA_F_NESTED, fill);
    }

    fn measured(&mut self, kind: u16, fill: impl FnOnce(&mut Self)) {
        let start = self.bytes.len();
        self.bytes.extend([0; 2]);
        self.bytes.extend(kind.to_ne_bytes());
        fill(self);
        // An attribute longer than its length field would be refused by the kernel, never misread: the sum would not fit.
        let length = u16::try_from(self.bytes.len() - start).unwrap_or(u16::MAX);
        self.bytes[start..start + 2].copy_from_slice(&length.to_ne_bytes());
        while !self.bytes.len().is_multiple_of(4) {
            self.bytes.push(0);
        }
    }

    /// The bytes for the wire.
    pub(crate) fn finish(mut self, sequence: u32) -> Zeroizing<Vec<u8>> {
        let length = u32::try_from(self.bytes.len()).unwrap_or(u32::MAX);
        self.bytes[0..4].copy_from_slice(&length.to_ne_bytes());
        self.bytes[8..12].copy_from_slice(&sequence.to_ne_bytes());
        self.bytes
    }
}

impl Netlink {
    pub(crate) fn open(family: SockProtocol) -> io::Result<Self> {
        let socket = open(family, SockFlag::empty(), 0)?;
        setsockopt(
            &socket,
            sockopt::ReceiveTimeout,
            &TimeVal::new(ANSWER_LIMIT_S, 0),
        )?;
        Ok(Self {
            socket,
            sequence: 0,
            buffer: Zeroizing::new(vec![0; DATAGRAM_MAX_BYTES]),
        })
    }

    /// Sends a request and hands each answer, without netlink's own header, to `take`, until the kernel says that it is done.
    ///
    /// # Errors
    /// The kernel's own refusal; `TimedOut` if it stays silent.
    pub(crate) fn ask(&mut self, message: Message, mut take: impl FnMut(&[u8])) -> io::Result<()> {
        self.sequence = self.sequence.wrapping_add(1);
        let bytes = message.finish(self.sequence);
        send(self.socket.as_raw_fd(), &bytes, MsgFlags::empty())?;
        for _ in 0..MAX_ANSWERS {
            let received = recv(self.socket.as_raw_fd(), &mut self.buffer, MsgFlags::empty());
            let length = received.map_err(|error| match error {
                nix::Error::EAGAIN => io::ErrorKind::TimedOut.into(),
                error => io::Error::from(error),
            })?;
            for (header, payload) in messages(&self.buffer[..length]) {
                if header.sequence != self.sequence {
                    continue;
                }
                match header.kind {
                    NLMSG_DONE => return Ok(()),
                    NLMSG_ERROR => return outcome(payload),
                    _ => take(payload),
                }
            }
        }
        Err(io::Error::other("netlink did not come to an end"))
    }
}

/// A socket that hears what is told to these groups. It never blocks.
pub(crate) fn listen(family: SockProtocol, groups: &[u32]) -> io::Result<OwnedFd> {
    let groups = groups.iter().fold(0, |all, group| all | 1 << (group - 1));
    open(family, SockFlag::SOCK_NONBLOCK, groups)
}

/// The messages in a datagram: kind, sequence and what follows netlink's header.
pub(crate) fn messages(mut datagram: &[u8]) -> impl Iterator<Item = (Header, &[u8])> {
    std::iter::from_fn(move || {
        let length = usize::try_from(u32::from_ne_bytes(array(datagram, 0)?)).ok()?;
        let header = Header {
            kind: u16::from_ne_bytes(array(datagram, 4)?),
            sequence: u32::from_ne_bytes(array(datagram, 8)?),
        };
        let payload = datagram.get(HEADER_BYTES..length)?;
        datagram = datagram.get(length.next_multiple_of(4)..).unwrap_or(&[]);
        Some((header, payload))
    })
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Header {
    pub(crate) kind: u16,
    pub(crate) sequence: u32,
}

impl<'a> Iterator for Attributes<'a> {
    type Item = (u16, &'a [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        let length = usize::from(u16::from_ne_bytes(array(self.0, 0)?));
        let kind = u16::from_ne_bytes(array(self.0, 2)?) & ATTRIBUTE_KIND_MASK;
        let payload = self.0.get(ATTRIBUTE_HEADER_BYTES..length)?;
        self.0 = self.0.get(length.next_multiple_of(4)..).unwrap_or(&[]);
        Some((kind, payload))
    }
}

impl<'a> Attributes<'a> {
    pub(crate) fn find(mut self, kind: u16) -> Option<&'a [u8]> {
        self.find_map(|(found, payload)| (found == kind).then_some(payload))
    }
}

/// `N` bytes at an offset, if there are that many.
pub(crate) fn array<const N: usize>(bytes: &[u8], at: usize) -> Option<[u8; N]> {
    bytes.get(at..at.checked_add(N)?)?.try_into().ok()
}

fn open(family: SockProtocol, flags: SockFlag, groups: u32) -> io::Result<OwnedFd> {
    let flags = flags | SockFlag::SOCK_CLOEXEC;
    let socket = socket(AddressFamily::Netlink, SockType::Raw, flags, family)?;
    bind(socket.as_raw_fd(), &NetlinkAddr::new(0, groups))?;
    Ok(socket)
}

fn outcome(payload: &[u8]) -> io::Result<()> {
    match array(payload, 0).map(i32::from_ne_bytes) {
        Some(0) => Ok(()),
        Some(error) => Err(io::Error::from_raw_os_error(error.saturating_neg())),
        None => Err(io::ErrorKind::InvalidData.into()),
    }
}

pub(crate) const NLM_F_REQUEST: u16 = 0x1;
pub(crate) const NLM_F_ACK: u16 = 0x4;
pub(crate) const NLM_F_DUMP: u16 = 0x300;
pub(crate) const NLM_F_EXCL: u16 = 0x200;
pub(crate) const NLM_F_CREATE: u16 = 0x400;
pub(crate) const NLA_F_NESTED: u16 = 0x8000;
const NLMSG_ERROR: u16 = 2;
const NLMSG_DONE: u16 = 3;
pub(crate) const HEADER_BYTES: usize = 16;
const ATTRIBUTE_HEADER_BYTES: usize = 4;
/// Without the bits that say "nested" and "network byte order".
const ATTRIBUTE_KIND_MASK: u16 = 0x3fff;
/// Larger than anything that is sent here.
const MESSAGE_MAX_BYTES: usize = 64 * 1024;
/// The kernel's dumps come in pieces of at most 32 KiB.
pub(crate) const DATAGRAM_MAX_BYTES: usize = 64 * 1024;
/// Datagrams of one answer: more than any table of peers needs.
const MAX_ANSWERS: usize = 65_536;
const ANSWER_LIMIT_S: i64 = 5;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attributes_come_back_as_they_went() {
        let mut message = Message::new(7, NLM_F_ACK).header(&[1, 2, 3, 4]);
        message.text(1, "wg0");
        message.nested(2, |inner| inner.attribute(3, &[9]));
        let bytes = message.finish(5);
        let (header, payload) = messages(&bytes).next().unwrap();
        assert_eq!((header.kind, header.sequence), (7, 5));
        let attributes = Attributes(&payload[4..]);
        assert_eq!(attributes.find(1), Some(&b"wg0\0"[..]));
        let inner = Attributes(attributes.find(2).unwrap());
        assert_eq!(inner.find(3), Some(&[9][..]));
        assert_eq!(messages(&bytes).count(), 1);
    }

    #[test]
    fn lengths_that_lie_end_the_reading() {
        for length in [0u16, 3, 9, u16::MAX] {
            let mut bytes = vec![0; 8];
            bytes[0..2].copy_from_slice(&length.to_ne_bytes());
            assert_eq!(Attributes(&bytes).count(), 0, "{length}");
        }
        assert_eq!(messages(&[0; 64]).count(), 0);
        assert_eq!(messages(&[255; 64]).count(), 0);
    }

    #[test]
    fn the_kernel_answers() {
        let mut netlink = Netlink::open(SockProtocol::NetlinkRoute).unwrap();
        let mut links = 0;
        // RTM_GETLINK with an empty ifinfomsg lists all interfaces.
        let list = Message::new(18, NLM_F_DUMP).header(&[0; 16]);
        netlink.ask(list, |_| links += 1).unwrap();
        assert!(links > 0);
    }
}
