//! The secondary indexes: by name, key, address, owner and age, so that no command and no netmap scans the world.
//! Each entity adds and removes its own entries; equal entities give equal indexes.

use std::net::Ipv4Addr;

use imbl::{OrdMap, OrdSet};
use malha_proto::{
    ApiKeyId, BalancerId, Fingerprint, GrantId, HostName, Label, NodeId, OperatorId,
    OrganizationId, Port, Profile, RouteId, ServiceId, SiteId, TokenId, WgKey,
};

use crate::model::{
    ApiKey, Balancer, Grant, Node, Operator, Organization, RequestRecord, RetiredAddress, Route,
    Selector, Service, Site, Token,
};
use crate::tags::Tag;

/// All secondary indexes of a state.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Index {
    pub organization_by_name: OrdMap<Label, OrganizationId>,
    pub site_by_name: OrdMap<(OrganizationId, Label), SiteId>,
    pub sites_of_organization: OrdSet<(OrganizationId, SiteId)>,
    pub node_by_name: OrdMap<(SiteId, Label), NodeId>,
    pub node_by_wg_key: OrdMap<WgKey, NodeId>,
    /// Former keys too, as long as they are good.
    pub node_by_tls_key: OrdMap<Fingerprint, NodeId>,
    pub node_by_v4: OrdMap<Ipv4Addr, NodeId>,
    pub nodes_of_site: OrdSet<(SiteId, NodeId)>,
    pub nodes_of_profile: OrdSet<(Profile, NodeId)>,
    pub nodes_of_tag: OrdSet<(Tag, NodeId)>,
    /// Hubs and edges: every other node is their peer.
    pub gateways: OrdSet<NodeId>,
    pub tokens_of_site: OrdSet<(SiteId, TokenId)>,
    pub tokens_by_replaced: OrdSet<(NodeId, TokenId)>,
    pub tokens_by_expiry: OrdSet<(u64, TokenId)>,
    pub service_by_port: OrdMap<(NodeId, Port), ServiceId>,
    pub service_by_name: OrdMap<(NodeId, Label), ServiceId>,
    pub services_of_node: OrdSet<(NodeId, ServiceId)>,
    pub routes_of_service: OrdSet<(ServiceId, RouteId)>,
    /// By host, its labels from the root down so that all hosts of a zone stand together; then by path.
    pub route_by_place: OrdMap<(String, String), RouteId>,
    pub grants_by_pair: OrdSet<(Selector, Selector, GrantId)>,
    /// The same with the target first.
    pub grants_by_target: OrdSet<(Selector, Selector, GrantId)>,
    pub balancer_by_port: OrdMap<(NodeId, Port), BalancerId>,
    pub balancer_by_name: OrdMap<(NodeId, Label), BalancerId>,
    pub balancers_of_node: OrdSet<(NodeId, BalancerId)>,
    pub balancers_of_service: OrdSet<(ServiceId, BalancerId)>,
    pub retired_by_expiry: OrdSet<(u64, u32)>,
    pub requests_by_age: OrdSet<(u64, Fingerprint)>,
    pub operator_by_name: OrdMap<Label, OperatorId>,
    pub api_key_by_name: OrdMap<Label, ApiKeyId>,
    pub api_key_by_hash: OrdMap<Fingerprint, ApiKeyId>,
}

/// An entity that stands in indexes.
pub(crate) trait Indexed {
    fn add_to(&self, index: &mut Index);
    fn remove_from(&self, index: &mut Index);
}

/// `b.a.` for `a.b`: the key of a host in [`Index::route_by_place`].
pub(crate) fn host_key(host: &str) -> String {
    let mut key = String::with_capacity(host.len() + 1);
    for label in host.rsplit('.') {
        key.push_str(label);
        key.push('.');
    }
    key
}

impl Index {
    /// The routes at one host.
    pub(crate) fn routes_at(&self, host: &HostName) -> impl Iterator<Item = RouteId> {
        let key = host_key(host.as_str());
        let start = (key.clone(), String::new());
        self.route_by_place
            .range(start..)
            .take_while(move |((host, _), _)| *host == key)
            .map(|(_, id)| *id)
    }

    /// The routes whose host is `origin` or stands below it, hosts in order.
    pub(crate) fn routes_within(&self, origin: &str) -> impl Iterator<Item = RouteId> {
        let key = host_key(origin);
        let start = (key.clone(), String::new());
        self.route_by_place
            .range(start..)
            .take_while(move |((host, _), _)| host.starts_with(&key))
            .map(|(_, id)| *id)
    }
}

/// The second halves of all pairs that start with `first`; `least` is the least second half there is.
pub(crate) fn seconds<A: Copy + Ord, B: Copy + Ord>(
    set: &OrdSet<(A, B)>,
    first: A,
    least: B,
) -> impl Iterator<Item = B> {
    set.range((first, least)..)
        .take_while(move |(a, _)| *a == first)
        .map(|(_, b)| *b)
}

impl Indexed for Organization {
    fn add_to(&self, index: &mut Index) {
        index
            .organization_by_name
            .insert(self.name.clone(), self.id);
    }

    fn remove_from(&self, index: &mut Index) {
        index.organization_by_name.remove(&self.name);
    }
}

impl Indexed for Site {
    fn add_to(&self, index: &mut Index) {
        index
            .site_by_name
            .insert((self.organization, self.name.clone()), self.id);
        index
            .sites_of_organization
            .insert((self.organization, self.id));
    }

    fn remove_from(&self, index: &mut Index) {
        index
            .site_by_name
            .remove(&(self.organization, self.name.clone()));
        index
            .sites_of_organization
            .remove(&(self.organization, self.id));
    }
}

