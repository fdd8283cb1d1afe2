//! The way of a netmap: received → in force on the data plane → saved → acknowledged. One step at a time; maps that come
//! meanwhile are joined, so that only the newest is applied. A port that can't be opened holds up none of them: it is tried
//! again, and who may do less must hear it.

use std::collections::VecDeque;
use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;

use malha_proto::{MAX_PEERS, Netmap, NetmapDelta, Revision};

use super::fallback::{Fallback, PolicyView};
use super::hub_places::Reached;
use super::{Action, Millis};
use crate::plane::Applied;

/// How many services a netmap may have; a map beyond that, or beyond [`MAX_PEERS`], is not taken.
pub const MAX_SERVICES: usize = 1_000;

/// The pause before a failed apply or save is tried again, milliseconds; doubled up to the longest.
pub const REPAIR_FIRST_MS: Millis = 1_000;
pub const REPAIR_LONGEST_MS: Millis = 30_000;

#[derive(Debug, Default)]
pub(super) struct MapPipeline {
    /// The newest map, as the controller sent it.
    received: Option<Arc<Netmap>>,
    /// What the data plane runs with.
    in_force: Option<Arc<Netmap>>,
    /// Whether all is open that the map in force has this node offer.
    is_open: bool,
    /// What is on disk.
    saved: Option<Arc<Netmap>>,
    /// What the data plane was last told to be, even if a part of it failed.
    attempted: Option<Arc<Netmap>>,
    applying: Option<Arc<Netmap>>,
    saving: Option<Arc<Netmap>>,
    /// The next try after a failure.
    repair_at: Option<Millis>,
    repair_pause_ms: Millis,
    /// Whether the controller still waits for an acknowledgement of the newest map.
    owed: bool,
    fallback: Fallback,
    pub(super) reached: Reached,
    /// The newest map was not taken.
    too_large: Option<TooLarge>,
    apply_error: Option<String>,
    pub(super) save_error: Option<String>,
}

/// Why a map or delta is not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Misfit {
    /// It does not start where this node is.
    Delta,
    /// It is beyond the limits, and the one before stays.
    TooLarge,
}

/// What a map has that is beyond the limits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TooLarge {
    pub peers: usize,
    pub services: usize,
}

impl fmt::Display for TooLarge {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { peers, services } = self;
        write!(
            f,
            "the netmap has {peers} peers and {services} services; a node takes at most {MAX_PEERS} and {MAX_SERVICES}"
        )
    }
}

impl MapPipeline {
    pub(super) fn received(&self) -> Option<&Arc<Netmap>> {
        self.received.as_ref()
    }

    pub(super) fn in_force(&self) -> Option<&Arc<Netmap>> {
        self.in_force.as_ref()
    }

    /// What the data plane was last told to be; a part of it may have failed.
    pub(super) fn attempted(&self) -> Option<&Arc<Netmap>> {
        self.attempted.as_ref()
    }

    /// The map that a session may go on from: the newest, in force. A quarantined node asks for the whole map, since what it
    /// has may be its own word.
    pub(super) fn resumable(&self) -> Option<&Netmap> {
        let newest = self.received.as_ref()?;
        let resumes = is_same(&self.in_force, newest) && !newest.me.quarantined;
        resumes.then_some(newest)
    }

    /// Takes the map from disk: it needs no saving and no acknowledgement.
    pub(super) fn restore(&mut self, map: Netmap, now: Millis, actions: &mut VecDeque<Action>) {
        self.fallback.follow(&map, now);
        let map = Arc::new(map);
        self.saved = Some(map.clone());
        self.received = Some(map);
        self.advance(actions);
    }

    /// Takes a whole map.
    pub(super) fn replace(
        &mut self,
        map: Netmap,
        now: Millis,
        actions: &mut VecDeque<Action>,
    ) -> Result<(), Misfit> {
        let (peers, services) = (map.peers.len(), map.services.len());
        if peers > MAX_PEERS || services > MAX_SERVICES {
            let too_large = TooLarge { peers, services };
            if self.too_large.replace(too_large).is_none() {
                actions.push_back(Action::NoteTooLarge(too_large));
            }
            return Err(Misfit::TooLarge);
        }
        self.too_large = None;
        self.fallback.follow(&map, now);
        self.owed = true;
        // A map that is there already keeps its identity, so that it is neither applied nor saved twice.
        if self.received.as_deref() != Some(&map) {
            self.received = Some(Arc::new(map));
            self.repair_at = None;
        }
        self.advance(actions);
        Ok(())
    }

    pub(super) fn patch(
        &mut self,
        delta: NetmapDelta,
        now: Millis,
        actions: &mut VecDeque<Action>,
    ) -> Result<(), Misfit> {
        let mut map = self.received.as_deref().cloned().ok_or(Misfit::Delta)?;
        map.patch(delta).map_err(|_| Misfit::Delta)?;
        self.replace(map, now, actions)
    }

    /// Puts the newest map on the data plane once more, since that lost what it had.
    pub(super) fn redo(&mut self, actions: &mut VecDeque<Action>) {
        // A map under way does not count: it may have been done before the loss.
        self.received = self.received.as_deref().cloned().map(Arc::new);
        self.repair_at = None;
        self.advance(actions);
    }

