//! Whom a new text concerns, at whatever hour: the organizations that ask for a second approver and that a rule which came,
//! went or got other hours speaks of. What the filters change now is only a part of it.

use std::collections::BTreeSet;

use malha_proto::{NodeId, OrganizationId};

use super::diff::Difference;
use super::document::Policy;
use super::schedule::Schedule;
use super::who::Who;
use crate::model::Opening;
use crate::state::State;

impl State {
    /// The organizations that ask for a second approver and that a step from what is in force to this policy concerns: those
    /// of the nodes in its difference, those that a differing rule names, and those of nodes that it means.
    #[must_use]
    pub fn second_approver_asked(
        &self,
        policy: &Policy,
        difference: &Difference,
    ) -> BTreeSet<OrganizationId> {
        let asking = self.organizations().filter(|it| it.second_approver);
        let asking: BTreeSet<OrganizationId> = asking.map(|it| it.id).collect();
        let mut asked = BTreeSet::new();
        if asking.is_empty() {
            return asked;
        }
        let of_nodes = |nodes: &BTreeSet<NodeId>| -> BTreeSet<OrganizationId> {
            let of_node = |id: &NodeId| self.organization_of(*id);
            nodes.iter().filter_map(of_node).collect()
        };
        asked.extend(of_nodes(&difference.nodes));
        for who in self.differing_names(policy) {
            match &who {
                Who::Organization(name) | Who::Site(name, _) | Who::Node(name, _, _) => {
                    asked.extend(self.organization_by_name(name.as_str()).map(|it| it.id));
                }
                Who::Profile(_) | Who::Tag(_) => asked.extend(of_nodes(&self.meant(&who))),
            }
        }
        asked.retain(|id| asking.contains(id));
        asked
    }

    pub(crate) fn organization_of(&self, node: NodeId) -> Option<OrganizationId> {
        let site = self.site(self.node(node)?.site)?;
        Some(site.organization)
    }

    /// Every name in a rule that only one of the two policies has. Rules are compared by what they say: another label, order
    /// or grouping is no difference.
    pub(super) fn differing_names(&self, policy: &Policy) -> BTreeSet<Who> {
        let loose = || Policy::parse(&self.policy_text()).unwrap_or_default();
        let in_force = self.policy_in_words().cloned().unwrap_or_else(loose);
        let (before, after) = (said(&in_force), said(policy));
        let differing = before.symmetric_difference(&after);
        differing
            .flat_map(|(from, to, ..)| [(*from).clone(), (*to).clone()])
            .collect()
    }
}

/// One thing that a text says, at whatever hour it holds.
type Said<'a> = (
    &'a Who,
    &'a Who,
    &'a Opening,
    Option<&'a Schedule>,
    Option<u64>,
);

fn said(policy: &Policy) -> BTreeSet<Said<'_>> {
    let mut said = BTreeSet::new();
    for rule in &policy.rules {
        for from in &rule.from {
            for to in &rule.to {
                let opens = rule.opens.iter();
                let schedule = rule.schedule.as_ref();
                said.extend(opens.map(|it| (from, to, it, schedule, rule.expires_ms)));
            }
        }
    }
    said
}
