//! Balancers: listed with what their nodes say of them, and the modes of the servers behind them.

use malha_core::{Balancer, Command, Noun, State};
use malha_proto::{BackendCondition, BackendMode};
use malha_web::Viewer;
use malha_web::model::{
    BalancerId, BalancerLive, BalancerRow, BalancerTrouble, Exposure, Listing, Outcome, ROWS_MAX,
    Refused, ServerCondition, ServerMode, ServerRow, ServiceId,
};

use crate::console::ControllerConsole;
use crate::console::permission::{Permission, permit};
use crate::console::refusal::{Form, missing};
use crate::paths;

/// Balancers by the path of their node and their name.
pub(super) fn list(console: &ControllerConsole) -> Listing<BalancerRow> {
    let state = console.state();
    let mut all: Vec<(String, &Balancer)> = state
        .balancers()
        .map(|it| (paths::node(&state, it.node), it))
        .collect();
    all.sort_by(|(a, one), (b, other)| (a, &one.name).cmp(&(b, &other.name)));
    let total = all.len();
    let shown = all.into_iter().take(ROWS_MAX);
    Listing {
        rows: shown
            .map(|(node, it)| row(console, &state, node, it))
            .collect(),
        total,
    }
}

pub(super) async fn set_mode(
    console: &ControllerConsole,
    viewer: &Viewer,
    balancer: &BalancerId,
    service: &ServiceId,
    mode: ServerMode,
) -> Result<Outcome, Refused> {
    permit(viewer, Permission::Change)?;
    let id = balancer.as_str().parse();
    let id = id.map_err(|_| missing(None, Noun::Balancer, balancer.as_str()))?;
    let of_service = service.as_str().parse();
    let service = of_service.map_err(|_| missing(None, Noun::Service, service.as_str()))?;
    let mode = match mode {
        ServerMode::Serve => BackendMode::Serve,
        ServerMode::Drain => BackendMode::Drain,
        ServerMode::Maintenance => BackendMode::Maintenance,
    };
    let command = Command::SetBackendMode { id, service, mode };
    console.write(viewer, Form::BUTTON, command).await
}

fn row(console: &ControllerConsole, state: &State, node: String, it: &Balancer) -> BalancerRow {
    let report = console.live.balancing.balancer(it.node, it.id);
    let sources = it.settings.allowed_sources.iter();
    let servers = it.backends.keys();
    BalancerRow {
        id: it.id.to_string().into(),
        name: it.name.as_str().into(),
        node: it.node.to_string().into(),
        node_path: node.into(),
        port: it.port.number(),
        exposure: match it.exposure {
            malha_proto::Exposure::Tunnel => Exposure::Tunnel,
            malha_proto::Exposure::Public => Exposure::Public,
        },
        sources: sources.map(|it| it.to_string().into()).collect(),
        servers: servers
            .filter_map(|service| server(console, state, it, *service))
            .collect(),
        live: report.map(|it| BalancerLive {
            trouble: it.trouble.map(|it| match it {
                malha_proto::BalancerTrouble::PortTaken => BalancerTrouble::PortTaken,
                malha_proto::BalancerTrouble::PortForbidden => BalancerTrouble::PortForbidden,
                malha_proto::BalancerTrouble::Other(why) => BalancerTrouble::Other(why.into()),
            }),
            open: it.counts.open,
            taken: it.counts.taken,
            over_limit: it.counts.over_limit,
            not_allowed: it.counts.not_allowed,
            unserved: it.counts.unserved,
        }),
    }
}

fn server(
    console: &ControllerConsole,
    state: &State,
    balancer: &Balancer,
    id: malha_proto::ServiceId,
) -> Option<ServerRow> {
    let service = state.service(id)?;
    let node = state.node(service.node)?;
    let seen = (console.live.balancing).backend(balancer.node, balancer.id, id);
    Some(ServerRow {
        service: id.to_string().into(),
        path: paths::service(state, id).into(),
        address: format!("{}:{}", node.addresses.v4, service.port).into(),
        mode: match balancer.backends.get(&id)? {
            BackendMode::Serve => ServerMode::Serve,
            BackendMode::Drain => ServerMode::Drain,
            BackendMode::Maintenance => ServerMode::Maintenance,
        },
        condition: seen.map(|it| match it.condition {
            BackendCondition::Unproven => ServerCondition::Unproven,
            BackendCondition::Up => ServerCondition::Up,
            BackendCondition::Suspect => ServerCondition::Suspect,
            BackendCondition::Down => ServerCondition::Down,
            BackendCondition::Recovering => ServerCondition::Recovering,
        }),
        connections: seen.map_or(0, |it| it.connections),
    })
}
