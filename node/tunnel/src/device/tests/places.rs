//! Initiations for a machine whose next place for a session is taken by one in use.

use std::time::Duration;

use blake2::digest::consts::U16;
use blake2::digest::{Digest, KeyInit, Mac};
use blake2::{Blake2s256, Blake2sMac};

use super::world::{World, at, dialled, is_initiation, key};
use crate::device::Device;
use crate::noise::SessionIndex;

/// Node 2's next session would take the place of the one in which it speaks with node 1.
fn full() -> World {
    let mut world = World::connected_pair();
    world.set_peer(2, dialled(1));
    assert!(world.passes(1, 2, b"by this session") && world.passes(2, 1, b"and back"));
    for _ in 0..PLACES - 1 {
        calls(&mut world, 2);
        world.take(2);
    }
    world
}

/// Begins a handshake.
fn calls(world: &mut World, caller: u8) {
    let now = world.now;
    world.device(caller).handle_refresh(now);
}

/// A new initiation of node 1, which is not delivered.
fn initiation(world: &mut World) -> Vec<u8> {
    calls(world, 1);
    let mut sent = world.take(1).into_iter().map(|(_, datagram)| datagram);
    sent.find(|datagram| is_initiation(datagram)).unwrap()
}

fn machines(world: &mut World) -> Vec<SessionIndex> {
    let device: &mut Device = world.device(2);
    let peer = device.peers.values().next().unwrap();
    peer.indexes().collect()
}

/// Node 2 sends nothing in return, and keeps its only machine.
fn is_unmoved_by(world: &mut World, initiation: &[u8]) {
    let before = machines(world);
    assert_eq!(before.len(), 1);
    world.deliver(2, at(9), initiation);
    assert_eq!(world.take(2), []);
    assert_eq!(machines(world), before);
}

#[test]
fn a_recorded_initiation_changes_nothing() {
    let mut world = full();
    let recorded = world
        .seen
        .iter()
        .find(|(from, _, it)| *from == 1 && is_initiation(it));
    let (_, _, recorded) = recorded.unwrap().clone();
    is_unmoved_by(&mut world, &recorded);
}

/// Whoever knows the public keys of both can make one of which all but the time is right.
#[test]
fn nor_does_a_forged_one() {
    let mut world = full();
    let mut forged = initiation(&mut world);
    forged[TIME_AT] ^= 1;
    let public = key(2).public_key();
    let mac1_key = (Blake2s256::new().chain_update(b"mac1----")).chain_update(public.as_bytes());
    let mac = <Blake2sMac<U16> as KeyInit>::new(&mac1_key.finalize());
    let mac1 = mac.chain_update(&forged[..MAC1_AT]).finalize().into_bytes();
    forged[MAC1_AT..][..mac1.len()].copy_from_slice(&mac1);
    is_unmoved_by(&mut world, &forged);
}

#[test]
fn a_genuine_one_is_answered_and_the_session_stays_until_there_is_another() {
    let mut world = full();
    let before = machines(&mut world);
    let lost = initiation(&mut world);
    world.deliver(2, at(1), &lost);
    assert_eq!(world.take(2).len(), 1, "the answer, which is lost");
    assert_ne!(machines(&mut world)[0], before[0]);
    assert!(world.passes(1, 2, b"by the old session") && world.passes(2, 1, b"and back"));
    world.events(2);
    calls(&mut world, 1);
    world.settle();
    assert_eq!(world.handshakes(2, 1), 1);
    assert!(world.passes(1, 2, b"by the new one") && world.passes(2, 1, b"and back"));
}

#[test]
fn the_machine_that_takes_over_answers_no_recorded_initiation_either() {
    let mut world = full();
    let genuine = initiation(&mut world);
    world.deliver(2, at(1), &genuine);
    assert_eq!(world.take(2).len(), 1);
    let before = machines(&mut world);
    world.deliver(2, at(9), &genuine);
    assert_eq!(world.take(2), []);
    assert_eq!(machines(&mut world), before);
}

/// The kept session has ended by then, and its place is as good as any.
#[test]
fn the_place_of_a_session_whose_time_is_over_is_not_kept() {
    let mut world = full();
    let before = machines(&mut world);
    world.now += Duration::from_secs(180);
    let genuine = initiation(&mut world);
    world.deliver(2, at(1), &genuine);
    assert_eq!(world.take(2).len(), 1);
    assert_eq!(machines(&mut world), before);
}

/// As many as boringtun has.
const PLACES: usize = 8;
const TIME_AT: usize = 88;
const MAC1_AT: usize = 116;
