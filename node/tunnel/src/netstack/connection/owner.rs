//! What the owner of a connection does with it: waits, reads, writes, ends. It sends nothing, but tells the stack that there is
//! something to send.

use std::io;
use std::task::{Context, Poll};

use smoltcp::socket::tcp::{RecvError, State};
use tokio::io::ReadBuf;

use super::super::end::End;
use super::Connection;

impl Connection<'_> {
    pub(in crate::netstack) fn poll_connected(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<()>> {
        if let Some(end) = self.end {
            return Poll::Ready(Err(end.error()));
        }
        if self.is_established() || self.peer_finished {
            return Poll::Ready(Ok(()));
        }
        self.socket().register_send_waker(cx.waker());
        Poll::Pending
    }

    pub(in crate::netstack) fn poll_read(
        &mut self,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if matches!(self.end, Some(End::Cut | End::Aborted)) {
            return Poll::Ready(Err(End::Cut.error()));
        }
        if buffer.remaining() == 0 {
            return Poll::Ready(Ok(()));
        }
        let space = buffer.initialize_unfilled();
        match self.socket().recv_slice(space) {
            Ok(0) => {
                self.socket().register_recv_waker(cx.waker());
                Poll::Pending
            }
            Ok(bytes) => {
                buffer.advance(bytes);
                self.read_bytes += bytes as u64;
                if self.state() == State::TimeWait {
                    // The stack waits for the last byte to be read.
                    self.ring();
                } else {
                    self.ring_if_needed();
                }
                Poll::Ready(Ok(()))
            }
            Err(RecvError::Finished) => Poll::Ready(Ok(())),
            Err(RecvError::InvalidState) => match self.end {
                None if self.peer_finished => Poll::Ready(Ok(())),
                end => Poll::Ready(Err(end.unwrap_or(End::Reset).error())),
            },
        }
    }

    pub(in crate::netstack) fn poll_write(
        &mut self,
        cx: &mut Context<'_>,
        data: &[u8],
    ) -> Poll<io::Result<usize>> {
        if let Some(end) = self.end {
            return Poll::Ready(Err(end.error()));
        }
        if self.finishing {
            return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        }
        if self.socket().send_queue() == 0 {
            self.hurry.progress(tokio::time::Instant::now().into_std());
        }
        match self.socket().send_slice(data) {
            Ok(0) if !data.is_empty() => {
                self.socket().register_send_waker(cx.waker());
                Poll::Pending
            }
            Ok(bytes) => {
                self.ring_if_needed();
                Poll::Ready(Ok(bytes))
            }
            Err(_) => Poll::Ready(Err(io::ErrorKind::BrokenPipe.into())),
        }
    }

    /// After this nothing more is written. Where the peer has finished before, our FIN waits until it has acknowledged all data:
    /// smoltcp 0.14 in LAST-ACK believes no window and no repeated acknowledgement that doesn't acknowledge new data.
    pub(in crate::netstack) fn finish(&mut self) {
        let socket = self.socket();
        let waits = socket.state() == State::CloseWait && socket.send_queue() > 0;
        if !waits {
            socket.close();
        }
        self.finishing = waits;
        self.ring();
    }

    pub(in crate::netstack) fn detach(&mut self) {
        self.attached = false;
        if self.socket().can_recv() {
            self.end(End::Aborted);
        }
        self.finish();
    }
}
