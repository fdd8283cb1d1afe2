//! Sealed datagrams on their way to the underlay, in batches: same path, same length, back to back in one buffer, so that the
//! kernel takes a batch in one call. It never reorders the datagrams of one path and never reads what is in them.

use std::collections::VecDeque;

use crate::noise::{DATA_OVERHEAD_BYTES, DATAGRAM_MAX_BYTES, LONGEST_MESSAGE_BYTES};
use crate::offload::buffer::{Buffer, Pool};
use crate::offload::cut::PADDING_BYTES;
use crate::path::{Path, Transmit};
use crate::relay::{DATA_HEADER_BYTES, data_header};

/// Where sealed datagrams go, and the scratch space for making them. One per device.
pub(crate) struct Wire {
    open: Vec<Batch>,
    /// The open batch that was given out last.
    current: usize,
    closed: VecDeque<Transmit>,
    /// Datagrams in all batches.
    waiting: usize,
    closed_bytes: usize,
    pool: Pool,
    /// For messages that are made before it is known where they go.
    pub(crate) scratch: Vec<u8>,
    mtu_bytes: usize,
    pub(crate) dropped: u64,
}

struct Batch {
    path: Path,
    payload: Buffer,
    segment_bytes: usize,
    count: usize,
    /// A shorter datagram was the last.
    ended: bool,
}

impl Wire {
    pub(crate) fn new(mtu_bytes: usize) -> Self {
        Self {
            open: Vec::new(),
            current: 0,
            closed: VecDeque::new(),
            waiting: 0,
            closed_bytes: 0,
            pool: Pool::default(),
            scratch: vec![0; DATAGRAM_MAX_BYTES],
            mtu_bytes,
            dropped: 0,
        }
    }

    /// The length of a packet with zeros up to a multiple of 16 bytes, but not past the link's size (WireGuard paper §5.4.6).
    pub(crate) fn padded_bytes(&self, bytes: usize) -> usize {
        let padded = bytes.next_multiple_of(PADDING_BYTES);
        padded.min(self.mtu_bytes.max(bytes))
    }

    /// Where to write the next datagram of this path, of `bytes`. It counts once it is [committed](Self::commit). `None`, and
    /// counted as dropped, if too many wait.
    pub(crate) fn room(&mut self, path: Path, bytes: usize) -> Option<&mut [u8]> {
        if self.waiting >= MAX_TRANSMITS {
            self.dropped += 1;
            return None;
        }
        let header = frame_header(path);
        let header = header.as_ref().map_or(&[][..], |header| header);
        let bytes = bytes + header.len();
        let takes = |batch: &Batch| batch.path == path && batch.takes(bytes);
        if !self.open.get(self.current).is_some_and(takes) {
            self.current = self.batch(path, bytes)?;
        }
        let batch = self.open.get_mut(self.current)?;
        let end = batch.payload.end();
        let (frame, room) = batch
            .payload
            .room()
            .get_mut(end..)?
            .split_at_mut(header.len());
        frame.copy_from_slice(header);
        Some(room)
    }

    /// The datagram that was written into the [room](Self::room) is complete. Zero bytes: there is none.
    pub(crate) fn commit(&mut self, bytes: usize) {
        let Some(batch) = self.open.get_mut(self.current) else {
            return;
        };
        if bytes > 0 {
            let bytes = bytes + frame_header(batch.path).map_or(0, |header| header.len());
            if batch.count == 0 {
                batch.segment_bytes = bytes;
            }
            batch.count += 1;
            batch.ended = bytes < batch.segment_bytes;
            batch.payload.set_end(batch.payload.end() + bytes);
            self.waiting += 1;
            if batch.ended || batch.count >= MAX_SEGMENTS {
                self.close(self.current);
            }
        } else if batch.count == 0 {
            let batch = self.open.remove(self.current);
            self.pool.put_back(batch.payload);
        }
    }

