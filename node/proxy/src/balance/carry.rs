//! Carries bytes between two connections until both directions have ended. A half that ends is passed on and the other
//! half goes on; it never holds more than one buffer per direction.

use std::future::pending;
use std::io;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, split};
use tokio::time::{Instant, sleep_until};

use super::link::{Cut, Link, Socket};
use super::splice::pump_kernel;
use super::status::BalancerCounters;

/// How a connection ended.
pub(super) struct Carried {
    /// Both directions ended in order. Else: `TimedOut` after so long without a byte, `ConnectionAborted` when one of the
    /// ways was cut, or what a side failed with.
    pub(super) ended: io::Result<()>,
    /// The server went first, and had not said a byte: nobody was served.
    pub(super) server_left_silent: bool,
}

/// Something that happened in one direction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    Moved(usize),
    /// The side that bytes come from ended or failed.
    SourceLeft,
    /// The side that bytes go to takes no more.
    SinkLeft,
}

/// Returns when both directions have ended, or one failed.
pub(super) async fn carry(
    client: &mut Link,
    server: &mut Link,
    idle: Duration,
    counters: &BalancerCounters,
) -> Carried {
    let cuts = (client.cut.take(), server.cut.take());
    let moved = Moved::new(counters);
    let ended = tokio::select! {
        carried = both(client, server, &moved) => carried,
        () = moved.rested_for(idle) => Err(io::ErrorKind::TimedOut.into()),
        () = ended(cuts.0) => Err(io::ErrorKind::ConnectionAborted.into()),
        () = ended(cuts.1) => Err(io::ErrorKind::ConnectionAborted.into()),
    };
    Carried {
        ended,
        server_left_silent: moved.first_left.get() == Some(&Side::Server)
            && !moved.server_spoke.load(Ordering::Relaxed),
    }
}

async fn both(client: &mut Link, server: &mut Link, moved: &Moved<'_>) -> io::Result<()> {
    if let (Socket::Kernel(client), Socket::Kernel(server)) = (&client.socket, &server.socket) {
        let up = pump_kernel(client, server, |step| moved.up(step));
        let down = pump_kernel(server, client, |step| moved.down(step));
        return tokio::try_join!(up, down).map(|_| ());
    }
    let (mut from_client, mut to_client) = split(client);
    let (mut from_server, mut to_server) = split(server);
    let up = pump(&mut from_client, &mut to_server, |step| moved.up(step));
    let down = pump(&mut from_server, &mut to_client, |step| moved.down(step));
    tokio::try_join!(up, down).map(|_| ())
}

async fn pump(
    from: &mut (impl AsyncRead + Unpin),
    to: &mut (impl AsyncWrite + Unpin),
    told: impl Fn(Step),
) -> io::Result<()> {
    let mut buffer = vec![0; BUFFER_BYTES];
    loop {
        let read = from.read(&mut buffer).await;
        if !matches!(read, Ok(1..)) {
            told(Step::SourceLeft);
        }
        let read = read?;
        if read == 0 {
            return to.shutdown().await;
        }
        let written = async {
            to.write_all(&buffer[..read]).await?;
            to.flush().await
        };
        written.await.inspect_err(|_| told(Step::SinkLeft))?;
        told(Step::Moved(read));
    }
}

async fn ended(cut: Option<Cut>) {
    match cut {
        Some(cut) => cut.await,
        None => pending().await,
    }
}

/// When a byte moved last, how many did, and who went first.
struct Moved<'a> {
    base: Instant,
    last_ms: AtomicU64,
    counters: &'a BalancerCounters,
    server_spoke: AtomicBool,
    first_left: OnceLock<Side>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Side {
    Client,
    Server,
}

impl<'a> Moved<'a> {
    fn new(counters: &'a BalancerCounters) -> Self {
        Self {
            base: Instant::now(),
            last_ms: AtomicU64::new(0),
            counters,
            server_spoke: AtomicBool::new(false),
            first_left: OnceLock::new(),
        }
    }

    fn up(&self, step: Step) {
        match step {
            Step::Moved(bytes) => {
                self.counters.bytes_in.add(bytes as u64);
                self.touch();
            }
            Step::SourceLeft => self.left(Side::Client),
            Step::SinkLeft => self.left(Side::Server),
        }
    }

    fn down(&self, step: Step) {
        match step {
            Step::Moved(bytes) => {
                self.server_spoke.store(true, Ordering::Relaxed);
                self.counters.bytes_out.add(bytes as u64);
                self.touch();
            }
            Step::SourceLeft => self.left(Side::Server),
            Step::SinkLeft => self.left(Side::Client),
        }
    }

    fn left(&self, side: Side) {
        // Only who goes first is of interest.
        let _ = self.first_left.set(side);
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
