//! More than a device can take: initiations from strangers, and queues that are full.

use super::world::{World, at, dialled, packet};
use crate::offload::join::MAX_DONE;
use crate::path::Path;
use crate::wire::MAX_TRANSMITS;

#[test]
fn a_flood_of_initiations_is_stopped_before_any_key_work() {
    let mut world = World::pair();
    let (_, initiation) = world.take(1).remove(0);
    for _ in 0..1000 {
        world.deliver(2, at(9), &initiation);
    }
    assert!(world.device(2).counters().flooded >= 790);
}

#[test]
fn who_does_not_know_our_key_keeps_nobody_of_its_prefix_out() {
    let mut world = World::pair();
    let mut garbage = [0xaa; 148];
    garbage[..4].copy_from_slice(&[1, 0, 0, 0]);
    for _ in 0..1000 {
        world.deliver(2, at(9), &garbage);
    }
    world.settle();
    assert_eq!(world.handshakes(1, 2), 1);
    let counters = world.device(2).counters();
    assert_eq!((counters.flooded, counters.unknown_peer), (0, 1000));
}

#[test]
fn under_load_a_cookie_is_asked_for_and_then_accepted() {
    let mut world = World::pair();
    let (_, initiation) = world.take(1).remove(0);
    let mut forged = initiation.clone();
    let mut answers = 0;
    for n in 0..1500u32 {
        // Different prefixes, as a flood with forged sources has; the wrong content costs us the key work.
        let source = Path::Udp {
            local: Some(0),
            remote: ([10 + (n >> 8) as u8, n as u8, 1, 1], 1000).into(),
        };
        forged.copy_from_slice(&initiation);
        world.deliver(2, source, &forged);
        answers += world.take(2).len();
    }
    assert!(answers > 0 && world.device(2).counters().cookies_sent > 500);
    let again = |world: &mut World| {
        let now = world.now;
        let device = world.device(1);
        let index = *device.peers.keys().next().unwrap();
        device
            .peers
            .get_mut(&index)
            .unwrap()
            .initiate(now, &mut device.wire);
    };
    // The real initiator is sent a cookie, too, and its next initiation carries the proof.
    again(&mut world);
    world.settle();
    assert_eq!(world.handshakes(1, 2), 0);
    let endpoint = world.status(1, 2).endpoint;
    assert_eq!(endpoint, None, "a cookie reply proves nothing");
    again(&mut world);
    world.settle();
    assert_eq!(world.handshakes(1, 2), 1);
}

#[test]
fn a_stranger_gets_no_answer() {
    let mut world = World::new([1, 2]);
    world.set_peer(1, dialled(2));
    world.settle();
    assert!(world.seen.iter().all(|(from, _, _)| *from == 1));
    assert_eq!(world.device(2).counters().unknown_peer, 1);
}

#[test]
fn full_queues_drop_and_count() {
    let mut world = World::connected_pair();
    for _ in 0..MAX_DONE + 10 {
        world.send(1, &packet(1, 2, b"x"));
        for (_, datagram) in world.take(1) {
            world.deliver(2, at(1), &datagram);
        }
    }
    assert_eq!(world.device(2).counters().packets_dropped, 10);
    for _ in 0..MAX_TRANSMITS + 7 {
        world.send(1, &packet(1, 2, b"x"));
    }
    assert_eq!(world.device(1).counters().transmits_dropped, 7);
}
