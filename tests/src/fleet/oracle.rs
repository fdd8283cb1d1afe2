//! The policy once more, written the slow and simple way: every pair of nodes, every grant, every service. It shares no index
//! and no shortcut with the product.

use std::collections::{BTreeMap, BTreeSet};

use malha_core::profile::ProfileSpec;
use malha_core::{Grant, Node, NodeState, Opening, Selector, State};
use malha_proto::{Allow, Exposure, Me, Netmap, NodeId, Peer, Profile, Protocol, Service};

/// What `from` may open on `to`: grants, and for hubs and edges the services that they serve.
pub(super) fn allowed(state: &State, from: &Node, to: &Node) -> BTreeSet<Allow> {
    if !may_speak(from) || !may_speak(to) || from.id == to.id {
        return BTreeSet::new();
    }
    let mut allowed: BTreeSet<Allow> = granted(state, from, to).collect();
    for service in state.services().filter(|service| service.node == to.id) {
        let served = from.hub || (is_gateway(from) && service.exposure == Exposure::Public);
        if served {
            let port = service.port.number();
            allowed.insert(Allow {
                protocol: Protocol::Tcp,
                from_port: port,
                to_port: port,
            });
        }
    }
    allowed.extend(balancing(state, from, to));
    allowed
}

/// The ports of the servers on `to` that a balancer on `from` has, and their health port.
fn balancing<'a>(
    state: &'a State,
    from: &'a Node,
    to: &'a Node,
) -> impl Iterator<Item = Allow> + 'a {
    let balancers = state.balancers().filter(|it| it.node == from.id);
    let ports = balancers.flat_map(move |balancer| {
        let services = state.services().filter(move |service| {
            service.node == to.id && balancer.backends.contains_key(&service.id)
        });
        let health = balancer.settings.health.as_ref().map(|it| it.port);
        services.flat_map(move |service| [Some(service.port), health])
    });
    ports.flatten().map(|port| Allow {
        protocol: Protocol::Tcp,
        from_port: port.number(),
        to_port: port.number(),
    })
}

/// Whether two nodes know each other at all.
pub(super) fn are_peers(state: &State, one: &Node, other: &Node) -> bool {
    one.id != other.id
        && may_speak(one)
        && may_speak(other)
        && (is_gateway(one)
            || is_gateway(other)
            || granted(state, one, other).next().is_some()
            || granted(state, other, one).next().is_some()
            || balancing(state, one, other).next().is_some()
            || balancing(state, other, one).next().is_some())
}

/// A node's whole map.
pub(super) fn netmap(state: &State, id: NodeId) -> Option<Netmap> {
    let me = state.nodes().find(|node| node.id == id)?;
    let pools = state.settings().pools;
    let peers = state.nodes().filter(|other| are_peers(state, me, other));
    let peers = peers.map(|other| {
        let peer = Peer {
            id: other.id,
            name: full_name(state, other),
            key: other.wg_key,
            addresses: other.addresses,
            endpoints: other.endpoints.clone(),
            keepalive_s: (me.endpoints.is_empty() && !other.endpoints.is_empty()).then_some(25),
            allow: allowed(state, other, me).into_iter().collect(),
            hub: other.hub,
            former: None,
            // Nobody declares anything in the fleet.
            names: Vec::new(),
        };
        (other.id, peer)
    });
    let services = state.services().filter(|it| it.node == id);
    let services = services.map(|it| {
        let service = Service {
            id: it.id,
            name: it.name.clone(),
            port: it.port,
            target: it.target,
            kind: it.kind,
            exposure: it.exposure,
        };
        (it.id, service)
    });
    Some(Netmap {
        revision: state.revision(),
        me: Me {
            id,
            name: full_name(state, me),
            addresses: me.addresses,
            prefix_v4: pools.v4.prefix_len(),
            prefix_v6: pools.v6.prefix_len(),
            profile: me.profile,
            quarantined: !may_speak(me),
            names: Vec::new(),
        },
        peers: peers.collect::<BTreeMap<_, _>>(),
        services: services.collect::<BTreeMap<_, _>>(),
        // The fleet's operator makes none.
        balancers: BTreeMap::new(),
        // It edits no profile either.
        closed: Some(ProfileSpec::shipped(me.profile).closed_at(None)),
        zone: Some(state.settings().overlay_zone.clone()),
    })
}

/// Whether one of these permissions is for this packet.
pub(super) fn covers<'a>(
    allows: impl IntoIterator<Item = &'a Allow>,
    protocol: Protocol,
    port: u16,
) -> bool {
    allows.into_iter().any(|allow| {
        allow.protocol == protocol && (allow.from_port..=allow.to_port).contains(&port)
    })
}

fn granted<'a>(state: &'a State, from: &'a Node, to: &'a Node) -> impl Iterator<Item = Allow> + 'a {
    let fits = |grant: &&Grant| means(state, grant.from, from) && means(state, grant.to, to);
    let opened = |grant: &Grant| match &grant.allow {
        Opening::Ports(allow) => Some(*allow),
        Opening::Service { service } => {
            let its = |it: &&malha_core::Service| it.node == to.id && it.name == *service;
            let port = state.services().find(its)?.port.number();
            Some(Allow {
                protocol: Protocol::Tcp,
                from_port: port,
                to_port: port,
            })
        }
    };
    state.grants().filter(fits).filter_map(opened)
}

fn means(state: &State, selector: Selector, node: &Node) -> bool {
    match selector {
        Selector::Node(id) => node.id == id,
        Selector::Site(id) => node.site == id,
        Selector::Profile(profile) => node.profile == profile,
        Selector::Tag(tag) => node.tags.contains(&tag),
        Selector::Organization(id) => state
            .sites()
            .any(|site| site.id == node.site && site.organization == id),
    }
}

fn may_speak(node: &Node) -> bool {
    node.state == NodeState::Active
}

fn is_gateway(node: &Node) -> bool {
    node.hub || node.profile == Profile::Edge
}

fn full_name(state: &State, node: &Node) -> malha_proto::HostName {
    let site = state.sites().find(|site| site.id == node.site);
    let organization =
        site.and_then(|site| state.organizations().find(|it| it.id == site.organization));
    let names = [
        Some(&node.name),
        site.map(|site| &site.name),
        organization.map(|organization| &organization.name),
    ];
    let names: Vec<&str> = names.iter().flatten().map(|name| name.as_str()).collect();
    names
        .join(".")
        .parse()
        .expect("labels joined by dots are a host name")
}
