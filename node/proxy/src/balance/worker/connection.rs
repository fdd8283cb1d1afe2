//! The life of one connection between two kernel sockets: on its way to a backend, then carried until both directions have
//! ended. It waits for nothing and looks at no clock.

use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::time::Duration;

use rustix::event::epoll::EventFlags;
use rustix::io::Errno;
use rustix::net::{connect, getsockname, sockopt};
use tokio::sync::oneshot;
use tokio::time::Instant;
use tokio_util::task::task_tracker::TaskTrackerToken;

use crate::admission::Admitted;

use super::super::carry::Told;
use super::super::lease::Lease;
use super::super::open::{Ending, Open, Side};
use super::super::proxy_header::ProxyHeader;
use super::super::sources::Source;
use super::super::status::BalancerCounters;
use super::super::stream::Terms;
use super::doors::Newcomer;
use super::flow::{End, Flow, Pace, Stock};

/// A client and its backend.
pub(crate) struct Connection {
    client: End,
    server: End,
    /// None: the backend was reached.
    attempt: Option<Attempt>,
    up: Flow,
    down: Flow,
    lease: Lease,
    /// It is one of its worker's long ones.
    pub(super) is_long: bool,
    /// It waits for its next turn.
    pub(super) is_in_turn: bool,
    /// The moves at the last look, since it must finish.
    rested_at: Option<u32>,
    held: Held,
}

/// What a connection holds as long as it lives.
pub(crate) struct Held {
    /// Where it may be cut with all others from there; None: it hears of that otherwise, or never.
    pub(crate) source: Option<Arc<Source>>,
    pub(crate) place: Admitted,
    pub(crate) _token: TaskTrackerToken,
    /// Whoever waits at the other end hears that the connection has ended.
    pub(crate) _watched: Option<oneshot::Sender<()>>,
}

/// Of reaching a backend.
struct Attempt {
    source: SocketAddr,
    terms: Terms,
    tried: Vec<u64>,
    until: Instant,
}

/// How a connection goes on.
pub(super) enum Next {
    Goes(Pace),
    /// In order, or else its sides must be reset.
    Ended {
        in_order: bool,
    },
}

impl Connection {
    /// A client for whom a backend is being reached.
    pub(super) fn opening(
        client: OwnedFd,
        (server, lease): (OwnedFd, Lease),
        (source, terms): (SocketAddr, Terms),
        tried: Vec<u64>,
        held: Held,
    ) -> Self {
        let attempt = Attempt {
            source,
            terms,
            tried,
            until: Instant::now() + terms.limits.connect,
        };
        Self {
            // It has inherited `TCP_NODELAY` from where it was accepted.
            client: End::new(client),
            server: End::connecting(server),
            attempt: Some(attempt),
            up: Flow::default(),
            down: Flow::default(),
            lease,
            is_long: false,
            is_in_turn: false,
            rested_at: None,
            held,
        }
    }

    /// Two that were joined elsewhere, both with `TCP_NODELAY`. The server first hears `words`.
    pub(crate) fn joined(
        client: OwnedFd,
        server: OwnedFd,
        words: Vec<u8>,
        lease: Lease,
        held: Held,
    ) -> Self {
        Self {
            client: End::new(client),
            server: End::new(server),
            attempt: None,
            up: Flow::beginning_with(words),
            down: Flow::default(),
            lease,
            is_long: false,
            is_in_turn: false,
            rested_at: None,
            held,
        }
    }

    /// One side's socket has become so.
    pub(super) fn note(&mut self, side: Side, flags: EventFlags) {
        let end = match side {
            Side::Client => &mut self.client,
            Side::Server => &mut self.server,
        };
        end.is_closing |= flags.intersects(CLOSING);
        end.has_failed |= flags.intersects(FAILED);
        end.is_readable |= flags.intersects(CLOSING.union(EventFlags::IN));
        end.is_writable |= flags.intersects(CLOSING.union(EventFlags::OUT));
    }

    /// The attempt to reach a backend has had an event: what has come of it.
    pub(super) fn attempted(&mut self) -> Option<io::Result<()>> {
        match (self.server.has_failed, self.server.is_writable) {
            (true, _) => Some(match sockopt::socket_error(&self.server.tcp) {
                Ok(Ok(())) => Err(io::ErrorKind::ConnectionReset.into()),
                Ok(Err(error)) | Err(error) => Err(error.into()),
            }),
            (false, is_connected) => is_connected.then_some(Ok(())),
        }
    }

    /// The backend was reached.
    pub(super) fn begin(&mut self, counters: &BalancerCounters) -> io::Result<()> {
        let Some(attempt) = self.attempt.take() else {
            return Ok(());
        };
        if !attempt.tried.is_empty() {
            counters.retried_connections.add(1);
        }
        if let Some(header) = attempt.terms.proxy_header {
            self.up = Flow::beginning_with(self.words(header, attempt.source)?);
        }
        Ok(())
    }

    /// The backend was not reached; on to the next, if there is one.
    pub(super) fn attempt_failed(&mut self, error: &io::Error) -> Result<(), Unreached> {
        let Some(attempt) = &mut self.attempt else {
            return Err(Unreached::NoBackend);
        };
        self.lease.failed(error);
        attempt.tried.push(self.lease.choice.backend);
        let address = attempt.source.ip();
        let source = self.held.source.as_deref();
        let again = |tried: &[u64]| self.lease.again(address, tried);
        let (server, lease) = dial(&mut attempt.tried, source, again)?;
        attempt.until = Instant::now() + attempt.terms.limits.connect;
        (self.server, self.lease) = (End::connecting(server), lease);
        Ok(())
    }

