//! The data plane of one node: makes the tunnel be what the netmap says and watches it. It is the only place that speaks to
//! malha-tunnel, and never decides what the map should be.

mod applied;
mod carrier;
mod former;
mod running;
mod services;
#[cfg(test)]
mod tests;
mod translate;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use malha_proto::{Allow, Netmap, NodeId, PairTable, PeerObservation, Revision, ServiceId, WgKey};
use malha_tunnel::{Engine, InterfaceState, Offload, PeerDrops, PrivateKey, TunnelStats};
use tokio::sync::{mpsc, watch};
use tokio::time::{MissedTickBehavior, interval};

use crate::balancers::Balanced;
use crate::guard::{Guard, GuardConfig, GuardStatus, Guarded};
use crate::streams::Overlay;
use carrier::Carrier;
use running::{Known, Running};

pub use applied::Applied;
pub use carrier::Carried;
pub use former::Former;
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
    pub former: Former,
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
        result: Applied,
    },
    Observed(Box<PlaneView>),
    /// No tunnel runs: what is there beside it.
    Down(Box<PlaneView>),
    /// The tunnel has ended by itself; nothing of the last map is in force.
    TunnelEnded,
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
    pub stats: TunnelStats,
    pub interface: InterfaceState,
    pub guard: GuardStatus,
    /// Guard tables in force that are not this node's.
    pub guards_left: Vec<String>,
    /// This node's balancers.
    pub balanced: Balanced,
    /// Connections that each service refused over [`MAX_CONNECTIONS`], since it was opened.
    pub over_limit: BTreeMap<ServiceId, u64>,
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

impl PeerView {
    /// One that the tunnel does not have.
    #[must_use]
    pub fn absent(peer: NodeId) -> Self {
        Self {
            seen: PeerObservation {
                peer,
                endpoint: None,
                handshake_age_ms: None,
                rx_bytes: 0,
                tx_bytes: 0,
                path: None,
            },
            drops: PeerDrops::default(),
            allowed: Vec::new(),
            answers: 0,
            key_epoch: None,
        }
    }
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
    let mut plane = Plane::new(config, key, overlay);
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
                if let Some(event) = plane.hear(event).await {
                    let _ = events.send(event).await;
                }
            }
            Ok(()) = pairs.changed() => {
                let newest = pairs.borrow_and_update().clone();
                plane.share(newest).await;
            }
            () = plane.guard.changed() => plane.guard.answer().await,
            _ = observe.tick() => {
                plane.guard.check().await;
                if plane.lost_tunnel() {
                    plane.stop().await;
                    let _ = events.send(PlaneEvent::TunnelEnded).await;
                }
                if let Some(lost) = plane.lost_carrier() {
                    let _ = events.send(lost).await;
                }
                let _ = events.send(plane.observe().await).await;
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

impl Plane {
    fn new(config: PlaneConfig, key: PrivateKey, overlay: watch::Sender<Option<Overlay>>) -> Self {
        Self {
            guard: Guard::new(config.guard.clone(), config.engine, &config.interface),
            config,
            key,
            pairs: None,
            running: None,
            carrier: None,
            lost_carrier: None,
            overlay,
        }
    }

    /// Changes only what differs from the map. What can be done is done; the answer names the first thing that can't.
    async fn apply(&mut self, map: &Arc<Netmap>) -> Applied {
        if let Some(running) = &self.running
            && !translate::same_interface(&running.me, &map.me)
        {
            self.stop().await;
        }
        // What the tunnel offers must not be there for the neighbours first, nor while it can't start.
        let mut guarded = self.guard.close(map).await;
        if map.me.quarantined {
            guarded = Guarded::nothing(map);
        }
        let mut running = match self.running.take() {
            Some(running) => running,
            None => match Running::start(&self.config, self.key.clone(), &map.me) {
                Ok(running) => running,
                Err(why) => return Applied::failed(why),
            },
        };
        let result = running.apply(guarded, &self.known()).await;
        if result.is_whole() {
            self.config.former.settle();
        }
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

    fn lost_tunnel(&self) -> bool {
        let running = self.running.as_ref();
        running.is_some_and(|running| running.tunnel.has_ended())
    }

    async fn stop(&mut self) {
        if let Some(running) = self.running.take() {
            self.overlay.send_replace(None);
            let listen = running.tunnel.listen_addrs().await;
            // One that ended by itself has no address to say.
            if !listen.is_empty() {
                self.config.former.remembered.listen = listen;
            }
            running.stop().await;
            // One that was not told of yet stays so: it is told of within a second, and the tunnel may be restarted twice meanwhile.
            self.lost_carrier = self.carrier.take().or_else(|| self.lost_carrier.take());
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

    async fn observe(&self) -> PlaneEvent {
        let beside = PlaneView {
            guard: self.guard.status(),
            guards_left: self.guard.left().to_vec(),
            ..PlaneView::default()
        };
        match &self.running {
            Some(running) => PlaneEvent::Observed(Box::new(running.view(beside).await)),
            None => PlaneEvent::Down(Box::new(beside)),
        }
    }
}
