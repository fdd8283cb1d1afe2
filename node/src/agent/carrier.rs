//! When to carry the tunnel over TCP: while the hub is silent on UDP, and for a while after it is heard there again. It never
//! stands in the way of UDP, which is tried all the time.

use std::collections::VecDeque;
use std::sync::Arc;

use malha_proto::PathKind;

use super::jitter::{Backoff, Jitter, Refusals};
use super::{Action, LinkFault, Millis};

/// UDP must have carried the hub for this long before the carrier is closed, milliseconds: a path that comes and goes shall
/// not cost a connection each time.
pub const CARRIER_LINGER_MS: Millis = 30_000;

/// The hub's silence is told again while it lasts; older news, milliseconds, are no reason to dial.
pub const SILENCE_COUNTS_MS: Millis = 20_000;

/// No pause between two attempts is longer, milliseconds, but after refusals.
pub const CARRIER_PAUSE_MS: Millis = 5_000;

/// A carrier has so long to bring the hub back, milliseconds. After that the hub's silence is the silence of the carrier: its
/// connection has died without a word, as it does in a NAT that was restarted or when the machine moves.
pub const CARRIER_CHANCE_MS: Millis = 3_000;

/// At most one carrier at a time.
#[derive(Debug, Default)]
pub(super) struct CarrierKeeper {
    state: State,
    last_number: u64,
    /// Until when the hub counts as silent.
    wanted_until: Option<Millis>,
    retry_at: Option<Millis>,
    backoff: Backoff,
    /// Of the controller, or of the proxy to let one through.
    refusals: Refusals,
}

#[derive(Debug, Default, PartialEq, Eq)]
enum State {
    #[default]
    Closed,
    Opening(u64),
    Up {
        number: u64,
        since: Millis,
        direct_since: Option<Millis>,
        /// The hub was reached over it.
        carried: bool,
    },
}

impl CarrierKeeper {
    /// The hub does not answer on any way that there is.
    pub(super) fn on_silent(
        &mut self,
        controller: Option<Arc<str>>,
        now: Millis,
        actions: &mut VecDeque<Action>,
    ) {
        self.wanted_until = Some(now + SILENCE_COUNTS_MS);
        if let State::Up {
            number,
            since,
            direct_since: None,
            ..
        } = self.state
            && now >= since + CARRIER_CHANCE_MS
        {
            self.state = State::Closed;
            actions.push_back(Action::CloseCarrier { carrier: number });
        }
        if self.retry_at.is_none() {
            self.open(controller, actions);
        }
    }

    pub(super) fn on_up(&mut self, carrier: u64, now: Millis) {
        if self.state == State::Opening(carrier) {
            self.refusals.forget();
            self.state = State::Up {
                number: carrier,
                since: now,
                direct_since: None,
                carried: false,
            };
        }
    }

    /// It could not be opened, or is over.
    pub(super) fn on_ended(
        &mut self,
        carrier: u64,
        fault: LinkFault,
        now: Millis,
        jitter: &mut Jitter,
    ) {
        match self.state {
            State::Opening(number) if number == carrier => {}
            // Whoever was on it has no other way at this moment.
            State::Up {
                number,
                direct_since: None,
                carried: true,
                ..
            } if number == carrier => self.wanted_until = Some(now + SILENCE_COUNTS_MS),
            State::Up { number, .. } if number == carrier => {}
            _ => return,
        }
        self.state = State::Closed;
        let pause_ms = match fault {
            LinkFault::Refused | LinkFault::ProxyRefused => {
                self.refusals.pause_ms(CARRIER_PAUSE_MS / 2, jitter)
            }
            _ => self.backoff.pause_ms(jitter).min(CARRIER_PAUSE_MS),
        };
        self.retry_at = Some(now + pause_ms);
    }

    /// A session has begun, or the network is another: what was refused may be had now.
    pub(super) fn on_change(&mut self, now: Millis) {
        if self.refusals.forget() {
            self.retry_at = self.retry_at.map(|at| at.min(now));
        }
    }

    /// How the hub is reached now.
    pub(super) fn on_hub_path(&mut self, path: Option<PathKind>, now: Millis) {
        if let State::Up {
            direct_since,
            carried,
            ..
        } = &mut self.state
        {
            match path {
                Some(PathKind::Direct) => _ = direct_since.get_or_insert(now),
                // Before that it may be one that the hub's tunnel does not take.
                Some(PathKind::Carrier) => {
                    *direct_since = None;
                    *carried = true;
                    self.backoff.reset();
                }
                _ => *direct_since = None,
            }
        }
    }

    pub(super) fn on_timer(
        &mut self,
        controller: Option<Arc<str>>,
        now: Millis,
        actions: &mut VecDeque<Action>,
    ) {
        if let State::Up { number, .. } = self.state
            && self.close_at().is_some_and(|at| now >= at)
        {
            self.state = State::Closed;
            self.wanted_until = None;
            actions.push_back(Action::CloseCarrier { carrier: number });
        }
        let is_due = self.retry_at.take_if(|at| now >= *at).is_some();
        if is_due && self.wanted_until.is_some_and(|until| now < until) {
            self.open(controller, actions);
        }
    }

