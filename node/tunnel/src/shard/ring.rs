//! What shards hand to each other: datagrams that came to the wrong one, packets of this node for another's peer, and notes.
//! The queues are bounded and have no lock; what finds one full is dropped and counted, and nobody waits for room.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::time::Instant;

use quinn_udp::RecvMeta;
use socket2::Socket;
use tokio::sync::Notify;

use super::Place;
use crate::key::PublicKey;
use crate::offload::buffer::{Buffer, Pool, SMALL_BYTES};
use crate::offload::cut::PADDING_BYTES;
use crate::offload::vnet::Work;
use crate::path::{CarrierId, ChannelId, Path};

/// What the other shard is to do with the bytes of a parcel.
#[derive(Debug)]
pub(crate) enum Errand {
    /// Datagrams that came to a socket of this number: take them as if they had come to yours.
    Arrived { socket: usize, meta: RecvMeta },
    /// Datagrams that came by a carrier.
    Carried(CarrierId),
    /// An initiation of this peer of yours; the doorkeeper has let it in.
    Knock { path: Path, peer: PublicKey },
    /// Relay frames that came by this path, for a channel whose hub or peer is yours.
    Frames(Path),
    /// Relay frames for a channel of yours, which its hub has sent.
    Relayed(ChannelId),
    /// Datagrams to be sent to this peer of yours, which is a hub.
    ToHub(PublicKey),
    /// Datagrams to be sent by this carrier of yours.
    ToCarrier(CarrierId),
    /// Packets of this node for peers of yours, each with the work left to do.
    Packets(Vec<Packet>),
    /// A host said that nothing listens there.
    PortUnreachable(SocketAddr),
    /// A carrier has ended.
    CarrierClosed(CarrierId),
    /// This hub is reached by another path now.
    HubMoved(PublicKey),
    /// This hub is about to be needed, since a peer is silent since then.
    SuspectHub(PublicKey, Instant),
    /// This peer, which was heard at the first path, is at the second now.
    Left(PublicKey, Path, Path),
}

/// Where a packet stands in its parcel.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Packet {
    pub(crate) start: usize,
    pub(crate) bytes: usize,
    pub(crate) work: Work,
}

#[derive(Debug)]
pub(crate) struct Parcel {
    pub(crate) errand: Errand,
    /// Length of each datagram but the last, which may be shorter.
    pub(crate) stride: usize,
    pub(crate) bytes: Buffer,
}

/// The other shards, as one of them sees them. One per shard, none in a tunnel that has only one. When one of them is dropped, be
/// it by a panic, the others are woken and told that their tunnel has ended.
pub(crate) struct Neighbours {
    place: Place,
    /// By number; one's own is never used.
    doors: Vec<Door>,
    packets: LaneEnd,
    datagrams: LaneEnd,
    /// Buffers that come back from where they were sent.
    returned: Receiver<Buffer>,
    sockets: Receiver<Vec<Socket>>,
    bell: Arc<Notify>,
    ended: Arc<AtomicBool>,
    /// Small packets that leave together, by shard.
    gathering: Vec<Gathering>,
    /// The shards that were woken since the last [`settle`](Self::settle), and those that have got more since then.
    woken: u32,
    waiting: u32,
    pool: Pool,
    pub(crate) counters: Handed,
}

/// What passed from this shard to others, in datagrams and packets.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Handed {
    pub(crate) over: u64,
    pub(crate) dropped: u64,
}

#[derive(Default)]
struct Gathering {
    bytes: Buffer,
    packets: Vec<Packet>,
}

/// Where one shard takes what others have for it.
#[derive(Clone)]
struct Door {
    packets: Lane,
    datagrams: Lane,
    returned: SyncSender<Buffer>,
    sockets: SyncSender<Vec<Socket>>,
    bell: Arc<Notify>,
}

/// A queue of parcels, bounded in number and in the memory that they hold.
#[derive(Clone)]
struct Lane {
    parcels: SyncSender<(usize, Parcel)>,
    waiting_bytes: Arc<AtomicUsize>,
}

struct LaneEnd {
    parcels: Receiver<(usize, Parcel)>,
    waiting_bytes: Arc<AtomicUsize>,
}

