//! The pool against a naive reading of its rules, and the stories of single rules.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use proptest::prelude::*;

use super::*;
use crate::balance::spec::Probe;

fn backend(id: u64, mode: Mode) -> Backend {
    let last = u8::try_from(id).unwrap();
    Backend {
        id,
        address: ([100, 64, 0, last], 5500).into(),
        mode,
    }
}

fn spec(count: u64, algorithm: Algorithm) -> Spec {
    let backends = (1..=count).map(|id| backend(id, Mode::Serve)).collect();
    let mut spec = Spec::new(backends);
    spec.algorithm = algorithm;
    spec
}

fn is_cut(choice: &Choice) -> bool {
    choice.open.is_told(Ending::Reset)
}

fn source(number: u32) -> IpAddr {
    Ipv4Addr::from(0xc633_6400 + number).into()
}

/// A pool whose backends have all answered a check.
fn proven(spec: &Spec, now: Instant) -> Pool {
    let mut pool = Pool::new(spec, now);
    tell_all(&mut pool, Finding::Well, now);
    pool
}

fn tell_all(pool: &mut Pool, finding: Finding, now: Instant) {
    for status in pool.status(now) {
        pool.checked(status.id, status.address, finding, now);
    }
}

fn bring_down(pool: &mut Pool, id: u64, now: Instant) {
    let address = backend(id, Mode::Serve).address;
    for _ in 0..pool.check().fall {
        pool.checked(id, address, Finding::NoAnswer, now);
    }
}

fn chosen(pool: &mut Pool, number: u32, now: Instant) -> Option<u64> {
    pool.choose(source(number), &[], now).map(|it| it.backend)
}

#[test]
fn equals_take_turns() {
    let now = Instant::now();
    let mut pool = proven(&spec(3, Algorithm::LeastConnections), now);
    let turns: Vec<_> = (0..6).map(|_| chosen(&mut pool, 1, now)).collect();
    assert_eq!(turns, [1, 2, 3, 1, 2, 3].map(Some));
}

#[test]
fn the_least_often_tried_is_chosen() {
    let now = Instant::now();
    for algorithm in [Algorithm::LeastConnections, Algorithm::SourceAffinity] {
        let mut pool = proven(&spec(2, algorithm), now);
        let mut tried = Vec::new();
        for _ in 0..4 {
            let choice = pool.choose(source(1), &tried, now).unwrap();
            pool.connect_failed(&choice, now);
            tried.push(choice.backend);
        }
        let [one, other] = [tried[0], 3 - tried[0]];
        assert_eq!(tried, [one, other, one, other]);
    }
}

#[test]
fn nothing_is_chosen_where_every_backend_is_down() {
    let now = Instant::now();
    let mut pool = proven(&spec(2, Algorithm::LeastConnections), now);
    bring_down(&mut pool, 1, now);
    bring_down(&mut pool, 2, now);
    assert!(pool.choose(source(1), &[], now).is_none());
}

#[test]
fn a_recovering_backend_is_better_than_none() {
    let now = Instant::now();
    let mut pool = proven(&spec(2, Algorithm::LeastConnections), now);
    bring_down(&mut pool, 1, now);
    let address = backend(1, Mode::Serve).address;
    pool.checked(1, address, Finding::Well, now);
    assert_eq!(chosen(&mut pool, 1, now), Some(2));
    bring_down(&mut pool, 2, now);
    assert_eq!(chosen(&mut pool, 1, now), Some(1));
}

#[test]
fn a_backend_that_came_back_starts_slowly() {
    let now = Instant::now();
    let spec = spec(2, Algorithm::LeastConnections);
    let mut pool = proven(&spec, now);
    bring_down(&mut pool, 1, now);
    tell_all(&mut pool, Finding::Well, now);
    tell_all(&mut pool, Finding::Well, now);
    let share = |pool: &mut Pool, now| {
        let choose = |_| pool.choose(source(1), &[], now).unwrap();
        let choices: Vec<Choice> = (0..110).map(choose).collect();
        let first = choices.iter().filter(|it| it.backend == 1).count();
        choices.iter().for_each(|it| pool.ended(it));
        first
    };
    assert_eq!(share(&mut pool, now), 10, "a tenth of what the other gets");
    assert_eq!(share(&mut pool, now + spec.slow_start), 55);
}

