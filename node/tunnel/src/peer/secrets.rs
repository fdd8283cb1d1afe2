//! Which of its two last keys a peer answers to. The news of a new key can be lost on the way to one side; then the two meet with
//! the former one, until the new one is proven or the former one's time is over. It never prefers the former one.

use std::time::{Duration, Instant};

use super::{Peer, TICK};
use crate::noise::{Kind, Opened, Tick, announced_session};
use crate::path::Path;
use crate::wire::Wire;

/// What is known of the newest key.
#[derive(Default)]
pub(super) struct Secrets {
    /// The peer has spoken with it.
    pub(super) proven: bool,
    /// Initiations with it that nothing came of.
    asked: u32,
    /// Since it is here the peer was reached with the former one.
    pub(super) former_used: bool,
    /// When to ask with the former one.
    former_at: Option<Instant>,
    /// Sessions that we answered and that the peer has not yet used, of the newest key and of the former one: each may be a replay.
    unconfirmed: [Option<u32>; 2],
}

impl Secrets {
    pub(super) fn is_unconfirmed(&self, session: u32) -> bool {
        self.unconfirmed.contains(&Some(session))
    }

    pub(super) fn note_asked(&mut self) {
        self.asked = self.asked.saturating_add(1);
    }

    /// Whether something was asked with the newest key and not answered.
    pub(super) fn asks(&self) -> bool {
        self.asked > 0
    }

    /// The peer has the newest key.
    pub(super) fn prove(&mut self) {
        *self = Self {
            proven: true,
            ..Self::default()
        };
    }

    /// The peer was reached with the former key.
    pub(super) fn fall_back(&mut self) {
        self.former_used |= !self.proven;
        self.former_at = None;
        self.unconfirmed = [None; 2];
    }

    /// Whether an initiation with the former key is due soon.
    pub(super) fn is_pressing(&self) -> bool {
        self.former_at.is_some()
    }

    /// Whether the newest key had its chance.
    fn is_doubtful(&self) -> bool {
        !self.proven && (self.former_used || self.asked >= FAIR_CHANCE)
    }
}

impl Peer {
    /// An initiation was answered with the newest key. If that was in vain the last time, the former key answers, too.
    pub(super) fn answered(
        &mut self,
        (path, initiation): (Path, &[u8]),
        session: Option<u32>,
        buffer: &mut [u8],
        now: Instant,
        wire: &mut Wire,
    ) {
        let doubtful = self.secrets.is_doubtful();
        let [newest, former] = &mut self.secrets.unconfirmed;
        let in_vain = newest.is_some() && !self.secrets.proven;
        *newest = session;
        if !in_vain && !doubtful {
            return;
        }
        // What carries the traffic now is not put at risk for what might come.
        let machine = self.retiring.former();
        let Some(machine) = machine.filter(|it| !it.is_full(now)) else {
            return;
        };
        if let Opened::Reply(reply) = machine.open(path.source(), initiation, buffer, now)
            && let Some(Kind::Response { .. }) = Kind::of(reply)
        {
            *former = announced_session(reply);
            self.tx_bytes += reply.len() as u64;
            wire.push(path, reply);
        }
    }

    /// Plans a handshake with the former key, if the newest one had its chance: a moment after the newest asked, since a kernel takes
    /// one initiation of a peer in 20 ms and drops the next.
    pub(super) fn plan_former(&mut self, now: Instant) {
        if self.secrets.is_doubtful() {
            self.secrets.former_at.get_or_insert(now + FORMER_PAUSE);
        }
    }

    /// Starts the handshake that was planned, if its time has come. From then on that machine repeats it at its own pace.
    pub(super) fn initiate_with_former(&mut self, now: Instant, wire: &mut Wire) {
        if self.secrets.former_at.take_if(|at| now >= *at).is_none() {
            return;
        }
        let Some(former) = self.retiring.former() else {
            return;
        };
        let mut sealed = std::mem::take(&mut wire.scratch);
        if let Some(message) = former.initiate(&mut sealed) {
            self.transmit(message, now, wire);
        }
        wire.scratch = sealed;
    }

    /// Ticks all machines but the newest. Of them only the former one may want anything.
    pub(super) fn tick_retiring(&mut self, in_use: bool, now: Instant, wire: &mut Wire) {
        let mut sealed = std::mem::take(&mut wire.scratch);
        for other in self.retiring.others() {
            // Only its session's age matters.
            let _ = other.tick(&mut sealed);
        }
        let doubtful = self.secrets.is_doubtful();
        let old = |age: Duration| age >= REKEY_AFTER && in_use && doubtful;
        let message = self.retiring.former().and_then(|former| {
            if let Tick::Send(message) = former.tick(&mut sealed) {
                return Some(message.to_vec());
            }
            let due = former.session_age().is_some_and(old);
            let message = due.then(|| former.initiate_unless_under_way(&mut sealed));
            message.flatten().map(<[u8]>::to_vec)
        });
        wire.scratch = sealed;
        let wanted = |message: &Vec<u8>| match Kind::is_initiation(message) {
            true => doubtful,
            false => self.secrets.former_used,
        };
        if let Some(message) = message.filter(wanted) {
            self.transmit(&message, now, wire);
        }
    }
}

/// So many initiations are made with the newest key alone.
const FAIR_CHANCE: u32 = 2;
/// One tick: initiations with the two keys are repeated after the same time, and so never at the same tick.
const FORMER_PAUSE: Duration = TICK;
/// REKEY_AFTER_TIME of the WireGuard paper §6.1. The peer, whom we ask with the newest key again and again, takes us for who
/// begins.
const REKEY_AFTER: Duration = Duration::from_secs(120);
