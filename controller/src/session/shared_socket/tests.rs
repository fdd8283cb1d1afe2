//! A hub whose one UDP port speaks WireGuard and QUIC, with real endpoints of both on the loopback.

#![allow(clippy::unwrap_used, reason = "a test that can't go on must stop")]

use std::net::UdpSocket;
use std::time::{Duration, Instant};

use malha_pki::{Authority, AuthorityProfile};
use malha_proto::{ALPN, CONTROLLER_TLS_NAME};
use malha_tunnel::{Allow, BoxStream, Engine, PeerConfig, PrivateKey, Tunnel, TunnelConfig, start};
use quinn::crypto::rustls::{QuicClientConfig, QuicServerConfig};
use quinn::{Connection, Endpoint};
use time::OffsetDateTime;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::timeout;

use super::*;
use crate::streams::tests::control_tls;

const LIMIT: Duration = Duration::from_secs(60);
const PORT: u16 = 80;
/// Datagrams; about a second's worth.
const FLOOD: usize = 100_000;

/// The hub and a node, each with a tunnel; the node's QUIC has a socket of its own.
struct Scene {
    hub: Arc<dyn Tunnel>,
    node: Arc<dyn Tunnel>,
    at: SocketAddr,
    server: Endpoint,
    client: Endpoint,
    client_config: quinn::ClientConfig,
}

impl Scene {
    async fn new() -> Self {
        let (hub, node) = (tunnel(1), tunnel(2));
        let at = hub.listen_addrs().await[0];
        hub.set_peer(peer(2, vec![])).await.unwrap();
        node.set_peer(peer(1, vec![at])).await.unwrap();
        let overlay = overlay();
        let tls = control_tls(&overlay);
        let tls = Arc::new(QuicServerConfig::try_from(tls).unwrap());
        let mut transport = quinn::TransportConfig::default();
        transport.max_idle_timeout(Some(quinn::VarInt::from_u32(4_000).into()));
        let mut server = quinn::ServerConfig::with_crypto(tls);
        server.transport_config(Arc::new(transport));
        let server = Endpoint::new_with_abstract_socket(
            endpoint_config(),
            Some(server),
            Arc::new(SharedSocket(hub.take_quic(0).await.unwrap())),
            Arc::new(quinn::TokioRuntime),
        );
        Self {
            hub,
            node,
            at,
            server: server.unwrap(),
            client: Endpoint::client(([127, 0, 0, 1], 0).into()).unwrap(),
            client_config: client(&overlay),
        }
    }

    /// One QUIC connection: the hub's end and the node's.
    async fn connect(&self) -> (Connection, Connection) {
        let config = self.client_config.clone();
        let connecting = self
            .client
            .connect_with(config, self.at, CONTROLLER_TLS_NAME)
            .unwrap();
        let accepting = async { self.server.accept().await.unwrap().await.unwrap() };
        let both = async { tokio::join!(accepting, connecting) };
        let (hub, node) = timeout(LIMIT, both).await.unwrap();
        (hub, node.unwrap())
    }

    /// A connection through the tunnel to somebody who sends everything back.
    async fn echo(&self) -> BoxStream {
        let mut listener = self
            .hub
            .listen(([100, 64, 0, 1], PORT).into())
            .await
            .unwrap();
        tokio::spawn(async move {
            let (stream, _) = listener.accept().await.unwrap();
            let (mut read, mut write) = tokio::io::split(stream);
            let _ = tokio::io::copy(&mut read, &mut write).await;
            // The listener stays as long as its connection.
            drop(listener);
        });
        let deadline = tokio::time::Instant::now() + LIMIT;
        let dialled = self.node.dial(([100, 64, 0, 1], PORT).into(), deadline);
        dialled.await.unwrap()
    }
}

fn tunnel(number: u8) -> Arc<dyn Tunnel> {
    let address = format!("100.64.0.{number}/10").parse().unwrap();
    let mut config = TunnelConfig::new(PrivateKey::from_bytes([number; 32]), vec![address]);
    // Fixed, so that it is the same after a rebind.
    config.listen = vec![free_address()];
    start(Engine::Netstack, config).unwrap()
}

fn free_address() -> SocketAddr {
    UdpSocket::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
}

fn peer(number: u8, endpoints: Vec<SocketAddr>) -> PeerConfig {
    let mut peer = PeerConfig::new(PrivateKey::from_bytes([number; 32]).public_key());
    peer.allowed_ips = vec![format!("100.64.0.{number}/32").parse().unwrap()];
    peer.endpoints = endpoints;
    peer.ingress = vec![Allow::tcp(1..=u16::MAX)];
    peer
}

fn overlay() -> Arc<Authority> {
    let profile = AuthorityProfile {
        name: "Overlay".into(),
        years: 1,
    };
    Arc::new(Authority::create(&profile, OffsetDateTime::now_utc()).unwrap())
}