    /// The client of an attempt, as it was when it came. None: its backend was reached.
    pub(super) fn into_newcomer(self) -> Option<(Newcomer, Terms, Admitted)> {
        let Attempt { source, terms, .. } = self.attempt?;
        let newcomer = Newcomer {
            tcp: self.client.tcp,
            source,
            sources: None,
            known: self.held.source,
        };
        Some((newcomer, terms, self.held.place))
    }

    /// When the attempt to reach a backend has lasted too long; None: it was reached.
    pub(super) fn attempt_until(&self) -> Option<Instant> {
        self.attempt.as_ref().map(|it| it.until)
    }

    /// Moves what can be moved.
    pub(super) fn advance(&mut self, stock: &mut Stock, counters: &BalancerCounters) -> Next {
        let told = Told::new(self.lease.open(), counters);
        let (client, server) = (&mut self.client, &mut self.server);
        let up = self.up.advance((client, server), stock, |it| told.up(it));
        let (client, server) = (&mut self.client, &mut self.server);
        let down = up.and_then(|up| {
            let down = (self.down).advance((server, client), stock, |it| told.down(it));
            Ok((up, down?))
        });
        match down {
            Ok(_) if self.up.has_ended() && self.down.has_ended() => Next::Ended { in_order: true },
            Ok((Pace::Waits, Pace::Waits)) => Next::Goes(Pace::Waits),
            Ok(_) => Next::Goes(Pace::HasMore),
            Err(_) => Next::Ended { in_order: false },
        }
    }

    pub(super) fn has_become_long(&self) -> bool {
        self.up.is_long() || self.down.is_long()
    }

    pub(super) fn open(&self) -> &Open {
        self.lease.open()
    }

    pub(super) fn ends(&self) -> [(Side, BorrowedFd<'_>); 2] {
        [
            (Side::Client, self.client.tcp.as_fd()),
            (Side::Server, self.server.tcp.as_fd()),
        ]
    }

    /// It must finish, its client has its answer, and nothing has moved since the last look.
    pub(super) fn has_rested(&mut self) -> bool {
        if self.attempt.is_some() || !self.open().is_told(Ending::Finish) {
            return false;
        }
        let before = self.rested_at.replace(self.open().moves());
        let is_flushed = self.up.is_flushed() && self.down.is_flushed();
        is_flushed && self.open().is_answered() && before == self.rested_at
    }

    /// Closes both sides.
    pub(super) fn end(self, in_order: bool) {
        self.lease.ended();
        let open = self.lease.open();
        for (end, side) in [(self.client, Side::Client), (self.server, Side::Server)] {
            if !in_order && !open.has_reset(side) {
                abort(end.tcp);
            }
        }
    }

    fn words(&self, header: ProxyHeader, source: SocketAddr) -> io::Result<Vec<u8>> {
        let destination = SocketAddr::try_from(getsockname(&self.client.tcp)?)?;
        Ok(header.encode(source, destination))
    }
}

/// Why nobody could set out to a backend.
pub(super) enum Unreached {
    /// A socket could not even be made: a way has ended just now, and there may soon be another.
    NoWay,
    NoBackend,
}

/// A socket on its way to the first backend to which one can set out.
pub(super) fn dial(
    tried: &mut Vec<u64>,
    source: Option<&Source>,
    choose: impl Fn(&[u64]) -> Option<Lease>,
) -> Result<(OwnedFd, Lease), Unreached> {
    let mut why = Unreached::NoBackend;
    while let Some(lease) = choose(tried) {
        if source.is_some_and(Source::is_cut) {
            // The client has lost its peer. One that loses it from now on is told by its lease.
            return Err(Unreached::NoBackend);
        }
        let socket = match lease.open().is_told(Ending::Reset) {
            // The backend has left, the client has lost its peer, or the balancer ends.
            true => Err(io::ErrorKind::Interrupted.into()),
            false => lease.socket().inspect_err(|_| why = Unreached::NoWay),
        };
        let set_out = socket.and_then(|socket| set_out(socket, lease.choice.address));
        match set_out {
            Ok(server) => return Ok((server, lease)),
            Err(error) => lease.failed(&error),
        }
        tried.push(lease.choice.backend);
    }
    Err(why)
}

/// Closes by reset.
pub(super) fn abort(tcp: OwnedFd) {
    // With linger 0 the kernel closes by reset; should that fail, the worst is an orderly end.
    let _ = sockopt::set_socket_linger(&tcp, Some(Duration::ZERO));
}

fn set_out(socket: OwnedFd, address: SocketAddr) -> io::Result<OwnedFd> {
    match connect(&socket, &address) {
        Ok(()) | Err(Errno::INPROGRESS) => Ok(socket),
        Err(error) => Err(error.into()),
    }
}

const FAILED: EventFlags = EventFlags::HUP.union(EventFlags::ERR);
/// The other side sends nothing more, or is gone.
const CLOSING: EventFlags = EventFlags::RDHUP.union(FAILED);
