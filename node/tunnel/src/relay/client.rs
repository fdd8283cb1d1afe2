//! A node's side of the relay: keeps its channels bound at the hubs. It has no I/O, and it never judges what comes through.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use super::RelayGrant;
use super::frame::{Control, ControlKind, Cookie, Sealed, is_after};
use crate::key::{PublicKey, RelayKey};
use crate::path::ChannelId;

/// The channels that this node was granted, one per peer at most.
pub(crate) struct RelayClient {
    channels: BTreeMap<ChannelId, Channel>,
    /// When each channel says HELLO next.
    due: BTreeSet<(Instant, ChannelId)>,
    /// Unix time at `start`: counters grow even over restarts, as long as the clock is right. If it is not, the relay says
    /// from where to go on.
    start_unix_ms: u64,
    start: Instant,
}

struct Channel {
    key: RelayKey,
    via: PublicKey,
    /// Whom it leads to.
    peer: PublicKey,
    bound: bool,
    /// Of the last HELLO, or what the relay says to go on from.
    counter: u64,
    /// The first HELLO that may still be answered; all up to the last may. `None` once that one is.
    awaited: Option<u64>,
    cookie: Cookie,
    due: Instant,
    unanswered: u32,
    used_until: Instant,
}

impl RelayClient {
    pub(crate) fn new(now: Instant, start_unix_ms: u64) -> Self {
        Self {
            channels: BTreeMap::new(),
            due: BTreeSet::new(),
            start_unix_ms,
            start: now,
        }
    }

    /// Takes a channel into use; its HELLO is due at once. A grant that is known already changes nothing.
    pub(crate) fn grant(&mut self, peer: PublicKey, grant: &RelayGrant, now: Instant) {
        let known = self.channels.get(&grant.channel);
        if known.is_some_and(|known| {
            known.key == grant.key && known.via == grant.via && known.peer == peer
        }) {
            return;
        }
        self.forget(grant.channel);
        let channel = Channel {
            key: grant.key.clone(),
            via: grant.via,
            peer,
            bound: false,
            counter: 0,
            awaited: None,
            cookie: Cookie::default(),
            due: now,
            unanswered: 0,
            used_until: now,
        };
        self.channels.insert(grant.channel, channel);
        self.due.insert((now, grant.channel));
    }

    /// The peer has this channel no longer. Another one may have it by now: numbers come again when the controller was restarted.
    pub(crate) fn revoke(&mut self, channel: ChannelId, from: &PublicKey) {
        if self.peer(channel).as_ref() == Some(from) {
            self.forget(channel);
        }
    }

    fn forget(&mut self, channel: ChannelId) {
        if let Some(gone) = self.channels.remove(&channel) {
            self.due.remove(&(gone.due, channel));
        }
    }

    /// The peer that relays this channel.
    pub(crate) fn via(&self, channel: ChannelId) -> Option<PublicKey> {
        self.channels.get(&channel).map(|known| known.via)
    }

    /// The peer that this channel leads to.
    pub(crate) fn peer(&self, channel: ChannelId) -> Option<PublicKey> {
        self.channels.get(&channel).map(|known| known.peer)
    }

    /// Something came through the channel.
    pub(crate) fn touch(&mut self, channel: ChannelId, now: Instant) {
        if let Some(known) = self.channels.get_mut(&channel) {
            let was_used = known.used_until > now;
            known.used_until = now + USED_FOR;
            if !was_used && known.unanswered == 0 {
                let soon = known.due.min(now + HELLO_USED);
                self.schedule(channel, soon);
            }
        }
    }

    /// Nothing comes back through the channel: a NAT may have moved us.
    pub(crate) fn bind(&mut self, channel: ChannelId, now: Instant) {
        if let Some(known) = self.channels.get_mut(&channel) {
            known.unanswered = 0;
            self.schedule(channel, now);
        }
    }

