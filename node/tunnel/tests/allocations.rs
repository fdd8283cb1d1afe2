//! What a packet costs in allocations once a tunnel runs: nothing. Only the tunnel's own work between device and socket is counted.

#![allow(
    clippy::unwrap_used,
    reason = "this is test code, but not all inside test functions"
)]

use std::time::Instant;

use allocation_counter::{AllocationInfo, measure};
use malha_tunnel::{Allow, Device, Joins, Path, PeerConfig, PrivateKey, TunnelConfig, Work};

/// Two devices that have shaken hands.
struct Pair {
    left: Device,
    right: Device,
    now: Instant,
}

impl Pair {
    fn connected() -> Self {
        let now = Instant::now();
        let device = |number: u8, other: u8| {
            let address = format!("10.0.0.{number}/24").parse().unwrap();
            let mut device =
                Device::new(&TunnelConfig::new(key(number), vec![address]), now).unwrap();
            device.set_joins(Joins {
                tcp: true,
                udp: true,
            });
            let mut peer = PeerConfig::new(key(other).public_key());
            peer.allowed_ips = vec![format!("10.0.0.{other}/32").parse().unwrap()];
            peer.endpoints = vec![([192, 0, 2, other], PORT).into()];
            peer.ingress = vec![Allow::tcp(80..=80)];
            device.set_peer(peer, now).unwrap();
            device
        };
        let (left, right) = (device(1, 2), device(2, 1));
        let mut pair = Self { left, right, now };
        for _ in 0..HANDSHAKE_ROUNDS {
            pair.exchange();
        }
        pair
    }

    /// Delivers what each has for the other, and gives every buffer back, as an engine does. How many packets came out at the
    /// right.
    fn exchange(&mut self) -> usize {
        let mut arrived = 0;
        carry(&mut self.left, &mut self.right, 1, self.now);
        carry(&mut self.right, &mut self.left, 2, self.now);
        while let Some(arrival) = self.right.poll_packet() {
            arrived += 1;
            self.right.recycle_packet(arrival);
        }
        while self.left.poll_event().is_some() || self.right.poll_event().is_some() {}
        arrived
    }

    /// What it costs to send this often from the left to the right, once everything is warm, and how many packets came.
    fn cost(
        &mut self,
        rounds: usize,
        mut send: impl FnMut(&mut Device),
    ) -> (AllocationInfo, usize) {
        let mut round = |pair: &mut Self| {
            send(&mut pair.left);
            pair.exchange()
        };
        for _ in 0..WARM_ROUNDS {
            round(self);
        }
        let mut arrived = 0;
        let cost = measure(|| arrived = (0..rounds).map(|_| round(self)).sum());
        (cost, arrived)
    }
}

fn carry(from: &mut Device, to: &mut Device, number: u8, now: Instant) {
    let path = Path::Udp {
        local: Some(0),
        remote: ([192, 0, 2, number], PORT).into(),
    };
    while let Some(transmit) = from.poll_transmit() {
        to.handle_datagrams(path, &transmit.payload, transmit.segment_bytes, now);
        from.recycle_transmit(transmit);
    }
}

fn key(number: u8) -> PrivateKey {
    PrivateKey::from_bytes([number; 32])
}

/// A TCP segment of one connection without content that means anything, from 1 to 2.
fn segment(payload_bytes: u16) -> Vec<u8> {
    let [high, low] = (40 + payload_bytes).to_be_bytes();
    let mut packet = vec![0x45, 0, high, low, 0, 0, 0x40, 0, 64, 6, 0, 0];
    packet.extend([10, 0, 0, 1, 10, 0, 0, 2]);
    packet.extend([
        0x10, 0, 0, 80, 0, 0, 0, 1, 0, 0, 0, 1, 0x50, 0x10, 0xff, 0xff,
    ]);
    packet.extend([0; 4]);
    packet.resize(40 + usize::from(payload_bytes), 0x5a);
    packet
}

#[test]
fn packets_cost_no_allocation() {
    let mut pair = Pair::connected();
    let (small, large) = (segment(20), segment(1300));
    let now = pair.now;
    let (cost, arrived) = pair.cost(100, |device| {
        for _ in 0..20 {
            device.handle_packet(&small, now);
            device.handle_packet(&large, now);
        }
    });
    assert!(arrived >= 100, "{arrived} packets came");
    assert_eq!(cost.count_total, 0, "{cost:?}");
}

#[test]
fn super_packets_cost_no_allocation() {
    let mut pair = Pair::connected();
    let packet = segment(40_000);
    let mut buffer = packet.clone();
    buffer.resize(packet.len() + PADDING_BYTES, 0);
    let now = pair.now;
    let work = Work::Cut {
        payload_bytes: 1300,
    };
    let (cost, arrived) = pair.cost(100, |device| {
        // The device cuts in place.
        buffer[..packet.len()].copy_from_slice(&packet);
        device.handle_super_packet(&mut buffer, packet.len(), work, now);
    });
    assert!(arrived >= 100, "{arrived} packets came");
    assert_eq!(cost.count_total, 0, "{cost:?}");
}

#[test]
fn an_allocation_would_be_counted() {
    let mut pair = Pair::connected();
    let packet = segment(20);
    let now = pair.now;
    let (cost, _) = pair.cost(10, |device| device.handle_packet(&packet.clone(), now));
    assert_eq!(cost.count_total, 10);
}

const PORT: u16 = 51820;
const HANDSHAKE_ROUNDS: usize = 4;
/// Until each pool holds what one round takes.
const WARM_ROUNDS: usize = 20;
/// What an engine leaves behind a super-packet.
const PADDING_BYTES: usize = 64;
