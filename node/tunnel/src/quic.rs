//! The door for QUIC: what arrives on a tunnel's UDP sockets and is QUIC goes to whoever speaks it, and what they send leaves by
//! the same socket. It never looks inside, and waits for nobody: what is not taken in time is dropped and counted.

mod door;
#[cfg(test)]
mod tests;

pub(crate) use door::{Leaving, QuicDoor};

use std::collections::HashMap;
use std::fmt;
use std::io::{self, IoSliceMut};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use quinn_udp::RecvMeta;
use tokio::sync::mpsc;

use crate::path::{Path, Transmit};
use crate::socket::Envelope;
use door::Arrived;

/// The QUIC half of one UDP socket of a tunnel, for one QUIC endpoint. Batches stay batches in both directions, up to
/// [`MAX_SEGMENTS`](Self::MAX_SEGMENTS) datagrams each.
///
/// The socket lets datagrams be fragmented, as WireGuard wants it, so an endpoint must not search for the path's MTU here.
pub struct QuicSide {
    socket: usize,
    local: SocketAddr,
    /// Locked by its one reader only, since a QUIC endpoint polls through a shared reference.
    arrived: Mutex<mpsc::Receiver<Arrived>>,
    waiting_bytes: Arc<AtomicUsize>,
    leaving: mpsc::Sender<Leaving>,
    room: Arc<Room>,
}

/// Tells one task when a [`QuicSide`] takes datagrams again.
pub struct QuicRoom {
    number: u64,
    leaving: mpsc::Sender<Leaving>,
    room: Arc<Room>,
}

/// Who waits for room. Locked by senders that found none, and by the tunnel after it sent QUIC.
#[derive(Default)]
struct Room {
    waiting: Mutex<HashMap<u64, Waker>>,
    last: AtomicU64,
}

impl QuicSide {
    /// Datagrams in one batch, in either direction.
    pub const MAX_SEGMENTS: usize = 64;

    /// The socket's address when it was taken.
    pub fn local_addr(&self) -> SocketAddr {
        self.local
    }

    /// Fills `buffers` with batches that have arrived and `metas` with where they came from, and says how many they are.
    ///
    /// # Errors
    /// `BrokenPipe` if the tunnel has been shut down.
    pub fn poll_receive(
        &self,
        cx: &mut Context<'_>,
        buffers: &mut [IoSliceMut<'_>],
        metas: &mut [RecvMeta],
    ) -> Poll<io::Result<usize>> {
        let mut arrived = self.arrived.lock().unwrap_or_else(PoisonError::into_inner);
        let mut count = 0;
        for (buffer, meta) in buffers.iter_mut().zip(metas) {
            let batch = match arrived.poll_recv(cx) {
                Poll::Ready(Some(batch)) => batch,
                Poll::Ready(None) if count == 0 => {
                    return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
                }
                Poll::Pending if count == 0 => return Poll::Pending,
                Poll::Ready(None) | Poll::Pending => break,
            };
            let bytes = batch.datagrams.len();
            self.waiting_bytes.fetch_sub(bytes, Ordering::Relaxed);
            // A buffer that is too small loses what does not fit, as with a socket.
            let fits = bytes.min(buffer.len());
            buffer[..fits].copy_from_slice(&batch.datagrams[..fits]);
            *meta = RecvMeta {
                len: fits,
                ..batch.meta
            };
            count += 1;
        }
        Poll::Ready(Ok(count))
    }

    /// Hands a batch to the tunnel, which sends it by the socket.
    ///
    /// # Errors
    /// `WouldBlock` if there is no [room](Self::room), `InvalidInput` for a batch longer than a datagram can be, `BrokenPipe` if
    /// the tunnel has been shut down.
    pub fn try_send(&self, transmit: &quinn_udp::Transmit<'_>) -> io::Result<()> {
        if transmit.contents.len() > DATAGRAMS_MAX_BYTES {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        let place = self.leaving.try_reserve().map_err(|error| match error {
            mpsc::error::TrySendError::Full(()) => io::Error::from(io::ErrorKind::WouldBlock),
            mpsc::error::TrySendError::Closed(()) => io::ErrorKind::BrokenPipe.into(),
        })?;
        let bytes = transmit.contents.len();
        place.send(Leaving {
            transmit: Transmit {
                path: Path::Udp {
                    local: Some(self.socket),
                    remote: transmit.destination,
                },
                payload: transmit.contents.to_vec().into(),
                segment_bytes: transmit.segment_size.unwrap_or(bytes).max(1),
            },
            envelope: Envelope {
                ecn: transmit.ecn,
                source: transmit.src_ip,
            },
        });
        Ok(())
    }

    /// Where one task waits for room.
    pub fn room(&self) -> QuicRoom {
        QuicRoom {
            number: self.room.last.fetch_add(1, Ordering::Relaxed),
            leaving: self.leaving.clone(),
            room: self.room.clone(),
        }
    }
}

impl QuicRoom {
    /// Completes when a batch can be sent, or when the tunnel has ended and sending will say so. It may be asked again.
    pub fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if self.has_room() {
            return Poll::Ready(());
        }
        self.room.lock().insert(self.number, cx.waker().clone());
        // What left before we were on the list woke nobody.
        match self.has_room() {
            true => Poll::Ready(()),
            false => Poll::Pending,
        }
    }

    fn has_room(&self) -> bool {
        self.leaving.capacity() > 0 || self.leaving.is_closed()
    }
}

impl Drop for QuicRoom {
    fn drop(&mut self) {
        self.room.lock().remove(&self.number);
    }
}

impl Room {
    fn wake(&self) {
        let waiting = std::mem::take(&mut *self.lock());
        for waker in waiting.into_values() {
            waker.wake();
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<u64, Waker>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for QuicSide {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("QuicSide")
            .field("local", &self.local)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for QuicRoom {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("QuicRoom").finish_non_exhaustive()
    }
}

/// A batch is one UDP datagram until the kernel cuts it.
const DATAGRAMS_MAX_BYTES: usize = 65_507;
