//! Waiting for room in a UDP socket's send buffer. To tokio an error of the network closes a socket's write side for ever, as if
//! it were a pipe that nobody reads any more, and what is closed counts as writable: whoever waited by it would turn in a loop.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::task::{Context, Poll, ready};

use rustix::buffer::spare_capacity;
use rustix::event::Timespec;
use rustix::event::epoll::{self, CreateFlags, EventData, EventFlags};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// One socket's, and always asked about that one.
pub(super) struct Room {
    /// Has the socket in it while somebody waits. It is readable when the kernel has something to tell of the socket, and no error of
    /// the socket is one of its own.
    epoll: AsyncFd<OwnedFd>,
    watches: bool,
}

impl Room {
    pub(super) fn new() -> io::Result<Self> {
        let epoll = epoll::create(CreateFlags::CLOEXEC)?;
        #[allow(deprecated, reason = "nobody else can close an owned descriptor")]
        let epoll = AsyncFd::with_interest(epoll, Interest::READABLE)?;
        Ok(Self {
            epoll,
            watches: false,
        })
    }

    /// Completes when the socket has room; an error means that it can't be waited for.
    pub(super) fn poll(&mut self, socket: impl AsFd, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if !self.watches {
            // Once for each change: an error that nobody has fetched yet is told once, and no more.
            let flags = EventFlags::OUT | EventFlags::ET;
            epoll::add(&self.epoll, &socket, EventData::new_u64(0), flags)?;
            self.watches = true;
        }
        loop {
            let mut told = ready!(self.epoll.poll_read_ready(cx))?;
            let mut events = Vec::with_capacity(1);
            epoll::wait(
                &self.epoll,
                spare_capacity(&mut events),
                Some(&Timespec::default()),
            )?;
            if (events.iter()).any(|event| { event.flags }.contains(EventFlags::OUT)) {
                break;
            }
            told.clear_ready();
        }
        // Else it would wake us for each datagram that leaves.
        epoll::delete(&self.epoll, &socket)?;
        self.watches = false;
        Poll::Ready(Ok(()))
    }
}
