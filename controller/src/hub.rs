//! The hub: the node beside the controller. It turns its own netmap into tunnel peers and balancers, and dials for the edge and the prober.
//! It learns its netmap from the state like any node, only without a wire.

mod balancing;
mod ports;
mod prober;
mod tcp_ports;
mod translate;

pub use ports::{explained, public_endpoints, shares};
pub use prober::Prober;
pub use tcp_ports::HubPorts;

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use malha_proto::{Netmap, NodeId, Pair, PairTable, PathLoss, Peer, RelayGrant, WgKey};
use malha_proxy::{BoxStream, Dialer};
use malha_tunnel::{
    ChannelGrant, ChannelId, Engine, Keeper, PeersChange, PrivateKey, PublicKey, QuicSide,
    RelayKey, RelayPair, Tunnel, TunnelConfig, TunnelError, dial_settling,
};
use tokio::sync::broadcast;
use tokio::sync::broadcast::error::RecvError;
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;

use crate::clock::now_ms;
use crate::config::{Config, EngineChoice};
use crate::coordinator::{Committed, Handle};
use crate::live::{Live, TunnelSeen};
use crate::pairs::Pairs;
use crate::streams::Streams;
use balancing::HubBalancers;
use ports::Ports;
use translate::{overlay_addresses, path, peer_config};

/// The hub's tunnel and what it was last told.
pub struct Hub {
    node: NodeId,
    tunnel: Arc<dyn Tunnel>,
    handle: Handle,
    live: Arc<Live>,
    pairs: Arc<Pairs>,
    key: WgKey,
    streams: Arc<Streams>,
    /// Numbers of the sockets that the control channel shares.
    quic: Vec<usize>,
    /// Which node a peer key is; written by the driver, read by the status loop beside it.
    keys: Mutex<BTreeMap<WgKey, NodeId>>,
    /// Until then nodes are waited for that have not been heard since the start.
    settled_at: Instant,
    keeper: Option<Arc<dyn Keeper>>,
    lost: CancellationToken,
}

/// What a hub's tunnel is made of and told by.
pub struct HubParts {
    pub key: PrivateKey,
    pub node: NodeId,
    pub handle: Handle,
    pub live: Arc<Live>,
    pub pairs: Arc<Pairs>,
    /// Who keeps the TUN device and the sockets of tunnel and balancers for the next start.
    pub keeper: Option<Arc<dyn Keeper>>,
}

impl Hub {
    /// Starts the tunnel with the addresses that the state gives the hub's node.
    pub fn start(config: &Config, engine: Engine, parts: HubParts) -> Result<Self, TunnelError> {
        let HubParts {
            key,
            node,
            handle,
            live,
            pairs,
            keeper,
        } = parts;
        let Ports { listen, quic } = Ports::of(config, engine);
        let config = &config.hub;
        let state = handle.state();
        let addresses = overlay_addresses(&state, node);
        if !engine.has_ways_beside_udp() {
            pairs.close_relay();
        }
        let own_key = WgKey(*key.public_key().as_bytes());
        let tunnel = malha_tunnel::start(
            engine,
            TunnelConfig {
                listen,
                mtu_bytes: usize::from(config.mtu_bytes),
                offload: config.offload.into(),
                shards: config.tunnel_shards,
                interface: config.interface.clone(),
                max_connections: MAX_CONNECTIONS,
                keeper: keeper.clone(),
                keeps_datagrams: true,
                ..TunnelConfig::new(key, addresses)
            },
        )?;
        Ok(Self {
            node,
            tunnel,
            handle,
            live,
            pairs,
            key: own_key,
            streams: Arc::default(),
            quic,
            keys: Mutex::default(),
            settled_at: Instant::now() + SETTLING,
            keeper,
            lost: CancellationToken::new(),
        })
    }

    /// The tunnel itself, for carriers.
    #[must_use]
    pub fn tunnel(&self) -> Arc<dyn Tunnel> {
        self.tunnel.clone()
    }

    /// Cancelled when the tunnel has ended by itself: its interface was taken away, or by a fault of ours. Sockets and engines
    /// are bound to it, so that the program has to start again.
    #[must_use]
    pub fn lost(&self) -> CancellationToken {
        self.lost.clone()
    }

