//! What a command did to the state: entities put and entities deleted, each one record of the store.

use malha_proto::{
    ApiKeyId, BalancerId, Fingerprint, GrantId, NodeId, OperatorId, OrganizationId, Profile,
    RouteId, ServiceId, SiteId, TokenId,
};
use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::declaration::Declaration;
use crate::model::{
    ApiKey, Balancer, Grant, Lease, Node, Operator, Organization, RequestRecord, RetiredAddress,
    Route, Service, Settings, Site, Token, ZoneHead,
};
use crate::policy::{PolicyInForce, PolicyVersion, Proposal, profile_name};
use crate::profile::EditedProfile;

/// One step from a state to the next.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(
    clippy::large_enum_variant,
    reason = "few exist at a time, each on its way to the store"
)]
pub enum Change {
    Put(Entity),
    Delete(EntityKey),
}

/// Anything that is stored under a key of its own.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Entity {
    Settings(Settings),
    Organization(Organization),
    Site(Site),
    Token(Token),
    Node(Node),
    Lease(Lease),
    RetiredAddress(RetiredAddress),
    Service(Service),
    Route(Route),
    Grant(Grant),
    Zone(ZoneHead),
    /// An operator's record set. Those of routes are not stored: they follow from routes and edge addresses.
    RecordSet {
        zone: malha_zone::ZoneName,
        set: malha_zone::RecordSet,
    },
    Operator(Operator),
    ApiKey(ApiKey),
    Request(RequestRecord),
    /// Which policy is in force.
    Policy(PolicyInForce),
    /// A policy's text, in force now or before.
    PolicyVersion(PolicyVersion),
    Balancer(Balancer),
    Profile(EditedProfile),
    /// A change of the policy that waits for a second operator.
    Proposal(Proposal),
    Declaration(Declaration),
}

/// Names one entity.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum EntityKey {
    Settings,
    Organization(OrganizationId),
    Site(SiteId),
    Token(TokenId),
    Node(NodeId),
    Lease(NodeId),
    RetiredAddress(u32),
    Service(ServiceId),
    Route(RouteId),
    Grant(GrantId),
    Zone(malha_zone::ZoneName),
    RecordSet {
        zone: malha_zone::ZoneName,
        name: malha_zone::RecordName,
        rtype: malha_zone::RecordType,
    },
    Operator(OperatorId),
    ApiKey(ApiKeyId),
    Request(Fingerprint),
    Policy,
    PolicyVersion(u64),
    Balancer(BalancerId),
    Profile(Profile),
    Proposal(u64),
    Declaration(OrganizationId),
}

/// Why a stored record is not an entity. The record is damaged, or of a newer version.
#[derive(Debug, Error)]
pub enum DecodeError {
    #[error("the record is empty")]
    Empty,
    #[error("the record has version {0}, this program knows up to {RECORD_VERSION}; update malha")]
    Version(u8),
    #[error("the record can't be read: {0}")]
    Content(#[from] serde_json::Error),
    #[error("the record belongs under {0}")]
    OtherKey(String),
}

impl Change {
    /// The store's record: its key, and its value unless it is deleted.
    #[must_use]
    pub fn record(&self) -> (String, Option<Vec<u8>>) {
        match self {
            Self::Put(entity) => (entity.key().record_key(), Some(entity.encode())),
            Self::Delete(key) => (key.record_key(), None),
        }
    }
}

impl Entity {
    /// What names this entity.
    #[must_use]
    pub fn key(&self) -> EntityKey {
        match self {
            Self::Settings(_) => EntityKey::Settings,
            Self::Organization(it) => EntityKey::Organization(it.id),
            Self::Site(it) => EntityKey::Site(it.id),
            Self::Token(it) => EntityKey::Token(it.id),
            Self::Node(it) => EntityKey::Node(it.id),
            Self::Lease(it) => EntityKey::Lease(it.node),
            Self::RetiredAddress(it) => EntityKey::RetiredAddress(it.offset),
            Self::Service(it) => EntityKey::Service(it.id),
            Self::Route(it) => EntityKey::Route(it.id),
            Self::Grant(it) => EntityKey::Grant(it.id),
            Self::Zone(it) => EntityKey::Zone(it.origin.clone()),
            Self::RecordSet { zone, set } => EntityKey::RecordSet {
                zone: zone.clone(),
                name: set.name().clone(),
                rtype: set.rtype(),
            },
            Self::Operator(it) => EntityKey::Operator(it.id),
            Self::ApiKey(it) => EntityKey::ApiKey(it.id),
            Self::Request(it) => EntityKey::Request(it.key),
            Self::Policy(_) => EntityKey::Policy,
            Self::PolicyVersion(it) => EntityKey::PolicyVersion(it.version),
            Self::Balancer(it) => EntityKey::Balancer(it.id),
            Self::Profile(it) => EntityKey::Profile(it.profile),
            Self::Proposal(it) => EntityKey::Proposal(it.number),
            Self::Declaration(it) => EntityKey::Declaration(it.organization),
        }
    }

