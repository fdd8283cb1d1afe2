//! What a balancer shows of itself: its backends and its totals. Never holds a client's address.

use crate::counters::{ConnectionCounts, Count};

use super::pool::BackendStatus;

/// A balancer at one moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BalancerStatus {
    pub backends: Vec<BackendStatus>,
    pub open_connections: u64,
    pub accepted_connections: u64,
    pub refused_connections: u64,
    pub strange_connections: u64,
    pub unserved_connections: u64,
    pub retried_connections: u64,
    pub bytes_in: u64,
    pub bytes_out: u64,
}

/// Totals since the balancer started; `open_connections` goes up and down.
#[derive(Debug, Default)]
pub struct BalancerCounters {
    pub open_connections: Count,
    /// Within the limits and from a listed source; a backend was looked for.
    pub accepted_connections: Count,
    /// Reset because a limit was reached.
    pub refused_connections: Count,
    /// Reset because no listed prefix has their source.
    pub strange_connections: Count,
    /// Reset because no backend took them.
    pub unserved_connections: Count,
    /// Connections that a backend took at another attempt than the first.
    pub retried_connections: Count,
    /// Bytes from clients and to clients.
    pub bytes_in: Count,
    pub bytes_out: Count,
    /// Those of both that never entered this process.
    pub spliced_bytes: Count,
}

impl ConnectionCounts for BalancerCounters {
    fn open(&self) -> &Count {
        &self.open_connections
    }

    fn refused(&self) -> &Count {
        &self.refused_connections
    }
}
