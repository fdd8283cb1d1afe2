//! Balancers: a port of a node spread over services of other nodes, and the way to those services that follows from it.

use std::collections::{BTreeMap, BTreeSet};

use malha_proto::{
    Allow, Backend, BackendMode, BalancerId, Exposure, Label, NodeId, Port, Profile, Protocol,
    ServiceId,
};

use crate::apply::{check_count, check_limit, found};
use crate::change::EntityKey;
use crate::command::{Answer, Rejection};
use crate::draft::Draft;
use crate::explain::{Permission, Source};
use crate::limits::{
    BALANCER_CONNECT_MS, BALANCER_CONNECTIONS, BALANCER_IDLE_S, BALANCER_INTERVAL_MS,
    BALANCER_SLOW_START_S, MAX_BACKENDS, MAX_BALANCER_SOURCES, MAX_BALANCERS_PER_NODE,
    MAX_HEALTH_PATH_CHARS, MIN_HEALTH_INTERVAL_MS,
};
use crate::model::{Balancer, BalancerSettings, Node};
use crate::noun::{Leading, Noun, Plenty};
use crate::policy::check_balancer;
use crate::reason::Reason;
use crate::state::State;

pub(crate) fn add(
    draft: &mut Draft,
    node: NodeId,
    name: &Label,
    port: Port,
    exposure: Exposure,
    backends: &BTreeSet<ServiceId>,
    settings: &BalancerSettings,
) -> Result<Answer, Rejection> {
    check_node(found(draft.state.node(node), Noun::Node, node)?)?;
    check_settings(settings)?;
    check_backends(&draft.state, node, backends)?;
    if draft.state.balancer_by_name(node, name).is_some() {
        return Err(Rejection::Exists {
            what: Noun::Balancer,
            name: name.to_string(),
        });
    }
    check_port(&draft.state, node, port)?;
    check_limit(
        Plenty::BalancersOnNode,
        draft.state.balancers_of(node).count(),
        MAX_BALANCERS_PER_NODE,
    )?;
    let id = BalancerId(draft.next_id());
    let modes = backends.iter().map(|id| (*id, BackendMode::Serve));
    let before = draft.state.clone();
    draft.put(Balancer {
        id,
        node,
        name: name.clone(),
        port,
        exposure,
        backends: modes.collect(),
        settings: settings.clone(),
    });
    check_balancer(&before, &draft.state, id)?;
    Ok(Answer::Balancer(id))
}

/// Services that stay keep their modes.
pub(crate) fn set(
    draft: &mut Draft,
    id: BalancerId,
    backends: &BTreeSet<ServiceId>,
    settings: &BalancerSettings,
) -> Result<Answer, Rejection> {
    let former = found(draft.state.balancer(id), Noun::Balancer, id)?.clone();
    check_settings(settings)?;
    check_backends(&draft.state, former.node, backends)?;
    let mode = |id: &ServiceId| former.backends.get(id).copied();
    let modes = backends
        .iter()
        .map(|id| (*id, mode(id).unwrap_or(BackendMode::Serve)));
    let before = draft.state.clone();
    draft.put(Balancer {
        backends: modes.collect(),
        settings: settings.clone(),
        ..former.clone()
    });
    check_balancer(&before, &draft.state, id)?;
    Ok(Answer::Done)
}

pub(crate) fn set_mode(
    draft: &mut Draft,
    id: BalancerId,
    service: ServiceId,
    mode: BackendMode,
) -> Result<Answer, Rejection> {
    let mut balancer = found(draft.state.balancer(id), Noun::Balancer, id)?.clone();
    match balancer.backends.get_mut(&service) {
        Some(held) => *held = mode,
        None => {
            return Err(Rejection::Invalid {
                field: "service",
                reason: Reason::BalancerLacksServer {
                    balancer: balancer.name.to_string(),
                    service: service.to_string(),
                },
            });
        }
    }
    draft.put(balancer);
    Ok(Answer::Done)
}

pub(crate) fn remove(draft: &mut Draft, id: BalancerId) -> Result<Answer, Rejection> {
    found(draft.state.balancer(id), Noun::Balancer, id)?;
    draft.delete(EntityKey::Balancer(id));
    Ok(Answer::Done)
}

