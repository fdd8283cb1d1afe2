//! A contender's turn: streams, datagrams, pings, memory. Each turn starts it afresh.

use std::time::Duration;

use anyhow::{Result, anyhow};

use super::contender::{Contender, Kind};
use super::echo::pings;
use super::ends::Ends;
use super::iperf::Iperf;
use super::machine::machine_s_per_gb;
use super::noise::noise_s_per_gb;
use super::plan::Plan;
use super::sheet::{Measure, Sheet};
use super::stream::{Way, stream};
use super::wire::{Side, Wire};

/// One turn of each contender, in turn, so that all see the same minutes; as many rounds as planned.
pub(super) fn throughput(
    wire: &Wire,
    contenders: &[Contender],
    plan: &Plan,
    sheet: &mut Sheet,
) -> Result<()> {
    for round in 1..=plan.runs {
        sheet.add_alone(NOISE, noise_s_per_gb()?);
        sheet.add_alone(MACHINE, machine_s_per_gb()?);
        for contender in contenders {
            eprintln!("throughput {round}/{}: {}", plan.runs, contender.name);
            if let Err(error) = turn(wire, contender, plan.seconds, sheet) {
                sheet.note(format!("run {round} of {}: {error:#}", contender.name));
            }
        }
    }
    Ok(())
}

fn turn(wire: &Wire, contender: &Contender, seconds: u64, sheet: &mut Sheet) -> Result<()> {
    let ends = Ends::start(wire, contender)?;
    let near = wire.namespace(Side::Near);
    let mut add = |measure, value| sheet.add(contender.name, measure, value);
    let idle = pings(near, ends.to, IDLE_LENGTH, IDLE_PAUSE)?;
    add(Measure::PingIdle, idle.at(0.5));
    if matches!(contender.kind, Kind::Netstack { .. }) {
        let received = stream(wire, Way::Receives, seconds, CONTROL)?;
        add(Measure::Tcp1, received.gbit_per_s());
        add(Measure::Tcp1Processor, received.processor_s_per_gb());
        let sent = stream(wire, Way::Sends, seconds, CONTROL)?;
        add(Measure::NetstackSends, sent.gbit_per_s());
        add(Measure::NetstackSendsProcessor, sent.processor_s_per_gb());
    } else {
        let iperf = Iperf::start(wire, ends.to)?;
        let (one, busy) = std::thread::scope(|scope| {
            // It ends while the stream still runs.
            let length = Duration::from_secs(seconds) * 3 / 4;
            let busy = scope.spawn(move || pings(near, ends.to, length, LOADED_PAUSE));
            let one = iperf.tcp(1, seconds, CONTROL);
            let busy = busy.join();
            (
                one,
                busy.unwrap_or_else(|_| Err(anyhow!("pinging panicked"))),
            )
        });
        let (one, busy) = (one?, busy?);
        add(Measure::Tcp1, one.gbit_per_s());
        add(Measure::Tcp1Processor, one.processor_s_per_gb());
        add(Measure::PingLoaded, busy.at(0.5));
        let four = iperf.tcp(4, seconds, CONTROL)?;
        add(Measure::Tcp4, four.gbit_per_s());
        add(Measure::Tcp4Processor, four.processor_s_per_gb());
        let short = seconds.div_ceil(2);
        let flood = iperf.udp(None, short)?;
        add(Measure::Flood, flood.kpps());
        add(Measure::FloodProcessor, flood.processor_us_per_datagram());
        add(Measure::Lost50, iperf.udp(Some(50), short)?.lost_percent);
        add(Measure::Lost100, iperf.udp(Some(100), short)?.lost_percent);
    }
    if let Some(resident) = ends.resident_mib()? {
        add(Measure::Resident, resident);
    }
    Ok(())
}

pub(super) const NOISE: &str = "sealing and opening alone: processor, s/GB";
const MACHINE: &str = "two ends without I/O: processor, s/GB";
/// What most hosts use; the machine's own default may be another.
pub(super) const CONTROL: &str = "cubic";
const IDLE_LENGTH: Duration = Duration::from_secs(1);
const IDLE_PAUSE: Duration = Duration::from_millis(10);
pub(super) const LOADED_PAUSE: Duration = Duration::from_millis(40);
