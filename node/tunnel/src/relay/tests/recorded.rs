//! What somebody can do who once saw a channel's frames, or had its key: never keep a node from its channel.

use super::*;

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
