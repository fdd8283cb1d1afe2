//! What one node must know, as a value with an algebra: `patch(old, diff(old, new)) == new`. The size of a difference
//! follows the change, not the map.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;

use minicbor::{Decode, Encode};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use thiserror::Error;

use crate::{
    Balancer, BalancerId, HostName, Label, NodeId, OverlayAddresses, Revision, ServiceId, WgKey,
};

/// A node's role: which ports it has, in which direction and for whom.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Encode, Decode, Serialize, Deserialize,
)]
#[serde(rename_all = "kebab-case")]
#[cbor(index_only)]
pub enum Profile {
    #[n(0)]
    Garage,
    #[n(1)]
    SecurityServer,
    #[n(2)]
    Balancer,
    #[n(3)]
    Central,
    #[n(4)]
    Edge,
}

/// The transport of a port.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Encode, Decode, Serialize, Deserialize,
)]
#[serde(rename_all = "kebab-case")]
#[cbor(index_only)]
pub enum Protocol {
    #[n(0)]
    Tcp,
    #[n(1)]
    Udp,
    #[n(2)]
    Icmp,
}

/// Who may know a service: members with a grant, or also the public through an edge.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Encode, Decode, Serialize, Deserialize,
)]
#[serde(rename_all = "kebab-case")]
#[cbor(index_only)]
pub enum Exposure {
    #[n(0)]
    Tunnel,
    #[n(1)]
    Public,
}

/// What a service speaks; decides how it is probed.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Encode, Decode, Serialize, Deserialize,
)]
#[serde(rename_all = "kebab-case")]
#[cbor(index_only)]
pub enum ServiceKind {
    /// HTTP/1.1: probed with a request.
    #[n(0)]
    Http,
    /// Anything over TCP: probed with a connection.
    #[n(1)]
    Tcp,
}

/// A port that is never zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Encode, Serialize)]
#[cbor(transparent)]
#[serde(transparent)]
pub struct Port(#[n(0)] u16);

impl Port {
    /// None for zero.
    #[must_use]
    pub fn new(port: u16) -> Option<Self> {
        (port != 0).then_some(Self(port))
    }

    #[must_use]
    pub fn number(self) -> u16 {
        self.0
    }
}

impl std::fmt::Display for Port {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", self.0)
    }
}

impl<'de> Deserialize<'de> for Port {
    fn deserialize<D: serde::Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        Self::new(u16::deserialize(d)?)
            .ok_or_else(|| serde::de::Error::custom("a port is 1 to 65535"))
    }
}

impl<'b, C> Decode<'b, C> for Port {
    fn decode(d: &mut minicbor::Decoder<'b>, _: &mut C) -> Result<Self, minicbor::decode::Error> {
        let at = d.position();
        Self::new(d.u16()?).ok_or_else(|| minicbor::decode::Error::message("port zero").at(at))
    }
}

/// One thing a peer may open on this node. Everything else is dropped.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Encode, Decode, Serialize, Deserialize,
)]
pub struct Allow {
    #[n(0)]
    pub protocol: Protocol,
    /// First port; 0 to 65535. For ICMP both are 0.
    #[n(1)]
    pub from_port: u16,
    /// Last port, included.
    #[n(2)]
    pub to_port: u16,
}

impl Allow {
    /// Whether it permits this; the port has no meaning for ICMP.
    #[must_use]
    pub fn covers(&self, protocol: Protocol, port: u16) -> bool {
        let ports = self.from_port..=self.to_port;
        self.protocol == protocol && (protocol == Protocol::Icmp || ports.contains(&port))
    }
}

/// A port that a node's profile keeps inside the overlay or on loopback: on every other interface it is closed.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Encode, Decode, Serialize, Deserialize,
)]
pub struct ClosedPort {
    /// TCP or UDP.
    #[n(0)]
    pub protocol: Protocol,
    #[n(1)]
    pub port: Port,
}

