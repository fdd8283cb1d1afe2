//! An acknowledgement of many segments at once, for a sender that counts acknowledgements and not bytes: smoltcp 0.14 lets its
//! window grow by one segment for each, and a receiver that is given joined segments acknowledges each joining once. It makes
//! those up that would have come one by one (RFC 3465 §2.1 asks to count bytes instead), and judges none.

use super::segment::{self, Sequence};

/// Acknowledgements that come before one that says more than all of them.
pub(crate) struct Steps {
    packet: Vec<u8>,
    acked: u32,
    left: usize,
    step_bytes: u32,
}

impl Steps {
    /// Before `packet`, which acknowledges more than `acked`, of which `unacknowledged` bytes are more; None: there are none. Each
    /// has the number that smoltcp expects `next`.
    pub(crate) fn before(
        packet: &[u8],
        sequence: Sequence,
        (acked, unacknowledged): (u32, usize),
        next: u32,
        step_bytes: usize,
    ) -> Option<Self> {
        let news = segment::distance(acked, sequence.ack?);
        // What was never sent is smoltcp's to refuse. A FIN has a number, too.
        let is_sent = news <= unacknowledged + 1;
        let left = news.saturating_sub(1) / step_bytes;
        // One that acknowledges a part and closes the window has smoltcp ask for room, also when all is acknowledged.
        if !sequence.is_plain_ack() || sequence.closed_window || !is_sent || left == 0 {
            return None;
        }
        Some(Self {
            packet: segment::rewritten(packet, next)?,
            acked,
            left,
            step_bytes: u32::try_from(step_bytes).ok()?,
        })
    }

    /// The next of them.
    pub(crate) fn next(&mut self) -> Option<&[u8]> {
        self.left = self.left.checked_sub(1)?;
        self.acked = self.acked.wrapping_add(self.step_bytes);
        segment::acknowledge(&mut self.packet, self.acked)?;
        Some(&self.packet)
    }
}
