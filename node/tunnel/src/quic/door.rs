//! The tunnel's side of the door: bounded queues to and from those who speak QUIC. It allocates nothing for other datagrams.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};

use quinn_udp::RecvMeta;
use tokio::sync::mpsc;

use super::{QuicSide, Room};
use crate::path::Transmit;
use crate::socket::{Batch, Envelope};

/// All QUIC of one tunnel.
pub(crate) struct QuicDoor {
    /// By number of the socket; none where nobody takes QUIC.
    sides: Vec<Option<Inlet>>,
    leaving: mpsc::Receiver<Leaving>,
    /// For the sides.
    outlet: mpsc::Sender<Leaving>,
    /// The next to leave.
    held: Option<Leaving>,
    room: Arc<Room>,
    counters: QuicCounters,
}

/// Where QUIC of one socket goes.
struct Inlet {
    arrived: mpsc::Sender<Arrived>,
    waiting_bytes: Arc<AtomicUsize>,
}

/// Datagrams of one sender.
pub(super) struct Arrived {
    pub(super) datagrams: Vec<u8>,
    pub(super) meta: RecvMeta,
}

/// Datagrams to send.
pub(crate) struct Leaving {
    pub(crate) transmit: Transmit,
    pub(crate) envelope: Envelope,
}

/// Datagrams that passed the door.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct QuicCounters {
    pub(crate) received: u64,
    /// Of those received, what found its queue full.
    pub(crate) dropped: u64,
    pub(crate) sent: u64,
}

impl QuicDoor {
    pub(crate) fn new() -> Self {
        let (outlet, leaving) = mpsc::channel(MAX_LEAVING);
        Self {
            sides: Vec::new(),
            leaving,
            outlet,
            held: None,
            room: Arc::default(),
            counters: QuicCounters::default(),
        }
    }

    /// Gives out the side of one socket; `None` while somebody has it.
    pub(crate) fn open(&mut self, socket: usize, local: SocketAddr) -> Option<QuicSide> {
        if self.sides.len() <= socket {
            self.sides.resize_with(socket + 1, || None);
        }
        let place = &mut self.sides[socket];
        if place
            .as_ref()
            .is_some_and(|inlet| !inlet.arrived.is_closed())
        {
            return None;
        }
        let (arrived, taken) = mpsc::channel(MAX_ARRIVED);
        let waiting_bytes = Arc::new(AtomicUsize::new(0));
        *place = Some(Inlet {
            arrived,
            waiting_bytes: waiting_bytes.clone(),
        });
        Some(QuicSide {
            socket,
            local,
            arrived: taken.into(),
            waiting_bytes,
            leaving: self.outlet.clone(),
            room: self.room.clone(),
        })
    }

    /// Whether somebody takes this socket's QUIC.
    pub(crate) fn takes(&self, socket: usize) -> bool {
        self.sides.get(socket).is_some_and(Option::is_some)
    }

    /// Passes on a part of a batch, or drops it.
    pub(crate) fn arrive(&mut self, batch: &Batch<'_>, datagrams: &[u8]) {
        let count = datagrams.len().div_ceil(batch.stride()) as u64;
        self.counters.received += count;
        let inlet = self.sides.get_mut(batch.socket).and_then(Option::as_mut);
        let place = inlet.and_then(|inlet| {
            let waiting = inlet.waiting_bytes.load(Ordering::Relaxed);
            let fits = waiting + datagrams.len() <= MAX_ARRIVED_BYTES;
            let place = inlet.arrived.try_reserve().ok().filter(|_| fits)?;
            inlet
                .waiting_bytes
                .fetch_add(datagrams.len(), Ordering::Relaxed);
            Some(place)
        });
        match place {
            None => self.counters.dropped += count,
            Some(place) => place.send(Arrived {
                datagrams: datagrams.to_vec(),
                meta: RecvMeta {
                    stride: batch.stride(),
                    ..batch.meta
                },
            }),
        }
    }

    /// Completes when something is to be sent. Cancel safe.
    pub(crate) fn poll_leaving(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if self.held.is_none() {
            match self.leaving.poll_recv(cx) {
                Poll::Ready(leaving) => self.held = leaving,
                Poll::Pending => return Poll::Pending,
            }
        }
        Poll::Ready(())
    }

    /// The next to send.
    pub(crate) fn pop(&mut self) -> Option<Leaving> {
        self.held.take().or_else(|| self.leaving.try_recv().ok())
    }

    /// What the socket had no room for will be the next again.
    pub(crate) fn hold(&mut self, leaving: Leaving) {
        self.held = Some(leaving);
    }

    /// So many datagrams were sent, and others may come.
    pub(crate) fn sent(&mut self, count: usize) {
        self.counters.sent += count as u64;
        self.room.wake();
    }

    pub(crate) fn counters(&self) -> QuicCounters {
        self.counters
    }
}

impl Drop for QuicDoor {
    fn drop(&mut self) {
        // Whoever waits is to learn that nothing will be sent any more.
        self.leaving.close();
        self.room.wake();
    }
}

/// Batches that wait for one QUIC endpoint, and their bytes: as much as a socket of its own would hold.
pub(super) const MAX_ARRIVED: usize = 4096;
pub(super) const MAX_ARRIVED_BYTES: usize = 8 * 1024 * 1024;
/// Batches that wait for the tunnel to send them, of all endpoints together.
pub(super) const MAX_LEAVING: usize = 256;
