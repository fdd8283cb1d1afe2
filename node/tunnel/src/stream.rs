//! What a TCP connection through the tunnel looks like to its owner, whatever the engine. It never reconnects.

use std::io;
use std::os::fd::OwnedFd;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};

/// A TCP connection through the tunnel.
///
/// Shutting down the write half sends a FIN and leaves the read half open. Dropping the stream closes it in order if all
/// that arrived was read, otherwise it resets it, as the kernel does.
pub trait Stream: AsyncRead + AsyncWrite + Send + Unpin {
    /// Ends the connection at once with a reset, so that the other side sees a failure and not an end of data.
    fn abort(&mut self);

    /// The kernel's socket beneath, for who can move bytes between two such without copying; else the stream itself.
    ///
    /// # Errors
    /// The stream, if it is not the kernel's or has been aborted.
    fn into_kernel(self: Box<Self>) -> Result<KernelPart, BoxStream>;
}

/// Ends when connections must be given up: the other side's address has left its peer.
pub type Cut = Pin<Box<dyn Future<Output = ()> + Send>>;

/// A connection of the kernel that its owner carries on by itself.
pub struct KernelPart {
    pub tcp: TcpStream,
    /// Ends when the connection must be given up: its peer is gone. It must be kept as long as the socket.
    pub cut: Cut,
}

/// How the kernel's own TCP reaches one overlay address, for who opens many connections to it.
pub struct KernelWay {
    /// Makes sockets that connect this way and no other; they don't block, and have not set out. Any socket is the owner's.
    pub socket: Box<dyn Fn() -> io::Result<OwnedFd> + Send + Sync>,
    /// Ends when all connections that went this way must be given up: the address has left its peer. It must be kept as long
    /// as one of them.
    pub cut: Cut,
}

pub type BoxStream = Box<dyn Stream>;

/// The signal that ends a connection, as its halves wait for it: each in a place of its own, since a place remembers one task
/// and the halves may be in the hands of two.
pub(crate) struct CutHalves {
    read: Pin<Box<WaitForCancellationFutureOwned>>,
    write: Pin<Box<WaitForCancellationFutureOwned>>,
}

#[derive(Debug, Clone, Copy)]
pub(crate) enum Half {
    Read,
    Write,
}

impl CutHalves {
    pub(crate) fn new(signal: &CancellationToken) -> Self {
        let wait = || Box::pin(signal.clone().cancelled_owned());
        Self {
            read: wait(),
            write: wait(),
        }
    }

    /// Ready once the connection is cut. Until then the task of this half is woken when it is.
    pub(crate) fn poll(&mut self, half: Half, cx: &mut Context<'_>) -> Poll<()> {
        match half {
            Half::Read => self.read.as_mut().poll(cx),
            Half::Write => self.write.as_mut().poll(cx),
        }
    }
}
