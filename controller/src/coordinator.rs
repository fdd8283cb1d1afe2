//! The one writer. It takes commands in order, applies them to the state, makes the whole batch durable, and only then
//! shows it to anyone and answers. It never decides: malha-core does.

mod handle;

use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::Duration;

use malha_core::{Change, Context, History, State};
use malha_proto::Revision;
use malha_store::audit::{AuditHead, AuditLog, AuditRecord};
use malha_store::{
    Batch, CommitOutcome, Condition, Key, MAX_OPS, Op, Store, StoreError, StoreRevision, Value,
};
use tokio::sync::{broadcast, mpsc, oneshot, watch};
use tokio_util::sync::CancellationToken;

use crate::audit;
use crate::clock::now_ms;
use handle::{Asked, Request};

pub use handle::{Accepted, Actor, Committed, Handle, MAX_KEPT_AT_ONCE, SubmitError};

/// A request that was granted and waits for the disk.
enum Pending {
    Command(
        Box<Accepted>,
        oneshot::Sender<Result<Accepted, SubmitError>>,
    ),
    Note(oneshot::Sender<Result<(), SubmitError>>),
}

/// The task behind [`Handle`]. One per controller.
pub struct Coordinator {
    state: State,
    store: Arc<dyn Store>,
    /// Shared with the blocking thread that appends while the coordinator waits for it; never contended.
    audit: Arc<Mutex<AuditLog>>,
    requests: mpsc::Receiver<Request>,
    published: watch::Sender<Arc<State>>,
    history: Arc<RwLock<History>>,
    committed: broadcast::Sender<Arc<Committed>>,
    /// Lines that were written, and whose changes were not made durable; the log does not say so yet.
    uncommitted: Option<RangeInclusive<u64>>,
}

/// Why a commit was not answered as done.
enum NotCommitted {
    /// Nothing of it is in the store.
    Refused(String),
    /// The store went away before anyone could see. The next start reads how far it came.
    InDoubt(String),
}

/// Everything one commit writes, gathered while commands are applied.
struct Draft {
    state: State,
    records: BTreeMap<String, Option<Vec<u8>>>,
    audit: Vec<AuditRecord>,
    pending: Vec<Pending>,
}

impl Coordinator {
    /// A coordinator over a loaded state.
    #[must_use]
    pub fn new(state: State, store: Arc<dyn Store>, audit: AuditLog) -> (Self, Handle) {
        let (requests_in, requests) = mpsc::channel(REQUEST_CAPACITY);
        let (published, state_out) = watch::channel(Arc::new(state.clone()));
        let (committed, _) = broadcast::channel(COMMITTED_CAPACITY);
        let mut history = History::new();
        history.push(&state);
        let history = Arc::new(RwLock::new(history));
        let handle = Handle {
            requests: requests_in,
            state: state_out,
            history: history.clone(),
            committed: committed.clone(),
        };
        let audit = Arc::new(Mutex::new(audit));
        (
            Self {
                state,
                store,
                audit,
                requests,
                published,
                history,
                committed,
                uncommitted: None,
            },
            handle,
        )
    }

    /// Runs until `stop`; what was taken in is answered before it ends.
    pub async fn run(mut self, stop: CancellationToken) {
        let mut waiting = Vec::new();
        loop {
            let taken = tokio::select! {
                biased;
                taken = self.requests.recv_many(&mut waiting, MAX_COMMANDS_PER_COMMIT) => taken,
                () = stop.cancelled() => 0,
            };
            if taken == 0 {
                return;
            }
            let mut queue = std::mem::take(&mut waiting).into_iter().peekable();
            while queue.peek().is_some() {
                let draft = self.draft(&mut queue);
                self.commit(draft).await;
            }
        }
    }

    /// Applies requests until one commit is full.
    fn draft(&self, queue: &mut std::iter::Peekable<std::vec::IntoIter<Request>>) -> Draft {
        let mut draft = Draft {
            state: self.state.clone(),
            records: BTreeMap::new(),
            audit: Vec::new(),
            pending: Vec::new(),
        };
        while let Some(request) = queue.next_if(|_| draft.records.len() < FULL_COMMIT_RECORDS) {
            match request {
                Request::Command(asked) => draft.apply(*asked),
                Request::Note(line, reply) => {
                    draft.audit.push(*line);
                    draft.pending.push(Pending::Note(reply));
                }
                Request::Keep(records, line, reply) => {
                    draft.records.extend(records);
                    draft.audit.extend(line.map(|line| *line));
                    draft.pending.push(Pending::Note(reply));
                }
                Request::AuditTail(count, reply) => {
                    let _ = reply.send(lock(&self.audit).tail(count));
                }
            }
        }
        draft
    }

