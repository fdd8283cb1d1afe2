//! Dials to a node that answers in every way, over real QUIC on the loopback; its tunnel is a word that comes or an error.

#![allow(clippy::unwrap_used, reason = "a test that can't go on must stop")]

mod renewals;
mod slow;

use std::io::{self, Error, ErrorKind};
use std::net::SocketAddr;

use malha_pki::{Authority, AuthorityProfile, ControlCertificate, server_config_control};
use malha_proto::{
    ALPN_STREAM, CONTROLLER_TLS_NAME, Family, MAX_STREAMS, STREAM_BROKEN, StreamAnswer,
};
use malha_proxy::BoxStream;
use quinn::crypto::rustls::{QuicClientConfig, QuicServerConfig};
use quinn::{Endpoint, RecvStream, SendStream};
use time::OffsetDateTime;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::oneshot;
use tokio::time::timeout;

use super::*;
use crate::session::transport_config;

const NODE: NodeId = NodeId(7);
const HUB: NodeId = NodeId(1);
const LIMIT: Duration = Duration::from_secs(20);

/// The hub's table with one connection to [`NODE`], and the node's end of it.
struct Scene {
    streams: Streams,
    node: Connection,
    _endpoints: (Endpoint, Endpoint),
}

/// A connection for streams: the hub's end, the node's, and what carries them.
pub(crate) async fn connected() -> (Connection, Connection, (Endpoint, Endpoint)) {
    let now = OffsetDateTime::now_utc();
    let profile = AuthorityProfile {
        name: "Overlay".into(),
        years: 1,
    };
    let overlay = Arc::new(Authority::create(&profile, now).unwrap());
    let mut tls = control_tls(&overlay);
    tls.alpn_protocols = vec![ALPN_STREAM.to_vec()];
    let quic = Arc::new(QuicServerConfig::try_from(tls).unwrap());
    let mut config = quinn::ServerConfig::with_crypto(quic);
    config.transport_config(Arc::new(transport_config()));
    let here = ([127, 0, 0, 1], 0).into();
    let hub = Endpoint::server(config, here).unwrap();
    let node = Endpoint::client(here).unwrap();
    let connecting = node
        .connect_with(
            client(&overlay),
            hub.local_addr().unwrap(),
            CONTROLLER_TLS_NAME,
        )
        .unwrap();
    let accepting = async { hub.accept().await.unwrap().await.unwrap() };
    let (at_hub, at_node) = tokio::join!(accepting, connecting);
    (at_hub, at_node.unwrap(), (hub, node))
}

impl Scene {
    async fn new() -> Self {
        let (connection, node, endpoints) = connected().await;
        prepare(&connection);
        let streams = Streams::default();
        let certificate = PeerCertificate {
            node: NODE,
            key: Fingerprint([3; 32]),
        };
        streams.sit(certificate, &connection);
        Self {
            streams,
            node,
            _endpoints: endpoints,
        }
    }

    /// After the tunnel was seen to lose one packet in a hundred.
    async fn lossy() -> Self {
        let scene = Self::new().await;
        make_lossy(&scene.streams, NODE);
        scene
    }

    fn at_hub(&self) -> Connection {
        self.streams.lock().newest[&NODE].line.connection().clone()
    }

    /// A stream: the hub's end, and the node's.
    async fn opens(&self) -> (BoxStream, (SendStream, RecvStream)) {
        self.opens_on(&self.node).await
    }

    /// A stream that must come by this connection.
    async fn opens_on(&self, node: &Connection) -> (BoxStream, (SendStream, RecvStream)) {
        let address = ([100, 64, 0, 7], 80).into();
        let tunnel = in_tunnel(Err(ErrorKind::TimedOut.into()));
        let dialled = self.streams.dial(NODE, HUB, address, LIMIT, tunnel);
        let (dialled, node) = timeout(LIMIT, async { tokio::join!(dialled, lets_in(node)) })
            .await
            .unwrap();
        (dialled.unwrap(), node)
    }

    /// Dials, while the node gives each stream this answer, or none.
    async fn dial(
        &self,
        answer: Option<StreamAnswer>,
        tunnel: io::Result<()>,
    ) -> io::Result<String> {
        let answering = async {
            let mut kept = Vec::new();
            while let Ok((mut send, mut receive)) = self.node.accept_bi().await {
                let mut open = [0; StreamOpen::BYTES];
                receive.read_exact(&mut open).await.unwrap();
                let wanted = StreamOpen {
                    hub: HUB,
                    family: Family::V4,
                    port: 80,
                };
                assert_eq!(StreamOpen::decode(&open), Some(wanted));
                if let Some(answer) = answer {
                    send.write_all(&[answer.encode()]).await.unwrap();
                    send.write_all(b"stream").await.unwrap();
                    send.finish().unwrap();
                }
                kept.push((send, receive));
            }
        };
        let address: SocketAddr = ([100, 64, 0, 7], 80).into();
        let dialled = self
            .streams
            .dial(NODE, HUB, address, LIMIT, in_tunnel(tunnel));
        let dialled = tokio::select! {
            dialled = timeout(LIMIT * 2, dialled) => dialled.expect("a dial ends"),
            () = answering => unreachable!("the connection stands"),
        };
        let mut word = String::new();
        dialled?.read_to_string(&mut word).await?;
        Ok(word)
    }
}

