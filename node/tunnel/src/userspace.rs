//! The engine for nodes with root: WireGuard in this process over a TUN device, TCP in the kernel. The interface is gone when
//! the tunnel is; it never changes routes or settings of any other interface.

mod kernel_stream;

use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Weak};

use async_trait::async_trait;
use ipnet::IpNet;
use tokio::sync::{broadcast, mpsc, oneshot};
use tokio::time::{Instant, sleep_until, timeout_at};
use tokio_util::sync::CancellationToken;
use tun_rs::{AsyncDevice, DeviceBuilder};

use crate::carrier::CarrierStream;
use crate::config::{PeerConfig, TunnelConfig};
use crate::error::TunnelError;
use crate::key::PublicKey;
use crate::listener::{TunnelListener, stopped};
use crate::noise::DATAGRAM_MAX_BYTES;
use crate::path::CarrierId;
use crate::relay::RelayPair;
use crate::status::{PeerStatus, StackCounters, TunnelEvent, TunnelStats};
use crate::stream::BoxStream;
use crate::tunnel::{Engine, MAX_COMMANDS, MAX_EVENTS_KEPT, Tunnel};
use crate::underlay::{Request, Underlay};
pub(crate) use kernel_stream::KernelListener;
use kernel_stream::KernelStream;

/// Starts the engine on the current tokio runtime.
pub(crate) fn start(config: TunnelConfig) -> Result<Arc<dyn Tunnel>, TunnelError> {
    let (commands, inbox) = mpsc::channel(MAX_COMMANDS);
    let (events, _) = broadcast::channel(MAX_EVENTS_KEPT);
    let underlay = Underlay::start(&config, events.clone(), Instant::now().into_std())?;
    let interface = interface(&config).map_err(|source| TunnelError::Interface {
        name: config.interface.clone(),
        source,
    })?;
    let task = Task {
        underlay,
        interface,
        inbox,
        watched: HashMap::new(),
        counters: StackCounters::default(),
    };
    tokio::spawn(task.run());
    Ok(Arc::new(Userspace {
        commands,
        events,
        addresses: config.addresses.iter().map(IpNet::addr).collect(),
        interface: config.interface,
    }))
}

fn interface(config: &TunnelConfig) -> io::Result<AsyncDevice> {
    let mtu = u16::try_from(config.mtu_bytes).map_err(io::Error::other)?;
    let mut builder = DeviceBuilder::new().name(&config.interface).mtu(mtu);
    let mut v4 = config.addresses.iter().filter_map(|net| match net {
        IpNet::V4(net) => Some(*net),
        IpNet::V6(_) => None,
    });
    if let Some(net) = v4.next() {
        builder = builder.ipv4(net.addr(), net.prefix_len(), None);
    }
    for net in &config.addresses {
        if let IpNet::V6(net) = net {
            builder = builder.ipv6(net.addr(), net.prefix_len());
        }
    }
    let device = builder.build_async()?;
    for net in v4 {
        device.add_address_v4(net.addr(), net.prefix_len())?;
    }
    Ok(device)
}

struct Userspace {
    commands: mpsc::Sender<Command>,
    events: broadcast::Sender<TunnelEvent>,
    addresses: Vec<IpAddr>,
    interface: String,
}

pub(crate) enum Command {
    Device(Request),
    /// Asks for the signal that ends connections to an address.
    Watch(IpAddr, oneshot::Sender<io::Result<CutSignal>>),
    Stats(oneshot::Sender<TunnelStats>),
    Shutdown(oneshot::Sender<()>),
}

/// Cancelled when the address leaves its peer. Held by every connection to it.
pub(crate) type CutSignal = Arc<CancellationToken>;

impl Userspace {
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
impl Tunnel for Userspace {
    fn engine(&self) -> Engine {
        Engine::Userspace
    }

    async fn set_peer(&self, peer: PeerConfig) -> Result<(), TunnelError> {
        let answer = self.ask_device(|reply| Request::SetPeer(peer, reply)).await;
        answer.unwrap_or(Err(TunnelError::Stopped))
    }

    async fn remove_peer(&self, key: PublicKey) -> Result<bool, TunnelError> {
        let answer = self
            .ask_device(|reply| Request::RemovePeer(key, reply))
            .await;
        answer.ok_or(TunnelError::Stopped)
    }

    async fn peers(&self) -> Vec<PeerStatus> {
        self.ask_device(Request::Peers).await.unwrap_or_default()
    }

    async fn dial(&self, remote: SocketAddr, deadline: Instant) -> io::Result<BoxStream> {
        let dialled = async {
            let answer = self.ask(|reply| Command::Watch(remote.ip(), reply)).await;
            let cut = answer.unwrap_or_else(|| Err(stopped()))?;
            let same_family = |ip: &&IpAddr| ip.is_ipv4() == remote.is_ipv4();
            let local = self.addresses.iter().find(same_family).copied();
            let local = local.ok_or(io::ErrorKind::AddrNotAvailable)?;
            let stream = KernelStream::dial(local, remote, &self.interface, cut).await?;
            Ok(Box::new(stream) as BoxStream)
        };
        timeout_at(deadline, dialled).await?
    }

