//! The data plane of one node: makes the tunnel be what the netmap says and watches it. It is the only place that speaks to
//! malha-tunnel, and never decides what the map should be.

mod carrier;
mod services;
#[cfg(test)]
mod tests;
mod translate;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use malha_proto::{
    Allow, Me, Netmap, NodeId, Pair, PairTable, Peer, PeerObservation, Revision, WgKey,
};
use malha_tunnel::{
    Engine, Offload, PeerDrops, PeerStatus, PrivateKey, PublicKey, Tunnel, TunnelConfig,
    TunnelEvent,
};
use tokio::sync::{broadcast, mpsc, watch};
use tokio::time::{MissedTickBehavior, interval};

use crate::balancers::{Balanced, Balancers};
use crate::guard::{Guard, GuardConfig, GuardStatus};
use crate::streams::{HubPeer, Overlay};
use carrier::Carrier;
use services::Services;

pub use carrier::Carried;
pub use services::MAX_CONNECTIONS;

/// How often the peers are looked at.
pub const OBSERVE_INTERVAL: Duration = Duration::from_secs(1);

/// Orders that wait for the plane.
pub const MAX_ORDERS: usize = 64;

/// What stays the same for the life of the process.
#[derive(Clone, Debug)]
pub struct PlaneConfig {
    pub engine: Engine,
    /// UDP addresses; empty: any free port.
    pub listen: Vec<SocketAddr>,
    pub interface: String,
    pub mtu_bytes: usize,
    pub offload: Offload,
    /// As many as suit the machine if nothing is said.
    pub shards: Option<usize>,
    pub guard: GuardConfig,
}

/// What the shell asks of the plane. The plane ends when no one can ask any more.
#[derive(Debug)]
pub enum PlaneOrder {
    /// Be this map and nothing but it; answered with [`PlaneEvent::Applied`].
    Apply(Arc<Netmap>),
    Rebind,
    Refresh,
    /// Reach the hub over this stream where UDP does not; answered with [`PlaneEvent::CarrierUp`].
    AttachCarrier {
        carrier: u64,
        stream: Carried,
    },
    DetachCarrier {
        carrier: u64,
    },
    /// Take another private key: the tunnel goes down until the next [`PlaneOrder::Apply`].
    SetKey(PrivateKey),
}

/// What the plane tells the shell.
#[derive(Debug)]
pub enum PlaneEvent {
    Applied {
        revision: Revision,
        result: Result<(), String>,
    },
    Observed(PlaneView),
    /// No way to the hub that the tunnel knows brings an answer.
    HubSilent,
    CarrierUp {
        carrier: u64,
    },
    CarrierEnded {
        carrier: u64,
        why: String,
    },
}

/// What the tunnel looks like now.
#[derive(Clone, Debug, Default)]
pub struct PlaneView {
    pub peers: Vec<PeerView>,
    /// UDP addresses in use.
    pub listen: Vec<SocketAddr>,
    pub guard: GuardStatus,
    /// This node's balancers.
    pub balanced: Balanced,
}

#[derive(Clone, Debug)]
pub struct PeerView {
    pub seen: PeerObservation,
    /// Packets of this peer that went no further.
    pub drops: PeerDrops,
    /// What the peer may open, and the packets that each permission admitted.
    pub allowed: Vec<(Allow, u64)>,
    /// Packets admitted as answers.
    pub answers: u64,
    /// The epoch of the preshared key in use, and when it began, milliseconds of the Unix epoch.
    pub key_epoch: Option<(u64, u64)>,
}

