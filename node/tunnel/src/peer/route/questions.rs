//! The questions of a route: which paths are asked, how often, and what an answer proves. It never moves traffic.

use std::time::{Duration, Instant};

use super::{Order, Route};
use crate::path::Path;
use crate::peer::probe::Token;
use crate::peer::way::{BEST_RANK, Way, rank};

impl Route {
    fn ask(&mut self, path: Path, now: Instant) {
        let token = now.saturating_duration_since(self.start).as_micros() as Token;
        let way = self.way(path);
        way.note_asked(now);
        let path = way.path;
        if Some(path) == self.current {
            self.silence.since.get_or_insert(now);
        }
        self.orders.push_back(Order::Ask(path, token));
    }

    /// The token is the time of the question; nobody but the peer can have changed it.
    pub(super) fn answered(&mut self, path: Path, token: Token, now: Instant) {
        let asked = self.start + Duration::from_micros(token);
        if asked > now || now - asked > ANSWER_LIMIT {
            return;
        }
        self.way(path).prove(asked);
        self.silence.answers = true;
        self.silence.end();
    }

    /// The peer uses a path of which we don't know whether it works in our direction.
    pub(super) fn ask_back(&mut self, path: Path, now: Instant) {
        let active = self.is_active(now);
        let better_or_none = self.current.is_none_or(|current| {
            rank(path) <= rank(current) || !self.way(current).is_fresh(now, active)
        });
        let way = self.way(path);
        if better_or_none && !way.is_fresh(now, active) && way.may_ask(ASK_BACK_INTERVAL, now) {
            self.ask(path, now);
        }
    }

    /// Asks on the path in use, faster when an answer is late.
    pub(super) fn check_current(&mut self, now: Instant) {
        let Some(current) = self.current else {
            return;
        };
        let active = self.is_active(now);
        let way = self.way(current);
        let interval = match way.is_in_doubt(now) && way.is_fresh(now, active) {
            true => Duration::ZERO,
            false if active => CHECK_ACTIVE,
            false => CHECK_IDLE,
        };
        let doubt = way.is_in_doubt(now);
        if !way.may_ask(interval, now) {
            return;
        }
        self.ask(current, now);
        // The relay is in use, or will be in a moment.
        if let (true, Some(channel)) = (doubt, self.relay)
            && now >= self.bind_at
        {
            self.bind_at = now + BIND_INTERVAL;
            self.orders.push_back(Order::Bind(channel));
        }
    }

    /// Asks on every path that would be better than the one in use; on all if that one does not work.
    pub(super) fn explore(&mut self, now: Instant) {
        let active = self.is_active(now);
        let works = |way: &&Way| way.is_fresh(now, active);
        let current = self.ways.iter().find(|way| Some(way.path) == self.current);
        let used = current.filter(works).map(|way| rank(way.path));
        if used == Some(BEST_RANK) {
            self.rounds_left = 0;
            self.round_at = now + ROUND_INTERVAL;
            return;
        }
        if now < self.round_at {
            return;
        }
        for path in self.targets() {
            let better = used.is_none_or(|used| rank(path) < used);
            if better && self.way(path).may_ask(ROUND_INTERVAL_FIRST, now) {
                self.ask(path, now);
            }
        }
        let pause = match self.rounds_left {
            0 => ROUND_INTERVAL,
            _ => ROUND_INTERVAL_FIRST,
        };
        self.rounds_left = self.rounds_left.saturating_sub(1);
        self.round_at = now + pause;
    }
}

const CHECK_ACTIVE: Duration = Duration::from_secs(1);
const CHECK_IDLE: Duration = Duration::from_secs(10);
const ASK_BACK_INTERVAL: Duration = Duration::from_secs(1);
const ROUND_INTERVAL_FIRST: Duration = Duration::from_millis(250);
const ROUND_INTERVAL: Duration = Duration::from_secs(15);
/// Later answers say nothing about now.
const ANSWER_LIMIT: Duration = Duration::from_secs(10);
const BIND_INTERVAL: Duration = Duration::from_secs(2);
