//! Asks the backends how they are, each at its time, and tells the pool. It decides nothing about what it hears.

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
                for (backend, address) in floor.pool().begin_checks(Instant::now()) {
                    let (connector, check) = (Arc::clone(&floor.connector), check.clone());
                    checks.spawn(async move {
                        (backend, address, find(&*connector, address, &check).await)
                    });
                }
            }
            Some(Ok((backend, address, finding))) = checks.join_next() => {
                floor.pool().checked(backend, address, finding, Instant::now());
            }
            // A spec changed, or a connection failed: something may be due earlier.
            () = floor.due_changed.notified() => {}
        }
    }
}

async fn find(connector: &dyn Connector, address: SocketAddr, check: &Check) -> Finding {
    let asked = match &check.probe {
        Probe::Tcp => ask_tcp(connector, address, check.timeout).await,
        Probe::Http { port, path } => {
            let health = SocketAddr::new(address.ip(), *port);
            let asked = ask_http(connector, health, path, check);
            timeout(check.timeout, asked)
                .await
                .unwrap_or_else(|late| Err(late.into()))
        }
    };
    asked.unwrap_or_else(|error| {
        tracing::debug!(%address, %error, "a check brought no answer");
        Finding::NoAnswer
    })
}

/// Somebody else may take the connection for a backend that is gone, like the agent on its machine, and then end it.
async fn ask_tcp(
    connector: &dyn Connector,
    address: SocketAddr,
    limit: Duration,
) -> io::Result<Finding> {
    let mut link = match connect(connector, address, limit).await {
        Ok(link) => link,
        Err(error) => return not_reached(address, error),
    };
    let mut byte = [0];
    let heard = timeout(THROWN_OUT_WITHIN, link.read(&mut byte)).await;
    link.abort();
    match heard {
        Ok(Ok(0)) => Err(io::ErrorKind::UnexpectedEof.into()),
        Ok(Err(error)) => Err(error),
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
) -> io::Result<Finding> {
    let mut link = match connect(connector, address, check.timeout).await {
        Ok(link) => link,
        Err(error) => return not_reached(address, error),
    };
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
        _ => Err(io::ErrorKind::InvalidData.into()),
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

/// The error is the backend's, or one of the way to it.
fn not_reached(address: SocketAddr, error: io::Error) -> io::Result<Finding> {
    if blames_backend(&error) {
        return Err(error);
    }
    tracing::warn!(%address, %error, "can't check a backend");
    Ok(Finding::Nothing)
}

/// Longer than a way through the tunnel and back.
const THROWN_OUT_WITHIN: Duration = Duration::from_millis(400);
const HTTP: &[u8] = b"HTTP/1.";
const STATUS_BYTES: usize = HTTP.len() + 1 + 4;
