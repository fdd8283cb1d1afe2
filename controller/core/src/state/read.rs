//! What readers ask of a state: entities by id, name or key, in order. Nothing here scans more than it returns.

use std::sync::Arc;

use malha_proto::{
    ApiKeyId, BalancerId, Fingerprint, GrantId, HostName, Label, NodeId, OperatorId,
    OrganizationId, RouteId, ServiceId, SiteId, TokenId,
};
use malha_zone::{Zone, ZoneName, Zones};

use crate::model::{
    ApiKey, Balancer, Grant, Lease, Node, Operator, Organization, RetiredAddress, Route, Service,
    Site, Token,
};
use crate::state::State;
use crate::state::index::seconds;

impl State {
    pub fn organizations(&self) -> impl ExactSizeIterator<Item = &Organization> {
        self.organizations.values().map(AsRef::as_ref)
    }

    #[must_use]
    pub fn organization(&self, id: OrganizationId) -> Option<&Organization> {
        self.organizations.get(&id).map(AsRef::as_ref)
    }

    #[must_use]
    pub fn organization_by_name(&self, name: &str) -> Option<&Organization> {
        self.organization(*self.index.organization_by_name.get(&label(name)?)?)
    }

    pub fn sites(&self) -> impl ExactSizeIterator<Item = &Site> {
        self.sites.values().map(AsRef::as_ref)
    }

    #[must_use]
    pub fn site(&self, id: SiteId) -> Option<&Site> {
        self.sites.get(&id).map(AsRef::as_ref)
    }

    pub fn sites_of(&self, organization: OrganizationId) -> impl Iterator<Item = &Site> {
        let ids = seconds(&self.index.sites_of_organization, organization, SiteId(0));
        ids.filter_map(|id| self.site(id))
    }

    /// The site at `org/site`.
    #[must_use]
    pub fn site_by_path(&self, path: &str) -> Option<&Site> {
        let (organization, site) = path.split_once('/')?;
        let organization = self.organization_by_name(organization)?;
        self.site(
            *self
                .index
                .site_by_name
                .get(&(organization.id, label(site)?))?,
        )
    }

    pub fn tokens(&self) -> impl ExactSizeIterator<Item = &Token> {
        self.tokens.values().map(AsRef::as_ref)
    }

    #[must_use]
    pub fn token(&self, id: TokenId) -> Option<&Token> {
        self.tokens.get(&id).map(AsRef::as_ref)
    }

    pub fn nodes(&self) -> impl ExactSizeIterator<Item = &Node> {
        self.nodes.values().map(read)
    }

    #[must_use]
    pub fn node(&self, id: NodeId) -> Option<&Node> {
        self.nodes.get(&id).map(read)
    }

    pub fn nodes_of(&self, site: SiteId) -> impl Iterator<Item = &Node> {
        seconds(&self.index.nodes_of_site, site, NodeId(0)).filter_map(|id| self.node(id))
    }

    /// The node at `org/site/node`.
    #[must_use]
    pub fn node_by_path(&self, path: &str) -> Option<&Node> {
        let (site, node) = path.rsplit_once('/')?;
        let site = self.site_by_path(site)?;
        self.node(*self.index.node_by_name.get(&(site.id, label(node)?))?)
    }

    /// The node with this overlay address, of either family.
    #[must_use]
    pub fn node_by_address(&self, address: std::net::IpAddr) -> Option<&Node> {
        let v4 = match address {
            std::net::IpAddr::V4(v4) => v4,
            std::net::IpAddr::V6(v6) => {
                let pools = &self.settings.pools;
                let offset = u128::from(v6).checked_sub(u128::from(pools.v6.network()))?;
                pools.at(u32::try_from(offset).ok()?)?.v4
            }
        };
        self.node(*self.index.node_by_v4.get(&v4)?)
    }

    /// `org/site/node`; the id of a node that is gone.
    #[must_use]
    pub fn node_path(&self, id: NodeId) -> String {
        let path = self.node(id).and_then(|node| {
            let site = self.site(node.site)?;
            let organization = self.organization(site.organization)?;
            Some(format!("{}/{}/{}", organization.name, site.name, node.name))
        });
        path.unwrap_or_else(|| id.to_string())
    }

    /// `<node>.<site>.<org>`, without the overlay zone.
    #[must_use]
    pub fn node_name(&self, id: NodeId) -> Option<HostName> {
        let node = self.node(id)?;
        let site = self.site(node.site)?;
        let organization = self.organization(site.organization)?;
        format!("{}.{}.{}", node.name, site.name, organization.name)
            .parse()
            .ok()
    }

    #[must_use]
    pub fn lease(&self, node: NodeId) -> Option<&Lease> {
        self.leases.get(&node).map(AsRef::as_ref)
    }

