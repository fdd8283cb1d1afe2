//! The doors of a balancer: where connections come from and how backends are reached, in the kernel or in a tunnel's own
//! TCP. It chooses nothing.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use async_trait::async_trait;
use rustix::io::Errno;
use socket2::{Domain, Protocol, SockRef, Socket as Socket2, Type};
use tokio::io::{AsyncRead, AsyncWrite, Interest, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::yield_now;
use tokio::time::{sleep, timeout};

/// A TCP connection that is not the kernel's.
pub trait Stream: AsyncRead + AsyncWrite + Send + Unpin {
    /// Ends it at once with a reset, so that the other side sees a failure and not an end of data.
    fn abort(&mut self);
}

/// Ends when a connection must be given up, because its way is gone.
pub type Cut = Pin<Box<dyn Future<Output = ()> + Send>>;

/// One TCP connection.
pub struct Link {
    socket: Socket,
    pub(super) cut: Option<Cut>,
}

enum Socket {
    Kernel(TcpStream),
    Other(Box<dyn Stream>),
}

/// A connection that came in.
pub struct Arrival {
    pub link: Link,
    pub source: SocketAddr,
    /// The address that the client connected to; None: the kernel knows it.
    pub destination: Option<SocketAddr>,
}

/// Where connections come in.
#[async_trait]
pub trait Listener: Send + 'static {
    /// The next connection; cancel safe. An error means that none will come any more.
    async fn accept(&mut self) -> io::Result<Arrival>;

    /// The kernel's socket, if nothing has to be known of its connections but where they come from.
    fn kernel(&self) -> Option<Door<'_>> {
        None
    }
}

/// A listening socket of the kernel that doesn't block, and gives `TCP_NODELAY` to what it accepts.
pub struct Door<'a> {
    pub socket: BorrowedFd<'a>,
    /// None: everybody may come, for as long as they like.
    pub watch: Option<Arc<dyn SourceWatch>>,
}

/// Knows until when the connections from an address may live.
#[async_trait]
pub trait SourceWatch: Send + Sync + 'static {
    /// Ends when all connections from there must be given up. An error means that none may be served.
    async fn cut(&self, source: IpAddr) -> io::Result<Cut>;
}

/// How a backend is reached.
#[async_trait]
pub trait Connector: Send + Sync + 'static {
    /// Opens a connection within `limit`. The error's kind tells whether the backend is to blame.
    async fn connect(&self, address: SocketAddr, limit: Duration) -> io::Result<Link>;

    /// What will be learnt of where the backends are, to be asked for before an attempt. None: what can be known is known.
    fn news(&self) -> Option<News> {
        None
    }

    /// Whether there are, or will be, [ways](Self::way) to the backends.
    fn has_ways(&self) -> bool {
        false
    }

    /// Waits for a way to a backend by which sockets of the kernel connect. None: there will be none.
    async fn way(&self, address: SocketAddr) -> Option<Way> {
        let _ = address;
        None
    }
}

/// Says when an attempt that failed with `HostUnreachable` may succeed; until it has, that is no fault of the backend. False: nothing
/// more will be learnt.
pub type News = Pin<Box<dyn Future<Output = bool> + Send>>;

/// Makes sockets of the kernel that connect one way; they don't block, and have not set out.
pub type Sockets = Box<dyn Fn() -> io::Result<OwnedFd> + Send + Sync>;

/// How sockets of the kernel reach one backend.
pub struct Way {
    pub sockets: Sockets,
    /// Ends what went this way; None: it lasts.
    pub cut: Option<Cut>,
}

impl Way {
    /// Over the host's own network.
    #[must_use]
    pub fn of_host(address: SocketAddr) -> Self {
        Self {
            sockets: Box::new(move || Ok(socket(address)?.into())),
            cut: None,
        }
    }
}

impl Arrival {
    /// The address that the client connected to.
    pub(super) fn destination(&self) -> io::Result<SocketAddr> {
        match (self.destination, &self.link.socket) {
            (Some(destination), _) => Ok(destination),
            (None, Socket::Kernel(tcp)) => tcp.local_addr(),
            (None, Socket::Other(_)) => Err(io::ErrorKind::AddrNotAvailable.into()),
        }
    }
}

impl Link {
    /// A connection of the kernel with `TCP_NODELAY`, without which the end of a message waits for an acknowledgement; what
    /// is long between two such is not copied. `cut` ends it from outside.
    pub fn kernel(tcp: TcpStream, cut: Option<Cut>) -> Self {
        Self {
            socket: Socket::Kernel(tcp),
            cut,
        }
    }

    pub fn other(stream: Box<dyn Stream>) -> Self {
        Self {
            socket: Socket::Other(stream),
            cut: None,
        }
    }

    pub(super) fn is_kernel(&self) -> bool {
        matches!(self.socket, Socket::Kernel(_))
    }

    /// The kernel's socket without the runtime's knowledge of it, and its way's end.
    pub(super) fn into_kernel(self) -> io::Result<(OwnedFd, Option<Cut>)> {
        match self.socket {
            Socket::Kernel(tcp) => Ok((tcp.into_std()?.into(), self.cut)),
            Socket::Other(_) => Err(io::ErrorKind::Unsupported.into()),
        }
    }

