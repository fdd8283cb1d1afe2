//! A long, bad line: a UDP relay that holds each datagram back and loses some of them, by a seed, the same in every run. It
//! stands in for netem, which not every kernel has.

use std::collections::VecDeque;
use std::net::{SocketAddr, UdpSocket};
use std::path::Path;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};

use super::ends::PORT;
use super::part::part;
use super::wire::{Side, Wire};
use crate::lab::{PATIENCE, Process, eventually};

/// What the line does to datagrams, the same both ways.
#[derive(Clone, Copy, Debug, Deserialize, Serialize)]
pub(super) struct Line {
    pub(super) delay_ms: u64,
    /// Datagrams lost of a million.
    pub(super) lost_ppm: u64,
}

/// Starts the line in front of the far end. Its processor time does not count.
pub(super) fn lossy(wire: &Wire, line: Line) -> Result<(Process, SocketAddr)> {
    let entrance = SocketAddr::from((Side::Far.underlay(), ENTRANCE));
    let play = Play {
        line,
        entrance,
        exit: (Side::Far.underlay(), PORT).into(),
    };
    let file = wire.write("lossy.json", &serde_json::to_string(&play)?)?;
    let log = wire.log("lossy");
    std::fs::write(&log, "")?;
    let mut command = part(wire, Side::Far, "lossy")?;
    let mut process = Process::start("lossy", command.arg(file), &log)?;
    eventually("the line is open", PATIENCE, || {
        process.check_runs()?;
        let said = std::fs::read_to_string(&log)?;
        said.contains(OPEN).then_some(()).context(said)
    })?;
    Ok((process, entrance))
}

/// What the process is told.
#[derive(Deserialize, Serialize)]
struct Play {
    line: Line,
    entrance: SocketAddr,
    exit: SocketAddr,
}

/// What the process does.
pub(super) fn play(file: &Path) -> Result<()> {
    let play: Play = serde_json::from_slice(&std::fs::read(file)?)?;
    let near = Arc::new(bind(play.entrance)?);
    let far = bind(SocketAddr::new(play.entrance.ip(), 0))?;
    far.connect(play.exit)?;
    let far = Arc::new(far);
    println!("{OPEN}");
    // Who calls first is who is answered.
    let caller = Arc::new(OnceLock::new());
    let there = Arc::new(Queue::default());
    let back = Arc::new(Queue::default());
    let threads = [
        {
            let (near, queue, caller) = (near.clone(), there.clone(), caller.clone());
            std::thread::spawn(move || fill(&near, &queue, play.line, SEEDS[0], Some(&*caller)))
        },
        {
            let (far, queue) = (far.clone(), back.clone());
            std::thread::spawn(move || fill(&far, &queue, play.line, SEEDS[1], None))
        },
        std::thread::spawn(move || {
            drain(&there, |datagram| far.send(datagram).map(drop));
        }),
        std::thread::spawn(move || {
            drain(&back, |datagram| match caller.get() {
                Some(caller) => near.send_to(datagram, caller).map(drop),
                None => Ok(()),
            });
        }),
    ];
    for thread in threads {
        // It ends only when it panics.
        let _ = thread.join();
    }
    Ok(())
}

/// Datagrams on their way in one direction, first come first.
#[derive(Default)]
struct Queue(Mutex<VecDeque<(Instant, Vec<u8>)>>);

fn bind(address: SocketAddr) -> Result<UdpSocket> {
    let socket = UdpSocket::bind(address)?;
    let options = socket2::SockRef::from(&socket);
    options.set_recv_buffer_size(BUFFER_BYTES)?;
    options.set_send_buffer_size(BUFFER_BYTES)?;
    Ok(socket)
}

fn fill(
    from: &UdpSocket,
    queue: &Queue,
    line: Line,
    mut dice: u64,
    caller: Option<&OnceLock<SocketAddr>>,
) {
    let delay = Duration::from_millis(line.delay_ms);
    let mut buffer = vec![0; MAX_DATAGRAM_BYTES];
    loop {
        // An error is a report of an earlier datagram's fate, of which a line knows nothing.
        let Ok((bytes, source)) = from.recv_from(&mut buffer) else {
            continue;
        };
        if let Some(caller) = caller {
            caller.get_or_init(|| source);
        }
        // xorshift64: good enough to lose datagrams.
        dice ^= dice << 13;
        dice ^= dice >> 7;
        dice ^= dice << 17;
        if dice % 1_000_000 < line.lost_ppm {
            continue;
        }
        let mut queue = queue.0.lock().unwrap_or_else(PoisonError::into_inner);
        // A line that is full loses the newest, as a router does.
        if queue.len() < MAX_QUEUED {
            queue.push_back((Instant::now() + delay, buffer[..bytes].to_vec()));
        }
    }
}

fn drain(queue: &Queue, send: impl Fn(&[u8]) -> std::io::Result<()>) {
    loop {
        let now = Instant::now();
        let due: Vec<_> = {
            let mut queue = queue.0.lock().unwrap_or_else(PoisonError::into_inner);
            let count = queue.iter().take_while(|(at, _)| *at <= now).count();
            queue.drain(..count).collect()
        };
        for (_, datagram) in due {
            // What is refused is lost.
            let _ = send(&datagram);
        }
        std::thread::sleep(GRAIN);
    }
}

const ENTRANCE: u16 = 40_000;
const OPEN: &str = "open";
const SEEDS: [u64; 2] = [0x9e37_79b9_7f4a_7c15, 0xd1b5_4a32_d192_ed03];
const BUFFER_BYTES: usize = 4 * 1024 * 1024;
/// 10 ms at 3 million datagrams a second; more than ever comes.
const MAX_QUEUED: usize = 30_000;
const GRAIN: Duration = Duration::from_micros(200);
const MAX_DATAGRAM_BYTES: usize = 65_535;
