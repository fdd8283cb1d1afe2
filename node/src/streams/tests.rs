//! Stories of the stream connection between a real node's side and a hub's QUIC endpoint on the loopback.

use std::io::ErrorKind;
use std::net::Ipv4Addr;

use malha_proto::{ALPN_STREAM, PathLoss, STREAM_BROKEN, StreamAnswer, StreamOpen};
use malha_tunnel::{Allow, Engine, PeerConfig, PrivateKey, TunnelConfig, TunnelListener};
use quinn::crypto::rustls::QuicServerConfig;
use quinn::{RecvStream, SendStream};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::task::JoinHandle;
use tokio::task::yield_now;
use tokio::time::{pause, resume, sleep, timeout};

use super::*;
use crate::testbed::{TEST_LIMIT, TestAuthority, netmap};

/// The hub's end of a stream connection, and a node behind it that lets the hub open ports 80 and 81.
struct Scene {
    hub: Connection,
    tunnel: Arc<dyn Tunnel>,
    address: Ipv4Addr,
    contact: watch::Sender<Option<Contact>>,
    overlay: watch::Sender<Option<Overlay>>,
    view: watch::Receiver<StreamsView>,
    endpoint: Endpoint,
    authority: TestAuthority,
    _task: JoinHandle<()>,
}

impl Scene {
    async fn new() -> Self {
        let authority = TestAuthority::new();
        let endpoint = endpoint(&authority);
        let map = netmap(1);
        let peer = map.peers[&NodeId(2)].clone();
        let net = ipnet::Ipv4Net::new(map.me.addresses.v4, 10).unwrap();
        let mut config = TunnelConfig::new(PrivateKey::generate(), vec![net.into()]);
        config.listen = vec![([127, 0, 0, 1], 0).into()];
        let tunnel = malha_tunnel::start(Engine::Netstack, config).unwrap();
        let mut hub = PeerConfig::new(PublicKey::from_bytes(peer.key.0));
        hub.ingress = vec![Allow::tcp(80..=81)];
        tunnel.set_peer(hub).await.unwrap();
        let (overlay, running) = watch::channel(Some(Overlay {
            tunnel: tunnel.clone(),
            me: map.me.addresses,
            hubs: vec![HubPeer::of(&peer)],
        }));
        let (contact, wanted) = watch::channel(Some(Contact {
            controller: endpoint.local_addr().unwrap().to_string().into(),
            credentials: Arc::new(authority.node_credentials()),
        }));
        let (seen, view) = watch::channel(StreamsView::default());
        let task = tokio::spawn(run_streams(wanted, running, seen));
        let incoming = timeout(TEST_LIMIT, endpoint.accept()).await.unwrap();
        Self {
            hub: incoming.unwrap().await.unwrap(),
            tunnel,
            address: map.me.addresses.v4,
            contact,
            overlay,
            view,
            endpoint,
            authority,
            _task: task,
        }
    }

    /// The node has another certificate from now on.
    fn renews(&self) {
        let credentials = Arc::new(self.authority.node_credentials());
        self.contact.send_modify(|contact| {
            if let Some(contact) = contact {
                contact.credentials = credentials;
            }
        });
    }

    async fn listen(&self, port: u16) -> TunnelListener {
        self.tunnel
            .listen((self.address, port).into())
            .await
            .unwrap()
    }

    async fn ask(&self, hub: u64, port: u16) -> (SendStream, RecvStream, Option<StreamAnswer>) {
        Self::ask_on(&self.hub, hub, port).await
    }

    async fn ask_on(
        connection: &Connection,
        hub: u64,
        port: u16,
    ) -> (SendStream, RecvStream, Option<StreamAnswer>) {
        let (mut send, mut receive) = connection.open_bi().await.unwrap();
        let open = StreamOpen {
            hub: NodeId(hub),
            family: Family::V4,
            port,
        };
        send.write_all(&open.encode()).await.unwrap();
        let answer = timeout(TEST_LIMIT, receive.read_u8()).await.unwrap();
        (send, receive, answer.ok().and_then(StreamAnswer::decode))
    }

    async fn answer(&self, hub: u64, port: u16) -> Option<StreamAnswer> {
        self.ask(hub, port).await.2
    }
}

fn endpoint(authority: &TestAuthority) -> Endpoint {
    let mut tls = authority.controller_config();
    tls.alpn_protocols = vec![ALPN_STREAM.to_vec()];
    let quic = QuicServerConfig::try_from(tls).unwrap();
    let config = quinn::ServerConfig::with_crypto(Arc::new(quic));
    Endpoint::server(config, ([127, 0, 0, 1], 0).into()).unwrap()
}

