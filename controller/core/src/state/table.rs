//! Entities in and out of a state by their keys, each with its index entries. Zones go their own way: a zone is one value
//! with its record sets.

use std::sync::Arc;

use imbl::OrdMap;

use crate::change::{Entity, EntityKey};
use crate::model::{RecordSource, ZoneHead};
use crate::profile::ProfileSpec;
use crate::state::State;
use crate::state::index::{Index, Indexed};

impl State {
    /// The entity with this key as it would be stored.
    pub(crate) fn entity(&self, key: &EntityKey) -> Option<Entity> {
        match key {
            EntityKey::Settings => Some(Entity::Settings((*self.settings).clone())),
            EntityKey::Organization(id) => find(&self.organizations, id),
            EntityKey::Site(id) => find(&self.sites, id),
            EntityKey::Token(id) => find(&self.tokens, id),
            EntityKey::Node(id) => find(&self.nodes, id),
            EntityKey::Lease(id) => find(&self.leases, id),
            EntityKey::RetiredAddress(offset) => {
                self.retired.get(offset).cloned().map(Entity::from)
            }
            EntityKey::Service(id) => find(&self.services, id),
            EntityKey::Route(id) => find(&self.routes, id),
            EntityKey::Grant(id) => {
                find(&self.grants, id).filter(|_| self.grants[id].origin.is_operator())
            }
            EntityKey::Zone(origin) => self
                .zones
                .get(origin)
                .map(|zone| Entity::Zone(ZoneHead::of(zone))),
            EntityKey::RecordSet { zone, name, rtype } => {
                let set = self.zones.get(zone)?.set(name, *rtype)?;
                let stored = set.source() == RecordSource::Operator;
                stored.then(|| Entity::RecordSet {
                    zone: zone.clone(),
                    set: set.clone(),
                })
            }
            EntityKey::Operator(id) => find(&self.operators, id),
            EntityKey::ApiKey(id) => find(&self.api_keys, id),
            EntityKey::Request(key) => find(&self.requests, key),
            EntityKey::Policy => self.policy.as_deref().cloned().map(Entity::from),
            EntityKey::PolicyVersion(version) => find(&self.policy_versions, version),
            EntityKey::Balancer(id) => find(&self.balancers, id),
            EntityKey::Profile(profile) => find(&self.profiles, profile),
            EntityKey::Proposal(number) => find(&self.proposals, number),
            EntityKey::Declaration(id) => find(&self.declarations, id),
        }
    }

    /// Every entity, as a store would hold it: for the first write and for comparing.
    pub fn entities(&self) -> impl Iterator<Item = Entity> {
        std::iter::once(Entity::Settings((*self.settings).clone()))
            .chain(all(&self.organizations))
            .chain(all(&self.sites))
            .chain(all(&self.tokens))
            .chain(all(&self.nodes))
            .chain(all(&self.leases))
            .chain(self.retired.values().cloned().map(Entity::from))
            .chain(all(&self.services))
            .chain(all(&self.routes))
            .chain(
                self.grants
                    .values()
                    .filter(|grant| grant.origin.is_operator())
                    .map(|grant| Entity::from((**grant).clone())),
            )
            .chain(self.zones.iter().flat_map(|zone| {
                let sets = zone
                    .sets()
                    .filter(|set| set.source() == RecordSource::Operator);
                let sets = sets.map(|set| Entity::RecordSet {
                    zone: zone.origin().clone(),
                    set: set.clone(),
                });
                std::iter::once(Entity::Zone(ZoneHead::of(zone))).chain(sets)
            }))
            .chain(all(&self.operators))
            .chain(all(&self.api_keys))
            .chain(all(&self.requests))
            .chain(self.policy.as_deref().cloned().map(Entity::from))
            .chain(all(&self.policy_versions))
            .chain(all(&self.balancers))
            .chain(all(&self.profiles))
            .chain(all(&self.proposals))
            .chain(all(&self.declarations))
    }

