//! Goals of the data plane, as ratios and bounds of what one run measured. A figure that is missing meets nothing.

use serde::Serialize;

use super::super::report::rounded;
use super::carrier::{BY_CARRIER, BY_UDP, RELAYED_BY_CARRIERS, TLS_ALONE};
use super::contender::{BORINGTUN, CABLE, MALHA, NETSTACK, WIREGUARD_GO};
use super::handshakes::{LOST_TO_STRANGERS, NOISE_PER_CORE, PER_CORE};
use super::idle::{IDLE_MEMORY, IDLE_PROCESSOR, MANY_PEERS, PEERS_MEMORY};
use super::loss::{BBR, BESIDE, NETSTACK_SENDS};
use super::quic::{FROM_OWN_PORT, FROM_SHARED_PORT, TO_OWN_PORT, TO_SHARED_PORT};
use super::relay::{DIRECT, RELAYED};
use super::shards::{ONE_SHARD, TWO_SHARDS};
use super::sheet::{Measure, Sheet};
use super::throughput::NOISE;

/// One bound, and what is held against it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Goal {
    name: &'static str,
    figure: Figure,
    bound: Bound,
}

#[derive(Clone, Copy, Debug)]
enum Figure {
    /// Of Malha's userspace engine.
    Ours(Measure),
    /// Of a contender by name.
    Of(&'static str, Measure),
    /// Malha's divided by a contender's.
    Ratio(Measure, &'static str),
    /// Malha's less a contender's.
    Excess(Measure, &'static str),
    /// What the cable and the noise cost by themselves, divided by what the tunnel costs.
    ShareOfFloor,
    /// One that only Malha has.
    Alone(&'static str),
    /// Two of those, the first divided by the second.
    RatioAlone(&'static str, &'static str),
}

#[derive(Clone, Copy, Debug)]
enum Bound {
    AtLeast(f64),
    AtMost(f64),
    /// Reported, not judged.
    None,
}

/// What became of a goal.
#[derive(Debug, Serialize)]
pub(super) struct Verdict {
    goal: &'static str,
    wanted: Option<String>,
    measured: f64,
    met: Option<bool>,
}

impl Goal {
    /// None if its part was not measured.
    pub(super) fn judge(&self, sheet: &Sheet) -> Option<Verdict> {
        let ours = |measure| sheet.median(MALHA, measure);
        let measured = match self.figure {
            Figure::Ours(measure) => ours(measure)?,
            Figure::Of(name, measure) => sheet.median(name, measure)?,
            Figure::Ratio(measure, name) => ours(measure)? / sheet.median(name, measure)?,
            Figure::Excess(measure, name) => ours(measure)? - sheet.median(name, measure)?,
            Figure::ShareOfFloor => {
                let cable = sheet.median(CABLE, Measure::Tcp1Processor)?;
                let floor = cable + sheet.median_alone(NOISE)?;
                floor / ours(Measure::Tcp1Processor)?
            }
            Figure::Alone(name) => sheet.median_alone(name)?,
            Figure::RatioAlone(name, other) => {
                sheet.median_alone(name)? / sheet.median_alone(other)?
            }
        };
        let (wanted, met) = match self.bound {
            Bound::AtLeast(bound) => (Some(format!(">= {bound}")), Some(measured >= bound)),
            Bound::AtMost(bound) => (Some(format!("<= {bound}")), Some(measured <= bound)),
            Bound::None => (None, None),
        };
        Some(Verdict {
            goal: self.name,
            wanted,
            measured,
            met,
        })
    }
}

impl Verdict {
    pub(super) fn row(&self) -> Vec<String> {
        vec![
            self.goal.to_owned(),
            self.wanted.clone().unwrap_or_default(),
            rounded(self.measured).to_string(),
            match self.met {
                Some(true) => "met",
                Some(false) => "NOT met",
                None => "",
            }
            .to_owned(),
        ]
    }
}

const fn goal(name: &'static str, figure: Figure, bound: Bound) -> Goal {
    Goal {
        name,
        figure,
        bound,
    }
}

/// In the order in which they are printed.
pub(super) const GOALS: [Goal; 34] = [
    goal(
        "TCP 1 stream, times wireguard-go",
        Figure::Ratio(Measure::Tcp1, WIREGUARD_GO),
        Bound::AtLeast(2.0),
    ),
    goal(
        "TCP 4 streams, times wireguard-go",
        Figure::Ratio(Measure::Tcp4, WIREGUARD_GO),
        Bound::AtLeast(2.0),
    ),
    goal(
        "TCP 1 stream, times boringtun-cli",
        Figure::Ratio(Measure::Tcp1, BORINGTUN),
        Bound::AtLeast(6.0),
    ),
    goal(
        "TCP 4 streams, times boringtun-cli",
        Figure::Ratio(Measure::Tcp4, BORINGTUN),
        Bound::AtLeast(6.0),
    ),
    goal(
        "processor per GB, times wireguard-go",
        Figure::Ratio(Measure::Tcp1Processor, WIREGUARD_GO),
        Bound::AtMost(0.5),
    ),
    goal(
        "UDP 64 B received, times wireguard-go",
        Figure::Ratio(Measure::Flood, WIREGUARD_GO),
        Bound::AtLeast(2.0),
    ),
    goal(
        "UDP 64 B at 100 kpps, % lost",
        Figure::Ours(Measure::Lost100),
        Bound::AtMost(10.0),
    ),
    goal(
        "ping idle, ms above boringtun-cli",
        Figure::Excess(Measure::PingIdle, BORINGTUN),
        Bound::AtMost(0.3),
    ),
    goal(
        "ping under load, ms above wireguard-go",
        Figure::Excess(Measure::PingLoaded, WIREGUARD_GO),
        Bound::AtMost(0.0),
    ),
    goal(
        "memory of an end after load, MiB",
        Figure::Ours(Measure::Resident),
        Bound::AtMost(15.0),
    ),
    goal(
        "netstack receives, Gbit/s",
        Figure::Of(NETSTACK, Measure::Tcp1),
        Bound::AtLeast(4.0),
    ),
    goal(
        "netstack sends, Gbit/s",
        Figure::Of(NETSTACK, Measure::NetstackSends),
        Bound::None,
    ),
    goal(
        "share of the floor reached, processor per GB",
        Figure::ShareOfFloor,
        Bound::None,
    ),
    goal(
        "share of the bare cable's TCP, 1 stream",
        Figure::Ratio(Measure::Tcp1, CABLE),
        Bound::None,
    ),
    goal(
        "share of the bare cable's TCP, 4 streams",
        Figure::Ratio(Measure::Tcp4, CABLE),
        Bound::None,
    ),
    goal(
        "share of the bare cable's UDP 64 B",
        Figure::Ratio(Measure::Flood, CABLE),
        Bound::None,
    ),
    goal(
        "processor per GB, times the bare cable's",
        Figure::Ratio(Measure::Tcp1Processor, CABLE),
        Bound::None,
    ),
    goal(
        "idle node: memory, MiB",
        Figure::Alone(IDLE_MEMORY),
        Bound::AtMost(15.0),
    ),
    goal(
        "idle node: processor, %",
        Figure::Alone(IDLE_PROCESSOR),
        Bound::AtMost(0.1),
    ),
    goal(
        "1,000 idle peers, MiB",
        Figure::Alone(PEERS_MEMORY),
        Bound::AtMost(25.0),
    ),
    goal(
        "10,000 peers, share of throughput",
        Figure::Alone(MANY_PEERS),
        Bound::AtLeast(0.9),
    ),
    goal(
        "handshakes per second and core",
        Figure::Alone(PER_CORE),
        Bound::AtLeast(3000.0),
    ),
    goal(
        "handshakes, share of the noise alone",
        Figure::RatioAlone(PER_CORE, NOISE_PER_CORE),
        Bound::None,
    ),
    goal(
        "throughput lost to strangers, %",
        Figure::Alone(LOST_TO_STRANGERS),
        Bound::AtMost(20.0),
    ),
    goal(
        "20 ms, 1 % lost: BBR, Mbit/s",
        Figure::Alone(BBR),
        Bound::AtLeast(300.0),
    ),
    goal(
        "20 ms, 1 % lost: netstack sends, Mbit/s",
        Figure::Alone(NETSTACK_SENDS),
        Bound::None,
    ),
    goal(
        "20 ms, 1 % lost: QUIC beside the tunnel, times netstack sends",
        Figure::RatioAlone(BESIDE, NETSTACK_SENDS),
        Bound::AtLeast(100.0),
    ),
    goal(
        "TCP through a relay, share of direct",
        Figure::RatioAlone(RELAYED, DIRECT),
        Bound::None,
    ),
    goal(
        "TCP to the hub over a carrier, share of UDP",
        Figure::RatioAlone(BY_CARRIER, BY_UDP),
        Bound::None,
    ),
    goal(
        "TCP to the hub over a carrier, share of TLS alone",
        Figure::RatioAlone(BY_CARRIER, TLS_ALONE),
        Bound::None,
    ),
    goal(
        "TCP relayed over two carriers, share of TLS alone",
        Figure::RatioAlone(RELAYED_BY_CARRIERS, TLS_ALONE),
        Bound::None,
    ),
    goal(
        "QUIC to the hub on WireGuard's port, times on its own",
        Figure::RatioAlone(TO_SHARED_PORT, TO_OWN_PORT),
        Bound::None,
    ),
    goal(
        "QUIC from the hub on WireGuard's port, times on its own",
        Figure::RatioAlone(FROM_SHARED_PORT, FROM_OWN_PORT),
        Bound::None,
    ),
    goal(
        "TCP of 8 members, 2 shards, times 1 shard",
        Figure::RatioAlone(TWO_SHARDS, ONE_SHARD),
        Bound::None,
    ),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ratio_needs_both_sides() {
        let mut sheet = Sheet::new();
        let twice = &GOALS[0];
        sheet.add(MALHA, Measure::Tcp1, 3.0);
        assert!(twice.judge(&sheet).is_none());
        sheet.add(WIREGUARD_GO, Measure::Tcp1, 1.0);
        let verdict = twice.judge(&sheet).unwrap();
        assert_eq!((verdict.measured, verdict.met), (3.0, Some(true)));
    }

    #[test]
    fn a_goal_that_is_just_missed_is_not_met() {
        let mut sheet = Sheet::new();
        sheet.add(MALHA, Measure::Resident, 15.01);
        let memory = GOALS.iter().find(|goal| goal.name.starts_with("memory"));
        assert_eq!(memory.unwrap().judge(&sheet).unwrap().met, Some(false));
    }
}
