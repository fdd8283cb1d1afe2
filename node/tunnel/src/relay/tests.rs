//! Two nodes and a relay without sockets: what is bound, what passes, and what an outsider gets out of it.

use std::time::{Duration, Instant};

use proptest::prelude::*;

use super::client::RelayClient;
use super::frame::{CONTROL_BYTES, Control, ControlKind, Frame, Sealed};
use super::server::RelayServer;
use super::*;
use crate::key::PrivateKey;
use crate::path::{CarrierId, Path};

mod recorded;

struct World {
    server: RelayServer,
    clients: [RelayClient; 2],
    now: Instant,
    /// Every frame that ever went to the relay: from where, for which channel, and the frame.
    seen: Vec<(Path, ChannelId, Sealed)>,
}

const A: ChannelId = ChannelId(10);
const B: ChannelId = ChannelId(11);

fn key(channel: ChannelId) -> RelayKey {
    RelayKey::from_bytes([channel.0 as u8; 32])
}

fn data(channel: ChannelId, datagram: &[u8]) -> Vec<u8> {
    [&data_header(channel)[..], datagram].concat()
}

fn hub() -> PublicKey {
    PrivateKey::from_bytes([9; 32]).public_key()
}

/// Whose end a channel is.
fn holder(channel: ChannelId) -> PublicKey {
    PrivateKey::from_bytes([channel.0 as u8; 32]).public_key()
}

/// Whom the channels lead to, which is not the relay's business.
fn other() -> PublicKey {
    PrivateKey::from_bytes([8; 32]).public_key()
}

fn pair(a: ChannelId, b: ChannelId) -> RelayPair {
    let end = |channel| ChannelGrant {
        channel,
        key: key(channel),
        node: holder(channel),
    };
    RelayPair {
        a: end(a),
        b: end(b),
    }
}

fn grant(channel: ChannelId) -> RelayGrant {
    RelayGrant {
        channel,
        key: key(channel),
        via: hub(),
    }
}

fn from(host: u8) -> Path {
    Path::Udp {
        local: Some(0),
        remote: ([192, 0, 2, host], 51820).into(),
    }
}

impl World {
    fn new() -> Self {
        let now = Instant::now();
        let mut server = RelayServer::new(now).unwrap();
        server.set_pairs(vec![pair(A, B)], now).unwrap();
        let mut clients = [1_000, 1_000].map(|unix_ms| RelayClient::new(now, unix_ms));
        clients[0].grant(other(), &grant(A), now);
        clients[1].grant(other(), &grant(B), now);
        Self {
            server,
            clients,
            now,
            seen: Vec::new(),
        }
    }

    fn bound() -> Self {
        let mut world = World::new();
        world.greet(0, from(1));
        world.greet(1, from(2));
        assert_eq!(world.server.counters().bound, 2);
        world
    }

    fn channel(client: usize) -> ChannelId {
        [A, B][client]
    }

    /// Carries control frames to and fro until the client is content.
    fn greet(&mut self, client: usize, path: Path) {
        let channel = Self::channel(client);
        while let Some((via, hello)) = self.clients[client].poll_hello(self.now) {
            assert_eq!(via, hub());
            self.seen.push((path, channel, hello));
            let answer = self.server.handle_control(path, channel, &hello, self.now);
            if let Some(answer) = answer {
                self.clients[client].handle_control(channel, &answer, self.now);
            }
        }
    }

    fn forward(
        &mut self,
        path: Path,
        channel: ChannelId,
        datagram: &[u8],
    ) -> Option<(Path, Vec<u8>)> {
        let mut frame = data(channel, datagram);
        let stride = frame.len();
        let (to, bytes) = self.server.forward(path, &mut frame, stride, self.now)?;
        assert_eq!(bytes, frame.len(), "one frame passes whole or not at all");
        Some((to, frame))
    }
}