/// Runs the plane until the sender of `orders` is dropped; then the tunnel is down and the interface gone. `overlay` shows
/// what runs.
pub async fn run_plane(
    config: PlaneConfig,
    key: PrivateKey,
    mut orders: mpsc::Receiver<PlaneOrder>,
    mut pairs: watch::Receiver<Option<Arc<PairTable>>>,
    events: mpsc::Sender<PlaneEvent>,
    overlay: watch::Sender<Option<Overlay>>,
) {
    let mut plane = Plane {
        guard: Guard::new(config.guard.clone(), config.engine, &config.interface),
        config,
        key,
        pairs: None,
        running: None,
        carrier: None,
        lost_carrier: None,
        overlay,
    };
    let mut observe = interval(OBSERVE_INTERVAL);
    observe.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        // The receiver of the events outlives the sender of the orders, so that no answer is lost.
        tokio::select! {
            order = orders.recv() => match order {
                None => break,
                Some(PlaneOrder::Apply(map)) => {
                    // Said before the map, so known before it.
                    plane.pairs.clone_from(&pairs.borrow_and_update());
                    let result = plane.apply(&map).await;
                    let revision = map.revision;
                    let _ = events.send(PlaneEvent::Applied { revision, result }).await;
                }
                Some(PlaneOrder::Rebind) => plane.rebind().await,
                Some(PlaneOrder::Refresh) => plane.refresh().await,
                Some(PlaneOrder::AttachCarrier { carrier, stream }) => {
                    let _ = events.send(plane.attach(carrier, stream).await).await;
                }
                Some(PlaneOrder::DetachCarrier { carrier }) => plane.detach(carrier).await,
                Some(PlaneOrder::SetKey(key)) => {
                    plane.stop().await;
                    plane.key = key;
                }
            },
            event = carrier::next_event(&mut plane.running) => {
                if let Some(event) = plane.hear(event) {
                    let _ = events.send(event).await;
                }
            }
            Ok(()) = pairs.changed() => {
                let newest = pairs.borrow_and_update().clone();
                plane.share(newest).await;
            }
            () = plane.guard.changed() => plane.guard.restore().await,
            _ = observe.tick() => {
                plane.guard.check().await;
                if let Some(lost) = plane.lost_carrier() {
                    let _ = events.send(lost).await;
                }
                if let Some(view) = plane.observe().await {
                    let _ = events.send(PlaneEvent::Observed(view)).await;
                }
            }
        }
    }
    plane.stop().await;
}

struct Plane {
    config: PlaneConfig,
    key: PrivateKey,
    pairs: Option<Arc<PairTable>>,
    running: Option<Running>,
    carrier: Option<Carrier>,
    /// One that went down with its tunnel and was not told of.
    lost_carrier: Option<Carrier>,
    guard: Guard,
    overlay: watch::Sender<Option<Overlay>>,
}

/// A tunnel, and what was really set on it.
struct Running {
    tunnel: Arc<dyn Tunnel>,
    events: broadcast::Receiver<TunnelEvent>,
    me: Me,
    peers: BTreeMap<NodeId, SetPeer>,
    services: Services,
    balancers: Balancers,
}

/// A peer as the tunnel has it.
#[derive(PartialEq, Eq)]
struct SetPeer {
    peer: Peer,
    pair: Option<Pair>,
    /// The key of the hub whose relay the pair may use.
    via: Option<WgKey>,
}

impl Plane {
    /// Changes only what differs from the map. What can be done is done; the answer names the first thing that can't.
    async fn apply(&mut self, map: &Netmap) -> Result<(), String> {
        if let Some(running) = &self.running
            && !translate::same_interface(&running.me, &map.me)
        {
            self.stop().await;
        }
        let mut running = match self.running.take() {
            Some(running) => running,
            None => self.start(&map.me)?,
        };
        // What the tunnel offers must not be there for the neighbours first.
        let guarded = self.guard.close(map).await;
        let result = running.apply(map, &self.known(), guarded).await;
        self.overlay.send_replace(Some(running.overlay()));
        self.running = Some(running);
        result
    }

    /// Takes what the peers share with this node from now on. The map that comes later, and the repair of one that failed,
    /// take it too.
    async fn share(&mut self, pairs: Option<Arc<PairTable>>) {
        self.pairs = pairs;
        let known = self.known();
        if let Some(running) = &mut self.running
            && let Err(error) = running.share(&known).await
        {
            tracing::warn!(%error, "some peers could not be told what they share with this node");
        }
    }

