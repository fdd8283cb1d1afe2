//! The machines before the last changes of key material: they still open what is under way, and seal until a successor can.
//! The last one whose key the peer is known to have may make handshakes, too, while the newest key reaches nobody.

use std::time::{Duration, Instant};

use crate::noise::{Noise, REJECT_AFTER, SessionIndex};

/// Oldest first.
#[derive(Default)]
pub(super) struct Retiring(Vec<Machine>);

struct Machine {
    noise: Noise,
    until: Instant,
    /// The peer has spoken with this key.
    proven: bool,
}

impl Retiring {
    /// Takes a machine that was replaced. Returns the index of the one that is gone for good, if there is one.
    ///
    /// A machine without a session stays, too: the other side may have finished its handshake already and seals with it, which
    /// we learn from its first packet.
    pub(super) fn push(
        &mut self,
        noise: Noise,
        proven: bool,
        now: Instant,
    ) -> Option<SessionIndex> {
        if proven {
            self.shorten(self.0.len(), now + REJECT_AFTER);
        }
        let until = match proven {
            true => now + FORMER_FOR,
            false => now + REJECT_AFTER,
        };
        self.0.push(Machine {
            noise,
            until,
            proven,
        });
        if self.0.len() <= MAX_RETIRING {
            return None;
        }
        let needed = [self.sealing(), self.proven()];
        let gone = (0..self.0.len()).find(|place| !needed.contains(&Some(*place)))?;
        Some(self.0.remove(gone).noise.index())
    }

    /// Whether a machine is about to go, and not just kept in case that it is needed.
    pub(super) fn is_pressing(&self) -> bool {
        let kept = usize::from(self.proven().is_some());
        self.0.len() > kept
    }

    pub(super) fn indexes(&self) -> impl Iterator<Item = SessionIndex> + '_ {
        self.0.iter().map(|it| it.noise.index())
    }

    /// The machine that a session belongs to.
    pub(super) fn of_session(&mut self, session: u32) -> Option<&mut Noise> {
        let place = self.place_of(session)?;
        self.0.get_mut(place).map(|it| &mut it.noise)
    }

    pub(super) fn can_seal(&self) -> bool {
        self.sealing().is_some()
    }

    /// The newest machine that can seal; if there is none and `former` says so, the one that may get a session.
    pub(super) fn sealer(&mut self, former: bool) -> Option<&mut Noise> {
        let former = || self.proven().filter(|_| former);
        let place = self.sealing().or_else(former)?;
        self.0.get_mut(place).map(|it| &mut it.noise)
    }

    /// The machine of the last key with which the peer has spoken.
    pub(super) fn former(&mut self) -> Option<&mut Noise> {
        let place = self.proven()?;
        self.0.get_mut(place).map(|it| &mut it.noise)
    }

    /// Those that make no handshakes.
    pub(super) fn others(&mut self) -> impl Iterator<Item = &mut Noise> {
        let former = self.proven();
        let all = self.0.iter_mut().enumerate();
        let others = all.filter(move |(place, _)| Some(*place) != former);
        others.map(|(_, it)| &mut it.noise)
    }

    /// The peer speaks in a session of one of these, so it has that key; what is under way for earlier ones has a little time left.
    /// One before the former machine speaks of the past.
    pub(super) fn prove(&mut self, session: u32, now: Instant) {
        let former = self.proven();
        let Some(place) = self.place_of(session).filter(|it| Some(*it) >= former) else {
            return;
        };
        if former != Some(place) {
            self.shorten(place, now + RETIRE_GRACE);
        }
        if let Some(machine) = self.0.get_mut(place) {
            machine.proven = true;
            machine.until = now + FORMER_FOR;
        }
    }

    /// A successor is proven: what is under way has a little time left.
    pub(super) fn hasten(&mut self, now: Instant) {
        self.shorten(self.0.len(), now + RETIRE_GRACE);
    }

    /// The index of a machine whose time is over.
    pub(super) fn retire(&mut self, now: Instant) -> Option<SessionIndex> {
        let gone = self.0.iter().position(|it| now >= it.until)?;
        Some(self.0.remove(gone).noise.index())
    }

    /// The first `count` stay until then at most.
    fn shorten(&mut self, count: usize, until: Instant) {
        for machine in self.0.iter_mut().take(count) {
            machine.until = machine.until.min(until);
        }
    }

    fn place_of(&self, session: u32) -> Option<usize> {
        let index = SessionIndex::of_session(session);
        self.0.iter().position(|it| it.noise.index() == index)
    }

    fn sealing(&self) -> Option<usize> {
        self.0.iter().rposition(|it| it.noise.has_session())
    }

    fn proven(&self) -> Option<usize> {
        self.0.iter().rposition(|it| it.proven)
    }
}

/// Changes of key material that can be under way at once.
const MAX_RETIRING: usize = 3;
/// What is under way for an old session when the new one is proven arrives within this time.
const RETIRE_GRACE: Duration = Duration::from_secs(10);
/// How long the former key opens the door for a peer that has not heard of a newer one, from its last word with it: as long as
/// a key is the newest.
const FORMER_FOR: Duration = Duration::from_secs(24 * 60 * 60);