#[test]
fn what_goes_in_by_one_channel_comes_out_by_the_other() {
    let mut world = World::bound();
    let (to, frame) = world.forward(from(1), A, b"sealed").unwrap();
    assert_eq!(to, from(2));
    assert_eq!(Frame::parse(&frame), Some(Frame::Data(B, b"sealed")));
    let (to, frame) = world.forward(from(2), B, b"and back").unwrap();
    assert_eq!(to, from(1));
    assert_eq!(Frame::parse(&frame), Some(Frame::Data(A, b"and back")));
}

#[test]
fn a_batch_passes_as_a_batch() {
    let mut world = World::bound();
    let mut batch = [data(A, &[1; 100]), data(A, &[2; 100]), data(A, &[3; 7])].concat();
    let to = world.server.forward(from(1), &mut batch, 108, world.now);
    assert_eq!(to, Some((from(2), batch.len())));
    assert_eq!(
        batch,
        [data(B, &[1; 100]), data(B, &[2; 100]), data(B, &[3; 7])].concat()
    );
    assert_eq!(world.server.counters().forwarded, 3);
    let mut mixed = [data(A, &[1; 100]), data(B, &[2; 100])].concat();
    assert_eq!(
        world.server.forward(from(1), &mut mixed, 108, world.now),
        None
    );
}

#[test]
fn nothing_passes_from_an_address_that_is_not_bound() {
    let mut world = World::new();
    assert_eq!(world.forward(from(1), A, b"x"), None);
    world.greet(0, from(1));
    assert_eq!(world.forward(from(1), A, b"nobody there yet"), None);
    assert_eq!(world.server.counters().unbound, 1);
    world.greet(1, from(2));
    for stranger in [from(3), from(2), Path::Carrier(CarrierId(0))] {
        assert_eq!(world.forward(stranger, A, b"x"), None);
    }
    assert_eq!(
        world.forward(from(1), ChannelId(12), b"no such channel"),
        None
    );
    assert_eq!(world.server.counters().forwarded, 0);
}

#[test]
fn a_binding_ends_unless_it_is_renewed() {
    let mut world = World::bound();
    for _ in 0..20 {
        world.now += Duration::from_secs(30);
        world.greet(0, from(1));
        world.greet(1, from(2));
        assert!(world.forward(from(1), A, b"x").is_some());
    }
    world.now += Duration::from_secs(121);
    assert_eq!(world.forward(from(1), A, b"x"), None);
}

#[test]
fn a_node_that_moves_is_followed_by_its_next_hello() {
    let mut world = World::bound();
    world.now += Duration::from_secs(1);
    world.clients[1].moved(Some(&hub()), world.now);
    // The cookie was made for another address, so this takes a challenge.
    world.greet(1, Path::Carrier(CarrierId(4)));
    let (to, _) = world.forward(from(1), A, b"x").unwrap();
    assert_eq!(to, Path::Carrier(CarrierId(4)));
    assert_eq!(world.forward(from(2), B, b"from where it was"), None);
}

#[test]
fn a_node_whose_nat_moved_it_takes_its_channels_along() {
    let mut world = World::bound();
    world.server.follow(&holder(A), from(1), from(5));
    assert_eq!(world.forward(from(1), A, b"from where it was"), None);
    let (to, _) = world.forward(from(2), B, b"x").unwrap();
    assert_eq!(to, from(5));
    assert!(world.forward(from(5), A, b"x").is_some());
    world.server.follow(&holder(A), from(7), from(2));
    assert!(
        world
            .forward(from(5), A, b"nobody was bound there")
            .is_some()
    );
}

#[test]
fn a_recorded_hello_moves_no_binding() {
    let mut world = World::bound();
    world.now += Duration::from_secs(60);
    world.greet(0, from(1));
    let seen = world.seen.clone();
    for (_, channel, hello) in seen {
        for path in [from(1), from(6)] {
            world
                .server
                .handle_control(path, channel, &hello, world.now);
        }
    }
    assert!(world.forward(from(1), A, b"x").is_some());
    assert_eq!(
        world.server.counters().bound,
        3,
        "two at first, one renewed"
    );
}