impl Indexed for Node {
    fn add_to(&self, index: &mut Index) {
        index
            .node_by_name
            .insert((self.site, self.name.clone()), self.id);
        index.node_by_wg_key.insert(self.wg_key, self.id);
        for key in self.tls_keys() {
            index.node_by_tls_key.insert(*key, self.id);
        }
        index.node_by_v4.insert(self.addresses.v4, self.id);
        index.nodes_of_site.insert((self.site, self.id));
        index.nodes_of_profile.insert((self.profile, self.id));
        for tag in &self.tags {
            index.nodes_of_tag.insert((*tag, self.id));
        }
        if self.is_gateway() {
            index.gateways.insert(self.id);
        }
    }

    fn remove_from(&self, index: &mut Index) {
        index.node_by_name.remove(&(self.site, self.name.clone()));
        index.node_by_wg_key.remove(&self.wg_key);
        for key in self.tls_keys() {
            index.node_by_tls_key.remove(key);
        }
        index.node_by_v4.remove(&self.addresses.v4);
        index.nodes_of_site.remove(&(self.site, self.id));
        index.nodes_of_profile.remove(&(self.profile, self.id));
        for tag in &self.tags {
            index.nodes_of_tag.remove(&(*tag, self.id));
        }
        index.gateways.remove(&self.id);
    }
}

impl Indexed for Token {
    fn add_to(&self, index: &mut Index) {
        index.tokens_of_site.insert((self.site, self.id));
        index.tokens_by_expiry.insert((self.expires_ms, self.id));
        if let Some(node) = self.replaces {
            index.tokens_by_replaced.insert((node, self.id));
        }
    }

    fn remove_from(&self, index: &mut Index) {
        index.tokens_of_site.remove(&(self.site, self.id));
        index.tokens_by_expiry.remove(&(self.expires_ms, self.id));
        if let Some(node) = self.replaces {
            index.tokens_by_replaced.remove(&(node, self.id));
        }
    }
}

impl Indexed for Service {
    fn add_to(&self, index: &mut Index) {
        index
            .service_by_port
            .insert((self.node, self.port), self.id);
        index
            .service_by_name
            .insert((self.node, self.name.clone()), self.id);
        index.services_of_node.insert((self.node, self.id));
    }

    fn remove_from(&self, index: &mut Index) {
        index.service_by_port.remove(&(self.node, self.port));
        index
            .service_by_name
            .remove(&(self.node, self.name.clone()));
        index.services_of_node.remove(&(self.node, self.id));
    }
}

impl Indexed for Route {
    fn add_to(&self, index: &mut Index) {
        index
            .route_by_place
            .insert((host_key(self.host.as_str()), self.path.clone()), self.id);
        for service in &self.services {
            index.routes_of_service.insert((*service, self.id));
        }
    }

    fn remove_from(&self, index: &mut Index) {
        index
            .route_by_place
            .remove(&(host_key(self.host.as_str()), self.path.clone()));
        for service in &self.services {
            index.routes_of_service.remove(&(*service, self.id));
        }
    }
}

impl Indexed for Grant {
    fn add_to(&self, index: &mut Index) {
        index.grants_by_pair.insert((self.from, self.to, self.id));
        index.grants_by_target.insert((self.to, self.from, self.id));
    }

    fn remove_from(&self, index: &mut Index) {
        index.grants_by_pair.remove(&(self.from, self.to, self.id));
        index
            .grants_by_target
            .remove(&(self.to, self.from, self.id));
    }
}

impl Indexed for Balancer {
    fn add_to(&self, index: &mut Index) {
        index
            .balancer_by_port
            .insert((self.node, self.port), self.id);
        index
            .balancer_by_name
            .insert((self.node, self.name.clone()), self.id);
        index.balancers_of_node.insert((self.node, self.id));
        for service in self.backends.keys() {
            index.balancers_of_service.insert((*service, self.id));
        }
    }

    fn remove_from(&self, index: &mut Index) {
        index.balancer_by_port.remove(&(self.node, self.port));
        index
            .balancer_by_name
            .remove(&(self.node, self.name.clone()));
        index.balancers_of_node.remove(&(self.node, self.id));
        for service in self.backends.keys() {
            index.balancers_of_service.remove(&(*service, self.id));
        }
    }
}

impl Indexed for RetiredAddress {
    fn add_to(&self, index: &mut Index) {
        index.retired_by_expiry.insert((self.until_ms, self.offset));
    }

    fn remove_from(&self, index: &mut Index) {
        index
            .retired_by_expiry
            .remove(&(self.until_ms, self.offset));
    }
}

impl Indexed for RequestRecord {
    fn add_to(&self, index: &mut Index) {
        index.requests_by_age.insert((self.created_ms, self.key));
    }

    fn remove_from(&self, index: &mut Index) {
        index.requests_by_age.remove(&(self.created_ms, self.key));
    }
}

impl Indexed for Operator {
    fn add_to(&self, index: &mut Index) {
        index.operator_by_name.insert(self.name.clone(), self.id);
    }

    fn remove_from(&self, index: &mut Index) {
        index.operator_by_name.remove(&self.name);
    }
}

impl Indexed for ApiKey {
    fn add_to(&self, index: &mut Index) {
        index.api_key_by_name.insert(self.name.clone(), self.id);
        index.api_key_by_hash.insert(self.secret_hash, self.id);
    }

    fn remove_from(&self, index: &mut Index) {
        index.api_key_by_name.remove(&self.name);
        index.api_key_by_hash.remove(&self.secret_hash);
    }
}
