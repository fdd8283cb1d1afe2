//! Orders to look at ports and names: which the agent takes, and how fast. The looking is the shell's.

use malha_proto::{ProbeOrder, ProbeOutcome, ProbeResult, ToController};

use super::{Action, Agent, LinkId, Millis};

/// Ports and names that may be looked at at once after a pause; each comes back after [`PROBE_TARGET_INTERVAL_MS`].
pub const PROBE_TARGETS_AT_ONCE: u64 = 256;

/// The pace of looks in the long run, milliseconds for each port or name.
pub const PROBE_TARGET_INTERVAL_MS: Millis = 125;

/// An order whose answer does not come in this time is given up, milliseconds.
pub const PROBE_PATIENCE_MS: Millis = 60_000;

/// One order at a time, and a budget of ports.
#[derive(Debug, Default)]
pub(super) struct PortProbes {
    /// The order under way, and when it is given up.
    under_way: Option<(u64, Millis)>,
    /// When all that was looked at is made up for.
    paid_at: Millis,
}

impl PortProbes {
    /// Takes an order, or says why not.
    fn take(&mut self, order: &ProbeOrder, now: Millis) -> Result<(), ProbeOutcome> {
        if !order.is_within_limits() {
            return Err(ProbeOutcome::TooMuch);
        }
        let looks = order.targets.len() + order.names.len();
        let looks = u64::try_from(looks).unwrap_or(u64::MAX);
        let cost_ms = looks.saturating_mul(PROBE_TARGET_INTERVAL_MS);
        let paid_at = self.paid_at.max(now).saturating_add(cost_ms);
        let is_busy = self.under_way.is_some_and(|(_, until)| now < until);
        if is_busy || paid_at > now + PROBE_TARGETS_AT_ONCE * PROBE_TARGET_INTERVAL_MS {
            return Err(ProbeOutcome::Busy);
        }
        self.paid_at = paid_at;
        self.under_way = Some((order.number, now + PROBE_PATIENCE_MS));
        Ok(())
    }

    /// Whether it is the answer to the order under way.
    fn ends(&mut self, number: u64) -> bool {
        self.under_way.take_if(|(it, _)| *it == number).is_some()
    }
}

impl Agent {
    pub(super) fn on_probe_order(&mut self, link: LinkId, order: ProbeOrder) {
        match self.probes.take(&order, self.now) {
            Ok(()) => self.actions.push_back(Action::ProbePorts(Box::new(order))),
            Err(outcome) => {
                let result = ProbeResult {
                    number: order.number,
                    outcome,
                    names: Vec::new(),
                };
                self.send(link, ToController::ProbeResult(Box::new(result)));
            }
        }
    }

    /// The answer goes over the session of now: its controller knows whether it asked.
    pub(super) fn on_ports_probed(&mut self, result: ProbeResult) {
        let session = self.session.as_ref().map(|session| session.link);
        if self.probes.ends(result.number)
            && let Some(link) = session
        {
            self.send(link, ToController::ProbeResult(Box::new(result)));
        }
    }
}
