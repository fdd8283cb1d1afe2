//! Joins arriving segments of one flow into super-packets, each opened where it will stay. It keeps the order within a flow,
//! never joins a segment whose checksum is wrong, and never looks further than the headers.

mod run;

use std::collections::VecDeque;

use super::buffer::{Buffer, Pool};
use super::layout::Layout;
use super::vnet::Work;
use run::Run;

/// A packet, or several joined ones, for this node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Arrival {
    pub packet: Buffer,
    /// [`Work::Cut`] if these are several segments; their checksums were right.
    pub work: Work,
}

/// What may be joined: what the receiver of the super-packets can take.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Joins {
    pub tcp: bool,
    pub udp: bool,
}

/// The open super-packets of a device. A label `L` says whose a segment is and why it was admitted; segments join only what
/// carries an equal owner.
pub(crate) struct Joiner<L> {
    joins: Joins,
    runs: Vec<Run<L>>,
    /// The run that grew last: the next segment most likely continues it.
    hot: usize,
    landing: Landing,
    /// Where packets are opened that continue nothing.
    scratch: Buffer,
    done: VecDeque<Arrival>,
    done_bytes: usize,
    pool: Pool,
    dropped: u64,
}

/// Where the packet now arriving is opened.
enum Landing {
    Scratch,
    /// At the end of the hot run, its headers over the end of what is there, which is kept meanwhile.
    Run {
        at: usize,
        kept: [u8; MAX_HEADER_BYTES],
    },
}

impl<L: Copy + PartialEq> Joiner<L> {
    pub(crate) fn set_joins(&mut self, joins: Joins) {
        self.close_all();
        self.joins = joins;
    }

    pub(crate) fn new(joins: Joins) -> Self {
        let mut pool = Pool::default();
        Self {
            joins,
            runs: Vec::new(),
            hot: 0,
            landing: Landing::Scratch,
            scratch: pool.large(),
            done: VecDeque::new(),
            done_bytes: 0,
            pool,
            dropped: 0,
        }
    }

    /// Where to open the next packet, of at most `bytes`. Each call is followed by exactly one of [`extend`](Self::extend),
    /// [`lift`](Self::lift) or [`discard`](Self::discard).
    pub(crate) fn land(&mut self, bytes: usize) -> &mut [u8] {
        self.landing = Landing::Scratch;
        if let Some(run) = self.runs.get_mut(self.hot)
            && let Some(at) = run.place(bytes)
        {
            let mut kept = [0; MAX_HEADER_BYTES];
            let end = run.buffer.end();
            let room = run.buffer.room();
            kept[..end - at].copy_from_slice(&room[at..end]);
            self.landing = Landing::Run { at, kept };
            return &mut room[at..];
        }
        self.scratch.room()
    }

    /// The packet of `bytes` that was opened continues the hot run of this owner: it stays where it is. Gives the run's label.
    pub(crate) fn extend(&mut self, bytes: usize, same: impl Fn(&L) -> bool) -> Option<L> {
        let Landing::Run { at, kept } = &self.landing else {
            return None;
        };
        let (at, kept) = (*at, *kept);
        let run = self.runs.get_mut(self.hot)?;
        let end = run.buffer.end();
        let tail = run.buffer.peek(at..at + bytes);
        let segment = Layout::of(tail).filter(|layout| layout.payload_at == end - at)?;
        let fit = run.fit(tail, &segment).filter(|_| same(&run.label))?;
        run.buffer.room()[at..end].copy_from_slice(&kept[..end - at]);
        run.buffer.set_end(at + bytes);
        run.grow(fit);
        let label = run.label;
        self.landing = Landing::Scratch;
        self.close_if_full(self.hot);
        Some(label)
    }

    /// Takes the packet away from the run that it does not continue.
    pub(crate) fn lift(&mut self, bytes: usize) {
        if let Landing::Run { at, kept } = &self.landing
            && let Some(run) = self.runs.get_mut(self.hot)
        {
            let end = run.buffer.end();
            let room = run.buffer.room();
            self.scratch.room()[..bytes].copy_from_slice(&room[*at..*at + bytes]);
            room[*at..end].copy_from_slice(&kept[..end - *at]);
        }
        self.landing = Landing::Scratch;
    }

    /// The packet that was lifted.
    pub(crate) fn lifted(&self, bytes: usize) -> &[u8] {
        self.scratch.peek(0..bytes)
    }

