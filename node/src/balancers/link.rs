//! The balancer's doors: connections that arrive on the overlay or at the machine's own addresses, and those that it opens to its
//! servers through the tunnel.

use std::io;
use std::net::{IpAddr, SocketAddr, TcpListener};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use async_trait::async_trait;
use malha_proxy::balance::{
    self, Arrival, Connector, Cut, Door, KernelListener, Link, Listener, Way,
};
use malha_tunnel::{
    BoxStream, Engine, Keeper, KernelPart, KernelWay, News, SourceWatch, Tunnel, TunnelListener,
    kept_or_opened, listener_name, opened_when_freed,
};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::broadcast::error::RecvError;
use tokio::time::Instant;

/// One overlay address.
pub(super) struct FromTunnel {
    pub(super) listener: TunnelListener,
    pub(super) address: SocketAddr,
}

#[async_trait]
impl Listener for FromTunnel {
    async fn accept(&mut self) -> io::Result<Arrival> {
        let (stream, source) = self.listener.accept().await?;
        Ok(Arrival {
            link: link(stream),
            source,
            destination: Some(self.address),
        })
    }

    fn kernel(&self) -> Option<Door<'_>> {
        let doors = self.listener.kernel_doors()?;
        // One address has one.
        let [socket] = doors.sockets[..] else {
            return None;
        };
        Some(Door {
            socket,
            watch: Some(Arc::new(OfPeers(doors.sources))),
        })
    }
}

/// The connections from an address end with its peer.
struct OfPeers(SourceWatch);

#[async_trait]
impl balance::SourceWatch for OfPeers {
    async fn cut(&self, source: IpAddr) -> io::Result<Cut> {
        self.0.cut(source).await
    }
}

/// An address of the machine. Who comes during a restart waits there, if it is kept.
pub(super) struct FromMachine {
    listener: KernelListener,
    kept: Option<(Arc<dyn Keeper>, String)>,
}

impl FromMachine {
    pub(super) async fn open(
        address: SocketAddr,
        keeper: Option<&Arc<dyn Keeper>>,
    ) -> io::Result<Self> {
        let Some(keeper) = keeper else {
            let listener = KernelListener::bind(address)?;
            return Ok(Self {
                listener,
                kept: None,
            });
        };
        let name = listener_name(ANY_INTERFACE, address);
        let is_there = |it: &TcpListener| it.local_addr().is_ok_and(|at| at == address);
        let open = || {
            let open = || malha_proxy::listen(address);
            kept_or_opened(keeper.as_ref(), &name, is_there, open)
        };
        let listener = opened_when_freed(Some(keeper), open).await?;
        let listener = KernelListener::new(listener)?;
        let kept = Some((Arc::clone(keeper), name));
        Ok(Self { listener, kept })
    }
}

#[async_trait]
impl Listener for FromMachine {
    async fn accept(&mut self) -> io::Result<Arrival> {
        self.listener.accept().await
    }

    fn kernel(&self) -> Option<Door<'_>> {
        self.listener.kernel()
    }
}

impl Drop for FromMachine {
    fn drop(&mut self) {
        if let Some((keeper, name)) = &self.kept {
            keeper.forget(name);
        }
    }
}

/// Reaches servers on the overlay.
pub(super) struct ThroughTunnel {
    pub(super) tunnel: Arc<dyn Tunnel>,
    /// Until then nobody is given up, for the tunnel itself may only be coming up.
    pub(super) settled_at: Option<Instant>,
}

#[async_trait]
impl Connector for ThroughTunnel {
    async fn connect(&self, address: SocketAddr, limit: Duration) -> io::Result<Link> {
        let deadline = Instant::now() + limit;
        self.tunnel.dial(address, deadline).await.map(link)
    }

    fn news(&self) -> Option<balance::News> {
        let news = News::of(self.tunnel.as_ref(), self.settled_at?)?;
        Some(Box::pin(news.comes()))
    }

    fn has_ways(&self) -> bool {
        self.tunnel.engine() != Engine::Netstack
    }

    async fn way(&self, address: SocketAddr) -> Option<Way> {
        let mut events = self.tunnel.events();
        loop {
            match self.tunnel.way(address.ip()).await {
                Ok(way) => {
                    let KernelWay { socket, cut } = way?;
                    return Some(Way {
                        sockets: socket,
                        cut: Some(cut),
                    });
                }
                // Whatever happens to a peer, it may be this one.
                Err(_) => match events.recv().await {
                    Ok(_) | Err(RecvError::Lagged(_)) => {}
                    Err(RecvError::Closed) => return None,
                },
            }
        }
    }
}

fn link(stream: BoxStream) -> Link {
    match stream.into_kernel() {
        Ok(KernelPart { tcp, cut }) => Link::kernel(tcp, Some(cut)),
        Err(stream) => Link::other(Box::new(OfTunnel(stream))),
    }
}

/// A stream of the tunnel's own TCP, as the balancer knows streams.
struct OfTunnel(BoxStream);

impl balance::Stream for OfTunnel {
    fn abort(&mut self) {
        self.0.abort();
    }
}

impl AsyncRead for OfTunnel {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(cx, buffer)
    }
}

impl AsyncWrite for OfTunnel {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        data: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(cx, data)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(cx)
    }
}

/// In the names of listeners that belong to no interface.
const ANY_INTERFACE: &str = "*";
