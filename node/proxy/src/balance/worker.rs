//! Threads that carry connections between kernel sockets, each with an epoll of its own: they accept, choose, connect and
//! carry without a word to each other, but that long connections are spread over them. Of streams that the kernel does not
//! have they know nothing.

mod connection;
mod doors;
mod flow;
mod inbox;
mod pipes;
mod places;
mod run;
mod slots;
mod subject;

use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread;

use tokio::runtime::Handle;

use super::balancer::Floor;
use inbox::Inbox;
use run::Worker;

pub(super) use connection::{Connection, Held};
pub(super) use doors::{Entrance, Newcomer};
pub use places::FOR_ONE_EACH;
pub(super) use places::{PLACES, Places};

/// The workers of one balancer.
pub(super) struct Workers(Arc<[Arc<Inbox>]>);

impl Workers {
    /// As many as the runtime has threads, if there is room for so many; they accept at these.
    ///
    /// # Errors
    /// What the kernel says; `QuotaExceeded` where other balancers have all the workers.
    pub(super) fn start(
        floor: &Arc<Floor>,
        doors: Vec<Entrance>,
        places: &'static Places,
    ) -> io::Result<Self> {
        let runtime = Handle::current();
        let places = places.share(runtime.metrics().num_workers());
        if places.is_empty() {
            return Err(io::ErrorKind::QuotaExceeded.into());
        }
        let inboxes = places.iter().map(|_| Inbox::new().map(Arc::new));
        let inboxes: Arc<[_]> = inboxes.collect::<rustix::io::Result<Vec<_>>>()?.into();
        let doors: Vec<_> = doors.into_iter().map(Arc::new).collect();
        // Dropped if one can't be started, which ends those before it.
        let workers = Self(Arc::clone(&inboxes));
        for (at, place) in places.into_iter().enumerate() {
            let worker = Worker::new(Arc::clone(floor), Arc::clone(&inboxes), at, &doors)?;
            let runtime = runtime.clone();
            thread::Builder::new()
                .name(format!("balance-{at}"))
                .stack_size(STACK_BYTES)
                .spawn(move || {
                    // For its clock.
                    let _guard = runtime.enter();
                    worker.run();
                    drop(place);
                })?;
        }
        Ok(workers)
    }

    /// Goes on with a connection that was joined elsewhere.
    pub(super) fn carry(&self, connection: Connection) {
        let idlest = (self.0.iter()).min_by_key(|it| it.long.load(Ordering::Relaxed));
        if let Some(inbox) = idlest {
            inbox.pass(connection);
        }
    }

    /// They accept no more; each closes its doors when it hears of it.
    pub(super) fn close_doors(&self) {
        for inbox in &*self.0 {
            inbox.close_doors();
        }
    }

    /// They accept no more, and each ends as soon as it has no connection.
    pub(super) fn end(&self) {
        for inbox in &*self.0 {
            inbox.end();
        }
    }
}

impl Drop for Workers {
    fn drop(&mut self) {
        self.end();
    }
}

const STACK_BYTES: usize = 256 * 1024;

#[cfg(test)]
mod tests;