#[test]
fn a_recorded_hello_is_answered_a_hundred_times_a_second_at_most() {
    let mut world = World::bound();
    let (_, channel, hello) = world.seen[0];
    let mut answers = 0;
    for step in 0..10_000 {
        let at = world.now + Duration::from_micros(100 * step);
        answers += usize::from(
            world
                .server
                .handle_control(from(6), channel, &hello, at)
                .is_some(),
        );
    }
    assert!((1..=101).contains(&answers), "{answers}");
}

#[test]
fn a_clock_that_was_set_back_is_no_lockout() {
    let mut world = World::bound();
    // A node without a battery restarts in 1970.
    world.clients[0] = RelayClient::new(world.now, 0);
    world.clients[0].grant(other(), &grant(A), world.now);
    world.now += Duration::from_secs(1);
    world.greet(0, from(1));
    assert_eq!(world.server.counters().bound, 3);
}

#[test]
fn a_relay_that_never_binds_gets_few_hellos() {
    let mut world = World::new();
    let mut hellos = 0;
    for step in 0..6000 {
        world.now += Duration::from_millis(10);
        while let Some((_, hello)) = world.clients[0].poll_hello(world.now) {
            hellos += 1;
            assert!(hellos < 20, "{hellos} in {step} steps");
            let hello = Control::open(&hello, &key(A)).unwrap();
            let challenge = Control {
                kind: ControlKind::Challenge,
                answers: hello.counter,
                ..hello
            };
            let challenge = challenge.seal(&key(A));
            world.clients[0].handle_control(A, &challenge, world.now);
        }
    }
}

#[test]
fn an_idle_channel_says_hello_every_fifty_seconds_and_a_used_one_every_twenty() {
    for (used, wanted) in [(false, 12), (true, 30)] {
        let mut world = World::bound();
        let before = world.seen.len();
        for _ in 0..600 {
            world.now += Duration::from_secs(1);
            if used {
                world.clients[0].touch(A, world.now);
            }
            world.greet(0, from(1));
        }
        // A cookie that has grown old costs one more.
        let hellos = world.seen.len() - before;
        assert!((wanted - 1..=wanted + 6).contains(&hellos), "{hellos}");
    }
}

#[test]
fn a_new_table_keeps_what_stays_and_cuts_what_goes() {
    let mut world = World::bound();
    let other = pair(ChannelId(20), ChannelId(21));
    world
        .server
        .set_pairs(vec![other.clone(), pair(A, B)], world.now)
        .unwrap();
    assert!(world.forward(from(1), A, b"stays").is_some());
    let mut new_key = pair(A, B);
    new_key.a.key = RelayKey::from_bytes([77; 32]);
    world.server.set_pairs(vec![new_key], world.now).unwrap();
    assert_eq!(world.forward(from(1), A, b"its key is another"), None);
    world
        .server
        .set_pairs(
            vec![pair(A, ChannelId(20)), pair(B, ChannelId(21))],
            world.now,
        )
        .unwrap();
    assert_eq!(world.forward(from(2), B, b"its other end is another"), None);
    world.server.set_pairs(Vec::new(), world.now).unwrap();
    assert!(!world.server.serves(A));
}

#[test]
fn a_table_that_names_a_channel_twice_changes_nothing() {
    let mut world = World::bound();
    let twice = world
        .server
        .set_pairs(vec![pair(A, B), pair(B, ChannelId(20))], world.now);
    let message = twice.unwrap_err().to_string();
    assert!(
        message.starts_with("relay channel 11 stands in the table twice"),
        "{message}"
    );
    assert!(world.forward(from(1), A, b"x").is_some());
    let too_many = (0..70_000).map(|n| pair(ChannelId(2 * n), ChannelId(2 * n + 1)));
    assert!(
        world
            .server
            .set_pairs(too_many.collect(), world.now)
            .is_err()
    );
}

#[test]
fn a_pair_may_send_a_burst_and_then_its_rate() {
    let mut world = World::bound();
    let mut passed = 0;
    let start = world.now;
    for step in 0..20_000u64 {
        world.now = start + Duration::from_micros(step * 100);
        // 3.2 Gbit/s for two seconds.
        let both = [(from(1), A), (from(2), B)];
        for (path, channel) in both {
            if let Some((_, frame)) = world.forward(path, channel, &[0; 20_000]) {
                passed += frame.len();
            }
        }
    }
    let megabytes = passed / 1_000_000;
    assert!(
        (250..=256).contains(&megabytes),
        "{megabytes} MB in two seconds"
    );
    assert!(world.server.counters().limited > 0);
}

