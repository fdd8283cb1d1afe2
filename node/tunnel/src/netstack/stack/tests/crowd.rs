//! Bodies over many connections, and over bad ones.

use super::*;

/// A connection over which one side sends a body, of which each byte tells its place.
struct Talk {
    near: NetstackStream,
    far: BoxStream,
    number: usize,
    body_bytes: usize,
    written_bytes: usize,
    read_bytes: usize,
}

impl Talk {
    fn new(near: NetstackStream, far: BoxStream, number: usize, body_bytes: usize) -> Self {
        Self {
            near,
            far,
            number,
            body_bytes,
            written_bytes: 0,
            read_bytes: 0,
        }
    }

    fn byte(&self, at: usize) -> u8 {
        (at * 31 + at / 251 + self.number) as u8
    }

    /// Writes what there is room for.
    fn writes(&mut self) {
        while self.written_bytes < self.body_bytes {
            let until = self.body_bytes.min(self.written_bytes + 4096);
            let block: Vec<u8> = (self.written_bytes..until)
                .map(|at| self.byte(at))
                .collect();
            let written = write(&mut self.near, &block);
            self.written_bytes += written;
            if written < block.len() {
                return;
            }
        }
    }

    /// Reads what has come, but no more than this.
    fn reads(&mut self, most_bytes: usize) {
        let mut space = vec![0; most_bytes];
        let mut came = ReadBuf::new(&mut space);
        while let Poll::Ready(read) = Pin::new(&mut self.far).poll_read(&mut context(), &mut came) {
            read.unwrap();
            if came.remaining() == 0 {
                break;
            }
        }
        for (at, byte) in (self.read_bytes..).zip(came.filled()) {
            assert_eq!(*byte, self.byte(at), "byte {at} of talk {}", self.number);
        }
        self.read_bytes += came.filled().len();
    }

    fn is_over(&self) -> bool {
        self.read_bytes == self.body_bytes
    }
}

/// Every fourth reader reads nothing until all others are served, and then a little at a time.
#[test]
fn two_thousand_connections_live_beside_slow_readers_in_bounded_memory() {
    let mut world = World::new();
    let mut listener = world.sides[1].stack.listen(address(2)).unwrap();
    let mut talks = Vec::new();
    for number in 0..2_000 {
        let near = world.sides[0].stack.dial(address(2)).unwrap();
        world.settle();
        let far = accepted(&mut listener).unwrap().0;
        let body_bytes = if is_slow(number) { 100_000 } else { 30_000 };
        talks.push(Talk::new(near, far, number, body_bytes));
    }
    world.lose_every = 101;

    let start = world.now;
    while !talks
        .iter()
        .all(|talk| is_slow(talk.number) || talk.is_over())
    {
        for talk in &mut talks {
            talk.writes();
        }
        world.pass(Duration::from_millis(20));
        for talk in talks.iter_mut().filter(|talk| !is_slow(talk.number)) {
            talk.reads(16 * 1024);
        }
        let took = world.now - start;
        assert!(
            took < Duration::from_secs(10),
            "somebody waited for a slow reader"
        );
    }
    // Those who came late have small buffers, and so have stopped their writers.
    assert!(
        talks
            .iter()
            .any(|talk| talk.written_bytes < talk.body_bytes)
    );
    for side in &world.sides {
        let counters = side.stack.counters();
        assert_eq!(counters.connections, 2_000);
        assert!(
            counters.buffer_bytes <= MOST_BUFFER_BYTES,
            "{}",
            counters.buffer_bytes
        );
    }

    let start = world.now;
    while !talks.iter().all(Talk::is_over) {
        for talk in &mut talks {
            talk.writes();
        }
        world.pass(Duration::from_millis(20));
        for talk in talks.iter_mut().filter(|talk| is_slow(talk.number)) {
            talk.reads(2 * 1024);
        }
        let took = world.now - start;
        assert!(
            took < Duration::from_secs(20),
            "a slow reader was forgotten"
        );
    }
    world.lose_every = 0;
    for talk in &mut talks {
        write(&mut talk.far, b"alive");
    }
    world.pass(Duration::from_secs(1));
    for talk in &mut talks {
        assert_eq!(read(&mut talk.near).0, b"alive");
    }
    assert!(
        world.waited_bytes <= MOST_WAITING_BYTES,
        "{}",
        world.waited_bytes
    );

    drop(talks);
    world.pass(Duration::from_secs(70));
    let left = world.sides.map(|side| side.stack.counters().buffer_bytes);
    assert_eq!(left, [0, 0]);
}

/// smoltcp alone doubles its pause at each loss while nothing new is sent: 40 kB then took up to 80 s.
#[test]
fn losses_at_the_end_of_a_body_cost_seconds_and_not_minutes() {
    for seed in 0..20 {
        let (mut world, near, far) = World::connected();
        world.lost_percent = 10;
        world.dice = world.dice.wrapping_mul(2 * seed + 1);
        let start = world.now;
        let mut talk = Talk::new(near, far, 0, 40_000);
        while !talk.is_over() {
            talk.writes();
            world.pass(Duration::from_millis(20));
            talk.reads(64 * 1024);
        }
        let took = world.now - start;
        assert!(took < Duration::from_secs(8), "{took:?} with seed {seed}");
    }
}

fn is_slow(number: usize) -> bool {
    number.is_multiple_of(4)
}

/// What 2,000 connections may hold by the rules of their buffers; used only where bytes wait.
const MOST_BUFFER_BYTES: u64 = 256 * 1024 * 1024;
/// A burst, and answers that wait behind it.
const MOST_WAITING_BYTES: usize = TRANSMIT_BURST_BYTES + 128 * 1024;
