//! Two stacks on a wire that the test controls, in a time that the test moves.

mod crowd;
mod ends;
mod leaving;
mod slow_start;

use std::pin::Pin;
use std::task::{Context, Poll, Waker};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::*;
use crate::key::PrivateKey;
use crate::listener::Accepted;
use crate::netstack::TRANSMIT_BURST_BYTES;
use crate::netstack::listeners::BACKLOG;
use crate::offload::cut::Cutter;
use crate::stream::BoxStream;

struct Side {
    stack: Stack,
    rings: mpsc::UnboundedReceiver<Tuple>,
}

impl Side {
    /// Lets it send without anybody taking it.
    fn settle_alone(&mut self, now: Instant) {
        while let Ok(tuple) = self.rings.try_recv() {
            self.stack.ring(tuple);
        }
        self.stack.transmit(usize::MAX / 2, now);
    }
}

/// Side 0 is 10.0.0.1 and fd00::1 and dials; side 1 ends in 2 and listens on port 80.
struct World {
    sides: [Side; 2],
    now: Instant,
    carried: usize,
    /// Every packet whose number is a multiple of this is lost; 0 means none.
    lose_every: usize,
    /// Super-packets are cut, and each segment is lost or not for itself, as on a real path: of a hundred so many.
    lost_percent: u64,
    dice: u64,
    /// The most that ever waited to leave a stack.
    waited_bytes: usize,
}

impl World {
    fn new() -> Self {
        let now = Instant::now();
        let side = |number: u8| {
            let addresses = [format!("10.0.0.{number}/24"), format!("fd00::{number}/64")];
            let addresses = addresses.map(|address| address.parse().unwrap());
            let config = TunnelConfig::new(PrivateKey::generate(), addresses.to_vec());
            let (bell, rings) = mpsc::unbounded_channel();
            Side {
                stack: Stack::new(&config, bell, now),
                rings,
            }
        };
        Self {
            sides: [side(1), side(2)],
            now,
            carried: 0,
            lose_every: 0,
            lost_percent: 0,
            dice: 0x9e37_79b9_7f4a_7c15,
            waited_bytes: 0,
        }
    }

    fn connected() -> (Self, NetstackStream, BoxStream) {
        Self::connected_to(address(2))
    }

    fn connected_to(address: SocketAddr) -> (Self, NetstackStream, BoxStream) {
        let mut world = Self::new();
        let mut listener = world.sides[1].stack.listen(address).unwrap();
        let near = world.sides[0].stack.dial(address).unwrap();
        world.settle();
        let (far, _) = accepted(&mut listener).unwrap();
        (world, near, far)
    }

    /// Lets everything happen that can happen without time passing.
    fn settle(&mut self) {
        while self.step() {}
    }

    fn step(&mut self) -> bool {
        let mut moved = false;
        for from in 0..2 {
            let side = &mut self.sides[from];
            while let Ok(tuple) = side.rings.try_recv() {
                side.stack.ring(tuple);
            }
            side.stack.handle_timeout(self.now);
            side.stack.transmit(TRANSMIT_BURST_BYTES, self.now);
            self.waited_bytes = self.waited_bytes.max(side.stack.outbox.bytes());
            while let Some(Departure { mut packet, work }) = self.sides[from].stack.poll_packet() {
                moved = true;
                let Work::Cut { payload_bytes } = work else {
                    self.carry(from, &packet, work);
                    continue;
                };
                if self.lost_percent == 0 {
                    self.carry(from, &packet, work);
                    continue;
                }
                let bytes = packet.len();
                let mut cutter = Cutter::new(packet.room(), bytes, payload_bytes).unwrap();
                while let Some(segment) = cutter.next() {
                    let segment = cutter.buffer()[segment].to_vec();
                    self.carry(from, &segment, Work::None);
                }
            }
        }
        moved
    }

    fn carry(&mut self, from: usize, packet: &[u8], work: Work) {
        self.carried += 1;
        // xorshift64: the same in every run.
        self.dice ^= self.dice << 13;
        self.dice ^= self.dice >> 7;
        self.dice ^= self.dice << 17;
        let lost = self.dice % 100 < self.lost_percent
            || (self.lose_every > 0 && self.carried.is_multiple_of(self.lose_every));
        if !lost {
            let other = &mut self.sides[1 - from].stack;
            other.handle_packet(packet, work, self.now);
        }
    }

    /// Moves time on in small steps, in each of which both sides have spoken before either hears the other.
    fn cross(&mut self, time: Duration) {
        let until = self.now + time;
        while self.now < until {
            self.now += Duration::from_millis(5);
            let mut crossing = Vec::new();
            for (from, side) in self.sides.iter_mut().enumerate() {
                side.stack.handle_timeout(self.now);
                side.settle_alone(self.now);
                let leaving = std::iter::from_fn(|| side.stack.poll_packet());
                crossing.extend(leaving.map(|departure| (from, departure)));
            }
            for (from, Departure { packet, work }) in crossing {
                self.carry(from, &packet, work);
            }
        }
    }

