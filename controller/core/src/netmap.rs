//! What one node must know, read from the state. Default deny: a peer may open what grants, public services, balancers and
//! the hub's probes allow, and nothing else.

use std::collections::{BTreeMap, BTreeSet};

use malha_proto::{
    Allow, Exposure, FormerAllow, Me, Netmap, NodeId, OrganizationId, Peer, ServiceId, SiteId,
};

use crate::limits::KEEPALIVE_S;
use crate::model::{Grant, Node, Selector, Service};
use crate::state::{State, seconds};

impl State {
    /// The netmap of a node at this state's revision; None when there is no such node. Hubs and edges are peers of every
    /// node; two others are peers when a grant lets one open something on the other, or a balancer of one has a server on the
    /// other. A quarantined or rekeying node has no peers and is nobody's peer; its guard closes what it would offer.
    #[must_use]
    pub fn netmap(&self, id: NodeId) -> Option<Netmap> {
        let me = self.node(id)?;
        let peers = self
            .peer_ids(me)
            .into_iter()
            .filter_map(|peer| Some((peer, self.peer(me, self.node(peer)?)?)));
        Some(Netmap {
            revision: self.revision,
            me: self.me(me)?,
            peers: peers.collect(),
            services: self.offered(me),
            balancers: self.balanced_by(me),
            closed: Some(self.closed_on(me)),
            zone: Some(self.settings.overlay_zone.clone()),
        })
    }

    pub(crate) fn me(&self, node: &Node) -> Option<Me> {
        Some(Me {
            id: node.id,
            name: self.node_name(node.id)?,
            addresses: node.addresses,
            prefix_v4: self.settings.pools.v4.prefix_len(),
            prefix_v6: self.settings.pools.v6.prefix_len(),
            profile: node.profile,
            quarantined: !node.is_active(),
            names: self.declared_names_of(node),
        })
    }

    pub(crate) fn offered(&self, node: &Node) -> BTreeMap<ServiceId, malha_proto::Service> {
        self.services_of(node.id)
            .map(|service| (service.id, on_the_wire(service)))
            .collect()
    }

    /// All peers of a node. The relation is symmetric.
    pub(crate) fn peer_ids(&self, me: &Node) -> BTreeSet<NodeId> {
        let mut ids = BTreeSet::new();
        if !me.is_active() {
            return ids;
        }
        if me.is_gateway() {
            ids.extend(self.nodes.keys());
        } else {
            ids.extend(&self.index.gateways);
            for state in self.and_former() {
                for selector in self.selectors(me) {
                    let from = state.grants_from(selector);
                    ids.extend(from.flat_map(|grant| self.members(grant.to)));
                    let to = state.grants_to(selector);
                    ids.extend(to.flat_map(|grant| self.members(grant.from)));
                }
            }
        }
        ids.extend(self.balancing_peers(me));
        ids.retain(|id| *id != me.id && self.node(*id).is_some_and(Node::is_active));
        ids
    }

    /// How `me` must configure `other`; None if they are not peers.
    pub(crate) fn peer(&self, me: &Node, other: &Node) -> Option<Peer> {
        if me.id == other.id || !me.is_active() || !other.is_active() {
            return None;
        }
        let mut joining = self.and_former().flat_map(|state| {
            state
                .permissions(other, me)
                .chain(state.permissions(me, other))
        });
        if !me.is_gateway() && !other.is_gateway() && joining.next().is_none() {
            return None;
        }
        let allow = self.allows(other, me);
        let we_dial = me.endpoints.is_empty() && !other.endpoints.is_empty();
        Some(Peer {
            id: other.id,
            name: self.node_name(other.id)?,
            key: other.wg_key,
            addresses: other.addresses,
            endpoints: other.endpoints.clone(),
            keepalive_s: we_dial.then_some(KEEPALIVE_S),
            former: self.former_allow(other, me, &allow),
            allow,
            hub: other.hub,
            names: self.names_shown_to(me, other),
        })
    }

    /// Everything that `from` may open on `to`, each once and in order.
    fn allows(&self, from: &Node, to: &Node) -> Vec<Allow> {
        let permissions = self.permissions(from, to);
        let allows: BTreeSet<Allow> = permissions.map(|permission| permission.allow).collect();
        allows.into_iter().collect()
    }

    /// Where a policy waits for its confirmation, and differs here from the one before: what comes back otherwise.
    fn former_allow(&self, from: &Node, to: &Node, now: &[Allow]) -> Option<FormerAllow> {
        let former = self.former.as_ref()?;
        let head = self.policy()?;
        let allow = former.allows(from, to);
        (allow != now).then(|| FormerAllow {
            version: head.version,
            within_ms: head.pending.as_ref().map_or(0, |pending| pending.within_ms),
            allow,
        })
    }

