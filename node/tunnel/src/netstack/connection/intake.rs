//! How smoltcp is given a segment: in the parts and with the words by which it understands what the peer meant. It decides nothing.

use std::time::{Duration, Instant};

use super::super::link::{Link, Outbox};
use super::super::segment::{self, Expected, Sequence};
use super::super::steps::Steps;
use super::{ACK_DELAY, Connection};

impl Connection<'_> {
    /// Has smoltcp know what segments are joined in a packet, or acknowledged by it.
    pub(super) fn ingest_steps(
        &mut self,
        packet: &[u8],
        sequence: Sequence,
        expected: Expected,
        outbox: &mut Outbox,
        now: Instant,
    ) {
        let unacknowledged = self.socket().send_queue();
        let step_bytes = self.segment_bytes();
        // RFC 9293 §3.8.6.3: one acknowledgement for at least every second segment.
        let is_joined = sequence.data_bytes() > step_bytes;
        let delay = if is_joined { Duration::ZERO } else { ACK_DELAY };
        self.socket().set_ack_delay(Some(delay.into()));
        let acked = expected.acked.map(|acked| (acked, unacknowledged));
        let steps =
            acked.and_then(|it| Steps::before(packet, sequence, it, expected.next, step_bytes));
        if let Some(mut steps) = steps {
            while let Some(step) = steps.next() {
                self.ingest(step, outbox, now);
            }
        }
    }

    /// Has smoltcp repeat what the peer did not take, by three equal acknowledgements. smoltcp 0.14 forgets that it has sent anything
    /// beyond a window that shrank to nothing: it asks with what comes after that, and later with a keepalive in the FIN's place,
    /// which the peer would take for data.
    pub(super) fn have_repeated(
        &mut self,
        acknowledgement: &[u8],
        outbox: &mut Outbox,
        now: Instant,
    ) {
        for _ in 0..3 {
            self.ingest(acknowledgement, outbox, now);
        }
    }

    /// Has smoltcp, which has nothing more to send, believe that the peer has room: where its timer for asking runs when the last
    /// byte is acknowledged, smoltcp 0.14 sends an acknowledgement whenever it is polled.
    pub(super) fn stop_asking_for_room(
        &mut self,
        acknowledgement: Option<Vec<u8>>,
        outbox: &mut Outbox,
        now: Instant,
    ) {
        if let Some(mut acknowledgement) = acknowledgement
            && segment::open_window(&mut acknowledgement).is_some()
        {
            self.ingest(&acknowledgement, outbox, now);
        }
    }

    /// Has smoltcp know a FIN only when all data before it is there. smoltcp 0.14 cuts data off that lies beyond the window, which
    /// the last acknowledgement may have made a few bytes smaller, and takes the FIN behind it for the end all the same.
    pub(super) fn ingest_segment(
        &mut self,
        packet: &[u8],
        sequence: Option<Sequence>,
        outbox: &mut Outbox,
        now: Instant,
    ) {
        let end = sequence.and_then(Sequence::end_of_data);
        let parts = end.and_then(|end| {
            Some((
                segment::without_fin(packet)?,
                segment::fin_alone(packet, end)?,
            ))
        });
        let Some((data, fin)) = parts else {
            self.ingest(packet, outbox, now);
            return;
        };
        self.ingest(&data, outbox, now);
        if self.expected().map(|expected| expected.next) == end {
            self.ingest(&fin, outbox, now);
        }
    }

    pub(super) fn ingest(&mut self, packet: &[u8], outbox: &mut Outbox, now: Instant) {
        let mut link = Link {
            inbound: Some(packet),
            outbox,
            room_bytes: 0,
            mtu_bytes: self.mtu_bytes,
        };
        let at = self.at(now);
        self.interface
            .poll_ingress_single(at, &mut link, &mut self.sockets);
    }
}