    /// Moves time on in small steps.
    fn pass(&mut self, time: Duration) {
        let until = self.now + time;
        while self.now < until {
            self.now += Duration::from_millis(5);
            self.settle();
        }
    }
}

fn address(number: u8) -> SocketAddr {
    ([10, 0, 0, number], 80).into()
}

fn accepted(listener: &mut TunnelListener) -> Option<Accepted> {
    let mut accept = Box::pin(listener.accept());
    match accept.as_mut().poll(&mut context()) {
        Poll::Ready(accepted) => accepted.ok(),
        Poll::Pending => None,
    }
}

fn context() -> Context<'static> {
    Context::from_waker(Waker::noop())
}

fn write(stream: &mut (impl AsyncWrite + Unpin), data: &[u8]) -> usize {
    match Pin::new(stream).poll_write(&mut context(), data) {
        Poll::Ready(written) => written.unwrap(),
        Poll::Pending => 0,
    }
}

fn finish(stream: &mut (impl AsyncWrite + Unpin)) {
    assert!(Pin::new(stream).poll_shutdown(&mut context()).is_ready());
}

/// What can be read now, and whether the end has come.
fn read(stream: &mut (impl AsyncRead + Unpin)) -> (Vec<u8>, bool) {
    let mut all = Vec::new();
    loop {
        let mut space = [0; 8192];
        let mut buffer = ReadBuf::new(&mut space);
        match Pin::new(&mut *stream).poll_read(&mut context(), &mut buffer) {
            Poll::Pending => return (all, false),
            Poll::Ready(result) => result.unwrap(),
        }
        if buffer.filled().is_empty() {
            return (all, true);
        }
        all.extend_from_slice(buffer.filled());
    }
}

#[test]
fn everything_arrives_although_every_ninth_packet_is_lost() {
    let (mut world, mut near, mut far) = World::connected();
    world.lose_every = 9;
    let sent: Vec<u8> = (0..300_000u32)
        .map(|n| (n.wrapping_mul(n) >> 8) as u8)
        .collect();
    let (mut written, mut came) = (0, Vec::new());
    for _ in 0..100_000 {
        written += write(&mut near, &sent[written..]);
        world.pass(Duration::from_millis(5));
        came.extend(read(&mut far).0);
        if came.len() == sent.len() {
            break;
        }
    }
    assert!(came == sent, "{} of {} bytes came", came.len(), sent.len());
}

#[test]
fn a_lost_last_segment_is_repeated_within_a_quarter_of_a_second() {
    let (mut world, mut near, mut far) = World::connected();
    world.pass(Duration::from_millis(50));
    write(&mut near, b"the only segment");
    world.lose_every = 1;
    world.settle();
    world.lose_every = 0;
    world.pass(Duration::from_millis(250));
    assert_eq!(read(&mut far).0, b"the only segment");
}

/// Both repeat what the other has, numbered from before what their acknowledgements are numbered from.
#[test]
fn two_sides_that_lost_each_others_acknowledgements_go_on() {
    let (mut world, mut near, mut far) = World::connected();
    let both = |world: &mut World, near: &mut NetstackStream, far: &mut BoxStream| {
        assert_eq!(
            (write(near, &[1; 20_000]), write(far, &[2; 20_000])),
            (20_000, 20_000)
        );
        world.cross(Duration::from_millis(5));
    };
    // So much may be under way then at once that not all of it is repeated at once.
    both(&mut world, &mut near, &mut far);
    world.pass(Duration::from_millis(500));
    both(&mut world, &mut near, &mut far);
    world.lose_every = 1;
    world.cross(Duration::from_millis(100));
    world.lose_every = 0;
    world.cross(Duration::from_secs(1));
    assert_eq!(read(&mut far).0.len(), 40_000);
    assert_eq!(read(&mut near).0.len(), 40_000);
    write(&mut near, b"more");
    world.cross(Duration::from_millis(500));
    assert_eq!(read(&mut far).0, b"more");
}

#[test]
fn what_was_not_read_survives_the_end_of_time_wait() {
    let (mut world, mut near, mut far) = World::connected();
    finish(&mut near);
    world.settle();
    write(&mut far, b"read me later");
    finish(&mut far);
    world.pass(Duration::from_secs(30));
    assert_eq!(read(&mut near), (b"read me later".to_vec(), true));
    world.pass(Duration::from_secs(30));
    assert_eq!(world.sides[0].stack.counters().connections, 0);
}

