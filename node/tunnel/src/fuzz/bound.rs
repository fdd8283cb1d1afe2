//! Entry point for fuzzing who may send through the relay. It seals frames itself, since chance never finds a seal.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use crate::key::{PrivateKey, PublicKey, RelayKey};
use crate::path::{ChannelId, Path};
use crate::relay::{
    ChannelGrant, Control, ControlKind, Cookie, RelayPair, RelayServer, data_header,
};

/// What happens at a hub that relays for two pairs, three bytes each: HELLOs from several places with cookies of their own, of
/// others and of before, data, moves, and time. Nothing passes but between the places that have proven to be a pair's.
pub fn bound(data: &[u8]) {
    let mut scene = Scene::new();
    for step in data.chunks_exact(STEP_BYTES).take(MAX_STEPS) {
        let [what, who, how] = [step[0], step[1], step[2]];
        let (channel, place) = (usize::from(who & 3), usize::from(who >> 2 & 3));
        match what & 7 {
            0 | 1 => scene.hello(channel, place, u64::from(how), Cookie::default()),
            2 | 3 => {
                let cookie = scene.cookies.get(&(channel, place)).copied();
                scene.hello(channel, place, u64::from(how), cookie.unwrap_or_default());
            }
            4 => {
                let other = (channel, usize::from(how & 3));
                let cookie = scene.cookies.get(&other).copied().unwrap_or_default();
                scene.hello(channel, place, u64::from(what >> 3), cookie);
            }
            5 => scene.data(channel, place, usize::from(how)),
            6 => scene.moves(channel, place, usize::from(how & 3)),
            _ => scene.now += PAUSES[usize::from(how & 3)],
        }
    }
}

struct Scene {
    server: RelayServer,
    now: Instant,
    /// The last cookie that was sent to a place for a channel.
    cookies: HashMap<(usize, usize), Cookie>,
    /// Where each channel is, by the naive model, and its counter.
    bound: [Option<(usize, Instant)>; CHANNELS],
    counters: [u64; CHANNELS],
}

impl Scene {
    fn new() -> Self {
        let now = Instant::now();
        let mut server = RelayServer::new(now).expect("random bytes");
        let grant = |channel: usize| ChannelGrant {
            channel: id(channel),
            key: key(channel),
            node: node(channel),
        };
        let pairs = [(0, 1), (2, 3)].map(|(a, b)| RelayPair {
            a: grant(a),
            b: grant(b),
        });
        server.set_pairs(pairs.into(), now).expect("four channels");
        Self {
            server,
            now,
            cookies: HashMap::new(),
            bound: [None; CHANNELS],
            counters: [0; CHANNELS],
        }
    }

    fn hello(&mut self, channel: usize, place: usize, counter: u64, cookie: Cookie) {
        let hello = Control {
            kind: ControlKind::Hello,
            channel: id(channel),
            counter,
            answers: 0,
            cookie,
        };
        let (from, sealed) = (path(place), hello.seal(&key(channel)));
        let answer = self
            .server
            .handle_control(from, id(channel), &sealed, self.now);
        let Some(answer) = answer else {
            return;
        };
        let answer = Control::open(&answer, &key(channel)).expect("sealed with the channel's key");
        match answer.kind {
            _ if answer.answers != counter => panic!("the answer to another HELLO"),
            ControlKind::Bound => {
                let given = self.cookies.get(&(channel, place));
                assert_eq!(given, Some(&cookie), "bound by a cookie of somewhere else");
                assert!(counter > self.counters[channel], "bound by a recording");
                self.counters[channel] = counter;
                self.bound[channel] = Some((place, self.now + BINDING));
            }
            ControlKind::Challenge => {
                assert_eq!(answer.counter, self.counters[channel]);
                self.cookies.insert((channel, place), answer.cookie);
            }
            ControlKind::Hello => panic!("a relay says no HELLO"),
        }
    }

    fn data(&mut self, channel: usize, place: usize, bytes: usize) {
        let mut frame = data_header(id(channel)).to_vec();
        frame.resize(frame.len() + bytes, 7);
        let stride = frame.len();
        let passed = self
            .server
            .forward(path(place), &mut frame, stride, self.now);
        let at = |channel: usize| self.bound[channel].filter(|(_, until)| self.now < *until);
        let to = at(channel)
            .filter(|(from, _)| *from == place)
            .and_then(|_| at(channel ^ 1));
        assert_eq!(passed, to.map(|(to, _)| (path(to), stride)));
        if passed.is_some() {
            assert!(frame.starts_with(&data_header(id(channel ^ 1))));
        }
    }

    /// Whose channel this is was heard at `left`, and then at `place`.
    fn moves(&mut self, channel: usize, left: usize, place: usize) {
        let node = node(channel);
        self.server.follow(&node, path(left), path(place));
        if let Some((at, _)) = &mut self.bound[channel]
            && *at == left
        {
            *at = place;
        }
    }
}

fn id(channel: usize) -> ChannelId {
    ChannelId(channel as u32 + 1)
}

fn key(channel: usize) -> RelayKey {
    RelayKey::from_bytes([channel as u8 + 1; 32])
}

/// Each channel is of another node.
fn node(channel: usize) -> PublicKey {
    PrivateKey::from_bytes([channel as u8 + 1; 32]).public_key()
}

fn path(place: usize) -> Path {
    Path::udp(([192, 0, 2, place as u8], 51820).into())
}

const CHANNELS: usize = 4;
const STEP_BYTES: usize = 3;
const MAX_STEPS: usize = 200;
const BINDING: Duration = Duration::from_secs(120);
const PAUSES: [Duration; 4] = [
    Duration::from_millis(10),
    Duration::from_secs(1),
    Duration::from_secs(60),
    Duration::from_secs(121),
];
