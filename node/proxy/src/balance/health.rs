//! What checks and connections say of one backend, as a state with `now` as an argument. It never asks anything itself.

use std::io;
use std::time::Duration;

use rustix::io::Errno;
use tokio::time::Instant;

use super::spec::{Check, Probe};

/// How long after a failed check a backend with an HTTP check is not called up: X-Road repeats a failed result for 30 s.
pub const RECOVERY: Duration = Duration::from_secs(35);

/// How a backend is, and so which are tried first. What none of the better ones took goes to any that is not down.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Condition {
    /// Nothing is known yet: it gets connections only where no backend is up or suspect.
    Unproven,
    Up,
    /// It was up and a connection or a check failed: until the next check decides, those that are up go first.
    Suspect,
    /// Checks failed.
    Down,
    /// Checks go well again, not yet often or long enough: it gets connections only where none is up or suspect.
    Recovering,
}

/// What one check found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Finding {
    Well,
    /// No connection, no answer, or no HTTP.
    NoAnswer,
    /// An HTTP answer that is not 200.
    Unwell,
    /// It was not asked, for a lack of our own.
    Nothing,
}

/// The state of one backend's health.
#[derive(Clone, Debug)]
pub(crate) struct Health {
    condition: Condition,
    since: Instant,
    /// Checks in a row that went well, or that failed.
    well: u32,
    failed: u32,
    /// A check went well: what was assumed of it is known.
    heard: bool,
    held_until: Option<Instant>,
    /// None while a check is under way.
    next_check: Option<Instant>,
}

impl Health {
    pub(crate) fn new(now: Instant) -> Self {
        Self {
            condition: Condition::Unproven,
            since: now,
            well: 0,
            failed: 0,
            heard: false,
            held_until: None,
            next_check: Some(now),
        }
    }

    /// What was known of it before a restart holds until its first check.
    pub(crate) fn assume(&mut self, condition: Condition, check: &Check, now: Instant) {
        if self.condition != Condition::Unproven {
            return;
        }
        match condition {
            Condition::Up => self.become_now(Condition::Up, now),
            Condition::Unproven | Condition::Suspect => {}
            Condition::Down | Condition::Recovering => {
                if matches!(check.probe, Probe::Http { .. }) {
                    self.held_until = Some(now + RECOVERY);
                }
                self.become_now(Condition::Down, now);
            }
        }
    }

    pub(crate) fn condition(&self) -> Condition {
        self.condition
    }

    /// Since when it has been so.
    pub(crate) fn since(&self) -> Instant {
        self.since
    }

    /// When it must be checked next; None while it is being checked.
    pub(crate) fn next_check(&self) -> Option<Instant> {
        self.next_check
    }

    pub(crate) fn check_began(&mut self) {
        self.next_check = None;
    }

    pub(crate) fn checked(&mut self, finding: Finding, check: &Check, now: Instant) {
        self.next_check = Some(now + check.interval);
        match finding {
            Finding::Well => self.went_well(check, now),
            Finding::NoAnswer => self.went_wrong(false, check, now),
            Finding::Unwell => self.went_wrong(true, check, now),
            Finding::Nothing => {}
        }
    }

    /// A client's connection could not be opened, or ended without a byte of the server: worth a check, as soon as one may be.
    pub(crate) fn connect_failed(&mut self, check: &Check, now: Instant) {
        match self.condition {
            Condition::Up => {
                self.failed = 1;
                self.become_now(Condition::Suspect, now);
                if check.fall == 1 {
                    self.become_now(Condition::Down, now);
                }
            }
            Condition::Recovering | Condition::Unproven => {
                self.well = 0;
                self.become_now(Condition::Down, now);
            }
            Condition::Suspect | Condition::Down => return,
        }
        // Whoever makes connections fail on purpose makes no storm of checks.
        let least = check.probe.least_interval();
        let soonest = |due: Instant| {
            let last = due.checked_sub(check.interval);
            last.map_or(now, |last| now.max(last + least))
        };
        self.next_check = self.next_check.map(|due| due.min(soonest(due)));
    }

