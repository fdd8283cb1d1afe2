//! Orders to look at ports and names, from whoever runs checks to the session of the node that shall look, and the answers back.
//! Who may be asked for what is not decided here.

use std::time::Duration;

use malha_proto::{
    HostName, NAMES_SINCE_VERSION, NameSeen, NodeId, PROBES_SINCE_VERSION, PortState, ProbeOrder,
    ProbeOutcome, ProbeResult, ProbeTarget, STAYS_SINCE_VERSION,
};
use thiserror::Error;
use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::oneshot;

use super::Registry;

/// Why nothing was seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum ProbeError {
    #[error("the node is not connected")]
    Offline,
    #[error("the node's program is older than these looks; update malha-node there")]
    TooOld,
    #[error("the node is busy with others")]
    Busy,
    #[error("the order is larger than the node takes")]
    TooMuch,
    #[error("the node's owner has turned this off (probes = \"off\")")]
    Off,
    #[error("the node did not answer in time")]
    Late,
    #[error("the node's answer is not one to this order")]
    Strange,
}

/// An order on its way to a session.
pub struct ProbeRequest {
    pub order: ProbeOrder,
    pub reply: oneshot::Sender<ProbeResult>,
}

impl Registry {
    /// Has a node look at ports: a state for each target, in their order. `limit_ms` is for each connection.
    pub async fn probe(
        &self,
        node: NodeId,
        targets: Vec<ProbeTarget>,
        limit_ms: u32,
    ) -> Result<Vec<PortState>, ProbeError> {
        let count = targets.len();
        let since_version = match targets.iter().any(|it| it.stays) {
            true => STAYS_SINCE_VERSION,
            false => PROBES_SINCE_VERSION,
        };
        let order = ProbeOrder {
            number: self.next_probe_number(),
            timeout_ms: limit_ms,
            targets,
            names: Vec::new(),
        };
        let (states, _) = self.give(node, order, since_version).await?;
        match states.len() == count {
            true => Ok(states),
            false => Err(ProbeError::Strange),
        }
    }

    /// Has a node say what names lead to there: an answer for each, in their order. `limit_ms` is for each question.
    pub async fn resolve(
        &self,
        node: NodeId,
        names: Vec<HostName>,
        limit_ms: u32,
    ) -> Result<Vec<NameSeen>, ProbeError> {
        let count = names.len();
        let order = ProbeOrder {
            number: self.next_probe_number(),
            timeout_ms: limit_ms,
            targets: Vec::new(),
            names,
        };
        let (_, names) = self.give(node, order, NAMES_SINCE_VERSION).await?;
        match names.len() == count {
            true => Ok(names),
            false => Err(ProbeError::Strange),
        }
    }

    async fn give(
        &self,
        node: NodeId,
        order: ProbeOrder,
        since_version: u16,
    ) -> Result<(Vec<PortState>, Vec<NameSeen>), ProbeError> {
        let (version, orders) = self.probe_orders(node).ok_or(ProbeError::Offline)?;
        if version < since_version {
            return Err(ProbeError::TooOld);
        }
        let (reply, answer) = oneshot::channel();
        let request = ProbeRequest { order, reply };
        orders.try_send(request).map_err(|error| match error {
            TrySendError::Full(_) => ProbeError::Busy,
            TrySendError::Closed(_) => ProbeError::Offline,
        })?;
        let result = match tokio::time::timeout(ANSWER_PATIENCE, answer).await {
            Ok(Ok(result)) => result,
            Ok(Err(_)) => return Err(ProbeError::Offline),
            Err(_) => return Err(ProbeError::Late),
        };
        match result.outcome {
            ProbeOutcome::Seen(states) => Ok((states, result.names)),
            ProbeOutcome::Busy => Err(ProbeError::Busy),
            ProbeOutcome::TooMuch => Err(ProbeError::TooMuch),
            ProbeOutcome::Off => Err(ProbeError::Off),
        }
    }
}

/// Longer than a node needs for the largest order.
const ANSWER_PATIENCE: Duration = Duration::from_secs(45);

/// Orders that wait for one session.
pub(super) const MAX_PROBE_REQUESTS: usize = 1;

