//! Carries bytes between two connections until both directions have ended. A half that ends is passed on and the other
//! half goes on; it never holds more than one buffer per direction.

use std::future::pending;
use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, split};
use tokio::time::{Instant, sleep_until};

use super::link::{Cut, Link, Socket};
use super::splice::pump_kernel;
use super::status::BalancerCounters;

/// Returns when both directions have ended in order.
///
/// # Errors
/// `TimedOut` after `idle` without a byte, `ConnectionAborted` when one of the ways was cut, or what a side failed with.
pub(super) async fn carry(
    client: &mut Link,
    server: &mut Link,
    idle: Duration,
    counters: &BalancerCounters,
) -> io::Result<()> {
    let cuts = (client.cut.take(), server.cut.take());
    let moved = Moved::new(counters);
    tokio::select! {
        carried = both(client, server, &moved) => carried,
        () = moved.rested_for(idle) => Err(io::ErrorKind::TimedOut.into()),
        () = ended(cuts.0) => Err(io::ErrorKind::ConnectionAborted.into()),
        () = ended(cuts.1) => Err(io::ErrorKind::ConnectionAborted.into()),
    }
}

async fn both(client: &mut Link, server: &mut Link, moved: &Moved<'_>) -> io::Result<()> {
    if let (Socket::Kernel(client), Socket::Kernel(server)) = (&client.socket, &server.socket) {
        let up = pump_kernel(client, server, |bytes| moved.up(bytes));
        let down = pump_kernel(server, client, |bytes| moved.down(bytes));
        return tokio::try_join!(up, down).map(|_| ());
    }
    let (mut from_client, mut to_client) = split(client);
    let (mut from_server, mut to_server) = split(server);
    let up = pump(&mut from_client, &mut to_server, |bytes| moved.up(bytes));
    let down = pump(&mut from_server, &mut to_client, |bytes| moved.down(bytes));
    tokio::try_join!(up, down).map(|_| ())
}

async fn pump(
    from: &mut (impl AsyncRead + Unpin),
    to: &mut (impl AsyncWrite + Unpin),
    moved: impl Fn(usize),
) -> io::Result<()> {
    let mut buffer = vec![0; BUFFER_BYTES];
    loop {
        let read = from.read(&mut buffer).await?;
        if read == 0 {
            return to.shutdown().await;
        }
        to.write_all(&buffer[..read]).await?;
        to.flush().await?;
        moved(read);
    }
}

async fn ended(cut: Option<Cut>) {
    match cut {
        Some(cut) => cut.await,
        None => pending().await,
    }
}

/// When a byte moved last, and how many did.
struct Moved<'a> {
    base: Instant,
    last_ms: AtomicU64,
    counters: &'a BalancerCounters,
}

impl<'a> Moved<'a> {
    fn new(counters: &'a BalancerCounters) -> Self {
        Self {
            base: Instant::now(),
            last_ms: AtomicU64::new(0),
            counters,
        }
    }

    fn up(&self, bytes: usize) {
        self.counters.bytes_in.add(bytes as u64);
        self.touch();
    }

    fn down(&self, bytes: usize) {
        self.counters.bytes_out.add(bytes as u64);
        self.touch();
    }

    fn touch(&self) {
        let now_ms = u64::try_from(self.base.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.last_ms.store(now_ms, Ordering::Relaxed);
    }

    async fn rested_for(&self, idle: Duration) {
        loop {
            let last = Duration::from_millis(self.last_ms.load(Ordering::Relaxed));
            let until = self.base + last + idle;
            if until <= Instant::now() {
                return;
            }
            sleep_until(until).await;
        }
    }
}

/// What a direction holds of a connection that is not the kernel's.
const BUFFER_BYTES: usize = 64 * 1024;
