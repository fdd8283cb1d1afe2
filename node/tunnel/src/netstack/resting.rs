//! TIME-WAIT (RFC 9293 §3.3.2): connections that are over, of which only the last acknowledgement is kept, since it may have been
//! lost. It has no buffers, and counts as no connection.

use std::collections::{HashMap, VecDeque};
use std::time::{Duration, Instant};

use smoltcp::phy::ChecksumCapabilities;
use smoltcp::wire::{IpProtocol, IpRepr, TcpControl, TcpPacket, TcpRepr, TcpSeqNumber};

use super::link::Outbox;
use super::segment;
use super::stack::Tuple;

#[derive(Default)]
pub(crate) struct Resting {
    last: HashMap<Tuple, LastAcknowledgement>,
    /// In this order they are forgotten.
    ends: VecDeque<(Instant, Tuple)>,
}

/// Behind the FIN of each side.
#[derive(Debug, Clone, Copy)]
pub(crate) struct LastAcknowledgement {
    /// SND.NXT of RFC 9293.
    pub(crate) number: u32,
    /// RCV.NXT there.
    pub(crate) ack: u32,
}

impl Resting {
    /// Keeps what a connection has sent last, to be sent again whenever the peer shows that it has not got it.
    pub(crate) fn insert(&mut self, tuple: Tuple, last: LastAcknowledgement, now: Instant) {
        if self.ends.len() >= MAX_RESTING {
            self.forget_oldest();
        }
        self.last.insert(tuple, last);
        self.ends.push_back((now + REST, tuple));
    }

    pub(crate) fn contains(&self, tuple: Tuple) -> bool {
        self.last.contains_key(&tuple)
    }

    /// Answers a segment for a connection that is over. False: there was none.
    pub(crate) fn answer(&self, tuple: Tuple, packet: &[u8], outbox: &mut Outbox) -> bool {
        let Some(last) = self.last.get(&tuple) else {
            return false;
        };
        if segment::sequence(packet).is_some_and(|sequence| sequence.is_behind_a_loss()) {
            last.send(tuple, outbox);
        }
        true
    }

    pub(crate) fn handle_timeout(&mut self, now: Instant) {
        while self.ends.front().is_some_and(|(at, _)| *at <= now) {
            self.forget_oldest();
        }
    }

    /// A new connection takes the place of the one that is over.
    pub(crate) fn forget(&mut self, tuple: Tuple) {
        if self.last.remove(&tuple).is_some() {
            self.ends.retain(|(_, resting)| *resting != tuple);
        }
    }

    fn forget_oldest(&mut self) {
        if let Some((_, tuple)) = self.ends.pop_front() {
            self.last.remove(&tuple);
        }
    }
}

impl LastAcknowledgement {
    fn send(self, tuple: Tuple, outbox: &mut Outbox) {
        let (from, to) = (tuple.local.ip().into(), tuple.remote.ip().into());
        let number = |number: u32| TcpSeqNumber(i32::from_ne_bytes(number.to_ne_bytes()));
        let tcp = TcpRepr {
            src_port: tuple.local.port(),
            dst_port: tuple.remote.port(),
            control: TcpControl::None,
            seq_number: number(self.number),
            ack_number: Some(number(self.ack)),
            window_len: u16::MAX,
            window_scale: None,
            max_seg_size: None,
            sack_permitted: false,
            sack_ranges: [None; 3],
            timestamp: None,
            payload: &[],
        };
        let ip = IpRepr::new(from, to, IpProtocol::Tcp, tcp.buffer_len(), HOP_LIMIT);
        let checksums = ChecksumCapabilities::default();
        outbox.push(ip.buffer_len(), |space| {
            ip.emit(&mut *space, &checksums);
            let mut segment = TcpPacket::new_unchecked(&mut space[ip.header_len()..]);
            tcp.emit(&mut segment, &from, &to, &checksums);
        });
    }
}

/// As smoltcp's TIME-WAIT.
const REST: Duration = Duration::from_secs(10);
/// Some 400 new ones a second; beyond that the oldest is forgotten early.
const MAX_RESTING: usize = 4096;
const HOP_LIMIT: u8 = 64;
