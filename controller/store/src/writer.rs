//! The one thread that writes: it gathers waiting commits into groups, makes each group durable with one fsync, and
//! answers. After an I/O error it writes nothing until the engine has been reopened and holds all that was acknowledged.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

use tokio::sync::{OwnedSemaphorePermit, oneshot};

use crate::batch::{Batch, CommitOutcome};
use crate::change_log::ChangeLog;
use crate::engine::Writes;
use crate::error::StoreError;
use crate::inspect::inspect;
use crate::layout;
use crate::limits::{
    FIRST_REOPEN_PAUSE, LONGEST_REOPEN_PAUSE, MAX_GROUP_BYTES, MAX_GROUP_REQUESTS,
};
use crate::meta::{self, Head};
use crate::plan::Plan;
use crate::record::StoreRevision;
use crate::status::{Condition, Shared};

/// What the writer may be asked.
pub(crate) enum Request {
    Commit(CommitRequest),
    Compact {
        through: StoreRevision,
        answer: oneshot::Sender<Result<(), StoreError>>,
    },
    Close {
        answer: oneshot::Sender<Result<(), StoreError>>,
    },
}

/// A batch within the limits, with its place in the queue and the way back to its caller.
pub(crate) struct CommitRequest {
    pub(crate) batch: Batch,
    pub(crate) bytes: usize,
    pub(crate) answer: oneshot::Sender<Answer>,
    pub(crate) place: OwnedSemaphorePermit,
}

type Answer = Result<CommitOutcome, StoreError>;

/// The state of the writing thread.
pub(crate) struct Writer {
    shared: Arc<Shared>,
    requests: Receiver<Request>,
    head: Head,
    log: ChangeLog,
    /// A request that ended a group and comes next.
    carried: Option<Request>,
    outage: Option<Outage>,
}

struct Outage {
    cause: String,
    reopen_attempts: u32,
    pause: Duration,
    next_attempt: Instant,
}

enum Next {
    Request(Request),
    ReopenDue,
    Abandoned,
}

impl Writer {
    pub(crate) fn new(
        shared: Arc<Shared>,
        requests: Receiver<Request>,
        head: Head,
        log: ChangeLog,
    ) -> Self {
        Self {
            shared,
            requests,
            head,
            log,
            carried: None,
            outage: None,
        }
    }

    /// Works until it is asked to close or nobody is left to ask.
    pub(crate) fn run(mut self) {
        loop {
            match self.next() {
                Next::Request(Request::Commit(first)) => self.commit_group(first),
                Next::Request(Request::Compact { through, answer }) => {
                    // A caller that has gone away needs no answer, here and below.
                    answer.send(self.compact(through)).ok();
                }
                Next::Request(Request::Close { answer }) => {
                    answer.send(self.close()).ok();
                    return;
                }
                Next::ReopenDue => self.reopen(),
                Next::Abandoned => {
                    if let Err(error) = self.close() {
                        tracing::warn!(%error, "closing the store");
                    }
                    return;
                }
            }
        }
    }

    fn next(&mut self) -> Next {
        if let Some(carried) = self.carried.take() {
            return Next::Request(carried);
        }
        let received = match &self.outage {
            None => self
                .requests
                .recv()
                .map_err(|_| RecvTimeoutError::Disconnected),
            Some(outage) => {
                let pause = outage
                    .next_attempt
                    .saturating_duration_since(Instant::now());
                if pause.is_zero() {
                    return Next::ReopenDue;
                }
                self.requests.recv_timeout(pause)
            }
        };
        match received {
            Ok(request) => Next::Request(request),
            Err(RecvTimeoutError::Timeout) => Next::ReopenDue,
            Err(RecvTimeoutError::Disconnected) => Next::Abandoned,
        }
    }

    fn commit_group(&mut self, first: CommitRequest) {
        let group = self.gather(first);
        let answers = self.commit_all(&group);
        for (request, answer) in group.into_iter().zip(answers) {
            let CommitRequest {
                answer: caller,
                place,
                ..
            } = request;
            drop(place);
            caller.send(answer).ok();
        }
    }

    fn gather(&mut self, first: CommitRequest) -> Vec<CommitRequest> {
        let mut bytes = first.bytes;
        let mut group = vec![first];
        while group.len() < MAX_GROUP_REQUESTS && bytes < MAX_GROUP_BYTES {
            match self.requests.try_recv() {
                Ok(Request::Commit(request)) => {
                    bytes += request.bytes;
                    group.push(request);
                }
                Ok(other) => {
                    self.carried = Some(other);
                    break;
                }
                Err(_) => break,
            }
        }
        group
    }