    /// A session has begun, and has reached the controller there; by a proxy nowhere.
    pub(super) fn on_session(
        &mut self,
        controller: Option<SocketAddr>,
        actions: &mut VecDeque<Action>,
    ) {
        // Where the former map is the newest again, the controller sends none.
        self.too_large = None;
        let effective = |it: &Self| it.received.as_ref().map(|map| it.effective(map));
        let former = effective(self);
        self.reached.on_session(controller);
        if effective(self) != former {
            self.redo(actions);
        }
    }

    /// Holds this node apart without the controller's map: its own word for it is in the refusal.
    pub(super) fn quarantine(&mut self, actions: &mut VecDeque<Action>) {
        let Some(map) = self.received.as_deref().filter(|map| !map.me.quarantined) else {
            return;
        };
        let mut alone = map.clone();
        alone.me.quarantined = true;
        self.received = Some(Arc::new(alone));
        self.repair_at = None;
        self.owed = false;
        self.advance(actions);
    }

    pub(super) fn on_applied(
        &mut self,
        revision: Revision,
        result: Applied,
        now: Millis,
        actions: &mut VecDeque<Action>,
    ) {
        let Some(map) = self.applying.take_if(|map| map.revision == revision) else {
            return;
        };
        self.attempted = Some(map.clone());
        self.apply_error = result.trouble().map(str::to_owned);
        match result.is_whole() {
            true => self.repair_pause_ms = 0,
            false => self.repair_later(&map, now),
        }
        if result.peers.is_ok() {
            self.in_force = Some(map);
            self.is_open = result.doors.is_ok();
        }
        self.advance(actions);
    }

    pub(super) fn on_saved(
        &mut self,
        revision: Revision,
        result: Result<(), String>,
        now: Millis,
        actions: &mut VecDeque<Action>,
    ) {
        let Some(map) = self.saving.take_if(|map| map.revision == revision) else {
            return;
        };
        match result {
            Ok(()) => {
                self.saved = Some(map);
                self.save_error = None;
            }
            Err(error) => {
                self.save_error = Some(error);
                self.repair_later(&map, now);
            }
        }
        self.advance(actions);
    }

    pub(super) fn on_timer(&mut self, now: Millis, actions: &mut VecDeque<Action>) {
        if self.fallback.on_timer(now) {
            self.redo(actions);
        }
        if self.repair_at.take_if(|at| now >= *at).is_some() {
            self.advance(actions);
        }
    }

    pub(super) fn timeout(&self) -> Option<Millis> {
        self.repair_at
            .into_iter()
            .chain(self.fallback.timeout())
            .min()
    }

    pub(super) fn policy(&self) -> Option<PolicyView> {
        self.fallback.view()
    }

    pub(super) fn too_large(&self) -> Option<TooLarge> {
        self.too_large
    }

    /// Why the newest map is not in force.
    pub(super) fn error(&self) -> Option<String> {
        let too_large = self.too_large.as_ref().map(ToString::to_string);
        too_large.or_else(|| self.apply_error.clone())
    }

    pub(super) fn given_up(&self) -> Option<u64> {
        self.fallback.given_up()
    }

    /// The revision to acknowledge now, once. A map that can't be saved is acknowledged all the same: the data plane runs
    /// with it.
    pub(super) fn take_ack(&mut self) -> Option<Revision> {
        let newest = self.received.as_ref()?;
        let done = is_same(&self.in_force, newest)
            && (is_same(&self.saved, newest)
                || (self.save_error.is_some() && self.saving.is_none()));
        (self.owed && done).then(|| {
            self.owed = false;
            newest.revision
        })
    }

    fn advance(&mut self, actions: &mut VecDeque<Action>) {
        let Some(newest) = self.received.clone() else {
            return;
        };
        let waits = self.repair_at.is_some();
        let in_force = is_same(&self.in_force, &newest);
        if !(in_force && self.is_open) && self.applying.is_none() && !waits {
            self.applying = Some(newest.clone());
            actions.push_back(Action::Apply(self.effective(&newest)));
        }
        let may_save = self.saving.is_none() && !(waits && self.save_error.is_some());
        if in_force && !is_same(&self.saved, &newest) && may_save {
            self.saving = Some(newest.clone());
            actions.push_back(Action::SaveNetmap(newest));
        }
    }

    /// What the data plane makes of a map: a quarantined node has no peers, what nobody confirmed in time holds no longer, and the
    /// hub may be where the controller is.
    pub(super) fn effective(&self, map: &Arc<Netmap>) -> Arc<Netmap> {
        if !map.me.quarantined {
            return self.reached.completed(self.fallback.effective(map));
        }
        let mut alone = Netmap::clone(map);
        alone.peers.clear();
        Arc::new(alone)
    }

    /// A newer map than the failed one does not wait.
    fn repair_later(&mut self, failed: &Arc<Netmap>, now: Millis) {
        if !is_same(&self.received, failed) {
            return;
        }
        self.repair_pause_ms = (self.repair_pause_ms * 2).clamp(REPAIR_FIRST_MS, REPAIR_LONGEST_MS);
        self.repair_at = Some(now + self.repair_pause_ms);
    }
}

fn is_same(step: &Option<Arc<Netmap>>, newest: &Arc<Netmap>) -> bool {
    step.as_ref().is_some_and(|map| Arc::ptr_eq(map, newest))
}