    pub fn retired_addresses(&self) -> impl ExactSizeIterator<Item = &RetiredAddress> {
        self.retired.values()
    }

    pub fn services(&self) -> impl ExactSizeIterator<Item = &Service> {
        self.services.values().map(AsRef::as_ref)
    }

    #[must_use]
    pub fn service(&self, id: ServiceId) -> Option<&Service> {
        self.services.get(&id).map(AsRef::as_ref)
    }

    pub fn services_of(&self, node: NodeId) -> impl Iterator<Item = &Service> {
        seconds(&self.index.services_of_node, node, ServiceId(0)).filter_map(|id| self.service(id))
    }

    #[must_use]
    pub fn service_by_name(&self, node: NodeId, name: &Label) -> Option<&Service> {
        self.service(*self.index.service_by_name.get(&(node, name.clone()))?)
    }

    pub fn routes(&self) -> impl ExactSizeIterator<Item = &Route> {
        self.routes.values().map(AsRef::as_ref)
    }

    #[must_use]
    pub fn route(&self, id: RouteId) -> Option<&Route> {
        self.routes.get(&id).map(AsRef::as_ref)
    }

    /// The routes at one host, paths in order.
    pub fn routes_at(&self, host: &HostName) -> impl Iterator<Item = &Route> {
        self.index.routes_at(host).filter_map(|id| self.route(id))
    }

    /// The routes that lead to a service.
    pub fn routes_to(&self, service: ServiceId) -> impl Iterator<Item = &Route> {
        seconds(&self.index.routes_of_service, service, RouteId(0)).filter_map(|id| self.route(id))
    }

    pub fn grants(&self) -> impl ExactSizeIterator<Item = &Grant> {
        self.grants.values().map(AsRef::as_ref)
    }

    #[must_use]
    pub fn grant(&self, id: GrantId) -> Option<&Grant> {
        self.grants.get(&id).map(AsRef::as_ref)
    }

    pub fn balancers(&self) -> impl ExactSizeIterator<Item = &Balancer> {
        self.balancers.values().map(AsRef::as_ref)
    }

    #[must_use]
    pub fn balancer(&self, id: BalancerId) -> Option<&Balancer> {
        self.balancers.get(&id).map(AsRef::as_ref)
    }

    #[must_use]
    pub fn balancer_by_name(&self, node: NodeId, name: &Label) -> Option<&Balancer> {
        self.balancer(*self.index.balancer_by_name.get(&(node, name.clone()))?)
    }

    /// Those that this node runs.
    pub fn balancers_of(&self, node: NodeId) -> impl Iterator<Item = &Balancer> {
        let ids = seconds(&self.index.balancers_of_node, node, BalancerId(0));
        ids.filter_map(|id| self.balancer(id))
    }

    /// Those that lead to this service.
    pub fn balancers_to(&self, service: ServiceId) -> impl Iterator<Item = &Balancer> {
        let ids = seconds(&self.index.balancers_of_service, service, BalancerId(0));
        ids.filter_map(|id| self.balancer(id))
    }

    /// All public zones, as the DNS server answers from them.
    #[must_use]
    pub fn zones(&self) -> &Zones {
        &self.zones
    }

    #[must_use]
    pub fn zone(&self, origin: &ZoneName) -> Option<&Zone> {
        self.zones.get(origin)
    }

    pub fn operators(&self) -> impl ExactSizeIterator<Item = &Operator> {
        self.operators.values().map(AsRef::as_ref)
    }

    #[must_use]
    pub fn operator(&self, id: OperatorId) -> Option<&Operator> {
        self.operators.get(&id).map(AsRef::as_ref)
    }

    #[must_use]
    pub fn operator_by_name(&self, name: &str) -> Option<&Operator> {
        self.operator(*self.index.operator_by_name.get(&label(name)?)?)
    }

    pub fn api_keys(&self) -> impl ExactSizeIterator<Item = &ApiKey> {
        self.api_keys.values().map(AsRef::as_ref)
    }

    #[must_use]
    pub fn api_key(&self, id: ApiKeyId) -> Option<&ApiKey> {
        self.api_keys.get(&id).map(AsRef::as_ref)
    }

    /// The API key whose secret has this SHA-256.
    #[must_use]
    pub fn api_key_by_hash(&self, hash: &Fingerprint) -> Option<&ApiKey> {
        self.api_key(*self.index.api_key_by_hash.get(hash)?)
    }
}

fn label(text: &str) -> Option<Label> {
    text.parse().ok()
}

fn read(node: &Arc<Node>) -> &Node {
    #[cfg(test)]
    NODES_READ.with(|count| count.set(count.get() + 1));
    node
}

#[cfg(test)]
thread_local! {
    /// How many times a node was looked at: the cost of a change, without a clock.
    pub(crate) static NODES_READ: std::cell::Cell<usize> = const { std::cell::Cell::new(0) };
}