    fn went_well(&mut self, check: &Check, now: Instant) {
        self.failed = 0;
        self.heard = true;
        self.well = self.well.saturating_add(1);
        let held = self.held_until.is_some_and(|until| now < until);
        match self.condition {
            Condition::Up => {}
            Condition::Unproven | Condition::Suspect => self.become_now(Condition::Up, now),
            Condition::Down | Condition::Recovering if !held && self.well >= check.rise => {
                self.held_until = None;
                self.become_now(Condition::Up, now);
            }
            Condition::Down => self.become_now(Condition::Recovering, now),
            Condition::Recovering => {}
        }
    }

    fn went_wrong(&mut self, unwell: bool, check: &Check, now: Instant) {
        self.well = 0;
        self.failed = self.failed.saturating_add(1);
        let serving = matches!(self.condition, Condition::Up | Condition::Suspect);
        // One of which nothing was ever heard has no failed result to repeat: perhaps the way to it is only coming up.
        let has_result = unwell || (serving && self.heard) || self.held_until.is_some();
        if matches!(check.probe, Probe::Http { .. }) && has_result {
            self.held_until = Some(now + RECOVERY);
        }
        let may_be_lost = serving && !unwell && self.failed < check.fall;
        self.become_now(
            match may_be_lost {
                true => Condition::Suspect,
                false => Condition::Down,
            },
            now,
        );
    }

    fn become_now(&mut self, condition: Condition, now: Instant) {
        if self.condition != condition {
            self.condition = condition;
            self.since = now;
        }
    }
}

