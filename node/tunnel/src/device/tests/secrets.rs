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

/// Two nodes that have met with the first of two keys; only node 2 has heard of the second.
struct Missed {
    world: World,
    keys: [PresharedKey; 2],
}

impl Missed {
    fn new() -> Self {
        let mut missed = Self {
            world: World::pair(),
            keys: [PresharedKey::generate(), PresharedKey::generate()],
        };
        missed.keyed(2, dialled(1), 0);
        missed.keyed(1, dialled(2), 0);
        assert!(missed.world.passes(1, 2, b"the first key"));
        missed.keyed(2, dialled(1), 1);
        missed
    }

    fn keyed(&mut self, at: u8, config: PeerConfig, number: usize) {
        let preshared_key = Some(self.keys[number].clone());
        let config = PeerConfig {
            preshared_key,
            ..config
        };
        self.world.set_peer(at, config);
        self.world.settle();
    }

    /// Node 1 has no session any more, and still only the first key.
    fn forgets(&mut self, config: PeerConfig) {
        let fresh = Device::new(&super::world::config(1), self.world.now).unwrap();
        self.world.devices.insert(1, fresh);
        self.keyed(1, config, 0);
    }

    /// One more initiation, as after 5 s without an answer.
    fn calls(&mut self, from: u8) {
        let now = self.world.now;
        self.world.device(from).handle_refresh(now);
        self.world.settle();
    }
}

#[test]
fn a_node_that_missed_a_new_key_gets_in_with_the_former_one() {
    let mut missed = Missed::new();
    missed.forgets(dialled(2));
    assert_eq!(
        missed.world.handshakes(1, 2),
        0,
        "the newest key is tried first"
    );
    missed.calls(1);
    assert_eq!(missed.world.handshakes(1, 2), 1);
    assert!(missed.world.passes(1, 2, b"with the former key"));
    assert!(missed.world.passes(2, 1, b"and back"));
    missed.calls(1);
    assert_eq!(missed.world.handshakes(1, 2), 1, "now without delay");
    missed.keyed(1, dialled(2), 1);
    assert!(missed.world.passes(1, 2, b"it has heard of the newest"));
    missed.world.tick(Duration::from_secs(11));
    assert!(missed.world.passes(2, 1, b"which is the only one now"));
    for number in [1, 2] {
        assert_eq!(missed.world.device(number).by_session.len(), 1);
    }
}

#[test]
fn a_node_that_missed_a_new_key_is_called_with_the_former_one() {
    let mut missed = Missed::new();
    missed.forgets(peer(2));
    missed.calls(2);
    let alone = missed.world.handshakes(1, 2);
    assert_eq!(alone, 0, "a kernel would drop what came at once");
    missed.world.tick(Duration::from_millis(250));
    missed.world.settle();
    assert_eq!(missed.world.handshakes(1, 2), 1);
    assert!(missed.world.passes(2, 1, b"with the former key"));
    assert!(missed.world.passes(1, 2, b"and back"));
}

/// The key reaches the other side a moment later, as it does when both are told at once.
#[test]
fn a_caller_that_was_told_first_is_through_with_the_new_key_soon() {
    let mut missed = Missed::new();
    missed.calls(2);
    missed.keyed(1, peer(2), 1);
    missed.world.tick(Duration::from_secs(6));
    assert!(missed.world.passes(2, 1, b"with either"));
    let caller = missed.world.device(2).peers.values_mut().next().unwrap();
    assert!(
        caller.noise_mut().has_session(),
        "still with the former key"
    );
}

#[test]
fn a_key_between_that_was_never_used_does_not_displace_the_former_one() {
    let mut missed = Missed::new();
    for _ in 0..5 {
        missed.keys[1] = PresharedKey::generate();
        missed.keyed(2, dialled(1), 1);
    }
    missed.forgets(dialled(2));
    missed.calls(1);
    assert!(
        missed
            .world
            .passes(1, 2, b"with the last key that both had")
    );
}