/// A connection of the node with a renewed certificate, which takes the place of the one before.
async fn renewed(scene: &Scene, key: u8) -> (Connection, (Endpoint, Endpoint)) {
    let (connection, node, endpoints) = connected().await;
    let certificate = PeerCertificate {
        node: NODE,
        key: Fingerprint([key; 32]),
    };
    scene.streams.sit(certificate, &connection);
    (node, endpoints)
}

fn make_lossy(streams: &Streams, node: NodeId) {
    streams.tunnel_measured(node, PathLoss::default());
    let lossy = PathLoss {
        sent: 1_000,
        lost: 10,
    };
    streams.tunnel_measured(node, lossy);
}

/// A state without nodes.
fn nobody() -> State {
    let pools = malha_proto::OverlayPools::with_random_v6([0; 5]);
    let zone = "malha.internal".parse().unwrap();
    State::new(malha_core::Settings::new(
        malha_proto::MachineId([0; 16]),
        pools,
        zone,
    ))
}

/// The node's end of the next stream on this connection, let in.
async fn lets_in(node: &Connection) -> (SendStream, RecvStream) {
    let (mut send, mut receive) = node.accept_bi().await.unwrap();
    let mut open = [0; StreamOpen::BYTES];
    receive.read_exact(&mut open).await.unwrap();
    let answer = [StreamAnswer::Open.encode()];
    send.write_all(&answer).await.unwrap();
    (send, receive)
}

async fn in_tunnel(result: io::Result<()>) -> io::Result<BoxStream> {
    result?;
    let (mut near, far) = tokio::io::duplex(64);
    near.write_all(b"tunnel").await?;
    Ok(Box::new(far))
}

pub(crate) fn control_tls(overlay: &Arc<Authority>) -> rustls::ServerConfig {
    let now = OffsetDateTime::now_utc();
    let certificate = ControlCertificate::issue(overlay.clone(), 2, now).unwrap();
    server_config_control(Arc::new(certificate)).unwrap()
}

pub(crate) fn client(overlay: &Authority) -> quinn::ClientConfig {
    let mut roots = rustls::RootCertStore::empty();
    roots.add(overlay.certificate_der().clone()).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut tls = rustls::ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    tls.alpn_protocols = vec![ALPN_STREAM.to_vec()];
    let mut config = quinn::ClientConfig::new(Arc::new(QuicClientConfig::try_from(tls).unwrap()));
    let mut transport = quinn::TransportConfig::default();
    transport
        .max_concurrent_bidi_streams(MAX_STREAMS.into())
        .keep_alive_interval(Some(Duration::from_secs(1)));
    config.transport_config(Arc::new(transport));
    config
}

#[tokio::test]
async fn a_clean_path_is_dialled_in_the_tunnel() {
    let scene = Scene::new().await;
    let dialled = scene.dial(Some(StreamAnswer::Open), Ok(())).await;
    assert_eq!(dialled.unwrap(), "tunnel");
}

#[tokio::test]
async fn a_lossy_path_is_dialled_by_a_stream() {
    let scene = Scene::lossy().await;
    let dialled = scene.dial(Some(StreamAnswer::Open), Ok(())).await;
    assert_eq!(dialled.unwrap(), "stream");
}

#[tokio::test]
async fn losses_from_before_the_connection_do_not_count() {
    let scene = Scene::new().await;
    let long_ago = PathLoss {
        sent: 1_000,
        lost: 500,
    };
    scene.streams.tunnel_measured(NODE, long_ago);
    assert!(!scene.streams.is_taken(NODE));
}

#[tokio::test]
async fn a_port_that_is_not_allowed_fails_as_the_tunnel_fails() {
    let scene = Scene::lossy().await;
    let silent = Err(Error::from(ErrorKind::TimedOut));
    let dialled = scene.dial(Some(StreamAnswer::NotAllowed), silent).await;
    assert_eq!(dialled.unwrap_err().kind(), ErrorKind::TimedOut);
}

#[tokio::test]
async fn a_port_on_which_nothing_listens_refuses_as_in_the_tunnel() {
    let scene = Scene::lossy().await;
    let dialled = scene.dial(Some(StreamAnswer::NothingListens), Ok(())).await;
    assert_eq!(dialled.unwrap_err().kind(), ErrorKind::ConnectionRefused);
}

#[tokio::test]
async fn a_stream_that_is_not_answered_loses_against_the_tunnel_and_is_avoided() {
    let scene = Scene::lossy().await;
    let turns = scene.streams.turns(NODE);
    assert_eq!(scene.dial(None, Ok(())).await.unwrap(), "tunnel");
    assert!(!scene.streams.is_taken(NODE));
    assert_ne!(
        scene.streams.turns(NODE),
        turns,
        "kept connections are left as well"
    );
}