    fn known(&self) -> Known {
        Known {
            me: WgKey(*self.key.public_key().as_bytes()),
            pairs: self.pairs.clone(),
        }
    }

    fn start(&self, me: &Me) -> Result<Running, String> {
        let addresses = translate::interface(me)?;
        let mut config = TunnelConfig::new(self.key.clone(), addresses);
        config.listen.clone_from(&self.config.listen);
        config.interface.clone_from(&self.config.interface);
        config.mtu_bytes = self.config.mtu_bytes;
        config.offload = self.config.offload;
        config.shards = self.config.shards;
        let tunnel = malha_tunnel::start(self.config.engine, config).map_err(with_causes)?;
        Ok(Running {
            events: tunnel.events(),
            tunnel,
            me: me.clone(),
            peers: BTreeMap::new(),
            services: Services::default(),
            balancers: Balancers::default(),
        })
    }

    async fn stop(&mut self) {
        if let Some(mut running) = self.running.take() {
            self.overlay.send_replace(None);
            running.balancers.finish_all().await;
            running.services.close_all().await;
            running.tunnel.shutdown().await;
            self.lost_carrier = self.carrier.take();
        }
    }

    async fn rebind(&mut self) {
        if let Some(running) = &self.running
            && let Err(error) = running.tunnel.rebind().await
        {
            tracing::warn!(%error, "no new UDP socket after a network change");
        }
    }

    async fn refresh(&self) {
        if let Some(running) = &self.running {
            running.tunnel.refresh().await;
        }
    }

    async fn observe(&self) -> Option<PlaneView> {
        let running = self.running.as_ref()?;
        let by_key: BTreeMap<PublicKey, &SetPeer> = running
            .peers
            .values()
            .map(|set| (PublicKey::from_bytes(set.peer.key.0), set))
            .collect();
        let peers = running.tunnel.peers().await;
        Some(PlaneView {
            peers: peers
                .iter()
                .filter_map(|status| Some(seen(by_key.get(&status.public_key)?, status)))
                .collect(),
            listen: running.tunnel.listen_addrs().await,
            guard: self.guard.status().clone(),
            balanced: running.balancers.report(),
        })
    }
}

impl Running {
    async fn apply(
        &mut self,
        map: &Netmap,
        known: &Known,
        guarded: Result<(), String>,
    ) -> Result<(), String> {
        let mut trouble = Trouble::default();
        // Who may do less is cut before anyone may do more.
        self.services.close_changed(&map.services).await;
        self.balancers.close_changed(&map.balancers).await;
        self.remove_peers(map, &mut trouble).await;
        self.set_peers(&map.peers, known, &mut trouble).await;
        if let Err(why) = guarded {
            self.services.close_all().await;
            self.balancers.close_all().await;
            trouble.note("services", Err::<(), _>(why));
            return trouble.result();
        }
        for (service, opened) in self.services.open(&self.tunnel, map).await {
            trouble.note(service, opened);
        }
        let (me, balancers) = (map.me.addresses, &map.balancers);
        for (balancer, opened) in self.balancers.open(&self.tunnel, me, balancers).await {
            trouble.note(balancer, opened);
        }
        trouble.result()
    }

    /// Gives every peer of now what it shares with this node.
    async fn share(&mut self, known: &Known) -> Result<(), String> {
        let mut trouble = Trouble::default();
        let present = self.peers.iter();
        let present = present.map(|(id, set)| (*id, set.peer.clone())).collect();
        self.set_peers(&present, known, &mut trouble).await;
        trouble.result()
    }

    fn overlay(&self) -> Overlay {
        let hubs = self
            .peers
            .values()
            .map(|set| &set.peer)
            .filter(|peer| peer.hub);
        Overlay {
            tunnel: self.tunnel.clone(),
            me: self.me.addresses,
            hubs: hubs.map(HubPeer::of).collect(),
        }
    }

