//! Nodes for tests: two tunnels that know each other, and the traffic that they carry.
#![allow(dead_code, reason = "each test file uses its own part")]
#![allow(
    clippy::unwrap_used,
    reason = "this is test code, but not inside a test function"
)]

pub(crate) mod meeting;
pub(crate) mod namespace;
pub(crate) mod virtual_machine;

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use malha_tunnel::{
    Allow, BoxStream, ChannelGrant, ChannelId, Engine, PathKind, PeerConfig, PrivateKey,
    RelayGrant, RelayKey, Tunnel, TunnelConfig, TunnelEvent, TunnelListener, start,
};
use sha2::{Digest, Sha256};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::{Instant, timeout};

/// Longer than anything here should take, even on a busy machine.
pub(crate) const LIMIT: Duration = Duration::from_secs(30);
/// The number of the node that relays.
pub(crate) const HUB: u8 = 9;

pub(crate) struct Node {
    pub(crate) number: u8,
    pub(crate) tunnel: Arc<dyn Tunnel>,
}

pub(crate) fn key(number: u8) -> PrivateKey {
    PrivateKey::from_bytes([number; 32])
}

/// The node's overlay address: 100.64.0.n.
pub(crate) fn overlay(number: u8, port: u16) -> SocketAddr {
    ([100, 64, 0, number], port).into()
}

pub(crate) fn overlay6(number: u8, port: u16) -> SocketAddr {
    ([0xfd00, 0, 0, 0, 0, 0, 0, u16::from(number)], port).into()
}

pub(crate) fn config(number: u8) -> TunnelConfig {
    let v4 = format!("100.64.0.{number}/10").parse().unwrap();
    let v6 = format!("fd00::{number}/48").parse().unwrap();
    let mut config = TunnelConfig::new(key(number), vec![v4, v6]);
    config.listen = vec!["127.0.0.1:0".parse().unwrap()];
    config
}

/// A peer that may open any TCP port.
pub(crate) fn peer(number: u8, endpoints: Vec<SocketAddr>) -> PeerConfig {
    let mut peer = PeerConfig::new(key(number).public_key());
    peer.allowed_ips = vec![
        format!("100.64.0.{number}/32").parse().unwrap(),
        format!("fd00::{number}/128").parse().unwrap(),
    ];
    peer.endpoints = endpoints;
    peer.ingress = vec![Allow::tcp(1..=65535)];
    peer
}

/// The end that a node of this number has of its pair.
pub(crate) fn channel(n: u8) -> ChannelGrant {
    ChannelGrant {
        channel: ChannelId(u32::from(n)),
        key: RelayKey::from_bytes([n; 32]),
        node: key(n).public_key(),
    }
}

/// The peer as the node `at` knows it: by the relay, and by candidates if there are any.
pub(crate) fn relayed(number: u8, at: u8, candidates: Vec<SocketAddr>) -> PeerConfig {
    let own = channel(at);
    PeerConfig {
        candidates,
        relay: Some(RelayGrant {
            channel: own.channel,
            key: own.key,
            via: key(HUB).public_key(),
        }),
        ..peer(number, Vec::new())
    }
}

pub(crate) fn hub_at(endpoint: SocketAddr) -> PeerConfig {
    PeerConfig {
        carrier_possible: true,
        keepalive_s: Some(25),
        ..peer(HUB, vec![endpoint])
    }
}

pub(crate) fn path_to(number: u8, path: PathKind) -> TunnelEvent {
    TunnelEvent::PathChanged {
        peer: key(number).public_key(),
        path,
    }
}

impl Node {
    pub(crate) fn start(engine: Engine, config: TunnelConfig, number: u8) -> Self {
        Self {
            number,
            tunnel: start(engine, config).unwrap(),
        }
    }

    pub(crate) fn netstack(number: u8) -> Self {
        Self::start(Engine::Netstack, config(number), number)
    }

    /// Where it can be called; one that listens at every address is called on loopback.
    pub(crate) async fn underlay(&self) -> Vec<SocketAddr> {
        let loopback = |mut address: SocketAddr| {
            match address.ip() {
                IpAddr::V4(Ipv4Addr::UNSPECIFIED) => address.set_ip(Ipv4Addr::LOCALHOST.into()),
                IpAddr::V6(Ipv6Addr::UNSPECIFIED) => address.set_ip(Ipv6Addr::LOCALHOST.into()),
                _ => {}
            }
            address
        };
        let addresses = self.tunnel.listen_addrs().await.into_iter();
        addresses.map(loopback).collect()
    }

