//! A balancer on loopback before backends that answer with their own name. It sleeps nowhere: what must come about is
//! awaited.

use std::collections::BTreeMap;
use std::future::pending;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU16, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use std::time::Duration;

use async_trait::async_trait;
use malha_proxy::balance::{
    Arrival, Backend, BackendStatus, Balancer, Connector, Door, KernelConnector, KernelListener,
    Link, Listener, Mode, SourceWatch, Spec, Stream, Way,
};
use rustix::io::Errno;
use socket2::{Domain, Socket, Type};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Notify, Semaphore};
use tokio::task::JoinSet;
use tokio::time::{interval, timeout};

use crate::settling::Settling;

/// A backend: says its name to whoever connects, then sends back what it hears, and at the end how much that was.
pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    tasks: JoinSet<()>,
}

impl Server {
    pub(crate) async fn start(name: u8) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let mut tasks = JoinSet::new();
        tasks.spawn(async move {
            let mut connections = JoinSet::new();
            loop {
                let (tcp, _) = listener.accept().await.unwrap();
                connections.spawn(echo(tcp, name));
            }
        });
        Self { address, tasks }
    }

    /// Takes every connection at this address and resets it.
    pub(crate) async fn throwing_out(address: SocketAddr) -> Self {
        let listener = TcpListener::bind(address).await.unwrap();
        let mut tasks = JoinSet::new();
        tasks.spawn(async move {
            loop {
                let (tcp, _) = listener.accept().await.unwrap();
                Link::kernel(tcp, None).abort();
            }
        });
        Self { address, tasks }
    }

    /// The process dies: its listener is closed and its connections are reset or ended by the kernel.
    pub(crate) async fn kill(mut self) {
        self.tasks.shutdown().await;
    }
}

async fn echo(mut tcp: TcpStream, name: u8) {
    let heard = async {
        tcp.write_all(&[name]).await?;
        let mut buffer = vec![0; 64 * 1024];
        let mut total = 0_u64;
        loop {
            let read = tcp.read(&mut buffer).await?;
            if read == 0 {
                break;
            }
            total += read as u64;
            tcp.write_all(&buffer[..read]).await?;
        }
        tcp.write_all(&total.to_be_bytes()).await
    };
    let _ = heard.await;
}

/// A machine of which nothing comes, not even a refusal: its queue of connections is full, and nobody takes one.
pub(crate) struct Silent {
    pub(crate) address: SocketAddr,
    _held: (Socket, std::net::TcpStream),
}

impl Silent {
    pub(crate) fn start() -> Self {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        let any: SocketAddr = "127.0.0.1:0".parse().unwrap();
        socket.bind(&any.into()).unwrap();
        socket.listen(0).unwrap();
        let address = socket.local_addr().unwrap().as_socket().unwrap();
        let only = std::net::TcpStream::connect(address).unwrap();
        Self {
            address,
            _held: (socket, only),
        }
    }
}

/// An X-Road health port whose answer can be changed.
pub(crate) struct HealthPort {
    pub(crate) port: u16,
    status: Arc<AtomicU16>,
    _tasks: JoinSet<()>,
}

impl HealthPort {
    pub(crate) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let status = Arc::new(AtomicU16::new(200));
        let answer = Arc::clone(&status);
        let mut tasks = JoinSet::new();
        tasks.spawn(async move {
            loop {
                let (mut tcp, _) = listener.accept().await.unwrap();
                let mut request = [0; 4];
                if tcp.read_exact(&mut request).await.is_err() {
                    continue;
                }
                let status = answer.load(Ordering::SeqCst);
                let head = format!("HTTP/1.1 {status} X\r\nContent-Length: 0\r\n\r\n");
                let _ = tcp.write_all(head.as_bytes()).await;
            }
        });
        Self {
            port,
            status,
            _tasks: tasks,
        }
    }

    pub(crate) fn answer(&self, status: u16) {
        self.status.store(status, Ordering::SeqCst);
    }
}

pub(crate) fn backend(id: u64, address: SocketAddr) -> Backend {
    Backend {
        id,
        address,
        mode: Mode::Serve,
    }
}

/// A spec with quick checks.
pub(crate) fn spec(servers: &[&Server]) -> Spec {
    let numbered = servers.iter().zip(1..);
    let mut spec = Spec::new(numbered.map(|(it, id)| backend(id, it.address)).collect());
    spec.check.interval = Duration::from_millis(500);
    spec
}

pub(crate) struct Rig {
    pub(crate) balancer: Balancer,
    pub(crate) address: SocketAddr,
}

impl Rig {
    pub(crate) async fn start(spec: Spec) -> Self {
        Self::with(
            spec,
            |listener| Box::new(listener),
            Arc::new(KernelConnector),
        )
        .await
    }

