//! What others tell a worker, and how they wake it. Telling never waits for the worker.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Wake;

use rustix::event::{EventfdFlags, eventfd};
use rustix::io::write;

use super::connection::Connection;

/// One per worker. As a waker it says that a connection has been told to end.
pub(super) struct Inbox {
    bell: OwnedFd,
    /// The bell was rung and the worker has not looked since.
    has_rung: AtomicBool,
    has_told: AtomicBool,
    /// Connections of the worker that have become long, those on their way to it included.
    pub(super) long: AtomicUsize,
    /// Put in and taken out, held for nothing else.
    letters: Mutex<Letters>,
}

/// What lies in an inbox.
#[derive(Default)]
pub(super) struct Letters {
    /// Connections to go on with.
    pub(super) connections: Vec<Connection>,
    /// No more connections shall be accepted.
    pub(super) closes_doors: bool,
    /// The worker shall end as soon as it has no connection.
    pub(super) ends: bool,
    /// It has.
    has_ended: bool,
}

impl Inbox {
    pub(super) fn new() -> rustix::io::Result<Self> {
        Ok(Self {
            bell: eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?,
            has_rung: AtomicBool::new(false),
            has_told: AtomicBool::new(false),
            long: AtomicUsize::new(0),
            letters: Mutex::default(),
        })
    }

    /// The worker shall accept no more connections.
    pub(super) fn close_doors(&self) {
        self.letters().closes_doors = true;
        self.ring();
    }

    /// The same, and it shall end as soon as it has no connection.
    pub(super) fn end(&self) {
        self.letters().ends = true;
        self.ring();
    }

    /// The worker shall go on with this one. A worker that has ended can't: then it is reset.
    pub(super) fn pass(&self, connection: Connection) {
        let mut letters = self.letters();
        if letters.has_ended {
            drop(letters);
            return connection.end(false);
        }
        letters.connections.push(connection);
        drop(letters);
        self.ring();
    }

    /// For a worker that has nothing to do any more: whether nothing has come meanwhile, and so nothing will.
    pub(super) fn seal(&self) -> bool {
        let mut letters = self.letters();
        letters.has_ended = letters.connections.is_empty();
        letters.has_ended
    }

    /// What was put in, and whether a connection was told to end.
    pub(super) fn take(&self) -> (Letters, bool) {
        self.has_rung.store(false, Ordering::SeqCst);
        let mut letters = self.letters();
        let taken = Letters {
            connections: std::mem::take(&mut letters.connections),
            ..*letters
        };
        (taken, self.has_told.swap(false, Ordering::SeqCst))
    }

    /// What the worker waits at, for an edge: nobody reads it.
    pub(super) fn bell(&self) -> BorrowedFd<'_> {
        self.bell.as_fd()
    }

    fn ring(&self) {
        if !self.has_rung.swap(true, Ordering::SeqCst) {
            // It can only fail when it has been rung 2^64 times.
            let _ = write(&self.bell, &1_u64.to_ne_bytes());
        }
    }

    fn letters(&self) -> MutexGuard<'_, Letters> {
        self.letters.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Wake for Inbox {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.has_told.store(true, Ordering::SeqCst);
        self.ring();
    }
}
