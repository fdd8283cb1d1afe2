//! What is known before anything is asked: settings, the state folder as it is, and a token where there is one. And what a running
//! agent says of itself. Nothing is written, locked or mended.

use malha_proto::{EnrolToken, Netmap};
use malha_tunnel::Engine;

use crate::config::Settings;
use crate::control::look::Authority;
use crate::engine::EngineReason;
use crate::state::{Ended, Glimpse, Identity, STATUS_SOCKET, Started, StateError, Validity};
use crate::status::{StatusDocument, StatusError, ask};

/// The machine that is looked at.
pub(super) struct Subject {
    /// With the arguments of the agent's last start.
    pub(super) settings: Settings,
    pub(super) started: Result<Option<Started>, Unread>,
    pub(super) enrolment: Enrolment,
    /// Of the identity, else of the token.
    pub(super) authority: Option<Authority>,
    /// `host:port`.
    pub(super) controllers: Vec<String>,
    pub(super) netmap: Option<Netmap>,
    pub(super) validity: Result<Option<Validity>, Unread>,
    /// What of the folder's content is damaged.
    pub(super) damage: Option<String>,
}

#[derive(Debug, PartialEq, Eq)]
pub(super) enum Enrolment {
    No { with_token: bool },
    Active,
    Ended(Ended),
    Unread(Unread),
}

/// Why a file says nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Unread {
    /// It can't be opened or read, mostly for want of a right.
    Closed(String),
    Damaged(String),
}

/// What the agent's socket says.
pub(super) enum Running {
    Yes(Box<StatusDocument>),
    No,
    /// It may run; this user can't ask it.
    Unknown(String),
}

impl Subject {
    pub(super) fn of(
        settings: Settings,
        started: Result<Option<Started>, StateError>,
        token: Option<EnrolToken>,
    ) -> Self {
        let Glimpse {
            identity,
            netmap,
            validity,
        } = Glimpse::of(&settings.state);
        let validity = validity.map_err(|error| Unread::of(&error));
        let netmap = netmap.map_err(|error| Unread::of(&error));
        let (enrolment, identity) = enrolment(identity, token.is_some());
        let damage = [
            netmap.as_ref().err(),
            match &enrolment {
                Enrolment::Unread(why) => Some(why),
                _ => None,
            },
        ];
        let damage = damage.into_iter().flatten().find_map(|why| match why {
            Unread::Damaged(why) => Some(why.clone()),
            Unread::Closed(_) => None,
        });
        let (authority, controllers) = whom_to_ask(identity, token);
        Self {
            settings,
            started: started.map_err(|error| Unread::of(&error)),
            enrolment,
            authority,
            controllers,
            netmap: netmap.unwrap_or_default(),
            validity,
            damage,
        }
    }

    /// The agent's last start, if nothing has changed since of what it was asked for.
    pub(super) fn last_start(&self) -> Option<&Started> {
        let started = self.started.as_ref().ok()?.as_ref();
        started.filter(|started| started.is_like(&self.settings))
    }

    /// The engine of the agent, which is stopped. Where it chooses by itself, its own rights count and not those of who looks.
    pub(super) fn engine(&self) -> (Engine, EngineReason) {
        match self.last_start() {
            Some(started) => (started.engine, started.reason.clone()),
            None => self.settings.decide_engine(),
        }
    }

    pub(super) fn is_enrolled(&self) -> bool {
        self.enrolment == Enrolment::Active
    }
}

impl Unread {
    fn of(error: &StateError) -> Self {
        match error {
            StateError::Io { .. } => Self::Closed(error.to_string()),
            _ => Self::Damaged(error.to_string()),
        }
    }
}

impl Running {
    pub(super) async fn of(subject: &Subject) -> Self {
        match ask(&subject.settings.state.join(STATUS_SOCKET)).await {
            Ok(document) => Self::Yes(Box::new(document)),
            Err(StatusError::NotRunning(_)) => Self::No,
            Err(error) => Self::Unknown(error.to_string()),
        }
    }

    pub(super) fn document(&self) -> Option<&StatusDocument> {
        match self {
            Self::Yes(document) => Some(document),
            Self::No | Self::Unknown(_) => None,
        }
    }
}

fn enrolment(
    identity: Result<Option<Identity>, StateError>,
    with_token: bool,
) -> (Enrolment, Option<Identity>) {
    match identity {
        Ok(None) => (Enrolment::No { with_token }, None),
        Ok(Some(identity)) => {
            let enrolment = identity.ended.map_or(Enrolment::Active, Enrolment::Ended);
            (enrolment, Some(identity))
        }
        Err(error) => (Enrolment::Unread(Unread::of(&error)), None),
    }
}

/// The identity's controllers, and those of a token where there is no identity that counts.
fn whom_to_ask(
    identity: Option<Identity>,
    token: Option<EnrolToken>,
) -> (Option<Authority>, Vec<String>) {
    let has_ended = identity.as_ref().is_some_and(|it| it.ended.is_some());
    match (identity, token) {
        (identity, Some(token)) if identity.is_none() || has_ended => {
            let authority = Authority {
                fingerprint: token.authority,
                certificate: None,
            };
            (Some(authority), token.controllers)
        }
        (Some(identity), _) => {
            let authority = Authority {
                fingerprint: identity.authority,
                certificate: Some(identity.authority_certificate.into()),
            };
            (Some(authority), identity.controllers)
        }
        (None, _) => (None, Vec::new()),
    }
}
