//! What an agent shows of itself: for the status page and for simulations. Never a key or a lease.

use std::net::SocketAddr;
use std::sync::Arc;

use malha_proto::{Revision, ServiceId, ServiceState};

pub use super::fallback::PolicyView;
use super::{Agent, LinkError, Millis, Transport};

/// A copy of the agent's state at one moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AgentView {
    pub control: ControlView,
    /// What the data plane runs with.
    pub in_force: Option<Revision>,
    /// The newest map that is known.
    pub newest: Option<Revision>,
    pub services: Vec<ServiceView>,
    pub quarantined: bool,
    pub policy: Option<PolicyView>,
    /// No controller has welcomed this process yet: what runs is from disk.
    pub unconfirmed: bool,
    /// Why the newest map is not in force.
    pub apply_error: Option<String>,
    /// Why the disk does not follow.
    pub save_error: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ControlView {
    pub state: ControlState,
    pub since: Millis,
    pub transport: Option<Transport>,
    pub controller: Option<Arc<str>>,
    /// This node's address as the controller sees it.
    pub seen_as: Option<SocketAddr>,
    pub last_error: Option<LinkError>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ControlState {
    /// Waiting for the next attempt.
    Offline,
    Dialing,
    Greeting,
    Online,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ServiceView {
    pub id: ServiceId,
    pub state: ServiceState,
    pub since: Millis,
}

impl Agent {
    #[must_use]
    pub fn view(&self) -> AgentView {
        let services = self.health.services();
        AgentView {
            control: self.control(),
            in_force: self.revision(),
            newest: self.map.received().map(|map| map.revision),
            services: services
                .map(|(id, state, since)| ServiceView { id, state, since })
                .collect(),
            quarantined: self.held || self.map.received().is_some_and(|map| map.me.quarantined),
            policy: self.map.policy(),
            unconfirmed: !self.welcomed,
            apply_error: self.map.error(),
            save_error: (self.map.save_error.clone())
                .or(self.pairs.saving.error().cloned())
                .or(self.lease.error().cloned())
                .or(self.controllers.error().cloned())
                .or(self.disk_error.clone()),
        }
    }

    fn control(&self) -> ControlView {
        let session = self.session.as_ref();
        let greeting = self.greeting.as_ref();
        let (state, transport) = match (session, greeting) {
            (Some(session), _) => (ControlState::Online, Some(session.transport)),
            (None, Some(greeting)) => (ControlState::Greeting, Some(greeting.transport)),
            (None, None) if self.dial.is_dialing() => (ControlState::Dialing, None),
            (None, None) => (ControlState::Offline, None),
        };
        ControlView {
            state,
            since: session.map_or(self.control_since, |session| session.since),
            transport,
            controller: self.controller(),
            seen_as: session.and_then(|session| session.seen_as),
            last_error: self.last_error.clone(),
        }
    }
}
