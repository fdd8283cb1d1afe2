//! Follows committed transactions by reading the change log after each commit, so a slow watcher costs nothing and is told
//! when it has fallen behind. It never splits a transaction.

use std::collections::VecDeque;
use std::ops::{Bound, ControlFlow};
use std::sync::Arc;

use tokio::sync::watch;

use crate::blocking::read_off_runtime;
use crate::change::{self, Transaction};
use crate::engine::View;
use crate::error::StoreError;
use crate::key::Prefix;
use crate::layout;
use crate::limits::{WATCH_AHEAD_BYTES, WATCH_AHEAD_TRANSACTIONS};
use crate::meta;
use crate::record::StoreRevision;
use crate::status::{Condition, Shared, Status};

/// A place in the stream of transactions.
pub struct Watch {
    shared: Arc<Shared>,
    status: watch::Receiver<Status>,
    prefix: Prefix,
    position: StoreRevision,
    ahead: VecDeque<Transaction>,
}

/// What a watcher is told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum WatchItem {
    /// The next transaction that touches the prefix, with its events under the prefix.
    Events(Transaction),
    /// The transactions after the watcher's place are gone: read everything again and watch from that revision. The
    /// first revision that is still there is `oldest`.
    Compacted { oldest: StoreRevision },
}

impl Watch {
    pub(crate) fn new(
        shared: Arc<Shared>,
        prefix: Prefix,
        after: StoreRevision,
    ) -> Result<Self, StoreError> {
        let status = shared.status.subscribe();
        let head = status.borrow().head.revision;
        if after > head {
            return Err(StoreError::UnknownRevision { asked: after, head });
        }
        Ok(Self {
            shared,
            status,
            prefix,
            position: after,
            ahead: VecDeque::new(),
        })
    }

    /// Waits for the next item. Dropping the future loses nothing; after an error, asking again goes on at the same place.
    pub async fn next(&mut self) -> Result<WatchItem, StoreError> {
        loop {
            if let Some(transaction) = self.ahead.pop_front() {
                return Ok(WatchItem::Events(transaction));
            }
            let position = self.position;
            self.wait_for_change().await?;
            let shared = Arc::clone(&self.shared);
            let prefix = self.prefix.clone();
            let read =
                read_off_runtime(move || read_ahead(&*shared.engine.view()?, &prefix, position));
            match read.await? {
                Ahead::Read {
                    through,
                    transactions,
                } => {
                    self.position = through;
                    self.ahead = transactions;
                }
                Ahead::Compacted { oldest } => return Ok(WatchItem::Compacted { oldest }),
            }
        }
    }

    async fn wait_for_change(&mut self) -> Result<(), StoreError> {
        let position = self.position;
        let status = self
            .status
            .wait_for(|status| {
                status.head.revision > position || status.condition == Condition::Closed
            })
            .await
            .map_err(|_| StoreError::Closed)?;
        match status.condition {
            Condition::Closed => Err(StoreError::Closed),
            _ => Ok(()),
        }
    }
}

enum Ahead {
    Read {
        through: StoreRevision,
        transactions: VecDeque<Transaction>,
    },
    Compacted {
        oldest: StoreRevision,
    },
}

fn read_ahead(view: &dyn View, prefix: &Prefix, after: StoreRevision) -> Result<Ahead, StoreError> {
    let oldest = meta::read_head(view)?.oldest_change;
    if after.next() < oldest {
        return Ok(Ahead::Compacted { oldest });
    }
    let mut through = after;
    let mut transactions = VecDeque::new();
    let mut bytes = 0;
    let mut damage = None;
    view.scan(
        Bound::Included(&layout::log_key(after.next())),
        &layout::end_of(layout::LOG),
        &mut |log_key, sealed| match change::decode(log_key, sealed) {
            Ok(mut transaction) if transaction.revision == through.next() => {
                through = transaction.revision;
                bytes += sealed.len();
                transaction
                    .events
                    .retain(|event| prefix.covers(event.key()));
                if !transaction.events.is_empty() {
                    transactions.push_back(transaction);
                }
                if transactions.len() == WATCH_AHEAD_TRANSACTIONS || bytes >= WATCH_AHEAD_BYTES {
                    ControlFlow::Break(())
                } else {
                    ControlFlow::Continue(())
                }
            }
            Ok(_) => {
                let missing = format!("change {}", through.next());
                damage = Some(StoreError::damaged(missing, "it is missing"));
                ControlFlow::Break(())
            }
            Err(error) => {
                damage = Some(error);
                ControlFlow::Break(())
            }
        },
    )?;
    match damage {
        Some(error) => Err(error),
        None => Ok(Ahead::Read {
            through,
            transactions,
        }),
    }
}