/// Another node, as this node must configure it.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Peer {
    #[n(0)]
    pub id: NodeId,
    /// `<node>.<site>.<org>`, without the overlay zone.
    #[n(1)]
    pub name: HostName,
    #[n(2)]
    pub key: WgKey,
    #[n(3)]
    pub addresses: OverlayAddresses,
    /// Where its WireGuard may be reached, best first. Empty: it dials us.
    #[n(4)]
    pub endpoints: Vec<SocketAddr>,
    /// Seconds between keepalives that *we* send; None where the other side dials.
    #[n(5)]
    pub keepalive_s: Option<u16>,
    /// What this peer may open on us.
    #[n(6)]
    pub allow: Vec<Allow>,
    /// It runs beside a controller: every node keeps a tunnel to it.
    #[n(7)]
    pub hub: bool,
    /// While a policy waits for its confirmation, where it changes what this peer may open: what holds again otherwise.
    #[n(8)]
    pub former: Option<FormerAllow>,
    /// Further names at its addresses, whole ones: those that its organization declared, where this node may open something on it.
    #[n(9)]
    #[cbor(default, skip_if = "Vec::is_empty")]
    pub names: Vec<HostName>,
}

/// What a peer could open under the policy that an unconfirmed one replaced.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct FormerAllow {
    /// The policy's version that waits.
    #[n(0)]
    pub version: u64,
    /// How long after it was taken this holds again, unless the controller says otherwise; milliseconds.
    #[n(1)]
    pub within_ms: u64,
    #[n(2)]
    pub allow: Vec<Allow>,
}

/// A port that this node offers.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Service {
    #[n(0)]
    pub id: ServiceId,
    #[n(1)]
    pub name: Label,
    /// The port on the overlay address.
    #[n(2)]
    pub port: Port,
    /// Where this node hands the connection.
    #[n(3)]
    pub target: SocketAddr,
    #[n(4)]
    pub kind: ServiceKind,
    #[n(5)]
    pub exposure: Exposure,
}

/// The node itself.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Me {
    #[n(0)]
    pub id: NodeId,
    /// `<node>.<site>.<org>`, without the overlay zone.
    #[n(1)]
    pub name: HostName,
    #[n(2)]
    pub addresses: OverlayAddresses,
    /// The lengths of the overlay's prefixes, for the interface.
    #[n(3)]
    pub prefix_v4: u8,
    #[n(4)]
    pub prefix_v6: u8,
    #[n(5)]
    pub profile: Profile,
    /// Held apart because two machines showed this identity: no peers, and nothing is offered, until the operator chooses. The map
    /// has its services and balancers all the same, since their ports stay closed outside the overlay.
    #[n(6)]
    pub quarantined: bool,
    /// Further names at its addresses, whole ones: those that its organization declared.
    #[n(7)]
    #[cbor(default, skip_if = "Vec::is_empty")]
    pub names: Vec<HostName>,
}

/// Everything one node must know at one revision.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Netmap {
    /// The last change that touched this map.
    #[n(0)]
    pub revision: Revision,
    #[n(1)]
    pub me: Me,
    #[n(2)]
    pub peers: BTreeMap<NodeId, Peer>,
    #[n(3)]
    pub services: BTreeMap<ServiceId, Service>,
    /// Empty from an older controller.
    #[n(4)]
    #[cbor(default, skip_if = "BTreeMap::is_empty")]
    pub balancers: BTreeMap<BalancerId, Balancer>,
    /// What the node's profile closes outside the overlay. None from an older controller, which leaves the choice to the
    /// agent; one that knows it always says it.
    #[n(5)]
    pub closed: Option<BTreeSet<ClosedPort>>,
    /// The overlay zone, below which nodes have their names. None from an older controller.
    #[n(6)]
    pub zone: Option<HostName>,
}

/// The difference of two netmaps of one node.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct NetmapDelta {
    /// The revision it applies to.
    #[n(0)]
    pub from: Revision,
    /// The revision it leads to.
    #[n(1)]
    pub to: Revision,
    #[n(2)]
    pub me: Option<Me>,
    #[n(3)]
    pub peers: Vec<Peer>,
    #[n(4)]
    pub peers_gone: Vec<NodeId>,
    #[n(5)]
    pub services: Vec<Service>,
    #[n(6)]
    pub services_gone: Vec<ServiceId>,
    #[n(7)]
    #[cbor(default, skip_if = "Vec::is_empty")]
    pub balancers: Vec<Balancer>,
    #[n(8)]
    #[cbor(default, skip_if = "Vec::is_empty")]
    pub balancers_gone: Vec<BalancerId>,
    /// All of them, if they differ.
    #[n(9)]
    pub closed: Option<BTreeSet<ClosedPort>>,
    /// If it differs.
    #[n(10)]
    pub zone: Option<HostName>,
}

