//! The engine without privilege: WireGuard and TCP in one task of this process. It never touches an interface of the host.

mod buffers;
mod clock;
mod connection;
mod end;
mod hurry;
mod linger;
mod link;
mod listeners;
mod ports;
mod refuser;
mod resting;
mod segment;
mod shared;
mod stack;
mod steps;
mod stream;

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use async_trait::async_trait;
use tokio::sync::{broadcast, mpsc, oneshot};
use tokio::time::{Instant, sleep_until, timeout_at};

use crate::admission::{Admission, Admissions};
use crate::carrier::CarrierStream;
use crate::config::TunnelConfig;
use crate::error::TunnelError;
use crate::key::PublicKey;
use crate::listener::{TunnelListener, stopped};
use crate::offload::join::Joins;
use crate::offload::vnet::Work;
use crate::packet::addresses;
use crate::path::CarrierId;
use crate::quic::QuicSide;
use crate::relay::RelayPair;
use crate::status::{PeerStatus, TunnelEvent, TunnelStats};
use crate::stream::BoxStream;
use crate::tunnel::{Engine, MAX_COMMANDS, MAX_EVENTS_KEPT, PeersChange, PeersChanged, Tunnel};
use crate::underlay::{Request, Underlay};
use link::Departure;
use stack::{Stack, Tuple};
use stream::NetstackStream;

/// Starts the engine on the current tokio runtime.
pub(crate) fn start(config: TunnelConfig) -> Result<Arc<dyn Tunnel>, TunnelError> {
    let now = Instant::now().into_std();
    let (commands, inbox) = mpsc::channel(MAX_COMMANDS);
    let (events, _) = broadcast::channel(MAX_EVENTS_KEPT);
    // At most one ring per connection is under way, so this is bounded by the number of connections.
    let (bell, rings) = mpsc::unbounded_channel();
    let mut underlay = Underlay::start(&config, events.clone(), now)?;
    underlay.device.set_joins(Joins {
        tcp: true,
        udp: false,
    });
    let task = Task {
        underlay,
        stack: Stack::new(&config, bell, now),
        admissions: Admissions::default(),
        inbox,
        rings,
    };
    tokio::spawn(task.run());
    Ok(Arc::new(Netstack { commands, events }))
}

struct Netstack {
    commands: mpsc::Sender<Command>,
    events: broadcast::Sender<TunnelEvent>,
}

enum Command {
    Device(Request),
    Dial(SocketAddr, oneshot::Sender<io::Result<NetstackStream>>),
    Listen(SocketAddr, oneshot::Sender<io::Result<TunnelListener>>),
    Admit(Knocking, oneshot::Sender<io::Result<Admission>>),
    Stats(oneshot::Sender<TunnelStats>),
    Shutdown(oneshot::Sender<()>),
}

/// A connection that a peer opens beside the tunnel.
struct Knocking {
    peer: PublicKey,
    local: SocketAddr,
    remote: SocketAddr,
}

impl Netstack {
    async fn ask<T>(&self, command: impl FnOnce(oneshot::Sender<T>) -> Command) -> Option<T> {
        let (reply, answer) = oneshot::channel();
        self.commands.send(command(reply)).await.ok()?;
        answer.await.ok()
    }

    async fn ask_device<T>(
        &self,
        request: impl FnOnce(oneshot::Sender<T>) -> Request,
    ) -> Option<T> {
        self.ask(|reply| Command::Device(request(reply))).await
    }
}

#[async_trait]
impl Tunnel for Netstack {
    fn engine(&self) -> Engine {
        Engine::Netstack
    }

    fn has_ended(&self) -> bool {
        self.commands.is_closed()
    }

    /// A peer at a time: packets pass in between.
    async fn change_peers(&self, peers: PeersChange) -> Result<PeersChanged, TunnelError> {
        let mut changed = PeersChanged::default();
        for part in peers.one_by_one() {
            let answer = self.ask_device(|reply| Request::ChangePeers(part, reply));
            changed.extend(answer.await.ok_or(TunnelError::Stopped)?);
        }
        Ok(changed)
    }

    async fn peers(&self) -> Vec<PeerStatus> {
        self.ask_device(Request::Peers).await.unwrap_or_default()
    }

    async fn dial(&self, remote: SocketAddr, deadline: Instant) -> io::Result<BoxStream> {
        let dialled = async {
            let answer = self.ask(|reply| Command::Dial(remote, reply)).await;
            let mut stream = answer.unwrap_or_else(|| Err(stopped()))?;
            stream.connected().await?;
            Ok(Box::new(stream) as BoxStream)
        };
        timeout_at(deadline, dialled).await?
    }

