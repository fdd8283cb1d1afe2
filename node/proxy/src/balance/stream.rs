//! The life of one connection: a backend is found for it, hears who the client is if it asks for that, and then all bytes
//! are carried. Once a backend was reached, no other is tried: something may have been sent.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use tokio::io::AsyncWriteExt;
use tokio::time::{Instant, timeout};

use crate::admission::Admitted;

use super::balancer::Floor;
use super::carry::carry;
use super::link::{Arrival, Link};
use super::pool::Choice;
use super::spec::Spec;

pub(super) async fn serve(floor: Arc<Floor>, spec: Arc<Spec>, arrival: Arrival, _place: Admitted) {
    let Arrival {
        link: mut client,
        source,
        destination,
    } = arrival;
    let opened = tokio::select! {
        opened = open(&floor, &spec, source) => opened,
        () = floor.stop.cancelled() => None,
    };
    let Some((mut server, lease)) = opened else {
        return client.abort();
    };
    let carried = async {
        if let Some(header) = spec.proxy_header {
            let words = header.encode(source, destination);
            timeout(spec.limits.connect, server.write_all(&words)).await??;
            server.flush().await?;
        }
        let idle = spec.limits.idle;
        let carried = carry(&mut client, &mut server, idle, &floor.counters).await;
        if carried.server_left_silent {
            // The kernel, or the agent before it, took the connection for a server that is gone.
            floor.pool().connect_failed(&lease.choice, Instant::now());
            floor.due_changed.notify_one();
        }
        carried.ended
    };
    let ended_well = tokio::select! {
        carried = carried => carried.is_ok(),
        () = lease.choice.cut.cancelled() => false,
        () = floor.stop.cancelled() => false,
    };
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
        match floor.connector.connect(address, spec.limits.connect).await {
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
