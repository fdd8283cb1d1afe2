//! Peers that are plain WireGuard, as nodes with the `kernel` engine are: they ask nothing, answer nothing and have no relay,
//! though we were told of one.

use super::*;

/// Node 1 follows node 0 by UDP, its only path.
fn world() -> World {
    let mut world = World::new();
    world.plain = true;
    world.blocked = [[RELAY].into(), [RELAY].into()];
    let config = PeerConfig {
        relay: None,
        ..config(0)
    };
    world.routes[1] = Route::new(&config, world.now);
    world.routes[1].set_session(true);
    world
}

/// A handshake that node 0 began has come to its end by UDP.
fn shake(world: &mut World) {
    let by = Path::Udp {
        local: Some(0),
        remote: world.shown(1),
    };
    world.routes[0].heard(by, Heard::Handshake, world.now);
    world.obey(0);
    // Node 1 has sent its answer.
    world.empty_at = None;
}

/// Node 0 takes node 1 for its hub.
fn is_hub(world: &mut World) {
    let config = PeerConfig {
        endpoints: vec![place(1)],
        carrier_possible: true,
        relay: None,
        ..config(1)
    };
    world.routes[0] = Route::new(&config, world.now);
}

fn silences(world: &World) -> usize {
    let told = world.told[0].iter();
    told.filter(|told| told.1 == Order::TellSilent).count()
}

/// Does what was ordered in the last second: handshakes, which reach whoever is there.
fn shake_if_ordered(world: &mut World) {
    let since = world.now - s(1);
    let wanted = |told: &&(Instant, Order)| told.0 > since && told.1 == Order::Initiate;
    if world.told[0].iter().any(|told| wanted(&told)) {
        shake(world);
    }
}

#[test]
fn a_peer_that_answers_no_question_is_reached_where_it_is_heard() {
    let mut world = world();
    shake(&mut world);
    world.pass(s(60), BOTH);
    assert_eq!(world.kinds(), [Some(DIRECT); 2]);
    assert_eq!(world.lost_at, []);
}

#[test]
fn a_peer_that_answers_no_question_is_followed_when_it_moves() {
    let mut world = world();
    shake(&mut world);
    world.pass(s(10), BOTH);
    world.symmetric[1] = true;
    let moved_at = world.now;
    world.pass(s(20), BOTH);
    let lost = world.lost_since(moved_at);
    assert!(lost.iter().all(|after| *after < s(1)), "{lost:?}");
}

#[test]
fn a_pause_takes_no_path_from_a_peer_that_answers_no_question() {
    let mut world = world();
    shake(&mut world);
    world.pass(s(10), BOTH);
    world.pass(s(300), &[]);
    world.pass(s(20), BOTH);
    assert_eq!(world.lost_at, []);
}

/// It says nothing for 10 s, and nothing is wrong.
#[test]
fn a_peer_that_only_listens_is_found_out_once() {
    let mut world = world();
    shake(&mut world);
    let start = world.now;
    for _ in 0..60 {
        world.pass(s(1), &[0]);
        shake_if_ordered(&mut world);
    }
    let lost = world.lost_since(start);
    assert!(lost.iter().all(|after| *after < s(6)), "{lost:?}");
    let told = world.told[0].iter().map(|told| told.1);
    let silent = told.filter(|told| matches!(told, Order::TellSilent | Order::Initiate));
    assert_eq!(silent.count(), 2);
}

/// Its machine was started again with another engine; the key is the same.
#[test]
fn a_peer_that_answers_no_more_is_found_out_by_a_handshake() {
    let mut world = World::new();
    shake(&mut world);
    world.pass(s(20), BOTH);
    let now = self::world();
    world.plain = true;
    world.blocked = now.blocked;
    world.routes[1] = now.routes.into_iter().nth(1).unwrap();
    let changed_at = world.now;
    shake(&mut world);
    for _ in 0..60 {
        world.pass(s(1), BOTH);
        shake_if_ordered(&mut world);
    }
    let lost = world.lost_since(changed_at);
    assert!(lost.iter().all(|after| *after < s(6)), "{lost:?}");
}

#[test]
fn a_peer_that_learns_to_answer_is_judged_by_its_answers() {
    let mut world = world();
    shake(&mut world);
    world.pass(s(20), BOTH);
    let now = World::new();
    world.plain = false;
    world.blocked = now.blocked;
    world.routes[1] = now.routes.into_iter().nth(1).unwrap();
    shake(&mut world);
    world.pass(s(20), BOTH);
    let cut_at = world.now;
    world.blocked[0] = [DIRECT].into();
    world.pass(s(60), BOTH);
    assert_eq!(world.kinds(), [Some(RELAY); 2]);
    let lost = world.lost_since(cut_at);
    assert!(lost.iter().all(|after| *after < s(5)), "{lost:?}");
}

/// It may be cut off before its first answer.
#[test]
fn a_peer_that_never_could_answer_is_found_behind_the_relay() {
    let mut world = World::new();
    shake(&mut world);
    world.blocked = [[DIRECT].into(), [DIRECT].into()];
    let cut_at = world.now;
    world.pass(s(30), BOTH);
    assert_eq!(world.kinds(), [Some(RELAY); 2]);
    let lost = world.lost_since(cut_at);
    assert!(lost.iter().all(|after| *after < s(5)), "{lost:?}");
}

/// Silence has a node dial carriers, which a hub in the kernel does not take.
#[test]
fn a_hub_that_answers_no_question_is_silent_only_until_it_is_known() {
    let mut world = world();
    is_hub(&mut world);
    shake(&mut world);
    for second in 0..600 {
        world.pass(s(1), &[]);
        shake_if_ordered(&mut world);
        if second % 120 == 119 {
            shake(&mut world);
        }
        if second == 20 {
            assert!((1..=2).contains(&silences(&world)));
            world.told = Default::default();
        }
    }
    assert_eq!(silences(&world), 0);
}

/// Carriers are for networks such as this one.
#[test]
fn a_hub_of_which_only_handshakes_come_is_silent_after_each() {
    let mut world = world();
    world.plain = false;
    is_hub(&mut world);
    world.blocked = [[DIRECT].into(), [DIRECT].into()];
    for round in 0..20 {
        world.told = Default::default();
        shake(&mut world);
        for _ in 0..15 {
            world.pass(s(1), &[0]);
            shake_if_ordered(&mut world);
        }
        assert_ne!(silences(&world), 0, "round {round}");
    }
    let carrier = Path::Carrier(CarrierId(1));
    world.routes[0].set_carrier(Some(CarrierId(1)), world.now);
    // The agent looks for as long before it takes a carrier for one that is not needed.
    world.pass(s(30), &[]);
    assert_eq!(world.routes[0].path(), Some(carrier));
    shake(&mut world);
    world.pass(s(10), &[0]);
    assert_eq!(world.routes[0].path(), Some(carrier));
}