    /// This node's path to a hub, or to all if `None`, is another one now, so its channels there are bound to the wrong place; or
    /// the hub may have forgotten them.
    pub(crate) fn moved(&mut self, via: Option<&PublicKey>, now: Instant) {
        let moved: Vec<_> = self
            .channels
            .iter_mut()
            .filter(|(_, channel)| via.is_none_or(|via| channel.via == *via))
            .map(|(number, channel)| {
                channel.unanswered = 0;
                channel.bound = false;
                *number
            })
            .collect();
        for number in moved {
            self.schedule(number, now);
        }
    }

    /// A control frame. It counts if it is the first to answer a HELLO, and no later one has been answered: others were recorded, and
    /// may come from anywhere. Returns the peer behind a channel that has just been bound.
    pub(crate) fn handle_control(
        &mut self,
        channel: ChannelId,
        frame: &[u8],
        now: Instant,
    ) -> Option<PublicKey> {
        let known = self.channels.get_mut(&channel)?;
        let first = known.awaited?;
        let control = Control::open(frame, &known.key)?;
        let place = control.answers.wrapping_sub(first);
        if control.kind == ControlKind::Hello || place > known.counter.wrapping_sub(first) {
            return None;
        }
        let is_last = control.answers == known.counter;
        known.awaited = (!is_last).then(|| control.answers.wrapping_add(1));
        match control.kind {
            ControlKind::Hello => {}
            ControlKind::Challenge => {
                known.cookie = control.cookie;
                if is_after(control.counter, known.counter) {
                    known.counter = control.counter;
                    known.awaited = None;
                }
                // A relay that never accepts must not be able to make us loop.
                if known.unanswered <= MAX_PROMPT_ANSWERS {
                    self.schedule(channel, now);
                }
            }
            // Another one may be on its way to where this node is not any more.
            ControlKind::Bound if is_last => {
                known.unanswered = 0;
                let pause = match known.used_until > now {
                    true => HELLO_USED,
                    false => HELLO_IDLE,
                };
                let news = !std::mem::replace(&mut known.bound, true);
                let peer = known.peer;
                self.schedule(channel, now + pause);
                return news.then_some(peer);
            }
            ControlKind::Bound => {}
        }
        None
    }

    /// The next HELLO that is due, and the hub it is for.
    pub(crate) fn poll_hello(&mut self, now: Instant) -> Option<(PublicKey, Sealed)> {
        let number = self.due.first().filter(|(at, _)| *at <= now)?.1;
        let unix_ms = self.start_unix_ms + now.duration_since(self.start).as_millis() as u64;
        let known = self.channels.get_mut(&number)?;
        known.counter = match is_after(unix_ms, known.counter) {
            true => unix_ms,
            false => known.counter.wrapping_add(1),
        };
        known.awaited.get_or_insert(known.counter);
        let hello = Control {
            kind: ControlKind::Hello,
            channel: number,
            counter: known.counter,
            answers: 0,
            cookie: known.cookie,
        };
        let sent = (known.via, hello.seal(&known.key));
        let pause = HELLO_RETRY * (1 << known.unanswered.min(HELLO_DOUBLINGS));
        known.unanswered = known.unanswered.saturating_add(1);
        self.schedule(number, now + pause);
        Some(sent)
    }

    /// When [`poll_hello`](Self::poll_hello) will have something.
    pub(crate) fn poll_timeout(&self) -> Option<Instant> {
        self.due.first().map(|(at, _)| *at)
    }

    fn schedule(&mut self, channel: ChannelId, at: Instant) {
        if let Some(known) = self.channels.get_mut(&channel) {
            self.due.remove(&(known.due, channel));
            known.due = at;
            self.due.insert((at, channel));
        }
    }
}

/// While a channel carries something, and while it only waits for the other side to begin.
const HELLO_USED: Duration = Duration::from_secs(20);
const HELLO_IDLE: Duration = Duration::from_secs(50);
const USED_FOR: Duration = Duration::from_secs(60);
const HELLO_RETRY: Duration = Duration::from_millis(500);
/// 16 s at most.
const HELLO_DOUBLINGS: u32 = 5;
const MAX_PROMPT_ANSWERS: u32 = 3;
