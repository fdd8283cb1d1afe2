//! One UDP socket: batches out by segmentation offload, batches in by receive offload, and its error queue. Where an offload
//! fails, the same datagrams go one by one; nothing is lost to that.

use std::io::{self, IoSliceMut};
use std::net::{SocketAddr, UdpSocket};
use std::os::fd::AsRawFd;
use std::task::{Context, Poll};

use nix::errno::Errno;
use nix::sys::socket::sockopt::{
    Ipv4RecvErr, Ipv6DontFrag, Ipv6RecvErr, RcvBufForce, SndBufForce, UdpGroSegment,
};
use nix::sys::socket::{ControlMessageOwned, MsgFlags, SockaddrStorage, recvmsg, setsockopt};
use quinn_udp::{RecvMeta, UdpSocketState};
use rustix::net::sockopt::{
    Ipv4PathMtuDiscovery, Ipv6PathMtuDiscovery, set_ip_mtu_discover, set_ipv6_mtu_discover,
};
use socket2::{Domain, Protocol, Socket, Type};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

use super::room::Room;
use super::{Envelope, Sent};
use crate::config::Offload;
use crate::path::Transmit;
use crate::status::UnderlayCounters;

pub(super) struct Bound {
    /// Heard of only when it has something to read. The kernel also tells whoever listens to the other side of each datagram that has
    /// left, which would wake the thread as often as it sends; that side is [`Room`]'s.
    socket: AsyncFd<UdpSocket>,
    state: UdpSocketState,
    pub(super) local: SocketAddr,
    /// Whether the kernel and the network card cut batches for us.
    segments: bool,
    room: Room,
}

/// Room for what one call to the kernel can bring.
pub(super) struct Inbox {
    buffers: Vec<Vec<u8>>,
    metas: [RecvMeta; BATCH],
}

impl Bound {
    /// Takes a socket that was [opened](open) and bound. Must be called within the runtime that will use it.
    pub(super) fn adopt(socket: Socket, offload: Offload) -> io::Result<Self> {
        let local = socket.local_addr()?.as_socket();
        let local = local.ok_or(io::ErrorKind::InvalidInput)?;
        let state = UdpSocketState::new((&socket).into())?;
        let_fragment(&socket, local)?;
        if !offload.udp_receive {
            // An old kernel has nothing to turn off.
            let _ = setsockopt(&socket, UdpGroSegment, &false);
        }
        #[allow(deprecated, reason = "nobody else can close a socket of ours")]
        let socket = AsyncFd::with_interest(socket.into(), Interest::READABLE)?;
        Ok(Self {
            local,
            segments: offload.udp_send && state.max_gso_segments() > 1,
            socket,
            state,
            room: Room::new()?,
        })
    }

    pub(super) fn poll_readable(&self, cx: &mut Context<'_>) -> Poll<()> {
        self.socket.poll_read_ready(cx).map(|_| ())
    }

    pub(super) fn poll_writable(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        // What can't be waited for is tried.
        self.room.poll(&self.socket, cx).map(|_| ())
    }

