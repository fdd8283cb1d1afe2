//! The life of one connection that no worker has from its beginning: one of its sides is not the kernel's, or it is not known yet whose
//! its address is, or how the kernel reaches a backend. A backend is found for it, hears who the client is if it asks for that, and
//! then all bytes are carried. Once a backend was reached, no other is tried: something may have been sent.

use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;

use tokio::io::AsyncWriteExt;
use tokio::sync::oneshot;
use tokio::time::timeout;
use tokio_util::task::task_tracker::TaskTrackerToken;

use crate::admission::Admitted;

use super::balancer::Floor;
use super::carry::{carry, ended};
use super::lease::Lease;
use super::link::{Arrival, Link};
use super::open::Ending;
use super::proxy_header::ProxyHeader;
use super::spec::{Limits, Spec};
use super::worker::{Connection, Held, Workers};

/// What a connection takes along from the spec of its beginning.
#[derive(Clone, Copy)]
pub(super) struct Terms {
    pub(super) limits: Limits,
    pub(super) proxy_header: Option<ProxyHeader>,
}

impl From<&Spec> for Terms {
    fn from(spec: &Spec) -> Self {
        Self {
            limits: spec.limits,
            proxy_header: spec.proxy_header,
        }
    }
}

pub(super) async fn serve(floor: Arc<Floor>, terms: Terms, arrival: Arrival, place: Admitted) {
    let Some((server, lease)) = find(&floor, &terms, arrival.source).await else {
        return arrival.link.abort();
    };
    let words = match terms.proxy_header {
        Some(header) => (arrival.destination()).map(|it| header.encode(arrival.source, it)),
        None => Ok(Vec::new()),
    };
    let (client, words) = match words {
        Ok(words) => (arrival.link, words),
        Err(_) => return [arrival.link, server].into_iter().for_each(Link::abort),
    };
    let are_kernel = client.is_kernel() && server.is_kernel();
    match are_kernel.then(|| floor.workers()).flatten() {
        Some(workers) => {
            let held = (place, floor.connections.token());
            // Only the runtime's own failure ends it here.
            let _ = hand_over(workers, (client, server, words), lease, held).await;
        }
        None => carry_whole(&floor, &terms, (client, server, words), lease).await,
    }
}

/// Gives two kernel sockets to a worker, and stays to hear whether one of their ways is cut.
async fn hand_over(
    workers: &Workers,
    (client, server, words): (Link, Link, Vec<u8>),
    lease: Lease,
    (place, token): (Admitted, TaskTrackerToken),
) -> io::Result<()> {
    let ((client, one), (server, other)) = (client.into_kernel()?, server.into_kernel()?);
    let open = Arc::clone(&lease.choice.open);
    let (watched, has_ended) = oneshot::channel();
    let held = Held {
        source: None,
        place,
        _token: token,
        _watched: Some(watched),
    };
    workers.carry(Connection::joined(client, server, words, lease, held));
    if one.is_none() && other.is_none() {
        return Ok(());
    }
    tokio::select! {
        () = ended(one) => open.tell(Ending::Reset),
        () = ended(other) => open.tell(Ending::Reset),
        // It says nothing; it is dropped.
        _ = has_ended => {}
    }
    Ok(())
}

async fn carry_whole(
    floor: &Floor,
    terms: &Terms,
    (mut client, mut server, words): (Link, Link, Vec<u8>),
    lease: Lease,
) {
    let open = lease.open();
    let ended_well = {
        let mut carried = pin!(async {
            if !words.is_empty() {
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
    lease.ended();
    if !ended_well {
        client.abort();
        server.abort();
    }
}

/// A connection to the first backend that takes one. As long as there is news of where some of them are, it is waited for when no
/// other takes one.
async fn find(floor: &Arc<Floor>, terms: &Terms, source: SocketAddr) -> Option<(Link, Lease)> {
    loop {
        let news = floor.connector.news();
        match try_all(floor, terms, source, news.is_some()).await {
            Ok(found) => return Some(found),
            Err(Some(unknown)) => {
                tokio::select! {
                    biased;
                    // Its backend has left meanwhile, or the balancer ends.
                    () = unknown.open().must(Ending::Reset) => continue,
                    comes = async { news?.await.then_some(()) } => if comes.is_some() {
                        continue;
                    },
                }
            }
            Err(None) => {}
        }
        floor.counters.unserved_connections.add(1);
        return None;
    }
}

/// One round. The error is a place at a backend of which it is not known yet where it is, if the `others` have not taken the
/// connection.
async fn try_all(
    floor: &Arc<Floor>,
    terms: &Terms,
    source: SocketAddr,
    is_learning: bool,
) -> Result<(Link, Lease), Option<Lease>> {
    let (mut tried, mut has_failed, mut unknown) = (Vec::new(), false, None);
    while let Some(lease) = Lease::choose(floor, source.ip(), &tried) {
        let address = lease.choice.address;
        let connected = tokio::select! {
            biased;
            // Its backend has left meanwhile, or the balancer ends.
            () = lease.open().must(Ending::Reset) => Err(io::ErrorKind::Interrupted.into()),
            connected = floor.connector.connect(address, terms.limits.connect) => connected,
        };
        match connected {
            Ok(link) => {
                if has_failed {
                    floor.counters.retried_connections.add(1);
                }
                return Ok((link, lease));
            }
            Err(error) => {
                tried.push(lease.choice.backend);
                if is_learning && error.kind() == io::ErrorKind::HostUnreachable {
                    unknown = Some(lease);
                } else {
                    has_failed = true;
                    lease.failed(&error);
                }
            }
        }
    }
    Err(unknown)
}
