//! Stories of ports that a controller has looked at.

use malha_proto::{
    MAX_PROBE_TARGETS, PortState, ProbeOrder, ProbeOutcome, ProbeResult, ProbeTarget, ProbeWay,
};

use super::*;

fn order(number: u64, targets: usize) -> ProbeOrder {
    let target = ProbeTarget {
        address: "203.0.113.9:5500".parse().unwrap(),
        way: ProbeWay::Underlay,
        stays: false,
    };
    ProbeOrder {
        number,
        timeout_ms: 3_000,
        targets: vec![target; targets],
        names: vec![],
    }
}

fn asked(world: &mut World, link: LinkId, order: ProbeOrder) -> Vec<Action> {
    world.hear(link, ToNode::Probe(Box::new(order)))
}

fn is_looking(actions: &[Action]) -> bool {
    let is_look = |action: &Action| matches!(action, Action::ProbePorts(_));
    actions.iter().any(is_look)
}

fn outcomes(actions: &[Action]) -> Vec<ProbeOutcome> {
    let results = sent(actions)
        .into_iter()
        .filter_map(|message| match message {
            ToController::ProbeResult(result) => Some(result.outcome),
            _ => None,
        });
    results.collect()
}

fn seen(world: &mut World, number: u64) -> Vec<Action> {
    let outcome = ProbeOutcome::Seen(vec![PortState::Open]);
    let result = ProbeResult {
        number,
        outcome,
        names: vec![],
    };
    world.tell(Event::PortsProbed { result })
}

#[test]
fn an_order_is_served_and_answered_once() {
    let (mut world, link) = World::online();
    assert!(is_looking(&asked(&mut world, link, order(1, 1))));
    let answered = outcomes(&seen(&mut world, 1));
    assert_eq!(answered, [ProbeOutcome::Seen(vec![PortState::Open])]);
    assert_eq!(outcomes(&seen(&mut world, 1)), []);
}

#[test]
fn a_second_order_waits_for_the_first_one() {
    let (mut world, link) = World::online();
    asked(&mut world, link, order(1, 1));
    let second = asked(&mut world, link, order(2, 1));
    assert!(!is_looking(&second));
    assert_eq!(outcomes(&second), [ProbeOutcome::Busy]);
    seen(&mut world, 1);
    assert!(is_looking(&asked(&mut world, link, order(3, 1))));
}

#[test]
fn an_order_whose_answer_never_comes_does_not_block_for_ever() {
    let (mut world, link) = World::online();
    asked(&mut world, link, order(1, 1));
    world.now += PROBE_PATIENCE_MS;
    assert!(is_looking(&asked(&mut world, link, order(2, 1))));
}

#[test]
fn an_order_over_the_limits_is_not_served() {
    let (mut world, link) = World::online();
    let mut slow = order(2, 1);
    slow.timeout_ms = u32::MAX;
    for order in [order(1, MAX_PROBE_TARGETS + 1), slow] {
        let actions = asked(&mut world, link, order);
        assert!(!is_looking(&actions));
        assert_eq!(outcomes(&actions), [ProbeOutcome::TooMuch]);
    }
}

#[test]
fn orders_in_a_row_meet_the_pace() {
    let (mut world, link) = World::online();
    let mut served = 0;
    for number in 0..10 {
        let actions = asked(&mut world, link, order(number, MAX_PROBE_TARGETS));
        served += u64::from(is_looking(&actions));
        seen(&mut world, number);
    }
    let targets = u64::try_from(MAX_PROBE_TARGETS).unwrap();
    assert_eq!(served, PROBE_TARGETS_AT_ONCE / targets);
    world.now += targets * PROBE_TARGET_INTERVAL_MS;
    let actions = asked(&mut world, link, order(99, MAX_PROBE_TARGETS));
    assert!(is_looking(&actions));
}

#[test]
fn nobody_but_the_session_may_order() {
    let (mut world, link) = World::online();
    let stranger = LinkId(link.0 + 1_000);
    let actions = asked(&mut world, stranger, order(1, 1));
    assert!(!is_looking(&actions) && outcomes(&actions).is_empty());
}
