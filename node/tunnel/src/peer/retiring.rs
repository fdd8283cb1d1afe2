//! The machines before the last changes of key material: they still open what is under way, and seal until a successor can.
//! None of them makes a handshake.

use std::time::{Duration, Instant};

use crate::noise::{Noise, SessionIndex};

/// Oldest first.
#[derive(Default)]
pub(super) struct Retiring(Vec<Machine>);

struct Machine {
    noise: Noise,
    until: Instant,
}

impl Retiring {
    /// Takes a machine that was replaced. Returns the index of the one that is gone for good, if there is one.
    ///
    /// A machine without a session stays, too: the other side may have finished its handshake already and seals with it, which
    /// we learn from its first packet.
    pub(super) fn push(&mut self, noise: Noise, now: Instant) -> Option<SessionIndex> {
        let until = now + RETIRE_AFTER;
        self.0.push(Machine { noise, until });
        if self.0.len() <= MAX_RETIRING {
            return None;
        }
        let sealing = self.sealing();
        let gone = (0..self.0.len()).find(|place| Some(*place) != sealing)?;
        Some(self.0.remove(gone).noise.index())
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn indexes(&self) -> impl Iterator<Item = SessionIndex> + '_ {
        self.0.iter().map(|it| it.noise.index())
    }

    /// The machine that a session belongs to.
    pub(super) fn of_session(&mut self, session: u32) -> Option<&mut Noise> {
        let index = SessionIndex::of_session(session);
        let mut machines = self.0.iter_mut().map(|it| &mut it.noise);
        machines.find(|noise| noise.index() == index)
    }

    pub(super) fn can_seal(&self) -> bool {
        self.sealing().is_some()
    }

    /// The newest machine that can seal.
    pub(super) fn sealer(&mut self) -> Option<&mut Noise> {
        let place = self.sealing()?;
        self.0.get_mut(place).map(|it| &mut it.noise)
    }

    pub(super) fn machines(&mut self) -> impl Iterator<Item = &mut Noise> {
        self.0.iter_mut().map(|it| &mut it.noise)
    }

    /// A successor is proven: what is under way has a little time left.
    pub(super) fn hasten(&mut self, now: Instant) {
        for machine in &mut self.0 {
            machine.until = machine.until.min(now + RETIRE_GRACE);
        }
    }

    /// The index of a machine whose time is over.
    pub(super) fn retire(&mut self, now: Instant) -> Option<SessionIndex> {
        let gone = self.0.iter().position(|it| now >= it.until)?;
        Some(self.0.remove(gone).noise.index())
    }

    fn sealing(&self) -> Option<usize> {
        self.0.iter().rposition(|it| it.noise.has_session())
    }
}

/// Changes of key material that can be under way at once.
const MAX_RETIRING: usize = 3;
/// REJECT_AFTER_TIME of the WireGuard paper §6.1: no session lives longer.
const RETIRE_AFTER: Duration = Duration::from_secs(180);
/// What is under way for an old session when the new one is proven arrives within this time.
const RETIRE_GRACE: Duration = Duration::from_secs(10);
