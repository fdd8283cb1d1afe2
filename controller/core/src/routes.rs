//! Routes: a public host and path bound to services that may be public. Their DNS records follow by themselves.

use std::collections::BTreeSet;

use malha_proto::{Exposure, HostName, RouteId, ServiceId, ServiceKind};

use crate::apply::{check_count, check_limit, found};
use crate::change::EntityKey;
use crate::command::{Answer, Rejection};
use crate::draft::Draft;
use crate::limits::{MAX_ROUTES, MAX_SERVICES_PER_ROUTE};
use crate::model::Route;
use crate::noun::{Noun, Plenty};
use crate::reason::Reason;
use crate::state::{host_key, seconds};
use crate::text::check_path;
use crate::zones;

pub(crate) fn add(
    draft: &mut Draft,
    host: &HostName,
    path: &str,
    services: &BTreeSet<ServiceId>,
) -> Result<Answer, Rejection> {
    let path = check_path(path)?;
    check_host(draft, host)?;
    check_services(draft, services)?;
    if draft
        .state
        .index
        .route_by_place
        .contains_key(&(host_key(host.as_str()), path.clone()))
    {
        return Err(Rejection::Exists {
            what: Noun::Route,
            name: format!("{host}{path}"),
        });
    }
    check_limit(Plenty::Routes, draft.state.routes.len(), MAX_ROUTES)?;
    zones::check_no_conflict(&draft.state, host)?;
    let id = RouteId(draft.next_id());
    let created_ms = draft.now_ms();
    draft.put(Route {
        id,
        host: host.clone(),
        path,
        services: services.clone(),
        created_ms,
    });
    zones::follow_host(draft, host)?;
    Ok(Answer::Route(id))
}

pub(crate) fn remove(draft: &mut Draft, id: RouteId) -> Result<Answer, Rejection> {
    let host = found(draft.state.route(id), Noun::Route, id)?.host.clone();
    draft.delete(EntityKey::Route(id));
    zones::follow_host(draft, &host)?;
    Ok(Answer::Done)
}

/// Takes a service that is going out of its routes; a route that leads nowhere goes too.
pub(crate) fn detach(draft: &mut Draft, service: ServiceId) -> Result<(), Rejection> {
    let ids: Vec<RouteId> =
        seconds(&draft.state.index.routes_of_service, service, RouteId(0)).collect();
    let routes: Vec<Route> = ids
        .iter()
        .filter_map(|id| draft.state.route(*id))
        .cloned()
        .collect();
    for mut route in routes {
        route.services.remove(&service);
        if route.services.is_empty() {
            remove(draft, route.id)?;
        } else {
            draft.put(route);
        }
    }
    Ok(())
}

fn check_host(draft: &Draft, host: &HostName) -> Result<(), Rejection> {
    let overlay_zone = &draft.state.settings.overlay_zone;
    if host.is_within(overlay_zone.as_str()) {
        return Err(Rejection::Invalid {
            field: "host",
            reason: Reason::RouteInsideOverlay {
                host: host.to_string(),
                zone: overlay_zone.to_string(),
            },
        });
    }
    Ok(())
}

fn check_services(draft: &Draft, services: &BTreeSet<ServiceId>) -> Result<(), Rejection> {
    let refuse = |reason| {
        Err(Rejection::Invalid {
            field: "services",
            reason,
        })
    };
    if services.is_empty() {
        return refuse(Reason::RouteWithoutService);
    }
    check_count(
        Plenty::ServicesOfRoute,
        services.len(),
        MAX_SERVICES_PER_ROUTE,
    )?;
    for id in services {
        let service = found(draft.state.service(*id), Noun::Service, id)?;
        if service.exposure != Exposure::Public {
            return refuse(Reason::ServiceNotPublic {
                service: service.name.to_string(),
            });
        }
        if service.kind != ServiceKind::Http {
            return refuse(Reason::ServiceNotHttp {
                service: service.name.to_string(),
            });
        }
    }
    Ok(())
}