    async fn listen(&self, address: SocketAddr) -> io::Result<TunnelListener> {
        if self.commands.is_closed() {
            return Err(stopped());
        }
        let every = address.ip().is_unspecified();
        let ips: Vec<_> = self
            .addresses
            .iter()
            .copied()
            .filter(|ip| every || *ip == address.ip())
            .collect();
        let listener =
            KernelListener::bind(&ips, address.port(), &self.interface, self.commands.clone())?;
        let local_addrs = listener.local_addrs()?;
        Ok(TunnelListener::kernel(listener, local_addrs))
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
    interface: AsyncDevice,
    inbox: mpsc::Receiver<Command>,
    /// Addresses to which there are, or were, connections.
    watched: HashMap<IpAddr, Weak<CancellationToken>>,
    counters: StackCounters,
}

impl Task {
    async fn run(mut self) {
        let mut packet = vec![0; DATAGRAM_MAX_BYTES];
        let asked_by = loop {
            self.pump();
            let wake_at = self.underlay.poll_timeout().map(Instant::from_std);
            tokio::select! {
                command = self.inbox.recv() => match command {
                    Some(Command::Shutdown(reply)) => break Some(reply),
                    Some(command) => self.handle(command),
                    None => break None,
                },
                read = self.interface.recv(&mut packet), if !self.underlay.blocked() => match read {
                    Ok(bytes) => self.send_batch(bytes, &mut packet),
                    Err(error) => {
                        tracing::error!(%error, "the interface was taken away; the tunnel ends");
                        break None;
                    }
                },
                () = self.underlay.ready() => {}
                () = sleep_until(wake_at.unwrap_or_else(Instant::now)), if wake_at.is_some() => {}
            }
        };
        for signal in self.watched.values().filter_map(Weak::upgrade) {
            signal.cancel();
        }
        drop(self);
        if let Some(reply) = asked_by {
            let _ = reply.send(());
        }
    }

    fn handle(&mut self, command: Command) {
        let now = Instant::now().into_std();
        match command {
            Command::Device(request) => {
                let remotes: Vec<_> = match request {
                    Request::SetPeer(..) | Request::RemovePeer(..) => {
                        self.watched.keys().copied().collect()
                    }
                    _ => Vec::new(),
                };
                for gone in self.underlay.handle(request, &remotes, now) {
                    if let Some(signal) = self.watched.remove(&gone).and_then(|weak| weak.upgrade())
                    {
                        signal.cancel();
                    }
                }
            }
            Command::Watch(remote, reply) => {
                let _ = reply.send(self.watch(remote));
            }
            Command::Stats(reply) => {
                let _ = reply.send(self.stats());
            }
            // Taken by the loop.
            Command::Shutdown(_) => {}
        }
    }

    fn watch(&mut self, remote: IpAddr) -> io::Result<CutSignal> {
        if self.underlay.device.owner(remote).is_none() {
            return Err(io::Error::new(
                io::ErrorKind::NetworkUnreachable,
                "no peer owns this overlay address",
            ));
        }
        if !self.underlay.device.reachable(remote) {
            return Err(io::Error::new(
                io::ErrorKind::HostUnreachable,
                "nobody knows where the peer of this overlay address is",
            ));
        }
        if let Some(signal) = self.watched.get(&remote).and_then(Weak::upgrade) {
            return Ok(signal);
        }
        if self.watched.len() >= MAX_WATCHED {
            self.watched.retain(|_, signal| signal.strong_count() > 0);
        }
        if self.watched.len() >= MAX_WATCHED {
            return Err(io::Error::new(
                io::ErrorKind::QuotaExceeded,
                "connections to too many addresses",
            ));
        }
        let signal = CutSignal::default();
        self.watched.insert(remote, Arc::downgrade(&signal));
        Ok(signal)
    }

    /// Takes the packet just read and those that wait behind it.
    fn send_batch(&mut self, bytes: usize, packet: &mut [u8]) {
        let now = Instant::now().into_std();
        self.underlay.device.handle_packet(&packet[..bytes], now);
        for _ in 1..SEND_BATCH {
            let Ok(bytes) = self.interface.try_recv(packet) else {
                return;
            };
            self.underlay.device.handle_packet(&packet[..bytes], now);
        }
    }

    fn pump(&mut self) {
        while let Some(packet) = self.underlay.device.poll_packet() {
            if self.interface.try_send(&packet.packet).is_err() {
                self.counters.packets_dropped += 1;
            }
        }
        self.underlay.work(Instant::now().into_std());
    }

    fn stats(&self) -> TunnelStats {
        TunnelStats {
            device: self.underlay.device.counters(),
            filter: self.underlay.device.filter_counters(),
            relay: self.underlay.device.relay_counters(),
            underlay: self.underlay.counters(),
            stack: self.counters,
        }
    }
}

/// Packets read from the interface before the rest of the engine gets its turn.
const SEND_BATCH: usize = 64;
const MAX_WATCHED: usize = 65_536;
