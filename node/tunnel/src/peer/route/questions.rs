//! The questions of a route: which paths are asked, how often, and what an answer proves. It never moves traffic.

use std::time::{Duration, Instant};

use super::silence::Manners;
use super::{Order, Route};
use crate::path::Path;
use crate::peer::probe::Token;
use crate::peer::way::{BEST_RANK, SILENT_AFTER, Way, rank};

impl Route {
    fn ask(&mut self, path: Path, now: Instant) {
        let token = now.saturating_duration_since(self.start).as_micros() as Token;
        let way = self.way(path);
        way.note_asked(now);
        let (path, heard) = (way.path, way.heard);
        if Some(path) == self.current && self.manners != Manners::Plain {
            let around = self.silence.around;
            let since = around.filter(|since| heard.is_none_or(|heard| heard < *since));
            self.silence.since.get_or_insert(since.unwrap_or(now));
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
        let is_plain = self.manners == Manners::Plain;
        let owed = self.owed;
        let quiet = owed.is_some_and(|owed| now.saturating_duration_since(owed) >= QUIET_AFTER);
        let way = self.way(current);
        let interval = match way.is_in_doubt(now) && way.is_fresh(now, active) {
            true => Duration::ZERO,
            // It may have learnt to answer.
            false if is_plain => CHECK_IDLE,
            false if active && quiet => CHECK_QUIET,
            false if active => CHECK_ACTIVE,
            false => CHECK_IDLE,
        };
        let doubt = way.is_in_doubt(now) && !is_plain;
        if !way.may_ask(interval, now) {
            return;
        }
        self.ask(current, now);
        // The relay is in use, or will be in a moment.
        if let (true, Some(channel)) = (doubt, self.relay)
            && now >= self.bind_at
        {
            self.bind_at = now + BIND_INTERVAL;
            let since = self.silence.since.unwrap_or(now);
            self.orders.push_back(Order::Bind(channel, since));
        }
    }

    /// Asks the peer's other addresses once the path in use has missed several answers and there is nothing to fall back to: a
    /// network may let through one port of a hub and not the other. An answer from there moves us, before silence is told.
    pub(super) fn ask_elsewhere(&mut self, now: Instant) {
        let Some(current) = self.current else {
            return;
        };
        if self.manners == Manners::Plain || !self.way(current).misses_answers(now) {
            return;
        }
        let interval = match self.is_active(now) {
            true => CHECK_ACTIVE,
            false => CHECK_IDLE,
        };
        for path in self.targets() {
            if path != current && self.way(path).may_ask(interval, now) {
                self.ask(path, now);
            }
        }
    }

    /// Whether answers are only late: a carrier that still brings something carries them, too, and no other would be faster.
    pub(super) fn is_slow_stream(&self, now: Instant) -> bool {
        let heard = |way: &&Way| {
            let since = way.heard.map(|heard| now.saturating_duration_since(heard));
            since.is_some_and(|since| since < SILENT_AFTER)
        };
        let mut ways = self.ways.iter().filter(heard);
        matches!(self.current, Some(Path::Carrier(_)))
            && ways.any(|way| Some(way.path) == self.current)
    }

    /// The next rounds of questions follow quickly. False if too many did lately: a peer that says again and again that it is somewhere
    /// else must not make us a flood, which would hit whoever really is there.
    pub(super) fn hasten(&mut self, rounds: u32, now: Instant) -> bool {
        let wanted = rounds.saturating_sub(self.rounds_left);
        let spent = self.spent_until.max(now);
        let room = MAX_SPENT.saturating_sub(spent - now).as_millis() / ROUND_COST.as_millis();
        let granted = wanted.min(u32::try_from(room).unwrap_or(u32::MAX));
        self.rounds_left += granted;
        self.spent_until = spent + ROUND_COST * granted;
        if granted > 0 {
            self.round_at = now;
        }
        granted > 0
    }

    /// Asks on every path that would be better than the one in use; on all if that one does not work.
    pub(super) fn explore(&mut self, now: Instant) {
        let active = self.is_active(now);
        let works = |way: &&Way| way.is_fresh(now, active);
        let current = self.ways.iter().find(|way| Some(way.path) == self.current);
        let used = current.filter(works).map(|way| rank(way.path));
        if used == Some(BEST_RANK) {
            self.rounds_left = 0;
            self.round_at = now + ROUND_INTERVAL_ACTIVE;
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
            0 if active => ROUND_INTERVAL_ACTIVE,
            0 => ROUND_INTERVAL,
            _ => ROUND_INTERVAL_FIRST,
        };
        self.rounds_left = self.rounds_left.saturating_sub(1);
        self.round_at = now + pause;
    }
}

const CHECK_ACTIVE: Duration = Duration::from_secs(1);
/// While what was sent is not answered by anything for so long.
const CHECK_QUIET: Duration = Duration::from_millis(500);
const QUIET_AFTER: Duration = Duration::from_millis(250);
const CHECK_IDLE: Duration = Duration::from_secs(10);
const ASK_BACK_INTERVAL: Duration = Duration::from_secs(1);
const ROUND_INTERVAL_FIRST: Duration = Duration::from_millis(250);
const ROUND_INTERVAL_ACTIVE: Duration = Duration::from_secs(5);
const ROUND_INTERVAL: Duration = Duration::from_secs(15);
/// A quick round costs so much of the time in which none has been spent, of which there is enough for three changes at once. Each
/// of them asks at up to sixteen addresses.
const ROUND_COST: Duration = Duration::from_millis(2_500);
const MAX_SPENT: Duration = Duration::from_secs(90);
/// Later answers say nothing about now.
const ANSWER_LIMIT: Duration = Duration::from_secs(10);
const BIND_INTERVAL: Duration = Duration::from_secs(2);

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use super::*;
    use crate::config::PeerConfig;
    use crate::key::{PrivateKey, RelayKey};
    use crate::path::{CarrierId, ChannelId};
    use crate::peer::route::Heard;
    use crate::relay::RelayGrant;