#[test]
fn drain_leaves_connections_and_maintenance_waits_a_minute_for_them() {
    let now = Instant::now();
    let plain = spec(1, Algorithm::LeastConnections);
    let mut pool = proven(&plain, now);
    let choice = pool.choose(source(1), &[], now).unwrap();
    let mut other = plain.clone();
    other.backends[0].mode = Mode::Drain;
    pool.change(&other, now);
    assert!(!is_cut(&choice));
    assert_eq!(pool.status(now)[0].connections, 1);
    assert!(chosen(&mut pool, 1, now).is_none());
    assert!(pool.next_due().is_some());
    other.backends[0].mode = Mode::Maintenance;
    pool.change(&other, now);
    assert!(chosen(&mut pool, 1, now).is_none());
    let over = now + MAINTENANCE_GRACE;
    assert_eq!(pool.next_due(), Some(over), "and no check");
    pool.change(&other, now + Duration::from_secs(9));
    pool.cut_overdue(over - Duration::from_millis(1));
    assert!(!is_cut(&choice));
    pool.cut_overdue(over);
    assert!(is_cut(&choice));
    assert_eq!(pool.next_due(), None);
    pool.change(&plain, over);
    let back = pool.choose(source(1), &[], now).unwrap();
    assert!(!is_cut(&back));
}

#[test]
fn a_maintenance_that_ends_early_resets_nothing() {
    let now = Instant::now();
    let plain = spec(1, Algorithm::LeastConnections);
    let mut pool = proven(&plain, now);
    let choice = pool.choose(source(1), &[], now).unwrap();
    let mut other = plain.clone();
    other.backends[0].mode = Mode::Maintenance;
    pool.change(&other, now);
    pool.change(&plain, now + Duration::from_secs(59));
    pool.cut_overdue(now + MAINTENANCE_GRACE);
    assert!(!is_cut(&choice));
}

#[test]
fn a_backend_that_goes_takes_its_connections_along_and_no_other() {
    let now = Instant::now();
    let both = spec(2, Algorithm::LeastConnections);
    let mut pool = proven(&both, now);
    let first = pool.choose(source(1), &[], now).unwrap();
    let second = pool.choose(source(1), &[], now).unwrap();
    pool.change(&spec(1, Algorithm::LeastConnections), now);
    assert!(!is_cut(&first));
    assert!(is_cut(&second));
    pool.ended(&second);
    assert_eq!(pool.status(now).len(), 1);
    assert_eq!(pool.status(now)[0].connections, 1);
}

#[test]
fn a_silent_connection_is_reset_and_another_is_not() {
    let now = Instant::now();
    let plain = spec(1, Algorithm::LeastConnections);
    let mut pool = proven(&plain, now);
    let silent = pool.choose(source(1), &[], now).unwrap();
    let busy = pool.choose(source(1), &[], now).unwrap();
    let over = now + plain.limits.idle;
    let mut time = now;
    while time < over {
        assert!(!is_cut(&silent));
        busy.open.moved_down();
        pool.look(time);
        time = pool.next_look();
    }
    busy.open.moved_up();
    pool.look(time);
    assert!(is_cut(&silent) && !is_cut(&busy));
    assert!(time <= over + plain.limits.idle / 4);
}

#[test]
fn a_closed_pool_ends_what_is_open_and_what_comes_late() {
    let now = Instant::now();
    let mut pool = proven(&spec(1, Algorithm::LeastConnections), now);
    let choice = pool.choose(source(1), &[], now).unwrap();
    pool.close(Ending::Finish);
    assert!(choice.open.is_told(Ending::Finish) && !is_cut(&choice));
    let late = pool.choose(source(1), &[], now).unwrap();
    assert!(late.open.is_told(Ending::Finish) && !is_cut(&late));
    pool.close(Ending::Reset);
    assert!(is_cut(&choice) && is_cut(&late));
    assert!(is_cut(&pool.choose(source(1), &[], now).unwrap()));
}

#[test]
fn only_the_sources_of_a_backend_that_goes_move() {
    let now = Instant::now();
    let mut pool = proven(&spec(3, Algorithm::SourceAffinity), now);
    let before: BTreeMap<u32, Option<u64>> =
        (0..200).map(|n| (n, chosen(&mut pool, n, now))).collect();
    for id in 1..=3 {
        let share = before.values().filter(|it| **it == Some(id)).count();
        assert!((40..=95).contains(&share), "{share} of 200 go to {id}");
    }
    bring_down(&mut pool, 2, now);
    for (number, was) in before {
        let is = chosen(&mut pool, number, now);
        assert!(is != Some(2) && (was == Some(2) || is == was));
    }
}

/// What may happen to a pool.
#[derive(Clone, Debug)]
enum Step {
    Choose(u32, Vec<u64>),
    End(usize),
    Fail(usize),
    Check(u64, Finding),
    Mode(u64, Mode),
    Wait(u64),
}

