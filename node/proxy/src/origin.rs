//! Connections to origins: opened through the tunnel, kept for the next request, bounded per backend and in all.

use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, timeout, timeout_at};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::config::EdgeLimits;
use crate::counters::EdgeCounters;
use crate::dial::{BoxStream, Dialer};
use crate::failure::Fault;
use crate::relay::Upload;
use crate::target::MAX_HEADERS_BYTES;

/// One end that the edge can speak HTTP to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Upstream {
    /// A service behind the tunnel.
    Overlay(SocketAddr),
    /// A process beside the edge.
    Beside(SocketAddr),
}

/// All origin connections of an edge.
pub(crate) struct Pool {
    dialer: Arc<dyn Dialer>,
    limits: EdgeLimits,
    counters: Arc<EdgeCounters>,
    tasks: TaskTracker,
    cut: CancellationToken,
    /// Requests of every client connection meet here; held only to move one entry.
    shelves: Mutex<Shelves>,
}

#[derive(Default)]
struct Shelves {
    by_upstream: BTreeMap<Upstream, Shelf>,
    idle_total: usize,
    /// Nothing is kept any more.
    closed: bool,
}

struct Shelf {
    /// Oldest first.
    idle: VecDeque<Idle>,
    slots: Arc<Semaphore>,
}

struct Idle {
    since: Instant,
    way: u64,
    sender: SendRequest<Upload>,
}

/// An origin connection in use by one request. Dropping it closes the connection.
pub(crate) struct Lease {
    pub(crate) sender: SendRequest<Upload>,
    upstream: Upstream,
    /// [`Dialer::way`] when it was opened.
    way: u64,
    _slot: OwnedSemaphorePermit,
    pool: Arc<Pool>,
}

/// Whether a connection served a request before, so that the origin may have closed it meanwhile.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Age {
    Fresh,
    Kept,
}

impl Pool {
    pub(crate) fn new(
        dialer: Arc<dyn Dialer>,
        limits: EdgeLimits,
        counters: Arc<EdgeCounters>,
        tasks: TaskTracker,
        cut: CancellationToken,
    ) -> Arc<Self> {
        Arc::new(Self {
            dialer,
            limits,
            counters,
            tasks,
            cut,
            shelves: Mutex::default(),
        })
    }

    /// A kept connection, or a fresh one.
    pub(crate) async fn lease(self: &Arc<Self>, upstream: Upstream) -> Result<(Lease, Age), Fault> {
        let deadline = Instant::now() + self.limits.dial;
        let slot = self.slot(upstream, deadline).await?;
        let way = self.way(upstream);
        if let Some(sender) = self.kept(upstream, way) {
            return Ok((self.leased(upstream, way, sender, slot), Age::Kept));
        }
        let sender = self.connect(upstream, deadline).await?;
        Ok((self.leased(upstream, way, sender, slot), Age::Fresh))
    }

    /// A fresh connection, whatever is kept.
    pub(crate) async fn fresh(self: &Arc<Self>, upstream: Upstream) -> Result<Lease, Fault> {
        let deadline = Instant::now() + self.limits.dial;
        let slot = self.slot(upstream, deadline).await?;
        let way = self.way(upstream);
        let sender = self.connect(upstream, deadline).await?;
        Ok(self.leased(upstream, way, sender, slot))
    }

    /// Closes connections kept for too long and forgets upstreams without any.
    pub(crate) fn sweep(&self) {
        let mut shelves = self.lock();
        let all_slots = self.limits.connections_per_backend;
        let keep =
            |idle: &Idle| idle.since.elapsed() < self.limits.pool_idle && !idle.sender.is_closed();
        let mut left = 0;
        shelves.by_upstream.retain(|_, shelf| {
            shelf.idle.retain(keep);
            left += shelf.idle.len();
            !shelf.idle.is_empty() || shelf.slots.available_permits() < all_slots
        });
        shelves.idle_total = left;
    }

    /// Closes every connection that no request uses, and the others as soon as that holds for them.
    pub(crate) fn close(&self) {
        *self.lock() = Shelves {
            closed: true,
            ..Shelves::default()
        };
    }

    fn leased(
        self: &Arc<Self>,
        upstream: Upstream,
        way: u64,
        sender: SendRequest<Upload>,
        slot: OwnedSemaphorePermit,
    ) -> Lease {
        Lease {
            sender,
            upstream,
            way,
            _slot: slot,
            pool: Arc::clone(self),
        }
    }

