//! What a balancer opens by itself: the ports of its servers that its node could not open without it. Adding one is a change
//! of who may open what, and says so.

use std::collections::{BTreeMap, BTreeSet};

use malha_proto::{Allow, BalancerId, NodeId};

use super::ports::{self, Ports};
use crate::command::Rejection;
use crate::explain::{Permission, Source};
use crate::reason::Reason;
use crate::state::State;

/// Where an organization asks for a second approver, a balancer opens nothing that the policy, which is approved, does not
/// open already: it would be a way around the approval. What it opened before, it goes on opening.
pub(crate) fn check_balancer(
    before: &State,
    after: &State,
    id: BalancerId,
) -> Result<(), Rejection> {
    let was = before.opened_by_balancer(id);
    let from = after.balancer(id).map(|it| it.node);
    let asking = |node: NodeId| {
        let organization = after.organization(after.organization_of(node)?)?;
        organization.second_approver.then_some(organization)
    };
    for (on, ports) in after.opened_by_balancer(id) {
        let Some(organization) = asking(on).or_else(|| asking(from?)) else {
            continue;
        };
        let known = was.get(&on).cloned().unwrap_or_default();
        let more = Ports::of(ports).without(&Ports::of(known));
        if more.is_empty() {
            continue;
        }
        let shown: Vec<String> = more.iter().map(ports::shown).collect();
        return Err(Rejection::Invalid {
            field: "backends",
            reason: Reason::BalancerNeedsGrant {
                organization: organization.name.to_string(),
                ports: shown.join(", "),
                node: after.node_path(on),
            },
        });
    }
    Ok(())
}

impl State {
    /// Per server's node, what the balancer's node may open there because of this balancer alone. Empty where everything is
    /// open otherwise, and for a balancer that does not exist.
    #[must_use]
    pub fn opened_by_balancer(&self, id: BalancerId) -> BTreeMap<NodeId, Vec<Allow>> {
        let mut opened = BTreeMap::new();
        let Some((balancer, from)) = self
            .balancer(id)
            .and_then(|it| Some((it, self.node(it.node)?)))
        else {
            return opened;
        };
        let services = balancer.backends.keys().filter_map(|id| self.service(*id));
        let servers: BTreeSet<NodeId> = services.map(|service| service.node).collect();
        for to in servers.into_iter().filter_map(|id| self.node(id)) {
            let (by_it, otherwise): (Vec<_>, Vec<_>) = self
                .permissions(from, to)
                .partition(|permission| permission.source == Source::Balanced(id));
            let ports = |of: Vec<Permission>| Ports::of(of.into_iter().map(|it| it.allow));
            let only = ports(by_it).without(&ports(otherwise));
            if !only.is_empty() {
                opened.insert(to.id, only);
            }
        }
        opened
    }
}