    /// Which data plane runs.
    #[must_use]
    pub fn engine(&self) -> Engine {
        self.tunnel.engine()
    }

    /// The connections beside the tunnel, among which dials choose.
    #[must_use]
    pub fn streams(&self) -> Arc<Streams> {
        self.streams.clone()
    }

    /// The underlay addresses in use.
    pub async fn listen_addrs(&self) -> Vec<SocketAddr> {
        self.tunnel.listen_addrs().await
    }

    /// The sockets that the control channel shares with WireGuard, each for one QUIC endpoint; none with the `kernel` engine,
    /// which shares nothing.
    ///
    /// # Errors
    /// As [`Tunnel::take_quic`].
    pub async fn take_quic(&self) -> Result<Vec<QuicSide>, TunnelError> {
        let mut sides = Vec::with_capacity(self.quic.len());
        for socket in &self.quic {
            sides.push(self.tunnel.take_quic(*socket).await?);
        }
        Ok(sides)
    }

    /// Dials through the tunnel, whatever way requests take.
    pub async fn dial_in_tunnel(
        &self,
        address: SocketAddr,
        timeout: Duration,
    ) -> io::Result<BoxStream> {
        let settled_at = Some(self.settled_at);
        let stream = dial_settling(self.tunnel.as_ref(), address, timeout, settled_at).await?;
        Ok(Box::new(stream))
    }

    /// Whether requests to a node go beside its tunnel.
    #[must_use]
    pub fn is_beside_tunnel(&self, node: NodeId) -> bool {
        self.streams.is_taken(node)
    }

    /// Tells the tunnel of its peers, and opens the balancers.
    pub async fn prepare(&self) -> Prepared {
        let committed = self.handle.committed();
        let mut told = Told::nothing(self.key, self.keeper.clone());
        self.apply(&mut told).await;
        if let Some(keeper) = &self.keeper {
            // Everything that is wanted is in use now.
            keeper.forget_unclaimed();
        }
        Prepared { committed, told }
    }

    /// Keeps the tunnel's peers as the state says and tells [`Live`] what the tunnel sees, until `stop`. The tunnel itself ends when
    /// `last` does, which others need it for.
    pub async fn run(
        &self,
        prepared: Prepared,
        stop: CancellationToken,
        last: impl Future<Output = ()>,
    ) {
        let Prepared {
            mut committed,
            mut told,
        } = prepared;
        let mut events = self.tunnel.events();
        let mut look_at = Instant::now();
        loop {
            tokio::select! {
                change = committed.recv() => match change {
                    Ok(change) if change.affected.nodes.contains(&self.node) => self.apply(&mut told).await,
                    Ok(_) => {}
                    Err(RecvError::Lagged(_)) => self.apply(&mut told).await,
                    Err(RecvError::Closed) => break,
                },
                () = self.pairs.hub_stirred() => {
                    let news = self.pairs.hub_news(None);
                    self.share(&mut told, news).await;
                    self.relay().await;
                }
                // A storm of handshakes must not become a storm of looks: an event only brings the next look forward.
                event = events.recv() => match event {
                    Ok(_) | Err(RecvError::Lagged(_)) => look_at = look_at.min(Instant::now() + EVENT_PAUSE),
                    Err(RecvError::Closed) => break,
                },
                () = sleep_until(look_at) => {
                    if self.tunnel.has_ended() {
                        tracing::error!("the hub's tunnel ended by itself");
                        self.lost.cancel();
                        break;
                    }
                    self.look().await;
                    told.balancers.look(&self.tunnel, self.node, &self.live.balancing).await;
                    look_at = Instant::now() + LOOK_INTERVAL;
                }
                () = stop.cancelled() => break,
            }
        }
        if let Some(keeper) = &self.keeper {
            keeper.leave();
        }
        tokio::join!(told.balancers.finish_all(), last);
        self.tunnel.shutdown().await;
    }