/// Takes a service that is going out of its balancers; one that balances nothing goes too.
pub(crate) fn detach(draft: &mut Draft, service: ServiceId) {
    let of_service = draft.state.balancers_to(service).cloned();
    for mut balancer in of_service.collect::<Vec<_>>() {
        balancer.backends.remove(&service);
        if balancer.backends.is_empty() {
            draft.delete(EntityKey::Balancer(balancer.id));
        } else {
            draft.put(balancer);
        }
    }
}

/// The balancers of a node that is going.
pub(crate) fn remove_of(draft: &mut Draft, node: NodeId) {
    let ids: Vec<BalancerId> = draft.state.balancers_of(node).map(|it| it.id).collect();
    for id in ids {
        draft.delete(EntityKey::Balancer(id));
    }
}

/// A port is one service's or one balancer's.
pub(crate) fn check_port(state: &State, node: NodeId, port: Port) -> Result<(), Rejection> {
    let index = &state.index;
    let service = index.service_by_port.get(&(node, port));
    let balancer = index.balancer_by_port.get(&(node, port));
    let holder = service
        .and_then(|id| state.service(*id))
        .map(|it| (Noun::Service, it.name.to_string()))
        .or_else(|| {
            let holder = state.balancer(*balancer?)?;
            Some((Noun::Balancer, holder.name.to_string()))
        });
    match holder {
        None => Ok(()),
        Some((by, name)) => Err(Rejection::Invalid {
            field: "port",
            reason: Reason::PortTaken {
                by,
                name,
                port: port.number(),
            },
        }),
    }
}

impl State {
    /// What this node must balance. One that is held apart hears nothing of the servers, which are others'.
    pub(crate) fn balanced_by(&self, node: &Node) -> BTreeMap<BalancerId, malha_proto::Balancer> {
        let balancers = self.balancers_of(node.id).map(|balancer| {
            let mut told = self.balancer_on_the_wire(balancer);
            if !node.is_active() {
                told.backends.clear();
            }
            (balancer.id, told)
        });
        balancers.collect()
    }

    /// The nodes with which this one is joined by a balancer, on either side.
    pub(crate) fn balancing_peers(&self, me: &Node) -> impl Iterator<Item = NodeId> {
        let behind = self
            .balancers_of(me.id)
            .flat_map(|balancer| balancer.backends.keys())
            .filter_map(|id| self.service(*id))
            .map(|service| service.node);
        let before = self
            .services_of(me.id)
            .flat_map(|service| self.balancers_to(service.id))
            .map(|balancer| balancer.node);
        behind.chain(before)
    }

    /// Routes, and balancers of other nodes, that lead to services of this one.
    #[must_use]
    pub fn leading_to(&self, node: NodeId) -> Vec<Leading> {
        let services: BTreeSet<ServiceId> = self.services_of(node).map(|it| it.id).collect();
        // One may spread over several services of the node.
        let routes = services.iter().flat_map(|id| self.routes_to(*id));
        let routes: BTreeMap<_, _> = routes.map(|route| (route.id, route)).collect();
        let balancers = services.iter().flat_map(|id| self.balancers_to(*id));
        let balancers: BTreeMap<_, _> = balancers.map(|it| (it.id, it)).collect();
        let routes = routes.into_values().map(|route| Leading {
            what: Noun::Route,
            name: format!("{}{}", route.host, route.path),
            alone: route.services.is_subset(&services),
        });
        let balancers = balancers.into_values().map(|balancer| Leading {
            what: Noun::Balancer,
            name: format!("{}/{}", self.node_path(balancer.node), balancer.name),
            alone: balancer.backends.keys().all(|id| services.contains(id)),
        });
        routes.chain(balancers).collect()
    }

    /// What the balancers of `from` may open on `to`: the ports of the services behind them and the health port.
    pub(crate) fn balancing(&self, from: &Node, to: &Node) -> impl Iterator<Item = Permission> {
        let to = to.id;
        self.balancers_of(from.id).flat_map(move |balancer| {
            let ids = balancer.backends.keys();
            let services = ids
                .filter_map(|id| self.service(*id))
                .filter(move |service| service.node == to);
            let ports = services.flat_map(|service| {
                let health = balancer.settings.health.as_ref().map(|it| it.port);
                [Some(service.port), health].into_iter().flatten()
            });
            ports.map(|port| Permission {
                allow: Allow {
                    protocol: Protocol::Tcp,
                    from_port: port.number(),
                    to_port: port.number(),
                },
                source: Source::Balanced(balancer.id),
            })
        })
    }

