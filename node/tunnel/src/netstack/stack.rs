//! All TCP connections of one tunnel, without I/O: IP packets in, IP packets out. It never decides who may connect; the
//! device's filter has done that.

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use smoltcp::socket::tcp::State;
use tokio::sync::mpsc;

use super::buffers::Buffers;
use super::clock::Clock;
use super::connection::{Connection, Terms};
use super::end::End;
use super::linger::Linger;
use super::link::{Departure, Outbox};
use super::listeners::Listeners;
use super::ports::free_port;
use super::refuser::Refuser;
use super::resting::Resting;
use super::shared::Shared;
use super::stream::NetstackStream;
use crate::config::TunnelConfig;
use crate::listener::{Place, TunnelListener};
use crate::offload::layout::Layout;
use crate::offload::vnet::Work;
use crate::packet::{Headers, TcpFlags, Transport};
use crate::status::StackCounters;

/// Both ends of a connection, seen from this node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Tuple {
    pub(crate) local: SocketAddr,
    pub(crate) remote: SocketAddr,
}

pub(crate) struct Stack {
    addresses: Vec<IpAddr>,
    max_connections: usize,
    terms: Terms,
    connections: HashMap<Tuple, Entry>,
    resting: Resting,
    listeners: Listeners,
    /// Connections that have something to send.
    due: VecDeque<Tuple>,
    timers: BTreeSet<(Instant, Tuple)>,
    outbox: Outbox,
    buffers: Buffers,
    refuser: Refuser,
    counters: StackCounters,
}

struct Entry {
    connection: Shared,
    /// Of its receive buffer, and of its send buffer.
    buffer_bytes: usize,
    /// The place in the listener's backlog that this connection takes once it is established.
    place: Option<Place>,
    timer: Option<Instant>,
    due: bool,
    /// Set when the owner is gone.
    linger: Option<Linger>,
}

impl Stack {
    pub(crate) fn new(
        config: &TunnelConfig,
        bell: mpsc::UnboundedSender<Tuple>,
        now: Instant,
    ) -> Self {
        let terms = Terms {
            clock: Clock { epoch: now },
            mtu_bytes: config.mtu_bytes,
            bell,
        };
        Self {
            addresses: config.addresses.iter().map(|net| net.addr()).collect(),
            max_connections: config.max_connections,
            refuser: Refuser::new(&terms),
            terms,
            connections: HashMap::new(),
            resting: Resting::default(),
            listeners: Listeners::default(),
            due: VecDeque::new(),
            timers: BTreeSet::new(),
            outbox: Outbox::default(),
            buffers: Buffers::new(config.connection_buffer_bytes),
            counters: StackCounters::default(),
        }
    }

    pub(crate) fn is_own(&self, address: IpAddr) -> bool {
        self.addresses.contains(&address)
    }

    /// The addresses to which there are connections.
    pub(crate) fn remotes(&self) -> Vec<IpAddr> {
        let remotes: BTreeSet<_> = self
            .connections
            .keys()
            .map(|tuple| tuple.remote.ip())
            .collect();
        remotes.into_iter().collect()
    }

    pub(crate) fn counters(&self) -> StackCounters {
        StackCounters {
            connections: self.connections.len() as u64,
            buffer_bytes: self.buffers.reserved_bytes() as u64,
            ..self.counters
        }
    }

    /// Starts a connection; its SYN leaves with the next [`transmit`](Self::transmit).
    pub(crate) fn dial(&mut self, remote: SocketAddr) -> io::Result<NetstackStream> {
        if self.connections.len() >= self.max_connections {
            self.counters.refused_full += 1;
            return Err(io::Error::new(
                io::ErrorKind::QuotaExceeded,
                format!(
                    "all {} connections of this tunnel are in use",
                    self.max_connections
                ),
            ));
        }
        let tuple = self.free_tuple(remote)?;
        let buffer_bytes = self.buffers.next();
        let connection = Shared::new(buffer_bytes, |received, sent| {
            Connection::dial(tuple, &self.terms, received, sent)
        })?;
        self.insert(tuple, connection.clone(), buffer_bytes, None);
        self.counters.dialled += 1;
        self.ring(tuple);
        Ok(NetstackStream::new(connection))
    }

    pub(crate) fn listen(&mut self, address: SocketAddr) -> io::Result<TunnelListener> {
        self.listeners.open(address, &self.addresses)
    }

    /// A place in the backlog of whoever listens on `local`, for a connection that came beside the tunnel. `beside` is the
    /// number of those that there are already.
    pub(crate) fn reserve(&mut self, local: SocketAddr, beside: usize) -> io::Result<Place> {
        let Some(listener) = self.listeners.at(local) else {
            self.counters.refused_closed += 1;
            return Err(io::ErrorKind::ConnectionRefused.into());
        };
        let place = Place::reserve(listener);
        let fits = self.connections.len() + beside < self.max_connections;
        let Some(place) = place.filter(|_| fits) else {
            self.counters.refused_full += 1;
            return Err(io::ErrorKind::QuotaExceeded.into());
        };
        self.counters.accepted += 1;
        Ok(place)
    }

