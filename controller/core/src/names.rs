//! The names that organizations declare, inside the overlay: at which nodes they stand, and who hears of them. It makes no record
//! and knows nothing of the public view.

use std::collections::BTreeSet;

use malha_proto::{HostName, Label, NodeId, OrganizationId, Profile, SiteId};

use crate::affected::sides;
use crate::declaration::{Declaration, StageStatement, Statement};
use crate::model::{Node, Site};
use crate::state::State;

impl State {
    /// The nodes at which the names of a stage stand inside the overlay: its site's balancers, or its security servers where it has
    /// no balancer. Nodes that are held apart are none.
    pub fn bearers(
        &self,
        organization: OrganizationId,
        stage: &StageStatement,
    ) -> impl Iterator<Item = &Node> {
        let site = self.site_named(organization, &stage.site);
        let nodes = site.into_iter().flat_map(|site| self.nodes_of(site.id));
        nodes.filter(|node| self.bears_names(node))
    }

    /// The organization that has declared a name.
    #[must_use]
    pub fn declarer_of(&self, name: &HostName) -> Option<OrganizationId> {
        let mut all = self.declarations();
        all.find(|it| names(&it.statement).any(|said| said == name))
            .map(|it| it.organization)
    }

    /// The declared names that stand at a node, in order.
    pub(crate) fn declared_names_of(&self, node: &Node) -> Vec<HostName> {
        let declared = || {
            let site = self.site(node.site)?;
            Some((site, self.declaration(site.organization)?))
        };
        match declared() {
            Some((site, declaration)) if self.bears_names(node) => {
                self.names_at(site, declaration).into_iter().collect()
            }
            _ => Vec::new(),
        }
    }

    /// Those of `other` that `me` hears of: none unless it may open something there, for the name would lead it to closed doors.
    pub(crate) fn names_shown_to(&self, me: &Node, other: &Node) -> Vec<HostName> {
        let names = self.declared_names_of(other);
        match names.is_empty() || self.permissions(me, other).next().is_some() {
            true => names,
            false => Vec::new(),
        }
    }

    fn site_named(&self, organization: OrganizationId, name: &Label) -> Option<&Site> {
        let by_name = &self.index.site_by_name;
        self.site(*by_name.get(&(organization, name.clone()))?)
    }

    fn bears_names(&self, node: &Node) -> bool {
        let is_balancer = |it: &Node| it.profile == Profile::Balancer && it.is_active();
        match node.profile {
            Profile::Balancer => node.is_active(),
            Profile::SecurityServer => {
                node.is_active() && !self.nodes_of(node.site).any(is_balancer)
            }
            Profile::Garage | Profile::Central | Profile::Edge => false,
        }
    }

    fn names_at(&self, site: &Site, declaration: &Declaration) -> BTreeSet<HostName> {
        let zone = &self.settings.overlay_zone;
        let stages = declaration.statement.stages().map(|(_, said)| said);
        stages
            .filter(|said| said.site == site.name)
            .flat_map(|said| &said.names)
            .filter(|name| !name.is_wildcard())
            // The overlay's own names are the nodes', whatever is declared.
            .filter(|name| !name.is_within(zone.as_str()) && !zone.is_within(name.as_str()))
            .cloned()
            .collect()
    }
}

/// The nodes that may bear other names: those of sites whose stage was declared otherwise, and the servers behind a balancer that
/// came or went.
pub(crate) fn named_otherwise(old: &State, new: &State) -> BTreeSet<NodeId> {
    let mut sites = BTreeSet::<SiteId>::new();
    for item in old.declarations.diff(&new.declarations) {
        let (before, after) = sides(item);
        for declaration in before.into_iter().chain(after) {
            let organization = declaration.organization;
            let stages = declaration.statement.stages();
            let named = stages.filter_map(|(_, said)| new.site_named(organization, &said.site));
            sites.extend(named.map(|site| site.id));
        }
    }
    for item in old.nodes.diff(&new.nodes) {
        let (before, after) = sides(item);
        let stands = |node: &Node| {
            (
                node.site,
                node.profile == Profile::Balancer && node.is_active(),
            )
        };
        if before.map(|it| stands(it)) != after.map(|it| stands(it)) {
            let balancers = before.into_iter().chain(after);
            let balancers = balancers.filter(|it| it.profile == Profile::Balancer);
            sites.extend(balancers.map(|it| it.site));
        }
    }
    let nodes = sites.into_iter().flat_map(|site| new.nodes_of(site));
    let bearers =
        nodes.filter(|node| matches!(node.profile, Profile::SecurityServer | Profile::Balancer));
    bearers.map(|node| node.id).collect()
}

/// Every name of a statement.
pub(crate) fn names(statement: &Statement) -> impl Iterator<Item = &HostName> {
    statement.stages().flat_map(|(_, said)| &said.names)
}
