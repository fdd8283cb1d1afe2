//! Where things stand, as people name them: `organization/site/node/service`. What is gone meanwhile is named by its id.

use malha_core::State;
use malha_proto::{BalancerId, NodeId, OrganizationId, ServiceId, SiteId};

/// Of an organization: its name.
pub(crate) fn organization(state: &State, id: OrganizationId) -> String {
    state
        .organization(id)
        .map_or_else(|| id.to_string(), |it| it.name.to_string())
}

/// `organization` and `site`.
pub(crate) fn names_of_site(state: &State, id: SiteId) -> (String, String) {
    match state.site(id) {
        Some(site) => (
            organization(state, site.organization),
            site.name.to_string(),
        ),
        None => (String::new(), id.to_string()),
    }
}

/// `organization/site`.
pub(crate) fn site(state: &State, id: SiteId) -> String {
    let path =
        |it: &malha_core::Site| format!("{}/{}", organization(state, it.organization), it.name);
    state.site(id).map_or_else(|| id.to_string(), path)
}

/// `organization/site/node`.
pub(crate) fn node(state: &State, id: NodeId) -> String {
    state.node_path(id)
}

/// `organization/site/node/service`.
pub(crate) fn service(state: &State, id: ServiceId) -> String {
    state.service(id).map_or_else(
        || id.to_string(),
        |it| format!("{}/{}", node(state, it.node), it.name),
    )
}

/// `organization/site/node/balancer`.
pub(crate) fn balancer(state: &State, id: BalancerId) -> String {
    state.balancer(id).map_or_else(
        || id.to_string(),
        |it| format!("{}/{}", node(state, it.node), it.name),
    )
}
