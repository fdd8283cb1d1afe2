//! Datagrams over byte streams, for networks where only TCP passes: frames of `[length u16][datagram]`, big endian. What a
//! stream can't take is dropped and counted, as UDP would; a slow stream never holds up the tunnel.

mod socket;

use std::collections::HashMap;
use std::io;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{
    AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, BufReader, ReadHalf, WriteHalf, split,
};
use tokio::sync::mpsc;
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::timeout;

use crate::error::TunnelError;
use crate::path::CarrierId;
use crate::shard::Place;
pub use socket::prepare_carrier_socket;

/// A byte stream that both ends may read and write at the same time.
pub type CarrierStream = Box<dyn ByteStream>;

/// What [`CarrierStream`] holds.
pub trait ByteStream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> ByteStream for T {}

/// The carriers of one tunnel: one task each, ended with this.
pub(crate) struct Carriers {
    outgoing: HashMap<CarrierId, Outgoing>,
    incoming: mpsc::Receiver<(CarrierId, Vec<u8>)>,
    inbox: mpsc::Sender<(CarrierId, Vec<u8>)>,
    tasks: JoinSet<CarrierId>,
    next: u32,
    /// Shards count in steps, so that a number names its shard.
    step: u32,
    pub(crate) dropped: u64,
}

struct Outgoing {
    queue: mpsc::Sender<Vec<u8>>,
    task: AbortHandle,
}

/// What a carrier has to tell.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Carried {
    Datagram(CarrierId, Vec<u8>),
    Closed(CarrierId),
}

impl Carriers {
    pub(crate) fn new(place: Place) -> Self {
        let (inbox, incoming) = mpsc::channel(MAX_INCOMING);
        Self {
            outgoing: HashMap::new(),
            incoming,
            inbox,
            tasks: JoinSet::new(),
            next: place.number() as u32,
            step: place.count() as u32,
            dropped: 0,
        }
    }

    pub(crate) fn attach(&mut self, stream: CarrierStream) -> Result<CarrierId, TunnelError> {
        if self.outgoing.len() >= MAX_CARRIERS {
            return Err(TunnelError::TooMany {
                what: "carriers",
                count: self.outgoing.len() + 1,
                limit: MAX_CARRIERS,
            });
        }
        let id = CarrierId(self.next);
        self.next += self.step;
        let (queue, waiting) = mpsc::channel(MAX_OUTGOING);
        let task = self
            .tasks
            .spawn(carry(id, stream, waiting, self.inbox.clone()));
        self.outgoing.insert(id, Outgoing { queue, task });
        Ok(id)
    }

    /// Ends a carrier; nothing more comes of it, not even that it closed. False if there is none.
    pub(crate) fn detach(&mut self, id: CarrierId) -> bool {
        let gone = self.outgoing.remove(&id);
        if let Some(gone) = &gone {
            gone.task.abort();
        }
        gone.is_some()
    }

    pub(crate) fn send(&mut self, id: CarrierId, datagram: Vec<u8>) {
        let carrier = self.outgoing.get(&id);
        let taken = carrier.is_some_and(|carrier| carrier.queue.try_send(datagram).is_ok());
        self.dropped += u64::from(!taken);
    }

    /// What came next. Pending for ever while there are no carriers.
    pub(crate) fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Carried> {
        while let Poll::Ready(Some((id, datagram))) = self.incoming.poll_recv(cx) {
            if self.outgoing.contains_key(&id) {
                return Poll::Ready(Carried::Datagram(id, datagram));
            }
        }
        while let Poll::Ready(Some(ended)) = self.tasks.poll_join_next(cx) {
            // A task that was aborted has been detached already.
            if let Ok(id) = ended
                && self.outgoing.remove(&id).is_some()
            {
                return Poll::Ready(Carried::Closed(id));
            }
        }
        Poll::Pending
    }
}

/// Runs until the stream ends, fails, or breaks the rules.
async fn carry(
    id: CarrierId,
    stream: CarrierStream,
    waiting: mpsc::Receiver<Vec<u8>>,
    inbox: mpsc::Sender<(CarrierId, Vec<u8>)>,
) -> CarrierId {
    let (read, write) = split(stream);
    let ended = tokio::select! {
        ended = receive(id, read, inbox) => ended,
        ended = send(write, waiting) => ended,
    };
    if let Err(error) = ended {
        tracing::debug!(carrier = id.0, %error, "a carrier ends");
    }
    id
}

async fn receive(
    id: CarrierId,
    read: ReadHalf<CarrierStream>,
    inbox: mpsc::Sender<(CarrierId, Vec<u8>)>,
) -> io::Result<()> {
    let mut read = BufReader::with_capacity(READ_BUFFER_BYTES, read);
    loop {
        let length = usize::from(read.read_u16().await?);
        if !(1..=MAX_DATAGRAM_BYTES).contains(&length) {
            return Err(io::Error::new(
                io::ErrorKind::InvalidData,
                format!(
                    "a frame of {length} bytes; between 1 and {MAX_DATAGRAM_BYTES} are allowed"
                ),
            ));
        }
        let mut datagram = vec![0; length];
        read.read_exact(&mut datagram).await?;
        // Waiting here slows the other side down by TCP's own means, and nothing of ours.
        if inbox.send((id, datagram)).await.is_err() {
            return Ok(());
        }
    }
}

async fn send(
    mut write: WriteHalf<CarrierStream>,
    mut waiting: mpsc::Receiver<Vec<u8>>,
) -> io::Result<()> {
    let mut batch = Vec::new();
    let mut frames = Vec::new();
    while waiting.recv_many(&mut batch, MAX_BATCH).await > 0 {
        frames.clear();
        for datagram in batch.drain(..) {
            // The other side would end the stream for any other length.
            if (1..=MAX_DATAGRAM_BYTES).contains(&datagram.len()) {
                let length = datagram.len() as u16;
                frames.extend_from_slice(&length.to_be_bytes());
                frames.extend_from_slice(&datagram);
            }
        }
        let written = async {
            write.write_all(&frames).await?;
            write.flush().await
        };
        timeout(STALL_LIMIT, written).await??;
    }
    Ok(())
}

const MAX_CARRIERS: usize = 16_384;
/// The largest packet of a tunnel, sealed, in a relay frame.
pub(crate) const MAX_DATAGRAM_BYTES: usize = 9600;
/// Datagrams that wait for a stream at a time. More would only make them late.
const MAX_OUTGOING: usize = 256;
/// Datagrams of all streams that wait for the tunnel's task.
const MAX_INCOMING: usize = 1024;
/// Datagrams written at once.
const MAX_BATCH: usize = 32;
const READ_BUFFER_BYTES: usize = 16 * 1024;
/// A stream that takes nothing for this long is as good as dead.
const STALL_LIMIT: Duration = Duration::from_secs(15);

#[cfg(test)]
mod tests;