    pub(super) fn timeout(&self) -> Option<Millis> {
        self.close_at().into_iter().chain(self.retry_at).min()
    }

    fn close_at(&self) -> Option<Millis> {
        match self.state {
            State::Up {
                direct_since: Some(since),
                ..
            } => Some(since + CARRIER_LINGER_MS),
            _ => None,
        }
    }

    fn open(&mut self, controller: Option<Arc<str>>, actions: &mut VecDeque<Action>) {
        let Some(controller) = controller.filter(|_| self.state == State::Closed) else {
            return;
        };
        self.last_number += 1;
        self.state = State::Opening(self.last_number);
        actions.push_back(Action::OpenCarrier {
            carrier: self.last_number,
            controller,
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct World {
        keeper: CarrierKeeper,
        jitter: Jitter,
        controller: Arc<str>,
    }

    impl World {
        fn new() -> Self {
            Self {
                keeper: CarrierKeeper::default(),
                jitter: Jitter::new(1),
                controller: "hub.example:443".into(),
            }
        }

        fn silent(&mut self, now: Millis) -> Vec<u64> {
            let mut actions = VecDeque::new();
            let controller = Some(self.controller.clone());
            self.keeper.on_silent(controller, now, &mut actions);
            opened(actions)
        }

        fn fires(&mut self, now: Millis) -> VecDeque<Action> {
            let mut actions = VecDeque::new();
            let controller = Some(self.controller.clone());
            self.keeper.on_timer(controller, now, &mut actions);
            actions
        }

        fn ended(&mut self, carrier: u64, now: Millis) {
            self.ended_by(LinkFault::Closed, carrier, now);
        }

        fn ended_by(&mut self, fault: LinkFault, carrier: u64, now: Millis) {
            self.keeper.on_ended(carrier, fault, now, &mut self.jitter);
        }

        /// Lets time pass with a hub that stays silent, and refuses each carrier; counts those that were dialled.
        fn is_refused_for(&mut self, ms: Millis, now: &mut Millis) -> usize {
            self.fails_for(LinkFault::Refused, ms, now)
        }

        fn fails_for(&mut self, fault: LinkFault, ms: Millis, now: &mut Millis) -> usize {
            let until = *now + ms;
            let mut attempts = 0;
            while *now < until {
                let told = self.silent(*now).into_iter();
                for carrier in told.chain(opened(self.fires(*now))).collect::<Vec<_>>() {
                    attempts += 1;
                    self.ended_by(fault, carrier, *now);
                }
                *now += 500;
            }
            attempts
        }
    }

    fn opened(actions: VecDeque<Action>) -> Vec<u64> {
        let opened = actions.into_iter().filter_map(|action| match action {
            Action::OpenCarrier { carrier, .. } => Some(carrier),
            _ => None,
        });
        opened.collect()
    }

    #[test]
    fn silence_opens_one_carrier_at_once_and_no_second_beside_it() {
        let mut world = World::new();
        assert_eq!(world.silent(1_000), [1]);
        assert!(world.silent(2_000).is_empty());
        world.keeper.on_up(1, 15_000);
        assert!(world.silent(16_000).is_empty());
    }

    #[test]
    fn a_carrier_over_which_the_hub_is_silent_gives_way_to_another() {
        let mut world = World::new();
        world.silent(0);
        world.keeper.on_up(1, 1_000);
        world.keeper.on_hub_path(Some(PathKind::Carrier), 2_000);
        assert!(world.silent(3_999).is_empty(), "it has just come");
        let mut actions = VecDeque::new();
        let controller = Some(world.controller.clone());
        world.keeper.on_silent(controller, 60_000, &mut actions);
        assert!(
            matches!(actions.front(), Some(Action::CloseCarrier { carrier: 1 })),
            "{actions:?}"
        );
        assert_eq!(opened(actions), [2]);
        world.keeper.on_up(2, 60_500);
        world.keeper.on_hub_path(Some(PathKind::Direct), 61_000);
        assert!(world.silent(65_000).is_empty(), "UDP carries the hub");
    }

    #[test]
    fn it_is_closed_when_udp_has_carried_the_hub_long_enough_in_one_piece() {
        let mut world = World::new();
        world.silent(0);
        world.keeper.on_up(1, 0);
        world.keeper.on_hub_path(Some(PathKind::Direct), 1_000);
        world.keeper.on_hub_path(Some(PathKind::Carrier), 2_000);
        world.keeper.on_hub_path(Some(PathKind::Direct), 3_000);
        world.keeper.on_hub_path(Some(PathKind::Direct), 4_000);
        assert_eq!(world.keeper.timeout(), Some(3_000 + CARRIER_LINGER_MS));
        assert!(world.fires(2_999 + CARRIER_LINGER_MS).is_empty());
        let closed = world.fires(3_000 + CARRIER_LINGER_MS);
        assert!(matches!(
            closed.front(),
            Some(Action::CloseCarrier { carrier: 1 })
        ));
        assert_eq!(world.keeper.timeout(), None);
    }

    #[test]
    fn a_failed_attempt_is_repeated_with_pauses_as_long_as_the_silence_is_news() {
        let mut world = World::new();
        let mut carrier = world.silent(0)[0];
        let (mut now, mut attempts) = (0, 0);
        loop {
            world.ended(carrier, now);
            now = world.keeper.timeout().unwrap();
            match opened(world.fires(now))[..] {
                [next] => carrier = next,
                _ => break,
            }
            attempts += 1;
        }
        assert!((4..60).contains(&attempts), "{attempts} attempts");
        assert!((SILENCE_COUNTS_MS..SILENCE_COUNTS_MS + CARRIER_PAUSE_MS).contains(&now));
        assert_eq!(world.silent(now).len(), 1);
    }

    #[test]
    fn a_hub_that_takes_no_carriers_and_a_proxy_that_says_no_are_asked_every_few_minutes() {
        for fault in [LinkFault::Refused, LinkFault::ProxyRefused] {
            let (mut world, mut now) = (World::new(), 0);
            let first = world.fails_for(fault, 600_000, &mut now);
            assert!((6..=12).contains(&first), "{first} attempts at first");
            let hour = world.fails_for(fault, 3_600_000, &mut now);
            assert!((12..=24).contains(&hour), "{hour} attempts in an hour");
        }
    }

    #[test]
    fn a_proxy_that_fails_by_itself_is_asked_every_few_seconds() {
        let (mut world, mut now) = (World::new(), 0);
        let hour = world.fails_for(LinkFault::Proxy, 3_600_000, &mut now);
        assert!(hour > 600, "{hour} attempts in an hour");
    }

    #[test]
    fn a_change_ends_the_wait_after_refusals() {
        let (mut world, mut now) = (World::new(), 0);
        world.is_refused_for(3_600_000, &mut now);
        world.keeper.on_change(now);
        assert_eq!(opened(world.fires(now)).len(), 1);
    }

    #[test]
    fn a_carrier_that_came_ends_the_row_of_refusals() {
        let (mut world, mut now) = (World::new(), 0);
        world.is_refused_for(3_600_000, &mut now);
        let at = world.keeper.timeout().unwrap();
        world.silent(at);
        let carrier = opened(world.fires(at))[0];
        world.keeper.on_up(carrier, at);
        world.ended_by(LinkFault::Refused, carrier, at);
        assert!(world.keeper.timeout().unwrap() <= at + CARRIER_PAUSE_MS);
    }

    #[test]
    fn a_change_makes_nobody_dial_who_was_not_refused() {
        let mut world = World::new();
        let carrier = world.silent(0)[0];
        world.ended(carrier, 0);
        let at = world.keeper.timeout();
        world.keeper.on_change(0);
        assert_eq!(world.keeper.timeout(), at);
    }

    #[test]
    fn a_carrier_in_use_that_breaks_is_opened_again_without_waiting_for_new_silence() {
        let mut world = World::new();
        world.silent(0);
        world.keeper.on_up(1, 0);
        world.keeper.on_hub_path(Some(PathKind::Carrier), 60_000);
        world.ended(1, 60_000);
        let at = world.keeper.timeout().unwrap();
        assert!(at <= 60_000 + super::super::BACKOFF_FIRST_MS);
        assert_eq!(opened(world.fires(at)), [2]);
    }

    /// The hub's tunnel may refuse what its controller has let in.
    #[test]
    fn carriers_that_end_before_they_carry_anything_are_failed_attempts() {
        let mut world = World::new();
        let mut opened_so_far = world.silent(0);
        let mut now = 0;
        while let (Some(carrier), true) = (opened_so_far.last().copied(), now < 60_000) {
            world.keeper.on_up(carrier, now);
            world.keeper.on_hub_path(Some(PathKind::Direct), now + 1);
            world.ended(carrier, now + 5);
            now = world.keeper.timeout().unwrap();
            match opened(world.fires(now))[..] {
                [next] => opened_so_far.push(next),
                _ => break,
            }
        }
        let attempts = opened_so_far.len();
        assert!((4..20).contains(&attempts), "{attempts} attempts");
    }

    #[test]
    fn news_of_a_carrier_that_is_over_change_nothing() {
        let mut world = World::new();
        world.silent(0);
        world.ended(1, 100);
        let at = world.keeper.timeout().unwrap();
        assert_eq!(opened(world.fires(at)), [2]);
        world.keeper.on_up(1, 0);
        world.ended(1, at);
        assert_eq!(world.keeper.state, State::Opening(2));
    }
}