    /// Closes by reset.
    pub fn abort(self) {
        match self.socket {
            Socket::Kernel(tcp) => {
                // With linger 0 the kernel closes by reset; should that fail, the worst is an orderly end.
                let _ = SockRef::from(&tcp).set_linger(Some(Duration::ZERO));
            }
            Socket::Other(mut stream) => stream.abort(),
        }
    }
}

/// A listening socket of the kernel.
#[derive(Debug)]
pub struct KernelListener {
    socket: std::net::TcpListener,
    /// Only from the first accept on: the runtime would wake for every connection, whoever accepts it.
    at_runtime: Option<TcpListener>,
}

impl KernelListener {
    /// Makes it one that never blocks.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn new(socket: std::net::TcpListener) -> io::Result<Self> {
        socket.set_nonblocking(true)?;
        // Every connection inherits it from here, which costs nothing.
        SockRef::from(&socket).set_tcp_nodelay(true)?;
        Ok(Self {
            socket,
            at_runtime: None,
        })
    }

    /// Listens here. An IPv6 socket takes IPv6 only, so that `0.0.0.0` and `[::]` can be bound side by side.
    ///
    /// # Errors
    /// What the kernel says, `AddrInUse` above all.
    pub fn bind(address: SocketAddr) -> io::Result<Self> {
        crate::edge::listen(address).and_then(Self::new)
    }

    fn at_runtime(&mut self) -> io::Result<&TcpListener> {
        Ok(match &mut self.at_runtime {
            Some(listener) => listener,
            none => none.insert(TcpListener::from_std(self.socket.try_clone()?)?),
        })
    }
}

impl AsFd for KernelListener {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

#[async_trait]
impl Listener for KernelListener {
    async fn accept(&mut self) -> io::Result<Arrival> {
        loop {
            let accepted = match self.at_runtime() {
                Ok(listener) => listener.accept().await,
                Err(error) => Err(error),
            };
            match accepted {
                Ok((tcp, source)) => {
                    return Ok(Arrival {
                        link: Link::kernel(tcp, None),
                        source,
                        destination: None,
                    });
                }
                Err(error) => {
                    tracing::warn!(%error, "can't accept a connection");
                    sleep(ACCEPT_BACKOFF).await;
                }
            }
        }
    }

    fn kernel(&self) -> Option<Door<'_>> {
        Some(Door {
            socket: self.as_fd(),
            watch: None,
        })
    }
}

/// Like [`TcpStream::connect`], without asking the kernel once more how a connection is that is well.
async fn connect(address: SocketAddr) -> io::Result<TcpStream> {
    let socket = socket(address)?;
    match socket.connect(&address.into()) {
        Err(error) if Errno::from_io_error(&error) != Some(Errno::INPROGRESS) => return Err(error),
        _ => {}
    }
    let tcp = TcpStream::from_std(socket.into())?;
    let ready = tcp.ready(Interest::WRITABLE).await?;
    match ready.is_write_closed() {
        true => Err(tcp
            .take_error()?
            .unwrap_or(io::ErrorKind::ConnectionReset.into())),
        false => Ok(tcp),
    }
}

fn socket(address: SocketAddr) -> io::Result<Socket2> {
    let kind = Type::STREAM.nonblocking();
    Socket2::new(Domain::for_address(address), kind, Some(Protocol::TCP))
}

/// Reaches backends over the host's own network.
#[derive(Clone, Copy, Debug, Default)]
pub struct KernelConnector;

#[async_trait]
impl Connector for KernelConnector {
    async fn connect(&self, address: SocketAddr, limit: Duration) -> io::Result<Link> {
        let mut connected = pin!(connect(address));
        // Near by it takes no time, and a timer costs more: the first one that is due wakes the runtime.
        let soon = tokio::select! {
            biased;
            tcp = &mut connected => Some(tcp),
            () = yield_now() => None,
        };
        let tcp = match soon {
            Some(tcp) => tcp?,
            None => timeout(limit, connected).await??,
        };
        // A lost hint costs only speed.
        let _ = tcp.set_nodelay(true);
        Ok(Link::kernel(tcp, None))
    }

    fn has_ways(&self) -> bool {
        true
    }

    async fn way(&self, address: SocketAddr) -> Option<Way> {
        Some(Way::of_host(address))
    }
}

impl AsyncRead for Link {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match &mut self.socket {
            Socket::Kernel(tcp) => Pin::new(tcp).poll_read(cx, buffer),
            Socket::Other(stream) => Pin::new(stream).poll_read(cx, buffer),
        }
    }
}

impl AsyncWrite for Link {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        data: &[u8],
    ) -> Poll<io::Result<usize>> {
        match &mut self.socket {
            Socket::Kernel(tcp) => Pin::new(tcp).poll_write(cx, data),
            Socket::Other(stream) => Pin::new(stream).poll_write(cx, data),
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.socket {
            Socket::Kernel(tcp) => Pin::new(tcp).poll_flush(cx),
            Socket::Other(stream) => Pin::new(stream).poll_flush(cx),
        }
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.socket {
            Socket::Kernel(tcp) => Pin::new(tcp).poll_shutdown(cx),
            Socket::Other(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }
}

/// Pause after a failed accept, which usually means that file descriptors ran out.
const ACCEPT_BACKOFF: Duration = Duration::from_millis(100);
