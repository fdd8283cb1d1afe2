//! Routes: listed with the address to open and whether what stands behind it answers, added and removed.

use std::collections::BTreeSet;

use malha_core::{Command, Noun, Route, State};
use malha_proto::HostName;
use malha_web::Viewer;
use malha_web::model::{
    Listing, NewRoute, Outcome, ProbeState, ROWS_MAX, Refused, RouteId, RouteRow, RouteState,
};
use time::OffsetDateTime;

use crate::console::census::Census;
use crate::console::permission::{Permission, permit};
use crate::console::refusal::{Form, missing, wrong};
use crate::console::{ControllerConsole, hops};
use crate::paths;
use crate::refusals;

/// Routes by host and path.
pub(super) fn list(console: &ControllerConsole) -> Listing<RouteRow> {
    let census = console.census();
    let mut routes: Vec<&Route> = census.state.routes().collect();
    routes.sort_by(|a, b| (&a.host, &a.path).cmp(&(&b.host, &b.path)));
    let total = routes.len();
    let rows = routes
        .into_iter()
        .take(ROWS_MAX)
        .map(|route| row(&census, route, console.public_https_port));
    Listing {
        rows: rows.collect(),
        total,
    }
}

pub(super) async fn add(
    console: &ControllerConsole,
    viewer: &Viewer,
    new: NewRoute,
) -> Result<Outcome, Refused> {
    permit(viewer, Permission::Change)?;
    let host: HostName = new
        .host
        .parse()
        .map_err(|error| wrong("host", refusals::name(&error)))?;
    let state = console.state();
    let mut services = BTreeSet::new();
    for id in &new.services {
        let service = id.as_str().parse().ok().and_then(|id| state.service(id));
        services.insert(
            service
                .ok_or_else(|| missing(Some("service"), Noun::Service, id.as_str()))?
                .id,
        );
    }
    console
        .write(
            viewer,
            Form::ROUTE,
            Command::AddRoute {
                host,
                path: new.path,
                services,
            },
        )
        .await
}

pub(super) async fn remove(
    console: &ControllerConsole,
    viewer: &Viewer,
    id: &RouteId,
) -> Result<Outcome, Refused> {
    permit(viewer, Permission::Change)?;
    let id = id
        .as_str()
        .parse()
        .map_err(|_| missing(None, Noun::Route, id.as_str()))?;
    console
        .write(viewer, Form::BUTTON, Command::RemoveRoute { id })
        .await
}

fn row(census: &Census, route: &Route, port: u16) -> RouteRow {
    let services = route
        .services
        .iter()
        .filter_map(|id| census.state.service(*id));
    let probes = services
        .clone()
        .map(|service| match census.standing(service.node) {
            Some(standing) => hops::reach(standing, service.id),
            None => (ProbeState::Unknown, None),
        });
    let (state, since) = verdict(&probes.collect::<Vec<_>>());
    RouteRow {
        id: route.id.to_string().into(),
        host: route.host.as_str().into(),
        path: route.path.as_str().into(),
        url: (!route.host.is_wildcard()).then(|| url(route, port).into()),
        services: services
            .map(|service| paths::service(&census.state, service.id).into())
            .collect(),
        elsewhere: elsewhere(&census.state, route),
        state,
        since,
    }
}

/// The edges' addresses, where nobody here makes the records that lead to them.
fn elsewhere(state: &State, route: &Route) -> Option<String> {
    if state.zone_of_host(&route.host).is_some() {
        return None;
    }
    let addresses = state.settings().edge_addresses.iter();
    Some(
        addresses
            .map(ToString::to_string)
            .collect::<Vec<_>>()
            .join(", "),
    )
}

/// Since when: the last change of one of the services.
fn verdict(
    probes: &[(ProbeState, Option<OffsetDateTime>)],
) -> (RouteState, Option<OffsetDateTime>) {
    let count =
        |wanted: fn(ProbeState) -> bool| probes.iter().filter(|(probe, _)| wanted(*probe)).count();
    let up = count(|probe| probe == ProbeState::Up);
    let unknown = count(|probe| probe == ProbeState::Unknown);
    let state = match (up, probes.len() - up - unknown, unknown) {
        (0, 0, _) => RouteState::Unknown,
        (0, _, 0) => RouteState::Down,
        (_, 0, 0) => RouteState::Up,
        (_, 0, _) | (0, _, _) => RouteState::Unknown,
        (_, _, _) => RouteState::Degraded,
    };
    let since = probes.iter().filter_map(|(_, since)| *since).max();
    (state, since.filter(|_| state != RouteState::Unknown))
}

fn url(route: &Route, port: u16) -> String {
    let Route { host, path, .. } = route;
    if port == HTTPS_PORT {
        format!("https://{host}{path}")
    } else {
        format!("https://{host}:{port}{path}")
    }
}

/// The port that an `https://` address means without one.
const HTTPS_PORT: u16 = 443;