    fn commit_all(&mut self, group: &[CommitRequest]) -> Vec<Answer> {
        if let Some(refusal) = self.refusal() {
            return group.iter().map(|_| Err(refusal.clone())).collect();
        }
        let view = match self.shared.engine.view() {
            Ok(view) => view,
            Err(error) => {
                let refusal = self.stop_writing(&error.into());
                return group.iter().map(|_| Err(refusal.clone())).collect();
            }
        };
        let mut plan = Plan::new(&*view, self.head);
        let answers: Vec<Answer> = group
            .iter()
            .map(|request| plan.apply(&request.batch))
            .collect();
        if plan.is_empty() {
            return answers;
        }
        let (head, writes) = plan.finish(&mut self.log);
        drop(view);
        match self.write(head, &writes) {
            Ok(()) => answers,
            Err(error) => {
                let refusal = self.stop_writing(&error);
                let cause = error.to_string();
                answers
                    .into_iter()
                    .map(|answer| match answer {
                        Ok(CommitOutcome::Committed { .. }) => Err(StoreError::OutcomeUnknown {
                            cause: cause.clone(),
                        }),
                        // It may have conflicted with a batch of this group that did not commit.
                        Ok(CommitOutcome::Conflict(_)) => Err(refusal.clone()),
                        Err(error) => Err(error),
                    })
                    .collect()
            }
        }
    }

    fn compact(&mut self, through: StoreRevision) -> Result<(), StoreError> {
        if let Some(refusal) = self.refusal() {
            return Err(refusal);
        }
        let asked = through;
        if asked > self.head.revision {
            let head = self.head.revision;
            return Err(StoreError::UnknownRevision { asked, head });
        }
        let mut writes: Writes = self
            .log
            .trim_through(through)
            .map(|revision| (layout::log_key(StoreRevision(revision)), None))
            .collect();
        if writes.is_empty() {
            return Ok(());
        }
        let head = Head {
            oldest_change: self.log.oldest(),
            ..self.head
        };
        meta::put_head(&mut writes, &head);
        self.write(head, &writes).map_err(|error| {
            self.stop_writing(&error);
            StoreError::OutcomeUnknown {
                cause: error.to_string(),
            }
        })
    }

    fn write(&mut self, head: Head, writes: &Writes) -> Result<(), StoreError> {
        self.shared.engine.commit(writes)?;
        self.head = head;
        self.publish(Condition::Serving);
        Ok(())
    }

    fn refusal(&self) -> Option<StoreError> {
        self.outage
            .as_ref()
            .map(|outage| StoreError::WritesRefused {
                cause: outage.cause.clone(),
            })
    }

    fn stop_writing(&mut self, error: &StoreError) -> StoreError {
        tracing::error!(%error, "the store refuses writes until it has been reopened");
        let cause = error.to_string();
        self.outage = Some(Outage {
            cause: cause.clone(),
            reopen_attempts: 0,
            pause: FIRST_REOPEN_PAUSE,
            next_attempt: Instant::now() + FIRST_REOPEN_PAUSE,
        });
        self.publish(Condition::WritesRefused {
            cause: cause.clone(),
            reopen_attempts: 0,
        });
        StoreError::WritesRefused { cause }
    }

    fn reopen(&mut self) {
        match self.reload() {
            Ok(()) => {
                tracing::info!(
                    revision = self.head.revision.0,
                    "the store takes writes again"
                );
                self.outage = None;
                self.publish(Condition::Serving);
            }
            Err(error) => {
                tracing::warn!(%error, "reopening the store failed");
                let Some(outage) = &mut self.outage else {
                    return;
                };
                outage.cause = error.to_string();
                outage.reopen_attempts = outage.reopen_attempts.saturating_add(1);
                outage.pause = (outage.pause * 2).min(LONGEST_REOPEN_PAUSE);
                outage.next_attempt = Instant::now() + outage.pause;
                let condition = Condition::WritesRefused {
                    cause: outage.cause.clone(),
                    reopen_attempts: outage.reopen_attempts,
                };
                self.publish(condition);
            }
        }
    }

    /// Reads what the disk really holds; the commit that failed may be there, what was acknowledged must be.
    fn reload(&mut self) -> Result<(), StoreError> {
        self.shared.engine.reopen()?;
        let found = inspect(&*self.shared.engine.view()?)?.intact()?;
        if found.epoch != self.shared.epoch || found.head.revision < self.head.revision {
            return Err(StoreError::damaged(
                "the store's file",
                format!(
                    "it holds revision {} of epoch {} and revision {} of epoch {} was acknowledged",
                    found.head.revision, found.epoch, self.head.revision, self.shared.epoch
                ),
            ));
        }
        self.head = found.head;
        self.log = found.log;
        Ok(())
    }

    fn close(&mut self) -> Result<(), StoreError> {
        let closed = self.shared.engine.close();
        self.publish(Condition::Closed);
        Ok(closed?)
    }

    fn publish(&self, condition: Condition) {
        self.shared.status.send_modify(|status| {
            status.head = self.head;
            status.condition = condition;
        });
    }
}

#[cfg(test)]
mod tests;
