//! Preshared keys that change on one side first, and identities that change hands.

use std::time::Duration;

use super::world::{World, at, config, dialled, key, packet, peer};
use crate::config::PeerConfig;
use crate::device::Device;
use crate::key::PresharedKey;

#[test]
fn a_changed_preshared_key_loses_no_packet_while_the_sides_disagree() {
    let mut world = World::connected_pair();
    let shared = PresharedKey::generate();
    let with_key = |config: PeerConfig| PeerConfig {
        preshared_key: Some(shared.clone()),
        ..config
    };
    world.set_peer(2, with_key(peer(1)));
    world.settle();
    assert!(world.passes(1, 2, b"only one side has the new key"));
    assert!(world.passes(2, 1, b"and back"));
    world.set_peer(1, with_key(dialled(2)));
    world.settle();
    assert!(world.handshakes(1, 2) >= 1);
    assert!(world.passes(1, 2, b"both have it") && world.passes(2, 1, b"and back"));
    world.tick(Duration::from_secs(200));
    world.settle();
    assert!(world.passes(1, 2, b"the old session is gone"));
    assert_eq!(world.device(1).by_session.len(), 1);
}

#[test]
fn a_key_that_changes_again_before_its_handshake_is_confirmed_cuts_nobody() {
    let mut world = World::connected_pair();
    let keys = [PresharedKey::generate(), PresharedKey::generate()];
    let with_key = |config: PeerConfig, number: usize| PeerConfig {
        preshared_key: Some(keys[number].clone()),
        ..config
    };
    world.set_peer(2, with_key(peer(1), 0));
    world.settle();
    world.set_peer(1, with_key(dialled(2), 0));
    for (_, initiation) in world.take(1) {
        world.deliver(2, at(1), &initiation);
    }
    for (_, response) in world.take(2) {
        world.deliver(1, at(2), &response);
    }
    // Node 1 has finished its handshake and seals with it; node 2 learns that only after its key has changed again.
    let confirmation = world.take(1);
    world.set_peer(2, with_key(peer(1), 1));
    for (_, datagram) in confirmation {
        world.deliver(2, at(1), &datagram);
    }
    assert!(world.passes(1, 2, b"sealed with the key between"));
    assert!(world.passes(2, 1, b"and back"));
    world.set_peer(1, with_key(dialled(2), 1));
    world.settle();
    assert!(world.passes(1, 2, b"both have the last one") && world.passes(2, 1, b"and back"));
    world.tick(Duration::from_secs(200));
    world.settle();
    assert!(world.passes(1, 2, b"the old sessions are gone"));
    assert_eq!(world.device(1).by_session.len(), 1);
    assert_eq!(world.device(2).by_session.len(), 1);
}

#[test]
fn different_preshared_keys_never_agree() {
    let mut world = World::new([1, 2]);
    let mut other = peer(1);
    other.preshared_key = Some(PresharedKey::generate());
    world.set_peer(2, other);
    world.set_peer(1, dialled(2));
    world.settle();
    assert_eq!(world.handshakes(1, 2), 0);
    assert!(!world.passes(1, 2, b"x"));
}

#[test]
fn a_peer_with_a_new_identity_takes_over_the_address() {
    let mut world = World::connected_pair();
    let replacement = PeerConfig {
        public_key: key(3).public_key(),
        ..peer(1)
    };
    world.set_peer(2, replacement);
    world.send(1, &packet(1, 2, b"the old identity"));
    world.settle();
    assert!(
        world.packets(2).is_empty(),
        "the address is no longer its own"
    );
    let mut config = config(1);
    config.private_key = key(3);
    world
        .devices
        .insert(1, Device::new(&config, world.now).unwrap());
    world.set_peer(1, dialled(2));
    world.settle();
    assert!(world.passes(1, 2, b"the new identity"));
}
