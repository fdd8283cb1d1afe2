//! A hub of several shards and nodes that all speak to it at once, each in a namespace with a kernel of its own: nothing is lost
//! and no flow is reordered. Needs root and iproute2.

#![allow(
    clippy::unwrap_used,
    reason = "this is test code, but not all inside test functions"
)]

mod nodes;

use std::io::ErrorKind;
use std::net::SocketAddr;
use std::ops::RangeInclusive;

use malha_tunnel::{
    Allow, ChannelGrant, ChannelId, Engine, PathKind, RelayGrant, RelayKey, RelayPair, TunnelStats,
};
use nix::sys::socket::{setsockopt, sockopt::RcvBufForce};
use nodes::meeting::{INTERFACE, MIB};
use nodes::namespace::{Namespace, interface_exists, missing, run};
use nodes::*;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, UdpSocket};
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

const HUB: u8 = 1;
const RELAY: u8 = 90;
/// The keys of these are spread over the shards, whether they are two or three.
const NODES: RangeInclusive<u8> = 2..=6;

#[test]
fn every_flow_keeps_its_order_through_two_shards() {
    flows_keep_their_order(2);
}

#[test]
fn every_flow_keeps_its_order_through_three_shards() {
    flows_keep_their_order(3);
}

/// With one shard nothing is ever handed over.
#[test]
fn every_flow_keeps_its_order_through_one_shard() {
    flows_keep_their_order(1);
}

/// Callers see one tunnel, wherever its peers live.
#[test]
fn a_hub_of_three_shards_is_one_tunnel_to_its_callers() {
    if let Some(reason) = missing(&[("ip", "iproute2")]) {
        println!("{reason}");
        return;
    }
    let namespace = Namespace::new("one");
    let played = namespace.run(async move || {
        let (hub, nodes) = loopback_hub(3).await;
        assert_eq!(hub.tunnel.peers().await.len(), NODES.count());
        let mut kept = Vec::new();
        for node in &nodes {
            echo(node.listen(80).await);
            let stream = hub.dial(overlay(node.number, 80)).await.unwrap();
            assert_echoes(stream, body(10_000, 1)).await;
            kept.push(hub.dial(overlay(node.number, 80)).await.unwrap());
        }
        let nobody = hub.dial(overlay(77, 80)).await.err().unwrap();
        assert_eq!(nobody.kind(), ErrorKind::NetworkUnreachable);
        for stranger in 30..36 {
            hub.tunnel.set_peer(peer(stranger, vec![])).await.unwrap();
            let nowhere = hub.dial(overlay(stranger, 80)).await.err().unwrap();
            assert_eq!(nowhere.kind(), ErrorKind::HostUnreachable);
        }
        for (node, stream) in nodes.iter().zip(&mut kept) {
            let key = key(node.number).public_key();
            assert!(hub.tunnel.remove_peer(key).await.unwrap());
            let cut = timeout(LIMIT, stream.read_u8()).await.unwrap().unwrap_err();
            assert_eq!(cut.kind(), ErrorKind::ConnectionReset);
            assert!(!hub.tunnel.remove_peer(key).await.unwrap());
        }
        hub.tunnel.shutdown().await;
        assert!(!interface_exists(INTERFACE));
        let ended = hub.dial(overlay(2, 80)).await.err().unwrap();
        assert_eq!(ended.kind(), ErrorKind::BrokenPipe);
    });
    played.join().unwrap();
}

#[test]
fn new_sockets_serve_every_shard() {
    if let Some(reason) = missing(&[("ip", "iproute2")]) {
        println!("{reason}");
        return;
    }
    let namespace = Namespace::new("rebound");
    let played = namespace.run(async move || {
        let (hub, nodes) = loopback_hub(3).await;
        let before = hub.underlay().await;
        for _ in 0..3 {
            hub.tunnel.rebind().await.unwrap();
            assert_eq!(hub.underlay().await, before);
            for node in &nodes {
                let mut listener = node.listen(0).await;
                let address = overlay(node.number, listener.local_addrs()[0].port());
                let (near, far) =
                    tokio::join!(hub.dial(address), timeout(LIMIT, listener.accept()));
                drop((near.unwrap(), far.unwrap().unwrap()));
            }
        }
        hub.tunnel.shutdown().await;
    });
    played.join().unwrap();
}

