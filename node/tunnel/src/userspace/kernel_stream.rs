//! TCP connections of the kernel that can only run through our interface, and that die when their address leaves its peer.

use std::future::poll_fn;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsFd, BorrowedFd};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use nix::sys::socket::setsockopt;
use nix::sys::socket::sockopt::IpBindAddressNoPort;
use socket2::{Domain, Protocol, SockRef, Socket, TcpKeepalive, Type};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::oneshot;

use super::{Command, Commands, CutSignal, Opener, WATCHING_SHARD};
use crate::keeper::{Keeper, kept_or_opened, listener_name};
use crate::listener::stopped;
use crate::stream::{BoxStream, Cut, CutHalves, Half, KernelPart, KernelWay, Stream};

pub(crate) struct KernelStream {
    /// `None` once it has been aborted.
    tcp: Option<TcpStream>,
    cut: CutHalves,
    /// As long as it is kept, the tunnel's task knows it.
    signal: CutSignal,
}

pub(crate) struct KernelListener {
    listeners: Vec<Listening>,
    commands: Commands,
    /// A connection whose peer is being looked up; kept here so that a cancelled accept loses nothing.
    arriving: Option<Arriving>,
}

/// One listening socket. It closes when dropped, unless it is kept for the next start.
struct Listening {
    tcp: std::net::TcpListener,
    /// Only from the first accept on: the runtime would wake for every connection, whoever accepts it.
    at_runtime: Option<TcpListener>,
    kept: Option<(Arc<dyn Keeper>, String)>,
}

/// Says until when the connections from an address may live.
#[derive(Clone)]
pub struct SourceWatch(Commands);

struct Arriving {
    tcp: TcpStream,
    remote: SocketAddr,
    signal: oneshot::Receiver<io::Result<CutSignal>>,
}

impl KernelStream {
    pub(super) async fn dial(
        local: IpAddr,
        remote: SocketAddr,
        interface: &str,
        signal: CutSignal,
    ) -> io::Result<Self> {
        let socket = TcpSocket::from_std_stream(outgoing(local, interface)?.into());
        tokio::select! {
            () = signal.cancelled() => Err(io::ErrorKind::ConnectionReset.into()),
            tcp = socket.connect(remote) => {
                let tcp = tcp?;
                tcp.set_nodelay(true)?;
                Ok(Self::new(tcp, signal.clone()))
            }
        }
    }

    fn new(tcp: TcpStream, signal: CutSignal) -> Self {
        Self {
            tcp: Some(tcp),
            cut: CutHalves::new(&signal),
            signal,
        }
    }

    /// The connection, unless it was cut or aborted.
    fn alive(&mut self, half: Half, cx: &mut Context<'_>) -> io::Result<Pin<&mut TcpStream>> {
        if self.cut.poll(half, cx).is_ready() {
            self.abort();
            return Err(io::ErrorKind::ConnectionReset.into());
        }
        let tcp = self.tcp.as_mut().ok_or(io::ErrorKind::ConnectionReset)?;
        Ok(Pin::new(tcp))
    }
}

impl KernelListener {
    /// Listens on one port of several addresses, for connections that arrive through our interface only.
    pub(super) fn bind(
        ips: &[IpAddr],
        port: u16,
        interface: &str,
        keeper: Option<&Arc<dyn Keeper>>,
        commands: Commands,
    ) -> io::Result<Self> {
        let mut listeners: Vec<Listening> = Vec::new();
        for ip in ips {
            // With port 0 the first address chooses for all.
            let port = match listeners.first() {
                Some(first) => first.tcp.local_addr()?.port(),
                None => port,
            };
            listeners.push(Listening::open((*ip, port).into(), interface, keeper)?);
        }
        if listeners.is_empty() {
            return Err(io::ErrorKind::AddrNotAvailable.into());
        }
        Ok(Self {
            listeners,
            commands,
            arriving: None,
        })
    }

    pub(super) fn local_addrs(&self) -> io::Result<Vec<SocketAddr>> {
        let listeners = self.listeners.iter();
        listeners.map(|it| it.tcp.local_addr()).collect()
    }

    pub(crate) async fn accept(&mut self) -> io::Result<(Box<dyn Stream>, SocketAddr)> {
        loop {
            if self.arriving.is_none() {
                self.arriving = self.next_arrival().await?;
            }
            let Some(arriving) = &mut self.arriving else {
                continue;
            };
            let signal = (&mut arriving.signal).await.map_err(|_| stopped())?;
            let Some(Arriving { tcp, remote, .. }) = self.arriving.take() else {
                continue;
            };
            // An error means that the peer has been removed since.
            if let Ok(signal) = signal {
                return Ok((Box::new(KernelStream::new(tcp, signal)), remote));
            }
        }
    }

    pub(crate) fn sockets(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        self.listeners.iter().map(|it| it.tcp.as_fd())
    }

