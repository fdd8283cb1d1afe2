//! The time in initiations, when somebody sets the clock.

use std::time::Duration;

use super::world::{World, dialled, is_initiation};
use crate::noise::{Noise, SessionIndex, announced_session};

/// Sets the clock forward.
fn set_forward(world: &mut World, at: u8, by: Duration) {
    machine(world, at).fall_behind(by);
}

fn machine(world: &mut World, at: u8) -> &mut Noise {
    let peer = world.device(at).peers.values_mut().next().unwrap();
    peer.noise_mut()
}

/// The machines that have made the initiations that wait to be sent; nobody gets them.
fn callers(world: &mut World, at: u8) -> Vec<SessionIndex> {
    let sent = world.take(at).into_iter().map(|(_, datagram)| datagram);
    let initiations = sent.filter(|datagram| is_initiation(datagram));
    let sessions = initiations.filter_map(|initiation| announced_session(&initiation));
    sessions.map(SessionIndex::of_session).collect()
}

/// A node that calls in vain.
fn calling() -> World {
    let mut world = World::new([1]);
    world.set_peer(1, dialled(2));
    assert_eq!(callers(&mut world, 1).len(), 1);
    world
}

#[test]
fn who_calls_in_vain_calls_anew_as_soon_as_the_clock_was_set_forward() {
    let mut world = calling();
    let before = machine(&mut world, 1).index();
    set_forward(&mut world, 1, YEAR);
    world.tick(TICK);
    let callers_now = callers(&mut world, 1);
    assert_eq!(callers_now, [machine(&mut world, 1).index()]);
    assert_ne!(callers_now, [before]);
    world.tick(TICK);
    assert_eq!(callers(&mut world, 1), [], "once for each time");
}

#[test]
fn a_clock_that_is_set_back_or_moves_by_seconds_changes_no_machine() {
    let mut world = calling();
    let before = machine(&mut world, 1).index();
    set_forward(&mut world, 1, Duration::from_secs(4));
    world.tick(TICK);
    machine(&mut world, 1).run_ahead(YEAR);
    world.tick(TICK);
    assert_eq!(machine(&mut world, 1).index(), before);
}

/// If the clock was set wrong, and then right again, a peer that was shown the wrong time would refuse every later one.
#[test]
fn a_peer_that_answers_is_shown_no_later_time_than_need_be() {
    let mut world = World::connected_pair();
    let before = machine(&mut world, 1).index();
    set_forward(&mut world, 1, YEAR);
    world.tick(TICK);
    let now = world.now;
    world.device(1).handle_refresh(now);
    world.settle();
    assert_eq!(world.handshakes(1, 2), 1);
    assert_eq!(machine(&mut world, 1).index(), before);
}

#[test]
fn the_session_stays_while_a_peer_is_called_with_a_later_time() {
    let mut world = World::connected_pair();
    let now = world.now;
    world.device(1).handle_refresh(now);
    assert_eq!(callers(&mut world, 1).len(), 1);
    set_forward(&mut world, 1, YEAR);
    world.tick(TICK);
    assert_eq!(callers(&mut world, 1).len(), 1, "which is lost again");
    assert!(world.passes(1, 2, b"by the session of before"));
    assert!(world.passes(2, 1, b"and back"));
    let now = world.now;
    world.device(1).handle_refresh(now);
    world.settle();
    assert_eq!(world.handshakes(1, 2), 1);
    assert!(world.passes(1, 2, b"by the new one") && world.passes(2, 1, b"and back"));
    world.tick(Duration::from_secs(200));
    assert_eq!(world.device(1).by_session.len(), 1);
}

const TICK: Duration = Duration::from_millis(250);
const YEAR: Duration = Duration::from_secs(365 * 24 * 60 * 60);