    /// A packet, or joined segments whose checksums were right, arrived for this node.
    pub(crate) fn handle_packet(&mut self, packet: &[u8], work: Work, now: Instant) {
        let Ok(headers) = Headers::parse(packet) else {
            return;
        };
        if !self.is_own(headers.destination) {
            return;
        }
        let Transport::Tcp { ports, flags } = headers.transport else {
            self.refuse(packet, headers.destination, now);
            return;
        };
        let intact = || Layout::of(packet).is_some_and(|layout| layout.is_intact(packet));
        if work == Work::None && !intact() {
            self.counters.damaged += 1;
            return;
        }
        let tuple = Tuple {
            local: (headers.destination, ports.destination).into(),
            remote: (headers.source, ports.source).into(),
        };
        let opens = flags.syn && !flags.ack && !flags.rst;
        if opens && self.is_finished(tuple) {
            self.remove(tuple);
        }
        let taken = self.connections.contains_key(&tuple) || (opens && self.answer(tuple));
        if taken {
            self.receive(tuple, packet, flags, now);
            return;
        }
        let known = match opens {
            true => self.listeners.at(tuple.local).is_some(),
            false => self.resting.answer(tuple, packet, &mut self.outbox),
        };
        if !known {
            self.counters.refused_closed += 1;
            self.refuse(packet, headers.destination, now);
        }
    }

    /// The owner of a connection did something.
    pub(crate) fn ring(&mut self, tuple: Tuple) {
        if let Some(entry) = self.connections.get_mut(&tuple)
            && !entry.due
        {
            entry.due = true;
            self.due.push_back(tuple);
        }
    }

    pub(crate) fn handle_timeout(&mut self, now: Instant) {
        self.resting.handle_timeout(now);
        while let Some((at, tuple)) = self.timers.first().copied()
            && at <= now
        {
            self.timers.remove(&(at, tuple));
            if let Some(entry) = self.connections.get_mut(&tuple) {
                entry.timer = None;
            }
            self.ring(tuple);
        }
    }

    /// Lets connections send, in turns, while fewer than `room_bytes` wait.
    pub(crate) fn transmit(&mut self, room_bytes: usize, now: Instant) {
        for _ in 0..self.due.len() {
            if self.outbox.bytes() >= room_bytes {
                return;
            }
            let Some(tuple) = self.due.pop_front() else {
                return;
            };
            let Some(entry) = self.connections.get_mut(&tuple) else {
                continue;
            };
            entry.due = false;
            let turn = room_bytes.min(self.outbox.bytes() + TURN_BYTES);
            let waiting = self.outbox.len();
            entry
                .connection
                .with(|connection| connection.transmit(&mut self.outbox, turn, now));
            let sent = self.outbox.len() > waiting;
            let soonest = if sent { now } else { now + IDLE_RETRY };
            self.schedule(tuple, soonest, now);
        }
    }

    pub(crate) fn poll_packet(&mut self) -> Option<Departure> {
        self.outbox.pop()
    }

    /// Takes back a packet that has left, so that its buffer is used again.
    pub(crate) fn recycle_packet(&mut self, departure: Departure) {
        self.outbox.recycle(departure);
    }

    /// When [`handle_timeout`](Self::handle_timeout) wants to be called.
    pub(crate) fn poll_timeout(&self) -> Option<Instant> {
        self.timers.first().map(|(at, _)| *at)
    }

    /// Resets every connection to an address.
    pub(crate) fn cut(&mut self, remote: IpAddr) {
        let doomed: Vec<_> = self
            .connections
            .keys()
            .copied()
            .filter(|tuple| tuple.remote.ip() == remote)
            .collect();
        for tuple in doomed {
            self.cut_one(tuple);
        }
    }

    /// Resets every connection and closes every listener.
    pub(crate) fn cut_all(&mut self) {
        self.listeners.clear();
        let doomed: Vec<_> = self.connections.keys().copied().collect();
        for tuple in doomed {
            self.cut_one(tuple);
        }
    }

    fn cut_one(&mut self, tuple: Tuple) {
        if let Some(entry) = self.connections.get(&tuple) {
            entry.connection.with(|connection| connection.end(End::Cut));
            self.ring(tuple);
        }
    }

    /// Makes a connection for a SYN. False if nobody listens or there is no room; then the SYN is lost and will be repeated.
    fn answer(&mut self, tuple: Tuple) -> bool {
        let Some(listener) = self.listeners.at(tuple.local) else {
            return false;
        };
        let Some(place) = Place::reserve(listener) else {
            self.counters.refused_full += 1;
            return false;
        };
        if self.connections.len() >= self.max_connections {
            self.counters.refused_full += 1;
            return false;
        }
        let buffer_bytes = self.buffers.next();
        let connection = Shared::new(buffer_bytes, |received, sent| {
            Connection::answer(tuple, &self.terms, received, sent)
        });
        let Ok(connection) = connection else {
            return false;
        };
        self.resting.forget(tuple);
        self.insert(tuple, connection, buffer_bytes, Some(place));
        true
    }

