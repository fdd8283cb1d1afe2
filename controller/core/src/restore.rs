//! A state out of stored entities, in any order. What refers to nothing, or stands twice where one may stand, is refused by
//! name: a half-read state is worse than none.

use std::collections::BTreeMap;

use malha_proto::Revision;
use malha_zone::{RecordSet, Zone, ZoneName};
use thiserror::Error;

use crate::change::{Entity, EntityKey};
use crate::model::{
    ApiKey, Balancer, Grant, Node, RecordSource, Route, Selector, Service, Settings, Site, Token,
    ZoneHead,
};
use crate::profile::{EditedProfile, ProfileSpec};
use crate::state::{State, host_key};
use crate::zones::with_managed;

/// Why stored entities are not a state. The store holds what no command could have made.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum RestoreError {
    #[error("the settings record is missing: is this an initialized store?")]
    NoSettings,
    #[error("record {record} stands twice")]
    Twice { record: String },
    #[error("record {record} refers to {missing}, which does not exist")]
    Dangling { record: String, missing: String },
    #[error("record {record} has the same {what} as another record")]
    Clash { record: String, what: &'static str },
    #[error("record {record} can't stand: {problem}")]
    Invalid { record: String, problem: String },
}

impl State {
    /// The state that these entities are. `revision` is the one the store had with them.
    pub fn restore(
        revision: Revision,
        entities: impl IntoIterator<Item = Entity>,
    ) -> Result<Self, RestoreError> {
        let mut by_key = BTreeMap::new();
        for entity in entities {
            let key = entity.key();
            if by_key.contains_key(&key) {
                return Err(RestoreError::Twice {
                    record: key.record_key(),
                });
            }
            by_key.insert(key, entity);
        }
        let Some(Entity::Settings(settings)) = by_key.remove(&EntityKey::Settings) else {
            return Err(RestoreError::NoSettings);
        };
        let mut builder = Builder {
            state: Self::new(settings),
            sets: BTreeMap::new(),
            heads: Vec::new(),
        };
        builder.state.revision = revision;
        // The order of keys is the order of dependence: what is referred to comes first.
        for (key, entity) in by_key {
            key.check_id(&builder.state.settings)?;
            builder.add(&key.record_key(), entity)?;
        }
        builder.finish()
    }
}

struct Builder {
    state: State,
    heads: Vec<ZoneHead>,
    sets: BTreeMap<ZoneName, Vec<RecordSet>>,
}

impl Builder {
    fn add(&mut self, record: &str, entity: Entity) -> Result<(), RestoreError> {
        let state = &self.state;
        let index = &state.index;
        match &entity {
            Entity::Settings(_)
            | Entity::RetiredAddress(_)
            | Entity::Request(_)
            | Entity::Policy(_)
            | Entity::PolicyVersion(_)
            | Entity::Proposal(_) => {}
            Entity::Profile(it) => check_profile(record, it)?,
            Entity::Organization(it) => {
                let is_free = !index.organization_by_name.contains_key(&it.name);
                unique(record, "name", is_free)?;
            }
            Entity::Site(it) => self.check_site(record, it)?,
            Entity::Token(it) => exists(record, it.site, state.site(it.site))?,
            Entity::Node(it) => self.check_node(record, it)?,
            Entity::Lease(it) => exists(record, it.node, state.node(it.node))?,
            Entity::Service(it) => self.check_service(record, it)?,
            Entity::Route(it) => self.check_route(record, it)?,
            Entity::Grant(it) => self.check_grant(record, it)?,
            Entity::Balancer(it) => self.check_balancer(record, it)?,
            Entity::Declaration(it) => {
                exists(record, it.organization, state.organization(it.organization))?;
            }
            Entity::Zone(head) => {
                self.heads.push(head.clone());
                return Ok(());
            }
            Entity::RecordSet { zone, set } => {
                check_source(record, set)?;
                self.sets.entry(zone.clone()).or_default().push(set.clone());
                return Ok(());
            }
            Entity::Operator(it) => {
                let is_free = !index.operator_by_name.contains_key(&it.name);
                unique(record, "name", is_free)?;
            }
            Entity::ApiKey(it) => self.check_api_key(record, it)?,
        }
        self.state.put(entity);
        Ok(())
    }

