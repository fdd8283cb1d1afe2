//! Handshakes: how many members a hub answers per second of one core, and what strangers who knock cost a member.

use anyhow::{Result, ensure};
use malha_tunnel::PrivateKey;

use super::contender::tunnel_end;
use super::crowd::Crowd;
use super::echo;
use super::ends::{End, peer_of};
use super::iperf::Iperf;
use super::meter::busy;
use super::noise::noise_handshakes_per_s;
use super::plan::Plan;
use super::sheet::Sheet;
use super::strangers::{KNOCKS_PER_S, strangers};
use super::throughput::CONTROL;
use super::wire::{Side, Wire};

pub(super) fn handshakes(wire: &Wire, plan: &Plan, sheet: &mut Sheet) -> Result<()> {
    let members = if plan.quick { 1_000 } else { MEMBERS };
    for round in 1..=plan.runs {
        eprintln!("handshakes {round}/{}", plan.runs);
        answer_members(wire, members, sheet)?;
        sheet.add_alone(NOISE_PER_CORE, noise_handshakes_per_s()?);
    }
    suffer_strangers(wire, plan, sheet)
}

/// All members of a hub shake hands at once, as after its restart.
fn answer_members(wire: &Wire, members: usize, sheet: &mut Sheet) -> Result<()> {
    let crowd = Crowd::new(members);
    let key = PrivateKey::generate();
    let hub = End::new(Side::Far, key.clone(), crowd.peers().collect());
    let hub = hub.start(wire, &tunnel_end()?)?;
    let before = busy(hub.id())?;
    let result = crowd.shake_hands(wire, key.public_key())?;
    let used = (busy(hub.id())? - before).as_secs_f64();
    let answered = result.answered as f64;
    ensure!(answered > 0.0, "no member was answered");
    sheet.add_alone(PER_CORE, answered / used);
    sheet.add_alone(PER_SECOND, answered / result.seconds);
    sheet.add_alone(UNANSWERED, 100.0 * (1.0 - answered / members as f64));
    sheet.add_alone(COOKIES, result.cookies as f64 / members as f64);
    Ok(())
}

/// One stream of a member with and without strangers at the hub's door, in turn.
fn suffer_strangers(wire: &Wire, plan: &Plan, sheet: &mut Sheet) -> Result<()> {
    let keys = [PrivateKey::generate(), PrivateKey::generate()];
    let mut ends = Vec::new();
    for (at, side) in Side::BOTH.into_iter().enumerate() {
        let peer = peer_of(side, keys[1 - at].public_key(), None);
        ends.push(End::new(side, keys[at].clone(), vec![peer]).start(wire, &tunnel_end()?)?);
    }
    let to = Side::Far.overlay();
    echo::wait_for(wire.namespace(Side::Near), to)?;
    let iperf = Iperf::start(wire, to)?;
    // The far side was started first: it is the hub.
    let hub = keys[0].public_key();
    for round in 1..=plan.runs {
        eprintln!("strangers {round}/{}", plan.runs);
        let alone = iperf.tcp(1, plan.seconds, CONTROL)?.gbit_per_s();
        let mut knocking = strangers(wire, hub)?;
        let flooded = iperf.tcp(1, plan.seconds, CONTROL)?.gbit_per_s();
        knocking.check_runs()?;
        sheet.add_alone(LOST_TO_STRANGERS, 100.0 * (1.0 - flooded / alone));
    }
    sheet.note(format!(
        "strangers: {KNOCKS_PER_S} initiations a second from prefixes of their own; the process that sends them takes its \
         processor time from the same machine"
    ));
    Ok(())
}

pub(super) const PER_CORE: &str = "handshakes answered per second of one core";
pub(super) const NOISE_PER_CORE: &str = "- by boringtun's noise alone, without a tunnel around it";
const PER_SECOND: &str = "handshakes answered per second, members on the same cores";
const UNANSWERED: &str = "handshakes not answered at the first try, %";
const COOKIES: &str = "cookies per member";
pub(super) const LOST_TO_STRANGERS: &str = "throughput lost to strangers who knock, %";
/// As many as one hub is made for.
const MEMBERS: usize = 10_000;