    fn at(port: u16) -> SocketAddr {
        ([192, 0, 2, 1], port).into()
    }

    fn from(port: u16) -> Path {
        Path::Udp {
            local: Some(0),
            remote: at(port),
        }
    }

    /// A hub at two ports, heard at the first.
    fn route(start: Instant) -> Route {
        let mut config = PeerConfig::new(PrivateKey::from_bytes([9; 32]).public_key());
        config.endpoints = vec![at(51820), at(443)];
        config.carrier_possible = true;
        let mut route = Route::new(&config, start);
        route.heard(from(51820), Heard::Handshake, start);
        while route.poll_order().is_some() {}
        route
    }

    /// The ports that are asked until `end`, each with the times; those in `open` answer.
    fn asked(
        route: &mut Route,
        start: Instant,
        end: Instant,
        open: &[u16],
    ) -> Vec<(u16, Duration)> {
        let (mut now, mut asked) = (start, Vec::new());
        while now < end {
            route.tick(now);
            while let Some(order) = route.poll_order() {
                let Order::Ask(path, token) = order else {
                    continue;
                };
                let Some(port) = path.remote().map(|remote| remote.port()) else {
                    continue;
                };
                asked.push((port, now - start));
                if open.contains(&port) {
                    route.heard(from(port), Heard::Answer(token), now);
                }
            }
            now += Duration::from_millis(250);
        }
        asked
    }

    #[test]
    fn a_hub_whose_port_is_silent_is_found_at_its_other_port_before_silence_is_told() {
        let start = Instant::now();
        let mut route = route(start);
        asked(&mut route, start, start + CHECK_IDLE, &[51820]);
        assert_eq!(route.path(), Some(from(51820)));
        let cut = start + CHECK_IDLE;
        let end = cut + Duration::from_secs(3);
        let asked = asked(&mut route, cut, end, &[443]);
        let (_, first) = asked.iter().find(|(port, _)| *port == 443).unwrap();
        assert!(*first <= Duration::from_secs(2), "{asked:?}");
        assert_eq!(route.path(), Some(from(443)));
        assert!(route.silence.told.is_none());
    }

