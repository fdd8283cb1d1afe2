//! The engine for nodes with root: WireGuard in this process over a TUN device, TCP in the kernel. The interface is gone when
//! the tunnel is; it never changes routes or settings of any other interface.

mod commands;
mod interface;
mod kernel_stream;
mod leftovers;
mod task;
mod threads;

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use async_trait::async_trait;
use ipnet::IpNet;
use tokio::sync::{broadcast, mpsc, oneshot, watch};
use tokio::task::spawn_blocking;
use tokio::time::{Instant, timeout_at};
use tokio_util::sync::CancellationToken;

use crate::carrier::CarrierStream;
use crate::config::TunnelConfig;
use crate::device::RELAY_SHARD;
use crate::error::TunnelError;
use crate::keeper::{Keeper, opened_when_freed};
use crate::key::PublicKey;
use crate::listener::{TunnelListener, stopped};
use crate::path::CarrierId;
use crate::quic::QuicSide;
use crate::relay::RelayPair;
use crate::shard::Place;
use crate::status::{InterfaceState, PeerStatus, TunnelEvent, TunnelStats};
use crate::stream::{BoxStream, KernelWay};
use crate::tunnel::{Engine, MAX_COMMANDS, MAX_EVENTS_KEPT, PeersChange, PeersChanged, Tunnel};
use crate::underlay::Request;
pub(crate) use commands::Commands;
pub(crate) use kernel_stream::KernelListener;
pub use kernel_stream::SourceWatch;
use kernel_stream::{KernelStream, kernel_way};
use leftovers::Leftovers;

/// Starts the engine, each shard on a thread of its own.
pub(crate) fn start(config: TunnelConfig) -> Result<Arc<dyn Tunnel>, TunnelError> {
    config.check()?;
    let shards = Engine::Userspace.shards(config.shards);
    let (senders, inboxes) = (0..shards).map(|_| mpsc::channel(MAX_COMMANDS)).unzip();
    let (events, _) = broadcast::channel(MAX_EVENTS_KEPT);
    let (state, states) = watch::channel(InterfaceState::default());
    threads::start(config.clone(), inboxes, events.clone(), state)?;
    let commands = Commands::new(senders);
    Ok(handle(Engine::Userspace, commands, events, states, config))
}

/// Gives up what the last run left of this engine to its keeper.
pub(crate) fn give_up(config: &TunnelConfig) {
    interface::give_up(config);
}

/// The door to tasks that take these commands and have an interface of the kernel.
pub(crate) fn handle(
    engine: Engine,
    commands: Commands,
    events: broadcast::Sender<TunnelEvent>,
    state: watch::Receiver<InterfaceState>,
    config: TunnelConfig,
) -> Arc<dyn Tunnel> {
    let addresses: Vec<_> = config.addresses.iter().map(IpNet::addr).collect();
    Arc::new(Userspace {
        engine,
        commands,
        events,
        state,
        leftovers: Leftovers::of(&addresses),
        addresses,
        interface: config.interface,
        keeper: config.keeper.filter(|_| engine == Engine::Userspace),
    })
}

struct Userspace {
    engine: Engine,
    commands: Commands,
    events: broadcast::Sender<TunnelEvent>,
    state: watch::Receiver<InterfaceState>,
    addresses: Vec<IpAddr>,
    interface: String,
    keeper: Option<Arc<dyn Keeper>>,
    leftovers: Leftovers,
}

pub(crate) enum Command {
    Device(Request),
    /// Asks for the signal that ends connections between us and an address.
    Watch(IpAddr, Opener, oneshot::Sender<io::Result<CutSignal>>),
    Stats(oneshot::Sender<TunnelStats>),
    Shutdown(oneshot::Sender<()>),
}

/// Who opens a connection. One of ours needs a peer of which is known where it is; one of theirs has come from there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Opener {
    We,
    Peer,
}

/// Cancelled when the address leaves its peer. Held by every connection to it.
pub(crate) type CutSignal = Arc<CancellationToken>;

