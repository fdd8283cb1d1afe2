//! Bytes to and from a netstack, whose connections iperf3 can't use: a process of its own on the machine with a kernel's
//! TCP, so that its processor time counts.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use serde::{Deserialize, Serialize};

use super::ends::{SINK, SOURCE};
use super::iperf::Flow;
use super::part::part;
use super::wire::{Side, Wire};

/// Which way the bytes go, as the netstack sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Way {
    Receives,
    Sends,
}

/// What one process saw.
#[derive(Deserialize, Serialize)]
struct Carried {
    bytes: u64,
    seconds: f64,
}

impl Way {
    fn word(self) -> &'static str {
        match self {
            Self::Receives => "push",
            Self::Sends => "pull",
        }
    }
}

/// Measures a stream between the near machine and the far end's netstack.
pub(super) fn stream(wire: &Wire, way: Way, seconds: u64, control: &str) -> Result<Flow> {
    let port = match way {
        Way::Receives => SINK,
        Way::Sends => SOURCE,
    };
    let to = SocketAddr::from((Side::Far.overlay(), port)).to_string();
    let mut command = part(wire, Side::Near, "stream")?;
    command.args([way.word(), &to, &seconds.to_string(), control]);
    let before = wire.meter.used()?;
    let limit = Duration::from_secs(seconds) + DRAIN_LIMIT;
    let printed = wire.run("stream", &mut command, limit)?;
    let processor = wire.meter.used()?.saturating_sub(before);
    let carried: Carried = serde_json::from_slice(&printed)?;
    Ok(Flow {
        bytes: carried.bytes as f64,
        seconds: carried.seconds,
        datagrams: 0.0,
        lost_percent: 0.0,
        processor,
    })
}

/// What the process does: `push|pull ADDRESS SECONDS CONGESTION_CONTROL`.
pub(super) fn play(words: &[String]) -> Result<()> {
    let [way, to, seconds, control] = words else {
        bail!("give push or pull, an address, seconds, and a congestion control");
    };
    let to: SocketAddr = to.parse()?;
    let length = Duration::from_secs(seconds.parse()?);
    let stream = TcpStream::connect(to).with_context(|| to.to_string())?;
    socket2::SockRef::from(&stream).set_tcp_congestion(control.as_bytes())?;
    let carried = match way.as_str() {
        "push" => push(stream, length)?,
        "pull" => pull(stream, length)?,
        other => bail!("{other}: push or pull"),
    };
    ensure!(carried.bytes > 0, "nothing arrived");
    println!("{}", serde_json::to_string(&carried)?);
    Ok(())
}

/// Counts only what the other side has taken: it closes when it has read everything.
fn push(mut stream: TcpStream, length: Duration) -> Result<Carried> {
    let zeros = vec![0; CHUNK_BYTES];
    let (start, mut bytes) = (Instant::now(), 0);
    while start.elapsed() < length {
        stream.write_all(&zeros)?;
        bytes += zeros.len() as u64;
    }
    stream.shutdown(Shutdown::Write)?;
    // However it closes, it has read what was sent or says so by a reset.
    ensure!(stream.read(&mut [0])? == 0, "the sink sent something");
    Ok(Carried {
        bytes,
        seconds: start.elapsed().as_secs_f64(),
    })
}

fn pull(mut stream: TcpStream, length: Duration) -> Result<Carried> {
    let mut buffer = vec![0; CHUNK_BYTES];
    let (start, mut bytes) = (Instant::now(), 0);
    while start.elapsed() < length {
        let read = stream.read(&mut buffer)?;
        ensure!(read > 0, "the source ended");
        bytes += read as u64;
    }
    Ok(Carried {
        bytes,
        seconds: start.elapsed().as_secs_f64(),
    })
}

const CHUNK_BYTES: usize = 256 * 1024;
const DRAIN_LIMIT: Duration = Duration::from_secs(30);
