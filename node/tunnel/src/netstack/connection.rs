//! One TCP connection: a smoltcp socket with an interface of its own. Having an interface each, connections are found by a hash
//! and not by asking every socket. It never chooses ports or peers.

mod intake;
mod owner;

use std::io;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use smoltcp::iface::{Config, Interface, SocketHandle, SocketSet};
use smoltcp::socket::tcp::{CongestionControl, Socket, SocketBuffer, State};
use smoltcp::wire::{HardwareAddress, IpCidr};
use tokio::sync::mpsc;

use super::clock::Clock;
use super::end::End;
use super::hurry::{Hurry, Owed};
use super::link::{Link, Outbox};
use super::resting::LastAcknowledgement;
use super::segment::{self, Expected};
use super::stack::Tuple;

pub(crate) struct Connection<'a> {
    tuple: Tuple,
    interface: Interface,
    sockets: SocketSet<'a>,
    handle: SocketHandle,
    clock: Clock,
    mtu_bytes: usize,
    bell: mpsc::UnboundedSender<Tuple>,
    /// The stack has been told that there is something to do, and has not come yet.
    rung: bool,
    /// A stream holds this connection.
    attached: bool,
    /// The owner has written all that it wanted to, of which not all is acknowledged yet.
    finishing: bool,
    /// The peer's FIN has come, so the end of data is an end and no failure.
    peer_finished: bool,
    /// The sequence number of the peer's SYN.
    first_received: Option<u32>,
    /// The last number that the peer acknowledged.
    acked: Option<u32>,
    /// Bytes that the owner has read.
    read_bytes: u64,
    hurry: Hurry,
    /// When anything last came. smoltcp's own limit of silence would count by the clock that is moved.
    heard: Instant,
    silence_limit: Duration,
    /// The acknowledgement by which the peer said that it has no room for more, while that is so.
    closed: Option<Vec<u8>>,
    end: Option<End>,
}

/// What every connection of a stack has in common.
pub(crate) struct Terms {
    pub(crate) clock: Clock,
    pub(crate) mtu_bytes: usize,
    pub(crate) bell: mpsc::UnboundedSender<Tuple>,
}

impl<'a> Connection<'a> {
    /// A connection that will send a SYN.
    pub(crate) fn dial(
        tuple: Tuple,
        terms: &Terms,
        received: &'a mut [u8],
        sent: &'a mut [u8],
    ) -> io::Result<Self> {
        let mut connection = Self::new(tuple, terms, received, sent)?;
        let (interface, socket) = connection.parts();
        socket
            .connect(interface.context(), tuple.remote, tuple.local)
            .map_err(|error| io::Error::new(io::ErrorKind::InvalidInput, error.to_string()))?;
        connection.attached = true;
        Ok(connection)
    }

    /// A connection that waits for the SYN it is about to be given.
    pub(crate) fn answer(
        tuple: Tuple,
        terms: &Terms,
        received: &'a mut [u8],
        sent: &'a mut [u8],
    ) -> io::Result<Self> {
        let mut connection = Self::new(tuple, terms, received, sent)?;
        connection.silence_limit = OPENING_LIMIT;
        let (_, socket) = connection.parts();
        socket
            .listen(tuple.local)
            .map_err(|error| io::Error::new(io::ErrorKind::InvalidInput, error.to_string()))?;
        Ok(connection)
    }

