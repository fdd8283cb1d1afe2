//! What the server has done so far, as atomics that anyone may read at any time. It never holds a name
//! or an address.

use std::array;
use std::sync::atomic::{AtomicU64, Ordering};

use malha_zone::{Rcode, Transport};

/// Counts since the server was bound.
#[derive(Debug)]
pub struct DnsCounters {
    answers: [[AtomicU64; Rcode::ALL.len()]; TRANSPORTS],
    events: [AtomicU64; DnsEvent::ALL.len()],
}

/// What can happen to a query or a connection besides an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum DnsEvent {
    /// A message that deserves silence: a response, or less than a header.
    Ignored,
    /// A datagram not answered because its network had its share.
    LimitedDropped,
    /// A datagram answered only with TC for the same reason.
    LimitedTruncated,
    /// An answer cut to TC because it did not fit the client's datagram.
    Truncated,
    /// A datagram the operating system would not send.
    UdpSendFailed,
    TcpAccepted,
    /// A connection closed at once because the limit of all or of its source was reached.
    TcpRefused,
    /// A connection closed because the client was idle, too slow or broke the framing.
    TcpCut,
}

impl DnsCounters {
    /// Answers sent over `transport` with `rcode`.
    pub fn answers(&self, transport: Transport, rcode: Rcode) -> u64 {
        self.answers[transport as usize][rcode as usize].load(Ordering::Relaxed)
    }

    pub fn events(&self, event: DnsEvent) -> u64 {
        self.events[event as usize].load(Ordering::Relaxed)
    }

    pub(crate) fn count_answer(&self, transport: Transport, rcode: Rcode) {
        self.answers[transport as usize][rcode as usize].fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn count(&self, event: DnsEvent) {
        self.events[event as usize].fetch_add(1, Ordering::Relaxed);
    }
}

impl DnsEvent {
    pub const ALL: [Self; 8] = [
        Self::Ignored,
        Self::LimitedDropped,
        Self::LimitedTruncated,
        Self::Truncated,
        Self::UdpSendFailed,
        Self::TcpAccepted,
        Self::TcpRefused,
        Self::TcpCut,
    ];

    /// A name for metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Ignored => "ignored",
            Self::LimitedDropped => "limited_dropped",
            Self::LimitedTruncated => "limited_truncated",
            Self::Truncated => "truncated",
            Self::UdpSendFailed => "udp_send_failed",
            Self::TcpAccepted => "tcp_accepted",
            Self::TcpRefused => "tcp_refused",
            Self::TcpCut => "tcp_cut",
        }
    }
}

impl Default for DnsCounters {
    fn default() -> Self {
        Self {
            answers: array::from_fn(|_| array::from_fn(|_| AtomicU64::new(0))),
            events: array::from_fn(|_| AtomicU64::new(0)),
        }
    }
}

const TRANSPORTS: usize = 2;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_has_a_counter_of_its_own() {
        let counters = DnsCounters::default();
        for event in DnsEvent::ALL {
            counters.count(event);
            assert_eq!(counters.events(event), 1, "{}", event.as_str());
        }
        for transport in [Transport::Udp, Transport::Tcp] {
            for rcode in Rcode::ALL {
                counters.count_answer(transport, rcode);
                assert_eq!(counters.answers(transport, rcode), 1, "{}", rcode.as_str());
            }
        }
    }
}