    /// Both sides are streams of which the balancer doesn't know that the kernel has them.
    pub(crate) async fn start_without_kernel(spec: Spec) -> Self {
        let veil = |listener| -> Box<dyn Listener> { Box::new(Veiled(listener)) };
        Self::with(spec, veil, Arc::new(Veiled(KernelConnector))).await
    }

    /// Backends are reached by sockets of the kernel on ways that end when this is notified, as through a tunnel.
    pub(crate) async fn start_on_ways(spec: Spec, cut: Arc<Notify>) -> Self {
        Self::with(spec, |listener| Box::new(listener), Arc::new(Ways(cut))).await
    }

    /// The same, but the balancer knows the ways, and opens the sockets itself.
    pub(crate) async fn start_on_known_ways(spec: Spec, ways: Arc<KnownWays>) -> Self {
        let plain = |listener| -> Box<dyn Listener> { Box::new(listener) };
        Self::with(spec, plain, Arc::new(Shared(ways))).await
    }

    /// A machine that has lost its power: nothing refuses and nothing answers.
    pub(crate) async fn start_with_silent(
        spec: Spec,
        silent: Arc<Mutex<Option<SocketAddr>>>,
    ) -> Self {
        Self::with(
            spec,
            |listener| Box::new(listener),
            Arc::new(Silence(silent)),
        )
        .await
    }

    /// Not all backends are known yet.
    pub(crate) async fn start_settling(spec: Spec, tunnel: Settling) -> Self {
        let plain = |listener| -> Box<dyn Listener> { Box::new(listener) };
        Self::with(spec, plain, Arc::new(tunnel)).await
    }

    /// Our own machine may come to lack what connections need.
    pub(crate) async fn start_lacking(spec: Spec, machine: Arc<Lacking>) -> Self {
        let plain = |listener| -> Box<dyn Listener> { Box::new(listener) };
        Self::with(spec, plain, machine).await
    }

    /// Clients come as through a tunnel: somebody says until when they may stay.
    pub(crate) async fn start_watched(spec: Spec, watch: Arc<dyn SourceWatch>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let listener = KernelListener::new(listener.into_std().unwrap()).unwrap();
        let listeners: Vec<Box<dyn Listener>> = vec![Box::new(Watched(listener, watch))];
        let balancer = Balancer::start(spec, listeners, Arc::new(KernelConnector)).unwrap();
        Self { balancer, address }
    }

    async fn with(
        spec: Spec,
        wrap: fn(KernelListener) -> Box<dyn Listener>,
        connector: Arc<dyn Connector>,
    ) -> Self {
        Self::at("127.0.0.1:0", spec, wrap, connector).await
    }

    /// Clients come by IPv6.
    pub(crate) async fn start_on_ipv6(spec: Spec) -> Self {
        let plain = |listener| -> Box<dyn Listener> { Box::new(listener) };
        Self::at("[::1]:0", spec, plain, Arc::new(KernelConnector)).await
    }

    async fn at(
        listen: &str,
        spec: Spec,
        wrap: fn(KernelListener) -> Box<dyn Listener>,
        connector: Arc<dyn Connector>,
    ) -> Self {
        let listener = TcpListener::bind(listen).await.unwrap();
        let address = listener.local_addr().unwrap();
        let listeners = vec![wrap(
            KernelListener::new(listener.into_std().unwrap()).unwrap(),
        )];
        let balancer = Balancer::start(spec, listeners, connector).unwrap();
        Self { balancer, address }
    }

    pub(crate) async fn connect(&self) -> TcpStream {
        TcpStream::connect(self.address).await.unwrap()
    }

    /// The name of the backend that a new connection meets.
    pub(crate) async fn meet(&self) -> io::Result<u8> {
        let mut tcp = TcpStream::connect(self.address).await?;
        timeout(PATIENCE, tcp.read_u8()).await?
    }

    /// Waits until the backends are so.
    pub(crate) async fn until(&self, what: impl Fn(&[BackendStatus]) -> bool) {
        let looking = async {
            let mut looks = interval(Duration::from_millis(5));
            while !what(&self.balancer.status().backends) {
                looks.tick().await;
            }
        };
        let seen = timeout(PATIENCE, looking).await;
        assert!(seen.is_ok(), "{:?}", self.balancer.status());
    }
}

impl Rig {
    /// One client after the other, each served, until something is so.
    pub(crate) async fn meets_until(&self, is_so: impl Fn() -> bool) {
        let meeting = async {
            while !is_so() {
                self.meet().await.unwrap();
            }
        };
        timeout(PATIENCE, meeting).await.unwrap();
    }
}

/// Reaches all but one address, at which attempts wait for their limit.
struct Silence(Arc<Mutex<Option<SocketAddr>>>);

#[async_trait]
impl Connector for Silence {
    async fn connect(&self, address: SocketAddr, limit: Duration) -> io::Result<Link> {
        let is_silent = *self.0.lock().unwrap() == Some(address);
        match is_silent {
            true => timeout(limit, pending()).await?,
            false => KernelConnector.connect(address, limit).await,
        }
    }
}