/// Why a delta can't be applied. The node then asks for the whole map.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum PatchError {
    #[error("the delta starts at revision {0}, this node is at {1}")]
    Revision(Revision, Revision),
}

impl Netmap {
    /// What turns `self` into `newer`.
    #[must_use]
    pub fn diff(&self, newer: &Self) -> NetmapDelta {
        let (peers, peers_gone) = diff_entries(&self.peers, &newer.peers);
        let (services, services_gone) = diff_entries(&self.services, &newer.services);
        let (balancers, balancers_gone) = diff_entries(&self.balancers, &newer.balancers);
        NetmapDelta {
            from: self.revision,
            to: newer.revision,
            me: (self.me != newer.me).then(|| newer.me.clone()),
            peers,
            peers_gone,
            services,
            services_gone,
            balancers,
            balancers_gone,
            closed: (self.closed != newer.closed)
                .then(|| newer.closed.clone())
                .flatten(),
            zone: (self.zone != newer.zone)
                .then(|| newer.zone.clone())
                .flatten(),
        }
    }

    /// Applies a delta whole, or changes nothing.
    pub fn patch(&mut self, delta: NetmapDelta) -> Result<(), PatchError> {
        if delta.from != self.revision {
            return Err(PatchError::Revision(delta.from, self.revision));
        }
        self.revision = delta.to;
        if let Some(me) = delta.me {
            self.me = me;
        }
        for gone in delta.peers_gone {
            self.peers.remove(&gone);
        }
        self.peers
            .extend(delta.peers.into_iter().map(|peer| (peer.id, peer)));
        for gone in delta.services_gone {
            self.services.remove(&gone);
        }
        self.services.extend(
            delta
                .services
                .into_iter()
                .map(|service| (service.id, service)),
        );
        for gone in delta.balancers_gone {
            self.balancers.remove(&gone);
        }
        let balancers = delta.balancers.into_iter();
        self.balancers
            .extend(balancers.map(|balancer| (balancer.id, balancer)));
        if delta.closed.is_some() {
            self.closed = delta.closed;
        }
        if delta.zone.is_some() {
            self.zone = delta.zone;
        }
        Ok(())
    }

    /// SHA-256 over the content without the revision: equal digests, equal maps. A node that comes back with this digest
    /// needs nothing sent. What an older agent does not know counts only where there is some.
    #[must_use]
    pub fn digest(&self) -> [u8; 32] {
        let content = (&self.me, &self.peers, &self.services);
        let mut bytes =
            Vec::with_capacity(PEER_BYTES_GUESS * (self.peers.len() + self.services.len() + 1));
        let encoded = minicbor::encode(content, &mut bytes)
            .and_then(|()| match self.balancers.is_empty() {
                true => Ok(()),
                false => minicbor::encode(&self.balancers, &mut bytes),
            })
            .and_then(|()| match &self.closed {
                None => Ok(()),
                Some(closed) => minicbor::encode(closed, &mut bytes),
            })
            .and_then(|()| match &self.zone {
                None => Ok(()),
                Some(zone) => minicbor::encode(zone, &mut bytes),
            });
        match encoded {
            Ok(()) => Sha256::digest(&bytes).into(),
            Err(infallible) => unreachable!("a Vec takes every write: {infallible}"),
        }
    }
}

impl NetmapDelta {
    /// Whether it changes nothing but the revision.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.me.is_none()
            && self.peers.is_empty()
            && self.peers_gone.is_empty()
            && self.services.is_empty()
            && self.services_gone.is_empty()
            && self.balancers.is_empty()
            && self.balancers_gone.is_empty()
            && self.closed.is_none()
            && self.zone.is_none()
    }
}

fn diff_entries<K: Ord + Copy, V: PartialEq + Clone>(
    old: &BTreeMap<K, V>,
    new: &BTreeMap<K, V>,
) -> (Vec<V>, Vec<K>) {
    let put = new
        .iter()
        .filter(|(id, value)| old.get(id) != Some(value))
        .map(|(_, value)| value.clone())
        .collect();
    let gone = old
        .keys()
        .filter(|id| !new.contains_key(id))
        .copied()
        .collect();
    (put, gone)
}

/// How many peers a node takes; it goes on with the map before one that has more.
pub const MAX_PEERS: usize = 20_000;

/// Sizes a buffer; not a limit.
const PEER_BYTES_GUESS: usize = 160;

#[cfg(test)]
mod tests;
