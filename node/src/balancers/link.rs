//! The balancer's doors in the tunnel: connections that arrive on the overlay, and those that it opens to its servers.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use async_trait::async_trait;
use malha_proxy::balance::{self, Arrival, Connector, Link, Listener};
use malha_tunnel::{BoxStream, KernelPart, Tunnel, TunnelListener};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
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
}

/// Reaches servers on the overlay.
pub(super) struct ThroughTunnel(pub(super) Arc<dyn Tunnel>);

#[async_trait]
impl Connector for ThroughTunnel {
    async fn connect(&self, address: SocketAddr, limit: Duration) -> io::Result<Link> {
        let stream = self.0.dial(address, Instant::now() + limit).await?;
        Ok(link(stream))
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
