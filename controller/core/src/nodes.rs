//! Nodes apart from their sessions: the hub, names, endpoints, and their end with everything that hangs on them.

use std::collections::BTreeSet;
use std::net::SocketAddr;

use malha_proto::{
    Fingerprint, Label, MachineFacts, NodeId, Profile, RefusalCode, ServiceId, SiteId, WgKey,
};

use crate::apply::{check_count, check_limit, found};
use crate::change::EntityKey;
use crate::command::{Answer, Rejection};
use crate::draft::Draft;
use crate::limits::{MAX_ENDPOINTS, MAX_NODES};
use crate::model::{Node, NodeState, Selector};
use crate::noun::{Noun, Plenty, User};
use crate::reason::Reason;
use crate::state::State;
use crate::text::clean_fact;
use crate::{addresses, balancers, grants, routes, tokens};

/// The hub holds its keys in the controller's own folder: it needs no token, and its first lease is its first session's.
pub(crate) fn adopt_hub(
    draft: &mut Draft,
    site: SiteId,
    name: &Label,
    wg_key: WgKey,
    tls_key: Fingerprint,
    endpoints: &[SocketAddr],
    facts: &MachineFacts,
) -> Result<Answer, Rejection> {
    found(draft.state.site(site), Noun::Site, site)?;
    let endpoints = checked_endpoints(endpoints)?;
    let known = draft
        .state
        .index
        .node_by_tls_key
        .get(&tls_key)
        .and_then(|id| draft.state.node(*id));
    if let Some(hub) = known.filter(|node| node.hub) {
        let (id, hub) = (hub.id, with_facts(hub, facts));
        check_keys(&draft.state, wg_key, tls_key, Some(id))?;
        draft.put(Node {
            wg_key,
            endpoints,
            ..hub
        });
        return Ok(Answer::Node(id));
    }
    check_keys(&draft.state, wg_key, tls_key, None)?;
    check_name(&draft.state, site, name)?;
    check_limit(Plenty::Nodes, draft.state.nodes.len(), MAX_NODES)?;
    let addresses = addresses::allocate(draft)?;
    let id = NodeId(draft.next_id());
    let hub = Node {
        id,
        site,
        name: name.clone(),
        profile: Profile::Edge,
        tags: BTreeSet::new(),
        hub: true,
        wg_key,
        tls_key,
        former_tls_keys: Vec::new(),
        past_tls_keys: Vec::new(),
        token: None,
        addresses,
        endpoints,
        state: NodeState::Active,
        machine: facts.machine,
        host_name: String::new(),
        agent_version: String::new(),
        os: String::new(),
        enrolled_ms: draft.now_ms(),
    };
    draft.put(with_facts(&hub, facts));
    Ok(Answer::Node(id))
}

pub(crate) fn rename(draft: &mut Draft, id: NodeId, name: &Label) -> Result<Answer, Rejection> {
    let node = found(draft.state.node(id), Noun::Node, id)?.clone();
    if node.name != *name {
        check_name(&draft.state, node.site, name)?;
        draft.put(Node {
            name: name.clone(),
            ..node
        });
    }
    Ok(Answer::Done)
}

pub(crate) fn set_endpoints(
    draft: &mut Draft,
    id: NodeId,
    endpoints: &[SocketAddr],
) -> Result<Answer, Rejection> {
    let endpoints = checked_endpoints(endpoints)?;
    let node = found(draft.state.node(id), Noun::Node, id)?.clone();
    draft.put(Node { endpoints, ..node });
    Ok(Answer::Done)
}

/// A hub is its controller's own node.
pub(crate) fn refuse_hub(node: &Node) -> Result<(), Rejection> {
    if !node.hub {
        return Ok(());
    }
    Err(Rejection::Invalid {
        field: "id",
        reason: Reason::HubStays {
            node: node.name.to_string(),
        },
    })
}

/// The node goes with its services and balancers, the grants that name it and the tokens for its place; its addresses rest. Routes and
/// other nodes' balancers lose it only where `detach` says so: a public URL may end with it, or what they carry be more than they can
/// without it.
pub(crate) fn remove(draft: &mut Draft, id: NodeId, detach: bool) -> Result<Answer, Rejection> {
    let node = found(draft.state.node(id), Noun::Node, id)?.clone();
    refuse_hub(&node)?;
    let leading = draft.state.leading_to(id);
    if !leading.is_empty() && !detach {
        return Err(Rejection::InUse {
            what: Noun::Node,
            name: node.name.to_string(),
            by: User::Leading(leading),
        });
    }
    let services: Vec<ServiceId> = draft
        .state
        .services_of(id)
        .map(|service| service.id)
        .collect();
    for service in services {
        routes::detach(draft, service)?;
        balancers::detach(draft, service);
        draft.delete(EntityKey::Service(service));
    }
    balancers::remove_of(draft, id);
    grants::remove_naming(draft, Selector::Node(id));
    tokens::revoke_replacing(draft, id);
    addresses::retire(draft, &node.addresses);
    draft.delete(EntityKey::Lease(id));
    draft.delete(EntityKey::Node(id));
    Ok(Answer::Done)
}

/// The node as its machine describes itself now.
pub(crate) fn with_facts(node: &Node, facts: &MachineFacts) -> Node {
    Node {
        machine: facts.machine,
        host_name: clean_fact(&facts.host_name),
        agent_version: clean_fact(&facts.agent_version),
        os: clean_fact(&facts.os),
        ..node.clone()
    }
}

/// Refuses keys that are another node's than `owner`, and the key that is nobody's.
pub(crate) fn check_keys(
    state: &State,
    wg_key: WgKey,
    tls_key: Fingerprint,
    owner: Option<NodeId>,
) -> Result<(), Rejection> {
    if wg_key.0 == [0; 32] {
        return refuse(RefusalCode::Malformed, "a WireGuard key of zeros is no key");
    }
    let by_wg = state.index.node_by_wg_key.get(&wg_key);
    let by_tls = state.index.node_by_tls_key.get(&tls_key);
    match [by_wg, by_tls]
        .into_iter()
        .flatten()
        .find(|holder| Some(**holder) != owner)
    {
        Some(_) => refuse(
            RefusalCode::KeyTaken,
            "another node has this key: was this machine's disk copied? Remove its state folder and enrol it anew",
        ),
        None => Ok(()),
    }
}

/// A rejection that a node hears.
pub(crate) fn refuse<T>(code: RefusalCode, text: &str) -> Result<T, Rejection> {
    Err(Rejection::Refused {
        code,
        text: text.to_owned(),
    })
}

fn check_name(state: &State, site: SiteId, name: &Label) -> Result<(), Rejection> {
    match state.index.node_by_name.contains_key(&(site, name.clone())) {
        true => Err(Rejection::Exists {
            what: Noun::Node,
            name: name.to_string(),
        }),
        false => Ok(()),
    }
}

/// Keeps the order, which says what is best.
fn checked_endpoints(endpoints: &[SocketAddr]) -> Result<Vec<SocketAddr>, Rejection> {
    check_count(Plenty::Endpoints, endpoints.len(), MAX_ENDPOINTS)?;
    let mut checked = Vec::with_capacity(endpoints.len());
    for endpoint in endpoints {
        let ip = endpoint.ip();
        if endpoint.port() == 0 || ip.is_unspecified() || ip.is_multicast() {
            return Err(Rejection::Invalid {
                field: "endpoints",
                reason: Reason::EndpointUnreachable {
                    endpoint: endpoint.to_string(),
                },
            });
        }
        if !checked.contains(endpoint) {
            checked.push(*endpoint);
        }
    }
    Ok(checked)
}
