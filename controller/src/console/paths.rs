//! Where things stand, as people name them: `organization/site/node/service`. What is gone meanwhile is named by its id.

use malha_core::{Service, State};
use malha_proto::{NodeId, SiteId};

/// `organization` and `site`.
pub(super) fn of_site(state: &State, id: SiteId) -> (String, String) {
    let Some(site) = state.site(id) else {
        return (String::new(), id.to_string());
    };
    let organization = state.organization(site.organization);
    (
        organization.map_or_else(|| site.organization.to_string(), |it| it.name.to_string()),
        site.name.to_string(),
    )
}

/// `organization/site`.
pub(super) fn site(state: &State, id: SiteId) -> String {
    let (organization, site) = of_site(state, id);
    format!("{organization}/{site}")
}

/// `organization/site/node`.
pub(super) fn node(state: &State, id: NodeId) -> String {
    state.node(id).map_or_else(
        || id.to_string(),
        |node| format!("{}/{}", site(state, node.site), node.name),
    )
}

/// `organization/site/node/service`.
pub(super) fn service(state: &State, it: &Service) -> String {
    format!("{}/{}", node(state, it.node), it.name)
}
