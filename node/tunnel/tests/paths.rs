//! Three tunnels over real sockets: nodes that only a hub's relay joins, an upgrade to the direct path and its death under a
//! running connection, and a hub that is reached over TCP while UDP is blocked.

#![allow(
    clippy::unwrap_used,
    reason = "this is test code, but not all inside test functions"
)]

mod nodes;

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use malha_tunnel::{BoxStream, PathKind, PeerConfig, RelayPair, TunnelEvent};
use nodes::*;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::sync::{broadcast, watch};
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout};

/// Passes datagrams between whoever speaks to its first socket and one address behind its second, unless it is cut.
struct Wire {
    front: SocketAddr,
    back: SocketAddr,
    cut: Arc<AtomicBool>,
    passed: Arc<AtomicU64>,
    _task: JoinSet<()>,
}

impl Wire {
    /// Between `left`, which speaks to `front`, and `right`, which speaks to `back`.
    async fn between(left: SocketAddr, right: SocketAddr) -> Self {
        let front = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let back = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let (cut, passed) = (
            Arc::new(AtomicBool::new(false)),
            Arc::new(AtomicU64::new(0)),
        );
        let mut wire = Self {
            front: front.local_addr().unwrap(),
            back: back.local_addr().unwrap(),
            cut: cut.clone(),
            passed: passed.clone(),
            _task: JoinSet::new(),
        };
        wire._task.spawn(async move {
            let (mut one, mut other) = (vec![0; 65_535], vec![0; 65_535]);
            loop {
                let (bytes, socket, to) = tokio::select! {
                    Ok((n, _)) = front.recv_from(&mut one) => (&one[..n], &back, right),
                    Ok((n, _)) = back.recv_from(&mut other) => (&other[..n], &front, left),
                };
                if !cut.load(Ordering::Relaxed) {
                    passed.fetch_add(1, Ordering::Relaxed);
                    let _ = socket.send_to(bytes, to).await;
                }
            }
        });
        wire
    }

    fn cut(&self, cut: bool) {
        self.cut.store(cut, Ordering::Relaxed);
    }
}

async fn set(node: &Node, peer: PeerConfig) {
    node.tunnel.set_peer(peer).await.unwrap();
}

/// Waits for an event and returns how long that took.
async fn until(events: &mut broadcast::Receiver<TunnelEvent>, wanted: TunnelEvent) -> Duration {
    let start = Instant::now();
    wait_for(events, wanted).await;
    start.elapsed()
}

/// Two nodes that both know the hub and have each other through its relay only.
async fn relayed_pair() -> (Node, Node, Node) {
    let (left, right, hub) = (Node::netstack(1), Node::netstack(2), Node::netstack(HUB));
    let endpoint = hub.underlay().await[0];
    let [a, b] = [1, 2].map(channel);
    hub.tunnel
        .set_relay_pairs(vec![RelayPair { a, b }])
        .await
        .unwrap();
    for node in [&left, &right] {
        hub.expects(node).await;
        set(node, hub_at(endpoint)).await;
    }
    set(&left, relayed(2, 1, Vec::new())).await;
    set(&right, relayed(1, 2, Vec::new())).await;
    (left, right, hub)
}

/// Sends numbers to an echo and checks what comes back, as fast as it comes, until stopped.
struct Pulse {
    stop: Arc<AtomicBool>,
    beats: watch::Receiver<u64>,
    task: JoinSet<()>,
}

impl Pulse {
    fn start(mut stream: BoxStream) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let (told, beats) = watch::channel(0u64);
        let mut pulse = Self {
            stop: stop.clone(),
            beats,
            task: JoinSet::new(),
        };
        pulse.task.spawn(async move {
            while !stop.load(Ordering::Relaxed) {
                let sent = told.borrow().to_be_bytes();
                stream.write_all(&sent).await.unwrap();
                let mut came = [0; 8];
                stream.read_exact(&mut came).await.unwrap();
                assert_eq!(came, sent);
                told.send_modify(|beats| *beats += 1);
                // Gently: the machine is shared.
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        });
        pulse
    }

    /// Waits until the connection has carried something more.
    async fn beats_on(&self) {
        let mut beats = self.beats.clone();
        let before = *beats.borrow();
        let more = timeout(LIMIT, beats.wait_for(|now| *now >= before + 3)).await;
        more.expect("the connection stands still").unwrap();
    }

