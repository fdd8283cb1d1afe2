//! Counters of an edge, for the metrics page. Never holds a name or an address.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::hop::Hop;

/// Totals since the edge was bound; `open_connections` goes up and down.
#[derive(Debug, Default)]
pub struct EdgeCounters {
    pub open_connections: Count,
    /// Connections refused because a connection limit was reached.
    pub refused_connections: Count,
    /// TLS handshakes that failed or took too long.
    pub failed_handshakes: Count,
    /// Connections given to the control channel.
    pub control_handoffs: Count,
    /// Connections for the control channel dropped because it did not take them.
    pub control_dropped: Count,
    /// Bytes from clients, inside TLS.
    pub bytes_in: Count,
    /// Bytes to clients, inside TLS.
    pub bytes_out: Count,
    /// Origin connections opened.
    pub origin_connections: Count,
    /// Requests sent again because a kept connection had gone stale.
    pub stale_retries: Count,
    /// Connections turned into something else, such as WebSocket.
    pub upgrades: Count,
    /// Requests let through to a backend that is known to be down.
    pub canaries: Count,
    responses: [Count; 5],
    failures: [Count; Hop::ALL.len()],
}

/// The two counters that admission keeps.
pub(crate) trait ConnectionCounts: std::fmt::Debug + Send + Sync {
    fn open(&self) -> &Count;
    fn refused(&self) -> &Count;
}

/// One counter.
#[derive(Debug, Default)]
pub struct Count(AtomicU64);

impl EdgeCounters {
    /// Responses by class, `1` for 1xx to `5` for 5xx; 0 for any other class.
    pub fn responses(&self, class: u16) -> u64 {
        let index = usize::from(class).checked_sub(1);
        index
            .and_then(|index| self.responses.get(index))
            .map_or(0, Count::value)
    }

    /// Responses that the edge made itself, by the hop at fault.
    pub fn failures(&self, hop: Hop) -> u64 {
        self.failures[hop as usize].value()
    }

    pub(crate) fn count_response(&self, status: http::StatusCode) {
        let index = usize::from(status.as_u16() / 100).checked_sub(1);
        if let Some(count) = index.and_then(|index| self.responses.get(index)) {
            count.add(1);
        }
    }

    pub(crate) fn count_failure(&self, hop: Hop) {
        self.failures[hop as usize].add(1);
    }
}

impl ConnectionCounts for EdgeCounters {
    fn open(&self) -> &Count {
        &self.open_connections
    }

    fn refused(&self) -> &Count {
        &self.refused_connections
    }
}

impl Count {
    pub fn value(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }

    pub(crate) fn add(&self, amount: u64) {
        self.0.fetch_add(amount, Ordering::Relaxed);
    }

    pub(crate) fn subtract(&self, amount: u64) {
        self.0.fetch_sub(amount, Ordering::Relaxed);
    }
}
