//! Packets through a session: what the wire may do to their datagrams, and what it learns from them.

use std::time::Duration;

use super::world::{World, at, config, packet};
use crate::noise::DATA_OVERHEAD_BYTES;
use crate::packet::build;

#[test]
fn packets_pass_both_ways_in_both_families_after_one_handshake() {
    let mut world = World::connected_pair();
    assert!(world.passes(1, 2, b"there"));
    assert!(world.passes(2, 1, b"and back"));
    let v6 = build::udp("[fd00::1]:7", "[fd00::2]:7", b"six");
    world.send(1, &v6);
    world.settle();
    assert_eq!(world.packets(2), vec![v6]);
    assert_eq!(world.handshakes(2, 1), 1);
    assert_eq!(world.status(1, 2).last_handshake_age, Some(Duration::ZERO));
}

#[test]
fn packets_sent_before_the_handshake_arrive_after_it_in_order() {
    let mut world = World::pair();
    for body in [b"a", b"b", b"c"] {
        world.send(1, &packet(1, 2, body));
    }
    world.settle();
    assert_eq!(
        world.packets(2),
        [b"a", b"b", b"c"].map(|body| packet(1, 2, body))
    );
}

#[test]
fn an_eavesdropper_sees_no_plaintext() {
    let mut world = World::connected_pair();
    let secret = b"senha da garagem 4711";
    assert!(world.passes(1, 2, secret) && world.passes(2, 1, secret));
    let leaked = |bytes: &[u8], what: &[u8]| bytes.windows(what.len()).any(|window| window == what);
    assert!(
        leaked(&packet(1, 2, secret), secret),
        "the search itself works"
    );
    for (_, _, datagram) in &world.seen {
        assert!(!leaked(datagram, secret) && !leaked(datagram, &[10, 0, 0, 2]));
    }
}

#[test]
fn lengths_on_the_wire_tell_only_multiples_of_16() {
    let mut world = World::connected_pair();
    world.seen.clear();
    for bytes in 0..40 {
        assert!(world.passes(1, 2, &vec![1; bytes]));
    }
    for (_, _, datagram) in &world.seen {
        assert_eq!((datagram.len() - DATA_OVERHEAD_BYTES) % 16, 0);
    }
}

#[test]
fn padding_does_not_exceed_the_link() {
    let mut world = World::connected_pair();
    let header_bytes = packet(1, 2, b"").len();
    let mtu_bytes = config(1).mtu_bytes;
    assert!(world.passes(1, 2, &vec![1; mtu_bytes - 3 - header_bytes]));
    let longest = world
        .seen
        .iter()
        .map(|(_, _, datagram)| datagram.len())
        .max();
    assert_eq!(longest, Some(mtu_bytes + DATA_OVERHEAD_BYTES));
}

#[test]
fn a_repeated_datagram_is_delivered_once() {
    let mut world = World::connected_pair();
    world.send(1, &packet(1, 2, b"once"));
    let (_, datagram) = world.take(1).remove(0);
    for _ in 0..3 {
        world.deliver(2, at(1), &datagram);
    }
    assert_eq!(world.packets(2), vec![packet(1, 2, b"once")]);
    assert_eq!(world.status(2, 1).drops.unopened, 2);
}

#[test]
fn reordered_datagrams_are_all_delivered() {
    let mut world = World::connected_pair();
    for n in 0..200u8 {
        world.send(1, &packet(1, 2, &[n]));
    }
    let mut datagrams = world.take(1);
    datagrams.reverse();
    for (_, datagram) in datagrams {
        world.deliver(2, at(1), &datagram);
    }
    assert_eq!(world.packets(2).len(), 200);
}

#[test]
fn lost_datagrams_cost_only_themselves() {
    let mut world = World::connected_pair();
    for n in 0..100u8 {
        world.send(1, &packet(1, 2, &[n]));
    }
    for (n, (_, datagram)) in world.take(1).into_iter().enumerate() {
        if n % 3 != 0 {
            world.deliver(2, at(1), &datagram);
        }
    }
    assert_eq!(world.packets(2).len(), 66);
    assert!(world.passes(1, 2, b"still here"));
}

#[test]
fn every_changed_byte_is_refused() {
    let mut world = World::connected_pair();
    world.send(1, &packet(1, 2, b"genuine"));
    let (_, datagram) = world.take(1).remove(0);
    for position in 0..datagram.len() {
        let mut forged = datagram.clone();
        forged[position] ^= 0x40;
        world.deliver(2, at(1), &forged);
    }
    assert!(world.packets(2).is_empty());
    world.deliver(2, at(1), &datagram);
    assert_eq!(world.packets(2).len(), 1);
}

#[test]
fn a_huge_forged_datagram_for_a_live_session_does_no_harm() {
    let mut world = World::connected_pair();
    world.send(1, &packet(1, 2, b"x"));
    let (_, genuine) = world.take(1).remove(0);
    for bytes in [2048, 9000, 65_507, 65_535, 65_536, 70_000] {
        let mut forged = vec![0xaa; bytes];
        forged[..16].copy_from_slice(&genuine[..16]);
        world.deliver(2, at(1), &forged);
    }
    assert!(world.packets(2).is_empty());
    assert!(world.passes(1, 2, b"still here"));
}

#[test]
fn the_largest_ip_packet_passes_and_one_too_large_is_counted() {
    let mut world = World::connected_pair();
    let header_bytes = packet(1, 2, b"").len();
    assert!(world.passes(1, 2, &vec![1; 65_000 - header_bytes]));
    world.send(1, &packet(1, 2, &vec![1; 65_535 - header_bytes]));
    assert_eq!(world.status(1, 2).drops.too_large, 1);
}
