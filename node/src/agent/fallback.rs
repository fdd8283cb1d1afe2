//! The way back from a policy that nobody confirmed: a filter that came with a deadline holds until then, and the former one
//! afterwards, whether or not a controller can be heard. It changes no map; it says what a map comes to.

use std::sync::Arc;

use malha_proto::{FormerAllow, Netmap};

use super::Millis;

/// A policy that waits for its confirmation, or waited in vain, as this node lived it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PolicyView {
    Waiting {
        version: u64,
        until: Millis,
    },
    /// The deadline passed without a word of the controller.
    Returned {
        version: u64,
        since: Millis,
        /// The controller has not spoken since: the former filter is in force.
        holds: bool,
    },
}

/// The deadline of the newest map. A node that starts again counts from its start: it can't know how long it was off.
#[derive(Debug, Default)]
pub(super) struct Fallback {
    /// The policy that waits, and when this node stops waiting with it.
    waiting: Option<(u64, Millis)>,
    /// The policy that this node no longer follows.
    given_up: Option<u64>,
    /// The last time that a deadline passed, to be told.
    returned: Option<(u64, Millis)>,
}

impl Fallback {
    /// A map came. The controller's word, for or against the policy, is that its deadline is gone from the map.
    pub(super) fn follow(&mut self, map: &Netmap, now: Millis) {
        let Some(pending) = newest(map) else {
            (self.waiting, self.given_up) = (None, None);
            return;
        };
        let known = self.waiting.map(|(version, _)| version).or(self.given_up);
        if known != Some(pending.version) {
            let within_ms = pending.within_ms.min(LONGEST_WAIT_MS);
            self.waiting = Some((pending.version, now.saturating_add(within_ms)));
            self.given_up = None;
        }
    }

    /// Whether the deadline passes now.
    pub(super) fn on_timer(&mut self, now: Millis) -> bool {
        let over = self.waiting.take_if(|(_, until)| now >= *until);
        if let Some((version, _)) = over {
            self.given_up = Some(version);
            self.returned = Some((version, now));
        }
        over.is_some()
    }

    pub(super) fn timeout(&self) -> Option<Millis> {
        self.waiting.map(|(_, until)| until)
    }

    pub(super) fn view(&self) -> Option<PolicyView> {
        let waiting = self
            .waiting
            .map(|(version, until)| PolicyView::Waiting { version, until });
        let returned = self.returned.map(|(version, since)| PolicyView::Returned {
            version,
            since,
            holds: self.given_up == Some(version),
        });
        waiting.or(returned)
    }

    /// What the controller hears: the policy that this node no longer follows.
    pub(super) fn given_up(&self) -> Option<u64> {
        self.given_up
    }

    /// The map as it holds now.
    pub(super) fn effective(&self, map: &Arc<Netmap>) -> Arc<Netmap> {
        let Some(given_up) = self.given_up else {
            return map.clone();
        };
        let mut former = Netmap::clone(map);
        for peer in former.peers.values_mut() {
            if let Some(it) = peer.former.take_if(|it| it.version <= given_up) {
                peer.allow = it.allow;
            }
        }
        Arc::new(former)
    }
}

fn newest(map: &Netmap) -> Option<&FormerAllow> {
    let pending = map.peers.values().filter_map(|peer| peer.former.as_ref());
    pending.max_by_key(|pending| pending.version)
}

/// A controller asks for an hour at most, or for a day after an emergency.
const LONGEST_WAIT_MS: Millis = 24 * 3_600_000;
