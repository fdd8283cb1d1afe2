//! Super-packets of the kernel, cut on one side and joined on the other.

use super::world::{World, at, packet, peer};
use crate::config::{Allow, PeerConfig};
use crate::noise::DATA_OVERHEAD_BYTES;
use crate::offload::cut::PADDING_BYTES;
use crate::offload::join::Joins;
use crate::offload::vnet::Work;
use crate::packet::build;

/// A TCP super-packet of the kernel, from 1 to 2.
fn super_packet(payload: &[u8], flags: u8) -> Vec<u8> {
    let mut packet = build::tcp("10.0.0.1:4000", "10.0.0.2:80", flags);
    packet.extend(payload);
    let length = packet.len() as u16;
    packet[2..4].copy_from_slice(&length.to_be_bytes());
    packet
}

fn send_super_packet(world: &mut World, packet: &[u8], work: Work) {
    let mut buffer = packet.to_vec();
    buffer.resize(packet.len() + PADDING_BYTES, 0xaa);
    let now = world.now;
    world
        .device(1)
        .handle_super_packet(&mut buffer, packet.len(), work, now);
}

const ALL: Joins = Joins {
    tcp: true,
    udp: true,
};

#[test]
fn a_super_packet_crosses_the_tunnel_in_one_batch_and_is_one_again() {
    let mut world = World::connected_pair();
    let mut open = peer(1);
    open.ingress = vec![Allow::tcp(80..=80)];
    world.set_peer(2, open);
    world.device(2).set_joins(ALL);
    let payload: Vec<u8> = (0..40_000u32).map(|n| (n % 253) as u8).collect();
    let work = Work::Cut {
        payload_bytes: 1200,
    };
    send_super_packet(&mut world, &super_packet(&payload, 0x18), work);
    let batch = world.device(1).poll_transmit().unwrap();
    assert_eq!(
        (batch.count(), batch.segment_bytes),
        (34, 1240 + 8 + DATA_OVERHEAD_BYTES)
    );
    assert_eq!(world.device(1).poll_transmit(), None);
    let now = world.now;
    let stride = batch.segment_bytes;
    world
        .device(2)
        .handle_datagrams(at(1), &batch.payload, stride, now);
    let arrival = world.device(2).poll_packet().unwrap();
    assert_eq!(arrival.work, work);
    assert_eq!(arrival.packet[40..], payload);
    assert_eq!(world.device(2).poll_packet(), None);
    assert_eq!(world.device(2).filter_counters().admitted_by_rule, 34);
}

#[test]
fn a_run_that_is_not_permitted_stops_at_every_segment() {
    let mut world = World::connected_pair();
    world.device(2).set_joins(ALL);
    let work = Work::Cut { payload_bytes: 500 };
    send_super_packet(&mut world, &super_packet(&[7; 5000], 0x10), work);
    world.settle();
    assert!(world.packets(2).is_empty());
    assert_eq!(world.status(2, 1).drops.filtered.total(), 10);
}

#[test]
fn a_rule_that_is_taken_away_ends_a_run() {
    let mut world = World::connected_pair();
    let open = PeerConfig {
        ingress: vec![Allow::tcp(80..=80)],
        ..peer(1)
    };
    world.set_peer(2, open);
    world.device(2).set_joins(ALL);
    let work = Work::Cut { payload_bytes: 500 };
    send_super_packet(&mut world, &super_packet(&[7; 5000], 0x10), work);
    let datagrams = world.take(1);
    for (number, (_, datagram)) in datagrams.iter().enumerate() {
        if number == 4 {
            world.set_peer(2, peer(1));
        }
        world.deliver(2, at(1), datagram);
    }
    let arrived: usize = world
        .packets(2)
        .iter()
        .map(|packet| packet.len() - 40)
        .sum();
    assert_eq!(arrived, 4 * 500);
    assert_eq!(world.status(2, 1).drops.filtered.total(), 6);
}

/// A run of 63 segments that has room for a short packet, and for no handshake message.
#[test]
fn a_short_packet_behind_a_run_that_is_nearly_full_is_not_lost() {
    let mut world = World::connected_pair();
    let open = PeerConfig {
        ingress: vec![Allow::tcp(80..=80), Allow::udp(7..=7)],
        ..peer(1)
    };
    world.set_peer(2, open);
    world.device(2).set_joins(ALL);
    let work = Work::Cut {
        payload_bytes: 1039,
    };
    send_super_packet(&mut world, &super_packet(&[7; 63 * 1039], 0x10), work);
    let short = packet(1, 2, b"x");
    world.send(1, &short);
    for (_, datagram) in world.take(1) {
        world.deliver(2, at(1), &datagram);
    }
    let mut packets = world.packets(2);
    packets.sort_by_key(Vec::len);
    assert_eq!(packets[0], short);
    assert_eq!(packets[1].len(), 40 + 63 * 1039);
    assert_eq!(world.status(2, 1).drops.unopened, 0);
}

#[test]
fn work_that_the_packet_contradicts_is_counted_and_forgotten() {
    let mut world = World::connected_pair();
    let udp = packet(1, 2, b"x");
    let works = [
        Work::Checksum {
            start: 20,
            offset: 10,
        },
        Work::Checksum {
            start: 4000,
            offset: 6,
        },
        Work::Cut { payload_bytes: 0 },
    ];
    for work in works {
        send_super_packet(&mut world, &udp, work);
    }
    let icmp = build::icmp([10, 0, 0, 1].into(), [10, 0, 0, 2].into(), 8, 1, &[0; 2000]);
    send_super_packet(&mut world, &icmp, Work::Cut { payload_bytes: 100 });
    assert!(
        world
            .take(1)
            .iter()
            .all(|(_, datagram)| datagram.len() < 100)
    );
    assert_eq!(world.device(1).counters().malformed_packets, 4);
}
