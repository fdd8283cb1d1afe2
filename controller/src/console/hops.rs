//! A node's diagnosis in the dashboard's words: the hops as a chain, and the broken one as an operator would name it. It
//! judges nothing; malha-core did.

use malha_core::health::Diagnosis;
use malha_core::{Node, Service, State};
use malha_proto::{Hop, ServiceId, ServiceState};
use malha_web::model::{
    BreakKind, BrokenHop, ControlHop, HopState, Hops, ProbeState, ServiceHop, TunnelHop,
};
use time::OffsetDateTime;

use crate::console::census::Standing;
use crate::console::moment::at;
use crate::live::TunnelSeen;

/// The chain from the controller to the node's services.
pub(super) fn hops(state: &State, standing: &Standing, seen: Option<TunnelSeen>) -> Hops {
    let diagnosis = &standing.diagnosis;
    let seen = seen.unwrap_or_default();
    let (control, control_since) = hop(diagnosis.control);
    let (tunnel, tunnel_since) = hop(diagnosis.tunnel);
    Hops {
        control: ControlHop {
            state: control,
            since: control_since,
        },
        tunnel: TunnelHop {
            state: tunnel,
            since: tunnel_since,
            handshake_at: seen.handshake_ms.map(at),
            rx_bytes: seen.rx_bytes,
            tx_bytes: seen.tx_bytes,
            endpoint: seen.endpoint.map(|endpoint| endpoint.to_string().into()),
        },
        services: state
            .services_of(standing.id)
            .map(|service| service_hop(diagnosis, service))
            .collect(),
        broken: standing.broken.clone(),
    }
}

/// What the last probe of a service met, and since when.
pub(super) fn probe(
    diagnosis: &Diagnosis,
    service: ServiceId,
) -> (ProbeState, Option<OffsetDateTime>) {
    match hop(diagnosis
        .services
        .get(&service)
        .copied()
        .unwrap_or(malha_proto::HopState::Unknown))
    {
        (HopState::Up, since) => (ProbeState::Up, since),
        (HopState::Down, since) => (cause(diagnosis, service), since),
        (HopState::Unknown, _) => (ProbeState::Unknown, None),
    }
}

/// The same for a list that does not show the way to the service: where that is broken, there is no way to it.
pub(super) fn reach(
    standing: &Standing,
    service: ServiceId,
) -> (ProbeState, Option<OffsetDateTime>) {
    match (probe(&standing.diagnosis, service), &standing.broken) {
        ((ProbeState::Unknown, _), Some(broken)) if is_in_the_way(broken.kind) => {
            (ProbeState::Unreachable, Some(broken.since))
        }
        (probed, _) => probed,
    }
}

/// The hop to blame, of a node that has connected before.
pub(super) fn broken(state: &State, node: &Node, diagnosis: &Diagnosis) -> Option<BrokenHop> {
    let broken = diagnosis.broken?;
    let service = broken.service.and_then(|id| state.service(id));
    let kind = match broken.hop {
        Hop::Control => BreakKind::ControlDown,
        Hop::Link => BreakKind::LinkDown,
        Hop::Agent => BreakKind::AgentStopped,
        Hop::Tunnel if node.hub => BreakKind::HubInterface,
        Hop::Tunnel => BreakKind::TunnelDown,
        Hop::Service => match broken.service.map(|id| cause(diagnosis, id)) {
            Some(ProbeState::Refused) => BreakKind::ServiceRefused,
            Some(ProbeState::Timeout) => BreakKind::ServiceTimeout,
            Some(ProbeState::BadAnswer) => BreakKind::ServiceBadAnswer,
            _ => BreakKind::ServiceUnreachable,
        },
    };
    Some(BrokenHop {
        kind,
        service: service.map(|it| it.name.as_str().into()),
        since: at(broken.since_ms),
    })
}

/// The break of a node that was enrolled and never seen again.
pub(super) fn never_connected(node: &Node) -> BrokenHop {
    BrokenHop {
        kind: BreakKind::NeverConnected,
        service: None,
        since: at(node.enrolled_ms),
    }
}

fn service_hop(diagnosis: &Diagnosis, service: &Service) -> ServiceHop {
    let (state, since) = probe(diagnosis, service.id);
    ServiceHop {
        name: service.name.as_str().into(),
        port: service.port.number(),
        state,
        since,
    }
}

fn cause(diagnosis: &Diagnosis, service: ServiceId) -> ProbeState {
    match diagnosis.causes.get(&service) {
        Some(ServiceState::Refused) => ProbeState::Refused,
        Some(ServiceState::Timeout) => ProbeState::Timeout,
        Some(ServiceState::Broken) => ProbeState::BadAnswer,
        Some(ServiceState::Up | ServiceState::Unknown) | None => ProbeState::Unreachable,
    }
}

fn is_in_the_way(kind: BreakKind) -> bool {
    matches!(
        kind,
        BreakKind::NeverConnected
            | BreakKind::AgentStopped
            | BreakKind::LinkDown
            | BreakKind::TunnelDown
    )
}

fn hop(state: malha_proto::HopState) -> (HopState, Option<OffsetDateTime>) {
    match state {
        malha_proto::HopState::Up(since_ms) => (HopState::Up, Some(at(since_ms))),
        malha_proto::HopState::Down(since_ms) => (HopState::Down, Some(at(since_ms))),
        malha_proto::HopState::Unknown => (HopState::Unknown, None),
    }
}