    pub(crate) fn sources(&self) -> SourceWatch {
        SourceWatch(self.commands.clone())
    }

    async fn next_arrival(&mut self) -> io::Result<Option<Arriving>> {
        let commands = self.commands.shard(WATCHING_SHARD);
        let permit = commands.reserve().await.map_err(|_| stopped())?;
        let listeners = &mut self.listeners;
        let accepted = tokio::select! {
            () = commands.closed() => return Err(stopped()),
            accepted = poll_fn(|cx| poll_accept(listeners, cx)) => accepted,
        };
        let Ok((tcp, remote)) = accepted else {
            // Out of descriptors, or the connection was withdrawn: later ones may do better.
            tokio::time::sleep(ACCEPT_PAUSE).await;
            return Ok(None);
        };
        let (reply, signal) = oneshot::channel();
        permit.send(Command::Watch(remote.ip(), Opener::Peer, reply));
        Ok(Some(Arriving {
            tcp,
            remote,
            signal,
        }))
    }
}

fn poll_accept(
    listeners: &mut [Listening],
    cx: &mut Context<'_>,
) -> Poll<io::Result<(TcpStream, SocketAddr)>> {
    for listener in listeners {
        if let Poll::Ready(accepted) = listener.at_runtime()?.poll_accept(cx) {
            return Poll::Ready(accepted);
        }
    }
    Poll::Pending
}

impl SourceWatch {
    /// Ends when all connections from this address must be given up: it has left its peer. It must be kept as long as one of
    /// them.
    ///
    /// # Errors
    /// - `NetworkUnreachable`: it is no peer's.
    /// - `QuotaExceeded`: there are connections to too many addresses.
    /// - `BrokenPipe`: the tunnel has been shut down.
    pub async fn cut(&self, source: IpAddr) -> io::Result<Cut> {
        let command = |reply| Command::Watch(source, Opener::Peer, reply);
        let answer = self.0.ask(WATCHING_SHARD, command).await;
        let signal = answer.unwrap_or_else(|| Err(stopped()))?;
        Ok(Box::pin(async move { signal.cancelled().await }))
    }
}

impl Listening {
    /// Takes the one that was kept, or binds one.
    fn open(
        address: SocketAddr,
        interface: &str,
        keeper: Option<&Arc<dyn Keeper>>,
    ) -> io::Result<Self> {
        let open = || bind_one(address, interface);
        let Some(keeper) = keeper else {
            return Ok(Self::new(open()?.into(), None));
        };
        let name = listener_name(interface, address);
        let is_right = |kept: &Socket| is_of(kept, address, interface);
        let socket = kept_or_opened(keeper.as_ref(), &name, is_right, open)?;
        Ok(Self::new(socket.into(), Some((Arc::clone(keeper), name))))
    }

    fn new(tcp: std::net::TcpListener, kept: Option<(Arc<dyn Keeper>, String)>) -> Self {
        Self {
            tcp,
            at_runtime: None,
            kept,
        }
    }

    fn at_runtime(&mut self) -> io::Result<&TcpListener> {
        Ok(match &mut self.at_runtime {
            Some(listener) => listener,
            none => none.insert(TcpListener::from_std(self.tcp.try_clone()?)?),
        })
    }
}

impl Drop for Listening {
    fn drop(&mut self) {
        if let Some((keeper, name)) = &self.kept {
            keeper.forget(name);
        }
    }
}

/// The way to the addresses of `local`'s family, until the signal comes.
pub(super) fn kernel_way(local: IpAddr, interface: String, signal: CutSignal) -> KernelWay {
    let socket = move || Ok(outgoing(local, &interface)?.into());
    let cut = async move { signal.cancelled().await };
    KernelWay {
        socket: Box::new(socket),
        cut: Box::pin(cut),
    }
}

/// A socket that connects from `local` through our interface, and does not block.
fn outgoing(local: IpAddr, interface: &str) -> io::Result<Socket> {
    let kind = Type::STREAM.nonblocking();
    let socket = Socket::new(
        Domain::for_address((local, 0).into()),
        kind,
        Some(Protocol::TCP),
    )?;
    through_interface(&SockRef::from(&socket), local, interface)?;
    // The kernel then needs a port of its own for each destination, and not for each connection; without it there are fewer.
    let _ = setsockopt(&socket, IpBindAddressNoPort, &true);
    socket.bind(&SocketAddr::from((local, 0)).into())?;
    notice_the_end(&socket)?;
    Ok(socket)
}

/// An idle connection whose peer has lost its power would stay for ever, and with it its place.
fn notice_the_end(socket: &Socket) -> io::Result<()> {
    let keepalive = TcpKeepalive::new()
        .with_time(KEEPALIVE_AFTER)
        .with_interval(KEEPALIVE_INTERVAL)
        .with_retries(KEEPALIVES);
    socket.set_tcp_keepalive(&keepalive)
}

