//! The kernel's TCP connections, as sock_diag(7) lists and ends them. It does not choose which.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use super::{Message, NLM_F_ACK, NLM_F_DUMP, Netlink, array};

/// One that has been established, and has not ended on both sides.
#[derive(Debug, Clone)]
pub(crate) struct Connection {
    pub(crate) local: SocketAddr,
    pub(crate) remote: SocketAddr,
    family: u8,
    /// How the kernel knows it. A cookie is in it, so a later connection of the same ports is another one.
    id: [u8; ID_BYTES],
}

/// The connections of these addresses of ours.
pub(crate) fn list(netlink: &mut Netlink, own: &[IpAddr]) -> io::Result<Vec<Connection>> {
    let mut found = Vec::new();
    // A socket for IPv6 may have a connection of IPv4.
    for family in [AF_INET, AF_INET6] {
        let request = request(SOCK_DIAG_BY_FAMILY, NLM_F_DUMP, family, &[0; ID_BYTES]);
        let listed = netlink.ask(request, |answer| {
            let connection = Connection::parse(answer);
            found.extend(connection.filter(|it| own.contains(&it.local.ip())));
        });
        match listed {
            // A kernel without IPv6.
            Err(error) if family == AF_INET6 && error.kind() == io::ErrorKind::NotFound => {}
            listed => listed?,
        }
    }
    Ok(found)
}

/// Ends a connection at once: our program gets an error, the other side a reset. One that is over already is no error.
pub(crate) fn end(netlink: &mut Netlink, connection: &Connection) -> io::Result<()> {
    let request = request(SOCK_DESTROY, NLM_F_ACK, connection.family, &connection.id);
    match netlink.ask(request, |_| {}) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        ended => ended,
    }
}

/// linux/inet_diag.h: `inet_diag_req_v2`.
fn request(kind: u16, flags: u16, family: u8, id: &[u8; ID_BYTES]) -> Message {
    Message::new(kind, flags)
        .header(&[family, IPPROTO_TCP, 0, 0])
        .header(&STATES.to_ne_bytes())
        .header(id)
}

impl Connection {
    /// linux/inet_diag.h: the start of `inet_diag_msg`.
    fn parse(answer: &[u8]) -> Option<Self> {
        let family = *answer.first()?;
        let id: [u8; ID_BYTES] = array(answer, ID_AT)?;
        let address = |at| {
            let ip = match family {
                AF_INET => IpAddr::from(Ipv4Addr::from(array::<4>(&id, at)?)),
                _ => Ipv6Addr::from(array::<16>(&id, at)?).to_canonical(),
            };
            Some(ip)
        };
        let port = |at| Some(u16::from_be_bytes(array(&id, at)?));
        Some(Self {
            local: (address(SOURCE_AT)?, port(0)?).into(),
            remote: (address(DESTINATION_AT)?, port(2)?).into(),
            family,
            id,
        })
    }
}

const SOCK_DIAG_BY_FAMILY: u16 = 20;
const SOCK_DESTROY: u16 = 21;
const AF_INET: u8 = 2;
const AF_INET6: u8 = 10;
const IPPROTO_TCP: u8 = 6;
/// Bits by the numbers of net/tcp_states.h: established, the two waits for the other side's FIN, the wait for our own, the last
/// acknowledgement, closing. One that only begins is none of them.
const STATES: u32 = 1 << 1 | 1 << 4 | 1 << 5 | 1 << 8 | 1 << 9 | 1 << 11;
const ID_AT: usize = 4;
/// `inet_diag_sockid`: two ports, two addresses of 16 bytes, an interface, and a cookie of 8.
const ID_BYTES: usize = 48;
const SOURCE_AT: usize = 4;
const DESTINATION_AT: usize = 20;

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, TcpStream};

    use nix::sys::socket::SockProtocol;

    use super::*;

    #[test]
    fn a_connection_is_listed_from_both_ends_of_either_family() {
        let mut netlink = Netlink::open(SockProtocol::NetlinkSockDiag).unwrap();
        for (listens, dials) in [("127.0.0.1", "127.0.0.1"), ("::", "127.0.0.1")] {
            let listener = TcpListener::bind((listens, 0)).unwrap();
            let port = listener.local_addr().unwrap().port();
            let near = TcpStream::connect((dials, port)).unwrap();
            let _far = listener.accept().unwrap();
            let own = [dials.parse().unwrap()];
            let listed = list(&mut netlink, &own).unwrap();
            let mut ends: Vec<_> = listed.iter().map(|it| (it.local, it.remote)).collect();
            let near = (near.local_addr().unwrap(), near.peer_addr().unwrap());
            ends.retain(|end| *end == near || *end == (near.1, near.0));
            assert_eq!(ends.len(), 2, "{listed:?}");
            assert_eq!(list(&mut netlink, &[]).unwrap().len(), 0);
        }
    }

    #[test]
    fn an_answer_that_is_cut_short_is_none() {
        assert!(Connection::parse(&[AF_INET; ID_AT + ID_BYTES - 1]).is_none());
    }
}
