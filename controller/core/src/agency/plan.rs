//! What a machine is to be before it comes: its name, tags and services, kept with its token, and the balancers of its site,
//! kept with the site. All of it is carried out when the machine enrols.

use std::collections::{BTreeMap, BTreeSet};

use malha_proto::{
    BackendMode, BalancerId, Exposure, HealthPort, Label, NodeId, Port, Profile, ServiceId,
    ServiceKind, SiteId,
};
use serde::{Deserialize, Serialize};

use crate::command::Rejection;
use crate::draft::Draft;
use crate::limits::MAX_BACKENDS;
use crate::model::{Balancer, BalancerSettings, Node, Service};
use crate::services;
use crate::tags::Tag;

/// What the machine that enrols with a token becomes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodePlan {
    /// Unless the machine asks for another name.
    pub name: Label,
    pub tags: BTreeSet<Tag>,
    pub services: Vec<PlannedService>,
}

/// A port of the overlay address, and where the machine's own program listens.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlannedService {
    pub name: Label,
    /// On the overlay address, and of the target on 127.0.0.1.
    pub port: Port,
    pub kind: ServiceKind,
}

/// A balancer of a site that appears once its node and one server are there.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlannedBalancer {
    /// The node that runs it.
    pub node: Label,
    pub name: Label,
    pub port: Port,
    /// The service behind it, on each security server of the site.
    pub service: Label,
    pub health: Option<HealthPort>,
}

/// Makes the fresh node what its token's plan says.
pub(crate) fn carry_out(draft: &mut Draft, id: NodeId, plan: &NodePlan) -> Result<(), Rejection> {
    let Some(node) = draft.state.node(id).cloned() else {
        return Ok(());
    };
    let site = node.site;
    draft.put(Node {
        tags: plan.tags.clone(),
        ..node
    });
    for it in &plan.services {
        let target = ([127, 0, 0, 1], it.port.number()).into();
        services::add(
            draft,
            id,
            &it.name,
            it.port,
            target,
            it.kind,
            Exposure::Tunnel,
        )?;
    }
    join(draft, site, id);
    Ok(())
}

/// Brings the planned balancers of a site in step with the node that came: those that it runs start, and those that run
/// get its services.
fn join(draft: &mut Draft, site: SiteId, newcomer: NodeId) {
    let planned = draft.state.site(site).map(|site| site.balanced.clone());
    for plan in planned.unwrap_or_default() {
        let runs_it = draft
            .state
            .nodes_of(site)
            .find(|node| node.name == plan.node);
        let Some(runner) = runs_it.filter(|node| node.profile == Profile::Balancer) else {
            continue;
        };
        let runner = runner.id;
        match draft.state.balancer_by_name(runner, &plan.name).cloned() {
            Some(balancer) => extend(draft, balancer, newcomer, &plan.service),
            None => start(draft, site, runner, &plan),
        }
    }
}

fn extend(draft: &mut Draft, mut balancer: Balancer, newcomer: NodeId, service: &Label) {
    let Some(service) = draft.state.service_by_name(newcomer, service) else {
        return;
    };
    if newcomer != balancer.node && balancer.backends.len() < MAX_BACKENDS {
        balancer.backends.insert(service.id, BackendMode::Serve);
        draft.put(balancer);
    }
}

/// Nothing as long as no server is there, or somebody gave the port away.
fn start(draft: &mut Draft, site: SiteId, runner: NodeId, plan: &PlannedBalancer) {
    let state = &draft.state;
    let servers = state
        .nodes_of(site)
        .filter(|node| node.profile == Profile::SecurityServer);
    let services = servers.filter_map(|node| state.service_by_name(node.id, &plan.service));
    let backends: BTreeMap<ServiceId, BackendMode> = services
        .map(|service: &Service| (service.id, BackendMode::Serve))
        .take(MAX_BACKENDS)
        .collect();
    if backends.is_empty() || crate::balancers::check_port(state, runner, plan.port).is_err() {
        return;
    }
    let id = BalancerId(draft.next_id());
    draft.put(Balancer {
        id,
        node: runner,
        name: plan.name.clone(),
        port: plan.port,
        exposure: Exposure::Tunnel,
        backends,
        settings: BalancerSettings {
            health: plan.health.clone(),
            ..BalancerSettings::default()
        },
    });
}
