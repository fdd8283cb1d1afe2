//! Connections that a peer opens by another way than the tunnel, let in on the tunnel's terms: the same permissions, the same
//! listeners, the same end when a permission goes. It never carries anything itself.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::mpsc::OwnedPermit;
use tokio_util::sync::{CancellationToken, DropGuard, WaitForCancellationFutureOwned};

use crate::config::Protocol;
use crate::device::Device;
use crate::key::PublicKey;
use crate::stream::{BoxStream, KernelPart, Stream};

/// Leave to hand one connection to whoever listens. Dropping it gives the place back.
pub struct Admission {
    place: OwnedPermit<(BoxStream, SocketAddr)>,
    remote: SocketAddr,
    cut: DropGuard,
}

impl Admission {
    /// The listener accepts `stream` as a connection of the peer. It breaks when the peer loses its permission.
    pub fn enter(self, stream: BoxStream) {
        let cut = self.cut.disarm();
        let admitted = Admitted {
            stream,
            cut: Box::pin(cut.clone().cancelled_owned()),
            _over: cut.drop_guard(),
        };
        self.place.send((Box::new(admitted), self.remote));
    }
}

impl fmt::Debug for Admission {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Admission")
            .field("remote", &self.remote)
            .finish_non_exhaustive()
    }
}

/// The admitted connections of one tunnel.
#[derive(Default)]
pub(crate) struct Admissions(Vec<Entry>);

struct Entry {
    peer: PublicKey,
    port: u16,
    cut: CancellationToken,
}

impl Admissions {
    /// Connections that have not ended.
    pub(crate) fn count(&mut self) -> usize {
        self.0.retain(|entry| !entry.cut.is_cancelled());
        self.0.len()
    }

    pub(crate) fn add(
        &mut self,
        peer: PublicKey,
        port: u16,
        remote: SocketAddr,
        place: OwnedPermit<(BoxStream, SocketAddr)>,
    ) -> Admission {
        let cut = CancellationToken::new();
        self.0.push(Entry {
            peer,
            port,
            cut: cut.clone(),
        });
        let cut = cut.drop_guard();
        Admission { place, remote, cut }
    }

    /// Ends every connection that would not be admitted any more.
    pub(crate) fn review(&mut self, device: &Device) {
        self.0.retain(|entry| {
            let stays = device.permits(&entry.peer, Protocol::Tcp, entry.port);
            if !stays {
                entry.cut.cancel();
            }
            stays && !entry.cut.is_cancelled()
        });
    }

    pub(crate) fn cut_all(&mut self) {
        for entry in self.0.drain(..) {
            entry.cut.cancel();
        }
    }
}

/// An admitted connection in its owner's hands.
struct Admitted {
    stream: BoxStream,
    cut: Pin<Box<WaitForCancellationFutureOwned>>,
    /// Cancels at the end, whoever brings it about.
    _over: DropGuard,
}

impl Admitted {
    fn check(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        if self.cut.as_mut().poll(cx).is_pending() {
            return Ok(());
        }
        self.stream.abort();
        Err(io::ErrorKind::ConnectionReset.into())
    }
}

impl AsyncRead for Admitted {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.check(cx)?;
        Pin::new(&mut self.stream).poll_read(cx, buffer)
    }
}

impl AsyncWrite for Admitted {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        data: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.check(cx)?;
        Pin::new(&mut self.stream).poll_write(cx, data)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.check(cx)?;
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.check(cx)?;
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

impl Stream for Admitted {
    fn abort(&mut self) {
        self.stream.abort();
    }

    fn into_kernel(self: Box<Self>) -> Result<KernelPart, BoxStream> {
        Err(self)
    }
}
