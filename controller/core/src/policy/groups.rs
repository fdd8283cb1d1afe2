//! Nodes that no rule in question can tell apart, as groups: what holds for one pair of them holds for every pair, so that
//! ten thousand nodes cost as much as a few.

use std::collections::{BTreeMap, BTreeSet};

use malha_proto::{Allow, Exposure, Label, NodeId};

use super::ports::Ports;
use crate::command::Rejection;
use crate::limits::MAX_GROUP_PAIRS;
use crate::model::{Grant, Node, Opening, Selector};
use crate::state::State;

/// What the rules in question may look at.
#[derive(Debug, Default)]
pub(super) struct Lens {
    selectors: BTreeSet<Selector>,
    services: BTreeSet<Label>,
    /// A gateway is on the opening side: it may reach services without a grant.
    gateways: bool,
}

/// What is seen of a node through a lens: two nodes with the same look are treated alike.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Look {
    pub(super) selectors: Vec<Selector>,
    hub: bool,
    gateway: bool,
    services: Vec<(Label, u16, Exposure)>,
}

/// Nodes of one look, in order.
pub(super) type Groups = BTreeMap<Look, Vec<NodeId>>;

/// Two nodes that stand for all pairs of two groups, and how many pairs these are.
pub(super) struct Pairs<'a> {
    pub(super) from: &'a Node,
    pub(super) to: &'a Node,
    pub(super) count: u64,
}

impl Lens {
    pub(super) fn look_at<'a>(&mut self, grants: impl Iterator<Item = &'a Grant>) {
        for grant in grants {
            self.selectors.extend([grant.from, grant.to]);
            if let Opening::Service { service } = &grant.allow {
                self.services.insert(service.clone());
            }
        }
    }

    /// The groups of both sides of a question.
    pub(super) fn group(
        &mut self,
        state: &State,
        from: &BTreeSet<NodeId>,
        to: &BTreeSet<NodeId>,
    ) -> (Groups, Groups) {
        let mut nodes = from.iter().filter_map(|id| state.node(*id));
        self.gateways |= nodes.any(Node::is_gateway);
        let groups = |ids: &BTreeSet<NodeId>| {
            let mut groups = Groups::new();
            for node in ids.iter().filter_map(|id| state.node(*id)) {
                groups
                    .entry(self.look(state, node))
                    .or_default()
                    .push(node.id);
            }
            groups
        };
        (groups(from), groups(to))
    }

    fn look(&self, state: &State, node: &Node) -> Look {
        let seen = |selector: &Selector| self.selectors.contains(selector);
        let services = state.services_of(node.id);
        let services = services.filter(|it| self.gateways || self.services.contains(&it.name));
        Look {
            selectors: state.selectors(node).filter(seen).collect(),
            hub: node.hub,
            gateway: node.is_gateway(),
            services: services
                .map(|it| (it.name.clone(), it.port.number(), it.exposure))
                .collect(),
        }
    }
}

/// Refuses a comparison that would hold up the only writer.
pub(super) fn check_pairs(from: &Groups, to: &Groups) -> Result<(), Rejection> {
    match from.len().saturating_mul(to.len()) > MAX_GROUP_PAIRS {
        true => Err(Rejection::Limit {
            what: "pairs of groups of alike nodes in one comparison of policies",
            limit: MAX_GROUP_PAIRS,
        }),
        false => Ok(()),
    }
}

/// None when the only pair would be of a node with itself.
pub(super) fn pairs<'a>(state: &'a State, from: &[NodeId], to: &[NodeId]) -> Option<Pairs<'a>> {
    let mut both = 0;
    let mut others = to.iter().peekable();
    for id in from {
        while others.next_if(|other| *other < id).is_some() {}
        both += u64::from(others.next_if_eq(&id).is_some());
    }
    let all = u64::try_from(from.len()).ok()? * u64::try_from(to.len()).ok()?;
    let first = *from.first()?;
    let (from, to) = match to.iter().find(|id| **id != first) {
        Some(other) => (first, *other),
        None => (*from.iter().find(|id| **id != first)?, first),
    };
    Some(Pairs {
        from: state.node(from)?,
        to: state.node(to)?,
        count: all - both,
    })
}

/// Everything that one may open on the other, by grants and as a gateway.
pub(super) fn open(state: &State, from: &Node, to: &Node) -> Ports {
    let allows = state
        .permissions(from, to)
        .map(|permission| permission.allow);
    Ports::of(allows.collect::<BTreeSet<Allow>>())
}
