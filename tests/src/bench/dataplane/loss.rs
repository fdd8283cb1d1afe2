//! A stream over a line of 20 ms that loses 1 % of all datagrams: what arrives, by who sends and how.

use anyhow::Result;
use malha_tunnel::PrivateKey;

use super::beside::{HubPort, beside};
use super::contender::tunnel_end;
use super::echo;
use super::ends::{End, SINK, SOURCE, peer_of};
use super::iperf::Iperf;
use super::lossy::{Line, lossy};
use super::plan::Plan;
use super::sheet::Sheet;
use super::stream::{Way, stream};
use super::wire::{Side, Wire};

pub(super) fn loss(wire: &Wire, plan: &Plan, sheet: &mut Sheet) -> Result<()> {
    let seconds = plan.seconds.max(if plan.quick { 0 } else { RAMP_SECONDS });
    for round in 1..=plan.runs.min(RUNS) {
        for case in &CASES {
            eprintln!("loss {round}: {}", case.name);
            match case.carried_mbit_per_s(wire, seconds) {
                Ok(carried) => sheet.add_alone(case.name, carried),
                Err(error) => sheet.note(format!("{}: {error:#}", case.name)),
            }
        }
    }
    Ok(())
}

/// One sender on one line.
struct Case {
    name: &'static str,
    lost_ppm: u64,
    sender: Sender,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Sender {
    /// With a congestion control by name.
    Kernel(&'static str),
    Netstack,
    /// A node with the netstack, over QUIC beside its tunnel.
    Beside,
}

impl Case {
    fn carried_mbit_per_s(&self, wire: &Wire, seconds: u64) -> Result<f64> {
        let keys = [PrivateKey::generate(), PrivateKey::generate()];
        let line = Line {
            delay_ms: ONE_WAY_MS,
            lost_ppm: self.lost_ppm,
        };
        let (_line, entrance) = lossy(wire, line)?;
        if self.sender == Sender::Beside {
            let flow = beside(wire, entrance, HubPort::Shared, Way::Sends, seconds)?;
            return Ok(flow.gbit_per_s() * 1e3);
        }
        let mut ends = Vec::new();
        for (at, side) in Side::BOTH.into_iter().enumerate() {
            let peer = peer_of(side, keys[1 - at].public_key(), Some(entrance));
            let mut end = End::new(side, keys[at].clone(), vec![peer]);
            end.netstack = side == Side::Far && self.sender == Sender::Netstack;
            end.sink_and_source = end.netstack.then_some((SINK, SOURCE));
            ends.push(end.start(wire, &tunnel_end()?)?);
        }
        let to = Side::Far.overlay();
        echo::wait_for(wire.namespace(Side::Near), to)?;
        let flow = match self.sender {
            Sender::Kernel(control) => Iperf::start(wire, to)?.tcp(1, seconds, control)?,
            Sender::Netstack | Sender::Beside => stream(wire, Way::Sends, seconds, "cubic")?,
        };
        Ok(flow.gbit_per_s() * 1e3)
    }
}

const CASES: [Case; 7] = [
    Case {
        name: "20 ms, nothing lost: kernel sends with BBR, Mbit/s",
        lost_ppm: 0,
        sender: Sender::Kernel("bbr"),
    },
    Case {
        name: "20 ms, nothing lost: netstack sends, Mbit/s",
        lost_ppm: 0,
        sender: Sender::Netstack,
    },
    Case {
        name: "20 ms, nothing lost: netstack node over QUIC, Mbit/s",
        lost_ppm: 0,
        sender: Sender::Beside,
    },
    Case {
        name: BBR,
        lost_ppm: 10_000,
        sender: Sender::Kernel("bbr"),
    },
    Case {
        name: "20 ms, 1 % lost: kernel sends with CUBIC, Mbit/s",
        lost_ppm: 10_000,
        sender: Sender::Kernel("cubic"),
    },
    Case {
        name: NETSTACK_SENDS,
        lost_ppm: 10_000,
        sender: Sender::Netstack,
    },
    Case {
        name: BESIDE,
        lost_ppm: 10_000,
        sender: Sender::Beside,
    },
];

pub(super) const BBR: &str = "20 ms, 1 % lost: kernel sends with BBR, Mbit/s";
pub(super) const NETSTACK_SENDS: &str = "20 ms, 1 % lost: netstack sends, Mbit/s";
pub(super) const BESIDE: &str = "20 ms, 1 % lost: netstack node over QUIC, Mbit/s";
const ONE_WAY_MS: u64 = 10;
/// BBR needs some seconds to find the line's rate.
const RAMP_SECONDS: u64 = 8;
/// The line is the same in every run, and each takes its time.
const RUNS: usize = 3;
