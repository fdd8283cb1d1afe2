//! Connections whose owner or listener is gone: what is written still arrives, and they take nothing from others.

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
    assert_eq!(world.sides[1].stack.counters().refused_closed, 0);
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

#[test]
fn a_slow_reader_gets_all_that_the_owner_has_left_behind() {
    let mut world = World::new();
    world.sides[1].stack.buffers = Buffers::new(SLOW_BUFFER_BYTES);
    let mut listener = world.sides[1].stack.listen(address(2)).unwrap();
    let mut near = world.sides[0].stack.dial(address(2)).unwrap();
    world.settle();
    let (mut far, _) = accepted(&mut listener).unwrap();
    assert_eq!(write(&mut near, &[7; LEFT_BYTES]), LEFT_BYTES);
    drop(near);
    let mut came = 0;
    while came < LEFT_BYTES {
        world.pass(Duration::from_secs(1));
        let mut space = [0; 2 * 1024];
        let mut buffer = ReadBuf::new(&mut space);
        let read = Pin::new(&mut far).poll_read(&mut context(), &mut buffer);
        assert!(
            matches!(read, Poll::Ready(Ok(()))) && !buffer.filled().is_empty(),
            "{read:?} after {came} bytes"
        );
        came += buffer.filled().len();
    }
    world.pass(Duration::from_secs(1));
    assert_eq!(read(&mut far), (Vec::new(), true));
}

#[test]
fn a_reader_that_takes_hardly_anything_is_not_waited_for_without_end() {
    let mut world = World::new();
    world.sides[1].stack.buffers = Buffers::new(SLOW_BUFFER_BYTES);
    let mut listener = world.sides[1].stack.listen(address(2)).unwrap();
    let mut near = world.sides[0].stack.dial(address(2)).unwrap();
    world.settle();
    let (mut far, _) = accepted(&mut listener).unwrap();
    assert_eq!(write(&mut near, &[7; LEFT_BYTES]), LEFT_BYTES);
    drop(near);
    let left = world.now;
    let mut space = [0; 100];
    while world.sides[0].stack.counters().connections > 0 {
        world.pass(Duration::from_secs(1));
        // The end is seen at the other side.
        let _ = Pin::new(&mut far).poll_read(&mut context(), &mut ReadBuf::new(&mut space));
    }
    let lingered = world.now - left;
    let most = Duration::from_secs(15 * 60);
    assert!(
        (most..most + Duration::from_secs(2)).contains(&lingered),
        "{lingered:?}"
    );
}

#[test]
fn a_caller_whose_listener_goes_before_the_handshake_is_reset() {
    let mut world = World::new();
    let listener = world.sides[1].stack.listen(address(2)).unwrap();
    let mut near = world.sides[0].stack.dial(address(2)).unwrap();
    world.sides[0].settle_alone(world.now);
    let syn = world.sides[0].stack.poll_packet().unwrap();
    world.carry(0, &syn.packet, syn.work);
    drop(listener);
    world.settle();
    let mut space = [0; 8];
    let read = Pin::new(&mut near).poll_read(&mut context(), &mut ReadBuf::new(&mut space));
    assert!(
        matches!(&read, Poll::Ready(Err(error)) if error.kind() == io::ErrorKind::ConnectionReset),
        "{read:?}"
    );
    let counters = world.sides[1].stack.counters();
    assert_eq!((counters.connections, counters.accepted), (0, 0));
}

/// Full long before the rest has left the sender.
const SLOW_BUFFER_BYTES: usize = 32 * 1024;
const LEFT_BYTES: usize = 200 * 1024;
