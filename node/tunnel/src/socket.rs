//! The UDP sockets of the underlay and their error queues. Errors of the network are counted and reported, never passed on
//! as failures: a send error stops nothing.

use std::io::{self, IoSliceMut};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::AsRawFd;
use std::task::{Context, Poll, ready};

use nix::sys::socket::{
    ControlMessageOwned, MsgFlags, SockaddrStorage, recvmsg, setsockopt, sockopt::Ipv4RecvErr,
    sockopt::Ipv6RecvErr, sockopt::RcvBufForce, sockopt::SndBufForce,
};
use socket2::{Domain, Protocol, Socket, Type};
use tokio::io::ReadBuf;
use tokio::net::UdpSocket;

use crate::error::TunnelError;
use crate::path::{Path, Transmit};
use crate::status::UnderlayCounters;

/// The sockets of one tunnel, one per listen address.
pub(crate) struct Sockets {
    listen: Vec<SocketAddr>,
    sockets: Vec<UdpSocket>,
    /// The socket that is asked first, so that a flood on one can't starve another.
    turn: usize,
    counters: UnderlayCounters,
}

/// What became of a datagram to send.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Sent {
    /// Handed to the kernel, or lost for a reason that waiting would not mend.
    Gone,
    /// The socket's buffer is full.
    Full,
}

impl Sockets {
    /// Binds every address of `listen`; if that is empty, a free port on each family that the host has.
    pub(crate) fn bind(listen: &[SocketAddr]) -> Result<Self, TunnelError> {
        Ok(Self {
            sockets: bind_all(listen)?,
            listen: listen.to_vec(),
            turn: 0,
            counters: UnderlayCounters::default(),
        })
    }

    /// Closes all sockets and binds them again. After an error there are none until the next call succeeds.
    pub(crate) fn rebind(&mut self) -> Result<(), TunnelError> {
        self.sockets.clear();
        self.sockets = bind_all(&self.listen)?;
        Ok(())
    }

    pub(crate) fn is_bound(&self) -> bool {
        !self.sockets.is_empty()
    }

    pub(crate) fn local_addrs(&self) -> Vec<SocketAddr> {
        self.sockets
            .iter()
            .filter_map(|socket| socket.local_addr().ok())
            .collect()
    }

    pub(crate) fn counters(&self) -> UnderlayCounters {
        self.counters
    }

    /// The next datagram of any socket.
    pub(crate) fn poll_receive(
        &mut self,
        cx: &mut Context<'_>,
        buffer: &mut [u8],
    ) -> Poll<(Path, usize)> {
        let count = self.sockets.len();
        for number in (0..count).map(|step| (self.turn + step) % count) {
            let socket = &self.sockets[number];
            for _ in 0..MAX_ERRORS {
                let mut space = ReadBuf::new(buffer);
                match socket.poll_recv_from(cx, &mut space) {
                    Poll::Pending => break,
                    // A pending error of an earlier send; the error queue tells whose.
                    Poll::Ready(Err(_)) => self.counters.receive_errors += 1,
                    Poll::Ready(Ok(remote)) => {
                        self.counters.datagrams_received += 1;
                        self.turn = number + 1;
                        let path = Path::Udp {
                            local: Some(number),
                            remote,
                        };
                        return Poll::Ready((path, space.filled().len()));
                    }
                }
            }
        }
        Poll::Pending
    }

    /// Completes when every socket has room again.
    pub(crate) fn poll_writable(&self, cx: &mut Context<'_>) -> Poll<()> {
        for socket in &self.sockets {
            let _ = ready!(socket.poll_send_ready(cx));
        }
        Poll::Ready(())
    }