    fn receive(&mut self, tuple: Tuple, packet: &[u8], flags: TcpFlags, now: Instant) {
        let Some(entry) = self.connections.get_mut(&tuple) else {
            return;
        };
        let established = entry.connection.with(|connection| {
            connection.receive(packet, flags.rst, &mut self.outbox, now);
            connection.is_established()
        });
        if established && let Some(place) = entry.place.take() {
            entry.connection.with(|connection| connection.attach());
            let stream = NetstackStream::new(entry.connection.clone());
            self.counters.accepted += u64::from(place.fill(Box::new(stream), tuple.remote));
        }
        self.ring(tuple);
    }

    /// Decides when a connection is looked at next, not before `soonest`, or that it is over.
    fn schedule(&mut self, tuple: Tuple, soonest: Instant, now: Instant) {
        let Some(entry) = self.connections.get_mut(&tuple) else {
            return;
        };
        let next = entry.connection.with(|connection| {
            if !connection.is_attached() && entry.place.is_none() {
                let rest_bytes = connection.unacknowledged_bytes();
                let begun = || Linger::new(rest_bytes, now);
                let linger = entry.linger.get_or_insert_with(begun);
                linger.observe(rest_bytes, now);
                if now >= linger.until() || connection.is_unwanted() {
                    connection.end(End::Aborted);
                }
            }
            match connection.last_acknowledgement(now) {
                None if !connection.is_over() => Ok(connection.poll_at(now)),
                last => Err(last),
            }
        });
        let next = match next {
            Ok(next) => next,
            Err(last) => {
                self.remove(tuple);
                if let Some(last) = last {
                    self.resting.insert(tuple, last, now);
                }
                return;
            }
        };
        let next = next
            .map(|at| at.max(soonest))
            .into_iter()
            .chain(entry.linger.as_ref().map(Linger::until))
            .min();
        if let Some(old) = entry.timer.take() {
            self.timers.remove(&(old, tuple));
        }
        match next {
            Some(at) if at <= now => self.ring(tuple),
            Some(at) => {
                entry.timer = Some(at);
                self.timers.insert((at, tuple));
            }
            None => {}
        }
    }

    fn insert(
        &mut self,
        tuple: Tuple,
        connection: Shared,
        buffer_bytes: usize,
        place: Option<Place>,
    ) {
        self.buffers.take(buffer_bytes);
        let entry = Entry {
            connection,
            buffer_bytes,
            place,
            timer: None,
            due: false,
            linger: None,
        };
        self.connections.insert(tuple, entry);
    }

    fn remove(&mut self, tuple: Tuple) {
        let Some(entry) = self.connections.remove(&tuple) else {
            return;
        };
        self.buffers.give_back(entry.buffer_bytes);
        if let Some(at) = entry.timer {
            self.timers.remove(&(at, tuple));
        }
    }

    /// Whether a new connection may take the place of the one with this tuple.
    fn is_finished(&self, tuple: Tuple) -> bool {
        self.connections.get(&tuple).is_some_and(|entry| {
            entry.connection.with(|connection| {
                !connection.is_attached()
                    && matches!(connection.state(), State::TimeWait | State::Closed)
            })
        })
    }

    fn free_tuple(&self, remote: SocketAddr) -> io::Result<Tuple> {
        let same_family = |ip: &&IpAddr| ip.is_ipv4() == remote.is_ipv4();
        let local = self.addresses.iter().find(same_family).copied();
        let local = local.ok_or_else(|| {
            io::Error::new(
                io::ErrorKind::AddrNotAvailable,
                "this node has no overlay address of this family",
            )
        })?;
        let tuple = |port| Tuple {
            local: (local, port).into(),
            remote,
        };
        let taken = |tuple| self.connections.contains_key(&tuple) || self.resting.contains(tuple);
        free_port(|port| !taken(tuple(port))).map(tuple)
    }

    fn refuse(&mut self, packet: &[u8], own: IpAddr, now: Instant) {
        if self.outbox.len() >= MAX_REFUSALS {
            self.counters.packets_dropped += 1;
            return;
        }
        let clock = self.terms.clock;
        self.refuser.answer(
            packet,
            own,
            &mut self.outbox,
            self.terms.mtu_bytes,
            clock,
            now,
        );
    }
}

/// What one connection may send before the next has its turn: two super-packets, or a small one more than that.
const TURN_BYTES: usize = 96 * 1024;
/// Pause before a connection that claimed to have something to send, and sent nothing, is asked again.
const IDLE_RETRY: Duration = Duration::from_millis(5);
/// Answers to strays stop when this many packets wait.
const MAX_REFUSALS: usize = 1024;

#[cfg(test)]
mod tests;
