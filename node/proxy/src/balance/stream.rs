//! The life of one connection: a backend is found for it, hears who the client is if it asks for that, and then all bytes
//! are carried. Once a backend was reached, no other is tried: something may have been sent.

use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;

use tokio::io::AsyncWriteExt;
use tokio::time::{Instant, timeout};

use crate::admission::Admitted;

use super::balancer::Floor;
use super::carry::{Moved, carry};
use super::link::{Arrival, Link};
use super::pool::Choice;
use super::spec::Spec;

pub(super) async fn serve(floor: Arc<Floor>, spec: Arc<Spec>, arrival: Arrival, _place: Admitted) {
    let Some((mut server, lease)) = open(&floor, &spec, arrival.source).await else {
        return arrival.link.abort();
    };
    let header = (spec.proxy_header)
        .map(|it| -> io::Result<_> { Ok(it.encode(arrival.source, arrival.destination()?)) });
    let mut client = arrival.link;
    let moved = Moved::new(&floor.counters);
    let ended_well = {
        let mut carried = pin!(async {
            if let Some(words) = header {
                let words = words?;
                timeout(spec.limits.connect, server.write_all(&words)).await??;
                server.flush().await?;
            }
            carry(&mut client, &mut server, &spec.limits, &moved).await
        });
        tokio::select! {
            biased;
            carried = &mut carried => carried.is_ok(),
            () = lease.choice.cut.cancelled() => floor.is_finishing() && tokio::select! {
                carried = &mut carried => carried.is_ok(),
                () = moved.rests() => true,
                () = floor.stop.cancelled() => false,
            },
        }
    };
    if moved.server_left_silent() {
        // The kernel, or the agent before it, took the connection for a server that is gone.
        floor.pool().connect_failed(&lease.choice, Instant::now());
        floor.due_changed.notify_one();
    }
    if !ended_well {
        client.abort();
        server.abort();
    }
}

/// A place at a backend, given back when it is dropped.
struct Lease {
    floor: Arc<Floor>,
    choice: Choice,
}

/// A connection to the first backend that takes one.
async fn open(floor: &Arc<Floor>, spec: &Spec, source: SocketAddr) -> Option<(Link, Lease)> {
    let mut tried = Vec::new();
    while tried.len() < MAX_ATTEMPTS {
        let choice = floor.pool().choose(source.ip(), &tried, Instant::now());
        let Some(choice) = choice else { break };
        let lease = Lease {
            floor: Arc::clone(floor),
            choice,
        };
        let address = lease.choice.address;
        let connected = tokio::select! {
            connected = floor.connector.connect(address, spec.limits.connect) => connected,
            // Its backend has left meanwhile, or the balancer ends.
            () = lease.choice.cut.cancelled() => Err(io::ErrorKind::Interrupted.into()),
        };
        match connected {
            Ok(link) => {
                floor
                    .counters
                    .retried_connections
                    .add(u64::from(!tried.is_empty()));
                return Some((link, lease));
            }
            Err(error) => {
                tracing::debug!(%address, %error, "a backend took no connection");
                tried.push(lease.choice.backend);
                if blames_backend(&error) {
                    floor.pool().connect_failed(&lease.choice, Instant::now());
                    floor.due_changed.notify_one();
                }
            }
        }
    }
    floor.counters.unserved_connections.add(1);
    None
}

/// A lack of descriptors or places here says nothing of the backend.
fn blames_backend(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionRefused
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::ConnectionAborted
            | io::ErrorKind::HostUnreachable
            | io::ErrorKind::NetworkUnreachable
            | io::ErrorKind::TimedOut
    )
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.floor.pool().ended(&self.choice);
    }
}

/// Backends that one connection tries.
const MAX_ATTEMPTS: usize = 3;