    /// What was opened is not wanted.
    pub(crate) fn discard(&mut self) {
        self.lift(0);
    }

    /// The lifted packet continues a run other than the hot one. Gives that run's label.
    pub(crate) fn append(&mut self, bytes: usize, same: impl Fn(&L) -> bool) -> Option<L> {
        let packet = self.scratch.peek(0..bytes);
        let segment = Layout::of(packet)?;
        for (number, run) in self.runs.iter_mut().enumerate() {
            let payload = &packet[segment.payload_at..];
            let end = run.buffer.end();
            if !same(&run.label) || end + payload.len() > run.buffer.capacity() {
                continue;
            }
            if let Some(fit) = run.fit(packet, &segment) {
                run.buffer.room()[end..end + payload.len()].copy_from_slice(payload);
                run.buffer.set_end(end + payload.len());
                run.grow(fit);
                let label = run.label;
                self.hot = number;
                self.close_if_full(number);
                return Some(label);
            }
        }
        None
    }

    /// The lifted packet starts something new, after all of its flow that came before it.
    pub(crate) fn start(&mut self, bytes: usize, label: L) {
        let packet = self.scratch.peek(0..bytes);
        let segment = Layout::of(packet);
        let same_flow = |run: &Run<L>| segment.is_some_and(|it| run.same_flow(packet, &it));
        if let Some(number) = self.runs.iter().position(same_flow) {
            self.close(number);
        }
        let packet = self.scratch.peek(0..bytes);
        let joins = self.joins;
        let run = segment.and_then(|segment| Run::start(packet, segment, label, joins));
        let Some(mut run) = run else {
            let alone = self.pool.copy(packet);
            self.finish(alone, Work::None);
            return;
        };
        if self.runs.len() >= MAX_RUNS {
            self.close(0);
        }
        let mut buffer = std::mem::replace(&mut self.scratch, self.pool.large());
        buffer.set_end(bytes);
        self.hot = self.runs.len();
        run.buffer = buffer;
        self.runs.push(run);
    }

    /// The next packet or super-packet. When no closed one is left, the open ones follow: whoever drains, wants all.
    pub(crate) fn poll(&mut self) -> Option<Arrival> {
        if self.done.is_empty() && !self.runs.is_empty() {
            self.close(0);
        }
        self.poll_closed()
    }

    /// The next packet or super-packet that nothing more can join.
    pub(crate) fn poll_closed(&mut self) -> Option<Arrival> {
        let arrival = self.done.pop_front()?;
        self.done_bytes -= arrival.packet.capacity();
        Some(arrival)
    }

    /// Closes all runs: from now on nothing is admitted because of what came before.
    pub(crate) fn close_all(&mut self) {
        while !self.runs.is_empty() {
            self.close(0);
        }
    }

    /// Takes back a buffer that is done with.
    pub(crate) fn put_back(&mut self, arrival: Arrival) {
        self.pool.put_back(arrival.packet);
    }

    /// Packets that did not fit the queue.
    pub(crate) fn dropped(&self) -> u64 {
        self.dropped
    }

    fn close_if_full(&mut self, number: usize) {
        if self.runs.get(number).is_some_and(Run::is_full) {
            self.close(number);
        }
    }

    fn close(&mut self, number: usize) {
        let run = self.runs.remove(number);
        self.hot = if self.hot > number {
            self.hot - 1
        } else if self.hot == number {
            usize::MAX
        } else {
            self.hot
        };
        let (buffer, work) = run.finish();
        let buffer = self.pool.shrink(buffer);
        self.finish(buffer, work);
    }

    fn finish(&mut self, packet: Buffer, work: Work) {
        let bytes = packet.capacity();
        if self.done.len() >= MAX_DONE || self.done_bytes + bytes > MAX_DONE_BYTES {
            self.dropped += 1;
            self.pool.put_back(packet);
            return;
        }
        self.done_bytes += bytes;
        self.done.push_back(Arrival { packet, work });
    }
}

/// Flows that are joined at a time.
const MAX_RUNS: usize = 16;
/// Packets and super-packets that wait for this node, and the memory that they may take.
pub(crate) const MAX_DONE: usize = 4096;
const MAX_DONE_BYTES: usize = 8 * 1024 * 1024;
/// IPv6 and TCP with all its options.
const MAX_HEADER_BYTES: usize = 40 + 60;
