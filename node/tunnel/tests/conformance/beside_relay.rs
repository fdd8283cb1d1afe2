//! A node of ours with a hub's relay to fall back to, and a kernel at the other end that has no use for its part of the grant: they stay
//! on the direct path. Needs root and a kernel with WireGuard; where that is missing, the virtual machine has one.

use std::net::SocketAddr;
use std::time::Duration;

use malha_tunnel::{BoxStream, Engine, PathKind, PeerConfig, RelayPair, TunnelEvent};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::broadcast;
use tokio::time::{Instant, interval, timeout};

use crate::nodes::meeting::{play, start_node, underlay};
use crate::nodes::namespace::{Namespace, no_kernel};
use crate::nodes::*;

#[test]
fn a_kernel_that_answers_no_question_is_reached_beside_the_relay() {
    if let Some(reason) = no_kernel() {
        println!("{reason}");
        return;
    }
    let (left, right) = Namespace::joined_pair();
    play(
        (left, async move |ready, done| {
            let node = start_node(Engine::Kernel, 1);
            node.tunnel.set_peer(hub_at(HUB_DOOR)).await.unwrap();
            node.tunnel.set_peer(granted(2, 1)).await.unwrap();
            echo(node.listen(80).await);
            ready.cancel();
            done.cancelled().await;
            node.tunnel.shutdown().await;
        }),
        (right, async move || {
            let hub = relaying_hub().await;
            let node = start_node(Engine::Userspace, 2);
            let mut events = node.tunnel.events();
            node.tunnel.set_peer(hub_at(HUB_DOOR)).await.unwrap();
            wait_for(&mut events, completed(HUB)).await;
            node.tunnel.set_peer(granted(1, 2)).await.unwrap();
            let mut stream = node.dial(overlay(1, 80)).await.unwrap();
            wait_for(&mut events, path_to(1, PathKind::Direct)).await;
            stays_direct(&mut stream, &mut events).await;
            node.tunnel.refresh().await;
            wait_for(&mut events, completed(1)).await;
            stays_direct(&mut stream, &mut events).await;
            node.tunnel.shutdown().await;
            hub.tunnel.shutdown().await;
        }),
    );
}

/// Between the nodes 1 and 2.
async fn relaying_hub() -> Node {
    let mut config = config(HUB);
    config.listen = vec![HUB_DOOR];
    let hub = Node::start(Engine::Netstack, config, HUB);
    let [a, b] = [1, 2].map(channel);
    let pairs = vec![RelayPair { a, b }];
    hub.tunnel.set_relay_pairs(pairs).await.unwrap();
    for number in [1, 2] {
        hub.tunnel.set_peer(peer(number, vec![])).await.unwrap();
    }
    hub
}

/// The peer as the node `at` knows it: by its address and by the relay.
fn granted(number: u8, at: u8) -> PeerConfig {
    PeerConfig {
        endpoints: vec![underlay(number)],
        ..relayed(number, at, vec![])
    }
}

/// Packets go to and fro for so long that a node of ours would have had to answer a question.
async fn stays_direct(stream: &mut BoxStream, events: &mut broadcast::Receiver<TunnelEvent>) {
    let start = Instant::now();
    let mut beats = interval(BEAT);
    while start.elapsed() < BEYOND_QUESTIONS {
        beats.tick().await;
        stream.write_all(b"x").await.unwrap();
        let came = timeout(LIMIT, stream.read_u8()).await;
        assert_eq!(came.expect("nothing comes back").unwrap(), b'x');
    }
    while let Ok(event) = events.try_recv() {
        assert_ne!(event, path_to(1, PathKind::Relay));
    }
}

fn completed(number: u8) -> TunnelEvent {
    let peer = key(number).public_key();
    TunnelEvent::HandshakeCompleted { peer }
}

const HUB_DOOR: SocketAddr = SocketAddr::new(
    std::net::IpAddr::V4(std::net::Ipv4Addr::new(192, 168, 77, 2)),
    51821,
);
const BEAT: Duration = Duration::from_millis(50);
/// A path is given up 3 s after the first question, and a kernel is asked again after 10 s.
const BEYOND_QUESTIONS: Duration = Duration::from_secs(15);