fn client(overlay: &Authority) -> quinn::ClientConfig {
    let mut roots = rustls::RootCertStore::empty();
    roots.add(overlay.certificate_der().clone()).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut tls = rustls::ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    tls.alpn_protocols = vec![ALPN.to_vec()];
    quinn::ClientConfig::new(Arc::new(QuicClientConfig::try_from(tls).unwrap()))
}

fn body(bytes: u32, seed: u32) -> Vec<u8> {
    let byte = |number: u32| (number.wrapping_mul(2_654_435_761).wrapping_add(seed) >> 24) as u8;
    (0..bytes).map(byte).collect()
}

/// Sends on a new stream of one end, and reads it at the other.
async fn cross(from: &Connection, to: &Connection, sent: &[u8]) {
    let send = async {
        let mut stream = from.open_uni().await.unwrap();
        stream.write_all(sent).await.unwrap();
        stream.finish().unwrap();
    };
    let receive = async {
        let mut stream = to.accept_uni().await.unwrap();
        stream.read_to_end(sent.len() + 1).await.unwrap()
    };
    let ((), received) = timeout(LIMIT, async { tokio::join!(send, receive) })
        .await
        .unwrap();
    assert!(
        received == sent,
        "{} of {} bytes",
        received.len(),
        sent.len()
    );
}

async fn there_and_back(stream: &mut BoxStream, sent: &[u8]) {
    let mut received = vec![0; sent.len()];
    let exchange = async {
        stream.write_all(sent).await.unwrap();
        stream.read_exact(&mut received).await.unwrap();
    };
    timeout(LIMIT, exchange).await.unwrap();
    assert!(received == sent);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_port_carries_quic_and_wireguard_at_once() {
    let scene = Scene::new().await;
    let mut echo = scene.echo().await;
    let (at_hub, at_node) = scene.connect().await;
    let (down, up) = (body(6_000_000, 1), body(6_000_000, 2));
    let word = body(16_000, 3);
    tokio::join!(
        cross(&at_hub, &at_node, &down),
        cross(&at_node, &at_hub, &up),
        async {
            for _ in 0..50 {
                there_and_back(&mut echo, &word).await;
            }
        }
    );
    let stats = scene.hub.stats().await;
    // No QUIC packet was taken for something else: its mark is never greased.
    assert_eq!((stats.device.malformed, stats.device.quic), (0, 0));
    assert_eq!(stats.device.unknown_session, 0);
    assert_eq!(stats.underlay.quic_dropped, 0);
    assert!(stats.underlay.quic_received > 4_000, "{:?}", stats.underlay);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn connections_live_on_when_the_tunnel_binds_its_socket_anew() {
    let scene = Scene::new().await;
    let mut echo = scene.echo().await;
    let (at_hub, at_node) = scene.connect().await;
    let up = body(3_000_000, 2);
    let rebinding = async {
        for _ in 0..5 {
            scene.hub.rebind().await.unwrap();
            there_and_back(&mut echo, b"WireGuard").await;
        }
    };
    tokio::join!(cross(&at_node, &at_hub, &up), rebinding);
    cross(&at_hub, &at_node, &body(100_000, 4)).await;
}

/// Garbage that claims to be QUIC, from many sources and as fast as the loopback takes it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flood_of_garbage_stalls_neither_protocol() {
    let scene = Scene::new().await;
    let mut echo = scene.echo().await;
    let at = scene.at;
    let flood = std::thread::spawn(move || {
        let sockets: Vec<_> = (0..16)
            .map(|_| UdpSocket::bind("127.0.0.1:0").unwrap())
            .collect();
        let firsts = [0x40, 0x5a, 0xc0, 0xd1];
        for (number, socket) in (0..FLOOD).zip(sockets.iter().cycle()) {
            let mut datagram = [0xa5; 100];
            datagram[0] = firsts[number % firsts.len()];
            let _ = socket.send_to(&datagram, at);
        }
    });
    let (at_hub, at_node) = scene.connect().await;
    let mut slowest = Duration::ZERO;
    while !flood.is_finished() {
        let start = Instant::now();
        there_and_back(&mut echo, b"WireGuard").await;
        slowest = slowest.max(start.elapsed());
    }
    cross(&at_hub, &at_node, &body(100_000, 6)).await;
    flood.join().unwrap();
    let received = scene.hub.stats().await.underlay.quic_received;
    println!("{received} of {FLOOD} received, slowest echo {slowest:?}");
    assert!(received > 1_000, "{received} of {FLOOD} arrived");
    assert!(slowest < Duration::from_secs(2), "an echo took {slowest:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn when_the_tunnel_ends_its_quic_ends() {
    let scene = Scene::new().await;
    let (at_hub, _at_node) = scene.connect().await;
    scene.hub.shutdown().await;
    let mut stream = at_hub.open_uni().await.unwrap();
    stream.write_all(b"is anybody there?").await.unwrap();
    timeout(LIMIT, at_hub.closed()).await.unwrap();
}