    /// Puts an entity in the place of the one with its key. Zones and record sets are put as whole zones instead.
    pub(crate) fn put(&mut self, entity: Entity) {
        let index = &mut self.index;
        match entity {
            Entity::Settings(it) => self.settings = Arc::new(it),
            Entity::Organization(it) => put(&mut self.organizations, index, it.id, it),
            Entity::Site(it) => put(&mut self.sites, index, it.id, it),
            Entity::Token(it) => put(&mut self.tokens, index, it.id, it),
            Entity::Node(it) => put(&mut self.nodes, index, it.id, it),
            Entity::Lease(it) => {
                self.leases.insert(it.node, Arc::new(it));
            }
            Entity::RetiredAddress(it) => {
                if let Some(former) = self.retired.get(&it.offset) {
                    former.remove_from(index);
                }
                it.add_to(index);
                self.retired.insert(it.offset, it);
            }
            Entity::Service(it) => put(&mut self.services, index, it.id, it),
            Entity::Route(it) => put(&mut self.routes, index, it.id, it),
            Entity::Grant(it) => put(&mut self.grants, index, it.id, it),
            Entity::Operator(it) => put(&mut self.operators, index, it.id, it),
            Entity::ApiKey(it) => put(&mut self.api_keys, index, it.id, it),
            Entity::Request(it) => put(&mut self.requests, index, it.key, it),
            Entity::Policy(it) => self.policy = Some(Arc::new(it)),
            Entity::PolicyVersion(it) => {
                self.policy_versions.insert(it.version, Arc::new(it));
            }
            Entity::Balancer(it) => put(&mut self.balancers, index, it.id, it),
            Entity::Profile(it) => {
                match ProfileSpec::parse(&it.text) {
                    Ok(spec) => self.profile_specs.insert(it.profile, Arc::new(spec)),
                    Err(error) => unreachable!("a text is parsed before it is put: {error}"),
                };
                self.profiles.insert(it.profile, Arc::new(it));
            }
            Entity::Proposal(it) => {
                self.proposals.insert(it.number, Arc::new(it));
            }
            Entity::Declaration(it) => {
                self.declarations.insert(it.organization, Arc::new(it));
            }
            Entity::Zone(_) | Entity::RecordSet { .. } => {}
        }
    }

    /// Removes what stands under `key`.
    pub(crate) fn delete(&mut self, key: &EntityKey) {
        let index = &mut self.index;
        match key {
            EntityKey::Organization(id) => delete(&mut self.organizations, index, id),
            EntityKey::Site(id) => delete(&mut self.sites, index, id),
            EntityKey::Token(id) => delete(&mut self.tokens, index, id),
            EntityKey::Node(id) => delete(&mut self.nodes, index, id),
            EntityKey::Lease(id) => {
                self.leases.remove(id);
            }
            EntityKey::RetiredAddress(offset) => {
                if let Some(former) = self.retired.remove(offset) {
                    former.remove_from(index);
                }
            }
            EntityKey::Service(id) => delete(&mut self.services, index, id),
            EntityKey::Route(id) => delete(&mut self.routes, index, id),
            EntityKey::Grant(id) => delete(&mut self.grants, index, id),
            EntityKey::Zone(origin) => self.zones = self.zones.without(origin),
            EntityKey::Operator(id) => delete(&mut self.operators, index, id),
            EntityKey::ApiKey(id) => delete(&mut self.api_keys, index, id),
            EntityKey::Request(key) => delete(&mut self.requests, index, key),
            EntityKey::Policy => self.policy = None,
            EntityKey::PolicyVersion(version) => {
                self.policy_versions.remove(version);
            }
            EntityKey::Balancer(id) => delete(&mut self.balancers, index, id),
            EntityKey::Profile(profile) => {
                self.profile_specs.remove(profile);
                self.profiles.remove(profile);
            }
            EntityKey::Proposal(number) => {
                self.proposals.remove(number);
            }
            EntityKey::Declaration(id) => {
                self.declarations.remove(id);
            }
            EntityKey::Settings | EntityKey::RecordSet { .. } => {}
        }
    }
}

fn find<K: Ord, V: Clone>(table: &OrdMap<K, Arc<V>>, key: &K) -> Option<Entity>
where
    Entity: From<V>,
{
    table.get(key).map(|it| Entity::from((**it).clone()))
}

fn all<K: Ord, V: Clone>(table: &OrdMap<K, Arc<V>>) -> impl Iterator<Item = Entity>
where
    Entity: From<V>,
{
    table.values().map(|it| Entity::from((**it).clone()))
}

/// The former entry leaves the indexes before the new one enters: they may share a place.
fn put<K: Ord + Clone, V: Indexed>(
    table: &mut OrdMap<K, Arc<V>>,
    index: &mut Index,
    key: K,
    it: V,
) {
    if let Some(former) = table.get(&key) {
        former.remove_from(index);
    }
    it.add_to(index);
    table.insert(key, Arc::new(it));
}

fn delete<K: Ord + Clone, V: Indexed>(table: &mut OrdMap<K, Arc<V>>, index: &mut Index, key: &K) {
    if let Some(former) = table.remove(key) {
        former.remove_from(index);
    }
}
