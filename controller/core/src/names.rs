//! The names that organizations declare, inside the overlay: at which nodes they stand, and who hears of them. It makes no record
//! and knows nothing of the public view.

use std::collections::{BTreeMap, BTreeSet};

use malha_proto::{HostName, Label, NodeId, OrganizationId, Profile, SiteId};

use crate::affected::sides;
use crate::declaration::{Declaration, StageStatement, Statement};
use crate::model::{Node, Site};
use crate::state::State;

impl State {
    /// The nodes at which the names of a stage stand inside the overlay: its site's balancers, or its security servers where it has
    /// no balancer, or its central servers where it has neither. Nodes that are held apart are none.
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
        let rank = standing(node);
        let mut others = self.nodes_of(node.site).map(standing);
        rank > 0 && others.all(|other| other <= rank)
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

/// The nodes that may bear other names: those of sites whose stage was declared otherwise, and those that stand behind one that came
/// or went.
pub(crate) fn named_otherwise(old: &State, new: &State) -> BTreeSet<NodeId> {
    // Of each site, below which rank.
    let mut sites = BTreeMap::<SiteId, u8>::new();
    for item in old.declarations.diff(&new.declarations) {
        let (before, after) = sides(item);
        for declaration in before.into_iter().chain(after) {
            let organization = declaration.organization;
            let stages = declaration.statement.stages();
            let named = stages.filter_map(|(_, said)| new.site_named(organization, &said.site));
            sites.extend(named.map(|site| (site.id, u8::MAX)));
        }
    }
    for item in old.nodes.diff(&new.nodes) {
        let (before, after) = sides(item);
        let stands = |node: &Node| (node.site, standing(node));
        if before.map(|it| stands(it)) != after.map(|it| stands(it)) {
            // Behind those of the lowest rank stands nobody.
            let fronts = before.into_iter().chain(after);
            for node in fronts.filter(|node| rank(node.profile) > 1) {
                let below = sites.entry(node.site).or_default();
                *below = rank(node.profile).max(*below);
            }
        }
    }
    let bearers = sites.into_iter().flat_map(|(site, below)| {
        let nodes = new.nodes_of(site);
        nodes.filter(move |node| (1..below).contains(&rank(node.profile)))
    });
    bearers.map(|node| node.id).collect()
}

/// Its rank, as long as it is not held apart.
fn standing(node: &Node) -> u8 {
    match node.is_active() {
        true => rank(node.profile),
        false => 0,
    }
}

/// Of a site's nodes those of the highest rank bear its names; 0 never does.
fn rank(profile: Profile) -> u8 {
    match profile {
        Profile::Balancer => 3,
        Profile::SecurityServer => 2,
        Profile::Central => 1,
        Profile::Garage | Profile::Edge => 0,
    }
}

/// Every name of a statement.
pub(crate) fn names(statement: &Statement) -> impl Iterator<Item = &HostName> {
    statement.stages().flat_map(|(_, said)| &said.names)
}
