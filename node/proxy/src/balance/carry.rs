//! Carries bytes between two connections until both directions have ended. A half that ends is passed on and the other
//! half goes on; it never holds more than one buffer per direction.

use std::future::pending;
use std::io;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, split};
use tokio::time::{Instant, interval, sleep_until};

use super::link::{Cut, Link, Socket};
use super::spec::Limits;
use super::splice::{Heard, pump_kernel};
use super::status::BalancerCounters;

/// Something that happened in one direction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    Moved(usize),
    /// The side that bytes come from ended or failed.
    SourceLeft,
    /// The side that bytes go to takes no more.
    SinkLeft,
}

/// Returns when both directions have ended in order. Else: `TimedOut` after too long without a byte, `ConnectionAborted` when
/// one of the ways was cut, or what a side failed with.
pub(super) async fn carry(
    client: &mut Link,
    server: &mut Link,
    limits: &Limits,
    moved: &Moved<'_>,
) -> io::Result<()> {
    let cuts = (client.cut.take(), server.cut.take());
    tokio::select! {
        biased;
        carried = both(client, server, moved) => carried,
        () = moved.rested(limits) => Err(io::ErrorKind::TimedOut.into()),
        () = ended(cuts.0) => Err(io::ErrorKind::ConnectionAborted.into()),
        () = ended(cuts.1) => Err(io::ErrorKind::ConnectionAborted.into()),
    }
}

async fn both(client: &mut Link, server: &mut Link, moved: &Moved<'_>) -> io::Result<()> {
    if let (Socket::Kernel(client), Socket::Kernel(server)) = (&client.socket, &server.socket) {
        let (client_heard, server_heard) = (Heard::default(), Heard::default());
        let up = pump_kernel(client, server, (&client_heard, &server_heard), |step| {
            moved.up(step);
        });
        let down = pump_kernel(server, client, (&server_heard, &client_heard), |step| {
            moved.down(step);
        });
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
pub(super) struct Moved<'a> {
    base: Instant,
    last_ms: AtomicU64,
    counters: &'a BalancerCounters,
    server_spoke: AtomicBool,
    /// The last byte was the client's, or none was yet.
    awaits_server: AtomicBool,
    first_left: OnceLock<Side>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Side {
    Client,
    Server,
}

impl<'a> Moved<'a> {
    pub(super) fn new(counters: &'a BalancerCounters) -> Self {
        Self {
            base: Instant::now(),
            last_ms: AtomicU64::new(0),
            counters,
            server_spoke: AtomicBool::new(false),
            awaits_server: AtomicBool::new(true),
            first_left: OnceLock::new(),
        }
    }

    /// The server went first, and had not said a byte: nobody was served.
    pub(super) fn server_left_silent(&self) -> bool {
        self.first_left.get() == Some(&Side::Server) && !self.server_spoke.load(Ordering::Relaxed)
    }

    /// Ends once the client has its answer, as far as can be seen from outside: the server spoke last, and that a moment ago.
    pub(super) async fn rests(&self) {
        let mut looks = interval(REST / 2);
        loop {
            looks.tick().await;
            let last = self.base + Duration::from_millis(self.last_ms.load(Ordering::Relaxed));
            if !self.awaits_server.load(Ordering::Relaxed) && last.elapsed() >= REST {
                return;
            }
        }
    }

    fn up(&self, step: Step) {
        match step {
            Step::Moved(bytes) => {
                self.awaits_server.store(true, Ordering::Relaxed);
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
                self.awaits_server.store(false, Ordering::Relaxed);
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
        self.touch();
    }

    fn touch(&self) {
        let now_ms = u64::try_from(self.base.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.last_ms.store(now_ms, Ordering::Relaxed);
    }

    /// Ends when nothing has moved for too long: in a connection of which one half has ended, that is sooner.
    async fn rested(&self, limits: &Limits) {
        loop {
            let limit = match self.first_left.get() {
                Some(_) => limits.idle.min(limits.half_open),
                None => limits.idle,
            };
            let last = Duration::from_millis(self.last_ms.load(Ordering::Relaxed));
            let (now, until) = (Instant::now(), self.base + last + limit);
            if until <= now {
                return;
            }
            // A half may end meanwhile.
            sleep_until(until.min(now + limits.half_open)).await;
        }
    }
}

/// Longer than a way through the tunnel and back.
const REST: Duration = Duration::from_millis(400);
/// What a direction holds of a connection that is not the kernel's.
const BUFFER_BYTES: usize = 64 * 1024;