    /// Knows the other node, which will dial.
    pub(crate) async fn expects(&self, other: &Node) {
        self.tunnel
            .set_peer(peer(other.number, Vec::new()))
            .await
            .unwrap();
    }

    pub(crate) async fn knows(&self, other: &Node) {
        let endpoints = other.underlay().await;
        self.tunnel
            .set_peer(peer(other.number, endpoints))
            .await
            .unwrap();
    }

    pub(crate) async fn dial(&self, remote: SocketAddr) -> io::Result<BoxStream> {
        self.tunnel.dial(remote, Instant::now() + LIMIT).await
    }

    pub(crate) async fn listen(&self, port: u16) -> TunnelListener {
        self.tunnel
            .listen(([0, 0, 0, 0], port).into())
            .await
            .unwrap()
    }
}

/// Whether an emulated processor runs this, which encrypts a hundred times slower, and may share a busy one.
pub(crate) fn is_emulated() -> bool {
    std::env::var_os("MALHA_EMULATED").is_some()
}

/// Two netstack nodes; the first has dialled the second.
pub(crate) async fn pair() -> (Node, Node) {
    let (left, right) = (Node::netstack(1), Node::netstack(2));
    connect(&left, &right).await;
    (left, right)
}

/// Makes two nodes know each other and waits for their handshake.
pub(crate) async fn connect(dialler: &Node, other: &Node) {
    let mut events = dialler.tunnel.events();
    other.expects(dialler).await;
    dialler.knows(other).await;
    let completed = TunnelEvent::HandshakeCompleted {
        peer: key(other.number).public_key(),
    };
    wait_for(&mut events, completed).await;
}

pub(crate) async fn wait_for(
    events: &mut tokio::sync::broadcast::Receiver<TunnelEvent>,
    wanted: TunnelEvent,
) {
    let found = async { while events.recv().await.unwrap() != wanted {} };
    timeout(LIMIT, found)
        .await
        .unwrap_or_else(|_| panic!("{wanted:?} never happened"));
}

/// A connection from `left` to `right`, both ends.
pub(crate) async fn stream_pair(left: &Node, right: &Node) -> (BoxStream, BoxStream) {
    let mut listener = right.listen(0).await;
    let address = listener.local_addrs()[0];
    let (near, far) = tokio::join!(left.dial(address), timeout(LIMIT, listener.accept()));
    let (far, _) = far.unwrap().unwrap();
    (near.unwrap(), far)
}

/// Bytes that repeat nowhere soon, so that a lost or doubled block shows in the hash.
pub(crate) fn body(bytes: usize, seed: u64) -> Vec<u8> {
    let mut state = seed | 1;
    let next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()
    };
    let mut body: Vec<u8> = std::iter::repeat_with(next)
        .take(bytes.div_ceil(8))
        .flatten()
        .collect();
    body.truncate(bytes);
    body
}

pub(crate) fn hash(bytes: &[u8]) -> [u8; 32] {
    Sha256::digest(bytes).into()
}

pub(crate) async fn read_all(stream: &mut BoxStream) -> Vec<u8> {
    let mut all = Vec::new();
    timeout(LIMIT, stream.read_to_end(&mut all))
        .await
        .unwrap()
        .unwrap();
    all
}

/// Sends back what comes on every connection until it ends, then ends too.
pub(crate) fn echo(mut listener: TunnelListener) {
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let (mut read, mut write) = tokio::io::split(stream);
                let _ = tokio::io::copy(&mut read, &mut write).await;
                let _ = write.shutdown().await;
            });
        }
    });
}

/// Both directions at once through an echo: what comes back is what went.
pub(crate) async fn assert_echoes(stream: BoxStream, sent: Vec<u8>) {
    let (mut read, mut write) = tokio::io::split(stream);
    let writing = async {
        write.write_all(&sent).await.unwrap();
        write.shutdown().await.unwrap();
    };
    let mut came = Vec::new();
    let both = async { tokio::join!(writing, read.read_to_end(&mut came)) };
    let ((), read) = timeout(LIMIT, both).await.unwrap();
    read.unwrap();
    let same = came.iter().zip(&sent).take_while(|(a, b)| a == b).count();
    assert_eq!((same, came.len()), (sent.len(), sent.len()));
}