#[cfg(test)]
mod tests {
    use malha_proto::{
        Fingerprint, MAX_PROBE_TIMEOUT_MS, MachineFacts, MachineId, PROTOCOL_VERSION, ProbeWay,
        Revision,
    };

    use super::*;
    use crate::session::Transport;
    use crate::session::registry::{Seat, SessionSummary};

    const NODE: NodeId = NodeId(1);

    fn seated(registry: &Registry, version: u16) -> Seat {
        let facts = MachineFacts {
            host_name: "servidor".into(),
            machine: MachineId([1; 16]),
            agent_version: "1".into(),
            os: "linux".into(),
            engine: None,
        };
        let summary = SessionSummary {
            instance: 1,
            tls_key: Fingerprint([2; 32]),
            transport: Transport::Quic,
            remote: "192.0.2.1:1".parse().unwrap(),
            since_ms: 0,
            facts,
            version,
            applied: Revision(0),
        };
        registry.sit(NODE, summary)
    }

    fn target() -> ProbeTarget {
        ProbeTarget {
            address: "203.0.113.9:5500".parse().unwrap(),
            way: ProbeWay::Underlay,
            stays: false,
        }
    }

    async fn probe(registry: &Registry) -> Result<Vec<PortState>, ProbeError> {
        registry
            .probe(NODE, vec![target()], MAX_PROBE_TIMEOUT_MS)
            .await
    }

    /// What a probe comes to when the node answers its order so.
    async fn answered(outcome: ProbeOutcome) -> Result<Vec<PortState>, ProbeError> {
        let registry = Registry::default();
        let mut seat = seated(&registry, PROTOCOL_VERSION);
        let node = async {
            let request = seat.probes.recv().await.unwrap();
            assert_eq!(request.order.targets, [target()]);
            let result = ProbeResult {
                number: request.order.number,
                outcome,
                names: vec![],
            };
            request.reply.send(result).unwrap();
        };
        tokio::join!(probe(&registry), node).0
    }

    #[tokio::test]
    async fn a_nodes_answer_comes_back_whole_or_with_the_reason() {
        let seen = answered(ProbeOutcome::Seen(vec![PortState::Refused])).await;
        assert_eq!(seen, Ok(vec![PortState::Refused]));
        let short = answered(ProbeOutcome::Seen(vec![])).await;
        assert_eq!(short, Err(ProbeError::Strange));
        for (outcome, error) in [
            (ProbeOutcome::Busy, ProbeError::Busy),
            (ProbeOutcome::TooMuch, ProbeError::TooMuch),
            (ProbeOutcome::Off, ProbeError::Off),
        ] {
            assert_eq!(answered(outcome).await, Err(error));
        }
    }

    #[tokio::test]
    async fn who_is_not_there_or_too_old_is_not_asked() {
        let registry = Registry::default();
        assert_eq!(probe(&registry).await, Err(ProbeError::Offline));
        let mut seat = seated(&registry, PROBES_SINCE_VERSION - 1);
        assert_eq!(probe(&registry).await, Err(ProbeError::TooOld));
        assert!(seat.probes.try_recv().is_err());
        let _seat = seated(&registry, NAMES_SINCE_VERSION - 1);
        let names = vec!["xvia.sedec.mt.gov.br".parse().unwrap()];
        let met = registry.resolve(NODE, names, MAX_PROBE_TIMEOUT_MS).await;
        assert_eq!(met, Err(ProbeError::TooOld));
        let _seat = seated(&registry, STAYS_SINCE_VERSION - 1);
        let mut staying = target();
        staying.stays = true;
        let met = registry.probe(NODE, vec![staying], MAX_PROBE_TIMEOUT_MS);
        assert_eq!(met.await, Err(ProbeError::TooOld));
    }

    #[tokio::test(start_paused = true)]
    async fn a_node_that_never_answers_is_given_up() {
        let registry = Registry::default();
        let _seat = seated(&registry, PROTOCOL_VERSION);
        assert_eq!(probe(&registry).await, Err(ProbeError::Late));
    }

    #[tokio::test]
    async fn a_session_that_ends_answers_nobody() {
        let registry = Registry::default();
        let seat = seated(&registry, PROTOCOL_VERSION);
        let gone = async { drop(seat) };
        let (met, ()) = tokio::join!(probe(&registry), gone);
        assert_eq!(met, Err(ProbeError::Offline));
    }
}