#[test]
fn all_shards_end_with_the_last_handle() {
    if let Some(reason) = missing(&[("ip", "iproute2")]) {
        println!("{reason}");
        return;
    }
    let namespace = Namespace::new("dropped");
    let played = namespace.run(async move || {
        {
            let (_hub, _nodes) = loopback_hub(3).await;
            assert!(interface_exists(INTERFACE));
        }
        let gone = async {
            while interface_exists(INTERFACE) {
                tokio::task::yield_now().await;
            }
        };
        timeout(LIMIT, gone).await.unwrap();
    });
    played.join().unwrap();
}

/// What others dialled is with the first shard; a peer that has nothing else may live in any.
#[test]
fn a_carrier_reaches_the_peers_of_every_shard() {
    if let Some(reason) = missing(&[("ip", "iproute2")]) {
        println!("{reason}");
        return;
    }
    let namespace = Namespace::new("carried");
    let played = namespace.run(async move || {
        let hub = hub_on_loopback(3);
        for number in NODES {
            let node = Node::netstack(number);
            hub.expects(&node).await;
            let mut to_hub = peer(HUB, Vec::new());
            to_hub.carrier_possible = true;
            node.tunnel.set_peer(to_hub).await.unwrap();
            let (ours, theirs) = tokio::io::duplex(64 * 1024);
            let carrier = hub.tunnel.attach_carrier(Box::new(ours), None).await;
            let via = Some(key(HUB).public_key());
            let dialled = node.tunnel.attach_carrier(Box::new(theirs), via).await;
            dialled.unwrap();
            echo(node.listen(80).await);
            let mut events = hub.tunnel.events();
            while path_to(&hub, number).await != Some(PathKind::Carrier) {
                timeout(LIMIT, events.recv()).await.unwrap().unwrap();
            }
            let stream = hub.dial(overlay(number, 80)).await.unwrap();
            assert_echoes(stream, body(50_000, 2)).await;
            hub.tunnel.detach_carrier(carrier.unwrap()).await;
            let left = async {
                while path_to(&hub, number).await == Some(PathKind::Carrier) {
                    tokio::task::yield_now().await;
                }
            };
            timeout(LIMIT, left).await.unwrap();
        }
        hub.tunnel.shutdown().await;
    });
    played.join().unwrap();
}

/// The relay, the peers behind it and their channels are in different shards of the same node.
#[test]
fn a_node_of_three_shards_speaks_through_a_relay() {
    if let Some(reason) = missing(&[("ip", "iproute2")]) {
        println!("{reason}");
        return;
    }
    let namespace = Namespace::new("relayed");
    let played = namespace.run(async move || {
        let (member, relay) = (hub_on_loopback(3), Node::netstack(RELAY));
        connect(&member, &relay).await;
        let mut pairs = Vec::new();
        for number in NODES {
            let node = Node::netstack(number);
            connect(&node, &relay).await;
            let [ours, theirs] = [number, 100 + number].map(channel);
            let granted = [(&member, number, &ours), (&node, HUB, &theirs)];
            for (at, of, channel) in granted {
                let mut peer = peer(of, Vec::new());
                peer.relay = Some(RelayGrant {
                    channel: channel.channel,
                    key: channel.key.clone(),
                    via: key(RELAY).public_key(),
                });
                at.tunnel.set_peer(peer).await.unwrap();
            }
            pairs.push(RelayPair { a: ours, b: theirs });
            relay.tunnel.set_relay_pairs(pairs.clone()).await.unwrap();
            echo(node.listen(80).await);
            let stream = member.dial(overlay(number, 80)).await.unwrap();
            assert_echoes(stream, body(200_000, 3)).await;
            assert_eq!(path_to(&member, number).await, Some(PathKind::Relay));
        }
        let lost = member.tunnel.stats().await.underlay.handover_dropped;
        assert_eq!(lost, 0);
        member.tunnel.shutdown().await;
    });
    played.join().unwrap();
}

fn channel(number: u8) -> ChannelGrant {
    ChannelGrant {
        channel: ChannelId(u32::from(number)),
        key: RelayKey::from_bytes([number; 32]),
        node: key(number).public_key(),
    }
}

async fn path_to(from: &Node, number: u8) -> Option<PathKind> {
    let peers = from.tunnel.peers().await;
    let key = key(number).public_key();
    peers.iter().find(|peer| peer.public_key == key)?.path
}

fn hub_on_loopback(shards: usize) -> Node {
    let mut config = config(HUB);
    // A port by name, since a free one may be another each time.
    config.listen = vec!["127.0.0.1:51820".parse().unwrap()];
    config.interface = INTERFACE.into();
    config.shards = Some(shards);
    Node::start(Engine::Userspace, config, HUB)
}