/// A socket is bound to an interface by its number: to one that went and came again it is bound no longer.
fn is_of(kept: &Socket, address: SocketAddr, interface: &str) -> bool {
    let is_at = |it: socket2::SockAddr| it.as_socket() == Some(address);
    let is_through = |it: Option<Vec<u8>>| it.as_deref() == Some(interface.as_bytes());
    kept.local_addr().is_ok_and(is_at)
        && kept.device().is_ok_and(is_through)
        && kept.set_nonblocking(true).is_ok()
        && kept.set_tcp_nodelay(true).is_ok()
        && notice_the_end(kept).is_ok()
}

fn bind_one(address: SocketAddr, interface: &str) -> io::Result<Socket> {
    let socket = Socket::new(
        Domain::for_address(address),
        Type::STREAM,
        Some(Protocol::TCP),
    )?;
    socket.set_nonblocking(true)?;
    socket.set_reuse_address(true)?;
    // Every connection inherits both from here, which costs nothing.
    socket.set_tcp_nodelay(true)?;
    notice_the_end(&socket)?;
    if address.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    through_interface(&SockRef::from(&socket), address.ip(), interface)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket)
}

/// Without this, Linux would also use other interfaces: for what we send if a route points there, and for connections that
/// arrive there although they are addressed to the overlay.
fn through_interface(socket: &SockRef<'_>, address: IpAddr, interface: &str) -> io::Result<()> {
    socket.bind_device(Some(interface.as_bytes()))?;
    if address.is_ipv6() {
        // The kernel completes an address a moment after it was added.
        socket.set_freebind_v6(true)?;
    }
    Ok(())
}

impl AsyncRead for KernelStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.alive(Half::Read, cx)?.poll_read(cx, buffer)
    }
}

impl AsyncWrite for KernelStream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        data: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.alive(Half::Write, cx)?.poll_write(cx, data)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.alive(Half::Write, cx)?.poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.alive(Half::Write, cx)?.poll_shutdown(cx)
    }
}

impl Stream for KernelStream {
    fn abort(&mut self) {
        if let Some(tcp) = self.tcp.take() {
            // With linger 0 the kernel closes by reset; should that fail, the worst is an orderly end.
            let _ = SockRef::from(&tcp).set_linger(Some(Duration::ZERO));
        }
    }

    fn into_kernel(mut self: Box<Self>) -> Result<KernelPart, BoxStream> {
        let Some(tcp) = self.tcp.take() else {
            return Err(self);
        };
        let signal = self.signal;
        let cut = async move { signal.cancelled().await };
        Ok(KernelPart {
            tcp,
            cut: Box::pin(cut),
        })
    }
}

const BACKLOG: i32 = 1024;
/// An outage of a quarter of an hour is survived, as by a connection that has something to say (tcp(7), `tcp_retries2`).
const KEEPALIVE_AFTER: Duration = Duration::from_secs(300);
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(60);
const KEEPALIVES: u32 = 10;
/// Pause after a failed accept, so that a lack of descriptors is no busy loop.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, Ipv6Addr};

    use tokio::io::{AsyncReadExt, AsyncWriteExt, split};
    use tokio::task::yield_now;
    use tokio::time::timeout;

    use super::*;

    /// Each half may be in a task of its own.
    #[tokio::test(start_paused = true)]
    async fn a_cut_ends_a_read_that_waits_while_another_task_writes() {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let near = TcpStream::connect(listener.local_addr().unwrap());
        let (near, _far) = tokio::join!(near, listener.accept());
        let signal = CutSignal::default();
        let (mut read, mut write) = split(KernelStream::new(near.unwrap(), signal.clone()));
        let reading = tokio::spawn(async move { read.read_u8().await });
        yield_now().await;
        write.write_all(b"there").await.unwrap();
        signal.cancel();
        let ended = timeout(Duration::from_secs(1), reading).await;
        assert!(ended.expect("nobody woke the reader").unwrap().is_err());
    }

    #[test]
    fn both_ends_notice_a_peer_that_is_gone_and_an_outgoing_one_takes_no_port_before_it_connects() {
        for ip in [Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()] {
            let listener = bind_one(SocketAddr::new(ip, 0), "lo").unwrap();
            let address = listener.local_addr().unwrap();
            let near = outgoing(ip, "lo").unwrap();
            let before = near.local_addr().unwrap().as_socket().unwrap();
            assert_eq!(before.port(), 0);
            near.set_nonblocking(false).unwrap();
            near.connect(&address).unwrap();
            listener.set_nonblocking(false).unwrap();
            let (far, _) = listener.accept().unwrap();
            for end in [near, far] {
                assert!(end.keepalive().unwrap());
                assert_eq!(end.tcp_keepalive_time().unwrap(), KEEPALIVE_AFTER);
            }
        }
    }
}
