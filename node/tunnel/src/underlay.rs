//! A device joined to its sockets: the half of an engine that is the same for all engines. It never looks inside the tunnel.

mod exchange;

use std::future::{Future, poll_fn};
use std::net::{IpAddr, SocketAddr};
use std::pin::pin;
use std::task::Poll;
use std::time::{Duration, Instant};

use socket2::Socket;
use tokio::sync::{broadcast, oneshot};

use crate::carrier::{Carried, CarrierStream, Carriers};
use crate::config::TunnelConfig;
use crate::demux::split_quic;
use crate::device::Device;
use crate::error::TunnelError;
use crate::key::PublicKey;
use crate::path::{CarrierId, Path, Transmit};
use crate::quic::{QuicDoor, QuicSide};
use crate::relay::RelayPair;
use crate::shard::Place;
use crate::shard::ring::{Errand, Neighbours};
use crate::socket::{Batch, Envelope, Sent, Sockets};
use crate::status::{PeerStatus, TunnelEvent, UnderlayCounters};
use crate::tunnel::{PeersChange, PeersChanged};

pub(crate) struct Underlay {
    pub(crate) device: Device,
    sockets: Sockets,
    carriers: Carriers,
    /// There once somebody has taken QUIC of a socket.
    quic: Option<QuicDoor>,
    /// The other shards, if there are any.
    neighbours: Option<Neighbours>,
    /// Whether it is for us to bind sockets when there are none.
    binds: bool,
    events: broadcast::Sender<TunnelEvent>,
    /// A socket had no room for the next datagram.
    blocked: bool,
    next_error_check: Instant,
}

/// What callers ask of a running device.
pub(crate) enum Request {
    ChangePeers(PeersChange, oneshot::Sender<PeersChanged>),
    Peers(oneshot::Sender<Vec<PeerStatus>>),
    ListenAddrs(oneshot::Sender<Vec<SocketAddr>>),
    Rebind(oneshot::Sender<Result<(), TunnelError>>),
    /// Closes the UDP sockets of a shard, which gets others later.
    Unbind(oneshot::Sender<()>),
    Refresh(oneshot::Sender<()>),
    SetRelayPairs(Vec<RelayPair>, oneshot::Sender<Result<(), TunnelError>>),
    AttachCarrier(
        CarrierStream,
        Option<PublicKey>,
        oneshot::Sender<Result<CarrierId, TunnelError>>,
    ),
    DetachCarrier(CarrierId, oneshot::Sender<()>),
    TakeQuic(usize, oneshot::Sender<Result<QuicSide, TunnelError>>),
    /// Whether a shard has a peer that owns this address and can be reached.
    Reachable(IpAddr, oneshot::Sender<bool>),
}

impl Underlay {
    pub(crate) fn start(
        config: &TunnelConfig,
        events: broadcast::Sender<TunnelEvent>,
        now: Instant,
    ) -> Result<Self, TunnelError> {
        Ok(Self {
            device: Device::new(config, now)?,
            sockets: Sockets::open(config)?,
            carriers: Carriers::new(Place::ALONE),
            quic: None,
            neighbours: None,
            binds: true,
            events,
            blocked: false,
            next_error_check: now,
        })
    }

    /// The half of one shard among several, with the sockets that were bound for it. The first binds others when it comes to that.
    pub(crate) fn shard(
        config: &TunnelConfig,
        device: Device,
        neighbours: Neighbours,
        bound: Vec<Socket>,
        events: broadcast::Sender<TunnelEvent>,
        now: Instant,
    ) -> Result<Self, TunnelError> {
        let mut sockets = Sockets::none(config);
        sockets.adopt(bound)?;
        Ok(Self {
            device,
            sockets,
            carriers: Carriers::new(neighbours.place()),
            quic: None,
            binds: neighbours.place().number() == 0,
            neighbours: Some(neighbours),
            events,
            blocked: false,
            next_error_check: now,
        })
    }

