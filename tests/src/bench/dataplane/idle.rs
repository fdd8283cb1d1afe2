//! What a tunnel costs while nothing happens, what idle peers add to a hub, and what their number costs the busy one.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use malha_tunnel::PrivateKey;

use super::super::figures::resident_bytes;
use super::contender::tunnel_end;
use super::crowd::Crowd;
use super::echo;
use super::ends::{End, MIB, peer_of};
use super::iperf::Iperf;
use super::meter::busy;
use super::plan::Plan;
use super::sheet::Sheet;
use super::throughput::CONTROL;
use super::wire::{Side, Wire};
use crate::lab::Process;

pub(super) fn idle(wire: &Wire, plan: &Plan, sheet: &mut Sheet) -> Result<()> {
    eprintln!("idle");
    let length = if plan.quick { IDLE_QUICK } else { IDLE };
    let alone = Hub::start(wire, &Crowd::new(0))?;
    sheet.add_alone(IDLE_MEMORY, resident_bytes(alone.member.id())? / MIB);
    sheet.add_alone(IDLE_PROCESSOR, busy_percent(&alone.member, length)?);
    let before = resident_bytes(alone.hub.id())?;
    drop(alone);

    let crowd = Crowd::new(IDLE_PEERS);
    let crowded = Hub::start(wire, &crowd)?;
    let configured = resident_bytes(crowded.hub.id())?;
    sheet.add_alone(CONFIGURED_MEMORY, (configured - before) / MIB);
    let result = crowd.shake_hands(wire, crowded.key.public_key())?;
    ensure!(
        result.answered * 100 >= IDLE_PEERS * 95,
        "only {} of {IDLE_PEERS} idle peers have a session",
        result.answered
    );
    let after = resident_bytes(crowded.hub.id())?;
    sheet.add_alone(PEERS_MEMORY, (after - before) / MIB);
    sheet.add_alone(PEERS_PROCESSOR, busy_percent(&crowded.hub, length)?);
    drop(crowded);

    for round in 1..=plan.runs {
        eprintln!("10,000 peers {round}/{}", plan.runs);
        let one = carried(wire, &Crowd::new(0), plan.seconds)?;
        let many = carried(wire, &Crowd::new(CONFIGURED_PEERS), plan.seconds)?;
        sheet.add_alone(MANY_PEERS, many / one);
    }
    Ok(())
}

/// The share of one core that a process uses.
fn busy_percent(process: &Process, length: Duration) -> Result<f64> {
    // Starting and shaking hands is not idling.
    std::thread::sleep(SETTLE);
    let (start, before) = (Instant::now(), busy(process.id())?);
    std::thread::sleep(length);
    let used = busy(process.id())?.saturating_sub(before);
    Ok(100.0 * used.as_secs_f64() / start.elapsed().as_secs_f64())
}

fn carried(wire: &Wire, crowd: &Crowd, seconds: u64) -> Result<f64> {
    let _hub = Hub::start(wire, crowd)?;
    let iperf = Iperf::start(wire, Side::Far.overlay())?;
    Ok(iperf.tcp(1, seconds, CONTROL)?.gbit_per_s())
}

/// A hub on the far machine with a crowd of peers, and one member on the near machine.
struct Hub {
    key: PrivateKey,
    hub: Process,
    member: Process,
}

impl Hub {
    fn start(wire: &Wire, crowd: &Crowd) -> Result<Self> {
        let (key, member) = (PrivateKey::generate(), PrivateKey::generate());
        let program = tunnel_end()?;
        let mut peers = vec![peer_of(Side::Far, member.public_key(), None)];
        peers.extend(crowd.peers());
        let hub = End::new(Side::Far, key.clone(), peers).start(wire, &program)?;
        let peers = vec![peer_of(Side::Near, key.public_key(), None)];
        let member = End::new(Side::Near, member, peers).start(wire, &program)?;
        echo::wait_for(wire.namespace(Side::Near), Side::Far.overlay()).context("the hub")?;
        Ok(Self { key, hub, member })
    }
}

pub(super) const IDLE_MEMORY: &str = "idle node: memory, MiB";
pub(super) const IDLE_PROCESSOR: &str = "idle node: processor, % of a core";
pub(super) const PEERS_MEMORY: &str = "1,000 idle peers: memory added to the hub, MiB";
const CONFIGURED_MEMORY: &str = "1,000 peers before their handshakes: memory added, MiB";
const PEERS_PROCESSOR: &str = "1,000 idle peers: the hub's processor, % of a core";
pub(super) const MANY_PEERS: &str = "TCP with 10,000 peers configured, share of that with one";
const IDLE_PEERS: usize = 1_000;
const CONFIGURED_PEERS: usize = 10_000;
const IDLE: Duration = Duration::from_secs(20);
const IDLE_QUICK: Duration = Duration::from_secs(5);
const SETTLE: Duration = Duration::from_secs(2);
