//! How soon a fresh connection is fast, in round trips, although whole batches are joined and acknowledged at once.

use super::*;

/// One way in [`World::cross`].
const CROSSING: Duration = Duration::from_millis(5);
const BYTES: usize = 1_000_000;

/// Until all has come; None: that takes too long.
fn crossings(world: &mut World, near: &mut NetstackStream, far: &mut BoxStream) -> Option<usize> {
    assert_eq!(write(near, &[7; BYTES]), BYTES);
    let mut received = 0;
    (1..200).find(|_| {
        world.cross(CROSSING);
        received += read(far).0.len();
        received == BYTES
    })
}

#[test]
fn the_window_doubles_with_each_round_trip() {
    let (mut world, mut near, mut far) = World::connected();
    // From 2 KiB to 128 KiB, which is what one crossing carries here, are six doublings.
    let fresh = crossings(&mut world, &mut near, &mut far);
    assert!(fresh.is_some_and(|it| it <= 2 * 12), "{fresh:?} crossings");
}

#[test]
fn what_is_small_is_not_acknowledged_at_once() {
    let (mut world, mut near, mut far) = World::connected();
    world.pass(Duration::from_millis(50));
    world.carried = 0;
    write(&mut near, b"question");
    world.settle();
    assert_eq!((read(&mut far).0.len(), world.carried), (8, 1));
    write(&mut far, b"answer");
    world.settle();
    assert_eq!((read(&mut near).0.len(), world.carried), (6, 2));
}
