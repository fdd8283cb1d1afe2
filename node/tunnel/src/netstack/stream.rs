//! The owner's end of a netstack connection. Everything it does is one call on the shared connection.

use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::end::End;
use super::shared::Shared;
use crate::stream::{BoxStream, KernelPart, Stream};

pub(crate) struct NetstackStream(Shared);

impl NetstackStream {
    pub(crate) fn new(shared: Shared) -> Self {
        Self(shared)
    }

    /// Waits for the answer to our SYN.
    pub(crate) async fn connected(&mut self) -> io::Result<()> {
        poll_fn(|cx| self.0.with(|connection| connection.poll_connected(cx))).await
    }
}

impl AsyncRead for NetstackStream {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.0.with(|connection| connection.poll_read(cx, buffer))
    }
}

impl AsyncWrite for NetstackStream {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        data: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.0.with(|connection| connection.poll_write(cx, data))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.0.with(|connection| connection.finish());
        Poll::Ready(Ok(()))
    }
}

impl Stream for NetstackStream {
    fn abort(&mut self) {
        self.0.with(|connection| {
            connection.end(End::Aborted);
            connection.ring();
        });
    }

    fn into_kernel(self: Box<Self>) -> Result<KernelPart, BoxStream> {
        Err(self)
    }
}

impl Drop for NetstackStream {
    fn drop(&mut self) {
        self.0.with(|connection| connection.detach());
    }
}
