//! The first routers on the way, as traceroute(8) finds them: datagrams that may live for a few hops, and the complaints about
//! them, which the kernel keeps for their socket. It needs no privilege, and finds nothing where routers keep silent.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::os::fd::AsRawFd;
use std::time::Duration;

use futures_util::future::join_all;
use nix::sys::socket::sockopt::Ipv4RecvErr;
use nix::sys::socket::{ControlMessageOwned, MsgFlags, SockaddrIn, recvmsg, setsockopt};
use tokio::io::Interest;
use tokio::net::UdpSocket;
use tokio::time::timeout;

/// The routers at the first [`MAX_HOPS`] hops towards an address, the nearest first; those that say nothing are left out.
pub(crate) async fn first_hops(to: SocketAddr) -> Vec<Ipv4Addr> {
    if !to.is_ipv4() {
        return Vec::new();
    }
    let asked = join_all((1..=MAX_HOPS).map(|hops| hop(to, hops))).await;
    asked.into_iter().flatten().collect()
}

async fn hop(to: SocketAddr, hops: u32) -> Option<Ipv4Addr> {
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).await.ok()?;
    setsockopt(&socket, Ipv4RecvErr, &true).ok()?;
    socket.set_ttl(hops).ok()?;
    socket.connect(to).await.ok()?;
    // A hub that is nearer than this drops it: it is neither of its protocols.
    socket.send(&[0]).await.ok()?;
    let complaint = socket.async_io(Interest::ERROR, || complaint(&socket));
    timeout(ANSWER_LIMIT, complaint).await.ok()?.ok()
}

/// Who complained about a datagram of this socket.
fn complaint(socket: &UdpSocket) -> io::Result<Ipv4Addr> {
    let mut space = nix::cmsg_space!(nix::libc::sock_extended_err, nix::libc::sockaddr_in);
    let mut payload = [0; 64];
    let mut parts = [io::IoSliceMut::new(&mut payload)];
    let message = recvmsg::<SockaddrIn>(
        socket.as_raw_fd(),
        &mut parts,
        Some(&mut space),
        MsgFlags::MSG_ERRQUEUE | MsgFlags::MSG_DONTWAIT,
    )?;
    let found = message.cmsgs()?.find_map(|it| match it {
        ControlMessageOwned::Ipv4RecvErr(_, Some(from)) => {
            Some(Ipv4Addr::from(u32::from_be(from.sin_addr.s_addr)))
        }
        _ => None,
    });
    found.ok_or_else(|| io::ErrorKind::InvalidData.into())
}

/// A site's own routers and the carrier's first one.
const MAX_HOPS: u32 = 5;
const ANSWER_LIMIT: Duration = Duration::from_millis(1_500);
