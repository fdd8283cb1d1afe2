//! A device joined to its sockets: the half of an engine that is the same for all engines. It never looks inside the tunnel.

use std::future::poll_fn;
use std::net::{IpAddr, SocketAddr};
use std::task::Poll;
use std::time::{Duration, Instant};

use tokio::sync::{broadcast, oneshot};

use crate::carrier::{Carried, CarrierStream, Carriers};
use crate::config::{PeerConfig, TunnelConfig};
use crate::demux::split_quic;
use crate::device::Device;
use crate::error::TunnelError;
use crate::key::PublicKey;
use crate::path::{CarrierId, Path, Transmit};
use crate::quic::{QuicDoor, QuicSide};
use crate::relay::RelayPair;
use crate::socket::{Batch, Envelope, Sent, Sockets};
use crate::status::{PeerStatus, TunnelEvent, UnderlayCounters};

pub(crate) struct Underlay {
    pub(crate) device: Device,
    sockets: Sockets,
    carriers: Carriers,
    /// There once somebody has taken QUIC of a socket.
    quic: Option<QuicDoor>,
    events: broadcast::Sender<TunnelEvent>,
    /// A socket had no room for the next datagram.
    blocked: bool,
    next_error_check: Instant,
}

/// What callers ask of a running device.
pub(crate) enum Request {
    SetPeer(Box<PeerConfig>, oneshot::Sender<Result<(), TunnelError>>),
    RemovePeer(PublicKey, oneshot::Sender<bool>),
    Peers(oneshot::Sender<Vec<PeerStatus>>),
    ListenAddrs(oneshot::Sender<Vec<SocketAddr>>),
    Rebind(oneshot::Sender<Result<(), TunnelError>>),
    Refresh(oneshot::Sender<()>),
    SetRelayPairs(Vec<RelayPair>, oneshot::Sender<Result<(), TunnelError>>),
    AttachCarrier(
        CarrierStream,
        Option<PublicKey>,
        oneshot::Sender<Result<CarrierId, TunnelError>>,
    ),
    DetachCarrier(CarrierId, oneshot::Sender<()>),
    TakeQuic(usize, oneshot::Sender<Result<QuicSide, TunnelError>>),
}

impl Underlay {
    pub(crate) fn start(
        config: &TunnelConfig,
        events: broadcast::Sender<TunnelEvent>,
        now: Instant,
    ) -> Result<Self, TunnelError> {
        Ok(Self {
            device: Device::new(config, now)?,
            sockets: Sockets::bind(&config.listen, config.offload)?,
            carriers: Carriers::new(),
            quic: None,
            events,
            blocked: false,
            next_error_check: now,
        })
    }

    /// Waits until the sockets have something to do, and gives the device a batch of what arrived. Cancel safe.
    pub(crate) async fn ready(&mut self) {
        poll_fn(|cx| {
            let mut progress = false;
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
        self.receive(|_| {});
    }

    /// Gives the device a batch of what has arrived, and the device to `after` now and then. False if nothing has arrived.
    pub(crate) fn receive(&mut self, mut after: impl FnMut(&mut Device)) -> bool {
        let now = Instant::now();
        let mut total_bytes = 0;
        for number in 0..RECEIVE_CALLS {
            let (device, quic) = (&mut self.device, &mut self.quic);
            let take = |batch: &Batch<'_>| {
                let mut give = |datagrams: &[u8]| {
                    device.handle_datagrams(batch.path(), datagrams, batch.stride(), now);
                    after(device);
                };
                total_bytes += batch.datagrams.len();
                let Some(door) = quic.as_mut().filter(|door| door.takes(batch.socket)) else {
                    return give(batch.datagrams);
                };
                for (is_quic, run) in split_quic(batch.datagrams, batch.stride()) {
                    match is_quic {
                        true => door.arrive(batch, run),
                        false => give(run),
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
        UnderlayCounters {
            carrier_dropped: self.carriers.dropped,
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
            Request::SetPeer(config, reply) => {
                let _ = reply.send(self.device.set_peer(*config, now));
            }
            Request::RemovePeer(key, reply) => {
                let _ = reply.send(self.device.remove_peer(&key));
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
                self.device
                    .handle_datagram(Path::Carrier(id), &datagram, now);
            }
            Carried::Closed(id) => self.device.handle_carrier_closed(id, now),
        }
    }

    fn rebind(&mut self, now: Instant) -> Result<(), TunnelError> {
        self.blocked = false;
        self.sockets.rebind()?;
        self.device.handle_rebind(now);
        Ok(())
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
        if !self.sockets.is_bound() {
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

/// Calls to the sockets, and bytes taken from them, before the rest of the engine gets its turn.
const RECEIVE_CALLS: usize = 4;
const RECEIVE_BYTES: usize = 512 * 1024;
/// Batches taken from those who speak QUIC, before WireGuard gets its turn again.
const QUIC_BATCHES: usize = 64;
/// Datagrams taken from carriers in one go.
const CARRIER_BATCH: usize = 64;
const ERROR_CHECK_INTERVAL: Duration = Duration::from_millis(250);
