//! Accepting TCP connections that arrive through the tunnel. Dropping a listener stops it.

use std::io;
use std::net::SocketAddr;
use std::os::fd::BorrowedFd;

use tokio::sync::mpsc;

use crate::stream::BoxStream;
use crate::userspace::{KernelListener, SourceWatch};

/// A listening port on the overlay.
pub struct TunnelListener {
    source: Source,
    local_addrs: Vec<SocketAddr>,
}

/// The kernel's sockets beneath a listener, for who accepts there by itself. They take connections through the tunnel's
/// interface, and from this machine's own programs: who accepts one must have its source watched, and refuse it if that fails.
pub struct KernelDoors<'a> {
    /// They don't block, and what they accept has `TCP_NODELAY`.
    pub sockets: Vec<BorrowedFd<'a>>,
    pub sources: SourceWatch,
}

/// A connection, and where it comes from.
pub(crate) type Accepted = (BoxStream, SocketAddr);

enum Source {
    Netstack(mpsc::Receiver<Accepted>),
    Kernel(KernelListener),
}

impl TunnelListener {
    pub(crate) fn netstack(
        accepted: mpsc::Receiver<Accepted>,
        local_addrs: Vec<SocketAddr>,
    ) -> Self {
        Self {
            source: Source::Netstack(accepted),
            local_addrs,
        }
    }

    pub(crate) fn kernel(listener: KernelListener, local_addrs: Vec<SocketAddr>) -> Self {
        Self {
            source: Source::Kernel(listener),
            local_addrs,
        }
    }

    /// The overlay addresses on which this listens.
    pub fn local_addrs(&self) -> &[SocketAddr] {
        &self.local_addrs
    }

    /// `None`: this engine's TCP is not the kernel's.
    pub fn kernel_doors(&self) -> Option<KernelDoors<'_>> {
        match &self.source {
            Source::Netstack(_) => None,
            Source::Kernel(listener) => Some(KernelDoors {
                sockets: listener.sockets().collect(),
                sources: listener.sources(),
            }),
        }
    }

    /// The next connection, and the overlay address it comes from. Cancel safe.
    ///
    /// # Errors
    /// [`io::ErrorKind::BrokenPipe`] when the tunnel has been shut down; nothing will be accepted any more.
    pub async fn accept(&mut self) -> io::Result<(BoxStream, SocketAddr)> {
        match &mut self.source {
            Source::Netstack(accepted) => accepted.recv().await.ok_or_else(stopped),
            Source::Kernel(listener) => listener.accept().await,
        }
    }
}

/// A place in a listener's backlog, taken before the connection stands. Dropping it gives it back.
pub(crate) struct Place {
    backlog: mpsc::Sender<Accepted>,
    permit: mpsc::OwnedPermit<Accepted>,
}

impl Place {
    /// None: the backlog is full, or its listener gone.
    pub(crate) fn reserve(backlog: &mpsc::Sender<Accepted>) -> Option<Self> {
        Some(Self {
            backlog: backlog.clone(),
            permit: backlog.clone().try_reserve_owned().ok()?,
        })
    }

    /// The listener accepts this connection. False: it is gone, and the connection reset.
    pub(crate) fn fill(self, mut stream: BoxStream, remote: SocketAddr) -> bool {
        if self.backlog.is_closed() {
            stream.abort();
            return false;
        }
        self.permit.send((stream, remote));
        true
    }
}

pub(crate) fn stopped() -> io::Error {
    io::Error::new(io::ErrorKind::BrokenPipe, "the tunnel has been shut down")
}