    #[test]
    fn what_is_sent_and_not_answered_is_asked_after_sooner() {
        let start = Instant::now();
        let mut route = route(start);
        asked(&mut route, start, start + QUIET_AFTER, &[51820]);
        route.sends(start);
        let from = start + QUIET_AFTER;
        let asked = asked(&mut route, from, from + Duration::from_secs(2), &[]);
        assert!(asked[0].1 <= CHECK_QUIET - QUIET_AFTER, "{asked:?}");
    }

    #[test]
    fn while_the_port_in_use_answers_no_other_is_asked() {
        let start = Instant::now();
        let mut route = route(start);
        let end = start + Duration::from_secs(600);
        let asked = asked(&mut route, start, end, &[51820, 443]);
        assert!(asked.iter().all(|(port, _)| *port == 51820), "{asked:?}");
    }

    /// Whoever is believed about addresses that are not its own decides where we send.
    #[test]
    fn a_peer_that_is_elsewhere_every_moment_makes_us_no_flood() {
        let start = Instant::now();
        let mut config = PeerConfig::new(PrivateKey::from_bytes([9; 32]).public_key());
        config.relay = Some(RelayGrant {
            channel: ChannelId(1),
            key: RelayKey::from_bytes([1; 32]),
            via: PrivateKey::from_bytes([8; 32]).public_key(),
        });
        let mut route = Route::new(&config, start);
        route.heard(Path::Relay(ChannelId(1)), Heard::Handshake, start);
        let (mut now, mut asked) = (start, 0);
        for turn in 0..2400_u16 {
            config.candidates = (0..16).map(|n| at(1 + turn * 16 + n)).collect();
            route.set(&config, now);
            route.heard(Path::Relay(ChannelId(1)), Heard::Payload, now);
            route.tick(now);
            while let Some(order) = route.poll_order() {
                match order {
                    Order::Ask(Path::Udp { .. }, _) => asked += 1,
                    Order::Ask(path, token) => route.heard(path, Heard::Answer(token), now),
                    _ => {}
                }
            }
            now += Duration::from_millis(250);
        }
        let per_s = asked / (now - start).as_secs();
        assert!((1..=16).contains(&per_s), "{per_s} questions a second");
    }

    #[test]
    fn answers_that_are_late_on_a_stream_that_still_brings_something_are_no_silence() {
        let start = Instant::now();
        let mut route = route(start);
        let carrier = Path::Carrier(CarrierId(0));
        route.set_carrier(Some(CarrierId(0)), start);
        // UDP falls silent.
        let mut now = start + Duration::from_secs(5);
        asked(&mut route, start, now, &[]);
        assert_eq!(route.path(), Some(carrier));
        let token = Duration::from_secs(5).as_micros() as Token;
        route.heard(carrier, Heard::Answer(token), now);
        let mut pass = |route: &mut Route, time, brings: bool| {
            let end = now + time;
            while now < end {
                now += Duration::from_millis(250);
                route.sends(now);
                if brings {
                    route.heard(carrier, Heard::Keepalive, now);
                }
                route.tick(now);
            }
            let orders = std::iter::from_fn(|| route.poll_order());
            orders.filter(|it| *it == Order::TellSilent).count()
        };
        assert_eq!(pass(&mut route, Duration::from_secs(10), true), 0);
        assert_eq!(pass(&mut route, Duration::from_secs(4), false), 1);
    }

    #[test]
    fn a_hub_that_is_away_is_asked_at_its_other_ports_rarely() {
        let start = Instant::now();
        let mut route = route(start);
        let end = start + Duration::from_secs(120);
        let asked = asked(&mut route, start, end, &[]);
        let others = asked.iter().filter(|(port, _)| *port == 443).count();
        assert!((1..=12).contains(&others), "{others} questions");
    }
}