impl Neighbours {
    /// One for each shard, in their order.
    pub(crate) fn all(count: usize) -> Vec<Self> {
        let ended = Arc::new(AtomicBool::new(false));
        let mut doors = Vec::new();
        let mut inboxes = Vec::new();
        for place in Place::all(count) {
            let (packets, packets_in) = lane();
            let (datagrams, datagrams_in) = lane();
            let (returned, returned_in) = sync_channel(MAX_RETURNED);
            let (sockets, sockets_in) = sync_channel(MAX_SOCKETS);
            let bell = Arc::new(Notify::new());
            doors.push(Door {
                packets,
                datagrams,
                returned,
                sockets,
                bell: bell.clone(),
            });
            let inbox = (packets_in, datagrams_in, returned_in, sockets_in);
            inboxes.push((place, inbox, bell));
        }
        let neighbours = inboxes.into_iter().map(|(place, inbox, bell)| Self {
            place,
            doors: doors.clone(),
            packets: inbox.0,
            datagrams: inbox.1,
            returned: inbox.2,
            sockets: inbox.3,
            bell,
            ended: ended.clone(),
            gathering: std::iter::repeat_with(Gathering::default)
                .take(count)
                .collect(),
            woken: 0,
            waiting: 0,
            pool: Pool::default(),
            counters: Handed::default(),
        });
        neighbours.collect()
    }

    pub(crate) fn place(&self) -> Place {
        self.place
    }

    /// Hands over a copy of datagrams.
    pub(crate) fn datagrams(&mut self, to: usize, errand: Errand, datagrams: &[u8], stride: usize) {
        let parcel = Parcel {
            errand,
            stride,
            bytes: self.pool.copy(datagrams),
        };
        self.send(to, parcel);
    }

    /// Hands over anything but packets of this node.
    pub(crate) fn send(&mut self, to: usize, parcel: Parcel) {
        let count = parcel.count();
        let sent = self.doors[to].datagrams.send(self.place, parcel);
        self.handed(to, count, sent);
    }

    /// Hands over a packet of this node at the start of `packet`, whose room is another's afterwards. Small ones leave together, at
    /// the latest when [settled](Self::settle); none overtakes another.
    pub(crate) fn packet(&mut self, to: usize, packet: &mut Buffer, bytes: usize, work: Work) {
        if bytes > SMALL_BYTES || matches!(work, Work::Cut { .. }) {
            self.send_gathered(to);
            let mut whole = std::mem::replace(packet, self.pool.large());
            whole.set_end(bytes);
            let only = Packet {
                start: 0,
                bytes,
                work,
            };
            return self.send_packets(to, whole, vec![only]);
        }
        let full = |it: &Gathering| {
            it.packets.len() >= MAX_GATHERED
                || it.bytes.end() + bytes + PADDING_BYTES > it.bytes.capacity()
        };
        if full(&self.gathering[to]) {
            self.send_gathered(to);
            self.gathering[to].bytes = self.pool.large();
        }
        let Gathering {
            bytes: room,
            packets,
        } = &mut self.gathering[to];
        let start = room.end();
        room.room()[start..start + bytes].copy_from_slice(packet.peek(0..bytes));
        // What seals a packet writes its padding behind it.
        room.set_end(start + bytes + PADDING_BYTES);
        packets.push(Packet { start, bytes, work });
    }

    /// Sends what was gathered, and wakes who has got something since it was last woken.
    pub(crate) fn settle(&mut self) {
        for to in self.place.others() {
            self.send_gathered(to);
            if self.waiting & 1 << to != 0 {
                self.doors[to].bell.notify_one();
            }
        }
        (self.woken, self.waiting) = (0, 0);
    }

    /// The next packets of this node that another shard has read, and whose they were.
    pub(crate) fn next_packets(&mut self) -> Option<(usize, Parcel)> {
        self.packets.next()
    }

    pub(crate) fn next_datagrams(&mut self) -> Option<(usize, Parcel)> {
        self.datagrams.next()
    }

    /// The bytes of a parcel are done with.
    pub(crate) fn give_back(&mut self, from: usize, bytes: Buffer) {
        if bytes.capacity() > 0 {
            // Who has enough of them gets no more; it is freed.
            let _ = self.doors[from].returned.try_send(bytes);
        }
    }

    /// Takes back what others are done with.
    pub(crate) fn recycle(&mut self) {
        while let Ok(buffer) = self.returned.try_recv() {
            self.pool.put_back(buffer);
        }
    }

    /// Gives another shard its UDP sockets.
    pub(crate) fn send_sockets(&mut self, to: usize, sockets: Vec<Socket>) {
        // Each is asked to close its sockets, and so looks here, before there are others.
        if self.doors[to].sockets.try_send(sockets).is_ok() {
            self.doors[to].bell.notify_one();
        }
    }