impl Userspace {
    async fn ask_device<T>(
        &self,
        shard: usize,
        request: impl FnOnce(oneshot::Sender<T>) -> Request,
    ) -> Option<T> {
        let command = |reply| Command::Device(request(reply));
        self.commands.ask(shard, command).await
    }

    async fn ask_devices<T>(
        &self,
        request: impl Fn(oneshot::Sender<T>) -> Request,
    ) -> Option<Vec<T>> {
        let command = |reply| Command::Device(request(reply));
        self.commands.ask_all(command).await
    }

    /// Changes peers with nothing in between, and ends their connections from before the tunnel.
    async fn change_part(&self, peers: PeersChange) -> Result<PeersChanged, TunnelError> {
        let answers = self
            .ask_devices(|reply| Request::ChangePeers(peers.clone(), reply))
            .await;
        let answers = answers.ok_or(TunnelError::Stopped)?.into_iter();
        let changed = answers.reduce(PeersChanged::and).unwrap_or_default();
        for (peer, set) in peers.set.iter().zip(&changed.set) {
            if set.is_ok() {
                self.leftovers.end(peer).await;
            }
        }
        Ok(changed)
    }

    /// Our addresses, as far as the machine lets us have them.
    fn own(&self) -> impl Iterator<Item = IpAddr> {
        let ipv4_only = self.state.borrow().ipv4_only.is_some();
        let own = self.addresses.iter().copied();
        own.filter(move |ip| ip.is_ipv4() || !ipv4_only)
    }

    /// Our address of the same family.
    fn local_for(&self, remote: IpAddr) -> io::Result<IpAddr> {
        let mut own = self.own();
        let local = own.find(|ip| ip.is_ipv4() == remote.is_ipv4());
        local.ok_or_else(|| io::ErrorKind::AddrNotAvailable.into())
    }

    /// The shard that has to do with a peer.
    fn place(&self) -> Place {
        Place::first_of(self.commands.count())
    }

    /// The signal that ends connections to an address which a peer owns that can be reached.
    async fn watch(&self, remote: IpAddr) -> io::Result<CutSignal> {
        let command = |reply| Command::Watch(remote, Opener::We, reply);
        let answer = self.commands.ask(WATCHING_SHARD, command).await;
        let signal = answer.unwrap_or_else(|| Err(stopped()))?;
        if self.commands.count() > 1 {
            // The shard that watches knows whose the address is, but not where a peer of another shard is.
            let answers = self.ask_devices(|reply| Request::Reachable(remote, reply));
            if !answers.await.ok_or_else(stopped)?.contains(&true) {
                return Err(nowhere());
            }
        }
        Ok(signal)
    }
}

#[async_trait]
impl Tunnel for Userspace {
    fn engine(&self) -> Engine {
        self.engine
    }

    fn has_ended(&self) -> bool {
        self.commands.are_closed()
    }

    async fn change_peers(&self, peers: PeersChange) -> Result<PeersChanged, TunnelError> {
        if self.engine == Engine::Kernel {
            return self.change_part(peers).await;
        }
        // Packets pass in between.
        let mut changed = PeersChanged::default();
        for part in peers.one_by_one() {
            changed.extend(self.change_part(part).await?);
        }
        Ok(changed)
    }

    async fn peers(&self) -> Vec<PeerStatus> {
        let answers = self.ask_devices(Request::Peers).await;
        answers.unwrap_or_default().concat()
    }

    async fn dial(&self, remote: SocketAddr, deadline: Instant) -> io::Result<BoxStream> {
        let dialled = async {
            let cut = self.watch(remote.ip()).await?;
            let local = self.local_for(remote.ip())?;
            let stream = KernelStream::dial(local, remote, &self.interface, cut).await?;
            Ok(Box::new(stream) as BoxStream)
        };
        timeout_at(deadline, dialled).await?
    }

    async fn way(&self, remote: IpAddr) -> io::Result<Option<KernelWay>> {
        let cut = self.watch(remote).await?;
        let local = self.local_for(remote)?;
        Ok(Some(kernel_way(local, self.interface.clone(), cut)))
    }

