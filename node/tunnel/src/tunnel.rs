//! The one door to the data plane, the same for every engine.

use std::fmt;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use async_trait::async_trait;
use tokio::sync::broadcast;
use tokio::time::Instant;

use crate::admission::Admission;
use crate::carrier::CarrierStream;
use crate::config::{PeerConfig, TunnelConfig};
use crate::error::TunnelError;
use crate::key::PublicKey;
use crate::listener::TunnelListener;
use crate::path::CarrierId;
use crate::quic::QuicSide;
use crate::relay::RelayPair;
use crate::status::{InterfaceState, PeerStatus, TunnelEvent, TunnelStats};
use crate::stream::{BoxStream, KernelWay};
use crate::{kernel, netstack, shard, userspace};

/// Where WireGuard and TCP run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Engine {
    /// Both in this process; needs no privilege.
    Netstack,
    /// WireGuard in this process over a TUN device, TCP in the kernel; needs root or CAP_NET_ADMIN.
    Userspace,
    /// Both in the kernel, the filter in nftables; needs root or CAP_NET_ADMIN, WireGuard's module and the program `nft`. UDP to
    /// the peers is its only path: it has no relay and no carrier.
    Kernel,
}

/// A running tunnel. It ends when it is shut down or its last handle is dropped.
#[async_trait]
pub trait Tunnel: Send + Sync {
    fn engine(&self) -> Engine;

    /// Whether nothing of it runs any more: it was shut down, or has ended by itself, since its interface was taken away or
    /// by a fault of ours. Who wants a tunnel then starts another one.
    fn has_ended(&self) -> bool;

    /// Forgets peers, and then sets others: together where that is faster. Other callers may come between two of them.
    ///
    /// # Errors
    /// [`TunnelError::Stopped`] for all; what one peer can't be is in its own answer.
    async fn change_peers(&self, peers: PeersChange) -> Result<PeersChanged, TunnelError>;

    /// Adds a peer, or changes it without losing its traffic. Connections to addresses that the peer no longer owns die.
    async fn set_peer(&self, peer: PeerConfig) -> Result<(), TunnelError> {
        let mut changed = self.change_peers(PeersChange::set(peer)).await?;
        changed.set.pop().unwrap_or(Err(TunnelError::Stopped))
    }

    /// Forgets a peer at once: nothing more passes in either direction, and connections to it die. False if there was none.
    async fn remove_peer(&self, key: PublicKey) -> Result<bool, TunnelError> {
        let changed = self.change_peers(PeersChange::remove(key)).await?;
        Ok(changed.gone.contains(&true))
    }

    /// All peers; none once the tunnel has been shut down.
    async fn peers(&self) -> Vec<PeerStatus>;

    /// Opens a TCP connection through the tunnel.
    ///
    /// # Errors
    /// - `NetworkUnreachable`: no peer owns the address.
    /// - `HostUnreachable`: nobody knows where its peer is.
    /// - `TimedOut`: no answer until `deadline`; the peer is away, or its filter drops us.
    /// - `ConnectionRefused`: the peer answers, nothing listens there.
    /// - `ConnectionReset`: the peer was removed meanwhile, or reset the connection at once.
    /// - `QuotaExceeded`: too many connections.
    /// - `BrokenPipe`: the tunnel has been shut down.
    async fn dial(&self, remote: SocketAddr, deadline: Instant) -> io::Result<BoxStream>;

    /// The way to an overlay address for the kernel's own sockets. `None`: this engine's TCP is not the kernel's.
    ///
    /// # Errors
    /// `NetworkUnreachable`, `HostUnreachable`, `QuotaExceeded` and `BrokenPipe` as of [`dial`](Self::dial);
    /// `AddrNotAvailable` if this node has no address of that family.
    async fn way(&self, remote: IpAddr) -> io::Result<Option<KernelWay>> {
        let _ = remote;
        Ok(None)
    }

    /// Listens for TCP on an overlay address of this node; an unspecified address (`0.0.0.0` or `::`) means all of them, port
    /// 0 any free one. The peers' ingress rules still decide who gets through.
    ///
    /// # Errors
    /// `AddrNotAvailable` if the address is not this node's, `AddrInUse` if somebody listens there, `BrokenPipe` if the tunnel
    /// has been shut down.
    async fn listen(&self, address: SocketAddr) -> io::Result<TunnelListener>;

    /// Leave to hand a connection, which `peer` opens to `local` by another way than the tunnel, to whoever listens there:
    /// judged by the peer's ingress rules and counted like a packet. Only the `netstack` engine has listeners of its own.
    ///
    /// # Errors
    /// `PermissionDenied` if no rule covers it, `ConnectionRefused` if nothing listens, `QuotaExceeded` if there are too many
    /// connections, `BrokenPipe` if the tunnel has been shut down, `Unsupported` by the other engines.
    async fn admit(
        &self,
        peer: PublicKey,
        local: SocketAddr,
        remote: SocketAddr,
    ) -> io::Result<Admission> {
        let _ = (peer, local, remote);
        Err(io::ErrorKind::Unsupported.into())
    }

    /// The underlay addresses of the UDP sockets, in the order of the configuration.
    async fn listen_addrs(&self) -> Vec<SocketAddr>;

    /// What happens to peers from now on. A receiver that lags loses the oldest events and is told so.
    fn events(&self) -> broadcast::Receiver<TunnelEvent>;

    /// Opens new UDP sockets, after the host's network has changed, and tells the peers where we are now. If that fails, it
    /// is tried again every 250 ms.
    async fn rebind(&self) -> Result<(), TunnelError>;