    async fn commit(&mut self, draft: Draft) {
        let Draft {
            state,
            records,
            audit,
            pending,
        } = draft;
        if !(records.is_empty() && audit.is_empty())
            && let Err(why) = self.make_durable(state.revision(), records, &audit).await
        {
            tracing::error!(%why, requests = pending.len(), "commit failed, nothing was changed");
            pending.into_iter().for_each(|pending| pending.fail(&why));
            return;
        }
        self.publish(state);
        for pending in pending {
            if let Pending::Command(accepted, _) = &pending
                && accepted.changed
            {
                let _ = self.committed.send(accepted.committed.clone());
            }
            pending.succeed();
        }
    }

    /// The audit lines first, then the records with the audit head: after a crash between the two the log has lines that
    /// the store does not know, which the next start marks as never committed. Where the store certainly took nothing, that
    /// is done here.
    async fn make_durable(
        &mut self,
        revision: Revision,
        records: BTreeMap<String, Option<Vec<u8>>>,
        audit: &[AuditRecord],
    ) -> Result<(), String> {
        self.mark_uncommitted().await?;
        let before = lock(&self.audit).head();
        let head = self.append(audit.to_vec()).await?;
        match self.commit_records(revision, records, &head).await {
            Ok(()) => Ok(()),
            Err(NotCommitted::InDoubt(cause)) => Err(cause),
            Err(NotCommitted::Refused(cause)) => {
                if before != head {
                    self.uncommitted = Some(before.sequence + 1..=head.sequence);
                }
                if let Err(why) = self.mark_uncommitted().await {
                    tracing::warn!(%why, "the audit log can't say yet that its last lines were not committed");
                }
                Err(cause)
            }
        }
    }

    async fn mark_uncommitted(&mut self) -> Result<(), String> {
        let Some(lines) = self.uncommitted.clone() else {
            return Ok(());
        };
        self.append(vec![audit::uncommitted(lines)]).await?;
        self.uncommitted = None;
        Ok(())
    }

    async fn commit_records(
        &self,
        revision: Revision,
        records: BTreeMap<String, Option<Vec<u8>>>,
        head: &AuditHead,
    ) -> Result<(), NotCommitted> {
        let batch = batch(revision, records, head).map_err(NotCommitted::Refused)?;
        let refused = |error: StoreError| NotCommitted::Refused(error.to_string());
        let before = self.store.revision().await.map_err(refused)?;
        match self.store.commit(batch).await {
            Ok(CommitOutcome::Committed { .. }) => Ok(()),
            Ok(CommitOutcome::Conflict(conflict)) => Err(NotCommitted::Refused(format!(
                "another writer changed the store: {conflict}"
            ))),
            Err(error @ StoreError::OutcomeUnknown { .. }) => self.read_back(before, error).await,
            Err(error) => Err(refused(error)),
        }
    }

    async fn append(&self, lines: Vec<AuditRecord>) -> Result<AuditHead, String> {
        if lines.is_empty() {
            return Ok(lock(&self.audit).head());
        }
        let audit = self.audit.clone();
        let appended = tokio::task::spawn_blocking(move || lock(&audit).append_all(&lines)).await;
        appended
            .map_err(|error| error.to_string())?
            .map_err(|error| error.to_string())
    }

    /// The disk failed in the middle of a commit. Nothing more can be said, nor taken in, until it can be read again. Every commit
    /// writes [`REVISION_KEY`], if only with the same value.
    async fn read_back(
        &self,
        before: StoreRevision,
        cause: StoreError,
    ) -> Result<(), NotCommitted> {
        tracing::error!(%cause, "a commit is in doubt; waiting until the store can be read");
        let key =
            Key::new(REVISION_KEY).map_err(|error| NotCommitted::InDoubt(error.to_string()))?;
        loop {
            tokio::time::sleep(READ_BACK_PAUSE).await;
            match (
                self.store.health().await.condition,
                self.store.get(&key).await,
            ) {
                (Condition::Closed, _) => return Err(NotCommitted::InDoubt(cause.to_string())),
                (Condition::Serving, Ok(Some(entry))) if entry.modified > before => return Ok(()),
                (Condition::Serving, Ok(_)) => {
                    return Err(NotCommitted::Refused(cause.to_string()));
                }
                (Condition::WritesRefused { .. }, _) | (Condition::Serving, Err(_)) => {}
            }
        }
    }