    fn balancer_on_the_wire(&self, it: &Balancer) -> malha_proto::Balancer {
        let address = |id: ServiceId| {
            let service = self.service(id)?;
            let node = self.node(service.node)?;
            Some((node.addresses.v4, service.port.number()).into())
        };
        let backends = it.backends.iter().filter_map(|(id, mode)| {
            Some(Backend {
                service: *id,
                address: address(*id)?,
                mode: *mode,
            })
        });
        let settings = &it.settings;
        malha_proto::Balancer {
            id: it.id,
            name: it.name.clone(),
            port: it.port,
            exposure: it.exposure,
            algorithm: settings.algorithm,
            backends: backends.collect(),
            health: settings.health.clone(),
            proxy_protocol: settings.proxy_protocol,
            check_interval_ms: settings.check_interval_ms,
            connect_ms: settings.connect_ms,
            idle_s: settings.idle_s,
            slow_start_s: settings.slow_start_s,
            connections: settings.connections,
            connections_per_source: settings.connections_per_source,
            allowed_sources: settings.allowed_sources.iter().copied().collect(),
        }
    }
}

fn check_node(node: &Node) -> Result<(), Rejection> {
    if matches!(node.profile, Profile::Balancer | Profile::Edge) {
        return Ok(());
    }
    Err(Rejection::Invalid {
        field: "node",
        reason: Reason::BalancerNode {
            node: node.name.to_string(),
        },
    })
}

fn check_backends(
    state: &State,
    node: NodeId,
    backends: &BTreeSet<ServiceId>,
) -> Result<(), Rejection> {
    let refuse = |reason| {
        Err(Rejection::Invalid {
            field: "backends",
            reason,
        })
    };
    if backends.is_empty() {
        return refuse(Reason::BalancerWithoutServer);
    }
    check_count(Plenty::ServicesBehindBalancer, backends.len(), MAX_BACKENDS)?;
    for id in backends {
        let service = found(state.service(*id), Noun::Service, id)?;
        if service.node == node {
            return refuse(Reason::ServerOnBalancerNode {
                service: service.name.to_string(),
            });
        }
    }
    Ok(())
}

fn check_settings(it: &BalancerSettings) -> Result<(), Rejection> {
    let mut interval = BALANCER_INTERVAL_MS;
    if let Some(health) = &it.health {
        // X-Road keeps a good result for 2 s.
        interval = MIN_HEALTH_INTERVAL_MS..=*interval.end();
        let visible = health.path.bytes().all(|byte| byte.is_ascii_graphic());
        let path = &health.path;
        if !path.starts_with('/') || path.len() > MAX_HEALTH_PATH_CHARS || !visible {
            return Err(Rejection::Invalid {
                field: "health",
                reason: Reason::HealthPath,
            });
        }
    }
    let numbers = [
        ("check_interval_ms", it.check_interval_ms, interval),
        ("connect_ms", it.connect_ms, BALANCER_CONNECT_MS),
        ("idle_s", it.idle_s, BALANCER_IDLE_S),
        ("slow_start_s", it.slow_start_s, BALANCER_SLOW_START_S),
        ("connections", it.connections, BALANCER_CONNECTIONS),
        (
            "connections_per_source",
            it.connections_per_source,
            BALANCER_CONNECTIONS,
        ),
    ];
    for (field, value, bounds) in numbers {
        if !bounds.contains(&value) {
            let (least, most) = bounds.into_inner();
            return Err(Rejection::Invalid {
                field,
                reason: Reason::OutOfBounds {
                    least: least.into(),
                    most: most.into(),
                    given: value.into(),
                },
            });
        }
    }
    check_count(
        Plenty::SourcesOfBalancer,
        it.allowed_sources.len(),
        MAX_BALANCER_SOURCES,
    )
}