    async fn apply(&self, told: &mut Told) {
        let Some(newer) = self.handle.state().netmap(self.node) else {
            return;
        };
        // Keys first: a peer that is put with the right one need not be put twice.
        for news in self.pairs.hub_news(Some(&newer)) {
            told.pairs.take(news);
        }
        let (put, gone) = match told.map.as_ref() {
            Some(older) => {
                let delta = older.diff(&newer);
                let changed = delta
                    .peers
                    .iter()
                    .filter_map(|peer| older.peers.get(&peer.id).map(|old| (old, peer)));
                let rekeyed: Vec<WgKey> = changed
                    .filter(|(old, new)| old.key != new.key)
                    .map(|(old, _)| old.key)
                    .collect();
                let gone = delta
                    .peers_gone
                    .iter()
                    .filter_map(|id| older.peers.get(id))
                    .map(|peer| peer.key);
                let gone: Vec<WgKey> = gone.chain(rekeyed).collect();
                (delta.peers, gone)
            }
            None => (newer.peers.values().cloned().collect(), Vec::new()),
        };
        for key in &gone {
            self.keys().remove(key);
        }
        for peer in &put {
            self.keys().insert(peer.key, peer.id);
        }
        let put = put.iter().map(|peer| (peer, told.pair(peer)));
        self.change_peers(&gone, put).await;
        told.balancers.follow(&self.tunnel, &newer).await;
        told.map = Some(newer);
    }

    /// What pairs share has changed.
    async fn share(&self, told: &mut Told, news: Vec<malha_proto::Pairs>) {
        let changed = news.iter().flat_map(|news| &news.pairs);
        let changed: Vec<NodeId> = changed.map(|pair| pair.peer).collect();
        for news in news {
            told.pairs.take(news);
        }
        let map = told.map.as_ref();
        let changed = changed.iter().filter_map(|id| map?.peers.get(id));
        let changed = changed.map(|peer| (peer, told.pair(peer)));
        self.change_peers(&[], changed).await;
    }

    async fn relay(&self) {
        let Some(pairs) = self.pairs.relay_news() else {
            return;
        };
        let state = self.handle.state();
        let end = |(node, grant): (NodeId, RelayGrant)| {
            Some(ChannelGrant {
                channel: ChannelId(grant.channel),
                key: RelayKey::from_bytes(grant.key.0),
                // One that is gone is withdrawn in a moment.
                node: PublicKey::from_bytes(state.node(node)?.wg_key.0),
            })
        };
        let pairs = pairs.into_iter().filter_map(|[a, b]| {
            Some(RelayPair {
                a: end(a)?,
                b: end(b)?,
            })
        });
        if let Err(error) = self.tunnel.set_relay_pairs(pairs.collect()).await {
            tracing::error!(%error, "the hub's relay stays as it was");
        }
    }

    async fn change_peers<'a>(
        &self,
        gone: &[WgKey],
        put: impl Iterator<Item = (&'a Peer, Option<&'a Pair>)>,
    ) {
        let put = put.map(|(peer, pair)| (peer.id, peer_config(peer, pair)));
        let (ids, set): (Vec<NodeId>, Vec<_>) = put.unzip();
        let gone = gone.iter().map(|key| PublicKey::from_bytes(key.0));
        let gone = gone.collect();
        match self.tunnel.change_peers(PeersChange { gone, set }).await {
            Ok(changed) => {
                for (node, set) in ids.iter().zip(changed.set) {
                    if let Err(error) = set {
                        tracing::error!(%error, %node, "the hub's tunnel could not take a peer");
                    }
                }
            }
            Err(error) => tracing::error!(%error, "the hub's tunnel could not change its peers"),
        }
    }

    async fn look(&self) {
        let now_ms = now_ms();
        let peers = self.tunnel.peers().await;
        let keys = self.keys().clone();
        let seen = peers.into_iter().filter_map(|peer| {
            let node = keys.get(&WgKey(*peer.public_key.as_bytes()))?;
            let loss = PathLoss {
                sent: peer.rx_expected,
                lost: peer.rx_lost,
            };
            self.streams.tunnel_measured(*node, loss);
            let at = |age: Option<Duration>| age.map(|age| now_ms.saturating_sub(millis(age)));
            let seen = TunnelSeen {
                endpoint: peer.endpoint,
                path: peer.path.map(path),
                handshake_ms: at(peer.last_handshake_age),
                heard_ms: at(peer.last_rx_age),
                port_unreachable_ms: at(peer.port_unreachable_age),
                rx_bytes: peer.rx_bytes,
                tx_bytes: peer.tx_bytes,
            };
            Some((*node, seen))
        });
        let seen: BTreeMap<_, _> = seen.collect();
        let endpoints = seen.iter();
        self.pairs
            .seen(endpoints.filter_map(|(node, seen)| Some((*node, seen.endpoint?))));
        self.live.tunnels(seen, now_ms);
        let interface = self.tunnel.interface();
        self.live.hub_interface_seen(interface, now_ms);
    }

    fn node_at(&self, address: SocketAddr) -> Option<NodeId> {
        let state = self.handle.state();
        state.node_by_address(address.ip()).map(|node| node.id)
    }

    fn keys(&self) -> std::sync::MutexGuard<'_, BTreeMap<WgKey, NodeId>> {
        self.keys.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[async_trait]