    /// Waits until the sockets have something to do, and gives the device a batch of what arrived. Cancel safe.
    pub(crate) async fn ready(&mut self) {
        self.wait().await;
        self.receive(|_| {});
    }

    /// Waits until there is something to [receive](Self::receive) or to do. Cancel safe.
    pub(crate) async fn wait(&mut self) {
        let bell = self.neighbours.as_ref().map(Neighbours::bell);
        let mut rung = pin!(bell.as_ref().map(|bell| bell.notified()));
        poll_fn(|cx| {
            let rung = rung.as_mut().as_pin_mut();
            let mut progress = rung.is_some_and(|rung| rung.poll(cx).is_ready());
            for _ in 0..CARRIER_BATCH {
                let Poll::Ready(carried) = self.carriers.poll_next(cx) else {
                    break;
                };
                progress = true;
                self.carried(carried);
            }
            if self.blocked && self.sockets.poll_writable(cx).is_ready() {
                self.blocked = false;
                progress = true;
            }
            if let Some(door) = self.quic.as_mut().filter(|_| !self.blocked) {
                progress |= door.poll_leaving(cx).is_ready();
            }
            // Asked in any case, so that it wakes us.
            let readable = self.sockets.poll_readable(cx);
            match progress {
                true => Poll::Ready(()),
                false => readable,
            }
        })
        .await;
    }

