//! One stream to a node's service, as whoever dialled it holds it.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use malha_node::streams::Reader;
use malha_proto::STREAM_BROKEN;
use quinn::{RecvStream, SendStream};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::runtime::Handle;

use super::line::Line;

/// Both directions of a QUIC stream. The service sees an end of data only after a shutdown; dropped before, it is reset.
pub(super) struct QuicStream {
    send: SendStream,
    receive: Reader,
    line: Arc<Line>,
    finished: bool,
}

impl QuicStream {
    pub(super) fn new((send, receive): (SendStream, RecvStream), line: Arc<Line>) -> Self {
        Self {
            send,
            receive: line.readers.add(receive),
            line,
            finished: false,
        }
    }
}

impl Drop for QuicStream {
    fn drop(&mut self) {
        if !self.finished {
            // Either half may have ended by itself.
            let _ = self.send.reset(STREAM_BROKEN.into());
            self.receive.stop();
            return;
        }
        // The last bytes may be under way, and the connection must not be closed before they have arrived.
        let (arrived, line) = (self.send.stopped(), self.line.clone());
        if let Ok(runtime) = Handle::try_current() {
            runtime.spawn(async move {
                let _ = arrived.await;
                drop(line);
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