    /// The latest UDP sockets that this shard was given.
    pub(crate) fn next_sockets(&mut self) -> Option<Vec<Socket>> {
        std::iter::from_fn(|| self.sockets.try_recv().ok()).last()
    }

    /// Whether another shard is gone, and so the tunnel.
    pub(crate) fn have_ended(&self) -> bool {
        self.ended.load(Ordering::Acquire)
    }

    /// What completes when another shard has something for this one.
    pub(crate) fn bell(&self) -> Arc<Notify> {
        self.bell.clone()
    }

    fn send_gathered(&mut self, to: usize) {
        if !self.gathering[to].packets.is_empty() {
            let Gathering { bytes, packets } = std::mem::take(&mut self.gathering[to]);
            let bytes = self.pool.shrink(bytes);
            self.send_packets(to, bytes, packets);
        }
    }

    fn send_packets(&mut self, to: usize, bytes: Buffer, packets: Vec<Packet>) {
        let count = packets.len() as u64;
        let parcel = Parcel {
            errand: Errand::Packets(packets),
            stride: 0,
            bytes,
        };
        let sent = self.doors[to].packets.send(self.place, parcel);
        self.handed(to, count, sent);
    }

    fn handed(&mut self, to: usize, count: u64, sent: Result<(), Buffer>) {
        if let Err(bytes) = sent {
            self.counters.dropped += count;
            return self.pool.put_back(bytes);
        }
        self.counters.over += count;
        let bit = 1 << to;
        if self.woken & bit == 0 {
            self.woken |= bit;
            self.doors[to].bell.notify_one();
        } else {
            self.waiting |= bit;
        }
    }
}

fn lane() -> (Lane, LaneEnd) {
    let (sender, receiver) = sync_channel(MAX_PARCELS);
    let waiting_bytes = Arc::new(AtomicUsize::new(0));
    let end = LaneEnd {
        parcels: receiver,
        waiting_bytes: waiting_bytes.clone(),
    };
    let lane = Lane {
        parcels: sender,
        waiting_bytes,
    };
    (lane, end)
}

impl Lane {
    /// Gives the bytes of the parcel back if there is no room for it.
    fn send(&self, from: Place, parcel: Parcel) -> Result<(), Buffer> {
        let bytes = parcel.bytes.capacity();
        let before = self.waiting_bytes.fetch_add(bytes, Ordering::Relaxed);
        let sent = match before + bytes <= MAX_PARCELS_BYTES {
            true => self.parcels.try_send((from.number(), parcel)),
            false => Err(TrySendError::Full((from.number(), parcel))),
        };
        sent.map_err(|error| {
            self.waiting_bytes.fetch_sub(bytes, Ordering::Relaxed);
            let (TrySendError::Full((_, parcel)) | TrySendError::Disconnected((_, parcel))) = error;
            parcel.bytes
        })
    }
}

impl LaneEnd {
    fn next(&self) -> Option<(usize, Parcel)> {
        let (from, parcel) = self.parcels.try_recv().ok()?;
        let bytes = parcel.bytes.capacity();
        self.waiting_bytes.fetch_sub(bytes, Ordering::Relaxed);
        Some((from, parcel))
    }
}

impl Drop for Neighbours {
    fn drop(&mut self) {
        self.ended.store(true, Ordering::Release);
        for door in &self.doors {
            door.bell.notify_one();
        }
    }
}

impl Parcel {
    /// Something to know, and no bytes.
    pub(crate) fn note(errand: Errand) -> Self {
        Self {
            errand,
            stride: 0,
            bytes: Buffer::default(),
        }
    }

    fn count(&self) -> u64 {
        self.bytes.len().div_ceil(self.stride.max(1)).max(1) as u64
    }
}

/// Parcels that wait for one shard, of packets and of datagrams each, and the memory that they hold. As many as the kernel keeps
/// packets for the interface.
const MAX_PARCELS: usize = 1000;
const MAX_PARCELS_BYTES: usize = 16 * 1024 * 1024;
/// Buffers on their way back to one shard.
const MAX_RETURNED: usize = 256;
/// Sets of sockets that wait for one shard. There is one at a time.
const MAX_SOCKETS: usize = 4;
/// Small packets that leave together.
const MAX_GATHERED: usize = 128;

#[cfg(test)]
mod tests;