/// A hub and nodes that have a session with it.
async fn loopback_hub(shards: usize) -> (Node, Vec<Node>) {
    let hub = hub_on_loopback(shards);
    let mut nodes = Vec::new();
    for number in NODES {
        let (node, mut events) = (Node::netstack(number), hub.tunnel.events());
        connect(&node, &hub).await;
        // The hub knows where the node is once it has read the first packet of the session.
        while path_to(&hub, number).await.is_none() {
            timeout(LIMIT, events.recv()).await.unwrap().unwrap();
        }
        nodes.push(node);
    }
    (hub, nodes)
}

fn flows_keep_their_order(shards: usize) {
    if let Some(reason) = missing(&[("ip", "iproute2")]) {
        println!("{reason}");
        return;
    }
    let hub = Namespace::new("hub");
    let nodes: Vec<_> = NODES.map(|number| (number, joined(&hub, number))).collect();
    let (ready, done) = (CancellationToken::new(), CancellationToken::new());
    let (hub_ready, hub_done) = (ready.clone(), done.clone());
    let serving = hub.run(move || serve(shards, hub_ready, hub_done));
    let ends_hub = done.drop_guard();
    let speaking: Vec<_> = nodes
        .iter()
        .map(|(number, namespace)| {
            let (number, ready) = (*number, ready.clone());
            namespace.run(async move || {
                timeout(LIMIT, ready.cancelled()).await.unwrap();
                speak(number).await;
            })
        })
        .collect();
    let spoken: Vec<_> = speaking.into_iter().map(|node| node.join()).collect();
    drop(ends_hub);
    let stats = serving.join().unwrap();
    spoken.into_iter().for_each(|node| node.unwrap());
    assert_eq!(stats.underlay.handover_dropped, 0);
    assert_eq!(stats.underlay.handed_over > 0, shards > 1);
    let lost = stats.device.packets_dropped + stats.stack.packets_dropped;
    assert_eq!(lost, 0);
}

/// A node's namespace, with a cable to the hub.
fn joined(hub: &Namespace, number: u8) -> Namespace {
    let node = Namespace::new(&format!("n{number}"));
    let cable = format!("cable{number}");
    let ends = ["netns", &hub.name, "type", "veth", "peer", "name", "cable"];
    let pair = [
        &["ip", "link", "add", &cable][..],
        &ends,
        &["netns", &node.name],
    ]
    .concat();
    run(&pair);
    let [ours, theirs] = [HUB, number].map(|end| format!("{}/24", cable_address(number, end).ip()));
    for (namespace, cable, address) in [(hub, &cable[..], &ours), (&node, "cable", &theirs)] {
        namespace.ip(&["address", "add", address, "dev", cable]);
        namespace.ip(&["link", "set", cable, "up"]);
    }
    node
}

fn cable_address(node: u8, end: u8) -> SocketAddr {
    ([192, 168, 80 + node, end], 51820).into()
}

/// Echoes what comes by TCP and UDP, after a look at the order of the latter.
async fn serve(shards: usize, ready: CancellationToken, done: CancellationToken) -> TunnelStats {
    let mut config = config(HUB);
    config.listen = vec!["0.0.0.0:51820".parse().unwrap()];
    config.interface = INTERFACE.into();
    config.shards = Some(shards);
    let hub = Node::start(Engine::Userspace, config, HUB);
    for number in NODES {
        let mut node = peer(number, Vec::new());
        node.ingress.push(Allow::udp(7..=7));
        hub.tunnel.set_peer(node).await.unwrap();
    }
    let listener = small_socket();
    listener.bind(overlay(HUB, 80)).unwrap();
    let listener = listener.listen(64).unwrap();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let (mut read, mut write) = stream.split();
                let _ = tokio::io::copy(&mut read, &mut write).await;
            });
        }
    });
    let socket = UdpSocket::bind(overlay(HUB, 7)).await.unwrap();
    // What all nodes may have under way fits.
    setsockopt(&socket, RcvBufForce, &(8 * MIB)).unwrap();
    let mut order = Order::default();
    let mut datagram = vec![0; 65_535];
    ready.cancel();
    loop {
        tokio::select! {
            came = socket.recv_from(&mut datagram) => {
                let (bytes, from) = came.unwrap();
                order.arrived(from, &datagram[..bytes]);
                socket.send_to(&datagram[..bytes], from).await.unwrap();
            }
            () = done.cancelled() => break,
        }
    }
    assert_eq!(order.flows.len(), NODES.count() * UDP_FLOWS);
    assert_eq!(out_of_order_segments(), 0, "seen by the hub's kernel");
    let stats = hub.tunnel.stats().await;
    hub.tunnel.shutdown().await;
    stats
}

