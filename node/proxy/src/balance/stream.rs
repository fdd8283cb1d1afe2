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
use super::carry::carry;
use super::link::{Arrival, Link};
use super::open::{Ending, Side};
use super::pool::Choice;
use super::proxy_header::ProxyHeader;
use super::spec::{Limits, Spec};

/// What a connection takes along from the spec of its beginning.
#[derive(Clone, Copy)]
pub(super) struct Terms {
    limits: Limits,
    proxy_header: Option<ProxyHeader>,
}

impl From<&Spec> for Terms {
    fn from(spec: &Spec) -> Self {
        Self {
            limits: spec.limits,
            proxy_header: spec.proxy_header,
        }
    }
}

pub(super) async fn serve(floor: Arc<Floor>, terms: Terms, arrival: Arrival, _place: Admitted) {
    let Some((mut server, lease)) = find(&floor, &terms, arrival.source).await else {
        return arrival.link.abort();
    };
    let header = (terms.proxy_header)
        .map(|it| -> io::Result<_> { Ok(it.encode(arrival.source, arrival.destination()?)) });
    let (mut client, open) = (arrival.link, &*lease.choice.open);
    let ended_well = {
        let mut carried = pin!(async {
            if let Some(words) = header {
                let words = words?;
                timeout(terms.limits.connect, server.write_all(&words)).await??;
                server.flush().await?;
            }
            carry(&mut client, &mut server, open, &floor.counters).await
        });
        tokio::select! {
            biased;
            carried = &mut carried => carried.is_ok(),
            () = open.must(Ending::Finish) => tokio::select! {
                biased;
                () = open.must(Ending::Reset) => false,
                carried = &mut carried => carried.is_ok(),
                () = open.rests() => true,
            },
        }
    };
    if open.server_left_silent() {
        // The kernel, or the agent before it, took the connection for a server that is gone.
        floor.connect_failed(&lease.choice);
    }
    if !ended_well {
        for (link, side) in [(client, Side::Client), (server, Side::Server)] {
            match open.has_reset(side) {
                true => drop(link),
                false => link.abort(),
            }
        }
    }
}

/// A place at a backend, given back when it is dropped.
struct Lease<'a> {
    floor: &'a Floor,
    choice: Choice,
}

/// A connection to the first backend that takes one.
async fn find<'a>(
    floor: &'a Floor,
    terms: &Terms,
    source: SocketAddr,
) -> Option<(Link, Lease<'a>)> {
    let mut tried = Vec::new();
    while tried.len() < MAX_ATTEMPTS {
        let choice = floor.pool().choose(source.ip(), &tried, Instant::now());
        let Some(choice) = choice else { break };
        let lease = Lease { floor, choice };
        let address = lease.choice.address;
        let connected = tokio::select! {
            biased;
            connected = floor.connector.connect(address, terms.limits.connect) => connected,
            // Its backend has left meanwhile, or the balancer ends.
            () = lease.choice.open.must(Ending::Reset) => Err(io::ErrorKind::Interrupted.into()),
        };
        match connected {
            Ok(link) => {
                if !tried.is_empty() {
                    floor.counters.retried_connections.add(1);
                }
                return Some((link, lease));
            }
            Err(error) => {
                tracing::debug!(%address, %error, "a backend took no connection");
                tried.push(lease.choice.backend);
                if blames_backend(&error) {
                    floor.connect_failed(&lease.choice);
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

impl Drop for Lease<'_> {
    fn drop(&mut self) {
        self.floor.pool().ended(&self.choice);
    }
}

/// Backends that one connection tries.
const MAX_ATTEMPTS: usize = 3;