    async fn end(mut self) {
        self.stop.store(true, Ordering::Relaxed);
        self.task.join_next().await.unwrap().unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_connection_outlives_every_change_of_its_path() {
    let (left, right, hub) = relayed_pair().await;
    let mut events = left.tunnel.events();
    echo(right.listen(80).await);
    let pulse = Pulse::start(left.dial(overlay(2, 80)).await.unwrap());
    pulse.beats_on().await;
    assert_eq!(path(&left, 2).await, Some(PathKind::Relay));
    assert!(hub.tunnel.stats().await.relay.forwarded > 5);
    assert_eq!(hub.tunnel.stats().await.stack.refused_closed, 0);

    let wire = Wire::between(left.underlay().await[0], right.underlay().await[0]).await;
    set(&left, relayed(2, 1, vec![wire.front])).await;
    set(&right, relayed(1, 2, vec![wire.back])).await;
    let direct_after = until(&mut events, path_to(2, PathKind::Direct)).await;
    pulse.beats_on().await;

    wire.cut(true);
    let relayed_after = until(&mut events, path_to(2, PathKind::Relay)).await;
    pulse.beats_on().await;

    wire.cut(false);
    let back_after = until(&mut events, path_to(2, PathKind::Direct)).await;
    pulse.beats_on().await;
    pulse.end().await;
    println!(
        "direct after {direct_after:?}, on the relay {relayed_after:?} after the cut, back after {back_after:?}"
    );
    assert!(direct_after < Duration::from_secs(2));
    assert!(relayed_after < Duration::from_secs(5));
    assert!(back_after < Duration::from_secs(20));
}

async fn path(node: &Node, of: u8) -> Option<PathKind> {
    let wanted = key(of).public_key();
    let peers = node.tunnel.peers().await;
    peers
        .into_iter()
        .find(|peer| peer.public_key == wanted)?
        .path
}

/// What a node and a hub do when only TCP passes between them.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hub_is_reached_over_tcp_while_udp_is_blocked_and_by_udp_again_afterwards() {
    let (node, hub) = (Node::netstack(1), Node::netstack(HUB));
    hub.expects(&node).await;
    echo(hub.listen(80).await);
    let wire = Wire::between(node.underlay().await[0], hub.underlay().await[0]).await;
    wire.cut(true);
    let mut events = node.tunnel.events();
    set(&node, hub_at(wire.front)).await;
    let hub_key = key(HUB).public_key();
    let silent = TunnelEvent::PathSilent { peer: hub_key };
    let silent_after = until(&mut events, silent).await;
    assert!(silent_after < Duration::from_secs(4), "{silent_after:?}");

    let door = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (near, far) = tokio::join!(
        TcpStream::connect(door.local_addr().unwrap()),
        door.accept()
    );
    let start = Instant::now();
    hub.tunnel
        .attach_carrier(Box::new(far.unwrap().0), None)
        .await
        .unwrap();
    let carrier = node
        .tunnel
        .attach_carrier(Box::new(near.unwrap()), Some(hub_key))
        .await
        .unwrap();
    let stream = node.dial(overlay(HUB, 80)).await.unwrap();
    let usable_after = start.elapsed();
    assert_eq!(path(&node, HUB).await, Some(PathKind::Carrier));
    let pulse = Pulse::start(stream);
    pulse.beats_on().await;
    assert_echoes(
        node.dial(overlay(HUB, 80)).await.unwrap(),
        body(2_000_000, 5),
    )
    .await;

    wire.cut(false);
    let back_after = until(&mut events, path_to(HUB, PathKind::Direct)).await;
    pulse.beats_on().await;
    let mut at_hub = hub.tunnel.events();
    node.tunnel.detach_carrier(carrier).await;
    let closed = |event: &TunnelEvent| matches!(event, TunnelEvent::CarrierClosed { .. });
    let told = async { while !closed(&at_hub.recv().await.unwrap()) {} };
    timeout(LIMIT, told).await.unwrap();
    pulse.beats_on().await;
    pulse.end().await;
    assert!(wire.passed.load(Ordering::Relaxed) > 10);
    println!(
        "silent after {silent_after:?}, usable {usable_after:?} after the carrier, back after {back_after:?}"
    );
    assert!(usable_after < Duration::from_secs(2));
    assert!(back_after < Duration::from_secs(20));
}

#[tokio::test]
async fn a_carrier_to_a_stranger_is_refused() {
    let node = Node::netstack(1);
    let (near, _far) = tokio::io::duplex(100);
    let stranger = key(7).public_key();
    let refused = node
        .tunnel
        .attach_carrier(Box::new(near), Some(stranger))
        .await;
    let message = refused.unwrap_err().to_string();
    assert_eq!(message, format!("{stranger} is no peer of this tunnel"));
}
