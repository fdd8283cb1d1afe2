//! One worker's loop: events in, and every connection moved as far as it goes. It sleeps only when there is nothing to do.

use std::collections::VecDeque;
use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::Waker;
use std::time::Duration;

use rustix::buffer::spare_capacity;
use rustix::event::Timespec;
use rustix::event::epoll::{self, CreateFlags, EventFlags};
use rustix::io::Errno;
use tokio::time::Instant;

use super::super::balancer::Floor;
use super::super::lease::Lease;
use super::super::open::{Ending, REST, Side};
use super::connection::{Connection, Held, Next, Unreached, abort, dial};
use super::doors::{Doors, Entrance, Newcomer};
use super::flow::{Pace, Stock};
use super::inbox::Inbox;
use super::slots::{Key, Slots};
use super::subject::Subject;

pub(super) struct Worker {
    floor: Arc<Floor>,
    epoll: OwnedFd,
    inbox: Arc<Inbox>,
    waker: Waker,
    /// Of all workers of the balancer.
    inboxes: Arc<[Arc<Inbox>]>,
    doors: Doors,
    connections: Slots<Connection>,
    /// Attempts to reach a backend, the oldest first; those that have ended are dropped when they come up.
    attempts: VecDeque<(Instant, Key)>,
    /// Connections that can do more at once, each once.
    in_turn: VecDeque<Key>,
    stock: Stock,
    ends: bool,
    /// When to look next for connections that have nothing to wait for; None: nobody must finish.
    finish_look: Option<Instant>,
}

impl Worker {
    pub(super) fn new(
        floor: Arc<Floor>,
        inboxes: Arc<[Arc<Inbox>]>,
        at: usize,
        entrances: &[Arc<Entrance>],
    ) -> io::Result<Self> {
        let inbox = Arc::clone(&inboxes[at]);
        let epoll = epoll::create(CreateFlags::CLOEXEC)?;
        let bell_flags = EventFlags::IN | EventFlags::ET;
        epoll::add(&epoll, inbox.bell(), Subject::Inbox.into(), bell_flags)?;
        let doors = Doors::open(entrances, &epoll, floor.connections.token())?;
        Ok(Self {
            floor,
            epoll,
            waker: Arc::clone(&inbox).into(),
            inbox,
            inboxes,
            doors,
            connections: Slots::default(),
            attempts: VecDeque::new(),
            in_turn: VecDeque::new(),
            stock: Stock::default(),
            ends: false,
            finish_look: None,
        })
    }

    pub(super) fn run(mut self) {
        let mut events = Vec::with_capacity(EVENTS_PER_WAIT);
        while !(self.ends && self.connections.is_empty() && self.inbox.seal()) {
            let pause = self.pause();
            match epoll::wait(&self.epoll, spare_capacity(&mut events), pause.as_ref()) {
                Ok(_) | Err(Errno::INTR) => {}
                Err(error) => {
                    tracing::error!(%error, "a balancer's worker can't wait for its sockets");
                    return;
                }
            }
            let newcomers = 1 + events.len() / EVENTS_PER_NEWCOMER;
            for event in events.drain(..) {
                match Subject::from(event.data) {
                    Subject::Inbox => self.read_letters(),
                    Subject::Door(at) => self.accept(at, newcomers),
                    Subject::Connection(key, side) => self.hear(key, side, event.flags),
                }
            }
            self.take_turns();
            self.keep_times();
        }
    }

    /// One turn for each connection that can do more.
    fn take_turns(&mut self) {
        for _ in 0..self.in_turn.len() {
            let Some(key) = self.in_turn.pop_front() else {
                return;
            };
            if let Some(connection) = self.connections.find(key) {
                connection.is_in_turn = false;
                self.advance(key);
            }
        }
    }

    /// Until something is due; None: for ever.
    fn pause(&self) -> Option<Timespec> {
        if !self.in_turn.is_empty() {
            return Some(Timespec::default());
        }
        let attempt = self.attempts.front().map(|(until, _)| *until);
        let times = [attempt, self.finish_look, self.doors.opening()];
        let next = times.into_iter().flatten().min()?;
        // The kernel counts whole milliseconds: one more, so that it is due then.
        let pause = next.duration_since(Instant::now()) + Duration::from_millis(1);
        Timespec::try_from(pause).ok()
    }