    fn publish(&mut self, state: State) {
        if state.revision() != self.state.revision() {
            self.history
                .write()
                .unwrap_or_else(PoisonError::into_inner)
                .push(&state);
            self.state = state;
            self.published.send_replace(Arc::new(self.state.clone()));
        }
    }
}

impl Pending {
    fn succeed(self) {
        // Whoever asked may be gone; what was asked is done all the same.
        match self {
            Self::Command(accepted, reply) => drop(reply.send(Ok(*accepted))),
            Self::Note(reply) => drop(reply.send(Ok(()))),
        }
    }

    fn fail(self, why: &str) {
        let error = SubmitError::Unavailable(why.to_owned());
        match self {
            Self::Command(_, reply) => drop(reply.send(Err(error))),
            Self::Note(reply) => drop(reply.send(Err(error))),
        }
    }
}

impl Draft {
    fn apply(&mut self, asked: Asked) {
        let Asked {
            command,
            actor,
            request,
            reply,
        } = asked;
        let mut random = [0; 32];
        if let Err(error) = getrandom::fill(&mut random) {
            let _ = reply.send(Err(SubmitError::Unavailable(format!(
                "no random bytes: {error}"
            ))));
            return;
        }
        let context = Context {
            now_ms: now_ms(),
            random,
            request,
        };
        let outcome = match self.state.apply(&command, &context) {
            Ok(outcome) => outcome,
            Err(rejection) => {
                let _ = reply.send(Err(rejection.into()));
                return;
            }
        };
        let affected = malha_core::affected(&self.state, &outcome.state, &outcome.changes);
        let revision = outcome.state.revision();
        if let Some(record) =
            audit::accepted(&command, &outcome.answer, &actor, revision, context.now_ms)
        {
            self.audit.push(record);
        }
        self.records
            .extend(outcome.changes.iter().map(Change::record));
        let accepted = Accepted {
            answer: outcome.answer,
            revision,
            changed: revision != self.state.revision(),
            committed: Arc::new(Committed { revision, affected }),
        };
        self.state = outcome.state;
        self.pending
            .push(Pending::Command(Box::new(accepted), reply));
    }
}

fn batch(
    revision: Revision,
    records: BTreeMap<String, Option<Vec<u8>>>,
    head: &AuditHead,
) -> Result<Batch, String> {
    let refused = |error: StoreError| error.to_string();
    let mut ops = Vec::with_capacity(records.len() + 2);
    for (key, value) in records {
        let key = Key::new(&key).map_err(refused)?;
        ops.push(match value {
            Some(value) => Op::Put(key, Value::new(&value).map_err(refused)?),
            None => Op::Delete(key),
        });
    }
    let head = serde_json::to_vec(head).map_err(|error| error.to_string())?;
    ops.push(put(REVISION_KEY, revision.0.to_be_bytes().to_vec()).map_err(refused)?);
    ops.push(put(AUDIT_HEAD_KEY, head).map_err(refused)?);
    Ok(Batch {
        ops,
        ..Batch::default()
    })
}

fn lock(audit: &Mutex<AuditLog>) -> MutexGuard<'_, AuditLog> {
    audit.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A put of a key that is fixed in the code.
pub fn put(key: &str, value: Vec<u8>) -> Result<Op, StoreError> {
    Ok(Op::Put(Key::new(key)?, Value::new(&value)?))
}

/// Where the store keeps the revision of the state.
pub const REVISION_KEY: &str = "m/revision";
/// Where the store keeps the audit log's head, written with the change it audits.
pub const AUDIT_HEAD_KEY: &str = "m/audit";
/// Commands that may wait; then submitters wait.
const REQUEST_CAPACITY: usize = 4_096;
/// Commits that a slow listener may miss before it must read the state anew.
pub const COMMITTED_CAPACITY: usize = 4_096;
/// Commands taken in at once.
const MAX_COMMANDS_PER_COMMIT: usize = 256;
/// A commit with this many records takes no further command, so that a usual command still fits.
const FULL_COMMIT_RECORDS: usize = MAX_OPS / 2;
const READ_BACK_PAUSE: Duration = Duration::from_millis(200);