impl Dialer for Hub {
    async fn dial(&self, address: SocketAddr, timeout: Duration) -> io::Result<BoxStream> {
        let tunnel = self.dial_in_tunnel(address, timeout);
        match self.node_at(address) {
            Some(node) => {
                let dialled = (self.streams).dial(node, self.node, address, timeout, tunnel);
                dialled.await
            }
            None => tunnel.await,
        }
    }

    fn way(&self, address: SocketAddr) -> u64 {
        let node = self.node_at(address);
        node.map_or(0, |node| self.streams.turns(node))
    }
}

/// A hub that can be dialled through, and what is committed after that.
pub struct Prepared {
    committed: broadcast::Receiver<Arc<Committed>>,
    told: Told,
}

/// What the tunnel was told to be.
struct Told {
    map: Option<Netmap>,
    balancers: HubBalancers,
    pairs: PairTable,
    key: WgKey,
}

impl Told {
    fn nothing(key: WgKey, keeper: Option<Arc<dyn Keeper>>) -> Self {
        Self {
            map: None,
            balancers: HubBalancers::after(keeper),
            pairs: PairTable::new(key),
            key,
        }
    }

    fn pair(&self, peer: &Peer) -> Option<&Pair> {
        self.pairs.with(self.key, peer.id, peer.key)
    }
}

/// The data plane for this choice on this machine.
#[must_use]
pub fn choose_engine(choice: EngineChoice) -> Engine {
    match choice {
        EngineChoice::Netstack => Engine::Netstack,
        EngineChoice::Userspace => Engine::Userspace,
        EngineChoice::Kernel => Engine::Kernel,
        EngineChoice::Auto if can_make_tun() => Engine::Userspace,
        EngineChoice::Auto => Engine::Netstack,
    }
}

/// Opening the device shows that it exists and that we may; making an interface also needs CAP_NET_ADMIN.
fn can_make_tun() -> bool {
    let capabilities = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let effective = capabilities
        .lines()
        .find_map(|line| line.strip_prefix("CapEff:"))
        .map(str::trim);
    let effective = effective
        .and_then(|hex| u64::from_str_radix(hex, 16).ok())
        .unwrap_or(0);
    effective >> CAP_NET_ADMIN & 1 == 1
        && std::fs::OpenOptions::new()
            .read(true)
            .write(true)
            .open("/dev/net/tun")
            .is_ok()
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// How long after its start nodes may need to come back, which spread their return over three seconds.
const SETTLING: Duration = Duration::from_secs(5);
/// From an event of the tunnel to the look at its peers.
const EVENT_PAUSE: Duration = Duration::from_millis(20);
/// How often the tunnel's peers are looked at.
const LOOK_INTERVAL: Duration = Duration::from_secs(1);
/// In-tunnel TCP connections of a hub: proxied requests and probes.
const MAX_CONNECTIONS: usize = 8_192;
/// capabilities(7).
const CAP_NET_ADMIN: u32 = 12;