fn step() -> impl Strategy<Value = Step> {
    let id = || 1_u64..=4;
    let finding = prop::sample::select(vec![
        Finding::Well,
        Finding::NoAnswer,
        Finding::Unwell,
        Finding::Nothing,
    ]);
    let mode = prop::sample::select(vec![Mode::Serve, Mode::Drain, Mode::Maintenance]);
    prop_oneof![
        4 => (0_u32..8, prop::collection::vec(id(), 0..4)).prop_map(|(s, t)| Step::Choose(s, t)),
        2 => any::<usize>().prop_map(Step::End),
        1 => any::<usize>().prop_map(Step::Fail),
        3 => (id(), finding).prop_map(|(id, finding)| Step::Check(id, finding)),
        1 => (id(), mode).prop_map(|(id, mode)| Step::Mode(id, mode)),
        1 => (1_u64..20_000).prop_map(Step::Wait),
    ]
}

proptest! {
    /// The model knows the rules in words only: nothing to one that is not to serve or is down; the least often tried before
    /// any other; a proven one, then a suspect one before any other; the least loaded for its weight; the count of a backend is
    /// what was chosen and has not ended.
    #[test]
    fn every_choice_is_one_that_the_rules_allow(
        steps in prop::collection::vec(step(), 1..120),
        affine in any::<bool>(),
        asks_http in any::<bool>(),
    ) {
        let algorithm = match affine {
            true => Algorithm::SourceAffinity,
            false => Algorithm::LeastConnections,
        };
        let mut spec = spec(4, algorithm);
        if asks_http {
            spec.check = Check::new(Probe::Http { port: 5588, path: "/".into() });
        }
        let mut now = Instant::now();
        let mut pool = Pool::new(&spec, now);
        let mut open: Vec<Choice> = Vec::new();
        for step in steps {
            match step {
                Step::Choose(number, tried) => {
                    let seen = pool.status(now);
                    let choice = pool.choose(source(number), &tried, now);
                    prop_assert_eq!(choice.is_some(), seen.iter().any(|it| may(it, &tried).is_some()));
                    let Some(choice) = choice else { continue };
                    judge(&seen, &choice, &tried, algorithm)?;
                    if affine {
                        let same = pool.choose(source(number), &tried, now).unwrap();
                        prop_assert_eq!(same.backend, choice.backend);
                        pool.ended(&same);
                    }
                    open.push(choice);
                }
                Step::End(at) if !open.is_empty() => {
                    let choice = open.swap_remove(at % open.len());
                    pool.ended(&choice);
                }
                Step::Fail(at) if !open.is_empty() => {
                    let choice = open.swap_remove(at % open.len());
                    pool.connect_failed(&choice, now);
                    pool.ended(&choice);
                }
                Step::End(_) | Step::Fail(_) => {}
                Step::Check(id, finding) => {
                    pool.checked(id, backend(id, Mode::Serve).address, finding, now);
                }
                Step::Mode(id, mode) => {
                    let at = spec.backends.iter().position(|it| it.id == id).unwrap();
                    spec.backends[at].mode = mode;
                    pool.change(&spec, now);
                }
                Step::Wait(ms) => now += Duration::from_millis(ms),
            }
            for status in pool.status(now) {
                let held = open.iter().filter(|it| it.backend == status.id).count();
                prop_assert_eq!(status.connections, held);
            }
        }
    }
}

/// The rank that the rules give it; None: it may have nothing.
fn may(it: &BackendStatus, tried: &[u64]) -> Option<(usize, usize)> {
    if it.mode != Mode::Serve {
        return None;
    }
    let place = match it.condition {
        Condition::Up => 0,
        Condition::Suspect => 1,
        Condition::Unproven | Condition::Recovering => 2,
        Condition::Down => return None,
    };
    let mut times = tried.to_vec();
    times.retain(|id| *id == it.id);
    Some((times.len(), place))
}

fn judge(
    seen: &[BackendStatus],
    choice: &Choice,
    tried: &[u64],
    algorithm: Algorithm,
) -> Result<(), TestCaseError> {
    let best = seen.iter().filter_map(|it| may(it, tried)).min();
    let taken = seen.iter().find(|it| it.id == choice.backend).unwrap();
    prop_assert_eq!(may(taken, tried), best);
    if algorithm == Algorithm::SourceAffinity {
        return Ok(());
    }
    let load = |it: &BackendStatus| (it.connections as f64 + 1.0) / f64::from(it.weight);
    for other in seen.iter().filter(|it| may(it, tried) == best) {
        prop_assert!(load(taken) <= load(other) * (1.0 + 1e-9));
    }
    Ok(())
}
