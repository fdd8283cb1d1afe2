//! Malha's pure state. A [`Command`] applied to a [`State`] gives a new state, the [`Change`]s that lead to it and an
//! [`Answer`], or a [`Rejection`]; netmaps, DNS records and route tables are read from it. No I/O, no clock, no randomness:
//! `now` and random bytes come in [`Context`].
//!
//! How many of each exist: one [`State`] per revision, of which [`History`] keeps the recent ones; one [`NodeSync`] per
//! open session; one [`Convergence`] per write that is waited for.

#![forbid(unsafe_code)]

mod addresses;
mod affected;
mod agency;
mod apply;
mod audit;
mod balancers;
mod change;
mod command;
mod controller;
mod convergence;
pub mod declaration;
mod draft;
mod enrolment;
mod explain;
#[doc(hidden)]
pub mod fuzz;
mod grants;
pub mod health;
mod history;
pub mod limits;
mod model;
mod names;
mod netmap;
mod nodes;
mod noun;
mod operators;
mod organizations;
pub mod policy;
pub mod profile;
mod quarantine;
mod reason;
mod requests;
mod restore;
mod routes;
mod services;
mod sessions;
mod sites;
mod state;
mod sweep;
mod sync;
mod tags;
mod text;
mod text_error;
mod tokens;
mod zones;

pub use affected::{Affected, Topic, affected};
pub use agency::{
    AddedAgency, AgencyName, AgencyPolicy, NewAgency, NodePlan, PlannedBalancer, PlannedMachine,
    PlannedService,
};
pub use audit::{AuditAction, AuditName};
pub use change::{Change, DecodeError, Entity, EntityKey, RECORD_PREFIX};
pub use command::{Answer, Command, Context, LiveSession, Rejection};
pub use convergence::{Convergence, Progress};
pub use draft::Outcome;
pub use explain::{Denial, Explanation, Permission, Question, Source, Verdict};
pub use history::History;
pub use model::{
    ApiKey, Balancer, BalancerSettings, Binding, Contender, FormerKey, Grant, GrantOrigin, Lease,
    Node, NodeState, Opening, Operator, Organization, Quarantine, RecordSource, RequestRecord,
    RetiredAddress, Role, Route, Scope, Selector, Service, Settings, Site, Token, ZoneHead,
};
pub use noun::{Leading, Noun, Plenty, User};
pub use reason::Reason;
pub use restore::RestoreError;
pub use state::State;
pub use sync::{MAX_UNACKNOWLEDGED, NodeSync, PATIENT_REPORTS};
pub use tags::{Tag, TagError};
pub use text_error::TextError;