#[tokio::test]
async fn a_stream_is_a_connection_to_the_service() {
    let scene = Scene::new().await;
    let mut listener = scene.listen(80).await;
    let (mut send, mut receive, answer) = scene.ask(2, 80).await;
    assert_eq!(answer, Some(StreamAnswer::Open));
    let (mut accepted, from) = timeout(TEST_LIMIT, listener.accept())
        .await
        .unwrap()
        .unwrap();
    assert_eq!(from.ip(), netmap(1).peers[&NodeId(2)].addresses.v4);
    send.write_all(b"question").await.unwrap();
    send.finish().unwrap();
    let mut heard = String::new();
    accepted.read_to_string(&mut heard).await.unwrap();
    accepted.write_all(b"answer").await.unwrap();
    accepted.shutdown().await.unwrap();
    assert_eq!(heard, "question");
    assert_eq!(receive.read_to_end(64).await.unwrap(), b"answer");
}

#[tokio::test]
async fn the_view_counts_what_came_in_and_nothing_that_was_refused() {
    let mut scene = Scene::new().await;
    let standing = scene.view.wait_for(|view| view.since.is_some()).await;
    assert_eq!(standing.unwrap().opened, 0);
    let _listener = scene.listen(80).await;
    assert_ne!(scene.answer(2, 82).await, Some(StreamAnswer::Open));
    assert_eq!(scene.answer(2, 80).await, Some(StreamAnswer::Open));
    let counted = scene.view.wait_for(|view| view.opened > 0);
    let counted = *timeout(TEST_LIMIT, counted).await.unwrap().unwrap();
    assert!(counted.opened == 1 && counted.last.is_some());
    scene.hub.close(0_u32.into(), b"gone");
    let gone = scene.view.wait_for(|view| view.since.is_none());
    timeout(TEST_LIMIT, gone).await.unwrap().unwrap();
}

#[tokio::test]
async fn services_that_take_nothing_hold_up_no_other() {
    let scene = Scene::new().await;
    let mut hung = scene.listen(80).await;
    let mut streams = Vec::new();
    let filling = dial::CONNECTION_WINDOW_BYTES / dial::STREAM_WINDOW_BYTES;
    for _ in 0..filling {
        let (mut send, receive, _) = scene.ask(2, 80).await;
        let accepted = timeout(TEST_LIMIT, hung.accept()).await.unwrap();
        streams.push((accepted.unwrap(), receive));
        tokio::spawn(async move { send.write_all(&vec![0; 5 * 1024 * 1024]).await });
    }
    let blocked = async {
        loop {
            let sent = scene.hub.stats().frame_tx;
            if sent.data_blocked > 0 || sent.stream_data_blocked >= filling.into() {
                return;
            }
            yield_now().await;
        }
    };
    timeout(TEST_LIMIT, blocked).await.unwrap();
    pause();
    let mut listener = scene.listen(81).await;
    let asked = timeout(TEST_LIMIT, scene.ask(2, 81)).await;
    let (mut send, _receive, _) = asked.expect("it should be let in");
    let accepted = timeout(TEST_LIMIT, listener.accept()).await.unwrap();
    let (mut accepted, _) = accepted.unwrap();
    send.write_all(&[7; 1024]).await.unwrap();
    let mut heard = [0; 1024];
    let read = timeout(TEST_LIMIT, accepted.read_exact(&mut heard)).await;
    read.expect("it should arrive").unwrap();
}

#[tokio::test]
async fn services_for_which_nothing_waits_are_not_slow() {
    let scene = Scene::new().await;
    let mut listener = scene.listen(80).await;
    let mut streams = Vec::new();
    for _ in 0..=serve::MOST_SLOW {
        let (send, receive, _) = scene.ask(2, 80).await;
        let accepted = timeout(TEST_LIMIT, listener.accept()).await.unwrap();
        streams.push((send, receive, accepted.unwrap().0));
    }
    pause();
    sleep(Duration::from_secs(4)).await;
    for (send, _, accepted) in &mut streams {
        send.write_all(b"all").await.unwrap();
        let mut heard = [0; 3];
        let read = timeout(TEST_LIMIT, accepted.read_exact(&mut heard)).await;
        read.unwrap().unwrap();
        assert_eq!(&heard, b"all");
    }
}

#[tokio::test]
async fn a_failed_target_is_a_reset_and_no_end_of_data() {
    let scene = Scene::new().await;
    let mut listener = scene.listen(80).await;
    let (_send, mut receive, _) = scene.ask(2, 80).await;
    let (mut accepted, _) = timeout(TEST_LIMIT, listener.accept())
        .await
        .unwrap()
        .unwrap();
    accepted.abort();
    let read = timeout(TEST_LIMIT, receive.read_to_end(64)).await.unwrap();
    let reset = quinn::ReadToEndError::Read(quinn::ReadError::Reset(STREAM_BROKEN.into()));
    assert_eq!(read, Err(reset));
}

