//! Strangers who knock: initiations with a correct checksum for the hub, from keys that it does not know and from many
//! prefixes, at a steady rate. They never answer.

use std::net::SocketAddr;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Result, anyhow};
use boringtun::noise::{Tunn, TunnResult};
use malha_tunnel::{PrivateKey, PublicKey};
use serde::{Deserialize, Serialize};
use x25519_dalek::StaticSecret;

use super::ends::PORT;
use super::part::part;
use super::spoof::Block;
use super::wire::{Side, Wire};
use crate::lab::Process;

/// Starts them; they knock until they are dropped. Their processor time does not count.
pub(super) fn strangers(wire: &Wire, hub: PublicKey) -> Result<Process> {
    Block::route(wire)?;
    let play = Play {
        to: (Side::Far.underlay(), PORT).into(),
        hub: hub.to_base64(),
    };
    let file = wire.write("strangers.json", &serde_json::to_string(&play)?)?;
    let mut command = part(wire, Side::Near, "strangers")?;
    Process::start("strangers", command.arg(file), &wire.log("strangers"))
}

/// What the process is told.
#[derive(Deserialize, Serialize)]
struct Play {
    to: SocketAddr,
    hub: String,
}

/// What the process does.
pub(super) fn play(file: &Path) -> Result<()> {
    let play: Play = serde_json::from_slice(&std::fs::read(file)?)?;
    let hub: PublicKey = play.hub.parse()?;
    let knocks = (0..DIFFERENT).map(|index| knock(&hub, index));
    let knocks = knocks.collect::<Result<Vec<_>>>()?;
    let block = Block::open(play.to)?;
    let (start, mut sent) = (Instant::now(), 0_usize);
    loop {
        let due = (start.elapsed().as_secs_f64() * KNOCKS_PER_S as f64) as usize;
        while sent < due {
            // A flood that does not leave would prove nothing: the benchmark sees that this ended.
            block.send(sent, &knocks[sent % knocks.len()])?;
            sent += 1;
        }
        std::thread::sleep(PAUSE);
    }
}

fn knock(hub: &PublicKey, index: u32) -> Result<Vec<u8>> {
    let secret = StaticSecret::from(*PrivateKey::generate().as_bytes());
    let hub = x25519_dalek::PublicKey::from(*hub.as_bytes());
    let mut stranger = Tunn::new(secret, hub, None, None, index, None);
    let mut buffer = [0; KNOCK_BYTES];
    match stranger.format_handshake_initiation(&mut buffer, true) {
        TunnResult::WriteToNetwork(initiation) => Ok(initiation.to_vec()),
        _ => Err(anyhow!("a stranger makes no initiation")),
    }
}

/// As many as a small botnet sends without effort: 12 Mbit/s.
pub(super) const KNOCKS_PER_S: usize = 10_000;
const DIFFERENT: u32 = 512;
const PAUSE: Duration = Duration::from_millis(1);
const KNOCK_BYTES: usize = 256;