    fn new(
        tuple: Tuple,
        terms: &Terms,
        received: &'a mut [u8],
        sent: &'a mut [u8],
    ) -> io::Result<Self> {
        let mut none = Outbox::default();
        let mut link = Link {
            inbound: None,
            outbox: &mut none,
            room_bytes: 0,
            mtu_bytes: terms.mtu_bytes,
        };
        let mut config = Config::new(HardwareAddress::Ip);
        // The source of initial sequence numbers (RFC 6528 asks that they can't be guessed).
        config.random_seed = getrandom::u64().map_err(io::Error::other)?;
        let mut interface = Interface::new(config, &mut link, terms.clock.now());
        let own = tuple.local.ip().into();
        interface.update_ip_addrs(|addresses| {
            let pushed = addresses.push(IpCidr::new(own, host_prefix(tuple.local)));
            debug_assert!(pushed.is_ok(), "a new interface has no addresses yet");
        });
        let mut socket = Socket::new(SocketBuffer::new(received), SocketBuffer::new(sent));
        socket.set_congestion_control(CongestionControl::Cubic);
        socket.set_nagle_enabled(false);
        socket.set_keep_alive(Some(KEEPALIVE_INTERVAL.into()));
        let mut sockets = SocketSet::new(Vec::with_capacity(1));
        let handle = sockets.add(socket);
        let now = tokio::time::Instant::now().into_std();
        Ok(Self {
            tuple,
            interface,
            sockets,
            handle,
            clock: terms.clock,
            mtu_bytes: terms.mtu_bytes,
            bell: terms.bell.clone(),
            rung: false,
            attached: false,
            finishing: false,
            peer_finished: false,
            first_received: None,
            acked: None,
            read_bytes: 0,
            hurry: Hurry::new(now),
            heard: now,
            silence_limit: SILENCE_LIMIT,
            closed: None,
            end: None,
        })
    }

    /// Takes a segment. Immediate answers go to `outbox`; the rest waits for [`transmit`](Self::transmit).
    pub(crate) fn receive(
        &mut self,
        packet: &[u8],
        reset: bool,
        outbox: &mut Outbox,
        now: Instant,
    ) {
        let before = self.state();
        // A caller that repeats its SYN has not answered.
        if before != State::SynReceived {
            self.heard = now;
        }
        let unsent_before = self.socket().send_queue();
        let sequence = segment::sequence(packet);
        if let Some(sequence) = sequence.filter(|sequence| sequence.syn) {
            self.first_received = Some(sequence.first);
        }
        let expected = self.expected();
        let acknowledgement = || segment::rewritten(packet, expected?.next);
        let plain = sequence.filter(|sequence| sequence.is_plain_ack());
        let closes = plain.is_some_and(|sequence| sequence.closed_window);
        let opens = plain.is_some() && !closes && self.closed.is_some();
        if plain.is_some() {
            self.closed = closes.then(acknowledgement).flatten();
        }
        if let Some((sequence, expected)) = sequence.zip(expected) {
            self.ingest_steps(packet, sequence, expected, outbox, now);
        }
        let repaired = sequence.zip(expected).and_then(|(sequence, expected)| {
            let ack = segment::acceptable_ack(packet, sequence, expected)?;
            Some((ack, sequence.wants_answer(expected)))
        });
        match repaired {
            Some((ack, wants_answer)) => {
                self.ingest(&ack, outbox, now);
                if wants_answer {
                    self.ingest_segment(packet, sequence, outbox, now);
                }
            }
            None => self.ingest_segment(packet, sequence, outbox, now),
        }
        if opens && let Some(acknowledgement) = acknowledgement() {
            self.have_repeated(&acknowledgement, outbox, now);
        }
        if closes && self.state() == State::FinWait2 {
            self.stop_asking_for_room(acknowledgement(), outbox, now);
        }
        let later = |ack: &u32| {
            self.acked
                .is_none_or(|acked| segment::is_later(*ack, acked))
        };
        if let Some(ack) = sequence.and_then(|sequence| sequence.ack).filter(later) {
            self.acked = Some(ack);
        }
        if self.finishing {
            self.finish();
        }
        let after = self.state();
        self.peer_finished |= finished_by_peer(after);
        if self.socket().send_queue() < unsent_before {
            self.hurry.progress(now);
        }
        if !was_established(before) && was_established(after) {
            self.hurry.opened(now);
        }
        if reset && after == State::Closed && before != State::Closed && self.end.is_none() {
            self.end = Some(if before == State::SynSent {
                End::Refused
            } else {
                End::Reset
            });
        }
        if before == State::SynReceived && after != State::SynReceived {
            (self.heard, self.silence_limit) = (now, SILENCE_LIMIT);
        }
    }