    async fn listen(&self, address: SocketAddr) -> io::Result<TunnelListener> {
        let answer = self.ask(|reply| Command::Listen(address, reply)).await;
        answer.unwrap_or_else(|| Err(stopped()))
    }

    async fn admit(
        &self,
        peer: PublicKey,
        local: SocketAddr,
        remote: SocketAddr,
    ) -> io::Result<Admission> {
        let knocking = Knocking {
            peer,
            local,
            remote,
        };
        let answer = self.ask(|reply| Command::Admit(knocking, reply)).await;
        answer.unwrap_or_else(|| Err(stopped()))
    }

    async fn listen_addrs(&self) -> Vec<SocketAddr> {
        self.ask_device(Request::ListenAddrs)
            .await
            .unwrap_or_default()
    }

    fn events(&self) -> broadcast::Receiver<TunnelEvent> {
        self.events.subscribe()
    }

    async fn rebind(&self) -> Result<(), TunnelError> {
        let answer = self.ask_device(Request::Rebind).await;
        answer.unwrap_or(Err(TunnelError::Stopped))
    }

    async fn refresh(&self) {
        // Without an answer there is nothing to refresh any more.
        let _ = self.ask_device(Request::Refresh).await;
    }

    async fn set_relay_pairs(&self, pairs: Vec<RelayPair>) -> Result<(), TunnelError> {
        let answer = self
            .ask_device(|reply| Request::SetRelayPairs(pairs, reply))
            .await;
        answer.unwrap_or(Err(TunnelError::Stopped))
    }

    async fn attach_carrier(
        &self,
        stream: CarrierStream,
        via: Option<PublicKey>,
    ) -> Result<CarrierId, TunnelError> {
        let answer = self
            .ask_device(|reply| Request::AttachCarrier(stream, via, reply))
            .await;
        answer.unwrap_or(Err(TunnelError::Stopped))
    }

    async fn detach_carrier(&self, id: CarrierId) {
        // A tunnel that has ended has no carriers.
        let _ = self
            .ask_device(|reply| Request::DetachCarrier(id, reply))
            .await;
    }

    async fn take_quic(&self, socket: usize) -> Result<QuicSide, TunnelError> {
        let answer = self
            .ask_device(|reply| Request::TakeQuic(socket, reply))
            .await;
        answer.unwrap_or(Err(TunnelError::Stopped))
    }

    async fn stats(&self) -> TunnelStats {
        self.ask(Command::Stats).await.unwrap_or_default()
    }

    async fn shutdown(&self) {
        // No answer means that the task has already ended.
        let _ = self.ask(Command::Shutdown).await;
    }
}

/// The one task that owns a tunnel's state.
struct Task {
    underlay: Underlay,
    stack: Stack,
    admissions: Admissions,
    inbox: mpsc::Receiver<Command>,
    rings: mpsc::UnboundedReceiver<Tuple>,
}

impl Task {
    async fn run(mut self) {
        let asked_by = loop {
            let more = self.pump();
            let wake_at = if more {
                Some(Instant::now())
            } else {
                self.next_timeout()
            };
            tokio::select! {
                command = self.inbox.recv() => match command {
                    Some(Command::Shutdown(reply)) => break Some(reply),
                    Some(command) => self.handle(command),
                    None => break None,
                },
                Some(tuple) = self.rings.recv() => {
                    self.stack.ring(tuple);
                    while let Ok(tuple) = self.rings.try_recv() {
                        self.stack.ring(tuple);
                    }
                }
                () = self.underlay.ready() => {}
                () = sleep_until(wake_at.unwrap_or_else(Instant::now)), if wake_at.is_some() => {}
            }
        };
        self.stack.cut_all();
        self.admissions.cut_all();
        self.pump();
        drop(self);
        if let Some(reply) = asked_by {
            let _ = reply.send(());
        }
    }