    /// Starts a handshake with every peer whose address was configured. One that restarted has lost its session, and by itself
    /// WireGuard notices that only after 15 s of unanswered traffic.
    async fn refresh(&self);

    /// Replaces the table of pairs between which this tunnel passes sealed datagrams. Channels that stay keep their
    /// bindings; those that go are cut at once.
    ///
    /// # Errors
    /// [`TunnelError::TooMany`] pairs, or [`TunnelError::ChannelTwice`]; the table then stays as it was.
    async fn set_relay_pairs(&self, pairs: Vec<RelayPair>) -> Result<(), TunnelError>;

    /// Lets datagrams travel over a byte stream, as frames of `[length u16][datagram]`. On the side that dialled, `via` is
    /// the peer at its other end, which is reached over it while UDP does not; the accepting side gives `None` and learns
    /// from the datagrams who is there. The stream belongs to the tunnel from now on, and its end is told by
    /// [`TunnelEvent::CarrierClosed`].
    ///
    /// # Errors
    /// [`TunnelError::TooMany`] carriers; [`TunnelError::UnknownPeer`] if `via` is no peer.
    async fn attach_carrier(
        &self,
        stream: CarrierStream,
        via: Option<PublicKey>,
    ) -> Result<CarrierId, TunnelError>;

    /// Ends a carrier. What uses it falls back to another path, if there is one.
    async fn detach_carrier(&self, id: CarrierId);

    /// Takes the QUIC datagrams of one UDP socket, by its number in [`listen_addrs`](Self::listen_addrs), and sends others by
    /// it, until the side is dropped. It outlives [`rebind`](Self::rebind).
    ///
    /// # Errors
    /// [`TunnelError::NoSocket`]; [`TunnelError::QuicTaken`] while somebody has it; [`TunnelError::NotInKernel`].
    async fn take_quic(&self, socket: usize) -> Result<QuicSide, TunnelError>;

    async fn stats(&self) -> TunnelStats;

    /// What became of its interface.
    fn interface(&self) -> InterfaceState {
        InterfaceState::default()
    }

    /// Whether this node's IPv6 address can be listened on and dialled from: not every machine lets an interface have one.
    fn has_ipv6(&self) -> bool {
        self.interface().ipv4_only.is_none()
    }

    /// Resets all connections, closes all sockets, removes the interface unless it is kept, and returns when that is done.
    async fn shutdown(&self);
}

/// Peers to be forgotten, and peers to be set.
#[derive(Clone, Debug, Default)]
pub struct PeersChange {
    /// Forgotten first, as by [`Tunnel::remove_peer`].
    pub gone: Vec<PublicKey>,
    /// Added or changed, as by [`Tunnel::set_peer`].
    pub set: Vec<PeerConfig>,
}

/// What became of each, in the order in which they were given.
#[derive(Debug, Default)]
pub struct PeersChanged {
    /// False for one that there was not.
    pub gone: Vec<bool>,
    /// Why a peer stays as it was, or away.
    pub set: Vec<Result<(), TunnelError>>,
}

impl PeersChange {
    fn remove(key: PublicKey) -> Self {
        Self {
            gone: vec![key],
            set: Vec::new(),
        }
    }

    fn set(peer: PeerConfig) -> Self {
        Self {
            gone: Vec::new(),
            set: vec![peer],
        }
    }

    /// The same in the same order, a peer at a time.
    pub(crate) fn one_by_one(self) -> impl Iterator<Item = Self> {
        let gone = self.gone.into_iter().map(Self::remove);
        gone.chain(self.set.into_iter().map(Self::set))
    }
}

impl PeersChanged {
    /// What became of the next.
    pub(crate) fn extend(&mut self, next: Self) {
        self.gone.extend(next.gone);
        self.set.extend(next.set);
    }

    /// What became of the same peers in another shard.
    pub(crate) fn and(self, other: Self) -> Self {
        let gone = self.gone.into_iter().zip(other.gone);
        let set = self.set.into_iter().zip(other.set);
        Self {
            gone: gone.map(|(here, there)| here || there).collect(),
            set: set.map(|(here, there)| here.and(there)).collect(),
        }
    }
}

impl Engine {
    /// Whether a tunnel of this engine relays, and takes carriers.
    pub fn has_ways_beside_udp(self) -> bool {
        self != Self::Kernel
    }

    /// The shards that a tunnel of this engine has on this machine, if so many are wanted.
    pub fn shards(self, wanted: Option<usize>) -> usize {
        match self {
            Self::Userspace => shard::count(wanted),
            Self::Netstack | Self::Kernel => 1,
        }
    }
}

impl fmt::Display for Engine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Netstack => "netstack",
            Self::Userspace => "userspace",
            Self::Kernel => "kernel",
        })
    }
}

/// Starts a tunnel on the current tokio runtime.
///
/// # Errors
/// [`TunnelError`] names the value that is out of bounds, the UDP address that can't be bound, or the interface that can't be
/// made.
pub fn start(engine: Engine, config: TunnelConfig) -> Result<Arc<dyn Tunnel>, TunnelError> {
    if engine != Engine::Userspace {
        userspace::give_up(&config);
    }
    if engine != Engine::Kernel {
        kernel::give_up(engine, &config);
    }
    match engine {
        Engine::Netstack => netstack::start(config),
        Engine::Userspace => userspace::start(config),
        Engine::Kernel => kernel::start(config),
    }
}

/// Commands that wait for a tunnel's task at a time.
pub(crate) const MAX_COMMANDS: usize = 1024;
/// Events kept for a subscriber that lags.
pub(crate) const MAX_EVENTS_KEPT: usize = 1024;
