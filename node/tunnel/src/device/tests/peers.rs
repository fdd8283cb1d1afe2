//! Peers that are changed or removed while others go on: addresses, permissions, indexes.

use super::world::{World, at, dialled, is_initiation, key, packet, peer};
use crate::config::{Allow, PeerConfig};
use crate::error::TunnelError;

#[test]
fn a_peer_cannot_speak_for_the_narrower_prefix_of_another() {
    let mut world = World::new([1, 2, 3]);
    let mut wide = peer(1);
    wide.allowed_ips = vec!["10.0.0.0/24".parse().unwrap()];
    world.set_peer(2, wide);
    world.set_peer(2, peer(3));
    world.set_peer(1, dialled(2));
    world.settle();
    assert!(world.passes(1, 2, b"own address"));
    world.send(1, &packet(3, 2, b"stolen address"));
    world.settle();
    assert!(world.packets(2).is_empty());
    assert_eq!(world.status(2, 1).drops.spoofed, 1);
    assert!(world.device(2).remove_peer(&key(3).public_key()));
    world.send(1, &packet(3, 2, b"nobody else's address now"));
    world.settle();
    assert_eq!(world.packets(2).len(), 1);
    assert_eq!(world.device(2).counters().spoofed, 1);
    assert!(world.device(2).remove_peer(&key(1).public_key()));
    assert_eq!(world.device(2).counters().spoofed, 1);
}

#[test]
fn a_removed_peer_is_cut_in_both_directions_at_once() {
    let mut world = World::connected_pair();
    world.send(1, &packet(1, 2, b"under way"));
    let under_way = world.take(1).remove(0).1;
    assert!(world.device(2).remove_peer(&key(1).public_key()));
    world.deliver(2, at(1), &under_way);
    world.send(2, &packet(2, 1, b"answer"));
    assert!(world.packets(2).is_empty() && world.take(2).is_empty());
    let counters = world.device(2).counters();
    assert_eq!((counters.unknown_session, counters.no_peer), (1, 1));
    assert!(!world.device(2).remove_peer(&key(1).public_key()));
}

#[test]
fn changing_one_peer_keeps_the_sessions_of_the_others() {
    let mut world = World::new([1, 2, 3]);
    for n in [1, 3] {
        world.set_peer(2, peer(n));
        world.set_peer(n, dialled(2));
    }
    world.settle();
    let mut changed = peer(1);
    changed.keepalive_s = Some(30);
    world.set_peer(2, changed);
    world.seen.clear();
    assert!(world.passes(3, 2, b"undisturbed"));
    assert!(
        !world
            .seen
            .iter()
            .any(|(from, _, datagram)| *from == 3 && is_initiation(datagram))
    );
}

#[test]
fn a_new_ingress_rule_holds_from_the_next_packet_without_a_handshake() {
    let mut world = World::connected_pair();
    world.seen.clear();
    let closed = PeerConfig {
        ingress: Vec::new(),
        ..peer(1)
    };
    world.set_peer(2, closed);
    assert!(!world.passes(1, 2, b"no longer permitted"));
    world.set_peer(2, peer(1));
    assert!(world.passes(1, 2, b"permitted again"));
    assert!(
        !world
            .seen
            .iter()
            .any(|(_, _, datagram)| is_initiation(datagram))
    );
    assert_eq!(world.status(2, 1).drops.filtered.no_rule, 1);
}

#[test]
fn a_permission_counts_what_it_admits_while_others_come_and_go() {
    let mut world = World::connected_pair();
    let admitted = |world: &mut World| -> u64 {
        let rules = world.status(2, 1).rules;
        rules.iter().map(|status| status.admitted).sum()
    };
    let before = admitted(&mut world);
    assert!(world.passes(1, 2, b"one"));
    let mut more = peer(1);
    more.ingress.insert(0, Allow::tcp(9..=9));
    world.set_peer(2, more);
    assert!(world.passes(1, 2, b"two"));
    assert_eq!(admitted(&mut world), before + 2);
}

#[test]
fn session_indexes_are_never_shared() {
    let mut world = World::new([1]);
    for n in 2..200 {
        world.set_peer(1, peer(n));
    }
    assert_eq!(world.device(1).by_session.len(), 198);
}

#[test]
fn our_own_key_is_no_peer() {
    let mut world = World::new([1]);
    let now = world.now;
    assert!(matches!(
        world.device(1).set_peer(peer(1), now),
        Err(TunnelError::OwnKey)
    ));
}