    fn check_site(&self, record: &str, site: &Site) -> Result<(), RestoreError> {
        let organization = self.state.organization(site.organization);
        exists(record, site.organization, organization)?;
        let name = (site.organization, site.name.clone());
        let is_free = !self.state.index.site_by_name.contains_key(&name);
        unique(record, "name", is_free)
    }

    fn check_api_key(&self, record: &str, key: &ApiKey) -> Result<(), RestoreError> {
        let index = &self.state.index;
        if let Some(id) = key.operator {
            exists(record, id, self.state.operator(id))?;
        }
        let is_free = !index.api_key_by_name.contains_key(&key.name);
        unique(record, "name", is_free)?;
        let is_free = !index.api_key_by_hash.contains_key(&key.secret_hash);
        unique(record, "secret", is_free)
    }

    fn check_node(&self, record: &str, node: &Node) -> Result<(), RestoreError> {
        let index = &self.state.index;
        exists(record, node.site, self.state.site(node.site))?;
        unique(
            record,
            "name",
            !index
                .node_by_name
                .contains_key(&(node.site, node.name.clone())),
        )?;
        unique(
            record,
            "WireGuard key",
            !index.node_by_wg_key.contains_key(&node.wg_key),
        )?;
        unique(
            record,
            "TLS key",
            !node
                .tls_keys()
                .any(|key| index.node_by_tls_key.contains_key(key)),
        )?;
        unique(
            record,
            "address",
            !index.node_by_v4.contains_key(&node.addresses.v4),
        )?;
        if self.state.settings.pools.offset(&node.addresses).is_none() {
            let problem = format!(
                "its addresses {} and {} are no pair of the pools",
                node.addresses.v4, node.addresses.v6
            );
            return Err(RestoreError::Invalid {
                record: record.to_owned(),
                problem,
            });
        }
        Ok(())
    }

    fn check_service(&self, record: &str, it: &Service) -> Result<(), RestoreError> {
        exists(record, it.node, self.state.node(it.node))?;
        unique(
            record,
            "port",
            !self
                .state
                .index
                .service_by_port
                .contains_key(&(it.node, it.port)),
        )?;
        unique(
            record,
            "name",
            !self
                .state
                .index
                .service_by_name
                .contains_key(&(it.node, it.name.clone())),
        )
    }

    fn check_route(&self, record: &str, route: &Route) -> Result<(), RestoreError> {
        for service in &route.services {
            exists(record, service, self.state.service(*service))?;
        }
        let place = (host_key(route.host.as_str()), route.path.clone());
        unique(
            record,
            "host and path",
            !self.state.index.route_by_place.contains_key(&place),
        )
    }

    fn check_grant(&self, record: &str, grant: &Grant) -> Result<(), RestoreError> {
        for side in [grant.from, grant.to] {
            match side {
                Selector::Organization(id) => exists(record, id, self.state.organization(id))?,
                Selector::Site(id) => exists(record, id, self.state.site(id))?,
                Selector::Node(id) => exists(record, id, self.state.node(id))?,
                Selector::Profile(_) | Selector::Tag(_) => {}
            }
        }
        Ok(())
    }

    fn check_balancer(&self, record: &str, it: &Balancer) -> Result<(), RestoreError> {
        exists(record, it.node, self.state.node(it.node))?;
        for service in it.backends.keys() {
            exists(record, service, self.state.service(*service))?;
        }
        let index = &self.state.index;
        let port = (it.node, it.port);
        let is_free = !index.service_by_port.contains_key(&port)
            && !index.balancer_by_port.contains_key(&port);
        unique(record, "port", is_free)?;
        let name = (it.node, it.name.clone());
        unique(record, "name", !index.balancer_by_name.contains_key(&name))
    }