#[test]
fn the_former_key_is_worth_nothing_once_the_newest_was_used() {
    let mut missed = Missed::new();
    missed.keyed(1, dialled(2), 1);
    assert!(missed.world.passes(1, 2, b"the second key"));
    missed.world.tick(Duration::from_secs(11));
    missed.forgets(dialled(2));
    for _ in 0..5 {
        missed.calls(1);
    }
    assert_eq!(missed.world.handshakes(1, 2), 0);
}

#[test]
fn the_former_key_opens_nothing_after_a_day() {
    let mut missed = Missed::new();
    missed.world.tick(Duration::from_secs(24 * 60 * 60));
    missed.forgets(dialled(2));
    for _ in 0..5 {
        missed.calls(1);
    }
    assert_eq!(missed.world.handshakes(1, 2), 0);
}

#[test]
fn the_former_key_stays_for_as_long_as_the_peer_speaks_with_it() {
    let mut missed = Missed::new();
    let step = Duration::from_secs(5);
    for seconds in (0..25 * 60 * 60).step_by(5) {
        missed.world.tick(step);
        missed.world.settle();
        assert!(missed.world.passes(1, 2, b"there"), "after {seconds} s");
        assert!(missed.world.passes(2, 1, b"and back"), "after {seconds} s");
    }
    missed.keyed(1, dialled(2), 1);
    missed.world.tick(Duration::from_secs(11));
    assert!(missed.world.passes(2, 1, b"with the newest key alone"));
    assert_eq!(missed.world.device(2).by_session.len(), 1);
}

/// Each answer is a session to boringtun, which seals with one in eight of them although nobody can open it.
#[test]
fn answers_that_the_peer_could_not_read_never_become_a_session() {
    let mut world = World::new([1, 2]);
    let shared = Some(PresharedKey::generate());
    let other = PeerConfig {
        preshared_key: shared,
        ..peer(1)
    };
    world.set_peer(2, other);
    world.set_peer(1, dialled(2));
    for _ in 0..20 {
        world.settle();
        let peer = world.device(2).peers.values_mut().next().unwrap();
        assert!(!peer.noise_mut().has_session());
        let now = world.now;
        world.device(1).handle_refresh(now);
    }
}

/// boringtun has eight places for sessions, and puts each answer into the next one, whatever is there.
#[test]
fn initiations_that_cannot_be_read_leave_the_session_where_it_is() {
    let mut world = World::connected_pair();
    world.set_peer(2, with_a_key_of_its_own(dialled(1)));
    stays_connected(&mut world, 2);
}

#[test]
fn nor_do_they_end_that_of_the_former_key() {
    let mut world = World::connected_pair();
    world.set_peer(2, with_a_key_of_its_own(dialled(1)));
    world.set_peer(1, with_a_key_of_its_own(dialled(2)));
    stays_connected(&mut world, 1);
}

fn with_a_key_of_its_own(config: PeerConfig) -> PeerConfig {
    PeerConfig {
        preshared_key: Some(PresharedKey::generate()),
        ..config
    }
}

/// Whatever one of the two calls, packets pass.
fn stays_connected(world: &mut World, caller: u8) {
    for calls in 1..=20 {
        world.settle();
        assert!(world.passes(1, 2, b"by the old session"), "{calls} calls");
        assert!(world.passes(2, 1, b"and back"), "{calls} calls");
        let now = world.now;
        world.device(caller).handle_refresh(now);
    }
}

#[test]
fn handshakes_that_succeed_go_round_all_places_of_one_machine() {
    let mut world = World::pair();
    world.set_peer(2, dialled(1));
    world.settle();
    let indexes = |world: &mut World| {
        [1, 2].map(|number| {
            let peer = world.device(number).peers.values_mut().next().unwrap();
            peer.noise_mut().index()
        })
    };
    let before = indexes(&mut world);
    for caller in [1, 1, 2, 1, 2, 2].into_iter().cycle().take(40) {
        let now = world.now;
        world.device(caller).handle_refresh(now);
        world.settle();
        assert!(world.passes(1, 2, b"by the new one") && world.passes(2, 1, b"and back"));
        assert_eq!(indexes(&mut world), before);
    }
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
