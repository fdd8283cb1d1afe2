//! A tunnel that runs, and what was really set on it: its peers, services and balancers. It never decides when to start or
//! to stop.

use std::collections::BTreeMap;
use std::fmt::Display;
use std::sync::Arc;
use std::time::Duration;

use malha_proto::{Me, Netmap, NodeId, Pair, PairTable, Peer, PeerObservation, WgKey};
use malha_tunnel::{
    PeerStatus, PeersChange, PrivateKey, PublicKey, Tunnel, TunnelConfig, TunnelEvent,
};
use tokio::sync::broadcast;

use super::services::Services;
use super::{Applied, PeerView, PlaneConfig, PlaneView, translate};
use crate::balancers::Balancers;
use crate::guard::Guarded;
use crate::streams::{HubPeer, Overlay};

/// A tunnel, and what was really set on it.
pub(super) struct Running {
    pub(super) tunnel: Arc<dyn Tunnel>,
    pub(super) events: broadcast::Receiver<TunnelEvent>,
    pub(super) me: Me,
    pub(super) peers: BTreeMap<NodeId, SetPeer>,
    services: Services,
    balancers: Balancers,
}

/// A peer as the tunnel has it.
#[derive(PartialEq, Eq)]
pub(super) struct SetPeer {
    pub(super) peer: Peer,
    pair: Option<Pair>,
    /// The key of the hub whose relay the pair may use.
    via: Option<WgKey>,
}

impl Running {
    pub(super) fn start(config: &PlaneConfig, key: PrivateKey, me: &Me) -> Result<Self, String> {
        let mut tunnel = TunnelConfig::new(key, translate::interface(me)?);
        tunnel.listen.clone_from(&config.listen);
        tunnel.interface.clone_from(&config.interface);
        tunnel.mtu_bytes = config.mtu_bytes;
        tunnel.offload = config.offload;
        tunnel.shards = config.shards;
        config.former.hand_to(&mut tunnel);
        let tunnel = malha_tunnel::start(config.engine, tunnel).map_err(with_causes)?;
        Ok(Self {
            events: tunnel.events(),
            tunnel,
            me: me.clone(),
            peers: BTreeMap::new(),
            services: Services::default(),
            balancers: Balancers::after(config.former.clone()),
        })
    }

    /// Changes only what differs from the map; the answer names the first thing that can't be done.
    pub(super) async fn apply(&mut self, guarded: Guarded, known: &Known) -> Applied {
        let Guarded { map, withheld } = guarded;
        let mut trouble = Trouble::default();
        // Who may do less is cut before anyone may do more.
        self.services.close_changed(&map.services).await;
        self.balancers.close_changed(&map.balancers).await;
        self.change_peers(&map.peers, known, &mut trouble).await;
        Applied {
            peers: trouble.result(),
            doors: self.open_doors(&map, withheld).await,
        }
    }

    /// Opens what this node offers through the tunnel; what can't be opened stays closed.
    async fn open_doors(
        &mut self,
        map: &Netmap,
        withheld: Vec<(String, String)>,
    ) -> Result<(), String> {
        let mut trouble = Trouble::default();
        for (door, why) in withheld {
            trouble.note::<()>(door, Err(why));
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
    pub(super) async fn share(&mut self, known: &Known) -> Result<(), String> {
        let mut trouble = Trouble::default();
        let present = self.peers.iter();
        let present = present.map(|(id, set)| (*id, set.peer.clone())).collect();
        self.change_peers(&present, known, &mut trouble).await;
        trouble.result()
    }

    pub(super) fn overlay(&self) -> Overlay {
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

    /// Adds the tunnel to a view of what is beside it.
    pub(super) async fn view(&self, beside: PlaneView) -> PlaneView {
        let by_key: BTreeMap<PublicKey, &SetPeer> = self
            .peers
            .values()
            .map(|set| (PublicKey::from_bytes(set.peer.key.0), set))
            .collect();
        let peers = self.tunnel.peers().await;
        PlaneView {
            peers: peers
                .iter()
                .filter_map(|status| Some(seen(by_key.get(&status.public_key)?, status)))
                .collect(),
            listen: self.tunnel.listen_addrs().await,
            stats: self.tunnel.stats().await,
            interface: self.tunnel.interface(),
            balanced: self.balancers.report(),
            over_limit: self.services.over_limit(),
            ..beside
        }
    }

    pub(super) async fn stop(mut self) {
        self.balancers.finish_all().await;
        self.services.close_all().await;
        self.tunnel.shutdown().await;
    }

    /// Tells the tunnel what differs, all at once: it cuts what is taken away before it allows more.
    async fn change_peers(
        &mut self,
        peers: &BTreeMap<NodeId, Peer>,
        known: &Known,
        trouble: &mut Trouble,
    ) {
        let stays = |peer: &Peer| peers.get(&peer.id).is_some_and(|p| p.key == peer.key);
        let gone = self.peers.values().map(|set| &set.peer);
        let gone = gone.filter(|peer| !stays(peer));
        let gone: BTreeMap<NodeId, WgKey> = gone.map(|peer| (peer.id, peer.key)).collect();
        let (mut changing, mut configs) = (Vec::new(), Vec::new());
        for peer in peers.values() {
            let set = SetPeer::of(peer, peers, known);
            if self.peers.get(&peer.id) == Some(&set) {
                continue;
            }
            match translate::peer(peer, set.pair.as_ref(), set.via) {
                Ok(config) => {
                    changing.push(set);
                    configs.push(config);
                }
                Err(why) => trouble.note::<()>(peer.id, Err(why)),
            }
        }
        let keys = gone.values().map(|key| PublicKey::from_bytes(key.0));
        let change = PeersChange {
            gone: keys.collect(),
            set: configs,
        };
        match self.tunnel.change_peers(change).await {
            Ok(changed) => {
                self.peers.retain(|id, _| !gone.contains_key(id));
                for (set, result) in changing.into_iter().zip(changed.set) {
                    let id = set.peer.id;
                    if result.is_ok() {
                        self.peers.insert(id, set);
                    }
                    trouble.note(id, result.map_err(with_causes));
                }
            }
            Err(error) => trouble.note::<()>("tunnel", Err(with_causes(error))),
        }
    }
}

impl SetPeer {
    fn of(peer: &Peer, peers: &BTreeMap<NodeId, Peer>, known: &Known) -> Self {
        let pair = known.of(peer);
        let relay = pair.and_then(|pair| pair.relay.as_ref());
        Self {
            peer: peer.clone(),
            pair: pair.cloned(),
            via: relay.and_then(|relay| Some(peers.get(&relay.via)?.key)),
        }
    }
}

/// What this node shares with its peers, as far as it is for the keys of now.
pub(super) struct Known {
    pub(super) me: WgKey,
    pub(super) pairs: Option<Arc<PairTable>>,
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
    fn note<T>(&mut self, what: impl Display, result: Result<T, String>) {
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
