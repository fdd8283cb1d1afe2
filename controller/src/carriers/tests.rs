//! Stories of requests for a carrier, over HTTP as a node speaks it and into a real tunnel.

use std::time::Duration;

use malha_core::Command;
use malha_proto::Fingerprint;
use malha_tunnel::{Engine, PrivateKey, TunnelConfig};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};
use tokio::time::timeout;

use super::*;
use crate::api::tests::rig::Rig;

mod kernel;

struct World {
    rig: Rig,
    carriers: Arc<Carriers>,
    node: PeerCertificate,
    stop: CancellationToken,
}

impl World {
    /// A controller with one node, and a hub's tunnel.
    async fn new() -> Self {
        Self::with(|tunnel| tunnel).await
    }

    /// With a tunnel that is made of a real one.
    async fn with(make: impl FnOnce(Arc<dyn Tunnel>) -> Arc<dyn Tunnel>) -> Self {
        let rig = Rig::furnished().await;
        let mut config = TunnelConfig::new(
            PrivateKey::generate(),
            vec!["100.64.0.1/10".parse().unwrap()],
        );
        config.listen = vec![([127, 0, 0, 1], 0).into()];
        let tunnel = make(malha_tunnel::start(Engine::Netstack, config).unwrap());
        let carriers = Arc::new(Carriers::new(tunnel, rig.context.handle.clone()));
        let stop = CancellationToken::new();
        tokio::spawn({
            let (carriers, stop) = (carriers.clone(), stop.clone());
            async move { carriers.run(stop).await }
        });
        let state = rig.state();
        let node = state.nodes().find(|node| !node.hub).unwrap();
        let node = PeerCertificate {
            node: node.id,
            key: node.tls_key,
        };
        Self {
            rig,
            carriers,
            node,
            stop,
        }
    }

    /// Sends a request head; gives the answer's status and the stream behind it.
    async fn asks(&self, certificate: Option<PeerCertificate>, head: &str) -> (u16, DuplexStream) {
        let (mut client, server) = tokio::io::duplex(64 * 1024);
        let carriers = self.carriers.clone();
        tokio::spawn(async move { carriers.serve(server, certificate).await });
        client.write_all(head.as_bytes()).await.unwrap();
        let mut answer = Vec::new();
        while !answer.ends_with(b"\r\n\r\n") {
            let byte = timeout(PATIENCE, client.read_u8()).await;
            answer.push(byte.unwrap().unwrap());
        }
        let answer = String::from_utf8(answer).unwrap();
        let status = answer.split(' ').nth(1).unwrap().parse().unwrap();
        (status, client)
    }

    async fn opens(&self) -> DuplexStream {
        let (status, stream) = self.asks(Some(self.node), &request()).await;
        assert_eq!(status, 101);
        stream
    }
}

fn request() -> String {
    format!(
        "GET {CARRIER_PATH} HTTP/1.1\r\nHost: c\r\nConnection: Upgrade\r\nUpgrade: {CARRIER_PROTOCOL}\r\n\r\n"
    )
}

async fn ends(mut stream: DuplexStream) {
    let mut rest = Vec::new();
    let read = timeout(PATIENCE, stream.read_to_end(&mut rest)).await;
    read.expect("the stream should end").unwrap();
}

#[tokio::test]
async fn a_carrier_ends_when_its_node_is_removed() {
    let world = World::new().await;
    let stream = world.opens().await;
    let id = world.node.node;
    world
        .rig
        .does(Command::RemoveNode { id, detach: true })
        .await;
    ends(stream).await;
    let (status, _) = world.asks(Some(world.node), &request()).await;
    assert_eq!(status, 403);
    world.stop.cancel();
}

#[tokio::test]
async fn a_carrier_ends_when_another_box_takes_its_nodes_place() {
    let world = World::new().await;
    let stream = world.opens().await;
    world.rig.replaced("ss-1").await;
    ends(stream).await;
    world.stop.cancel();
}

#[tokio::test]
async fn a_second_carrier_takes_the_place_of_the_first() {
    let world = World::new().await;
    let first = world.opens().await;
    let _second = world.opens().await;
    ends(first).await;
    assert_eq!(world.carriers.by_node.lock().await.len(), 1);
    world.stop.cancel();
}

#[tokio::test]
async fn whoever_is_no_node_of_now_or_asks_for_something_else_is_refused() {
    let world = World::new().await;
    let former = PeerCertificate {
        key: Fingerprint([9; 32]),
        ..world.node
    };
    for (certificate, head, expected) in [
        (None, request(), 403),
        (Some(former), request(), 403),
        (
            Some(world.node),
            request().replace("carrier HTTP", "x HTTP"),
            404,
        ),
        (Some(world.node), request().replace("GET", "POST"), 405),
        (
            Some(world.node),
            request().replace("carrier/1", "carrier/9"),
            426,
        ),
    ] {
        let (status, _) = world.asks(certificate, &head).await;
        assert_eq!(status, expected, "{head}");
    }
    world.stop.cancel();
}

#[tokio::test]
async fn a_hub_in_the_kernel_promises_no_carrier() {
    let world = World::with(|tunnel| Arc::new(kernel::InKernel(tunnel))).await;
    let (status, _) = world.asks(Some(world.node), &request()).await;
    assert_eq!(status, 501);
    let (status, _) = world.asks(None, &request()).await;
    assert_eq!(status, 403, "a doctor looks whether this door is there");
    world.stop.cancel();
}

const PATIENCE: Duration = Duration::from_secs(10);
