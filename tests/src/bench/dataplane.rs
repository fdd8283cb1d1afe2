//! `tests/bench/dataplane`: what Malha's tunnel carries and costs between two network namespaces, beside other userspace
//! WireGuards in the same minutes. It needs root and leaves nothing behind.

mod beside;
mod carrier;
mod contender;
mod crowd;
mod echo;
mod ends;
mod goal;
mod handshakes;
mod idle;
mod iperf;
mod loss;
mod lossy;
mod machine;
mod meter;
mod noise;
mod part;
mod plan;
mod priority;
mod quic;
mod relay;
mod series;
mod shards;
mod sheet;
mod spoof;
mod strangers;
mod stream;
mod throughput;
mod wire;

use anyhow::{Result, ensure};

pub use part::take_part;
pub use plan::Plan;
pub use sheet::Sheet;
pub use wire::clean_up;

use crate::lab::process::on_path;
use contender::contenders;
use goal::GOALS;
use plan::Part;
use priority::Priority;
use wire::Wire;

/// Measures what the plan says.
pub fn dataplane(plan: &Plan) -> Result<Sheet> {
    check_machine()?;
    let mut sheet = Sheet::new();
    let priority = Priority::raise();
    sheet.note(priority.note());
    let wire = Wire::new()?;
    sheet.note(wire.meter.method());
    if plan.measures(Part::Throughput) {
        let (contenders, notes) = contenders(plan)?;
        for contender in contenders.iter().filter(|it| !it.version.is_empty()) {
            sheet.note(format!("{}: {}", contender.name, contender.version));
        }
        for note in notes {
            sheet.note(note);
        }
        throughput::throughput(&wire, &contenders, plan, &mut sheet)?;
    }
    if plan.measures(Part::Idle) {
        idle::idle(&wire, plan, &mut sheet)?;
    }
    if plan.measures(Part::Handshakes) {
        handshakes::handshakes(&wire, plan, &mut sheet)?;
    }
    if plan.measures(Part::Loss) {
        loss::loss(&wire, plan, &mut sheet)?;
    }
    if plan.measures(Part::Relay) {
        relay::relay(&wire, plan, &mut sheet)?;
    }
    if plan.measures(Part::Carrier) {
        carrier::carrier(&wire, plan, &mut sheet)?;
    }
    if plan.measures(Part::Quic) {
        quic::quic(&wire, plan, &mut sheet)?;
    }
    if plan.measures(Part::Shards) {
        shards::shards(&wire, plan, &mut sheet)?;
    }
    sheet.note(super::control::machine()?);
    sheet.judge(&GOALS);
    Ok(sheet)
}

fn check_machine() -> Result<()> {
    ensure!(
        nix::unistd::geteuid().is_root(),
        "not root: network namespaces and TUN devices need it"
    );
    for (tool, package) in [
        ("ip", "iproute2"),
        ("iperf3", "iperf3"),
        ("setpriv", "util-linux"),
    ] {
        ensure!(
            on_path(tool).is_some(),
            "{tool} is missing: install {package}"
        );
    }
    Ok(())
}