#[tokio::test]
async fn a_stream_that_is_only_dropped_is_a_reset_and_no_end_of_data() {
    let scene = Scene::new().await;
    let mut listener = scene.listen(80).await;
    let (_send, mut receive, _) = scene.ask(2, 80).await;
    let (mut accepted, _) = timeout(TEST_LIMIT, listener.accept())
        .await
        .unwrap()
        .unwrap();
    accepted.write_all(b"half of a file").await.unwrap();
    drop(accepted);
    let read = timeout(TEST_LIMIT, receive.read_to_end(64)).await.unwrap();
    let reset = quinn::ReadToEndError::Read(quinn::ReadError::Reset(STREAM_BROKEN.into()));
    assert_eq!(read, Err(reset));
}

/// A service reads one byte, and is slow from then on. Its visitor breaks the stream.
async fn broken_while_nobody_reads(sent: &[u8], taken: usize, looked_at_before: bool) {
    let scene = Scene::new().await;
    let mut listener = scene.listen(80).await;
    let (mut send, _receive, _) = scene.ask(2, 80).await;
    let accepted = timeout(TEST_LIMIT, listener.accept()).await.unwrap();
    let (mut accepted, _) = accepted.unwrap();
    send.write_all(sent).await.unwrap();
    accepted.read_exact(&mut vec![0; taken]).await.unwrap();
    if looked_at_before {
        slow_readers_are_looked_for().await;
    }
    send.reset(STREAM_BROKEN.into()).unwrap();
    let told = async {
        while scene.hub.stats().frame_tx.reset_stream == 0 {
            yield_now().await;
        }
    };
    timeout(TEST_LIMIT, told).await.unwrap();
    slow_readers_are_looked_for().await;
    let read = timeout(TEST_LIMIT, accepted.read_to_end(&mut Vec::new())).await;
    let error = read.unwrap().expect_err("it is no end of data");
    assert_eq!(error.kind(), ErrorKind::ConnectionReset);
}

async fn slow_readers_are_looked_for() {
    pause();
    sleep(Duration::from_secs(4)).await;
    resume();
}

#[tokio::test]
async fn a_stream_that_breaks_while_its_reader_is_looked_at_is_no_end_of_data() {
    broken_while_nobody_reads(&[7; 10], 10, false).await;
}

#[tokio::test]
async fn a_stream_that_breaks_after_its_reader_was_looked_at_is_no_end_of_data() {
    broken_while_nobody_reads(&[7; 100_000], 1, true).await;
}

#[tokio::test]
async fn a_renewal_cuts_no_stream_and_leaves_no_gap() {
    let mut scene = Scene::new().await;
    let mut listener = scene.listen(80).await;
    let (_send, mut receive, _) = scene.ask(2, 80).await;
    let accepted = timeout(TEST_LIMIT, listener.accept()).await.unwrap();
    let (mut accepted, _) = accepted.unwrap();
    scene.renews();
    let incoming = timeout(TEST_LIMIT, scene.endpoint.accept()).await.unwrap();
    // The newer connection does not stand yet, so the hub goes on with the former.
    assert_eq!(scene.answer(2, 80).await, Some(StreamAnswer::Open));
    let newer = incoming.unwrap().await.unwrap();
    let (_, _, answer) = Scene::ask_on(&newer, 2, 80).await;
    assert_eq!(answer, Some(StreamAnswer::Open));
    accepted.write_all(b"answer").await.unwrap();
    accepted.shutdown().await.unwrap();
    let heard = timeout(TEST_LIMIT, receive.read_to_end(64)).await.unwrap();
    assert_eq!(heard.unwrap(), b"answer");
    scene.hub.close(0_u32.into(), b"superseded");
    let (_, _, answer) = Scene::ask_on(&newer, 2, 80).await;
    assert_eq!(answer, Some(StreamAnswer::Open));
    let standing = scene.view.wait_for(|view| view.since.is_some()).await;
    assert_eq!(standing.unwrap().opened, 4);
}

#[tokio::test]
async fn of_the_connections_before_the_newest_only_a_few_stand() {
    let scene = Scene::new().await;
    let mut later = Vec::new();
    for _ in 0..=MAX_FORMER {
        scene.renews();
        let incoming = timeout(TEST_LIMIT, scene.endpoint.accept()).await.unwrap();
        let newer = incoming.unwrap().await.unwrap();
        let (_, _, answer) = Scene::ask_on(&newer, 9, 80).await;
        assert_eq!(answer, Some(StreamAnswer::NotAllowed));
        later.push(newer);
    }
    let closed = timeout(TEST_LIMIT, scene.hub.closed()).await;
    closed.expect("the oldest should end");
    assert!(later.iter().all(|newer| newer.close_reason().is_none()));
}