/// Several flows of either kind at once, to the hub and back.
async fn speak(number: u8) {
    let mut config = config(number);
    config.listen = vec![cable_address(number, number)];
    config.interface = INTERFACE.into();
    let node = Node::start(Engine::Userspace, config, number);
    let hub = peer(HUB, vec![cable_address(number, HUB)]);
    node.tunnel.set_peer(hub).await.unwrap();
    // There is a session once this returns.
    drop(node.dial(overlay(HUB, 80)).await.unwrap());
    let mut flows = JoinSet::new();
    for flow in 0..UDP_FLOWS {
        flows.spawn(udp_flow(number, 100 + flow * 250));
    }
    for flow in 0..TCP_FLOWS {
        flows.spawn(tcp_flow(u64::from(number) * 10 + flow));
    }
    while let Some(flow) = flows.join_next().await {
        flow.unwrap();
    }
    assert_eq!(out_of_order_segments(), 0, "seen by the kernel of {number}");
    node.tunnel.shutdown().await;
}

/// Numbered datagrams, a few under way at a time, which return in their order.
async fn udp_flow(number: u8, bytes: usize) {
    let socket = UdpSocket::bind(overlay(number, 0)).await.unwrap();
    let hub = overlay(HUB, 7);
    socket.connect(hub).await.unwrap();
    let mut order = Order::default();
    let (mut came, mut sent) = (vec![0; 65_535], vec![0; bytes]);
    for first in (0..DATAGRAMS).step_by(UNDER_WAY) {
        let burst = first..(first + UNDER_WAY as u32).min(DATAGRAMS);
        for number in burst.clone() {
            sent[..4].copy_from_slice(&number.to_be_bytes());
            socket.send(&sent).await.unwrap();
        }
        for _ in burst {
            let bytes = timeout(LIMIT, socket.recv(&mut came)).await.unwrap();
            order.arrived(hub, &came[..bytes.unwrap()]);
        }
    }
}

async fn tcp_flow(seed: u64) {
    let stream = small_socket().connect(overlay(HUB, 80)).await.unwrap();
    let (sent, mut came) = (body(MIB, seed), Vec::new());
    let (mut read, mut write) = stream.into_split();
    let writing = async {
        write.write_all(&sent).await.unwrap();
        write.shutdown().await.unwrap();
    };
    let both = async { tokio::join!(writing, read.read_to_end(&mut came)) };
    timeout(LIMIT, both).await.unwrap().1.unwrap();
    assert_eq!(hash(&came), hash(&sent));
}

/// So little is under way that no queue overflows, even on a busy machine: what is out of order then was reordered.
fn small_socket() -> TcpSocket {
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(RECEIVE_BUFFER_BYTES).unwrap();
    socket
}

/// The last number of each flow.
#[derive(Default)]
struct Order {
    flows: std::collections::HashMap<SocketAddr, u32>,
}

impl Order {
    /// Each number is the one after the last.
    fn arrived(&mut self, from: SocketAddr, datagram: &[u8]) {
        let number = u32::from_be_bytes(datagram[..4].try_into().unwrap());
        let last = self.flows.insert(from, number);
        assert_eq!(number, last.map_or(0, |last| last + 1), "from {from}");
    }
}

/// TCP segments that came before one that was sent before them, as the kernel counts them for this namespace.
fn out_of_order_segments() -> u64 {
    let text = std::fs::read_to_string("/proc/thread-self/net/netstat").unwrap();
    let mut lines = text.lines().filter(|line| line.starts_with("TcpExt:"));
    let (names, values) = (lines.next().unwrap(), lines.next().unwrap());
    let mut counters = names.split_whitespace().zip(values.split_whitespace());
    let (_, count) = counters.find(|(name, _)| *name == "TCPOFOQueue").unwrap();
    count.parse().unwrap()
}

const UDP_FLOWS: usize = 4;
const TCP_FLOWS: u64 = 3;
const DATAGRAMS: u32 = 4000;
const UNDER_WAY: usize = 25;
const RECEIVE_BUFFER_BYTES: u32 = 128 * 1024;