    async fn listen(&self, address: SocketAddr) -> io::Result<TunnelListener> {
        if self.commands.shard(WATCHING_SHARD).is_closed() {
            return Err(stopped());
        }
        let every = address.ip().is_unspecified();
        let wanted = self.own().filter(|ip| every || *ip == address.ip());
        let ips: Vec<_> = wanted.collect();
        let bind = || {
            KernelListener::bind(
                &ips,
                address.port(),
                &self.interface,
                self.keeper.as_ref(),
                self.commands.clone(),
            )
        };
        let listener = opened_when_freed(self.keeper.as_ref(), bind).await?;
        let local_addrs = listener.local_addrs()?;
        Ok(TunnelListener::kernel(listener, local_addrs))
    }

    async fn listen_addrs(&self) -> Vec<SocketAddr> {
        let answer = self.ask_device(FIRST_SHARD, Request::ListenAddrs).await;
        answer.unwrap_or_default()
    }

    fn events(&self) -> broadcast::Receiver<TunnelEvent> {
        self.events.subscribe()
    }

    async fn rebind(&self) -> Result<(), TunnelError> {
        let commands = self.commands.clone();
        if commands.count() == 1 {
            return commands.rebind().await;
        }
        // A caller who gives up must not leave the tunnel without sockets.
        let rebound = tokio::spawn(async move { commands.rebind().await });
        rebound.await.unwrap_or(Err(TunnelError::Stopped))
    }

    async fn refresh(&self) {
        // Without an answer there is nothing to refresh any more.
        let _ = self.ask_devices(Request::Refresh).await;
    }

    async fn set_relay_pairs(&self, pairs: Vec<RelayPair>) -> Result<(), TunnelError> {
        let answer = self
            .ask_device(RELAY_SHARD, |reply| Request::SetRelayPairs(pairs, reply))
            .await;
        answer.unwrap_or(Err(TunnelError::Stopped))
    }

    async fn attach_carrier(
        &self,
        stream: CarrierStream,
        via: Option<PublicKey>,
    ) -> Result<CarrierId, TunnelError> {
        // Where its peer is; what comes of an unknown one is for any.
        let shard = via.map_or(FIRST_SHARD, |via| self.place().of_peer(&via));
        let answer = self
            .ask_device(shard, |reply| Request::AttachCarrier(stream, via, reply))
            .await;
        answer.unwrap_or(Err(TunnelError::Stopped))
    }

    async fn detach_carrier(&self, id: CarrierId) {
        // A tunnel that has ended has no carriers.
        let _ = self
            .ask_device(self.place().of_number(id.0), |reply| {
                Request::DetachCarrier(id, reply)
            })
            .await;
    }

    async fn take_quic(&self, socket: usize) -> Result<QuicSide, TunnelError> {
        let answer = self
            .ask_device(FIRST_SHARD, |reply| Request::TakeQuic(socket, reply))
            .await;
        answer.unwrap_or(Err(TunnelError::Stopped))
    }

    async fn stats(&self) -> TunnelStats {
        let shards = self.commands.ask_all(Command::Stats).await;
        let mut all = TunnelStats::default();
        for shard in shards.unwrap_or_default() {
            all += shard;
        }
        all
    }

    fn interface(&self) -> InterfaceState {
        self.state.borrow().clone()
    }

    async fn shutdown(&self) {
        self.commands.shutdown().await;
        let mut keeper = self.keeper.iter();
        if !keeper.any(|keeper| interface::is_kept(&**keeper, &self.interface)) {
            // Each program that this process starts has a descriptor of it too, until it runs.
            let interface = self.interface.clone();
            let ended = spawn_blocking(move || interface::await_end(&interface));
            let _ = ended.await;
        }
    }
}

fn nowhere() -> io::Error {
    io::Error::new(
        io::ErrorKind::HostUnreachable,
        "nobody knows where the peer of this overlay address is",
    )
}

/// The shard that reads the interface, binds the sockets, speaks QUIC and has the carriers that others dialled.
const FIRST_SHARD: usize = 0;
/// The shard that knows the connections to every address. It need not be that of their peer: all know whose an address is.
const WATCHING_SHARD: usize = FIRST_SHARD;
