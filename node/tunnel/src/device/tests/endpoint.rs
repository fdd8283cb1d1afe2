//! Where a peer is: what moves it, how it is sought while it does not answer, what the underlay says of it.

use std::collections::BTreeSet;
use std::time::Duration;

use super::world::{
    World, address, at, config, dialled, expire, is_initiation, key, number_at, packet, peer,
};
use crate::config::PeerConfig;
use crate::device::{Device, GRID};
use crate::status::TunnelEvent;

#[test]
fn the_endpoint_follows_authenticated_data() {
    let mut world = World::connected_pair();
    world.events(2);
    world.send(1, &packet(1, 2, b"from a new address"));
    let (_, datagram) = world.take(1).remove(0);
    world.deliver(2, at(9), &datagram);
    let moved = TunnelEvent::EndpointChanged {
        peer: key(1).public_key(),
        endpoint: address(9),
    };
    assert_eq!(world.events(2), vec![moved]);
    world.send(2, &packet(2, 1, b"reply"));
    assert_eq!(world.take(2)[0].0, address(9));
}

#[test]
fn no_forgery_and_no_recording_moves_the_endpoint() {
    let mut world = World::connected_pair();
    world.send(1, &packet(1, 2, b"x"));
    let (_, data) = world.take(1).remove(0);
    let mut forged = data.clone();
    *forged.last_mut().unwrap() ^= 1;
    world.deliver(2, at(9), &forged);
    world.deliver(2, at(1), &data);
    world.deliver(2, at(9), &data);
    let recorded: Vec<_> = world
        .seen
        .iter()
        .filter(|(from, _, _)| *from == 1)
        .map(|seen| seen.2.clone())
        .collect();
    for datagram in recorded {
        world.deliver(2, at(9), &datagram);
    }
    assert_eq!(world.status(2, 1).endpoint, Some(address(1)));
}

#[test]
fn a_recorded_initiation_moves_no_endpoint_after_a_restart() {
    let mut world = World::connected_pair();
    let initiation = world
        .seen
        .iter()
        .find(|seen| is_initiation(&seen.2))
        .unwrap()
        .2
        .clone();
    let fresh = Device::new(&config(2), world.now).unwrap();
    world.devices.insert(2, fresh);
    world.set_peer(2, peer(1));
    world.deliver(2, at(9), &initiation);
    assert_eq!(
        world.take(2).len(),
        1,
        "the recording is answered, since nothing tells it from an original"
    );
    let status = world.status(2, 1);
    assert_eq!((status.endpoint, status.last_handshake_age), (None, None));
}

#[test]
fn an_unanswered_node_keeps_trying_with_growing_pauses_forever() {
    let mut world = World::pair();
    world.take(1);
    let mut pauses = Vec::new();
    for _ in 0..12 {
        expire(&mut world, 1);
        let gave_up_at = world.now;
        world.tick(GRID);
        let unanswered = TunnelEvent::HandshakeUnanswered {
            peer: key(2).public_key(),
        };
        assert!(world.events(1).contains(&unanswered));
        while !world
            .take(1)
            .iter()
            .any(|(_, datagram)| is_initiation(datagram))
        {
            world.tick(GRID);
            assert!(world.now - gave_up_at < Duration::from_secs(100));
        }
        pauses.push(world.now - gave_up_at);
    }
    assert!(pauses[0] < Duration::from_secs(3));
    assert!(
        pauses[6..]
            .iter()
            .all(|pause| *pause > Duration::from_secs(30))
    );
    world.tick(GRID);
    world.settle();
    expire(&mut world, 1);
    world.tick(Duration::from_secs(100));
    world.tick(Duration::from_secs(100));
    world.settle();
    assert_eq!(world.handshakes(1, 2), 1);
    assert!(world.passes(1, 2, b"alive again"));
}