    /// Gives the device a batch of what has arrived, and the device to `after` now and then. False if nothing has arrived.
    pub(crate) fn receive(&mut self, mut after: impl FnMut(&mut Device)) -> bool {
        let now = Instant::now();
        let mut total_bytes = 0;
        for number in 0..RECEIVE_CALLS {
            let (device, quic) = (&mut self.device, &mut self.quic);
            let neighbours = &mut self.neighbours;
            let take = |batch: &Batch<'_>| {
                total_bytes += batch.datagrams.len();
                let Some(others) = neighbours else {
                    return arrive(batch, device, quic, now, &mut after);
                };
                let (socket, meta) = (batch.socket, batch.meta);
                for (shard, datagrams) in others.place().split(batch.datagrams, batch.stride()) {
                    if shard == others.place().number() {
                        let run = Batch {
                            datagrams,
                            ..*batch
                        };
                        arrive(&run, device, quic, now, &mut after);
                    } else {
                        let errand = Errand::Arrived { socket, meta };
                        others.datagrams(shard, errand, datagrams, batch.stride());
                    }
                }
            };
            if !self.sockets.receive(take) {
                return number > 0;
            }
            if total_bytes >= RECEIVE_BYTES {
                break;
            }
        }
        true
    }

    /// Whether the device's datagrams are waiting for room in a socket.
    pub(crate) fn blocked(&self) -> bool {
        self.blocked
    }

    /// Time, errors, datagrams and events: everything of the device but its packets.
    pub(crate) fn work(&mut self, now: Instant) {
        self.device.handle_timeout(now);
        if now >= self.next_error_check {
            self.check_errors(now);
        }
        self.transmit(Device::poll_transmit);
        self.transmit_quic();
        self.settle();
        while let Some(event) = self.device.poll_event() {
            // Without a subscriber there is nobody to tell.
            let _ = self.events.send(event);
        }
    }

    pub(crate) fn poll_timeout(&self) -> Option<Instant> {
        let device = self.device.poll_timeout();
        match self.sockets.is_bound() {
            true => device,
            false => Some(device.map_or(self.next_error_check, |at| at.min(self.next_error_check))),
        }
    }

    pub(crate) fn counters(&self) -> UnderlayCounters {
        let quic = self.quic.as_ref().map(QuicDoor::counters);
        let quic = quic.unwrap_or_default();
        let handed = self.neighbours.as_ref().map(|others| others.counters);
        let handed = handed.unwrap_or_default();
        UnderlayCounters {
            carrier_dropped: self.carriers.dropped,
            handed_over: handed.over,
            handover_dropped: handed.dropped,
            quic_received: quic.received,
            quic_dropped: quic.dropped,
            quic_sent: quic.sent,
            ..self.sockets.counters()
        }
    }

    /// Does what a caller asks. Returns those of `remotes` that now belong to another peer, or to none: connections to them
    /// must die.
    pub(crate) fn handle(
        &mut self,
        request: Request,
        remotes: &[IpAddr],
        now: Instant,
    ) -> Vec<IpAddr> {
        let before: Vec<_> = remotes.iter().map(|ip| self.device.owner(*ip)).collect();
        self.answer(request, now);
        let moved = remotes.iter().zip(before);
        let moved = moved.filter(|(ip, before)| self.device.owner(**ip) != *before);
        moved.map(|(ip, _)| *ip).collect()
    }

    fn answer(&mut self, request: Request, now: Instant) {
        // A caller who no longer waits does not want the answer.
        match request {
            Request::ChangePeers(PeersChange { gone, set }, reply) => {
                let device = &mut self.device;
                let _ = reply.send(PeersChanged {
                    gone: gone.iter().map(|key| device.remove_peer(key)).collect(),
                    set: set
                        .into_iter()
                        .map(|config| device.set_peer(config, now))
                        .collect(),
                });
            }
            Request::Peers(reply) => {
                let _ = reply.send(self.device.peers(now));
            }
            Request::ListenAddrs(reply) => {
                let _ = reply.send(self.sockets.local_addrs());
            }
            Request::Rebind(reply) => {
                let _ = reply.send(self.rebind(now));
            }
            Request::Unbind(reply) => {
                self.unbind();
                let _ = reply.send(());
            }
            Request::SetRelayPairs(pairs, reply) => {
                let _ = reply.send(self.device.set_relay_pairs(pairs, now));
            }
            Request::AttachCarrier(stream, via, reply) => {
                let _ = reply.send(self.attach_carrier(stream, via, now));
            }
            Request::DetachCarrier(id, reply) => {
                if self.carriers.detach(id) {
                    self.device.handle_carrier_closed(id, now);
                }
                let _ = reply.send(());
            }
            Request::Refresh(reply) => {
                self.device.handle_refresh(now);
                let _ = reply.send(());
            }
            Request::Reachable(ip, reply) => {
                let _ = reply.send(self.device.reachable(ip));
            }
            Request::TakeQuic(socket, reply) => {
                let _ = reply.send(self.take_quic(socket));
            }
        }
    }

    fn attach_carrier(
        &mut self,
        stream: CarrierStream,
        via: Option<PublicKey>,
        now: Instant,
    ) -> Result<CarrierId, TunnelError> {
        let unknown = via.filter(|via| !self.device.has_peer(via));
        if let Some(unknown) = unknown {
            return Err(TunnelError::UnknownPeer(unknown));
        }
        let id = self.carriers.attach(stream)?;
        if let Some(via) = via {
            self.device.handle_carrier_opened(id, via, now);
        }
        Ok(id)
    }

    fn take_quic(&mut self, socket: usize) -> Result<QuicSide, TunnelError> {
        let local = self.sockets.local_addrs().get(socket).copied();
        let local = local.ok_or(TunnelError::NoSocket(socket))?;
        let door = self.quic.get_or_insert_with(QuicDoor::new);
        door.open(socket, local)
            .ok_or(TunnelError::QuicTaken(local))
    }

    fn carried(&mut self, carried: Carried) {
        let now = Instant::now();
        match carried {
            Carried::Datagram(id, datagram) => {
                if let Some(others) = &mut self.neighbours {
                    let shard = others.place().of_datagram(&datagram);
                    if shard != others.place().number() {
                        return others.datagrams(
                            shard,
                            Errand::Carried(id),
                            &datagram,
                            datagram.len(),
                        );
                    }
                }
                self.device
                    .handle_datagram(Path::Carrier(id), &datagram, now);
            }
            Carried::Closed(id) => self.device.handle_carrier_closed(id, now),
        }
    }

    fn rebind(&mut self, now: Instant) -> Result<(), TunnelError> {
        self.blocked = false;
        match &mut self.neighbours {
            None => self.sockets.rebind()?,
            Some(others) => {
                self.sockets.close();
                // From now on it is tried until it succeeds.
                self.binds = others.place().number() == 0;
                let mut of_shards = self.sockets.bind_for(others.place().count())?.into_iter();
                self.sockets.adopt(of_shards.next().unwrap_or_default())?;
                for (shard, sockets) in others.place().others().zip(of_shards) {
                    others.send_sockets(shard, sockets);
                }
            }
        }
        self.device.handle_rebind(now);
        Ok(())
    }

    /// Closes the sockets of a shard. Until it is told to bind again, it does not.
    fn unbind(&mut self) {
        self.binds = false;
        self.blocked = false;
        self.sockets.close();
        if let Some(others) = &mut self.neighbours {
            drop(others.next_sockets());
        }
    }

    /// Sends the batches that are full, so that the network has something to do meanwhile.
    pub(crate) fn transmit_full(&mut self) {
        self.transmit(Device::poll_full_transmit);
    }

    fn transmit(&mut self, poll: impl Fn(&mut Device) -> Option<Transmit>) {
        while !self.blocked
            && let Some(mut transmit) = poll(&mut self.device)
        {
            if let Path::Carrier(id) = transmit.path {
                for datagram in transmit.datagrams() {
                    self.carriers.send(id, datagram.to_vec());
                }
            } else if self.sockets.send(&mut transmit, Envelope::default()) == Sent::Full {
                self.device.unpoll_transmit(transmit);
                self.blocked = true;
                return;
            }
            self.device.recycle_transmit(transmit);
        }
    }

    /// Sends what those who speak QUIC have handed over, a bounded part of it at a time.
    fn transmit_quic(&mut self) {
        let Some(door) = &mut self.quic else {
            return;
        };
        let mut sent = 0;
        for _ in 0..QUIC_BATCHES {
            if self.blocked {
                break;
            }
            let Some(mut leaving) = door.pop() else {
                break;
            };
            let count = leaving.transmit.count();
            self.blocked = self.sockets.send(&mut leaving.transmit, leaving.envelope) == Sent::Full;
            sent += count;
            if self.blocked {
                sent -= leaving.transmit.count();
                door.hold(leaving);
            }
        }
        if sent > 0 {
            door.sent(sent);
        }
    }

    /// Error queues wake nobody, so they are read at every tick of the device.
    fn check_errors(&mut self, now: Instant) {
        self.next_error_check = now + ERROR_CHECK_INTERVAL;
        if !self.sockets.is_bound() && self.binds {
            // A rebind failed: the address may be back by now.
            if let Err(error) = self.rebind(now) {
                tracing::debug!(%error, "still without UDP sockets");
            }
        }
        for remote in self.sockets.unreachable_ports() {
            self.device.handle_port_unreachable(remote, now);
        }
    }
}

/// A batch goes to whom it is for: QUIC out by the door, the rest to the device.
fn arrive(
    batch: &Batch<'_>,
    device: &mut Device,
    quic: &mut Option<QuicDoor>,
    now: Instant,
    after: &mut impl FnMut(&mut Device),
) {
    let mut give = |datagrams: &[u8]| {
        device.handle_datagrams(batch.path(), datagrams, batch.stride(), now);
        after(device);
    };
    let Some(door) = quic.as_mut().filter(|door| door.takes(batch.socket)) else {
        return give(batch.datagrams);
    };
    for (is_quic, run) in split_quic(batch.datagrams, batch.stride()) {
        match is_quic {
            true => door.arrive(batch, run),
            false => give(run),
        }
    }
}

/// Calls to the sockets, and bytes taken from them, before the rest of the engine gets its turn.
const RECEIVE_CALLS: usize = 4;
const RECEIVE_BYTES: usize = 512 * 1024;
/// Batches taken from those who speak QUIC, before WireGuard gets its turn again.
const QUIC_BATCHES: usize = 64;
/// Datagrams taken from carriers in one go.
const CARRIER_BATCH: usize = 64;
const ERROR_CHECK_INTERVAL: Duration = Duration::from_millis(250);