    fn finish(mut self) -> Result<State, RestoreError> {
        for token in self.state.tokens() {
            self.check_token(token)?;
        }
        for head in std::mem::take(&mut self.heads) {
            let record = EntityKey::Zone(head.origin.clone()).record_key();
            let sets = self.sets.remove(&head.origin).unwrap_or_default();
            let zone =
                Zone::restore(head.origin, head.soa, head.serial, sets).map_err(|error| {
                    RestoreError::Invalid {
                        record,
                        problem: error.to_string(),
                    }
                })?;
            self.state.zones = self.state.zones.with(zone);
        }
        if let Some((zone, sets)) = self.sets.into_iter().next() {
            let name = sets
                .first()
                .map(|set| format!("{} {}", set.name(), set.rtype()))
                .unwrap_or_default();
            return Err(RestoreError::Dangling {
                record: format!("record set {name}"),
                missing: format!("zone {zone}"),
            });
        }
        let zones: Vec<Zone> = self.state.zones.iter().cloned().collect();
        for zone in zones {
            let record = EntityKey::Zone(zone.origin().clone()).record_key();
            let zone = with_managed(&self.state, &zone).map_err(|error| RestoreError::Invalid {
                record,
                problem: error.to_string(),
            })?;
            self.state.zones = self.state.zones.with(zone);
        }
        self.state
            .enforce_policy()
            .map_err(|error| RestoreError::Invalid {
                record: EntityKey::Policy.record_key(),
                problem: error.to_string(),
            })?;
        Ok(self.state)
    }

    /// A revoked token may outlive the node that it would have replaced.
    fn check_token(&self, token: &Token) -> Result<(), RestoreError> {
        match token.replaces.filter(|_| !token.revoked) {
            Some(node) => exists(
                &EntityKey::Token(token.id).record_key(),
                node,
                self.state.node(node),
            ),
            None => Ok(()),
        }
    }
}

impl EntityKey {
    /// A number that is still to be given would name two things.
    fn check_id(&self, settings: &Settings) -> Result<(), RestoreError> {
        let id = match self {
            Self::Organization(id) => id.0,
            Self::Site(id) => id.0,
            Self::Token(id) => id.0,
            Self::Node(id) => id.0,
            Self::Service(id) => id.0,
            Self::Route(id) => id.0,
            Self::Grant(id) => id.0,
            Self::Balancer(id) => id.0,
            Self::Operator(id) => id.0,
            Self::ApiKey(id) => id.0,
            Self::Proposal(number) => *number,
            _ => return Ok(()),
        };
        if id < settings.next_id {
            return Ok(());
        }
        let problem = format!(
            "its number was not given yet: the next one is {}",
            settings.next_id
        );
        Err(RestoreError::Invalid {
            record: self.record_key(),
            problem,
        })
    }
}

/// Sets of routes follow from the routes.
fn check_source(record: &str, set: &RecordSet) -> Result<(), RestoreError> {
    if set.source() == RecordSource::Operator {
        return Ok(());
    }
    Err(RestoreError::Invalid {
        record: record.to_owned(),
        problem: "sets of routes are not stored".to_owned(),
    })
}

fn check_profile(record: &str, it: &EditedProfile) -> Result<(), RestoreError> {
    let problem = match ProfileSpec::parse(&it.text) {
        Ok(spec) if spec.name == it.profile => return Ok(()),
        Ok(_) => "its text is of another profile".to_owned(),
        Err(error) => error.to_string(),
    };
    Err(RestoreError::Invalid {
        record: record.to_owned(),
        problem,
    })
}

fn exists<T>(record: &str, name: impl ToString, it: Option<T>) -> Result<(), RestoreError> {
    match it {
        Some(_) => Ok(()),
        None => Err(RestoreError::Dangling {
            record: record.to_owned(),
            missing: name.to_string(),
        }),
    }
}

fn unique(record: &str, what: &'static str, free: bool) -> Result<(), RestoreError> {
    if free {
        Ok(())
    } else {
        Err(RestoreError::Clash {
            record: record.to_owned(),
            what,
        })
    }
}

#[cfg(test)]
mod tests;
