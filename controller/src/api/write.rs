//! A write from request to answer: submits the command, names what it made, and waits for the nodes if asked to. It
//! answers only what is durable.

use std::str::FromStr;
use std::time::Duration;

use axum::Json;
use axum::http::{HeaderName, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use malha_core::{Answer, Command, Convergence, State};
use malha_proto::{NodeId, Revision};
use serde::{Deserialize, Serialize};
use tokio::time::Instant;
use utoipa::{IntoParams, ToSchema};

use crate::api::Api;
use crate::api::caller::Caller;
use crate::api::problem::{Kind, Problem};
use crate::coordinator::Accepted;
use crate::paths;
use crate::refusals::Refusal;

/// What a write gives back: the revision that holds it and the resource as it is then.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Written<T> {
    pub revision: u64,
    #[serde(flatten)]
    pub resource: T,
    /// With `?wait=applied`: how far the nodes are.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub applied: Option<Applied>,
}

/// What is left of a removed resource.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Removed {
    /// Its id, or the name of a zone or record set.
    pub removed: String,
}

/// How many of the nodes that a change touches run with it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Applied {
    /// Nodes that said they run with it.
    pub nodes: usize,
    /// Nodes that it touches.
    pub of: usize,
    pub elapsed_ms: u64,
    /// Online nodes that have not said so yet, at most 20.
    pub laggards: Vec<String>,
    /// Nodes that are not connected, at most 20; they learn it when they are.
    pub offline: Vec<String>,
}

/// How a write answers.
#[derive(Clone, Debug, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct WriteQuery {
    /// `applied`: answer when every online node that the change touches runs with it, or at the timeout. The write holds
    /// either way.
    #[param(inline)]
    pub(super) wait: Option<Wait>,
    /// How long to wait at most; 10,000 if absent.
    #[param(minimum = 1, maximum = 30000)]
    pub(super) timeout_ms: Option<u64>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Wait {
    Applied,
}

/// Whether a creation happened now or is remembered by its `Idempotency-Key`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Creation {
    Now,
    Before,
}

impl WriteQuery {
    fn patience(&self) -> Result<Option<Duration>, Problem> {
        let timeout_ms = self.timeout_ms.unwrap_or(DEFAULT_WAIT_MS);
        if !(1..=MAX_WAIT_MS).contains(&timeout_ms) {
            let (most_ms, given_ms) = (MAX_WAIT_MS, timeout_ms);
            let refusal = Refusal::Wait { most_ms, given_ms };
            return Err(Problem::invalid("timeout_ms", &refusal));
        }
        Ok(self
            .wait
            .map(|Wait::Applied| Duration::from_millis(timeout_ms)))
    }
}

impl Api {
    /// Submits a change of something that exists.
    pub(super) async fn change<P>(
        &self,
        caller: &Caller<P>,
        query: &WriteQuery,
        command: Command,
    ) -> Result<Accepted, Problem> {
        query.patience()?;
        Ok(self
            .context
            .handle
            .submit(command, caller.actor.clone(), None)
            .await?)
    }

    /// Submits a creation. `made` reads the new id from the answer.
    pub(super) async fn create<P, I: FromStr>(
        &self,
        caller: &Caller<P>,
        query: &WriteQuery,
        command: Command,
        made: impl Fn(&Answer) -> Option<I>,
    ) -> Result<(Accepted, I, Creation), Problem> {
        query.patience()?;
        let accepted = self
            .context
            .handle
            .submit(command, caller.actor.clone(), caller.request())
            .await?;
        let (id, creation) = match &accepted.answer {
            Answer::AlreadyCreated { created } => (created.parse().ok(), Creation::Before),
            answer => (made(answer), Creation::Now),
        };
        id.map(|id| (accepted, id, creation))
            .ok_or_else(strange_answer)
    }

    /// The answer to a creation: 201, or 200 for a repeated one.
    pub(super) async fn created<T: Serialize>(
        &self,
        accepted: &Accepted,
        query: &WriteQuery,
        creation: Creation,
        resource: Option<T>,
    ) -> Result<Response, Problem> {
        let Some(resource) = resource else {
            return Err(Problem::of(Kind::Gone, &Refusal::CreatedAndGone));
        };
        let written = self.written(accepted, query, resource).await?;
        Ok(match creation {
            Creation::Now => (StatusCode::CREATED, Json(written)).into_response(),
            Creation::Before => {
                ([(REPLAY, HeaderValue::from_static("true"))], Json(written)).into_response()
            }
        })
    }

    /// The document of a write, after waiting for the nodes if the query says so.
    pub(super) async fn written<T>(
        &self,
        accepted: &Accepted,
        query: &WriteQuery,
        resource: T,
    ) -> Result<Written<T>, Problem> {
        let applied = match query.patience()? {
            Some(patience) => Some(self.wait_applied(accepted, patience).await),
            None => None,
        };
        Ok(Written {
            revision: accepted.revision.0,
            resource,
            applied,
        })
    }

    async fn wait_applied(&self, accepted: &Accepted, patience: Duration) -> Applied {
        let start = Instant::now();
        let mut convergence = Convergence::new(accepted.revision, &accepted.committed.affected);
        let mut progress = self.context.registry.progress();
        loop {
            progress.borrow_and_update();
            let state = self.state();
            self.note_applied(&state, accepted.revision, &mut convergence);
            let done = convergence.is_done(&state, |node| self.is_online(node));
            if done
                || !matches!(
                    tokio::time::timeout_at(start + patience, progress.changed()).await,
                    Ok(Ok(()))
                )
            {
                let elapsed_ms = u64::try_from(start.elapsed().as_millis()).unwrap_or(u64::MAX);
                return self.applied(&convergence, elapsed_ms);
            }
        }
    }

    /// Notes who runs with it. A hub takes its map from the state itself and needs no word.
    fn note_applied(&self, state: &State, revision: Revision, convergence: &mut Convergence) {
        let waiting: Vec<NodeId> = convergence.waiting().collect();
        for node in waiting {
            if state.node(node).is_some_and(|node| node.hub) {
                convergence.applied(node, revision);
            } else if let Some(applied) = self.context.registry.applied_by(node) {
                convergence.applied(node, applied);
            }
        }
    }

    fn applied(&self, convergence: &Convergence, elapsed_ms: u64) -> Applied {
        let state = self.state();
        let progress = convergence.progress(&state, |node| self.is_online(node));
        let (laggards, offline): (Vec<_>, Vec<_>) = convergence
            .waiting()
            .filter(|node| state.node(*node).is_some())
            .partition(|node| self.is_online(*node));
        let names = |nodes: Vec<NodeId>| {
            nodes
                .into_iter()
                .take(MAX_NAMES)
                .map(|node| paths::node(&state, node))
                .collect()
        };
        Applied {
            nodes: progress.applied,
            of: progress.total,
            elapsed_ms,
            laggards: names(laggards),
            offline: names(offline),
        }
    }

    fn is_online(&self, node: NodeId) -> bool {
        self.context.registry.is_open(node)
    }
}

pub(super) fn strange_answer() -> Problem {
    Problem::of(Kind::Unavailable, &Refusal::StrangeAnswer)
}

pub(super) const REPLAY: HeaderName = HeaderName::from_static("idempotent-replay");
const DEFAULT_WAIT_MS: u64 = 10_000;
const MAX_WAIT_MS: u64 = 30_000;
const MAX_NAMES: usize = 20;