    fn read_letters(&mut self) {
        let (letters, has_told) = self.inbox.take();
        self.ends |= letters.ends;
        if letters.ends || letters.closes_doors {
            self.doors.close(&self.epoll);
        }
        for connection in letters.connections {
            self.go_on_with(connection);
        }
        if has_told {
            let told = |it: &mut Connection| it.open().is_told(Ending::Finish);
            for key in self.connections.keys_of(told) {
                self.heed(key);
            }
        }
    }

    /// One that began elsewhere.
    fn go_on_with(&mut self, mut connection: Connection) {
        connection.is_in_turn = false;
        let key = self.connections.insert(connection);
        self.heed(key);
        let Some(connection) = self.connections.find(key) else {
            return;
        };
        let ends = connection.ends().map(|(side, tcp)| {
            let subject = Subject::Connection(key, side);
            epoll::add(&self.epoll, tcp, subject.into(), ALL)
        });
        match ends.into_iter().all(|added| added.is_ok()) {
            true => self.advance(key),
            false => self.end(key, false),
        }
    }

    fn accept(&mut self, door: usize, newcomers: usize) {
        for _ in 0..newcomers {
            match self.doors.accept(door, &self.epoll) {
                Some(newcomer) => self.admit(newcomer),
                None => return,
            }
        }
    }

    fn admit(&mut self, mut newcomer: Newcomer) {
        let address = newcomer.source.ip();
        let Some((terms, place)) = self.floor.admit(address) else {
            return abort(newcomer.tcp);
        };
        newcomer.known = (newcomer.sources.as_ref()).and_then(|it| it.find(address));
        let is_strange = newcomer.sources.is_some() && newcomer.known.is_none();
        if is_strange || !self.floor.ways.are_known() {
            return self.floor.serve(newcomer, terms, place);
        }
        let mut tried = Vec::new();
        let choose = |tried: &[u64]| Lease::choose(&self.floor, address, tried);
        let attempt = match dial(&mut tried, newcomer.known.as_deref(), choose) {
            Ok(attempt) => attempt,
            Err(Unreached::NoWay) => return self.floor.serve(newcomer, terms, place),
            Err(Unreached::NoBackend) => {
                self.floor.counters.unserved_connections.add(1);
                return abort(newcomer.tcp);
            }
        };
        let Newcomer {
            tcp: client,
            source,
            known,
            ..
        } = newcomer;
        let held = Held {
            source: known,
            place,
            _token: self.floor.connections.token(),
            _watched: None,
        };
        let connection = Connection::opening(client, attempt, (source, terms), tried, held);
        let key = self.connections.insert(connection);
        self.watch_attempt(key);
    }

    fn watch_attempt(&mut self, key: Key) {
        let Some(connection) = self.connections.find(key) else {
            return;
        };
        let Some(until) = connection.attempt_until() else {
            return;
        };
        let [_, (side, tcp)] = connection.ends();
        let subject = Subject::Connection(key, side);
        if epoll::add(&self.epoll, tcp, subject.into(), ALL).is_err() {
            return self.end(key, false);
        }
        self.attempts.push_back((until, key));
        self.heed(key);
    }

    fn hear(&mut self, key: Key, side: Side, flags: EventFlags) {
        let Some(connection) = self.connections.find(key) else {
            return;
        };
        connection.note(side, flags);
        if connection.attempt_until().is_none() {
            return self.advance(key);
        }
        match connection.attempted() {
            None => {}
            Some(Ok(())) => self.begin(key),
            Some(Err(error)) => self.try_next(key, &error),
        }
    }

    fn begin(&mut self, key: Key) {
        let Some(connection) = self.connections.find(key) else {
            return;
        };
        if connection.begin(&self.floor.counters).is_err() {
            return self.end(key, false);
        }
        // What the client has said meanwhile needs no event.
        self.advance(key);
        let Some(connection) = self.connections.find(key) else {
            return;
        };
        let [(side, tcp), _] = connection.ends();
        let subject = Subject::Connection(key, side);
        if epoll::add(&self.epoll, tcp, subject.into(), ALL).is_err() {
            self.end(key, false);
        }
    }

    fn try_next(&mut self, key: Key, error: &io::Error) {
        let Some(connection) = self.connections.find(key) else {
            return;
        };
        match connection.attempt_failed(error) {
            Ok(()) => {
                if let Some(key) = self.rename(key) {
                    self.watch_attempt(key);
                }
            }
            Err(Unreached::NoWay) => self.give_back(key),
            Err(Unreached::NoBackend) => {
                self.floor.counters.unserved_connections.add(1);
                self.end(key, false);
            }
        }
    }

