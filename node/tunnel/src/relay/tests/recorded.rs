//! What somebody can do who once saw a channel's frames, or had its key: never keep a node from its channel.

use std::collections::VecDeque;

use super::*;

const STEP: Duration = Duration::from_millis(5);

/// The first node's control frames on a way that takes its time.
struct Way {
    leg: Duration,
    to_relay: VecDeque<(Instant, Sealed)>,
    to_node: VecDeque<(Instant, Sealed)>,
}

impl Way {
    fn new(leg: Duration) -> Self {
        Self {
            leg,
            to_relay: VecDeque::new(),
            to_node: VecDeque::new(),
        }
    }

    /// What is due arrives, and what is said sets out.
    fn carry(&mut self, world: &mut World) {
        let now = world.now;
        while let Some(answer) = due(&mut self.to_node, now) {
            world.clients[0].handle_control(A, &answer, now);
        }
        while let Some((_, hello)) = world.clients[0].poll_hello(now) {
            self.to_relay.push_back((now + self.leg, hello));
        }
        while let Some(hello) = due(&mut self.to_relay, now) {
            let answer = world.server.handle_control(from(1), A, &hello, now);
            let answer = answer.map(|answer| (now + self.leg, answer));
            self.to_node.extend(answer);
        }
    }
}

fn due(under_way: &mut VecDeque<(Instant, Sealed)>, now: Instant) -> Option<Sealed> {
    let (at, _) = under_way.front()?;
    (*at <= now)
        .then(|| under_way.pop_front())?
        .map(|(_, frame)| frame)
}

impl World {
    /// The answer to the first client's next HELLO, which hears it, too.
    fn answer(&mut self) -> Sealed {
        let (_, hello) = self.clients[0].poll_hello(self.now).unwrap();
        let answer = self.server.handle_control(from(1), A, &hello, self.now);
        let answer = answer.unwrap();
        self.clients[0].handle_control(A, &answer, self.now);
        answer
    }

    /// The first client hears this frame again and again, for longer than a cookie and then a binding are valid; whether data passed
    /// all the time.
    fn passes_while_it_hears(&mut self, recorded: &Sealed) -> bool {
        let mut way = Way::new(Duration::from_millis(20));
        let end = self.now + Duration::from_secs(600);
        while self.now < end {
            self.now += STEP;
            self.greet(1, from(2));
            self.clients[0].handle_control(A, recorded, self.now);
            way.carry(self);
            if self.forward(from(2), B, b"x").is_none() {
                return false;
            }
        }
        true
    }
}

#[test]
fn a_recorded_challenge_keeps_no_channel_unbound() {
    let mut world = World::new();
    let challenge = world.answer();
    world.greet(0, from(1));
    assert!(world.passes_while_it_hears(&challenge));
}

#[test]
fn a_recorded_bound_does_not_keep_a_node_from_saying_hello() {
    let mut world = World::new();
    world.answer();
    let bound = world.answer();
    assert!(world.passes_while_it_hears(&bound));
}

/// A stranger has the relay answer a HELLO that was recorded, and hands that answer to the node.
#[test]
fn a_challenge_for_a_hello_that_was_answered_counts_for_nothing() {
    let mut world = World::new();
    let (_, recorded) = world.clients[0].poll_hello(world.now).unwrap();
    let answer = world
        .server
        .handle_control(from(1), A, &recorded, world.now);
    world.clients[0].handle_control(A, &answer.unwrap(), world.now);
    let (_, newest) = world.clients[0].poll_hello(world.now).unwrap();
    world.now += Duration::from_millis(20);
    let answer = world
        .server
        .handle_control(from(6), A, &recorded, world.now);
    world.clients[0].handle_control(A, &answer.unwrap(), world.now);
    assert_eq!(world.clients[0].poll_hello(world.now), None);
    let answer = world.server.handle_control(from(1), A, &newest, world.now);
    assert_eq!(
        world.clients[0].handle_control(A, &answer.unwrap(), world.now),
        Some(other())
    );
}

/// The relay answers with few challenges, and the stranger gets all of them.
#[test]
fn a_recorded_hello_that_is_said_without_end_ends_no_binding() {
    let mut world = World::bound();
    let (_, _, recorded) = world.seen[0];
    let mut way = Way::new(Duration::from_millis(20));
    for _ in 0..120_000 {
        world.now += STEP;
        world.greet(1, from(2));
        world
            .server
            .handle_control(from(6), A, &recorded, world.now);
        way.carry(&mut world);
        assert!(world.forward(from(2), B, b"x").is_some());
    }
}

/// Nothing comes back, so the node wants its channel bound every two seconds, and says several HELLOs before the first is answered.
#[test]
fn a_way_on_which_answers_are_late_is_bound() {
    let mut world = World::new();
    let mut way = Way::new(Duration::from_millis(600));
    for step in 0..2_000 {
        world.now += STEP;
        if step % 400 == 0 {
            world.clients[0].bind(A, world.now);
        }
        way.carry(&mut world);
    }
    assert!(world.server.counters().bound > 0);
}

#[test]
fn whoever_had_the_key_locks_nobody_out_with_a_counter() {
    let mut world = World::bound();
    for counter in [u64::MAX, u64::MAX / 2, 1 << 63, u64::MAX - 1, 5, u64::MAX] {
        let mut cookie = Cookie::default();
        for _ in 0..2 {
            world.now += Duration::from_secs(1);
            let hello = Control {
                kind: ControlKind::Hello,
                channel: A,
                counter,
                answers: 0,
                cookie,
            };
            let hello = hello.seal(&key(A));
            let answer = world
                .server
                .handle_control(from(6), A, &hello, world.now)
                .and_then(|answer| Control::open(&answer, &key(A)));
            cookie = answer.unwrap().cookie;
        }
        world.now += Duration::from_secs(1);
        world.clients[0].moved(None, world.now);
        world.greet(0, from(1));
        assert!(world.forward(from(1), A, b"x").is_some(), "{counter}");
    }
}