#[tokio::test]
async fn of_the_connections_before_the_newest_those_without_streams_go_first() {
    let scene = Scene::new().await;
    let mut listener = scene.listen(80).await;
    let (_send, mut receive, _) = scene.ask(2, 80).await;
    let accepted = timeout(TEST_LIMIT, listener.accept()).await.unwrap();
    let (mut accepted, _) = accepted.unwrap();
    let mut later = Vec::new();
    for _ in 0..=MAX_FORMER {
        scene.renews();
        let incoming = timeout(TEST_LIMIT, scene.endpoint.accept()).await.unwrap();
        later.push(incoming.unwrap().await.unwrap());
        // It is among those that stand once it answers.
        let (_, _, answer) = Scene::ask_on(&later[later.len() - 1], 9, 80).await;
        assert_eq!(answer, Some(StreamAnswer::NotAllowed));
    }
    let closed = timeout(TEST_LIMIT, later[0].closed()).await;
    closed.expect("the oldest without a stream should end");
    accepted.write_all(b"answer").await.unwrap();
    accepted.shutdown().await.unwrap();
    let heard = timeout(TEST_LIMIT, receive.read_to_end(64)).await.unwrap();
    assert_eq!(heard.unwrap(), b"answer");
}

#[tokio::test]
async fn what_the_tunnel_would_refuse_is_refused() {
    let scene = Scene::new().await;
    let _listener = scene.listen(82).await;
    assert_eq!(scene.answer(2, 82).await, Some(StreamAnswer::NotAllowed));
    assert_eq!(scene.answer(9, 80).await, Some(StreamAnswer::NotAllowed));
    assert_eq!(
        scene.answer(2, 81).await,
        Some(StreamAnswer::NothingListens)
    );
}

#[tokio::test]
async fn without_a_map_in_force_nothing_is_let_in() {
    let scene = Scene::new().await;
    scene.overlay.send_replace(None);
    assert_eq!(scene.answer(2, 80).await, Some(StreamAnswer::Busy));
}

#[tokio::test]
async fn an_opening_that_makes_no_sense_gets_no_answer() {
    let scene = Scene::new().await;
    let (mut send, mut receive) = scene.hub.open_bi().await.unwrap();
    send.write_all(&[7; StreamOpen::BYTES]).await.unwrap();
    let read = timeout(TEST_LIMIT, receive.read_to_end(64)).await.unwrap();
    assert!(read.is_err() || read.is_ok_and(|answer| answer.is_empty()));
}

#[tokio::test]
async fn the_hub_is_told_what_the_path_carried() {
    let scene = Scene::new().await;
    let mut listener = scene.listen(80).await;
    let (_send, mut receive, _) = scene.ask(2, 80).await;
    let (mut accepted, _) = timeout(TEST_LIMIT, listener.accept())
        .await
        .unwrap()
        .unwrap();
    accepted.write_all(&[0; 500_000]).await.unwrap();
    accepted.shutdown().await.unwrap();
    assert_eq!(receive.read_to_end(500_000).await.unwrap().len(), 500_000);
    let report = timeout(TEST_LIMIT, scene.hub.accept_uni()).await.unwrap();
    let report = report.unwrap().read_to_end(64).await.unwrap();
    let loss = PathLoss::decode(&report.try_into().unwrap());
    assert!(loss.sent > 100 && loss.lost < loss.sent, "{loss:?}");
}

#[tokio::test(start_paused = true)]
async fn a_hub_that_refuses_after_the_handshake_is_asked_ever_more_rarely() {
    let authority = TestAuthority::new();
    let endpoint = endpoint(&authority);
    let (_contact, wanted) = watch::channel(Some(Contact {
        controller: endpoint.local_addr().unwrap().to_string().into(),
        credentials: Arc::new(authority.node_credentials()),
    }));
    let (_overlay, running) = watch::channel(None);
    let (seen, _view) = watch::channel(StreamsView::default());
    tokio::spawn(run_streams(wanted, running, seen));
    let mut asked = Vec::new();
    while asked.len() < 8 {
        let connection = endpoint.accept().await.unwrap().await.unwrap();
        connection.close(0_u32.into(), b"not this node");
        asked.push(Instant::now());
    }
    let pauses: Vec<_> = asked.windows(2).map(|two| two[1] - two[0]).collect();
    assert!(pauses[6] >= LAST_PAUSE / 2, "{pauses:?}");
}

#[test]
fn a_connection_that_stood_is_missed_at_once() {
    assert_eq!(next_pause(LAST_PAUSE, STABLE), FIRST_PAUSE);
    assert_eq!(next_pause(LAST_PAUSE, STABLE / 2), LAST_PAUSE);
}
