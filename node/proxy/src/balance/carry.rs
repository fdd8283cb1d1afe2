//! Carries bytes between two connections of which one at least is not the kernel's, until both directions have ended. A half that ends is passed on and the other
//! half goes on; it never holds more than one buffer per direction.

use std::future::pending;
use std::io;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, split};

use super::link::{Cut, Link};
use super::open::{Open, Side};
use super::status::BalancerCounters;

/// Something that happened in one direction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    Moved(usize),
    /// The same, past this process.
    Spliced(usize),
    /// The side that bytes come from ended or failed.
    SourceLeft,
    /// It failed by a reset of its own: nobody is there any more to be reset.
    SourceReset,
    /// The side that bytes go to takes no more.
    SinkLeft,
}

/// Returns when both directions have ended in order. Else: `ConnectionAborted` when one of the ways was cut, or what a side
/// failed with.
pub(super) async fn carry(
    client: &mut Link,
    server: &mut Link,
    open: &Open,
    counters: &BalancerCounters,
) -> io::Result<()> {
    let told = Told::new(open, counters);
    match (client.cut.take(), server.cut.take()) {
        (None, None) => both(client, server, told).await,
        (one, other) => tokio::select! {
            biased;
            carried = both(client, server, told) => carried,
            () = ended(one) => Err(io::ErrorKind::ConnectionAborted.into()),
            () = ended(other) => Err(io::ErrorKind::ConnectionAborted.into()),
        },
    }
}

async fn both(client: &mut Link, server: &mut Link, told: Told<'_>) -> io::Result<()> {
    let (up, down) = (|step| told.up(step), |step| told.down(step));
    let (mut from_client, mut to_client) = split(client);
    let (mut from_server, mut to_server) = split(server);
    let up = pump(&mut from_client, &mut to_server, up);
    let down = pump(&mut from_server, &mut to_client, down);
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

/// Waits for that way to be cut.
pub(super) async fn ended(cut: Option<Cut>) {
    match cut {
        Some(cut) => cut.await,
        None => pending().await,
    }
}

/// Who hears of every step.
#[derive(Clone, Copy)]
pub(super) struct Told<'a> {
    open: &'a Open,
    counters: &'a BalancerCounters,
}

impl<'a> Told<'a> {
    pub(super) fn new(open: &'a Open, counters: &'a BalancerCounters) -> Self {
        Self { open, counters }
    }

    pub(super) fn up(self, step: Step) {
        match step {
            Step::Spliced(bytes) => {
                self.counters.spliced_bytes.add(bytes as u64);
                self.up(Step::Moved(bytes));
            }
            Step::Moved(bytes) => {
                self.counters.bytes_in.add(bytes as u64);
                self.open.moved_up();
            }
            Step::SourceLeft => self.open.left(Side::Client),
            Step::SourceReset => self.open.reset(Side::Client),
            Step::SinkLeft => self.open.left(Side::Server),
        }
    }

    pub(super) fn down(self, step: Step) {
        match step {
            Step::Spliced(bytes) => {
                self.counters.spliced_bytes.add(bytes as u64);
                self.down(Step::Moved(bytes));
            }
            Step::Moved(bytes) => {
                self.counters.bytes_out.add(bytes as u64);
                self.open.moved_down();
            }
            Step::SourceLeft => self.open.left(Side::Server),
            Step::SourceReset => self.open.reset(Side::Server),
            Step::SinkLeft => self.open.left(Side::Client),
        }
    }
}

/// What a direction holds of a connection that is not the kernel's.
const BUFFER_BYTES: usize = 64 * 1024;
