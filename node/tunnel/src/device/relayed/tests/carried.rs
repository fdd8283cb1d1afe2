//! A node whose UDP to the hub is blocked, with a carrier that comes and goes.

use super::*;

/// Node 1 has no UDP to the hub, and speaks to it and through its relay over a carrier.
fn carried() -> World {
    let mut world = World::new();
    world.pass(Duration::from_secs(1));
    assert_eq!(world.exchange(), 2);
    world.blocked.insert((1, HUB));
    let silent = TunnelEvent::PathSilent {
        peer: key(HUB).public_key(),
    };
    let cut_at = world.now;
    while !world.told(1, silent) {
        world.pass(STEP);
        assert!(world.now - cut_at < Duration::from_secs(14), "never told");
    }
    world.carried = Some(1);
    let now = world.now;
    let hub = key(HUB).public_key();
    let id = world.nodes_carrier();
    world.device(1).handle_carrier_opened(id, hub, now);
    world.pass(Duration::from_secs(1));
    assert!(world.passes(1, HUB, b"to the hub") && world.passes(HUB, 1, b"and back"));
    assert_eq!(world.path(1, HUB), Some(PathKind::Carrier));
    assert_eq!(world.path(HUB, 1), Some(PathKind::Carrier));
    assert_eq!(
        world.exchange(),
        2,
        "the relay is reached over the carrier, too"
    );
    world
}

/// The carrier ends, and both ends of it are told.
fn lose_carrier(world: &mut World) {
    world.carried = None;
    let now = world.now;
    let id = world.nodes_carrier();
    for (n, id) in [(1, id), (HUB, CarrierId(0))] {
        world.device(n).handle_carrier_closed(id, now);
    }
}

#[test]
pub(super) fn a_node_whose_udp_is_blocked_speaks_to_hub_and_relay_over_its_carrier() {
    let mut world = carried();
    world.blocked.clear();
    world.pass(Duration::from_secs(17));
    assert_eq!(world.path(1, HUB), Some(PathKind::Direct));
    assert_eq!(world.path(HUB, 1), Some(PathKind::Direct));
    lose_carrier(&mut world);
    world.pass(Duration::from_secs(1));
    assert!(world.passes(1, HUB, b"to the hub") && world.passes(HUB, 1, b"and back"));
    assert_eq!(world.exchange(), 2);
}

#[test]
pub(super) fn a_carrier_in_use_that_ends_takes_no_relay_along_while_udp_passes_again() {
    let mut world = carried();
    // Nobody talks any more, so nobody looks whether the relay works.
    world.pass(Duration::from_secs(11));
    assert_eq!(world.path(HUB, 1), Some(PathKind::Carrier));
    world.blocked.clear();
    lose_carrier(&mut world);
    world.pass(Duration::from_secs(1));
    assert!(world.passes(2, 1, b"by the relay"));
}
