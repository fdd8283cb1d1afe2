//! The door to the coordinator: who asks, for what, and what it came to. It writes nothing itself.

use std::net::IpAddr;
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard};

use malha_core::{Affected, Answer, Command, History, Rejection, State};
use malha_proto::{Fingerprint, NodeId, Revision};
use malha_store::audit::{AuditEntry, AuditRecord};
use thiserror::Error;
use tokio::sync::{broadcast, mpsc, oneshot, watch};

/// Who asks for a change, as the audit log names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Actor {
    /// `operator:ana`, `key:backup-script`, `node:n12`, `controller`.
    pub name: String,
    pub source: Option<IpAddr>,
}

impl Actor {
    /// The controller itself.
    #[must_use]
    pub fn controller() -> Self {
        Self {
            name: "controller".to_owned(),
            source: None,
        }
    }

    /// A node, over its control session.
    #[must_use]
    pub fn node(id: NodeId, source: IpAddr) -> Self {
        Self {
            name: format!("node:{id}"),
            source: Some(source),
        }
    }
}

/// A committed change, as everyone beside the coordinator hears of it.
#[derive(Debug)]
pub struct Committed {
    pub revision: Revision,
    pub affected: Affected,
}

/// What a command came to.
#[derive(Clone, Debug)]
pub struct Accepted {
    pub answer: Answer,
    /// The revision that holds it; the former one if nothing had to change.
    pub revision: Revision,
    /// Whether it changed anything.
    pub changed: bool,
    /// What it affected.
    pub committed: Arc<Committed>,
}

/// Why a command changed nothing.
#[derive(Debug, Error)]
pub enum SubmitError {
    #[error(transparent)]
    Rejected(#[from] Rejection),
    #[error("the state can't be written now: {0}")]
    Unavailable(String),
    #[error("the controller is shutting down")]
    Closed,
}

/// The door to the coordinator: submit commands, read the newest state, hear of changes. Cheap to clone.
#[derive(Clone)]
pub struct Handle {
    pub(super) requests: mpsc::Sender<Request>,
    pub(super) state: watch::Receiver<Arc<State>>,
    pub(super) history: Arc<RwLock<History>>,
    pub(super) committed: broadcast::Sender<Arc<Committed>>,
}

impl Handle {
    /// Applies one command. Ok means durable.
    pub async fn submit(
        &self,
        command: Command,
        actor: Actor,
        request: Option<Fingerprint>,
    ) -> Result<Accepted, SubmitError> {
        let (reply, answer) = oneshot::channel();
        let asked = Asked {
            command,
            actor,
            request,
            reply,
        };
        self.requests
            .send(Request::Command(Box::new(asked)))
            .await
            .map_err(|_| SubmitError::Closed)?;
        answer.await.map_err(|_| SubmitError::Closed)?
    }

    /// Writes a line about something that is not a command, like a login. Ok means durable.
    pub async fn note(&self, line: AuditRecord) -> Result<(), SubmitError> {
        let (reply, answer) = oneshot::channel();
        self.requests
            .send(Request::Note(Box::new(line), reply))
            .await
            .map_err(|_| SubmitError::Closed)?;
        answer.await.map_err(|_| SubmitError::Closed)?
    }

    /// Writes records that are beside the state, like sealed secrets, with the line about them, if it needs one, in one
    /// commit. At most [`MAX_KEPT_AT_ONCE`]. Ok means durable.
    pub async fn keep(
        &self,
        records: Vec<(String, Option<Vec<u8>>)>,
        line: Option<AuditRecord>,
    ) -> Result<(), SubmitError> {
        debug_assert!(records.len() <= MAX_KEPT_AT_ONCE);
        let (reply, answer) = oneshot::channel();
        self.requests
            .send(Request::Keep(records, line.map(Box::new), reply))
            .await
            .map_err(|_| SubmitError::Closed)?;
        answer.await.map_err(|_| SubmitError::Closed)?
    }

    /// The newest lines of the audit log, oldest first, at most as many as the log keeps at hand.
    pub async fn audit_tail(&self, count: usize) -> Result<Vec<AuditEntry>, SubmitError> {
        let (reply, answer) = oneshot::channel();
        self.requests
            .send(Request::AuditTail(count, reply))
            .await
            .map_err(|_| SubmitError::Closed)?;
        answer.await.map_err(|_| SubmitError::Closed)
    }

    /// The newest committed state.
    #[must_use]
    pub fn state(&self) -> Arc<State> {
        self.state.borrow().clone()
    }

    /// Changes when a state is committed.
    #[must_use]
    pub fn watch(&self) -> watch::Receiver<Arc<State>> {
        self.state.clone()
    }

    /// Hears of each commit; a listener that falls more than [`COMMITTED_CAPACITY`] behind is told that it lagged.
    #[must_use]
    pub fn committed(&self) -> broadcast::Receiver<Arc<Committed>> {
        self.committed.subscribe()
    }

    /// The recent states, for deltas.
    pub fn history(&self) -> RwLockReadGuard<'_, History> {
        self.history.read().unwrap_or_else(PoisonError::into_inner)
    }
}

pub(super) enum Request {
    Command(Box<Asked>),
    Note(Box<AuditRecord>, oneshot::Sender<Result<(), SubmitError>>),
    Keep(
        Vec<(String, Option<Vec<u8>>)>,
        Option<Box<AuditRecord>>,
        oneshot::Sender<Result<(), SubmitError>>,
    ),
    AuditTail(usize, oneshot::Sender<Vec<AuditEntry>>),
}

pub(super) struct Asked {
    pub(super) command: Command,
    pub(super) actor: Actor,
    pub(super) request: Option<Fingerprint>,
    pub(super) reply: oneshot::Sender<Result<Accepted, SubmitError>>,
}

/// What [`Handle::keep`] may add to a commit that is nearly full, so that all of it still fits one batch.
pub const MAX_KEPT_AT_ONCE: usize = 500;
