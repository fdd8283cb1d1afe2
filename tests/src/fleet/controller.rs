//! A small coordinator around the real state, history and store: apply, make durable, show, answer. It dies where it is told
//! to, also between the commit and the answer, and comes back with what the store has.

use std::sync::Arc;

use malha_core::{
    Affected, Answer, Change, Command, Context, Entity, History, RECORD_PREFIX, Rejection, State,
    affected,
};
use malha_proto::{NodeId, Revision};
use malha_store::{
    Batch, CommitOutcome, Key, MAX_PAGE_ENTRIES, Op, Prefix, Schema, Store, StoreError, Value,
};
use tokio::runtime::Runtime;

use super::failure::{Broken, broken};
use super::session::Sessions;

/// Where a controller dies in its next commit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Death {
    BeforeCommit,
    AfterCommit,
}

/// What became of a command.
#[derive(Debug)]
#[allow(clippy::large_enum_variant, reason = "there is one at a time")]
pub(super) enum Verdict {
    Accepted(Accepted),
    Rejected(Rejection),
    /// Nobody answers: the controller is dead.
    Dead,
}

#[derive(Debug)]
pub(super) struct Accepted {
    pub(super) answer: Answer,
    /// The state before, when the command changed something.
    pub(super) before: Option<State>,
    pub(super) affected: Affected,
}

/// The controller and what survives it.
pub(super) struct Controller {
    runtime: Runtime,
    store: Arc<dyn Store>,
    /// The newest state that the store took.
    committed: State,
    pub(super) hub: NodeId,
    pub(super) running: Option<Running>,
    pub(super) dies_in_commit: Option<Death>,
}

/// What a crash loses.
pub(super) struct Running {
    pub(super) state: State,
    pub(super) history: History,
    pub(super) sessions: Sessions,
}

impl Controller {
    /// A controller whose store holds this state.
    pub(super) fn new(state: State, records: &[Change]) -> Result<Self, Broken> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .build()
            .map_err(|error| broken("the runtime", error))?;
        let entered = runtime.enter();
        let store =
            malha_store::memory(&Schema::first()).map_err(|error| broken("the store", error))?;
        drop(entered);
        let controller = Self {
            runtime,
            store,
            running: Some(Running::new(state.clone())),
            committed: state.clone(),
            hub: NodeId(0),
            dies_in_commit: None,
        };
        controller.make_durable(state.revision(), records)?;
        Ok(controller)
    }

    /// The newest state that anybody may know, also while the controller is dead.
    pub(super) fn committed(&self) -> &State {
        &self.committed
    }

    pub(super) fn is_running(&self) -> bool {
        self.running.is_some()
    }

    /// Applies one command and makes it durable before it is shown.
    pub(super) fn submit(
        &mut self,
        command: &Command,
        context: &Context,
    ) -> Result<Verdict, Broken> {
        let Some(running) = &self.running else {
            return Ok(Verdict::Dead);
        };
        let before = running.state.clone();
        let outcome = match before.apply(command, context) {
            Ok(outcome) => outcome,
            Err(rejection) => return Ok(Verdict::Rejected(rejection)),
        };
        if outcome.changes.is_empty() {
            return Ok(Verdict::Accepted(Accepted {
                answer: outcome.answer,
                before: None,
                affected: Affected::default(),
            }));
        }
        let death = self.dies_in_commit.take();
        if death == Some(Death::BeforeCommit) {
            return Ok(Verdict::Dead);
        }
        self.make_durable(outcome.state.revision(), &outcome.changes)?;
        self.committed = outcome.state.clone();
        if death == Some(Death::AfterCommit) {
            return Ok(Verdict::Dead);
        }
        let affected = affected(&before, &outcome.state, &outcome.changes);
        if let Some(running) = &mut self.running {
            running.history.push(&outcome.state);
            running.state = outcome.state;
        }
        Ok(Verdict::Accepted(Accepted {
            answer: outcome.answer,
            before: Some(before),
            affected,
        }))
    }

    /// Starts from the store's records, which must be the state of the last commit, to the last index.
    pub(super) fn restart(&mut self) -> Result<(), Broken> {
        let state = self.load()?;
        if state != self.committed {
            return Err(Broken::new(format!(
                "the store gave another state than was committed at revision {}",
                self.committed.revision()
            )));
        }
        self.running = Some(Running::new(state));
        Ok(())
    }

    fn make_durable(&self, revision: Revision, changes: &[Change]) -> Result<(), Broken> {
        let failed = |error: StoreError| broken("a record", error);
        let mut ops = vec![Op::Put(
            Key::new(REVISION_KEY).map_err(failed)?,
            Value::new(&revision.0.to_be_bytes()).map_err(failed)?,
        )];
        for (key, value) in changes.iter().map(Change::record) {
            let key = Key::new(&key).map_err(failed)?;
            ops.push(match value {
                Some(value) => Op::Put(key, Value::new(&value).map_err(failed)?),
                None => Op::Delete(key),
            });
        }
        let batch = Batch {
            ops,
            ..Batch::new()
        };
        match self.runtime.block_on(self.store.commit(batch)) {
            Ok(CommitOutcome::Committed { .. }) => Ok(()),
            Ok(CommitOutcome::Conflict(conflict)) => Err(broken("the commit", conflict)),
            Err(error) => Err(broken("the commit", error)),
        }
    }

    fn load(&self) -> Result<State, Broken> {
        let failed = |error: StoreError| broken("loading", error);
        let key = Key::new(REVISION_KEY).map_err(failed)?;
        let revision = self
            .runtime
            .block_on(self.store.get(&key))
            .map_err(failed)?;
        let revision = revision
            .and_then(|entry| <[u8; 8]>::try_from(entry.value.as_bytes()).ok())
            .ok_or_else(|| Broken::new("the store lost the revision".to_owned()))?;
        let prefix = Prefix::new(RECORD_PREFIX).map_err(failed)?;
        let mut entities = Vec::new();
        let mut after = None;
        loop {
            let range = self.store.range(&prefix, after.as_ref(), MAX_PAGE_ENTRIES);
            let page = self.runtime.block_on(range).map_err(failed)?;
            for item in &page.items {
                let entity = Entity::decode(item.key.as_str(), item.entry.value.as_bytes());
                entities.push(entity.map_err(|error| broken("a stored record", error))?);
            }
            match page.items.last() {
                Some(last) if page.more => after = Some(last.key.clone()),
                _ => break,
            }
        }
        State::restore(Revision(u64::from_be_bytes(revision)), entities)
            .map_err(|error| broken("restoring", error))
    }
}

impl Running {
    fn new(state: State) -> Self {
        let mut history = History::new();
        history.push(&state);
        Self {
            state,
            history,
            sessions: Sessions::default(),
        }
    }
}

/// Where the store keeps the revision of the state.
const REVISION_KEY: &str = "m/revision";
