//! Nodes that no rule in question can tell apart, as groups: what holds for one pair of them holds for every pair, so that
//! ten thousand nodes cost as much as a few.

use std::collections::{BTreeMap, BTreeSet};

use malha_proto::{Allow, BalancerId, Exposure, Label, NodeId};

use super::ports::Ports;
use crate::command::Rejection;
use crate::limits::MAX_GROUP_PAIRS;
use crate::model::{Balancer, Grant, Node, Opening, Selector};
use crate::noun::Plenty;
use crate::state::State;

/// What the rules in question may look at.
#[derive(Debug, Default)]
pub(super) struct Lens {
    selectors: BTreeSet<Selector>,
    services: BTreeSet<Label>,
    /// A gateway is on the opening side: it may reach services without a grant.
    gateways: bool,
    /// Their node is on the opening side and a server of theirs on the other: it may be reached without a grant.
    balancers: BTreeSet<BalancerId>,
}

/// What is seen of a node through a lens: two nodes with the same look are treated alike.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Look {
    pub(super) selectors: Vec<Selector>,
    hub: bool,
    gateway: bool,
    services: Vec<(Label, u16, Exposure)>,
    /// What it balances or, on the other side, what of it is balanced and where.
    balancers: BTreeSet<(BalancerId, u16)>,
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
        let balancers = from.iter().flat_map(|id| state.balancers_of(*id));
        let leads = |it: &&Balancer| {
            let mut services = it.backends.keys().filter_map(|id| state.service(*id));
            services.any(|service| to.contains(&service.node))
        };
        self.balancers
            .extend(balancers.filter(leads).map(|it| it.id));
        let groups = |ids: &BTreeSet<NodeId>, side: Side| {
            let mut groups = Groups::new();
            for node in ids.iter().filter_map(|id| state.node(*id)) {
                let look = self.look(state, node, side);
                groups.entry(look).or_default().push(node.id);
            }
            groups
        };
        (groups(from, Side::From), groups(to, Side::To))
    }

    fn look(&self, state: &State, node: &Node, side: Side) -> Look {
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
            balancers: self.balanced(state, node, side),
        }
    }

    fn balanced(&self, state: &State, node: &Node, side: Side) -> BTreeSet<(BalancerId, u16)> {
        if self.balancers.is_empty() {
            return BTreeSet::new();
        }
        let all: Vec<(BalancerId, u16)> = match side {
            Side::From => state.balancers_of(node.id).map(|it| (it.id, 0)).collect(),
            Side::To => {
                let services = state.services_of(node.id);
                let ports = services.flat_map(|service| {
                    let balancers = state.balancers_to(service.id);
                    balancers.map(|it| (it.id, service.port.number()))
                });
                ports.collect()
            }
        };
        let seen = |(id, _): &(BalancerId, u16)| self.balancers.contains(id);
        all.into_iter().filter(seen).collect()
    }
}

/// The side of a question on which a node stands.
#[derive(Clone, Copy)]
enum Side {
    From,
    To,
}

/// Refuses a comparison that would hold up the only writer.
pub(super) fn check_pairs(from: &Groups, to: &Groups) -> Result<(), Rejection> {
    match from.len().saturating_mul(to.len()) > MAX_GROUP_PAIRS {
        true => Err(Rejection::Limit {
            what: Plenty::GroupPairs,
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

/// Everything that one may open on the other, by grants, as a gateway and as a balancer.
pub(super) fn open(state: &State, from: &Node, to: &Node) -> Ports {
    let allows = state
        .permissions(from, to)
        .map(|permission| permission.allow);
    Ports::of(allows.collect::<BTreeSet<Allow>>())
}
