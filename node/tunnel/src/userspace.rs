//! The engine for nodes with root: WireGuard in this process over a TUN device, TCP in the kernel. The interface is gone when
//! the tunnel is; it never changes routes or settings of any other interface.

mod interface;
mod kernel_stream;
mod task;

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use async_trait::async_trait;
use ipnet::IpNet;
use tokio::sync::{broadcast, mpsc, oneshot};
use tokio::time::{Instant, timeout_at};
use tokio_util::sync::CancellationToken;

use crate::carrier::CarrierStream;
use crate::config::{PeerConfig, TunnelConfig};
use crate::error::TunnelError;
use crate::key::PublicKey;
use crate::listener::{TunnelListener, stopped};
use crate::path::CarrierId;
use crate::quic::QuicSide;
use crate::relay::RelayPair;
use crate::status::{PeerStatus, TunnelEvent, TunnelStats};
use crate::stream::BoxStream;
use crate::tunnel::{Engine, MAX_COMMANDS, MAX_EVENTS_KEPT, Tunnel};
use crate::underlay::Request;
pub(crate) use kernel_stream::KernelListener;
use kernel_stream::KernelStream;

/// Starts the engine on a thread of its own.
pub(crate) fn start(config: TunnelConfig) -> Result<Arc<dyn Tunnel>, TunnelError> {
    let (commands, inbox) = mpsc::channel(MAX_COMMANDS);
    let (events, _) = broadcast::channel(MAX_EVENTS_KEPT);
    task::start(config.clone(), inbox, events.clone())?;
    Ok(handle(Engine::Userspace, commands, events, config))
}

/// The door to a task that takes these commands and has an interface of the kernel.
pub(crate) fn handle(
    engine: Engine,
    commands: mpsc::Sender<Command>,
    events: broadcast::Sender<TunnelEvent>,
    config: TunnelConfig,
) -> Arc<dyn Tunnel> {
    Arc::new(Userspace {
        engine,
        commands,
        events,
        addresses: config.addresses.iter().map(IpNet::addr).collect(),
        interface: config.interface,
    })
}

struct Userspace {
    engine: Engine,
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
        self.engine
    }

    async fn set_peer(&self, peer: PeerConfig) -> Result<(), TunnelError> {
        let answer = self
            .ask_device(|reply| Request::SetPeer(Box::new(peer), reply))
            .await;
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
