//! Asks the backends how they are, each at its time, and tells the pool. It decides nothing about what it hears.

use std::collections::BTreeSet;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until, timeout};

use super::balancer::Floor;
use super::health::{Finding, blames_backend};
use super::link::{Connector, Link};
use super::spec::{Check, Probe};

/// Checks until it is dropped, and keeps the pool's other times. One check of a backend is under way at a time.
pub(super) async fn check_forever(floor: Arc<Floor>) {
    let mut checks = JoinSet::new();
    let mut unasked = Unasked::default();
    loop {
        let (due, check) = {
            let pool = floor.pool();
            let look = pool.next_look();
            let due = pool.next_due().map_or(look, |due| due.min(look));
            (due, pool.check().clone())
        };
        tokio::select! {
            () = sleep_until(due) => {
                floor.pool().cut_overdue(Instant::now());
                floor.pool().look(Instant::now());
                unasked.keep(|backend, address| floor.pool().has(backend, address));
                for (backend, address) in floor.pool().begin_checks(Instant::now()) {
                    let (connector, check) = (Arc::clone(&floor.connector), check.clone());
                    checks.spawn(async move {
                        (backend, address, find(&*connector, address, &check).await)
                    });
                }
            }
            Some(Ok((backend, address, found))) = checks.join_next() => {
                unasked.note(backend, address, found.as_ref().err());
                let finding = found.unwrap_or(Finding::Nothing);
                floor.pool().checked(backend, address, finding, Instant::now());
            }
            // A spec changed, or a connection failed: something may be due earlier.
            () = floor.due_changed.notified() => {}
        }
    }
}

/// An error is a lack of our own: the backend was not asked.
async fn find(
    connector: &dyn Connector,
    address: SocketAddr,
    check: &Check,
) -> io::Result<Finding> {
    let asked = match &check.probe {
        Probe::Tcp => ask_tcp(connector, address, check.timeout).await,
        Probe::Http { port, path } => {
            let health = SocketAddr::new(address.ip(), *port);
            let asked = ask_http(connector, health, path, check);
            timeout(check.timeout, asked)
                .await
                .unwrap_or_else(|late| Err(Failed::Asked(late.into())))
        }
    };
    match asked {
        Ok(finding) => Ok(finding),
        Err(Failed::Asked(error)) => {
            tracing::debug!(%address, %error, "a check brought no answer");
            Ok(Finding::NoAnswer)
        }
        Err(Failed::NotAsked(error)) => Err(error),
    }
}

/// Why a check found nothing.
enum Failed {
    /// The error is the backend's, or one of the way to it.
    Asked(io::Error),
    NotAsked(io::Error),
}

impl From<io::Error> for Failed {
    fn from(error: io::Error) -> Self {
        Self::Asked(error)
    }
}

impl Failed {
    fn to_dial(error: io::Error) -> Self {
        match blames_backend(&error) {
            true => Self::Asked(error),
            false => Self::NotAsked(error),
        }
    }
}

/// The backends whose last check could not begin. What one lacks all may lack, at each check: the journal has a line for the
/// first, and one when none is left.
#[derive(Default)]
struct Unasked(BTreeSet<(u64, SocketAddr)>);

impl Unasked {
    fn note(&mut self, backend: u64, address: SocketAddr, error: Option<&io::Error>) {
        let Some(error) = error else {
            if self.0.remove(&(backend, address)) && self.0.is_empty() {
                tracing::info!("backends are checked again");
            }
            return;
        };
        if self.0.is_empty() {
            tracing::warn!(%address, %error, "can't check a backend");
        }
        self.0.insert((backend, address));
    }

    /// Forgets the backends that are gone.
    fn keep(&mut self, stays: impl Fn(u64, SocketAddr) -> bool) {
        self.0
            .retain(|(backend, address)| stays(*backend, *address));
    }
}

/// Somebody else may take the connection for a backend that is gone, like the agent on its machine, and then end it.
async fn ask_tcp(
    connector: &dyn Connector,
    address: SocketAddr,
    limit: Duration,
) -> Result<Finding, Failed> {
    let link = connect(connector, address, limit).await;
    let mut link = link.map_err(Failed::to_dial)?;
    let mut byte = [0];
    let heard = timeout(THROWN_OUT_WITHIN, link.read(&mut byte)).await;
    link.abort();
    match heard {
        Ok(Ok(0)) => Err(io::Error::from(io::ErrorKind::UnexpectedEof).into()),
        Ok(Err(error)) => Err(error.into()),
        // It says something, or waits for the client to begin.
        Ok(Ok(_)) | Err(_) => Ok(Finding::Well),
    }
}

/// Reads the status line only: the answer's reason is for people, and its body may never end.
async fn ask_http(
    connector: &dyn Connector,
    address: SocketAddr,
    path: &str,
    check: &Check,
) -> Result<Finding, Failed> {
    let link = connect(connector, address, check.timeout).await;
    let mut link = link.map_err(Failed::to_dial)?;
    let request = format!("GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
    link.write_all(request.as_bytes()).await?;
    link.flush().await?;
    let mut head = [0; STATUS_BYTES];
    link.read_exact(&mut head).await?;
    link.abort();
    // `HTTP/1.1 200`, RFC 9112 §4.
    match (
        &head[..HTTP.len()],
        head[HTTP.len()],
        &head[HTTP.len() + 1..],
    ) {
        (HTTP, b'0' | b'1', b" 200") => Ok(Finding::Well),
        (HTTP, _, _) => Ok(Finding::Unwell),
        _ => Err(io::Error::from(io::ErrorKind::InvalidData).into()),
    }
}

/// As long as there is news of where backends are, it waits to hear where this one is.
async fn connect(
    connector: &dyn Connector,
    address: SocketAddr,
    limit: Duration,
) -> io::Result<Link> {
    loop {
        let news = connector.news();
        match (connector.connect(address, limit).await, news) {
            (Err(error), Some(news)) if error.kind() == io::ErrorKind::HostUnreachable => {
                if !news.await {
                    return Err(error);
                }
            }
            (connected, _) => return connected,
        }
    }
}

/// Longer than a way through the tunnel and back.
const THROWN_OUT_WITHIN: Duration = Duration::from_millis(400);
const HTTP: &[u8] = b"HTTP/1.";
const STATUS_BYTES: usize = HTTP.len() + 1 + 4;
