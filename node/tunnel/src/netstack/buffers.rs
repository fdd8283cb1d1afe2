//! How large the buffers of the next connection are: large while there are few, so that one stream fills a fast path, and
//! bounded in sum. It owns no buffer.

/// The budget of one stack.
#[derive(Debug)]
pub(crate) struct Buffers {
    largest_bytes: usize,
    /// Reserved for the connections that there are, both directions.
    reserved_bytes: usize,
}

impl Buffers {
    pub(crate) fn new(largest_bytes: usize) -> Self {
        Self {
            largest_bytes,
            reserved_bytes: 0,
        }
    }

    /// The size of each of the next connection's two buffers: at most a share of what is left, at least [`SMALLEST_BYTES`].
    pub(crate) fn next(&self) -> usize {
        let left = BUDGET_BYTES.saturating_sub(self.reserved_bytes);
        let share = (left / SHARES).max(SMALLEST_BYTES);
        self.largest_bytes.min(1 << share.ilog2())
    }

    /// What the connections that there are may hold.
    pub(crate) fn reserved_bytes(&self) -> usize {
        self.reserved_bytes
    }

    pub(crate) fn take(&mut self, buffer_bytes: usize) {
        self.reserved_bytes += 2 * buffer_bytes;
    }

    pub(crate) fn give_back(&mut self, buffer_bytes: usize) {
        self.reserved_bytes -= 2 * buffer_bytes;
    }
}

/// What all connections together may reserve, but for the smallest buffers. Memory is used only once bytes wait in it.
const BUDGET_BYTES: usize = 128 * 1024 * 1024;
/// A connection that comes when this many large ones are there is still not a small one.
const SHARES: usize = 32;
/// Carries 13 Mbit/s at a round trip of 20 ms.
const SMALLEST_BYTES: usize = 32 * 1024;

#[cfg(test)]
mod tests {
    use super::*;

    const LARGEST: usize = 2 * 1024 * 1024;

    #[test]
    fn few_connections_have_large_buffers() {
        let mut buffers = Buffers::new(LARGEST);
        for _ in 0..16 {
            assert_eq!(buffers.next(), LARGEST);
            buffers.take(LARGEST);
        }
    }

    #[test]
    fn two_thousand_slow_readers_hold_no_more_than_the_budget_and_their_least() {
        let mut buffers = Buffers::new(LARGEST);
        let mut last = usize::MAX;
        for _ in 0..2_000 {
            let next = buffers.next();
            assert!(
                next <= last && next >= SMALLEST_BYTES,
                "{next} after {last}"
            );
            buffers.take(next);
            last = next;
        }
        assert!(buffers.reserved_bytes <= BUDGET_BYTES + 2_000 * 2 * SMALLEST_BYTES);
    }

    #[test]
    fn what_ends_makes_room_again() {
        let mut buffers = Buffers::new(LARGEST);
        for _ in 0..100 {
            let next = buffers.next();
            buffers.take(next);
            buffers.give_back(next);
        }
        assert_eq!((buffers.next(), buffers.reserved_bytes), (LARGEST, 0));
    }
}