    /// Sends what may be sent while fewer than `room_bytes` wait.
    pub(crate) fn transmit(&mut self, outbox: &mut Outbox, room_bytes: usize, now: Instant) {
        self.rung = false;
        let before = self.state();
        if before == State::TimeWait && self.attached && self.socket().can_recv() {
            // The end of TIME-WAIT would clear what the owner has not read yet.
            return;
        }
        if self.falls_silent_at().is_some_and(|at| at <= now) {
            match before {
                // Both sides have said all that they wanted to.
                State::LastAck | State::Closing => self.socket().abort(),
                _ => self.end(End::TimedOut),
            }
        }
        let owed = self.owed();
        if self.hurry.due(owed).is_some_and(|due| due <= now) {
            self.skip_pause(outbox, now);
        }
        let mut link = Link {
            inbound: None,
            outbox,
            room_bytes,
            mtu_bytes: self.mtu_bytes,
        };
        let at = self.at(now);
        loop {
            let waiting = link.outbox.len();
            self.interface.poll_egress(at, &mut link, &mut self.sockets);
            if link.outbox.len() == waiting {
                break;
            }
        }
    }

    /// When [`transmit`](Self::transmit) wants to be called; a time in the past means now.
    pub(crate) fn poll_at(&mut self, now: Instant) -> Option<Instant> {
        if self.state() == State::TimeWait && self.attached && self.socket().can_recv() {
            return None;
        }
        let at = self.at(now);
        let next = self.interface.poll_at(at, &self.sockets);
        let next = next.map(|next| {
            self.clock
                .instant(next)
                .checked_sub(self.hurry.ahead)
                .unwrap_or(now)
        });
        let owed = self.owed();
        let stall = self.hurry.due(owed);
        let others = stall.into_iter().chain(self.falls_silent_at());
        next.into_iter().chain(others).min()
    }

    /// An acknowledgement is owed of data, or of our SYN, which is lost where it overtakes the permission for a new service
    /// on its way to the node.
    fn owed(&mut self) -> Owed {
        let unacknowledged = self.state() == State::SynSent || self.socket().send_queue() > 0;
        match unacknowledged {
            false => Owed::Nothing,
            true if self.closed.is_some() => Owed::Window,
            true => Owed::Acknowledgement,
        }
    }

    /// Moves the clock to where smoltcp repeats what is unacknowledged.
    fn skip_pause(&mut self, outbox: &mut Outbox, now: Instant) {
        let expected = self.expected();
        if let Some((closed, expected)) = self.closed.as_deref().zip(expected)
            && let Some(acknowledgement) = segment::rewritten(closed, expected.next)
        {
            self.have_repeated(&acknowledgement, outbox, now);
            self.hurry.tried(now);
        }
        if self.owed() == Owed::Nothing {
            return;
        }
        let at = self.at(now);
        let next = self.interface.poll_at(at, &self.sockets);
        if let Some(next) = next.filter(|next| *next > at) {
            self.hurry.skip((next - at).into(), now);
        }
    }

    /// When a peer that is not heard until then counts as dead.
    fn falls_silent_at(&mut self) -> Option<Instant> {
        match self.state() {
            State::Closed | State::Listen | State::TimeWait => None,
            _ => Some(self.heard + self.silence_limit),
        }
    }

    /// The most data in one packet of the path.
    fn segment_bytes(&self) -> usize {
        let ip_bytes = if self.tuple.local.is_ipv4() { 20 } else { 40 };
        self.mtu_bytes - ip_bytes - 20
    }

    /// smoltcp's time for this connection.
    fn at(&self, now: Instant) -> smoltcp::time::Instant {
        self.clock.at(now + self.hurry.ahead)
    }

