//! QUIC beside the tunnel over the cable, on the port that it shares with WireGuard and on a port of its own, in turn.

use anyhow::Result;

use super::beside::{HubPort, beside};
use super::ends::PORT;
use super::plan::Plan;
use super::sheet::Sheet;
use super::stream::Way;
use super::wire::{Side, Wire};

pub(super) fn quic(wire: &Wire, plan: &Plan, sheet: &mut Sheet) -> Result<()> {
    let hub = (Side::Far.underlay(), PORT).into();
    for round in 1..=plan.runs {
        for (way, port, carried, processor) in CASES {
            eprintln!("QUIC {round}/{}: {way:?} {port:?}", plan.runs);
            let flow = beside(wire, hub, port, way, plan.seconds)?;
            sheet.add_alone(carried, flow.gbit_per_s());
            sheet.add_alone(processor, flow.processor_s_per_gb());
        }
    }
    sheet.note("QUIC: from the hub its packets have 1,200 bytes on the shared port, where datagrams may be fragmented");
    Ok(())
}

/// The way as the node sees it.
const CASES: [(Way, HubPort, &str, &str); 4] = [
    (
        Way::Sends,
        HubPort::Own,
        TO_OWN_PORT,
        "- processor of both ends, s/GB",
    ),
    (
        Way::Sends,
        HubPort::Shared,
        TO_SHARED_PORT,
        "- processor of both ends, shared, s/GB",
    ),
    (
        Way::Receives,
        HubPort::Own,
        FROM_OWN_PORT,
        "- processor of both ends, from the hub, s/GB",
    ),
    (
        Way::Receives,
        HubPort::Shared,
        FROM_SHARED_PORT,
        "- processor of both ends, from the hub, shared, s/GB",
    ),
];

pub(super) const TO_OWN_PORT: &str = "QUIC of a node to the hub's own QUIC port, Gbit/s";
pub(super) const TO_SHARED_PORT: &str = "QUIC of a node to the hub's shared port, Gbit/s";
pub(super) const FROM_OWN_PORT: &str = "QUIC from the hub's own QUIC port, Gbit/s";
pub(super) const FROM_SHARED_PORT: &str = "QUIC from the hub's shared port, Gbit/s";