    /// Gives a connection another key: an event of the socket that it had before may already have been taken from the kernel.
    fn rename(&mut self, key: Key) -> Option<Key> {
        let connection = self.connections.remove(key)?;
        Some(self.connections.insert(connection))
    }

    /// The way to the next backend is not known, or no longer: its client is served like one for whom none is.
    fn give_back(&mut self, key: Key) {
        // It counts as open all the time.
        let _token = self.floor.connections.token();
        let connection = self.connections.remove(key);
        if let Some((newcomer, terms, place)) = connection.and_then(Connection::into_newcomer) {
            self.floor.serve(newcomer, terms, place);
        }
    }

    fn advance(&mut self, key: Key) {
        let Some(connection) = self.connections.find(key) else {
            return;
        };
        match connection.advance(&mut self.stock, &self.floor.counters) {
            Next::Ended { in_order } => return self.end(key, in_order),
            Next::Goes(Pace::HasMore) if !connection.is_in_turn => {
                connection.is_in_turn = true;
                self.in_turn.push_back(key);
            }
            Next::Goes(_) => {}
        }
        if !connection.is_long && connection.has_become_long() {
            connection.is_long = true;
            self.spread(key);
        }
    }

    /// Gives a connection that has become long to another worker that has fewer of them.
    fn spread(&mut self, key: Key) {
        let mine = self.inbox.long.fetch_add(1, Ordering::Relaxed);
        let others = self
            .inboxes
            .iter()
            .map(|it| (it.long.load(Ordering::Relaxed), it));
        let Some((least, idlest)) = others.min_by_key(|(long, _)| *long) else {
            return;
        };
        if least >= mine {
            return;
        }
        let idlest = Arc::clone(idlest);
        let Some(connection) = self.connections.remove(key) else {
            return;
        };
        for (_, tcp) in connection.ends() {
            // What is not there need not be taken away.
            let _ = epoll::delete(&self.epoll, tcp);
        }
        self.inbox.long.fetch_sub(1, Ordering::Relaxed);
        idlest.long.fetch_add(1, Ordering::Relaxed);
        idlest.pass(connection);
    }

    /// Does what a connection has been told, and hears when it is told more.
    fn heed(&mut self, key: Key) {
        let Some(connection) = self.connections.find(key) else {
            return;
        };
        connection.open().wake_by(&self.waker);
        if connection.open().is_told(Ending::Reset) {
            match connection.attempt_until() {
                // Its backend has left meanwhile, or the balancer ends.
                Some(_) => self.try_next(key, &io::ErrorKind::Interrupted.into()),
                None => self.end(key, false),
            }
        } else if connection.open().is_told(Ending::Finish) {
            self.finish_look
                .get_or_insert_with(|| Instant::now() + REST);
        }
    }

    fn keep_times(&mut self) {
        if self.attempts.is_empty() && self.finish_look.is_none() && self.doors.opening().is_none()
        {
            return;
        }
        let now = Instant::now();
        while let Some((until, key)) = self.attempts.front().copied() {
            let current = self.connections.find(key).and_then(|it| it.attempt_until());
            if current == Some(until) && until > now {
                break;
            }
            self.attempts.pop_front();
            if current == Some(until) {
                self.try_next(key, &io::ErrorKind::TimedOut.into());
            }
        }
        if self.finish_look.is_some_and(|at| at <= now) {
            self.finish_look = Some(now + REST);
            for key in self.connections.keys_of(Connection::has_rested) {
                self.end(key, true);
            }
        }
        if self.doors.opening().is_some_and(|until| until <= now) {
            self.doors.reopen(&self.epoll);
        }
    }

    fn end(&mut self, key: Key, in_order: bool) {
        if let Some(connection) = self.connections.remove(key) {
            if connection.is_long {
                self.inbox.long.fetch_sub(1, Ordering::Relaxed);
            }
            connection.end(in_order);
        }
    }
}

/// Of a connection's sockets, once for their whole life; closing them ends it.
const ALL: EventFlags = EventFlags::IN
    .union(EventFlags::OUT)
    .union(EventFlags::RDHUP)
    .union(EventFlags::ET);
const EVENTS_PER_WAIT: usize = 256;
/// One newcomer at a time needs no call that finds nobody; who has much to do takes more at once.
const EVENTS_PER_NEWCOMER: usize = 4;

#[cfg(test)]
mod tests;
