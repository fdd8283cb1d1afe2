//! A hub whose members all send to it at once, with one shard and with two: what its shards gain, and what they cost. The
//! members have netstacks, each in a process of its own, and pour into connections that the hub's kernel has opened.

use std::io::Read;
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::sync::Barrier;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, ensure};
use malha_tunnel::{PrivateKey, shard_of};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::contender::tunnel_end;
use super::ends::{End, PORT, SINK, SOURCE, peer_of};
use super::meter::busy;
use super::part::part;
use super::plan::Plan;
use super::sheet::Sheet;
use super::wire::{Side, Wire};
use crate::lab::Process;

/// In turn with one shard and with two, and the same members.
pub(super) fn shards(wire: &Wire, plan: &Plan, sheet: &mut Sheet) -> Result<()> {
    for round in 1..=plan.runs {
        let keys = spread_keys();
        for (shards, carried, processor) in CASES {
            eprintln!("shards {round}/{}: {shards}", plan.runs);
            let hub_key = PrivateKey::generate();
            let hub = start_hub(wire, &hub_key, &keys, shards)?;
            let _members = start_members(wire, &hub_key, &keys)?;
            let before = busy(hub.id())?;
            let gathered = gather(wire, plan.seconds)?;
            let used = busy(hub.id())?.saturating_sub(before);
            sheet.add_alone(
                carried,
                gathered.bytes as f64 * 8.0 / gathered.seconds / 1e9,
            );
            sheet.add_alone(
                processor,
                used.as_secs_f64() / (gathered.bytes as f64 / 1e9),
            );
        }
    }
    sheet.note(format!(
        "shards: the {MEMBERS} members run on the same cores as their hub, so more shards gain only where there are more cores than busy members"
    ));
    Ok(())
}

/// As many members in each of two shards.
fn spread_keys() -> Vec<PrivateKey> {
    let mut keys = Vec::new();
    while keys.len() < MEMBERS {
        let key = PrivateKey::generate();
        if shard_of(&key.public_key(), 2) == keys.len() % 2 {
            keys.push(key);
        }
    }
    keys
}

fn start_hub(
    wire: &Wire,
    key: &PrivateKey,
    members: &[PrivateKey],
    shards: usize,
) -> Result<Process> {
    let mut hub = End::new(Side::Far, key.clone(), Vec::new());
    hub.shards = Some(shards);
    for (number, member) in members.iter().enumerate() {
        // The members dial it.
        let mut peer = peer_of(Side::Far, member.public_key(), None);
        peer["allowed_ip"] = Value::from(format!("{}/32", overlay(number)));
        hub.peers.push(peer);
    }
    hub.start(wire, &tunnel_end()?)
}

fn start_members(wire: &Wire, hub: &PrivateKey, keys: &[PrivateKey]) -> Result<Vec<Process>> {
    let hub = peer_of(Side::Near, hub.public_key(), None);
    let members = keys.iter().enumerate().map(|(number, key)| {
        let mut member = End::new(Side::Near, key.clone(), vec![hub.clone()]);
        member.netstack = true;
        member.sink_and_source = Some((SINK, SOURCE));
        member.overlay = overlay(number);
        member.port = PORT + number as u16;
        member.start(wire, &tunnel_end()?)
    });
    members.collect()
}

fn overlay(member: usize) -> Ipv4Addr {
    Ipv4Addr::new(100, 96, 0, 10 + member as u8)
}

/// What all connections of the hub have brought.
#[derive(Deserialize, Serialize)]
struct Gathered {
    bytes: u64,
    seconds: f64,
}

fn gather(wire: &Wire, seconds: u64) -> Result<Gathered> {
    let mut command = part(wire, Side::Far, "gather")?;
    command.arg(seconds.to_string());
    command
        .args((0..MEMBERS).map(|member| SocketAddr::from((overlay(member), SOURCE)).to_string()));
    let limit = Duration::from_secs(seconds) + CONNECT_LIMIT;
    Ok(serde_json::from_slice(&wire.run(
        "gather",
        &mut command,
        limit,
    )?)?)
}

/// What the process does: `SECONDS ADDRESS...`.
pub(super) fn play(words: &[String]) -> Result<()> {
    let (seconds, sources) = words.split_first().context("for how many seconds?")?;
    let length = Duration::from_secs(seconds.parse()?);
    let sources: Vec<SocketAddr> = sources
        .iter()
        .map(|it| it.parse())
        .collect::<Result<_, _>>()?;
    let together = Barrier::new(sources.len());
    let pulled: Vec<Result<u64>> = std::thread::scope(|scope| {
        let pulling: Vec<_> = sources
            .iter()
            .map(|source| scope.spawn(|| pull(*source, length, &together)))
            .collect();
        let pulled = pulling.into_iter().map(|it| it.join());
        pulled
            .map(|it| it.map_err(|_| anyhow!("a stream panicked"))?)
            .collect()
    });
    let bytes = pulled.into_iter().sum::<Result<u64>>()?;
    ensure!(bytes > 0, "nothing arrived");
    println!(
        "{}",
        json!({ "bytes": bytes, "seconds": length.as_secs_f64() })
    );
    Ok(())
}

/// The bytes of one source in this time, which begins when all are connected.
fn pull(source: SocketAddr, length: Duration, together: &Barrier) -> Result<u64> {
    let stream = TcpStream::connect_timeout(&source, CONNECT_LIMIT);
    together.wait();
    let mut stream = stream.with_context(|| source.to_string())?;
    let mut buffer = vec![0; CHUNK_BYTES];
    let (start, mut bytes) = (Instant::now(), 0);
    while start.elapsed() < length {
        let read = stream.read(&mut buffer)?;
        ensure!(read > 0, "the source {source} ended");
        bytes += read as u64;
    }
    Ok(bytes)
}

const CASES: [(usize, &str, &str); 2] = [
    (1, ONE_SHARD, "- the hub's processor, s/GB (1 shard)"),
    (2, TWO_SHARDS, "- the hub's processor, s/GB (2 shards)"),
];
pub(super) const ONE_SHARD: &str = "TCP of 8 members to a hub of 1 shard, Gbit/s";
pub(super) const TWO_SHARDS: &str = "TCP of 8 members to a hub of 2 shards, Gbit/s";
const MEMBERS: usize = 8;
const CHUNK_BYTES: usize = 256 * 1024;
const CONNECT_LIMIT: Duration = Duration::from_secs(20);
