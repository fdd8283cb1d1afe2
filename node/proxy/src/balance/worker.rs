//! Threads that carry connections between kernel sockets, each with an epoll of its own: they accept, choose, connect and
//! carry without a word to each other, but that long connections are spread over them. Of streams that the kernel does not
//! have they know nothing.

mod connection;
mod doors;
mod flow;
mod inbox;
mod pipes;
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

/// The workers of one balancer.
pub(super) struct Workers(Arc<[Arc<Inbox>]>);

impl Workers {
    /// As many as the runtime has threads; they accept at these.
    ///
    /// # Errors
    /// What the kernel says.
    pub(super) fn start(floor: &Arc<Floor>, doors: Vec<Entrance>) -> io::Result<Self> {
        let runtime = Handle::current();
        let count = runtime.metrics().num_workers().min(MAX_WORKERS);
        let inboxes = (0..count).map(|_| Inbox::new().map(Arc::new));
        let inboxes: Arc<[_]> = inboxes.collect::<rustix::io::Result<Vec<_>>>()?.into();
        let doors: Vec<_> = doors.into_iter().map(Arc::new).collect();
        // Dropped if one can't be started, which ends those before it.
        let workers = Self(Arc::clone(&inboxes));
        for at in 0..count {
            let worker = Worker::new(Arc::clone(floor), Arc::clone(&inboxes), at, &doors)?;
            let runtime = runtime.clone();
            thread::Builder::new()
                .name(format!("balance-{at}"))
                .stack_size(STACK_BYTES)
                .spawn(move || {
                    // For its clock.
                    let _guard = runtime.enter();
                    worker.run();
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

/// Of one balancer.
const MAX_WORKERS: usize = 16;
const STACK_BYTES: usize = 256 * 1024;

#[cfg(test)]
mod tests;