    /// What one call brings, each with its sender and the length of the datagrams in it.
    pub(super) fn receive<'a>(
        &self,
        inbox: &'a mut Inbox,
    ) -> io::Result<impl Iterator<Item = (RecvMeta, &'a [u8])> + use<'a>> {
        let Inbox { buffers, metas } = inbox;
        let count = {
            let mut parts = buffers.iter_mut().map(|buffer| IoSliceMut::new(buffer));
            let mut parts: [IoSliceMut<'_>; BATCH] =
                std::array::from_fn(|_| parts.next().unwrap_or_else(|| IoSliceMut::new(&mut [])));
            self.socket.try_io(Interest::READABLE, |socket| {
                self.state.recv(socket.into(), &mut parts, metas)
            })?
        };
        let filled = buffers.iter().zip(metas.iter()).take(count);
        Ok(filled.map(|(buffer, meta)| (*meta, &buffer[..meta.len])))
    }

    /// Sends what the socket has room for; what is left in `transmit` after [`Sent::Full`] has not been sent.
    pub(super) fn send(
        &mut self,
        remote: SocketAddr,
        transmit: &mut Transmit,
        envelope: Envelope,
        counters: &mut UnderlayCounters,
    ) -> Sent {
        let count = transmit.count();
        if self.segments && count > 1 {
            let whole = envelope.around(remote, &transmit.payload, Some(transmit.segment_bytes));
            match self.send_one(&whole) {
                Ok(()) => {
                    counters.datagrams_sent += count as u64;
                    return Sent::Gone;
                }
                Err(Errno::EAGAIN) => return Sent::Full,
                // The network card can't do it, and says so only now.
                Err(Errno::EIO) => self.segments = false,
                // Too long for the path, or anything else: each one by itself tells.
                Err(_) => {}
            }
        }
        while !transmit.payload.is_empty() {
            let bytes = transmit.segment_bytes.clamp(1, transmit.payload.len());
            match self.send_one(&envelope.around(remote, &transmit.payload[..bytes], None)) {
                Ok(()) => counters.datagrams_sent += 1,
                Err(Errno::EAGAIN) => return Sent::Full,
                Err(_) => counters.send_errors += 1,
            }
            transmit.payload.advance(bytes);
        }
        Sent::Gone
    }

    /// The next entry of the error queue: an address whose host refused the port, or `None` for any other error.
    pub(super) fn next_error(&self) -> io::Result<Option<SocketAddr>> {
        // Room for the error and the address of the host that reported it.
        let mut control = nix::cmsg_space!([u8; 128]);
        let mut quoted = [0; 64];
        let mut parts = [IoSliceMut::new(&mut quoted)];
        let message = recvmsg::<SockaddrStorage>(
            self.socket.as_raw_fd(),
            &mut parts,
            Some(&mut control),
            MsgFlags::MSG_ERRQUEUE | MsgFlags::MSG_DONTWAIT,
        )?;
        let refused = message.cmsgs()?.any(|control| match control {
            ControlMessageOwned::Ipv4RecvErr(error, _)
            | ControlMessageOwned::Ipv6RecvErr(error, _) => {
                error.ee_errno == Errno::ECONNREFUSED as u32
            }
            _ => false,
        });
        let remote = message.address.and_then(|address| socket_addr(&address));
        Ok(remote.filter(|_| refused))
    }

    /// One call to the kernel. The first error may belong to an earlier datagram, in which case this one has not been tried.
    fn send_one(&self, transmit: &quinn_udp::Transmit<'_>) -> Result<(), Errno> {
        let attempt = || {
            let sent = self.state.try_send(self.socket.get_ref().into(), transmit);
            sent.map_err(|error| match error.kind() {
                io::ErrorKind::WouldBlock => Errno::EAGAIN,
                _ => Errno::from_raw(error.raw_os_error().unwrap_or(0)),
            })
        };
        attempt().or_else(|error| match error {
            Errno::EAGAIN | Errno::EIO | Errno::EMSGSIZE | Errno::EINVAL => Err(error),
            _ => attempt(),
        })
    }
}

impl Inbox {
    pub(super) fn new() -> Self {
        Self {
            buffers: (0..BATCH).map(|_| vec![0; DATAGRAMS_MAX_BYTES]).collect(),
            metas: [RecvMeta::default(); BATCH],
        }
    }
}

/// A socket with everything that must be set before it is bound.
pub(super) fn open(address: SocketAddr) -> io::Result<Socket> {
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
    Ok(socket)
}

/// `quinn_udp` forbids fragments, since QUIC looks for the path's MTU by itself. WireGuard doesn't: where its datagram is longer
/// than the path, the kernel, which learns the path's MTU, is to cut it.
fn let_fragment(socket: &Socket, address: SocketAddr) -> io::Result<()> {
    if address.is_ipv6() {
        set_ipv6_mtu_discover(socket, Ipv6PathMtuDiscovery::WANT)?;
        setsockopt(socket, Ipv6DontFrag, &false)?;
    } else {
        set_ip_mtu_discover(socket, Ipv4PathMtuDiscovery::WANT)?;
    }
    Ok(())
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

/// Datagrams, or batches of them, that one call brings.
const BATCH: usize = 16;
/// A batch that the kernel has joined is no longer than a datagram can be.
const DATAGRAMS_MAX_BYTES: usize = 65_535;
const SOCKET_BUFFER_BYTES: usize = 4 * 1024 * 1024;

#[cfg(test)]
mod tests {
    use std::future::poll_fn;
    use std::task::Waker;

    use rustix::net::{SendFlags, sendto};
    use socket2::SockRef;

    use super::*;

    fn bind() -> Bound {
        let address = "127.0.0.1:0".parse().unwrap();
        let socket = open(address).unwrap();
        socket.bind(&SocketAddr::into(address)).unwrap();
        Bound::adopt(socket, Offload::default()).unwrap()
    }

    /// Keeps the kernel from sending: what is to be continued counts as waiting in the buffer.
    fn fill(bound: &Bound) {
        SockRef::from(&bound.socket)
            .set_send_buffer_size(1)
            .unwrap();
        sendto(&bound.socket, &[0; 4000], SendFlags::MORE, &bound.local).unwrap();
    }

    fn empty(bound: &Bound) {
        sendto(&bound.socket, &[0], SendFlags::empty(), &bound.local).unwrap();
    }

    /// Once the runtime has heard all that the kernel has to tell.
    async fn is_writable(bound: &mut Bound) -> bool {
        tokio::task::yield_now().await;
        let mut cx = Context::from_waker(Waker::noop());
        bound.poll_writable(&mut cx).is_ready()
    }

    #[tokio::test]
    async fn a_full_socket_is_waited_for() {
        let mut bound = bind();
        poll_fn(|cx| bound.poll_writable(cx)).await;
        fill(&bound);
        assert!(!is_writable(&mut bound).await);
        empty(&bound);
        poll_fn(|cx| bound.poll_writable(cx)).await;
    }

    #[tokio::test]
    async fn a_full_socket_is_waited_for_after_a_host_refused_a_port() {
        let mut bound = bind();
        poll_fn(|cx| bound.poll_writable(cx)).await;
        let probe = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
        let refused = probe.local_addr().unwrap();
        drop(probe);
        sendto(&bound.socket, &[0], SendFlags::empty(), &refused).unwrap();
        let _told = bound.socket.ready(Interest::ERROR).await.unwrap();
        // The first call tells the error, and not that of a datagram of its own.
        let told = bound.socket.get_ref().take_error().unwrap();
        assert_eq!(told.unwrap().kind(), io::ErrorKind::ConnectionRefused);
        fill(&bound);
        assert!(
            !is_writable(&mut bound).await,
            "with the error in the queue"
        );
        assert_eq!(bound.next_error().unwrap(), Some(refused));
        assert!(!is_writable(&mut bound).await, "without it");
        empty(&bound);
        poll_fn(|cx| bound.poll_writable(cx)).await;
    }
}