    fn expected(&mut self) -> Option<Expected> {
        let first = self.first_received?;
        let finished = self.peer_finished;
        let (read_bytes, acked) = (self.read_bytes, self.acked);
        let socket = self.socket();
        let received = read_bytes + socket.recv_queue() as u64 + u64::from(finished);
        // Sequence numbers wrap at 32 bits.
        let next = first.wrapping_add(1).wrapping_add(received as u32);
        Some(Expected {
            next,
            acked,
            window_bytes: socket.recv_capacity() - socket.recv_queue(),
        })
    }

    pub(crate) fn state(&mut self) -> State {
        self.socket().state()
    }

    pub(crate) fn is_established(&mut self) -> bool {
        self.socket().may_send()
    }

    /// Nothing will come or go any more.
    pub(crate) fn is_over(&mut self) -> bool {
        let socket = self.socket();
        match socket.state() {
            State::Closed => socket.remote_endpoint().is_none(),
            // A listening socket whose SYN was withdrawn.
            State::Listen => true,
            _ => false,
        }
    }

    /// Of a connection of which nobody wants anything any more, but that the peer may have missed that it is over.
    pub(crate) fn last_acknowledgement(&mut self, now: Instant) -> Option<LastAcknowledgement> {
        let rests = !self.attached && self.state() == State::TimeWait;
        let next = self.poll_at(now).filter(|_| rests)?;
        let is_sent = next > now + ACK_DELAY;
        let expected = self.expected().filter(|_| is_sent)?;
        Some(LastAcknowledgement {
            number: expected.acked?,
            ack: expected.next,
        })
    }

    pub(crate) fn is_attached(&self) -> bool {
        self.attached
    }

    pub(crate) fn attach(&mut self) {
        self.attached = true;
    }

    /// Of what the owner has written.
    pub(crate) fn unacknowledged_bytes(&mut self) -> usize {
        self.socket().send_queue()
    }

    /// Data came for an owner who is gone.
    pub(crate) fn is_unwanted(&mut self) -> bool {
        !self.attached && self.socket().can_recv()
    }

    pub(crate) fn end(&mut self, end: End) {
        let open = self.end.is_none() && self.state() != State::Closed;
        if open || end == End::Cut {
            self.end = Some(end);
        }
        self.socket().abort();
    }

    fn parts(&mut self) -> (&mut Interface, &mut Socket<'a>) {
        (&mut self.interface, self.sockets.get_mut(self.handle))
    }

    fn socket(&mut self) -> &mut Socket<'a> {
        self.sockets.get_mut(self.handle)
    }

    /// Tells the stack to come, if smoltcp has something to send.
    fn ring_if_needed(&mut self) {
        let now = self.at(tokio::time::Instant::now().into_std());
        let due = self
            .interface
            .poll_at(now, &self.sockets)
            .is_some_and(|at| at <= now);
        if due {
            self.ring();
        }
    }

    pub(super) fn ring(&mut self) {
        if !self.rung {
            self.rung = true;
            // Without a stack there is nothing left to send.
            let _ = self.bell.send(self.tuple);
        }
    }
}

fn was_established(state: State) -> bool {
    !matches!(
        state,
        State::Listen | State::SynSent | State::SynReceived | State::Closed
    )
}

fn finished_by_peer(state: State) -> bool {
    matches!(
        state,
        State::CloseWait | State::LastAck | State::Closing | State::TimeWait
    )
}

fn host_prefix(address: SocketAddr) -> u8 {
    if address.is_ipv4() { 32 } else { 128 }
}

/// A connection on which nothing has been heard for this long is dead.
const SILENCE_LIMIT: Duration = Duration::from_secs(60);
pub(super) const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(20);
/// Of an acknowledgement that may go with data or with a later one.
pub(super) const ACK_DELAY: Duration = Duration::from_millis(10);
/// Time for a dialling peer to complete the handshake.
const OPENING_LIMIT: Duration = Duration::from_secs(10);