    /// Leave to have one more request under way at the upstream.
    async fn slot(
        &self,
        upstream: Upstream,
        deadline: Instant,
    ) -> Result<OwnedSemaphorePermit, Fault> {
        let slots = {
            let mut shelves = self.lock();
            let shelf = shelves.by_upstream.entry(upstream);
            let shelf = shelf.or_insert_with(|| Shelf {
                idle: VecDeque::new(),
                slots: Arc::new(Semaphore::new(self.limits.connections_per_backend)),
            });
            Arc::clone(&shelf.slots)
        };
        match timeout_at(deadline, slots.acquire_owned()).await {
            Ok(Ok(slot)) => Ok(slot),
            Ok(Err(_)) | Err(_) => Err(Fault::EdgeBusy),
        }
    }

    fn way(&self, upstream: Upstream) -> u64 {
        match upstream {
            Upstream::Overlay(address) => self.dialer.way(address),
            Upstream::Beside(_) => 0,
        }
    }

    /// The connection that was used last, still looks alive and took the way of today.
    fn kept(&self, upstream: Upstream, way: u64) -> Option<SendRequest<Upload>> {
        let mut shelves = self.lock();
        loop {
            let idle = shelves.by_upstream.get_mut(&upstream)?.idle.pop_back()?;
            shelves.idle_total -= 1;
            let young = idle.since.elapsed() < self.limits.pool_idle;
            if young && idle.way == way && idle.sender.is_ready() {
                return Some(idle.sender);
            }
        }
    }

    async fn connect(
        &self,
        upstream: Upstream,
        deadline: Instant,
    ) -> Result<SendRequest<Upload>, Fault> {
        let stream = self.open(upstream, deadline).await?;
        self.counters.origin_connections.add(1);
        let mut http = http1::Builder::new();
        http.max_header_size(MAX_HEADERS_BYTES);
        let handshake = http.handshake(TokioIo::new(stream)).await;
        let (sender, connection) = handshake.map_err(|_| Fault::OriginBroken)?;
        let (cut, connection) = (self.cut.clone(), connection.with_upgrades());
        self.tasks.spawn(async move {
            // What went wrong reaches the request through its own future or body.
            tokio::select! {
                _ = connection => {}
                () = cut.cancelled() => {}
            }
        });
        Ok(sender)
    }

    async fn open(&self, upstream: Upstream, deadline: Instant) -> Result<BoxStream, Fault> {
        let left = deadline.saturating_duration_since(Instant::now());
        match upstream {
            Upstream::Overlay(address) => {
                let dialed = timeout(left, self.dialer.dial(address, left)).await;
                let stream = dialed.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()));
                stream.map_err(|error| Fault::of_dial(&error))
            }
            Upstream::Beside(address) => {
                let dialed = timeout(left, TcpStream::connect(address)).await;
                match dialed {
                    Ok(Ok(stream)) => Ok(Box::new(stream)),
                    Ok(Err(_)) | Err(_) => Err(Fault::EdgeDown),
                }
            }
        }
    }

    fn keep(&self, upstream: Upstream, idle: Idle) {
        let mut shelves = self.lock();
        if shelves.closed || shelves.idle_total >= self.limits.pool_idle_total {
            return;
        }
        let Some(shelf) = shelves.by_upstream.get_mut(&upstream) else {
            return;
        };
        shelf.idle.push_back(idle);
        if shelf.idle.len() > self.limits.pool_idle_per_backend {
            shelf.idle.pop_front();
        } else {
            shelves.idle_total += 1;
        }
    }

    fn lock(&self) -> MutexGuard<'_, Shelves> {
        self.shelves.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Lease {
    /// Keeps the connection for the next request, once the current one is over on both sides.
    pub(crate) fn give_back(mut self) {
        if self.pool.cut.is_cancelled() || self.sender.is_closed() {
            return;
        }
        if self.sender.is_ready() {
            self.shelve();
            return;
        }
        let (tasks, cut) = (self.pool.tasks.clone(), self.pool.cut.clone());
        tasks.spawn(async move {
            if let Some(Ok(())) = cut.run_until_cancelled(self.sender.ready()).await {
                self.shelve();
            }
        });
    }

    fn shelve(self) {
        let idle = Idle {
            since: Instant::now(),
            way: self.way,
            sender: self.sender,
        };
        self.pool.keep(self.upstream, idle);
    }
}

impl std::fmt::Debug for Lease {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Lease")
            .field("upstream", &self.upstream)
            .finish_non_exhaustive()
    }
}

/// How often [`Pool::sweep`] is worth calling.
pub(crate) fn sweep_interval(limits: &EdgeLimits) -> Duration {
    (limits.pool_idle / 4).max(Duration::from_millis(100))
}