    async fn remove_peers(&mut self, map: &Netmap, trouble: &mut Trouble) {
        let stays = |peer: &Peer| map.peers.get(&peer.id).is_some_and(|p| p.key == peer.key);
        let present = self.peers.values().map(|set| &set.peer);
        let gone: Vec<_> = present
            .filter(|peer| !stays(peer))
            .map(|peer| (peer.id, peer.key))
            .collect();
        for (id, key) in gone {
            let removed = self.tunnel.remove_peer(PublicKey::from_bytes(key.0)).await;
            if removed.is_ok() {
                self.peers.remove(&id);
            }
            trouble.note(id, removed.map_err(with_causes));
        }
    }

    async fn set_peers(
        &mut self,
        peers: &BTreeMap<NodeId, Peer>,
        known: &Known,
        trouble: &mut Trouble,
    ) {
        for peer in peers.values() {
            let pair = known.of(peer);
            let relay = pair.and_then(|pair| pair.relay.as_ref());
            let via = relay.and_then(|relay| Some(peers.get(&relay.via)?.key));
            let is_set = self.peers.get(&peer.id).is_some_and(|set| {
                set.peer == *peer && set.pair.as_ref() == pair && set.via == via
            });
            if is_set {
                continue;
            }
            let set = match translate::peer(peer, pair, via) {
                Ok(config) => self.tunnel.set_peer(config).await.map_err(with_causes),
                Err(why) => Err(why),
            };
            if set.is_ok() {
                let (peer, pair) = (peer.clone(), pair.cloned());
                self.peers.insert(peer.id, SetPeer { peer, pair, via });
            }
            trouble.note(peer.id, set);
        }
    }
}

/// What this node shares with its peers, as far as it is for the keys of now.
struct Known {
    me: WgKey,
    pairs: Option<Arc<PairTable>>,
}

impl Known {
    fn of(&self, peer: &Peer) -> Option<&Pair> {
        self.pairs.as_ref()?.with(self.me, peer.id, peer.key)
    }
}

/// The first thing that failed, and how many more.
#[derive(Default)]
struct Trouble {
    first: Option<String>,
    others: usize,
}

impl Trouble {
    fn note<T>(&mut self, what: impl std::fmt::Display, result: Result<T, String>) {
        match result {
            Err(why) if self.first.is_none() => self.first = Some(format!("{what}: {why}")),
            Err(_) => self.others += 1,
            Ok(_) => {}
        }
    }

    fn result(self) -> Result<(), String> {
        match self.first {
            None => Ok(()),
            Some(first) if self.others == 0 => Err(first),
            Some(first) => Err(format!("{first} (and {} more)", self.others)),
        }
    }
}

fn seen(set: &SetPeer, status: &PeerStatus) -> PeerView {
    let age_ms = |age: Duration| u64::try_from(age.as_millis()).unwrap_or(u64::MAX);
    PeerView {
        seen: PeerObservation {
            peer: set.peer.id,
            endpoint: status.endpoint,
            handshake_age_ms: status.last_handshake_age.map(age_ms),
            rx_bytes: status.rx_bytes,
            tx_bytes: status.tx_bytes,
            path: status.path.map(translate::path),
        },
        drops: status.drops,
        allowed: status
            .rules
            .iter()
            .map(|status| (translate::allow(&status.rule), status.admitted))
            .collect(),
        answers: status.answers,
        key_epoch: (set.pair.as_ref())
            .and_then(|pair| pair.psk.as_ref())
            .map(|psk| (psk.epoch, psk.since_ms)),
    }
}

/// An error and what caused it, on one line.
fn with_causes(error: impl std::error::Error) -> String {
    let mut line = error.to_string();
    let mut cause = error.source();
    while let Some(inner) = cause {
        line = format!("{line}: {inner}");
        cause = inner.source();
    }
    line
}