#[tokio::test]
async fn a_tunnel_that_fails_at_once_takes_no_living_stream_along() {
    let scene = Scene::lossy().await;
    let (fails, failed) = oneshot::channel();
    let tunnel = async {
        fails.send(()).unwrap();
        Err(ErrorKind::HostUnreachable.into())
    };
    let address = ([100, 64, 0, 7], 80).into();
    let dialled = scene.streams.dial(NODE, HUB, address, LIMIT, tunnel);
    let answering = async {
        failed.await.unwrap();
        lets_in(&scene.node).await
    };
    let (dialled, _node) = timeout(LIMIT, async { tokio::join!(dialled, answering) })
        .await
        .unwrap();
    assert!(dialled.is_ok(), "{:?}", dialled.err());
}

#[tokio::test(start_paused = true)]
async fn when_no_stream_comes_the_tunnels_error_is_the_dials() {
    let scene = Scene::lossy().await;
    let unreachable = Err(ErrorKind::HostUnreachable.into());
    let dialled = scene.dial(None, unreachable).await;
    assert_eq!(dialled.unwrap_err().kind(), ErrorKind::HostUnreachable);
}

#[tokio::test(start_paused = true)]
async fn a_node_that_refuses_in_the_tunnel_is_believed_at_once() {
    let scene = Scene::lossy().await;
    let since = tokio::time::Instant::now();
    let refused = Err(ErrorKind::ConnectionRefused.into());
    let dialled = scene.dial(None, refused).await;
    assert_eq!(dialled.unwrap_err().kind(), ErrorKind::ConnectionRefused);
    assert!(since.elapsed() < LIMIT / 2, "{:?}", since.elapsed());
}

#[tokio::test]
async fn a_path_that_loses_packets_is_known_when_the_node_comes_back() {
    let scene = Scene::lossy().await;
    let line = scene.streams.taken(NODE).unwrap();
    scene.streams.leave(NODE, line.connection());
    assert!(!scene.streams.is_taken(NODE));
    let _renewed = renewed(&scene, 4).await;
    assert!(scene.streams.is_taken(NODE));
}

#[tokio::test]
async fn what_is_lost_in_an_outage_says_nothing_of_the_path() {
    let scene = Scene::new().await;
    let mut total = PathLoss {
        sent: 1_000,
        lost: 0,
    };
    scene.streams.tunnel_measured(NODE, total);
    scene.streams.leave(NODE, &scene.at_hub());
    for _ in 0..2 {
        total.sent += 500;
        total.lost += 500;
        scene.streams.tunnel_measured(NODE, total);
    }
    let _renewed = renewed(&scene, 4).await;
    total.sent += 500;
    total.lost += 500;
    for _ in 0..2 {
        scene.streams.tunnel_measured(NODE, total);
        assert!(!scene.streams.is_taken(NODE));
    }
}

#[tokio::test]
async fn a_path_is_forgotten_with_its_node() {
    let scene = Scene::lossy().await;
    scene.streams.review_all(&nobody());
    let _renewed = renewed(&scene, 4).await;
    assert!(!scene.streams.is_taken(NODE));
}

#[tokio::test]
async fn a_connection_that_is_gone_is_not_waited_for() {
    let scene = Scene::lossy().await;
    scene.node.close(0_u32.into(), b"");
    timeout(LIMIT, async {
        let line = scene.streams.taken(NODE).unwrap();
        line.connection().closed().await;
    })
    .await
    .unwrap();
    let address = ([100, 64, 0, 7], 80).into();
    let dialled = scene
        .streams
        .dial(NODE, HUB, address, LIMIT, in_tunnel(Ok(())));
    let mut word = String::new();
    let mut stream = timeout(LIMIT, dialled).await.unwrap().unwrap();
    stream.read_to_string(&mut word).await.unwrap();
    assert_eq!(word, "tunnel");
}

#[tokio::test]
async fn a_stream_that_is_only_dropped_is_a_reset_and_no_end_of_data() {
    let scene = Scene::lossy().await;
    let (mut stream, (_send, mut receive)) = scene.opens().await;
    stream.write_all(b"half of a file").await.unwrap();
    drop(stream);
    let read = timeout(LIMIT, receive.read_to_end(64)).await.unwrap();
    let reset = quinn::ReadError::Reset(STREAM_BROKEN.into());
    assert_eq!(read, Err(quinn::ReadToEndError::Read(reset)));
}

#[tokio::test]
async fn a_stream_that_was_shut_down_ends_in_order() {
    let scene = Scene::lossy().await;
    let (mut stream, (_send, mut receive)) = scene.opens().await;
    stream.write_all(b"a whole file").await.unwrap();
    stream.shutdown().await.unwrap();
    drop(stream);
    let read = timeout(LIMIT, receive.read_to_end(64)).await.unwrap();
    assert_eq!(read.unwrap(), b"a whole file");
}

#[tokio::test]
async fn a_node_that_is_gone_from_the_state_loses_its_connection() {
    let scene = Scene::lossy().await;
    scene.streams.review(&nobody(), &BTreeSet::from([NODE]));
    assert!(!scene.streams.is_taken(NODE));
    timeout(LIMIT, scene.node.closed()).await.unwrap();
}
