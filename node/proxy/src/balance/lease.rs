//! A connection's place at a backend: chosen from the pool, and given back to it when it is dropped. It opens nothing.

use std::io;
use std::net::IpAddr;
use std::os::fd::OwnedFd;
use std::sync::Arc;

use tokio::time::Instant;

use super::balancer::Floor;
use super::health::blames_backend;
use super::open::Open;
use super::pool::Choice;

pub(super) struct Lease {
    floor: Arc<Floor>,
    pub(super) choice: Choice,
}

impl Lease {
    /// At a backend that was not tried yet, else at one that was: perhaps only a packet was lost on the way to it. None: no
    /// backend takes connections, or enough was tried.
    pub(super) fn choose(floor: &Arc<Floor>, source: IpAddr, tried: &[u64]) -> Option<Self> {
        if tried.len() >= MAX_ATTEMPTS {
            return None;
        }
        let choice = floor.pool().choose(source, tried, Instant::now())?;
        Some(Self {
            floor: Arc::clone(floor),
            choice,
        })
    }

    /// The same for the next attempt.
    pub(super) fn again(&self, source: IpAddr, tried: &[u64]) -> Option<Self> {
        Self::choose(&self.floor, source, tried)
    }

    pub(super) fn open(&self) -> &Open {
        &self.choice.open
    }

    /// One that will reach the backend.
    ///
    /// # Errors
    /// As of [`Ways::socket`](super::ways::Ways::socket).
    pub(super) fn socket(&self) -> io::Result<OwnedFd> {
        self.floor.ways.socket(self.choice.address)
    }

    /// The backend could not be connected to.
    pub(super) fn failed(&self, error: &io::Error) {
        tracing::debug!(address = %self.choice.address, %error, "a backend took no connection");
        if blames_backend(error) {
            self.floor.connect_failed(&self.choice);
        }
    }

    /// The connection has ended.
    pub(super) fn ended(&self) {
        if self.open().server_left_silent() {
            // The kernel, or the agent before it, took the connection for a server that is gone.
            self.floor.connect_failed(&self.choice);
        }
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.floor.pool().ended(&self.choice);
    }
}

/// How often one connection tries to reach a backend: each of two servers twice.
const MAX_ATTEMPTS: usize = 4;
