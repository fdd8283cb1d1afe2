//! One stream of the hub as the tunnel's listeners take connections.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use malha_proto::STREAM_BROKEN;
use malha_tunnel::Stream;
use quinn::SendStream;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::runtime::Handle;
use tokio_util::task::task_tracker::TaskTrackerToken;

use super::readers::Reader;

/// Both directions of a QUIC stream. The hub sees an end of data only after a shutdown; dropped before, it is reset.
pub(super) struct QuicStream {
    send: SendStream,
    receive: Reader,
    counted: TaskTrackerToken,
    finished: bool,
}

impl QuicStream {
    pub(super) fn new(send: SendStream, receive: Reader, counted: TaskTrackerToken) -> Self {
        Self {
            send,
            receive,
            counted,
            finished: false,
        }
    }
}

impl Stream for QuicStream {
    fn abort(&mut self) {
        // Either half may have ended by itself.
        let _ = self.send.reset(STREAM_BROKEN.into());
        self.receive.stop();
    }

    fn into_kernel(self: Box<Self>) -> Result<malha_tunnel::KernelPart, malha_tunnel::BoxStream> {
        Err(self)
    }
}

impl Drop for QuicStream {
    fn drop(&mut self) {
        if !self.finished {
            self.abort();
            return;
        }
        // It counts until its last bytes have arrived.
        let (arrived, counted) = (self.send.stopped(), self.counted.clone());
        if let Ok(runtime) = Handle::try_current() {
            runtime.spawn(async move {
                let _ = arrived.await;
                drop(counted);
            });
        }
    }
}

impl AsyncRead for QuicStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        AsyncRead::poll_read(Pin::new(&mut self.receive), cx, buffer)
    }
}

impl AsyncWrite for QuicStream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        data: &[u8],
    ) -> Poll<io::Result<usize>> {
        AsyncWrite::poll_write(Pin::new(&mut self.send), cx, data)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        AsyncWrite::poll_flush(Pin::new(&mut self.send), cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(AsyncWrite::poll_shutdown(Pin::new(&mut self.send), cx))?;
        self.finished = true;
        Poll::Ready(Ok(()))
    }
}