    fn handle(&mut self, command: Command) {
        let now = Instant::now().into_std();
        match command {
            Command::Device(request) => {
                let changes = matches!(request, Request::ChangePeers(..));
                let remotes = match changes {
                    true => self.stack.remotes(),
                    false => Vec::new(),
                };
                for gone in self.underlay.handle(request, &remotes, now) {
                    self.stack.cut(gone);
                }
                if changes {
                    self.admissions.review(&self.underlay.device);
                }
            }
            Command::Dial(remote, reply) => {
                let _ = reply.send(self.dial(remote));
            }
            Command::Listen(address, reply) => {
                let _ = reply.send(self.stack.listen(address));
            }
            Command::Admit(knocking, reply) => {
                let _ = reply.send(self.admit(&knocking));
            }
            Command::Stats(reply) => {
                let _ = reply.send(self.stats());
            }
            // Taken by the loop.
            Command::Shutdown(_) => {}
        }
    }

    fn dial(&mut self, remote: SocketAddr) -> io::Result<NetstackStream> {
        let device = &self.underlay.device;
        if !self.stack.is_own(remote.ip()) {
            if device.owner(remote.ip()).is_none() {
                return Err(io::Error::new(
                    io::ErrorKind::NetworkUnreachable,
                    "no peer owns this overlay address",
                ));
            }
            if !device.reachable(remote.ip()) {
                return Err(io::Error::new(
                    io::ErrorKind::HostUnreachable,
                    "nobody knows where the peer of this overlay address is",
                ));
            }
        }
        self.stack.dial(remote)
    }

    fn admit(&mut self, knocking: &Knocking) -> io::Result<Admission> {
        let Knocking {
            peer,
            local,
            remote,
        } = *knocking;
        if !self.underlay.device.enter_stream(&peer, local.port()) {
            return Err(io::ErrorKind::PermissionDenied.into());
        }
        let place = self.stack.reserve(local, self.admissions.count())?;
        Ok(self.admissions.add(peer, local.port(), remote, place))
    }

    /// Moves packets between device and stack until nothing moves, or for a while. True if there is more to do.
    fn pump(&mut self) -> bool {
        for _ in 0..PUMP_ROUNDS {
            let now = Instant::now().into_std();
            let mut moved = false;
            while let Some(arrival) = self.underlay.device.poll_packet() {
                self.stack.handle_packet(&arrival.packet, arrival.work, now);
                self.underlay.device.recycle_packet(arrival);
                moved = true;
            }
            self.stack.handle_timeout(now);
            // TCP waits while datagrams do, instead of losing them.
            if !self.underlay.blocked() {
                self.stack.transmit(TRANSMIT_BURST_BYTES, now);
            }
            while let Some(departure) = self.stack.poll_packet() {
                self.route(departure, now);
                moved = true;
            }
            self.underlay.work(now);
            if !moved {
                return false;
            }
        }
        true
    }

    fn route(&mut self, mut departure: Departure, now: std::time::Instant) {
        let Departure { packet, work } = &mut departure;
        let own = addresses(packet).is_some_and(|(_, destination)| self.stack.is_own(destination));
        if own {
            self.stack.handle_packet(packet, *work, now);
        } else {
            let bytes = packet.len();
            let device = &mut self.underlay.device;
            device.handle_super_packet(packet.room(), bytes, *work, now);
        }
        self.stack.recycle_packet(departure);
    }

    fn next_timeout(&self) -> Option<Instant> {
        let stack = self.stack.poll_timeout();
        let earliest = self.underlay.poll_timeout().into_iter().chain(stack).min();
        earliest.map(Instant::from_std)
    }

    fn stats(&self) -> TunnelStats {
        TunnelStats {
            device: self.underlay.device.counters(),
            filter: self.underlay.device.filter_counters(),
            relay: self.underlay.device.relay_counters(),
            underlay: self.underlay.counters(),
            stack: self.stack.counters(),
        }
    }
}

/// Rounds before the task looks at its inbox again.
const PUMP_ROUNDS: usize = 16;
/// Taken from TCP in one round.
const TRANSMIT_BURST_BYTES: usize = 384 * 1024;

/// Gives one packet to a stack that listens on port 80.
pub(crate) fn fuzz_stack(config: &TunnelConfig, packet: &[u8], now: std::time::Instant) {
    let (bell, _rings) = mpsc::unbounded_channel();
    let mut stack = Stack::new(config, bell, now);
    let _listener = stack.listen((std::net::Ipv4Addr::UNSPECIFIED, 80).into());
    for work in [Work::None, Work::Cut { payload_bytes: 1 }] {
        stack.handle_packet(packet, work, now);
        stack.transmit(TRANSMIT_BURST_BYTES, now);
        while let Some(departure) = stack.poll_packet() {
            stack.recycle_packet(departure);
        }
    }
}
