//! Where the connections of a worker come in: listeners that all workers of a balancer wait at. It admits nobody.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Duration;

use rustix::event::epoll::{self, EventFlags};
use rustix::io::Errno;
use rustix::net::{SocketFlags, acceptfrom_with};
use tokio::time::Instant;
use tokio_util::task::task_tracker::TaskTrackerToken;

use super::subject::Subject;

pub(super) struct Doors {
    listeners: Vec<Arc<TcpListener>>,
    /// Nothing is accepted until then: descriptors ran out.
    closed_until: Option<Instant>,
    /// Given up when the doors are closed.
    token: Option<TaskTrackerToken>,
}

impl Doors {
    pub(super) fn open(
        listeners: &[Arc<TcpListener>],
        epoll: &OwnedFd,
        token: TaskTrackerToken,
    ) -> io::Result<Self> {
        let doors = Self {
            listeners: listeners.to_vec(),
            closed_until: None,
            token: Some(token),
        };
        doors.watch(epoll)?;
        Ok(doors)
    }

    /// One that waits at this door; None: nobody waits, or nobody can be accepted.
    pub(super) fn accept(&mut self, door: usize, epoll: &OwnedFd) -> Option<(OwnedFd, SocketAddr)> {
        loop {
            // The doors may have been closed by an earlier event.
            let listener = self.listeners.get(door)?;
            match acceptfrom_with(listener, SocketFlags::NONBLOCK | SocketFlags::CLOEXEC) {
                Ok((client, source)) => {
                    let source = source.and_then(|it| SocketAddr::try_from(it).ok());
                    return Some((client, source?));
                }
                Err(Errno::AGAIN) => return None,
                // It was withdrawn before it was accepted.
                Err(Errno::CONNABORTED | Errno::INTR) => {}
                Err(error) => {
                    tracing::warn!(%error, "can't accept a connection");
                    self.pause(epoll);
                    return None;
                }
            }
        }
    }

    /// When they must be opened again; None: they are open, or closed for good.
    pub(super) fn opening(&self) -> Option<Instant> {
        self.closed_until
    }

    pub(super) fn reopen(&mut self, epoll: &OwnedFd) {
        self.closed_until = None;
        if let Err(error) = self.watch(epoll) {
            tracing::warn!(%error, "can't go on accepting connections");
            self.pause(epoll);
        }
    }

    /// For good.
    pub(super) fn close(&mut self, epoll: &OwnedFd) {
        self.pause(epoll);
        self.closed_until = None;
        self.listeners.clear();
        self.token = None;
    }

    fn pause(&mut self, epoll: &OwnedFd) {
        for listener in &self.listeners {
            // What is not watched need not be left.
            let _ = epoll::delete(epoll, listener);
        }
        self.closed_until = Some(Instant::now() + ACCEPT_BACKOFF);
    }

    fn watch(&self, epoll: &OwnedFd) -> io::Result<()> {
        for (at, listener) in self.listeners.iter().enumerate() {
            // A newcomer wakes one worker. It is reported until it has been accepted by somebody.
            let flags = EventFlags::IN | EventFlags::EXCLUSIVE;
            epoll::add(epoll, listener, Subject::Door(at).into(), flags)?;
        }
        Ok(())
    }
}

/// Pause after a failed accept, which usually means that file descriptors ran out.
const ACCEPT_BACKOFF: Duration = Duration::from_millis(100);