    /// Whether what a peer may open on this node waits with a policy for its confirmation.
    #[must_use]
    pub fn waits_with_policy(&self, id: NodeId) -> bool {
        let Some(me) = self.former.as_ref().and_then(|_| self.node(id)) else {
            return false;
        };
        let peers = self.peer_ids(me).into_iter().filter_map(|id| self.node(id));
        let mut entries = peers.filter_map(|other| self.peer(me, other));
        entries.any(|peer| peer.former.is_some())
    }

    /// This state, and the one under the policy to which it may return.
    fn and_former(&self) -> impl Iterator<Item = &Self> {
        std::iter::once(self).chain(self.former.as_deref())
    }

    /// The grants that let `from` open something on `to`.
    pub(crate) fn granted<'a>(
        &'a self,
        from: &'a Node,
        to: &'a Node,
    ) -> impl Iterator<Item = &'a Grant> {
        // Without grants, which is how an overlay starts, the selectors need not be made.
        let sides = (!self.grants.is_empty()).then_some((from, to));
        sides.into_iter().flat_map(move |(from, to)| {
            self.selectors(from).flat_map(move |from| {
                self.selectors(to)
                    .flat_map(move |to| self.grants_between(from, to))
            })
        })
    }

    /// The services of `me` that `other` may reach as a gateway: a hub probes all, an edge publishes the public ones.
    pub(crate) fn open_to_gateway(
        &self,
        me: &Node,
        other: &Node,
    ) -> impl Iterator<Item = &Service> {
        let services = other
            .is_gateway()
            .then(|| self.services_of(me.id))
            .into_iter()
            .flatten();
        let hub = other.hub;
        services.filter(move |service| hub || service.exposure == Exposure::Public)
    }

    /// Every way in which a grant can mean this node.
    pub(crate) fn selectors<'a>(&self, node: &'a Node) -> impl Iterator<Item = Selector> + use<'a> {
        let organization = self
            .site(node.site)
            .map_or(NOBODY, |site| site.organization);
        [
            Selector::Organization(organization),
            Selector::Site(node.site),
            Selector::Node(node.id),
            Selector::Profile(node.profile),
        ]
        .into_iter()
        .chain(node.tags.iter().copied().map(Selector::Tag))
    }

    /// The nodes that a selector means.
    pub(crate) fn members(&self, selector: Selector) -> Box<dyn Iterator<Item = NodeId> + '_> {
        let index = &self.index;
        match selector {
            Selector::Organization(id) => Box::new(
                seconds(&index.sites_of_organization, id, SiteId(0))
                    .flat_map(|site| seconds(&index.nodes_of_site, site, NodeId(0))),
            ),
            Selector::Site(id) => Box::new(seconds(&index.nodes_of_site, id, NodeId(0))),
            Selector::Node(id) => Box::new(self.node(id).map(|node| node.id).into_iter()),
            Selector::Profile(profile) => {
                Box::new(seconds(&index.nodes_of_profile, profile, NodeId(0)))
            }
            Selector::Tag(tag) => Box::new(seconds(&index.nodes_of_tag, tag, NodeId(0))),
        }
    }

    pub(crate) fn grants_between(
        &self,
        from: Selector,
        to: Selector,
    ) -> impl Iterator<Item = &Grant> {
        let start = (from, to, malha_proto::GrantId(0));
        let ids = self
            .index
            .grants_by_pair
            .range(start..)
            .take_while(move |(f, t, _)| (*f, *t) == (from, to));
        ids.filter_map(|(_, _, id)| self.grant(*id))
    }

    pub(crate) fn grants_from(&self, selector: Selector) -> impl Iterator<Item = &Grant> {
        let start = (selector, LEAST_SELECTOR, malha_proto::GrantId(0));
        let ids = self
            .index
            .grants_by_pair
            .range(start..)
            .take_while(move |(from, _, _)| *from == selector);
        ids.filter_map(|(_, _, id)| self.grant(*id))
    }

    pub(crate) fn grants_to(&self, selector: Selector) -> impl Iterator<Item = &Grant> {
        let start = (selector, LEAST_SELECTOR, malha_proto::GrantId(0));
        let ids = self
            .index
            .grants_by_target
            .range(start..)
            .take_while(move |(to, _, _)| *to == selector);
        ids.filter_map(|(_, _, id)| self.grant(*id))
    }
}

fn on_the_wire(service: &Service) -> malha_proto::Service {
    malha_proto::Service {
        id: service.id,
        name: service.name.clone(),
        port: service.port,
        target: service.target,
        kind: service.kind,
        exposure: service.exposure,
    }
}

const NOBODY: OrganizationId = OrganizationId(0);
/// Before every other selector in order.
const LEAST_SELECTOR: Selector = Selector::Organization(NOBODY);
