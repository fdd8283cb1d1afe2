//! Connections whose owner is gone.

use super::*;

/// The first side to finish is the one that waits in case its last acknowledgement is lost.
fn over(world: &mut World, mut near: NetstackStream, far: BoxStream) {
    finish(&mut near);
    world.settle();
    drop(far);
    world.settle();
    drop(near);
    world.settle();
}

#[test]
fn connections_that_are_over_take_nothing_from_those_to_come() {
    let mut world = World::new();
    let mut listener = world.sides[1].stack.listen(address(2)).unwrap();
    let next = |world: &World| world.sides.each_ref().map(|it| it.stack.buffers.next());
    let largest = next(&world);
    for _ in 0..200 {
        let near = world.sides[0].stack.dial(address(2)).unwrap();
        world.settle();
        let (far, _) = accepted(&mut listener).unwrap();
        over(&mut world, near, far);
        world.pass(Duration::from_millis(25));
    }
    assert_eq!(next(&world), largest);
}

#[test]
fn who_lost_the_last_acknowledgement_is_told_again() {
    let (mut world, mut near, far) = World::connected();
    finish(&mut near);
    world.settle();
    drop((near, far));
    world.sides[1].settle_alone(world.now);
    let fin = world.sides[1].stack.poll_packet().unwrap();
    world.carry(1, &fin.packet, fin.work);
    world.lose_every = 1;
    world.pass(Duration::from_millis(50));
    world.lose_every = 0;
    world.pass(Duration::from_secs(5));
    let counters = world.sides.each_ref().map(|it| it.stack.counters());
    assert_eq!(counters[1].connections, 0);
    assert_eq!(counters[0].refused_closed, 0);
}

#[test]
fn a_connection_that_is_over_stands_in_the_way_of_no_new_one() {
    let mut world = World::new();
    let mut listener = world.sides[1].stack.listen(address(2)).unwrap();
    let near = world.sides[0].stack.dial(address(2)).unwrap();
    world.sides[0].settle_alone(world.now);
    let syn = world.sides[0].stack.poll_packet().unwrap();
    world.carry(0, &syn.packet, syn.work);
    world.settle();
    let (mut far, _) = accepted(&mut listener).unwrap();
    finish(&mut far);
    world.settle();
    drop((near, far));
    world.settle();
    world.carry(0, &syn.packet, syn.work);
    world.sides[1].settle_alone(world.now);
    let answer = world.sides[1].stack.poll_packet().unwrap();
    let headers = Headers::parse(&answer.packet).unwrap();
    assert!(matches!(headers.transport, Transport::Tcp { flags, .. } if flags.syn && flags.ack));
}
