//! Services: named ports of a node with a local target, unique by name and by port on their node.

use std::net::SocketAddr;

use malha_proto::{Exposure, Label, NodeId, Port, ServiceId, ServiceKind};

use crate::apply::{check_limit, found};
use crate::balancers::check_port;
use crate::change::EntityKey;
use crate::command::{Answer, Rejection};
use crate::draft::Draft;
use crate::limits::MAX_SERVICES_PER_NODE;
use crate::model::Service;

pub(crate) fn add(
    draft: &mut Draft,
    node: NodeId,
    name: &Label,
    port: Port,
    target: SocketAddr,
    kind: ServiceKind,
    exposure: Exposure,
) -> Result<Answer, Rejection> {
    found(draft.state.node(node), "node", node)?;
    check_target(target)?;
    let index = &draft.state.index;
    if index.service_by_name.contains_key(&(node, name.clone())) {
        return Err(Rejection::Exists {
            what: "service",
            name: name.to_string(),
            hint: " on this node",
        });
    }
    check_port(&draft.state, node, port)?;
    check_limit(
        "services on one node",
        draft.state.services_of(node).count(),
        MAX_SERVICES_PER_NODE,
    )?;
    let id = ServiceId(draft.next_id());
    draft.put(Service {
        id,
        node,
        name: name.clone(),
        port,
        target,
        kind,
        exposure,
    });
    Ok(Answer::Service(id))
}

pub(crate) fn remove(draft: &mut Draft, id: ServiceId) -> Result<Answer, Rejection> {
    let service = found(draft.state.service(id), "service", id)?;
    if let Some(route) = draft.state.routes_to(id).next() {
        return Err(Rejection::InUse {
            what: "service",
            name: service.name.to_string(),
            by: format!("route {}{}", route.host, route.path),
        });
    }
    if let Some(balancer) = draft.state.balancers_to(id).next() {
        return Err(Rejection::InUse {
            what: "service",
            name: service.name.to_string(),
            by: format!("balancer {}", balancer.name),
        });
    }
    draft.delete(EntityKey::Service(id));
    Ok(Answer::Done)
}

fn check_target(target: SocketAddr) -> Result<(), Rejection> {
    let ip = target.ip();
    if target.port() == 0 || ip.is_unspecified() || ip.is_multicast() {
        let problem =
            format!("{target} is not an address to connect to; write one like 127.0.0.1:8080");
        return Err(Rejection::Invalid {
            field: "target",
            problem,
        });
    }
    Ok(())
}
