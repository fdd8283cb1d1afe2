//! The state as an immutable value: entities, the indexes over them, and the questions that readers ask. It is changed
//! only through [`State::apply`]; a clone costs a few reference counts.

mod index;
mod read;
mod table;

use std::sync::Arc;

use imbl::OrdMap;
use malha_proto::{
    ApiKeyId, BalancerId, Fingerprint, GrantId, NodeId, OperatorId, OrganizationId, Profile,
    Revision, RouteId, ServiceId, SiteId, TokenId,
};
use malha_zone::Zones;

use crate::declaration::Declaration;
use crate::model::{
    ApiKey, Balancer, Grant, Lease, Node, Operator, Organization, RequestRecord, RetiredAddress,
    Route, Service, Settings, Site, Token,
};

use crate::policy::{PolicyInForce, PolicyVersion, Proposal, Rules};
use crate::profile::{EditedProfile, ProfileSpec};

pub(crate) use index::{Index, host_key, seconds};
#[cfg(test)]
pub(crate) use read::NODES_READ;

/// Everything the controller knows, at one revision. Equal states hold equal entities.
#[derive(Clone, Debug, PartialEq)]
pub struct State {
    pub(crate) revision: Revision,
    pub(crate) settings: Arc<Settings>,
    pub(crate) organizations: OrdMap<OrganizationId, Arc<Organization>>,
    pub(crate) sites: OrdMap<SiteId, Arc<Site>>,
    pub(crate) tokens: OrdMap<TokenId, Arc<Token>>,
    pub(crate) nodes: OrdMap<NodeId, Arc<Node>>,
    pub(crate) leases: OrdMap<NodeId, Arc<Lease>>,
    pub(crate) retired: OrdMap<u32, RetiredAddress>,
    pub(crate) services: OrdMap<ServiceId, Arc<Service>>,
    pub(crate) routes: OrdMap<RouteId, Arc<Route>>,
    pub(crate) grants: OrdMap<GrantId, Arc<Grant>>,
    pub(crate) zones: Zones,
    pub(crate) operators: OrdMap<OperatorId, Arc<Operator>>,
    pub(crate) api_keys: OrdMap<ApiKeyId, Arc<ApiKey>>,
    pub(crate) requests: OrdMap<Fingerprint, Arc<RequestRecord>>,
    /// What is in force, once a policy was applied.
    pub(crate) policy: Option<Arc<PolicyInForce>>,
    pub(crate) policy_versions: OrdMap<u64, Arc<PolicyVersion>>,
    /// What follows from the two.
    pub(crate) rules: Option<Arc<Rules>>,
    /// This state under the policy that an unconfirmed one replaced: what nodes return to by themselves.
    pub(crate) former: Option<Arc<State>>,
    pub(crate) balancers: OrdMap<BalancerId, Arc<Balancer>>,
    /// Texts in the place of shipped ones, and what they say.
    pub(crate) profiles: OrdMap<Profile, Arc<EditedProfile>>,
    pub(crate) profile_specs: OrdMap<Profile, Arc<ProfileSpec>>,
    /// Changes of the policy that wait for a second operator.
    pub(crate) proposals: OrdMap<u64, Arc<Proposal>>,
    pub(crate) declarations: OrdMap<OrganizationId, Arc<Declaration>>,
    pub(crate) index: Index,
}

impl State {
    /// A state with nothing but its settings, before the first change.
    #[must_use]
    pub fn new(settings: Settings) -> Self {
        Self {
            revision: Revision::default(),
            settings: Arc::new(settings),
            organizations: OrdMap::new(),
            sites: OrdMap::new(),
            tokens: OrdMap::new(),
            nodes: OrdMap::new(),
            leases: OrdMap::new(),
            retired: OrdMap::new(),
            services: OrdMap::new(),
            routes: OrdMap::new(),
            grants: OrdMap::new(),
            zones: Zones::new(),
            operators: OrdMap::new(),
            api_keys: OrdMap::new(),
            requests: OrdMap::new(),
            policy: None,
            policy_versions: OrdMap::new(),
            rules: None,
            former: None,
            balancers: OrdMap::new(),
            profiles: OrdMap::new(),
            profile_specs: OrdMap::new(),
            proposals: OrdMap::new(),
            declarations: OrdMap::new(),
            index: Index::default(),
        }
    }

    /// The number of the last change.
    #[must_use]
    pub fn revision(&self) -> Revision {
        self.revision
    }

    #[must_use]
    pub fn settings(&self) -> &Settings {
        &self.settings
    }
}
