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
use crate::noun::{Noun, Plenty, User};
use crate::reason::Reason;

pub(crate) fn add(
    draft: &mut Draft,
    node: NodeId,
    name: &Label,
    port: Port,
    target: SocketAddr,
    kind: ServiceKind,
    exposure: Exposure,
) -> Result<Answer, Rejection> {
    found(draft.state.node(node), Noun::Node, node)?;
    check_target(target)?;
    let index = &draft.state.index;
    if index.service_by_name.contains_key(&(node, name.clone())) {
        return Err(Rejection::Exists {
            what: Noun::Service,
            name: name.to_string(),
        });
    }
    check_port(&draft.state, node, port)?;
    check_limit(
        Plenty::ServicesOnNode,
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
    let service = found(draft.state.service(id), Noun::Service, id)?;
    if let Some(route) = draft.state.routes_to(id).next() {
        return Err(Rejection::InUse {
            what: Noun::Service,
            name: service.name.to_string(),
            by: User::Thing(Noun::Route, format!("{}{}", route.host, route.path)),
        });
    }
    if let Some(balancer) = draft.state.balancers_to(id).next() {
        return Err(Rejection::InUse {
            what: Noun::Service,
            name: service.name.to_string(),
            by: User::Thing(Noun::Balancer, balancer.name.to_string()),
        });
    }
    draft.delete(EntityKey::Service(id));
    Ok(Answer::Done)
}

fn check_target(target: SocketAddr) -> Result<(), Rejection> {
    let ip = target.ip();
    if target.port() == 0 || ip.is_unspecified() || ip.is_multicast() {
        return Err(Rejection::Invalid {
            field: "target",
            reason: Reason::ServiceTarget {
                target: target.to_string(),
            },
        });
    }
    Ok(())
}
