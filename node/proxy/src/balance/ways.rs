//! The ways by which sockets of the kernel reach the backends, learnt ahead, so that a connection need not ask for its own.
//! When a way ends, what went by it is reset. They open nothing by themselves.

use std::collections::{BTreeMap, BTreeSet};
use std::future::pending;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

use rustix::io::Errno;
use tokio::task::{AbortHandle, JoinSet};

use super::balancer::Floor;
use super::link::{Sockets, Way};

/// Those of one balancer.
#[derive(Default)]
pub(super) struct Ways {
    /// Read once per connection.
    book: RwLock<Book>,
    is_complete: AtomicBool,
}

#[derive(Default)]
struct Book {
    wanted: BTreeSet<SocketAddr>,
    /// Each with the number of its way, so that nobody forgets a later one.
    known: BTreeMap<SocketAddr, (u64, Sockets)>,
    number: u64,
}

impl Ways {
    /// Whether every backend can be reached by the kernel.
    pub(super) fn are_known(&self) -> bool {
        self.is_complete.load(Ordering::Relaxed)
    }

    /// A socket that will reach a backend.
    ///
    /// # Errors
    /// What the kernel says; `NetworkDown`: there is no way now, for which the backend is not to blame.
    pub(super) fn socket(&self, address: SocketAddr) -> std::io::Result<OwnedFd> {
        let book = self.book.read().unwrap_or_else(PoisonError::into_inner);
        let (_, sockets) = book.known.get(&address).ok_or(Errno::NETDOWN)?;
        sockets()
    }

    fn want(&self, wanted: BTreeSet<SocketAddr>) {
        self.change(|book| book.wanted = wanted);
    }

    fn change<T>(&self, change: impl FnOnce(&mut Book) -> T) -> T {
        let mut book = self.book.write().unwrap_or_else(PoisonError::into_inner);
        let changed = change(&mut book);
        let is_complete = book.wanted.iter().all(|it| book.known.contains_key(it));
        self.is_complete.store(is_complete, Ordering::Relaxed);
        changed
    }
}

/// Learns the ways to the backends of now until it is dropped.
pub(super) async fn keep_forever(floor: Arc<Floor>) {
    let mut keepers = JoinSet::new();
    let mut kept: BTreeMap<SocketAddr, AbortHandle> = BTreeMap::new();
    loop {
        let wanted: BTreeSet<_> = floor.pool().addresses().collect();
        floor.ways.want(wanted.clone());
        kept.retain(|address, keeper| {
            let stays = wanted.contains(address);
            if !stays {
                keeper.abort();
            }
            stays
        });
        for address in wanted {
            kept.entry(address)
                .or_insert_with(|| keepers.spawn(keep(Arc::clone(&floor), address)));
        }
        floor.backends_changed.notified().await;
        while keepers.try_join_next().is_some() {}
    }
}

/// Keeps the way to one backend known as long as there is one.
async fn keep(floor: Arc<Floor>, address: SocketAddr) {
    while let Some(Way { sockets, cut }) = floor.connector.way(address).await {
        let known = Known::new(&floor, address, sockets);
        match cut {
            Some(cut) => cut.await,
            None => pending().await,
        }
        // First, so that whoever is still going that way is counted as open at the backend.
        drop(known);
        floor.pool().cut(address);
    }
}

/// A way that is known until this is dropped.
struct Known<'a> {
    floor: &'a Floor,
    address: SocketAddr,
    number: u64,
}

impl<'a> Known<'a> {
    fn new(floor: &'a Floor, address: SocketAddr, sockets: Sockets) -> Self {
        let number = floor.ways.change(|book| {
            book.number += 1;
            book.known.insert(address, (book.number, sockets));
            book.number
        });
        Self {
            floor,
            address,
            number,
        }
    }
}

impl Drop for Known<'_> {
    fn drop(&mut self) {
        self.floor.ways.change(|book| {
            let held = book.known.get(&self.address);
            if held.is_some_and(|(number, _)| *number == self.number) {
                book.known.remove(&self.address);
            }
        });
    }
}
