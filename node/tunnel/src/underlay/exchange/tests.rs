//! Two shards whose sockets nobody steers to: each has a port of its own, and a node speaks to the wrong one.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::net::UdpSocket;
use tokio::sync::{broadcast, oneshot};
use tokio::time::timeout;

use super::*;
use crate::config::{Allow, PeerConfig, TunnelConfig};
use crate::device::Gate;
use crate::key::PrivateKey;
use crate::packet::build;
use crate::path::Path;
use crate::socket::of_shards;
use crate::underlay::Request;

const HUB: u8 = 1;

fn key(number: u8) -> PrivateKey {
    PrivateKey::from_bytes([number; 32])
}

fn config(number: u8) -> TunnelConfig {
    let address = format!("10.0.0.{number}/24").parse().unwrap();
    TunnelConfig::new(key(number), vec![address])
}

fn peer(number: u8) -> PeerConfig {
    let mut peer = PeerConfig::new(key(number).public_key());
    peer.allowed_ips = vec![format!("10.0.0.{number}/32").parse().unwrap()];
    peer.ingress = vec![Allow::udp(7..=7)];
    peer
}

fn packet(from: u8, to: u8, number: u32) -> Vec<u8> {
    let (from, to) = (format!("10.0.0.{from}:7"), format!("10.0.0.{to}:7"));
    build::udp(&from, &to, &number.to_be_bytes())
}

/// A hub of two shards, and a node whose peer is in the second but which sends to the first.
struct World {
    shards: [Underlay; 2],
    node: Device,
    number: u8,
    socket: UdpSocket,
    first: SocketAddr,
}

impl World {
    async fn new() -> Self {
        let now = Instant::now();
        let gate = Gate::new(&config(HUB), now);
        let mut neighbours = Neighbours::all(2).into_iter();
        let mut shard = || {
            let others = neighbours.next().unwrap();
            let device = Device::at(others.place(), gate.clone(), &config(HUB), now).unwrap();
            let mut config = config(HUB);
            config.listen = vec!["127.0.0.1:0".parse().unwrap()];
            let sockets = of_shards(&config, 1).unwrap().remove(0);
            let (events, _) = broadcast::channel(64);
            Underlay::shard(&config, device, others, sockets, events, now).unwrap()
        };
        let mut shards = [shard(), shard()];
        let second = |number: &u8| crate::shard_of(&key(*number).public_key(), 2) == 1;
        let number = (2..20).find(second).unwrap();
        for shard in &mut shards {
            shard.device.set_peer(peer(number), now).unwrap();
        }
        let (reply, mut answer) = oneshot::channel();
        shards[0].handle(Request::ListenAddrs(reply), &[], now);
        let first = answer.try_recv().unwrap()[0];
        let mut node = Device::new(&config(number), now).unwrap();
        let hub = PeerConfig {
            endpoints: vec![first],
            ..peer(HUB)
        };
        node.set_peer(hub, now).unwrap();
        Self {
            shards,
            node,
            number,
            socket: UdpSocket::bind("127.0.0.1:0").await.unwrap(),
            first,
        }
    }

    /// Everything goes on until the hub has what was waited for.
    async fn until<T>(&mut self, mut has: impl FnMut(&mut [Underlay; 2]) -> Option<T>) -> T {
        let all = async {
            loop {
                self.turn().await;
                if let Some(found) = has(&mut self.shards) {
                    return found;
                }
                let [first, second] = &mut self.shards;
                tokio::select! {
                    () = first.wait() => {}
                    () = second.wait() => {}
                    readable = self.socket.readable() => readable.unwrap(),
                }
            }
        };
        timeout(LIMIT, all).await.expect("it never came")
    }

    async fn turn(&mut self) {
        let mut came = [0; 2048];
        while let Ok((bytes, from)) = self.socket.try_recv_from(&mut came) {
            let now = Instant::now();
            self.node
                .handle_datagram(Path::udp(from), &came[..bytes], now);
        }
        while let Some(transmit) = self.node.poll_transmit() {
            // Wherever the hub was heard: the node goes on sending to the wrong one.
            for datagram in transmit.datagrams() {
                self.socket.send_to(datagram, self.first).await.unwrap();
            }
        }
        for shard in &mut self.shards {
            while shard.receive(|_| {}) {}
            while shard.take(|_| {}) {}
            shard.work(Instant::now());
        }
    }
}

#[tokio::test]
async fn what_comes_to_the_wrong_socket_reaches_its_peer_in_order() {
    let mut world = World::new().await;
    let number = world.number;
    for count in 0..COUNT {
        let now = Instant::now();
        world.node.handle_packet(&packet(number, HUB, count), now);
    }
    let mut arrived = Vec::new();
    let come = |shards: &mut [Underlay; 2]| {
        assert_eq!(shards[0].device.poll_packet(), None, "not its peer");
        while let Some(arrival) = shards[1].device.poll_packet() {
            arrived.push(arrival.packet.to_vec());
        }
        (arrived.len() >= COUNT as usize).then_some(())
    };
    world.until(come).await;
    let sent: Vec<_> = (0..COUNT).map(|count| packet(number, HUB, count)).collect();
    assert_eq!(arrived, sent);
    assert!(world.shards[0].counters().handed_over >= u64::from(COUNT));
    assert_eq!(world.shards[0].counters().handover_dropped, 0);
}

#[tokio::test]
async fn quic_that_comes_to_another_shard_goes_out_by_the_first_ones_door() {
    let mut world = World::new().await;
    let now = Instant::now();
    let (reply, mut answer) = oneshot::channel();
    world.shards[0].handle(Request::TakeQuic(0, reply), &[], now);
    let _side = answer.try_recv().unwrap().unwrap();
    let (reply, mut answer) = oneshot::channel();
    world.shards[1].handle(Request::ListenAddrs(reply), &[], now);
    let second = answer.try_recv().unwrap()[0];
    for _ in 0..3 {
        world.socket.send_to(&[0x40; 100], second).await.unwrap();
    }
    let received = |shards: &mut [Underlay; 2]| {
        let received = shards[0].counters().quic_received;
        (received == 3).then_some(received)
    };
    world.until(received).await;
    assert_eq!(world.shards[1].counters().quic_received, 0);
}

const COUNT: u32 = 200;
const LIMIT: Duration = Duration::from_secs(20);