#[test]
fn a_caller_that_never_answers_is_forgotten() {
    let mut world = World::new();
    let _listener = world.sides[1].stack.listen(address(2)).unwrap();
    let near = world.sides[0].stack.dial(address(2)).unwrap();
    world.sides[0].stack.transmit(1, world.now);
    let syn = world.sides[0].stack.poll_packet().unwrap();
    world.sides[1]
        .stack
        .handle_packet(&syn.packet, syn.work, world.now);
    assert_eq!(world.sides[1].stack.counters().connections, 1);
    world.lose_every = 1;
    world.pass(Duration::from_secs(15));
    assert_eq!(world.sides[1].stack.counters().connections, 0);
    drop(near);
}

#[test]
fn a_full_backlog_loses_callers_instead_of_refusing_them() {
    let mut world = World::new();
    world.sides[0].stack.max_connections = BACKLOG + 5;
    world.sides[1].stack.max_connections = BACKLOG + 5;
    let mut listener = world.sides[1].stack.listen(address(2)).unwrap();
    let _near: Vec<_> = (0..BACKLOG + 1)
        .map(|_| world.sides[0].stack.dial(address(2)).unwrap())
        .collect();
    world.settle();
    let counters = world.sides[1].stack.counters();
    assert_eq!(
        (counters.accepted, counters.refused_closed),
        (BACKLOG as u64, 0)
    );
    assert!(counters.refused_full >= 1);
    assert!(accepted(&mut listener).is_some());
    world.pass(Duration::from_secs(2));
    assert_eq!(world.sides[1].stack.counters().accepted, BACKLOG as u64 + 1);
}

#[test]
fn a_silent_peer_ends_the_connection() {
    let (mut world, mut near, _far) = World::connected();
    world.lose_every = 1;
    world.pass(Duration::from_secs(61));
    let mut space = [0; 8];
    let read = Pin::new(&mut near).poll_read(&mut context(), &mut ReadBuf::new(&mut space));
    assert!(matches!(read, Poll::Ready(Err(error)) if error.kind() == io::ErrorKind::TimedOut));
}

#[test]
fn keepalives_hold_an_idle_connection_open() {
    let (mut world, mut near, mut far) = World::connected();
    world.pass(Duration::from_secs(300));
    write(&mut near, b"still here");
    world.settle();
    assert_eq!(read(&mut far).0, b"still here");
}

#[test]
fn abandoned_connections_leave_nothing_behind() {
    let (mut world, near, far) = World::connected();
    drop((near, far));
    world.pass(Duration::from_secs(70));
    for side in &world.sides {
        assert_eq!(side.stack.counters().connections, 0);
        assert!(side.stack.timers.is_empty());
    }
}

#[test]
fn a_segment_damaged_on_its_way_is_not_believed() {
    let (mut world, mut near, mut far) = World::connected();
    write(&mut near, b"seal");
    world.sides[0].settle_alone(world.now);
    let sent = world.sides[0].stack.poll_packet().unwrap();
    let mut damaged = sent.packet.to_vec();
    *damaged.last_mut().unwrap() ^= 1;
    world.sides[1]
        .stack
        .handle_packet(&damaged, sent.work, world.now);
    assert_eq!(read(&mut far).0, b"");
    assert_eq!(world.sides[1].stack.counters().damaged, 1);
    world.pass(Duration::from_secs(1));
    assert_eq!(read(&mut far).0, b"seal");
}

#[test]
fn ipv6_loses_nothing_for_being_written_at_once() {
    let (mut world, mut near, mut far) = World::connected_to("[fd00::2]:80".parse().unwrap());
    write(&mut near, &[7; 50_000]);
    let mut received = 0;
    // No time passes, so that nothing is sent twice.
    for _ in 0..100 {
        world.settle();
        received += read(&mut far).0.len();
    }
    assert_eq!(received, 50_000);
}

#[test]
fn much_leaves_in_few_large_packets() {
    let (mut world, mut near, mut far) = World::connected();
    world.carried = 0;
    let mut received = 0;
    while received < 1_000_000 {
        write(&mut near, &[7; 50_000]);
        world.settle();
        received += read(&mut far).0.len();
        world.pass(Duration::from_millis(5));
    }
    // In segments of 1,240 bytes it would be 806 and their acknowledgements.
    assert!(world.carried < 200, "{} packets", world.carried);
}

#[test]
fn a_path_that_comes_back_is_used_within_ten_seconds() {
    let (mut world, mut near, mut far) = World::connected();
    world.lose_every = 1;
    write(&mut near, b"through at last");
    world.pass(Duration::from_secs(45));
    world.lose_every = 0;
    world.pass(Duration::from_secs(10));
    assert_eq!(read(&mut far).0, b"through at last");
}
