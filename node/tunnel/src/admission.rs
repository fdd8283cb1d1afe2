//! Connections that a peer opens by another way than the tunnel, let in on the tunnel's terms: the same permissions, the same
//! listeners, the same end when a permission goes. It never carries anything itself.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::config::Protocol;
use crate::device::Device;
use crate::key::PublicKey;
use crate::listener::Place;
use crate::stream::{BoxStream, CutHalves, Half, KernelPart, Stream};

/// Leave to hand one connection to whoever listens. Dropping it gives the place back.
pub struct Admission {
    place: Place,
    remote: SocketAddr,
    cut: DropGuard,
}

impl Admission {
    /// The listener accepts `stream` as a connection of the peer. It breaks when the peer loses its permission, and at once if
    /// the listener is gone.
    pub fn enter(self, stream: BoxStream) {
        let cut = self.cut.disarm();
        let admitted = Admitted {
            stream,
            cut: CutHalves::new(&cut),
            _over: cut.drop_guard(),
        };
        self.place.fill(Box::new(admitted), self.remote);
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
        place: Place,
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
    cut: CutHalves,
    /// Cancels at the end, whoever brings it about.
    _over: DropGuard,
}

impl Admitted {
    fn check(&mut self, half: Half, cx: &mut Context<'_>) -> io::Result<()> {
        if self.cut.poll(half, cx).is_pending() {
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
        self.check(Half::Read, cx)?;
        Pin::new(&mut self.stream).poll_read(cx, buffer)
    }
}

impl AsyncWrite for Admitted {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        data: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.check(Half::Write, cx)?;
        Pin::new(&mut self.stream).poll_write(cx, data)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.check(Half::Write, cx)?;
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.check(Half::Write, cx)?;
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

#[cfg(test)]
mod tests {
    use std::iter;
    use std::sync::atomic::{AtomicBool, Ordering};
    use std::time::Duration;

    use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex, split};
    use tokio::sync::mpsc;
    use tokio::task::yield_now;
    use tokio::time::timeout;

    use super::*;

    struct Pipe(DuplexStream);

    impl AsyncRead for Pipe {
        fn poll_read(
            mut self: Pin<&mut Self>,
            cx: &mut Context<'_>,
            buffer: &mut ReadBuf<'_>,
        ) -> Poll<io::Result<()>> {
            Pin::new(&mut self.0).poll_read(cx, buffer)
        }
    }

    impl AsyncWrite for Pipe {
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

    /// As a connection beside the tunnel, it ends only the other side's view.
    impl Stream for Pipe {
        fn abort(&mut self) {}

        fn into_kernel(self: Box<Self>) -> Result<KernelPart, BoxStream> {
            Err(self)
        }
    }

    /// Each half may be in a task of its own.
    #[tokio::test(start_paused = true)]
    async fn a_cut_ends_a_read_that_waits_while_another_task_writes() {
        let mut admissions = Admissions::default();
        let (to_listener, mut listener) = mpsc::channel(1);
        let place = Place::reserve(&to_listener).unwrap();
        let peer = PublicKey::from_bytes([2; 32]);
        let remote = ([10, 0, 0, 2], 40_000).into();
        let admission = admissions.add(peer, 22, remote, place);
        let (near, _far) = duplex(64);
        admission.enter(Box::new(Pipe(near)));
        let (stream, _) = listener.recv().await.unwrap();
        let (mut read, mut write) = split(stream);
        let reading = tokio::spawn(async move { read.read_u8().await });
        yield_now().await;
        write.write_all(b"there").await.unwrap();
        admissions.cut_all();
        let ended = timeout(Duration::from_secs(1), reading).await;
        assert!(ended.expect("nobody woke the reader").unwrap().is_err());
    }

    #[tokio::test(start_paused = true)]
    async fn who_enters_after_the_listener_has_gone_is_sent_away() {
        let mut admissions = Admissions::default();
        let (to_listener, listener) = mpsc::channel(1);
        let place = Place::reserve(&to_listener).unwrap();
        let peer = PublicKey::from_bytes([2; 32]);
        let remote = ([10, 0, 0, 2], 40_000).into();
        let admission = admissions.add(peer, 22, remote, place);
        let (near, mut far) = duplex(64);
        drop(listener);
        admission.enter(Box::new(Pipe(near)));
        let read = timeout(Duration::from_secs(1), far.read(&mut [0])).await;
        assert_eq!(read.expect("nobody told the caller").unwrap(), 0);
        assert_eq!(admissions.count(), 0);
    }

    #[test]
    fn the_last_place_is_kept_for_its_connection_while_others_ask() {
        let (backlog, mut listener) = mpsc::channel(1);
        let filled = AtomicBool::new(false);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                while !filled.load(Ordering::Relaxed) {
                    drop(Place::reserve(&backlog));
                }
            });
            let mut places = iter::repeat_with(|| Place::reserve(&backlog)).flatten();
            let is_filled = places.by_ref().take(100_000).all(|place| {
                let (near, _far) = duplex(1);
                let remote = ([10, 0, 0, 2], 40_000).into();
                place.fill(Box::new(Pipe(near)), remote) && listener.try_recv().is_ok()
            });
            filled.store(true, Ordering::Relaxed);
            assert!(is_filled, "a place was taken by another");
        });
    }
}
