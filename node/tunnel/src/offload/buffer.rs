//! Byte buffers that are used again: 64 KiB for super-packets and batches, 2 KiB for what is alone. A pool keeps a bounded
//! number; one that never comes back is simply freed.

use std::fmt;
use std::ops::{Deref, Range};

/// Bytes in a room that is larger than they are.
#[derive(Default)]
pub struct Buffer {
    room: Vec<u8>,
    start: usize,
    end: usize,
}

/// Buffers that wait to be used again.
#[derive(Default)]
pub(crate) struct Pool {
    large: Vec<Buffer>,
    small: Vec<Buffer>,
}

impl Buffer {
    fn with_room(bytes: usize) -> Self {
        Self {
            room: vec![0; bytes],
            start: 0,
            end: 0,
        }
    }

    /// All bytes of the buffer from its first, used or not.
    pub(crate) fn room(&mut self) -> &mut [u8] {
        &mut self.room
    }

    /// The bytes in use.
    pub(crate) fn bytes(&mut self) -> &mut [u8] {
        &mut self.room[self.start..self.end]
    }

    /// Any bytes of the room, used or not.
    pub(crate) fn peek(&self, range: Range<usize>) -> &[u8] {
        &self.room[range]
    }

    /// The bytes in use end here from now on; at most the whole room.
    pub(crate) fn set_end(&mut self, end: usize) {
        self.end = end.min(self.room.len());
    }

    pub(crate) fn end(&self) -> usize {
        self.end
    }

    pub(crate) fn capacity(&self) -> usize {
        self.room.len()
    }

    /// Forgets bytes at the front that are done with.
    pub(crate) fn advance(&mut self, bytes: usize) {
        self.start = (self.start + bytes).min(self.end);
    }

    fn is_large(&self) -> bool {
        self.room.len() >= LARGE_BYTES
    }
}

impl Pool {
    /// An empty buffer of [`LARGE_BYTES`].
    pub(crate) fn large(&mut self) -> Buffer {
        self.large
            .pop()
            .unwrap_or_else(|| Buffer::with_room(LARGE_BYTES))
    }

    /// An empty buffer for so many bytes, small if they fit.
    pub(crate) fn sized(&mut self, bytes: usize) -> Buffer {
        match bytes {
            0..=SMALL_BYTES => self
                .small
                .pop()
                .unwrap_or_else(|| Buffer::with_room(SMALL_BYTES)),
            _ => self.large(),
        }
    }

    /// A buffer with a copy of `bytes`, small if they fit.
    pub(crate) fn copy(&mut self, bytes: &[u8]) -> Buffer {
        let mut buffer = self.sized(bytes.len());
        buffer.room[..bytes.len()].copy_from_slice(bytes);
        buffer.end = bytes.len();
        buffer
    }

    /// The same bytes in a small buffer if they fit, so that large ones don't wait in queues half empty.
    pub(crate) fn shrink(&mut self, buffer: Buffer) -> Buffer {
        if buffer.len() > SMALL_BYTES || !buffer.is_large() {
            return buffer;
        }
        let small = self.copy(&buffer);
        self.put_back(buffer);
        small
    }

    pub(crate) fn put_back(&mut self, mut buffer: Buffer) {
        (buffer.start, buffer.end) = (0, 0);
        if buffer.room.len() == LARGE_BYTES && self.large.len() < MAX_LARGE_KEPT {
            self.large.push(buffer);
        } else if buffer.room.len() == SMALL_BYTES && self.small.len() < MAX_SMALL_KEPT {
            self.small.push(buffer);
        }
    }
}

#[cfg(test)]
impl Pool {
    /// Small and large buffers that wait.
    pub(crate) fn waiting(&self) -> (usize, usize) {
        (self.small.len(), self.large.len())
    }
}

impl Deref for Buffer {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.room[self.start..self.end]
    }
}

impl From<Vec<u8>> for Buffer {
    fn from(room: Vec<u8>) -> Self {
        let end = room.len();
        Self {
            room,
            start: 0,
            end,
        }
    }
}

impl Clone for Buffer {
    fn clone(&self) -> Self {
        self.to_vec().into()
    }
}

impl PartialEq for Buffer {
    fn eq(&self, other: &Self) -> bool {
        **self == **other
    }
}

impl Eq for Buffer {}

impl fmt::Debug for Buffer {
    /// The length only: the bytes may be somebody's plaintext.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Buffer({} bytes)", self.len())
    }
}

/// Room for the longest datagram or packet, its padding, and a tag behind it.
pub(crate) const LARGE_BYTES: usize = 65_536 + 64;
pub(crate) const SMALL_BYTES: usize = 2048;
const MAX_LARGE_KEPT: usize = 32;
const MAX_SMALL_KEPT: usize = 512;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_buffer_comes_back_empty() {
        let mut pool = Pool::default();
        let mut buffer = pool.copy(b"payload");
        buffer.advance(3);
        assert_eq!(&*buffer, b"load");
        pool.put_back(buffer);
        assert!(pool.small.iter().all(|buffer| buffer.is_empty()));
    }

    #[test]
    fn a_pool_keeps_no_more_than_its_share() {
        let mut pool = Pool::default();
        let many: Vec<_> = (0..MAX_LARGE_KEPT + 5).map(|_| pool.large()).collect();
        many.into_iter().for_each(|buffer| pool.put_back(buffer));
        assert_eq!(pool.large.len(), MAX_LARGE_KEPT);
    }

    #[test]
    fn few_bytes_leave_a_large_buffer() {
        let mut pool = Pool::default();
        let mut large = pool.large();
        large.room()[..3].copy_from_slice(b"abc");
        large.set_end(3);
        let small = pool.shrink(large);
        assert_eq!((&*small, small.capacity()), (&b"abc"[..], SMALL_BYTES));
        assert_eq!(pool.large.len(), 1);
    }
}
