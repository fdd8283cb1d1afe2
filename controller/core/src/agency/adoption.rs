//! What an agency has already when it is added: its organization, a stage's site, machines that enrolled before. They stay what they
//! are and get what the agency's own would get. An agency is added once.

use malha_proto::{Exposure, Label, NodeId, OrganizationId, Profile, SiteId};

use super::{AddedAgency, NewAgency, planned_services, suffixed};
use crate::command::{Answer, Rejection};
use crate::declaration::Stage;
use crate::draft::Draft;
use crate::model::{Node, Service, Site};
use crate::state::State;
use crate::{organizations, services, sites, tags};

/// The organization of this name, new or one that is no agency yet.
pub(super) fn organization(
    draft: &mut Draft,
    new: &NewAgency,
) -> Result<OrganizationId, Rejection> {
    let known = draft
        .state
        .organization_by_name(new.name.as_str())
        .map(|it| it.id);
    if let Some(id) = known.filter(|id| !is_agency(&draft.state, *id)) {
        return Ok(id);
    }
    match organizations::create(draft, &new.name, &new.display_name)? {
        Answer::Organization(id) => Ok(id),
        _ => unreachable!("a created organization has an id"),
    }
}

/// Whether it was added as one: its machines are awaited, or stand in a stage's site with the stage's tag. A tag in another site was
/// given by hand.
fn is_agency(state: &State, id: OrganizationId) -> bool {
    let is_own = |site: SiteId| state.site(site).is_some_and(|it| it.organization == id);
    let mut tokens = state.tokens();
    let is_stages = |site: &&Site| Stage::ALL.iter().any(|it| it.site_name() == site.name);
    let mut sites = state.sites_of(id).filter(is_stages);
    tokens.any(|token| token.plan.is_some() && is_own(token.site))
        || sites.any(|site| state.nodes_of(site.id).any(has_stage))
}

fn has_stage(node: &Node) -> bool {
    Stage::ALL.iter().any(|it| node.tags.contains(&it.tag()))
}

/// The stage's site, new or there.
pub(super) fn site(
    draft: &mut Draft,
    organization: OrganizationId,
    stage: Stage,
) -> Result<SiteId, Rejection> {
    let name = stage.site_name();
    let known = draft.state.sites_of(organization);
    let known = known.filter(|site| site.name == name).map(|site| site.id);
    if let Some(site) = known.last() {
        return Ok(site);
    }
    match sites::create(draft, organization, &name, "")? {
        Answer::Site(id) => Ok(id),
        _ => unreachable!("a created site has an id"),
    }
}

/// Gives the servers and balancers that stand in a stage's site what its own would get. The names of the servers, and all of them.
pub(super) fn adopt(
    draft: &mut Draft,
    new: &NewAgency,
    stage: Stage,
    site: SiteId,
) -> Result<(Vec<Label>, Vec<NodeId>), Rejection> {
    let there = draft.state.nodes_of(site).filter(|node| has_role(node));
    let there: Vec<Node> = there.cloned().collect();
    let (mut servers, mut adopted) = (Vec::new(), Vec::new());
    for node in there {
        let mut wanted = node.tags.clone();
        wanted.insert(stage.tag());
        tags::set(draft, node.id, &wanted)?;
        if node.profile == Profile::SecurityServer {
            offer(draft, new, node.id)?;
            servers.push(node.name);
        }
        adopted.push(node.id);
    }
    Ok((servers, adopted))
}

/// The services that the profile has and the node has not, by name nor by port.
fn offer(draft: &mut Draft, new: &NewAgency, node: NodeId) -> Result<(), Rejection> {
    let spec = draft.state.profile_spec(Profile::SecurityServer);
    for it in planned_services(&spec, new.xroad, |_| true) {
        let is_it = |service: &Service| service.name == it.name || service.port == it.port;
        if draft.state.services_of(node).any(is_it) {
            continue;
        }
        let target = ([127, 0, 0, 1], it.port.number()).into();
        let exposure = Exposure::Tunnel;
        services::add(draft, node, &it.name, it.port, target, it.kind, exposure)?;
    }
    Ok(())
}

/// `xvia1`, `xvia2`: the servers that are still to come to a stage that has some, by names that nobody has.
pub(super) fn awaited(
    state: &State,
    new: &NewAgency,
    stage: Stage,
    site: SiteId,
    there: usize,
) -> Vec<Label> {
    let is_free = |name: &Label| state.nodes_of(site).all(|node| node.name != *name);
    let names = (1..=u8::MAX).map(|number| suffixed(&new.host, &number.to_string()));
    let count = usize::from(new.count(stage)).saturating_sub(there);
    names.filter(is_free).take(count).collect()
}

/// Servers and balancers of the organization in sites that are no stage's, without a stage's tag.
pub(super) fn unplaced(state: &State, added: &AddedAgency) -> Vec<NodeId> {
    let is_other = |site: &&Site| !added.sites.contains(&site.id);
    let others = state.sites_of(added.organization).filter(is_other);
    let nodes = others.flat_map(|site| state.nodes_of(site.id));
    let unplaced = nodes.filter(|node| has_role(node) && !has_stage(node));
    unplaced.map(|node| node.id).collect()
}

fn has_role(node: &Node) -> bool {
    matches!(node.profile, Profile::SecurityServer | Profile::Balancer)
}
