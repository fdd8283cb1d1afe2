//! One open connection, between the task that carries it and the pool that counts it: what has moved, who has left, and
//! whether it has been told to end. It moves no byte itself.

use std::future::poll_fn;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU32, Ordering};
use std::sync::{Mutex, OnceLock, PoisonError};
use std::task::{Poll, Waker};
use std::time::Duration;

use tokio::time::{Instant, interval};

use super::spec::Limits;

/// A connection as its task and its pool know it.
#[derive(Debug, Default)]
pub(super) struct Open {
    /// Moves on with every byte or end that is carried; whoever looks twice sees whether anything was. A clock would cost more.
    moves: AtomicU32,
    server_spoke: AtomicBool,
    /// The last byte was the client's.
    asked: AtomicBool,
    first_left: OnceLock<Side>,
    first_reset: OnceLock<Side>,
    told: AtomicU8,
    /// Of the task; taken to be woken, held for nothing else.
    waker: Mutex<Option<Waker>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Side {
    Client,
    Server,
}

/// How a connection must end; the later outdoes the earlier.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ending {
    /// In order, as soon as its client has been answered.
    Finish = 1,
    /// At once.
    Reset = 2,
}

/// What a pool has seen of a connection.
#[derive(Debug)]
pub(super) struct Watch {
    moves: u32,
    still_since: Instant,
}

impl Open {
    pub(super) fn moved_up(&self) {
        self.asked.store(true, Ordering::Relaxed);
        self.moved();
    }

    pub(super) fn moved_down(&self) {
        self.server_spoke.store(true, Ordering::Relaxed);
        self.asked.store(false, Ordering::Relaxed);
        self.moved();
    }

    pub(super) fn left(&self, side: Side) {
        // Only who goes first is of interest.
        let _ = self.first_left.set(side);
        self.moved();
    }

    pub(super) fn reset(&self, side: Side) {
        let _ = self.first_reset.set(side);
        self.left(side);
    }

    /// Its kernel's socket is closed: it need not be told of an end.
    pub(super) fn has_reset(&self, side: Side) -> bool {
        self.first_reset.get() == Some(&side)
    }

    /// The server went first, and had not said a byte: nobody was served.
    pub(super) fn server_left_silent(&self) -> bool {
        self.first_left.get() == Some(&Side::Server) && !self.server_spoke.load(Ordering::Relaxed)
    }

    pub(super) fn tell(&self, ending: Ending) {
        self.told.fetch_max(ending as u8, Ordering::SeqCst);
        let mut waker = self.waker.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(waker) = waker.take() {
            waker.wake();
        }
    }

    pub(super) fn is_told(&self, ending: Ending) -> bool {
        self.told.load(Ordering::SeqCst) >= ending as u8
    }

    /// Has this woken when it is told next. For one worker.
    pub(super) fn wake_by(&self, waker: &Waker) {
        let mut held = self.waker.lock().unwrap_or_else(PoisonError::into_inner);
        *held = Some(waker.clone());
    }

    /// Returns when it must end so, or faster. For one task.
    pub(super) async fn must(&self, ending: Ending) {
        poll_fn(|cx| {
            let mut waker = self.waker.lock().unwrap_or_else(PoisonError::into_inner);
            if self.is_told(ending) {
                return Poll::Ready(());
            }
            if !(waker.as_ref()).is_some_and(|it| it.will_wake(cx.waker())) {
                *waker = Some(cx.waker().clone());
            }
            Poll::Pending
        })
        .await;
    }

    /// Returns once the client has its answer, as far as can be seen from outside: it did not speak last, and nobody has for
    /// a moment.
    pub(super) async fn rests(&self) {
        let (mut looks, mut before) = (interval(REST), None);
        loop {
            looks.tick().await;
            let now = self.moves();
            if self.is_answered() && before == Some(now) {
                return;
            }
            before = Some(now);
        }
    }

    /// Its client has an answer to all that it said.
    pub(super) fn is_answered(&self) -> bool {
        !self.asked.load(Ordering::Relaxed)
    }

    pub(super) fn moves(&self) -> u32 {
        self.moves.load(Ordering::Relaxed)
    }

    /// Two threads never write this at once, so nothing is lost.
    fn moved(&self) {
        self.moves
            .store(self.moves().wrapping_add(1), Ordering::Relaxed);
    }
}

impl Watch {
    pub(super) fn new(now: Instant) -> Self {
        Self {
            moves: 0,
            still_since: now,
        }
    }

    /// Whether nothing has moved for too long: once one half has ended, that is sooner.
    pub(super) fn is_over(&mut self, open: &Open, limits: &Limits, now: Instant) -> bool {
        let moves = open.moves();
        if self.moves != moves {
            (self.moves, self.still_since) = (moves, now);
        }
        let limit = match open.first_left.get() {
            Some(_) => limits.idle.min(limits.half_open),
            None if moves == 0 => limits.idle.max(limits.connect),
            None => limits.idle,
        };
        now.duration_since(self.still_since) >= limit
    }
}

/// Longer than a way through the tunnel and back.
pub(super) const REST: Duration = Duration::from_millis(400);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_connection_is_over_after_its_idle_time_and_with_one_half_sooner() {
        let (limits, start) = (Limits::default(), Instant::now());
        let (open, mut watch) = (Open::default(), Watch::new(start));
        assert!(!watch.is_over(&open, &limits, start + limits.half_open));
        open.moved_up();
        let moved = start + limits.idle;
        assert!(!watch.is_over(&open, &limits, moved));
        assert!(!watch.is_over(&open, &limits, moved + limits.half_open));
        assert!(watch.is_over(&open, &limits, moved + limits.idle));
        open.left(Side::Client);
        assert!(!watch.is_over(&open, &limits, moved));
        assert!(watch.is_over(&open, &limits, moved + limits.half_open));
    }

    #[test]
    fn only_a_server_that_goes_first_without_a_word_served_nobody() {
        let silent = Open::default();
        silent.left(Side::Server);
        assert!(silent.server_left_silent());
        let second = Open::default();
        second.left(Side::Client);
        second.left(Side::Server);
        assert!(!second.server_left_silent());
        let polite = Open::default();
        polite.moved_down();
        polite.left(Side::Server);
        assert!(!polite.server_left_silent());
    }
}