/// Whether a connection that could not be opened says something of the backend, or of the way there. A lack of descriptors, ports or
/// places here does not.
pub(super) fn blames_backend(error: &io::Error) -> bool {
    let told_on_the_way = matches!(
        Errno::from_io_error(error),
        Some(
            // What the kernel makes of the rarer ICMP errors.
            Errno::ACCESS
                | Errno::HOSTDOWN
                | Errno::NONET
                | Errno::NOPROTOOPT
                | Errno::OPNOTSUPP
                | Errno::PROTO
        )
    );
    told_on_the_way
        || matches!(
            error.kind(),
            io::ErrorKind::ConnectionRefused
                | io::ErrorKind::ConnectionReset
                | io::ErrorKind::ConnectionAborted
                | io::ErrorKind::HostUnreachable
                | io::ErrorKind::NetworkUnreachable
                | io::ErrorKind::TimedOut
        )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::balance::spec::{MIN_HTTP_INTERVAL, MIN_INTERVAL};

    fn x_road() -> Check {
        Check::new(Probe::Http {
            port: 5588,
            path: "/".into(),
        })
    }

    fn up(check: &Check, now: Instant) -> Health {
        let mut health = Health::new(now);
        health.checked(Finding::Well, check, now);
        assert_eq!(health.condition(), Condition::Up);
        health
    }

    #[test]
    fn a_tcp_backend_falls_and_rises_after_its_number_of_checks() {
        let (check, now) = (Check::new(Probe::Tcp), Instant::now());
        let mut health = up(&check, now);
        health.checked(Finding::NoAnswer, &check, now);
        assert_eq!(health.condition(), Condition::Suspect, "one may be lost");
        health.checked(Finding::NoAnswer, &check, now);
        assert_eq!(health.condition(), Condition::Down);
        health.checked(Finding::Well, &check, now);
        assert_eq!(health.condition(), Condition::Recovering);
        health.checked(Finding::Well, &check, now);
        assert_eq!(health.condition(), Condition::Up);
    }

    #[test]
    fn an_answer_other_than_200_needs_no_second() {
        let (check, now) = (x_road(), Instant::now());
        let mut health = up(&check, now);
        health.checked(Finding::Unwell, &check, now);
        assert_eq!(health.condition(), Condition::Down);
    }

    #[test]
    fn x_road_is_not_called_up_within_35_s_of_its_last_failure() {
        let (check, start) = (x_road(), Instant::now());
        let mut health = up(&check, start);
        health.checked(Finding::Unwell, &check, start);
        let mut now = start;
        while now + check.interval < start + RECOVERY {
            now += check.interval;
            health.checked(Finding::Well, &check, now);
            assert_eq!(health.condition(), Condition::Recovering);
        }
        health.checked(Finding::Well, &check, start + RECOVERY);
        assert_eq!(health.condition(), Condition::Up);
    }

    #[test]
    fn one_that_was_never_heard_is_up_as_soon_as_it_answers() {
        let (check, now) = (x_road(), Instant::now());
        let mut health = Health::new(now);
        for finding in [Finding::NoAnswer, Finding::NoAnswer] {
            health.checked(finding, &check, now);
            assert_eq!(health.condition(), Condition::Down);
        }
        health.checked(Finding::Well, &check, now);
        assert_eq!(health.condition(), Condition::Recovering);
        health.checked(Finding::Well, &check, now);
        assert_eq!(health.condition(), Condition::Up);
        // From now on it is known, and a silence is a failure like any other.
        health.checked(Finding::NoAnswer, &check, now);
        health.checked(Finding::NoAnswer, &check, now);
        let soon = now + RECOVERY - Duration::from_millis(1);
        health.checked(Finding::Well, &check, soon);
        health.checked(Finding::Well, &check, soon);
        assert_eq!(health.condition(), Condition::Recovering);
    }

    #[test]
    fn what_was_known_before_a_restart_holds_until_the_first_check() {
        let (check, now) = (x_road(), Instant::now());
        let mut health = Health::new(now);
        health.assume(Condition::Up, &check, now);
        assert_eq!(health.condition(), Condition::Up);
        assert_eq!(health.next_check(), Some(now), "it is checked at once");
        // It was not heard in this run: perhaps the way to it is only coming up.
        health.checked(Finding::NoAnswer, &check, now);
        health.checked(Finding::NoAnswer, &check, now);
        assert_eq!(health.condition(), Condition::Down);
        health.checked(Finding::Well, &check, now);
        health.checked(Finding::Well, &check, now);
        assert_eq!(health.condition(), Condition::Up);
        health.assume(Condition::Down, &check, now);
        assert_eq!(
            health.condition(),
            Condition::Up,
            "what was checked is known"
        );
    }

    #[test]
    fn one_that_was_down_before_a_restart_is_not_called_up_sooner_than_without() {
        let (check, now) = (x_road(), Instant::now());
        let mut health = Health::new(now);
        health.assume(Condition::Recovering, &check, now);
        assert_eq!(health.condition(), Condition::Down);
        let soon = now + RECOVERY - Duration::from_millis(1);
        health.checked(Finding::Well, &check, soon);
        health.checked(Finding::Well, &check, soon);
        assert_eq!(health.condition(), Condition::Recovering);
        health.checked(Finding::Well, &check, now + RECOVERY);
        assert_eq!(health.condition(), Condition::Up);
    }

    #[test]
    fn a_failed_connection_brings_the_next_check_forward_and_a_good_one_clears_it() {
        let (check, now) = (Check::new(Probe::Tcp), Instant::now());
        let mut health = up(&check, now);
        assert_eq!(health.next_check(), Some(now + check.interval));
        health.connect_failed(&check, now);
        assert_eq!(health.condition(), Condition::Suspect);
        assert_eq!(health.next_check(), Some(now + MIN_INTERVAL));
        health.checked(Finding::Well, &check, now);
        assert_eq!(health.condition(), Condition::Up);
        health.connect_failed(&check, now);
        health.checked(Finding::NoAnswer, &check, now);
        assert_eq!(health.condition(), Condition::Down);
    }

    #[test]
    fn connections_that_fail_on_purpose_do_not_have_x_road_asked_more_often_than_it_thinks() {
        let (check, mut now) = (x_road(), Instant::now());
        let mut health = up(&check, now);
        for _ in 0..20 {
            let checked_at = now;
            health.connect_failed(&check, now);
            let due = health.next_check().unwrap();
            assert!(due >= checked_at + MIN_HTTP_INTERVAL);
            now = due;
            health.checked(Finding::Well, &check, now);
        }
    }
}