    /// Reads what [`Change::record`] wrote, and checks that it stands under the right key.
    pub fn decode(key: &str, value: &[u8]) -> Result<Self, DecodeError> {
        let (version, content) = value.split_first().ok_or(DecodeError::Empty)?;
        if *version != RECORD_VERSION {
            return Err(DecodeError::Version(*version));
        }
        let entity: Self = serde_json::from_slice(content)?;
        let right = entity.key().record_key();
        if right == key {
            Ok(entity)
        } else {
            Err(DecodeError::OtherKey(right))
        }
    }

    fn encode(&self) -> Vec<u8> {
        let mut value = vec![RECORD_VERSION];
        match serde_json::to_writer(&mut value, self) {
            Ok(()) => value,
            Err(impossible) => {
                unreachable!("entities have string keys and a Vec takes every write: {impossible}")
            }
        }
    }
}

impl EntityKey {
    /// The key in the store. Numbers are padded, so that the store's order is theirs.
    #[must_use]
    pub fn record_key(&self) -> String {
        let numbered = |kind: &str, id: u64| format!("{RECORD_PREFIX}{kind}/{id:020}");
        match self {
            Self::Settings => format!("{RECORD_PREFIX}settings"),
            Self::Organization(id) => numbered("organization", id.0),
            Self::Site(id) => numbered("site", id.0),
            Self::Token(id) => numbered("token", id.0),
            Self::Node(id) => numbered("node", id.0),
            Self::Lease(id) => numbered("lease", id.0),
            Self::RetiredAddress(offset) => numbered("retired-address", u64::from(*offset)),
            Self::Service(id) => numbered("service", id.0),
            Self::Route(id) => numbered("route", id.0),
            Self::Grant(id) => numbered("grant", id.0),
            Self::Zone(origin) => format!("{RECORD_PREFIX}zone/{origin}"),
            Self::RecordSet { zone, name, rtype } => {
                format!("{RECORD_PREFIX}record-set/{zone}/{rtype}/{name}")
            }
            Self::Operator(id) => numbered("operator", id.0),
            Self::ApiKey(id) => numbered("api-key", id.0),
            Self::Request(key) => format!("{RECORD_PREFIX}request/{key}"),
            Self::Policy => format!("{RECORD_PREFIX}policy"),
            Self::PolicyVersion(version) => numbered("policy-version", *version),
            Self::Balancer(id) => numbered("balancer", id.0),
            Self::Profile(profile) => {
                format!("{RECORD_PREFIX}profile/{}", profile_name(*profile))
            }
            Self::Proposal(number) => numbered("policy-proposal", *number),
            Self::Declaration(id) => numbered("declaration", id.0),
        }
    }
}

macro_rules! entities {
    ($($kind:ident: $type:ty),* $(,)?) => {$(
        impl From<$type> for Entity {
            fn from(it: $type) -> Self {
                Self::$kind(it)
            }
        }
    )*};
}

entities! {
    Settings: Settings,
    Organization: Organization,
    Site: Site,
    Token: Token,
    Node: Node,
    Lease: Lease,
    RetiredAddress: RetiredAddress,
    Service: Service,
    Route: Route,
    Grant: Grant,
    Operator: Operator,
    ApiKey: ApiKey,
    Request: RequestRecord,
    Policy: PolicyInForce,
    PolicyVersion: PolicyVersion,
    Balancer: Balancer,
    Profile: EditedProfile,
    Proposal: Proposal,
    Declaration: Declaration,
}

/// Every entity's key in the store starts with this.
pub const RECORD_PREFIX: &str = "e/";
const RECORD_VERSION: u8 = 1;
