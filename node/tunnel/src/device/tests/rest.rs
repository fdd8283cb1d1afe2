//! How seldom a device that has nothing to do wakes.

use std::time::Duration;

use super::world::{World, dialled, expire, key, packet, peer};
use crate::config::PeerConfig;
use crate::key::PrivateKey;
use crate::status::TunnelEvent;

#[test]
fn an_idle_node_wakes_once_a_second_and_an_idle_hub_once_in_five() {
    let mut world = World::new([1, 2]);
    world.set_peer(2, peer(1));
    world.set_peer(
        1,
        PeerConfig {
            keepalive_s: Some(25),
            ..dialled(2)
        },
    );
    world.settle();
    world.tick(Duration::from_secs(30));
    world.settle();
    for (number, wakes) in [(1, 60), (2, 12)] {
        let end = world.now + Duration::from_secs(60);
        let mut woken = 0;
        while let Some(at) = world.device(number).poll_timeout().filter(|at| *at < end) {
            world.device(number).handle_timeout(at);
            woken += 1;
        }
        assert!(
            (1..=wakes).contains(&woken),
            "device {number} woke {woken} times"
        );
    }
}

#[test]
fn thousands_of_idle_peers_are_looked_at_together() {
    let mut world = World::new([9]);
    let now = world.now;
    for n in 0..3000u32 {
        let mut key = [1; 32];
        key[..4].copy_from_slice(&n.to_be_bytes());
        let peer = PeerConfig::new(PrivateKey::from_bytes(key).public_key());
        let at = now + Duration::from_micros(u64::from(n) * 700);
        world.device(9).set_peer(peer, at).unwrap();
    }
    world.tick(Duration::from_secs(10));
    let end = world.now + Duration::from_secs(20);
    let mut woken = 0;
    while let Some(at) = world.device(9).poll_timeout().filter(|at| *at < end) {
        world.device(9).handle_timeout(at);
        woken += 1;
    }
    assert!((1..=80).contains(&woken), "{woken} wake-ups in 20 s");
}

#[test]
fn a_peer_that_is_used_after_a_rest_is_ticked_first() {
    let mut world = World::connected_pair();
    world.tick(Duration::from_secs(30));
    let now = world.now + Duration::from_secs(3);
    world.now = now;
    expire(&mut world, 1);
    world.send(1, &packet(1, 2, b"x"));
    let unanswered = TunnelEvent::HandshakeUnanswered {
        peer: key(2).public_key(),
    };
    assert!(
        world.events(1).contains(&unanswered),
        "the machine was asked before it was used"
    );
}

#[test]
fn an_idle_device_without_peers_wants_no_timer() {
    let mut world = World::new([1]);
    assert_eq!(world.device(1).poll_timeout(), None);
}
