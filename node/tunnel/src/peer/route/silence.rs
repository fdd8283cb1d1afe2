//! What a peer owes us: signs of life by the path in use, and answers, if it is one that knows our questions. It asks nothing
//! and chooses no path.

use std::time::{Duration, Instant};

use super::{Heard, Order, Route};
use crate::path::Path;
use crate::peer::way::SILENT_AFTER;

/// Since when the peer owes us any sign of life by the path in use.
#[derive(Default)]
pub(super) struct Silence {
    pub(super) since: Option<Instant>,
    pub(super) told: Option<Instant>,
    /// Another peer, which is reached by the same network, is silent since then.
    pub(super) around: Option<Instant>,
    /// A handshake was asked for because of it.
    pub(super) restarted: bool,
}

/// What may be expected of the peer.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) enum Manners {
    /// It was never heard to ask or to answer; until then any genuine packet is a sign of life.
    #[default]
    Unknown,
    /// It knows our questions.
    Answers,
    /// It is there and does not answer, as plain WireGuard in a kernel does. It has no path but UDP.
    Plain,
}

impl Route {
    /// Whoever asks, or comes by a relay or a carrier, is one of ours. Whoever completes a handshake by a path on which our
    /// questions stay without answer is not, or no more; of one that never answered any packet says so, and of a hub nothing else.
    pub(super) fn learn_manners(&mut self, path: Path, heard: Heard, now: Instant) {
        let asks = matches!(heard, Heard::Ask(_) | Heard::Answer(_));
        if asks || !matches!(path, Path::Udp { .. }) {
            self.manners = Manners::Answers;
            return;
        }
        let says = match heard {
            // There are networks that let handshakes pass and nothing after them; a hub is reached over a carrier there.
            Heard::Handshake => !self.watched,
            _ => self.manners == Manners::Unknown,
        };
        if says && self.way(path).is_silent(now) {
            self.manners = Manners::Plain;
        }
    }

    /// Where a peer is that does not answer: the address from which it was heard last.
    pub(super) fn followed(&self) -> Option<Path> {
        let follows = match self.manners {
            Manners::Answers => false,
            Manners::Unknown => self.silence.told.is_none(),
            Manners::Plain => true,
        };
        let heard = self.ways.iter().filter(|way| way.heard.is_some());
        let by_udp = heard.filter(|way| matches!(way.path, Path::Udp { .. }));
        let last = by_udp.max_by_key(|way| way.heard).filter(|_| follows);
        last.map(|way| way.path)
    }

    pub(super) fn judge_silence(&mut self, now: Instant) {
        let Some(since) = self.silence.since else {
            return;
        };
        if self.is_slow_stream(now) {
            return;
        }
        let lasts = now.saturating_duration_since(since);
        let told = self.silence.told;
        let again = |told| self.watched && now - told >= SILENT_REPEAT;
        if lasts >= SILENT_AFTER && told.is_none_or(again) {
            self.silence.told = Some(now);
            self.orders.push_back(Order::TellSilent);
            let current = self.current;
            if let Some(way) = self.ways.iter_mut().find(|way| Some(way.path) == current) {
                way.give_up();
            }
        }
        // The peer may have lost the session by a restart; WireGuard itself would wait for 15 s.
        if lasts >= RESTART_AFTER && self.session && !self.silence.restarted {
            self.silence.restarted = true;
            self.orders.push_back(Order::Initiate);
        }
    }
}

impl Silence {
    pub(super) fn end(&mut self) {
        *self = Self::default();
    }
}

const SILENT_REPEAT: Duration = Duration::from_secs(15);
const RESTART_AFTER: Duration = Duration::from_secs(4);