#[test]
fn a_node_that_is_dialled_does_not_call_after_peers_that_left() {
    let mut world = World::connected_pair();
    expire(&mut world, 2);
    for _ in 0..400 {
        world.tick(GRID);
        assert!(world.take(2).is_empty());
    }
}

#[test]
fn candidates_are_tried_in_turn_until_one_answers() {
    let mut world = World::new([1, 2]);
    world.set_peer(2, peer(1));
    let mut config = peer(2);
    config.endpoints = [7, 8, 2].map(address).to_vec();
    world.set_peer(1, config);
    let mut tried = Vec::new();
    for _ in 0..4 {
        for (remote, datagram) in world.take(1) {
            tried.push(remote);
            if number_at(remote) == Some(2) {
                world.deliver(2, at(1), &datagram);
            }
        }
        world.tick(Duration::from_millis(600));
    }
    world.settle();
    assert_eq!(tried[..3], [7, 8, 2].map(address));
    assert_eq!(world.status(1, 2).endpoint, Some(address(2)));
    assert!(world.passes(1, 2, b"through the third"));
}

#[test]
fn without_an_endpoint_nothing_is_queued_and_the_loss_is_counted() {
    let mut world = World::new([1, 2]);
    world.set_peer(2, peer(1));
    world.send(2, &packet(2, 1, b"where to?"));
    assert!(world.take(2).is_empty());
    assert_eq!(world.status(2, 1).drops.no_endpoint, 1);
}

#[test]
fn a_refused_port_is_reported_for_the_peers_that_may_be_there() {
    let mut world = World::pair();
    let now = world.now;
    world.device(1).handle_port_unreachable(address(2), now);
    world.device(1).handle_port_unreachable(address(9), now);
    let unreachable = TunnelEvent::PortUnreachable {
        peer: key(2).public_key(),
        endpoint: address(2),
    };
    assert_eq!(world.events(1), vec![unreachable]);
    assert_eq!(
        world.status(1, 2).port_unreachable_age,
        Some(Duration::ZERO)
    );
    world.settle();
    assert_eq!(
        world.status(1, 2).port_unreachable_age,
        None,
        "a handshake disproves it"
    );
}

#[test]
fn a_rebind_tells_the_peers_where_we_are() {
    let mut world = World::connected_pair();
    let now = world.now;
    world.device(1).handle_rebind(now);
    let (_, keepalive) = world.take(1).remove(0);
    world.deliver(2, at(9), &keepalive);
    assert_eq!(world.status(2, 1).endpoint, Some(address(9)));
}

#[test]
fn a_refresh_finds_a_peer_that_lost_its_sessions_by_a_restart() {
    let mut world = World::connected_pair();
    let restarted = Device::new(&config(2), world.now).unwrap();
    world.devices.insert(2, restarted);
    world.set_peer(2, peer(1));
    assert!(!world.passes(1, 2, b"into the void"));
    let now = world.now;
    world.device(1).handle_refresh(now);
    world.settle();
    assert!(world.passes(2, 1, b"back again"));
    assert!(world.passes(1, 2, b"and forth"));
}

/// WireGuard makes a new initiation each 5 s, in which ten addresses have their turn.
#[test]
fn every_candidate_has_its_turn_however_many_there_are() {
    let mut world = World::new([1]);
    let candidates: Vec<_> = (100..116).map(address).collect();
    let many = PeerConfig {
        candidates: candidates.clone(),
        ..dialled(2)
    };
    world.set_peer(1, many);
    let (mut asked, mut turns) = (BTreeSet::new(), 0);
    for _ in 0..4 {
        let now = world.now;
        world.device(1).handle_refresh(now);
        for _ in 0..20 {
            world.tick(GRID);
            for (remote, datagram) in world.take(1) {
                assert!(is_initiation(&datagram));
                turns += usize::from(remote != address(2));
                asked.insert(remote);
            }
        }
    }
    assert_eq!(asked.len(), candidates.len() + 1, "{asked:?}");
    assert!(turns <= 40, "{turns} in 20 s");
}