#[test]
fn of_a_batch_over_the_rate_as_many_frames_pass_as_there_is_rate_for() {
    let mut world = World::bound();
    let mut batch = data(A, &[7; 1_192]).repeat(50);
    batch.extend(data(A, &[7; 500]));
    let pass = |world: &mut World| {
        let mut frames = batch.clone();
        world
            .server
            .forward(from(1), &mut frames, 1_200, world.now)
            .map_or(0, |(_, bytes)| bytes)
    };
    // The burst, to its last whole frame.
    let passed: usize = (0..100).map(|_| pass(&mut world)).sum();
    assert!(world.server.counters().limited > 0);
    assert_eq!(pass(&mut world), 0);
    let before = world.server.counters();
    // 125 bytes in each microsecond, beside what was left of the burst.
    world.now += Duration::from_micros(200);
    let more = pass(&mut world);
    assert!(more == 20 * 1_200 || more == 21 * 1_200, "{more} bytes");
    let now = world.server.counters();
    let frames = (more / 1_200) as u64;
    assert_eq!(now.forwarded - before.forwarded, frames);
    assert_eq!(now.limited - before.limited, 51 - frames);
    assert_eq!(now.forwarded_bytes, (passed + more) as u64);
}

#[test]
fn every_changed_byte_of_a_control_frame_is_refused() {
    let mut world = World::new();
    let (_, hello) = world.clients[0].poll_hello(world.now).unwrap();
    for position in 0..CONTROL_BYTES {
        let mut forged = hello;
        forged[position] ^= 1;
        assert_eq!(Control::open(&forged, &key(A)), None, "byte {position}");
        assert_eq!(
            world.server.handle_control(from(1), A, &forged, world.now),
            None
        );
    }
    assert_eq!(Control::open(&hello, &key(B)), None);
    assert_eq!(Control::open(&hello[..CONTROL_BYTES - 1], &key(A)), None);
    assert!(
        world
            .server
            .handle_control(from(1), A, &hello, world.now)
            .is_some()
    );
}

proptest! {
    /// Only what the pair's nodes send gets through, whatever else is thrown at the relay, and its table never grows.
    #[test]
    fn no_bytes_of_a_stranger_pass(frames in proptest::collection::vec((any::<bool>(), proptest::collection::vec(any::<u8>(), 0..80)), 0..60)) {
        let mut world = World::bound();
        for (aimed, mut frame) in frames {
            if aimed && frame.len() >= 8 {
                frame[0] = 0x10 + frame[0] % 4;
                frame[1..4].fill(0);
                frame[4..8].copy_from_slice(&A.0.to_be_bytes());
            }
            let stride = frame.len();
            prop_assert_eq!(world.server.handle_control(from(7), A, &frame, world.now), None);
            prop_assert_eq!(world.server.forward(from(7), &mut frame, stride, world.now), None);
            world.clients[0].handle_control(A, &frame, world.now);
        }
        prop_assert_eq!(world.server.counters().forwarded, 0);
        prop_assert!(world.forward(from(1), A, b"still bound").is_some());
    }

    #[test]
    fn frames_survive_the_wire(channel: u32, counter: u64, answers: u64, cookie: [u8; 16], kind in 0..3usize, body: Vec<u8>) {
        let control = Control {
            kind: [ControlKind::Hello, ControlKind::Challenge, ControlKind::Bound][kind],
            channel: ChannelId(channel),
            counter,
            answers,
            cookie,
        };
        let sealed = control.seal(&key(A));
        prop_assert_eq!(Frame::parse(&sealed), Some(Frame::Control(ChannelId(channel))));
        prop_assert_eq!(Control::open(&sealed, &key(A)), Some(control));
        let frame = data(ChannelId(channel), &body);
        prop_assert_eq!(Frame::parse(&frame), Some(Frame::Data(ChannelId(channel), &body[..])));
    }
}
