//! How callers reach the shards of a tunnel: one of them, or all in one order, so that they agree who owns what. It decides
//! nothing.

use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::{mpsc, oneshot};

use super::Command;
use crate::error::TunnelError;
use crate::underlay::Request;

/// The inboxes of all shards; there is one at least.
#[derive(Clone)]
pub(crate) struct Commands {
    shards: Arc<[mpsc::Sender<Command>]>,
    /// Held while something is put into all inboxes, never while anybody waits.
    order: Arc<Mutex<()>>,
    /// Held while sockets are closed and bound again.
    rebinding: Arc<tokio::sync::Mutex<()>>,
}

impl Commands {
    pub(crate) fn new(shards: Vec<mpsc::Sender<Command>>) -> Self {
        Self {
            shards: shards.into(),
            order: Arc::default(),
            rebinding: Arc::default(),
        }
    }

    pub(super) fn count(&self) -> usize {
        self.shards.len()
    }

    pub(super) fn shard(&self, number: usize) -> &mpsc::Sender<Command> {
        &self.shards[number]
    }

    /// Whether the shards have ended: when one does, be it by a panic, all do.
    pub(super) fn are_closed(&self) -> bool {
        self.shards.iter().any(mpsc::Sender::is_closed)
    }

    /// `None` if the tunnel has ended.
    pub(super) async fn ask<T>(
        &self,
        shard: usize,
        command: impl FnOnce(oneshot::Sender<T>) -> Command,
    ) -> Option<T> {
        let (reply, answer) = oneshot::channel();
        self.shard(shard).send(command(reply)).await.ok()?;
        answer.await.ok()
    }

    /// Asks all shards the same. All or none are asked, even if the caller gives up, and two callers in the same order. `None` if the
    /// tunnel has ended.
    pub(super) async fn ask_all<T>(
        &self,
        command: impl Fn(oneshot::Sender<T>) -> Command,
    ) -> Option<Vec<T>> {
        let mut places = Vec::with_capacity(self.count());
        for shard in self.shards.iter() {
            places.push(shard.reserve().await.ok()?);
        }
        let mut answers = Vec::with_capacity(places.len());
        {
            let _order = self.order.lock().unwrap_or_else(PoisonError::into_inner);
            for place in places {
                let (reply, answer) = oneshot::channel();
                place.send(command(reply));
                answers.push(answer);
            }
        }
        let mut all = Vec::with_capacity(answers.len());
        for answer in answers {
            all.push(answer.await.ok()?);
        }
        Some(all)
    }

    /// Lets the first shard bind new sockets for all, once all old ones are closed.
    pub(super) async fn rebind(&self) -> Result<(), TunnelError> {
        let _rebinding = self.rebinding.lock().await;
        if self.count() > 1 {
            // The first is the first to close its own: from then on it gives none to others.
            for shard in 0..self.count() {
                let closed = self.ask(shard, |reply| Command::Device(Request::Unbind(reply)));
                closed.await.ok_or(TunnelError::Stopped)?;
            }
        }
        let bound = self.ask(0, |reply| Command::Device(Request::Rebind(reply)));
        bound.await.unwrap_or(Err(TunnelError::Stopped))
    }

    /// Ends all shards, and returns when nothing is left of them.
    pub(super) async fn shutdown(&self) {
        // No answer means that it has already ended.
        let _ = self.ask(0, Command::Shutdown).await;
        // The others see the first end; their inbox is the last that they give up.
        for shard in self.shards.iter().skip(1) {
            shard.closed().await;
        }
    }
}