    pub(crate) fn send(&mut self, transmit: &Transmit) -> Sent {
        let Path::Udp { local, remote } = transmit.path else {
            self.counters.send_errors += 1;
            return Sent::Gone;
        };
        let Some(socket) = self.socket_for(local, remote) else {
            self.counters.send_errors += 1;
            return Sent::Gone;
        };
        // The first error may belong to an earlier datagram, in which case this one has not been tried.
        for _ in 0..2 {
            match socket.try_send_to(&transmit.payload, remote) {
                Ok(_) => {
                    self.counters.datagrams_sent += 1;
                    return Sent::Gone;
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Sent::Full,
                Err(_) => {}
            }
        }
        self.counters.send_errors += 1;
        Sent::Gone
    }

    /// Addresses of which hosts have said since the last call that no port is open there.
    pub(crate) fn unreachable_ports(&mut self) -> Vec<SocketAddr> {
        let mut refused = Vec::new();
        for socket in &self.sockets {
            for _ in 0..MAX_ERRORS {
                match next_error(socket) {
                    Ok(Some(remote)) => refused.push(remote),
                    Ok(None) => {}
                    Err(_) => break,
                }
            }
        }
        refused.sort_unstable();
        refused.dedup();
        refused
    }

    fn socket_for(&self, local: Option<usize>, remote: SocketAddr) -> Option<&UdpSocket> {
        let same_family = |socket: &&UdpSocket| {
            socket
                .local_addr()
                .is_ok_and(|local| local.is_ipv4() == remote.is_ipv4())
        };
        let named = local.and_then(|number| self.sockets.get(number));
        named
            .filter(same_family)
            .or_else(|| self.sockets.iter().find(same_family))
    }
}

fn bind_all(listen: &[SocketAddr]) -> Result<Vec<UdpSocket>, TunnelError> {
    let bind = |address: SocketAddr| {
        bind_one(address).map_err(|source| TunnelError::Bind { address, source })
    };
    if !listen.is_empty() {
        return listen.iter().copied().map(bind).collect();
    }
    let v4 = bind((Ipv4Addr::UNSPECIFIED, 0).into());
    let v6 = bind((Ipv6Addr::UNSPECIFIED, 0).into());
    match (v4, v6) {
        (Err(error), Err(_)) => Err(error),
        (v4, v6) => Ok(v4.into_iter().chain(v6).collect()),
    }
}

fn bind_one(address: SocketAddr) -> io::Result<UdpSocket> {
    let socket = Socket::new(
        Domain::for_address(address),
        Type::DGRAM,
        Some(Protocol::UDP),
    )?;
    socket.set_nonblocking(true)?;
    // Best effort: the kernel's own limit (net.core.rmem_max) may be lower.
    let _ = socket.set_recv_buffer_size(SOCKET_BUFFER_BYTES);
    let _ = socket.set_send_buffer_size(SOCKET_BUFFER_BYTES);
    // With CAP_NET_ADMIN the limit does not hold.
    let _ = setsockopt(&socket, RcvBufForce, &SOCKET_BUFFER_BYTES);
    let _ = setsockopt(&socket, SndBufForce, &SOCKET_BUFFER_BYTES);
    if address.is_ipv6() {
        socket.set_only_v6(true)?;
        setsockopt(&socket, Ipv6RecvErr, &true)?;
    } else {
        setsockopt(&socket, Ipv4RecvErr, &true)?;
    }
    socket.bind(&address.into())?;
    UdpSocket::from_std(socket.into())
}

/// The next entry of the error queue: an address whose host refused the port, or `None` for any other error.
fn next_error(socket: &UdpSocket) -> io::Result<Option<SocketAddr>> {
    // Room for the error and the address of the host that reported it.
    let mut control = nix::cmsg_space!([u8; 128]);
    let mut quoted = [0; 64];
    let mut parts = [IoSliceMut::new(&mut quoted)];
    let message = recvmsg::<SockaddrStorage>(
        socket.as_raw_fd(),
        &mut parts,
        Some(&mut control),
        MsgFlags::MSG_ERRQUEUE | MsgFlags::MSG_DONTWAIT,
    )?;
    let refused = message.cmsgs()?.any(|control| match control {
        ControlMessageOwned::Ipv4RecvErr(error, _) | ControlMessageOwned::Ipv6RecvErr(error, _) => {
            error.ee_errno == nix::errno::Errno::ECONNREFUSED as u32
        }
        _ => false,
    });
    let remote = message.address.and_then(|address| socket_addr(&address));
    Ok(remote.filter(|_| refused))
}

fn socket_addr(address: &SockaddrStorage) -> Option<SocketAddr> {
    let v4 = address
        .as_sockaddr_in()
        .map(|v4| SocketAddr::from((v4.ip(), v4.port())));
    let v6 = || {
        address
            .as_sockaddr_in6()
            .map(|v6| SocketAddr::from((v6.ip(), v6.port())))
    };
    v4.or_else(v6)
}

const SOCKET_BUFFER_BYTES: usize = 4 * 1024 * 1024;
/// Errors taken from one socket in one go.
const MAX_ERRORS: usize = 64;

#[cfg(test)]
mod tests {
    use std::future::poll_fn;
    use std::time::Duration;

    use super::*;

    fn closed_port() -> SocketAddr {
        let probe = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
        probe.local_addr().unwrap()
    }

    #[tokio::test]
    async fn a_closed_port_is_reported_and_sending_goes_on() {
        let mut sockets = Sockets::bind(&["127.0.0.1:0".parse().unwrap()]).unwrap();
        let own = sockets.local_addrs()[0];
        let refused = closed_port();
        let transmit = |remote| Transmit {
            path: Path::udp(remote),
            payload: vec![1],
        };
        poll_fn(|cx| sockets.poll_writable(cx)).await;
        assert_eq!(sockets.send(&transmit(refused)), Sent::Gone);
        assert_eq!(sockets.unreachable_ports(), vec![refused]);
        assert_eq!(sockets.send(&transmit(own)), Sent::Gone);
        let mut buffer = [0; 8];
        let received = tokio::time::timeout(
            Duration::from_secs(5),
            poll_fn(|cx| sockets.poll_receive(cx, &mut buffer)),
        );
        let (path, bytes) = received.await.unwrap();
        assert_eq!((path.remote(), bytes), (Some(own), 1));
    }

    #[tokio::test]
    async fn a_taken_port_is_named_in_the_error() {
        let first = Sockets::bind(&["127.0.0.1:0".parse().unwrap()]).unwrap();
        let taken = first.local_addrs()[0];
        let error = Sockets::bind(&[taken]).err().unwrap().to_string();
        assert_eq!(error, format!("binding the UDP socket {taken}"));
    }

    #[tokio::test]
    async fn answers_leave_by_the_socket_that_was_addressed() {
        let mut sockets = Sockets::bind(&[
            "127.0.0.1:0".parse().unwrap(),
            "127.0.0.1:0".parse().unwrap(),
        ])
        .unwrap();
        let other = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
        other
            .set_read_timeout(Some(Duration::from_secs(5)))
            .unwrap();
        let path = Path::Udp {
            local: Some(1),
            remote: other.local_addr().unwrap(),
        };
        poll_fn(|cx| sockets.poll_writable(cx)).await;
        sockets.send(&Transmit {
            path,
            payload: vec![1],
        });
        let (_, from) = other.recv_from(&mut [0; 8]).unwrap();
        assert_eq!(from, sockets.local_addrs()[1]);
    }
}
