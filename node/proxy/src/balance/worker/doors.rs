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

use super::super::link::Door;
use super::super::sources::{Source, Sources};
use super::subject::Subject;

/// One listener, and who may come there.
pub(crate) struct Entrance {
    listener: TcpListener,
    /// None: everybody.
    sources: Option<Arc<Sources>>,
}

/// One that was accepted.
pub(crate) struct Newcomer {
    pub(crate) tcp: OwnedFd,
    pub(crate) source: SocketAddr,
    /// Where its source may be known.
    pub(crate) sources: Option<Arc<Sources>>,
    /// Its source, once that was found.
    pub(crate) known: Option<Arc<Source>>,
}

impl Entrance {
    pub(crate) fn new(door: Door<'_>) -> io::Result<Self> {
        Ok(Self {
            listener: door.socket.try_clone_to_owned()?.into(),
            sources: door.watch.map(|it| Arc::new(Sources::new(it))),
        })
    }
}

pub(super) struct Doors {
    entrances: Vec<Arc<Entrance>>,
    /// Nothing is accepted until then: descriptors ran out.
    closed_until: Option<Instant>,
    /// Given up when the doors are closed.
    token: Option<TaskTrackerToken>,
}

impl Doors {
    pub(super) fn open(
        entrances: &[Arc<Entrance>],
        epoll: &OwnedFd,
        token: TaskTrackerToken,
    ) -> io::Result<Self> {
        let doors = Self {
            entrances: entrances.to_vec(),
            closed_until: None,
            token: Some(token),
        };
        doors.watch(epoll)?;
        Ok(doors)
    }

    /// One that waits at this door; None: nobody waits, or nobody can be accepted.
    pub(super) fn accept(&mut self, door: usize, epoll: &OwnedFd) -> Option<Newcomer> {
        loop {
            // The doors may have been closed by an earlier event.
            let Entrance { listener, sources } = &**self.entrances.get(door)?;
            match acceptfrom_with(listener, SocketFlags::NONBLOCK | SocketFlags::CLOEXEC) {
                Ok((tcp, source)) => {
                    let source = source.and_then(|it| SocketAddr::try_from(it).ok());
                    return Some(Newcomer {
                        tcp,
                        source: source?,
                        sources: sources.clone(),
                        known: None,
                    });
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
        self.entrances.clear();
        self.token = None;
    }

    fn pause(&mut self, epoll: &OwnedFd) {
        for entrance in &self.entrances {
            // What is not watched need not be left.
            let _ = epoll::delete(epoll, &entrance.listener);
        }
        self.closed_until = Some(Instant::now() + ACCEPT_BACKOFF);
    }

    fn watch(&self, epoll: &OwnedFd) -> io::Result<()> {
        for (at, entrance) in self.entrances.iter().enumerate() {
            // A newcomer wakes one worker. It is reported until it has been accepted by somebody.
            let flags = EventFlags::IN | EventFlags::EXCLUSIVE;
            epoll::add(epoll, &entrance.listener, Subject::Door(at).into(), flags)?;
        }
        Ok(())
    }
}

/// Pause after a failed accept, which usually means that file descriptors ran out.
const ACCEPT_BACKOFF: Duration = Duration::from_millis(100);