    pub(crate) fn push(&mut self, path: Path, datagram: &[u8]) {
        if let Some(room) = self.room(path, datagram.len()) {
            room[..datagram.len()].copy_from_slice(datagram);
            self.commit(datagram.len());
        }
    }

    /// A buffer with these datagrams in it, for [`push_batch`](Self::push_batch).
    pub(crate) fn batch_of(&mut self, datagrams: &[u8]) -> Buffer {
        self.pool.copy(datagrams)
    }

    /// Queues datagrams as they are, each `segment_bytes` long but the last. Without a path there is nothing to queue.
    pub(crate) fn push_batch(&mut self, path: Option<Path>, payload: Buffer, segment_bytes: usize) {
        let Some(path) = path else {
            self.pool.put_back(payload);
            return;
        };
        let transmit = Transmit {
            path,
            payload,
            segment_bytes,
        };
        let full = self.waiting >= MAX_TRANSMITS || self.closed_bytes >= MAX_CLOSED_BYTES;
        if full || transmit.payload.len() > MAX_BATCH_BYTES {
            self.dropped += transmit.count() as u64;
            self.put_back(transmit);
            return;
        }
        if let Some(number) = self.open.iter().position(|batch| batch.path == path) {
            self.close(number);
        }
        self.waiting += transmit.count();
        self.closed_bytes += transmit.payload.capacity();
        self.closed.push_back(transmit);
    }

    /// The next batch. When no closed one is left, the open ones follow: whoever drains, wants all.
    pub(crate) fn pop(&mut self) -> Option<Transmit> {
        if self.closed.is_empty() && !self.open.is_empty() {
            self.close(0);
        }
        self.pop_closed()
    }

    /// The next batch that nothing more can join.
    pub(crate) fn pop_closed(&mut self) -> Option<Transmit> {
        let transmit = self.closed.pop_front()?;
        self.waiting -= transmit.count();
        self.closed_bytes -= transmit.payload.capacity();
        Some(transmit)
    }

    pub(crate) fn unpop(&mut self, transmit: Transmit) {
        self.waiting += transmit.count();
        self.closed_bytes += transmit.payload.capacity();
        self.closed.push_front(transmit);
    }

    /// Takes back the buffer of a batch that was sent.
    pub(crate) fn put_back(&mut self, transmit: Transmit) {
        self.pool.put_back(transmit.payload);
    }

    /// Datagrams that wait.
    pub(crate) fn len(&self) -> usize {
        self.waiting
    }

    /// The open batch of this path that takes one more of `bytes`, or a new one.
    fn batch(&mut self, path: Path, bytes: usize) -> Option<usize> {
        if let Some(number) = self.open.iter().position(|batch| batch.path == path) {
            if self.open[number].takes(bytes) {
                return Some(number);
            }
            self.close(number);
        }
        if self.open.len() >= MAX_OPEN {
            self.close(0);
        }
        if self.closed_bytes >= MAX_CLOSED_BYTES {
            self.dropped += 1;
            return None;
        }
        self.open.push(Batch {
            path,
            payload: self.pool.large(),
            segment_bytes: bytes,
            count: 0,
            ended: false,
        });
        Some(self.open.len() - 1)
    }

    fn close(&mut self, number: usize) {
        let batch = self.open.remove(number);
        let payload = self.pool.shrink(batch.payload);
        self.closed_bytes += payload.capacity();
        self.closed.push_back(Transmit {
            path: batch.path,
            payload,
            segment_bytes: batch.segment_bytes,
        });
    }
}

/// What stands before each datagram of this path: the relay's frame, or nothing.
fn frame_header(path: Path) -> Option<[u8; DATA_HEADER_BYTES]> {
    match path {
        Path::Relay(channel) => Some(data_header(channel)),
        Path::Udp { .. } | Path::Carrier(_) => None,
    }
}

/// The longest TCP super-packet that becomes one batch: as many segments of the largest size as fit one call.
pub(crate) fn super_packet_bytes(mtu_bytes: usize) -> u32 {
    let segments = MAX_SEGMENTS.min(MAX_BATCH_BYTES / (mtu_bytes + DATA_OVERHEAD_BYTES));
    // With timestamps, the least payload that a full segment has.
    let payload_bytes = mtu_bytes.saturating_sub(IPV6_AND_TCP_BYTES);
    (segments * payload_bytes) as u32
}