/// Reaches backends until this machine has nothing left to do it with.
#[derive(Default)]
pub(crate) struct Lacking {
    /// By their addresses, what comes instead of a connection, and how often it came.
    pub(crate) lacks: Mutex<BTreeMap<SocketAddr, (Errno, usize)>>,
}

#[async_trait]
impl Connector for Lacking {
    async fn connect(&self, address: SocketAddr, limit: Duration) -> io::Result<Link> {
        if let Some((lack, times)) = self.lacks.lock().unwrap().get_mut(&address) {
            *times += 1;
            return Err((*lack).into());
        }
        KernelConnector.connect(address, limit).await
    }
}

/// Reaches backends by ways that end together.
struct Ways(Arc<Notify>);

#[async_trait]
impl Connector for Ways {
    async fn connect(&self, address: SocketAddr, limit: Duration) -> io::Result<Link> {
        let tcp = timeout(limit, TcpStream::connect(address)).await??;
        tcp.set_nodelay(true)?;
        let cut = Arc::clone(&self.0).notified_owned();
        Ok(Link::kernel(tcp, Some(Box::pin(cut))))
    }
}

/// Ways that the balancer may know, once they are open, and that end together.
pub(crate) struct KnownWays {
    pub(crate) open: Semaphore,
    pub(crate) cut: Arc<Notify>,
    /// How many sockets the balancer has made for itself.
    pub(crate) made: AtomicUsize,
    /// No socket can be made, as when a way has ended and it is not known yet.
    pub(crate) are_broken: AtomicBool,
}

impl KnownWays {
    /// None of them is open.
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Self {
            open: Semaphore::new(0),
            cut: Arc::default(),
            made: AtomicUsize::new(0),
            are_broken: AtomicBool::new(false),
        })
    }
}

struct Shared(Arc<KnownWays>);

#[async_trait]
impl Connector for Shared {
    async fn connect(&self, address: SocketAddr, limit: Duration) -> io::Result<Link> {
        KernelConnector.connect(address, limit).await
    }

    fn has_ways(&self) -> bool {
        true
    }

    async fn way(&self, address: SocketAddr) -> Option<Way> {
        self.0.open.acquire().await.unwrap().forget();
        let (sockets, ways) = (Way::of_host(address).sockets, Arc::clone(&self.0));
        let counted = move || {
            ways.made.fetch_add(1, Ordering::SeqCst);
            match ways.are_broken.load(Ordering::SeqCst) {
                true => Err(io::ErrorKind::NetworkDown.into()),
                false => sockets(),
            }
        };
        Some(Way {
            sockets: Box::new(counted),
            cut: Some(Box::pin(Arc::clone(&self.0.cut).notified_owned())),
        })
    }
}

/// A door whose visitors are watched.
struct Watched(KernelListener, Arc<dyn SourceWatch>);

#[async_trait]
impl Listener for Watched {
    async fn accept(&mut self) -> io::Result<Arrival> {
        self.0.accept().await
    }

    fn kernel(&self) -> Option<Door<'_>> {
        Some(Door {
            watch: Some(Arc::clone(&self.1)),
            ..self.0.kernel()?
        })
    }
}

/// Hides what it wraps.
struct Veiled<T>(T);

struct VeiledStream(Option<Link>);

#[async_trait]
impl Listener for Veiled<KernelListener> {
    async fn accept(&mut self) -> io::Result<Arrival> {
        let mut arrival = self.0.accept().await?;
        arrival.link = Link::other(Box::new(VeiledStream(Some(arrival.link))));
        Ok(arrival)
    }
}

#[async_trait]
impl Connector for Veiled<KernelConnector> {
    async fn connect(&self, address: SocketAddr, limit: Duration) -> io::Result<Link> {
        let link = self.0.connect(address, limit).await?;
        Ok(Link::other(Box::new(VeiledStream(Some(link)))))
    }
}

impl Stream for VeiledStream {
    fn abort(&mut self) {
        self.0.take().unwrap().abort();
    }
}

impl AsyncRead for VeiledStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(self.0.as_mut().unwrap()).poll_read(cx, buffer)
    }
}

impl AsyncWrite for VeiledStream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        data: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(self.0.as_mut().unwrap()).poll_write(cx, data)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(self.0.as_mut().unwrap()).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(self.0.as_mut().unwrap()).poll_shutdown(cx)
    }
}

/// Waits until something is so.
pub(crate) async fn until(is_so: impl Fn() -> bool) {
    let looking = async {
        let mut looks = interval(Duration::from_millis(5));
        while !is_so() {
            looks.tick().await;
        }
    };
    timeout(PATIENCE, looking).await.unwrap();
}

/// What anything here may take on a busy machine.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);