impl Batch {
    fn takes(&self, bytes: usize) -> bool {
        self.count == 0
            || (!self.ended
                && bytes <= self.segment_bytes
                && self.count < MAX_SEGMENTS
                && self.payload.end() + bytes.max(LONGEST_MESSAGE_BYTES) <= MAX_BATCH_BYTES)
    }
}

/// Datagrams that wait for a socket at a time, over all peers, and the memory that they may take.
pub(crate) const MAX_TRANSMITS: usize = 4096;
const MAX_CLOSED_BYTES: usize = 8 * 1024 * 1024;
/// Paths for which batches are open at a time.
const MAX_OPEN: usize = 8;
/// What Linux takes in one call (UDP_MAX_SEGMENTS until 6.9).
const MAX_SEGMENTS: usize = 64;
/// IPv6, TCP and its timestamps.
const IPV6_AND_TCP_BYTES: usize = 40 + 20 + 12;
/// A batch is one UDP datagram until the kernel cuts it, so it may not be longer; room for the headers is left.
pub(crate) const MAX_BATCH_BYTES: usize = 65_500;

#[cfg(test)]
mod tests {
    use super::*;

    fn path(port: u16) -> Path {
        Path::udp(([192, 0, 2, 1], port).into())
    }

    fn drain(wire: &mut Wire) -> Vec<(Path, Vec<Vec<u8>>)> {
        std::iter::from_fn(|| wire.pop())
            .map(|transmit| {
                let datagrams = transmit.datagrams().map(<[u8]>::to_vec).collect();
                (transmit.path, datagrams)
            })
            .collect()
    }

    #[test]
    fn datagrams_of_one_length_share_a_batch_and_a_shorter_one_ends_it() {
        let mut wire = Wire::new(1280);
        for (number, bytes) in [100, 100, 60, 100].into_iter().enumerate() {
            wire.push(path(1), &vec![number as u8; bytes]);
        }
        let batches = drain(&mut wire);
        let lengths: Vec<Vec<usize>> = batches
            .iter()
            .map(|(_, batch)| batch.iter().map(Vec::len).collect())
            .collect();
        assert_eq!(lengths, [vec![100, 100, 60], vec![100]]);
    }

    #[test]
    fn a_batch_fits_one_call() {
        let mut wire = Wire::new(9216);
        for _ in 0..200 {
            wire.push(path(1), &[1; 1400]);
            wire.push(path(2), &[1; 64]);
        }
        for (_, batch) in drain(&mut wire) {
            assert!(batch.len() <= MAX_SEGMENTS);
            assert!(batch.concat().len() <= MAX_BATCH_BYTES);
        }
    }

    #[test]
    fn each_path_keeps_its_order_however_many_there_are() {
        let mut wire = Wire::new(1280);
        for number in 0..600u16 {
            let bytes = 40 + usize::from(number * 7 % 3);
            wire.push(path(number % 20), &vec![(number / 20) as u8; bytes]);
        }
        let all = drain(&mut wire);
        for port in 0..20 {
            let own = all.iter().filter(|(at, _)| *at == path(port));
            let numbers: Vec<u8> = own
                .flat_map(|(_, batch)| batch.iter().map(|datagram| datagram[0]))
                .collect();
            assert_eq!(numbers, (0..30).collect::<Vec<u8>>());
        }
    }

    #[test]
    fn what_is_given_back_comes_first_again() {
        let mut wire = Wire::new(1280);
        wire.push(path(1), b"first");
        wire.push(path(2), b"second");
        let first = wire.pop().unwrap();
        wire.unpop(first);
        assert_eq!(wire.len(), 2);
        assert_eq!(drain(&mut wire)[0].1, [b"first".to_vec()]);
        assert_eq!(wire.len(), 0);
    }
}
