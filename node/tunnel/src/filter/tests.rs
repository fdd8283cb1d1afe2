//! The filter against a naive model, and its rules one by one.

#[path = "../../tests/model/mod.rs"]
pub(crate) mod model;

use std::time::Duration;

use proptest::prelude::*;

use model::{Judgement, Model, packets};

use super::*;
use crate::config::Allow;
use crate::flow::UDP_IDLE;
use crate::packet::build;

const PEER: PeerIndex = PeerIndex(1);
const SYN: u8 = 0x02;
const SYN_ACK: u8 = 0x12;
const ACK: u8 = 0x10;

fn filter() -> Filter {
    Filter::new(["10.0.0.1".parse().unwrap(), "fd00::1".parse().unwrap()].into())
}

fn open(rules: &[Allow]) -> Ingress {
    Ingress::new(rules)
}

fn refused_by_default() -> Verdict {
    Verdict::Refused(Refusal::Default)
}

#[test]
fn nothing_may_be_opened_without_a_permission() {
    let mut filter = filter();
    let now = Instant::now();
    for packet in [
        build::tcp("10.0.0.2:4000", "10.0.0.1:80", SYN),
        build::udp("10.0.0.2:4000", "10.0.0.1:53", b"?"),
        build::tcp("[fd00::2]:4000", "[fd00::1]:80", SYN),
        build::icmp(
            "10.0.0.2".parse().unwrap(),
            "10.0.0.1".parse().unwrap(),
            8,
            1,
            b"",
        ),
        build::icmp(
            "fd00::2".parse().unwrap(),
            "fd00::1".parse().unwrap(),
            128,
            1,
            b"",
        ),
        build::ip(
            "10.0.0.2".parse().unwrap(),
            "10.0.0.1".parse().unwrap(),
            47,
            b"gre payload",
        ),
    ] {
        assert_eq!(
            filter.enter(PEER, &mut open(&[]), &packet, now),
            refused_by_default()
        );
    }
    assert_eq!(filter.counters().refused.no_rule, 6);
}

/// As many as one balancer may be given, whatever else this node did meanwhile.
#[test]
fn no_connection_of_a_full_balancer_is_forgotten() {
    let mut filter = filter();
    let now = Instant::now();
    let mut rules = open(&[]);
    let ends = |number: usize| {
        let port = 1024 + number % 50_000;
        let server = number / 50_000;
        (format!("10.0.0.1:{port}"), format!("10.0.0.2:{server}"))
    };
    let balanced = 100_000;
    for number in 0..balanced {
        let (here, there) = ends(number);
        filter.leave(PEER, &rules, &build::tcp(&here, &there, SYN), now);
        filter.enter(PEER, &mut rules, &build::tcp(&there, &here, SYN_ACK), now);
    }
    for question in 0..20_000_u32 {
        let asked = format!("10.0.0.2:{}", question + 1);
        let asking = "10.0.0.1:53";
        filter.leave(PEER, &rules, &build::udp(asking, &asked, b"?"), now);
        filter.enter(PEER, &mut rules, &build::udp(&asked, asking, b"!"), now);
    }
    let forgotten = (0..balanced).filter(|number| {
        let (here, there) = ends(*number);
        let data = build::tcp(&there, &here, ACK);
        filter.enter(PEER, &mut rules, &data, now) != Verdict::Answer
    });
    assert_eq!(forgotten.count(), 0);
}

#[test]
fn a_permission_opens_its_ports_and_no_others() {
    let mut filter = filter();
    let now = Instant::now();
    let mut rules = open(&[Allow::tcp(80..=81)]);
    let mut enter = |packet: Vec<u8>| filter.enter(PEER, &mut rules, &packet, now);
    assert_eq!(
        enter(build::tcp("10.0.0.2:4000", "10.0.0.1:81", SYN)),
        Verdict::Rule(0)
    );
    assert_eq!(
        enter(build::tcp("10.0.0.2:4000", "10.0.0.1:82", SYN)),
        refused_by_default()
    );
    assert_eq!(
        enter(build::udp("10.0.0.2:4000", "10.0.0.1:80", b"")),
        refused_by_default()
    );
}

#[test]
fn echo_needs_its_own_permission() {
    let mut filter = filter();
    let now = Instant::now();
    let echo = build::icmp(
        "10.0.0.2".parse().unwrap(),
        "10.0.0.1".parse().unwrap(),
        8,
        7,
        b"",
    );
    assert_eq!(
        filter.enter(PEER, &mut open(&[Allow::tcp(0..=65535)]), &echo, now),
        refused_by_default()
    );
    assert_eq!(
        filter.enter(PEER, &mut open(&[Allow::icmp()]), &echo, now),
        Verdict::Rule(0)
    );
}

#[test]
fn answers_come_back_from_the_peer_that_was_asked_only() {
    let mut filter = filter();
    let now = Instant::now();
    filter.leave(
        PEER,
        &open(&[]),
        &build::tcp("10.0.0.1:4000", "10.0.0.2:80", SYN),
        now,
    );
    let answer = build::tcp("10.0.0.2:80", "10.0.0.1:4000", SYN_ACK);
    assert_eq!(
        filter.enter(PeerIndex(2), &mut open(&[]), &answer, now),
        refused_by_default()
    );
    assert_eq!(
        filter.enter(PEER, &mut open(&[]), &answer, now),
        Verdict::Answer
    );
}

#[test]
fn a_bare_syn_never_counts_as_an_answer() {
    let mut filter = filter();
    let now = Instant::now();
    filter.leave(
        PEER,
        &open(&[]),
        &build::tcp("10.0.0.1:4000", "10.0.0.2:80", SYN),
        now,
    );
    let syn = build::tcp("10.0.0.2:80", "10.0.0.1:4000", SYN);
    assert_eq!(
        filter.enter(PEER, &mut open(&[]), &syn, now),
        refused_by_default()
    );
}

#[test]
fn answering_a_permitted_request_gives_no_permission_of_its_own() {
    let mut filter = filter();
    let now = Instant::now();
    let mut rules = open(&[Allow::udp(53..=53)]);
    let question = build::udp("10.0.0.2:4000", "10.0.0.1:53", b"?");
    assert_eq!(
        filter.enter(PEER, &mut rules, &question, now),
        Verdict::Rule(0)
    );
    filter.leave(
        PEER,
        &rules,
        &build::udp("10.0.0.1:53", "10.0.0.2:4000", b"!"),
        now,
    );
    assert_eq!(
        filter.enter(PEER, &mut open(&[]), &question, now),
        refused_by_default()
    );
}

#[test]
fn what_a_peer_asked_is_not_ours_when_its_permission_goes_before_the_answer() {
    let mut filter = filter();
    let now = Instant::now();
    let question = build::udp("10.0.0.2:4000", "10.0.0.1:53", b"?");
    let answer = build::udp("10.0.0.1:53", "10.0.0.2:4000", b"!");
    filter.enter(PEER, &mut open(&[Allow::udp(53..=53)]), &question, now);
    let mut none = open(&[]);
    filter.leave(PEER, &none, &answer, now);
    assert_eq!(
        filter.enter(PEER, &mut none, &question, now),
        refused_by_default()
    );
}

#[test]
fn what_nobody_answered_may_be_opened_when_the_permission_is_gone() {
    let mut filter = filter();
    let now = Instant::now();
    let question = build::udp("10.0.0.1:53", "10.0.0.2:4000", b"?");
    let answer = build::udp("10.0.0.2:4000", "10.0.0.1:53", b"!");
    filter.leave(PEER, &open(&[Allow::udp(53..=53)]), &question, now);
    let mut none = open(&[]);
    filter.leave(PEER, &none, &question, now);
    assert_eq!(filter.enter(PEER, &mut none, &answer, now), Verdict::Answer);
}

#[test]
fn what_a_peer_began_is_not_ours_once_its_permission_is_gone() {
    let mut filter = filter();
    let now = Instant::now();
    let mut rules = open(&[Allow::udp(53..=53)]);
    let question = build::udp("10.0.0.2:4000", "10.0.0.1:53", b"?");
    let answer = build::udp("10.0.0.1:53", "10.0.0.2:4000", b"!");
    filter.enter(PEER, &mut rules, &question, now);
    filter.leave(PEER, &rules, &answer, now);
    let mut none = open(&[]);
    for seconds in (0..600).step_by(60) {
        let now = now + Duration::from_secs(seconds);
        filter.leave(PEER, &none, &answer, now);
        assert_eq!(
            filter.enter(PEER, &mut none, &question, now),
            refused_by_default()
        );
    }
    let later = now + Duration::from_secs(540) + UDP_IDLE;
    filter.leave(PEER, &none, &answer, later);
    assert_eq!(
        filter.enter(PEER, &mut none, &question, later),
        Verdict::Answer,
        "it is a conversation of ours by now"
    );
}

#[test]
fn only_icmp_errors_about_our_own_flows_pass() {
    let mut filter = filter();
    let now = Instant::now();
    let ours = build::udp("10.0.0.1:4000", "10.0.0.2:53", b"question");
    filter.leave(PEER, &open(&[]), &ours, now);
    let error = |about: &[u8]| {
        build::icmp(
            "10.0.0.2".parse().unwrap(),
            "10.0.0.1".parse().unwrap(),
            3,
            0,
            &about[..28],
        )
    };
    assert_eq!(
        filter.enter(PEER, &mut open(&[]), &error(&ours), now),
        Verdict::Answer
    );
    let foreign = build::udp("10.0.0.1:4001", "10.0.0.2:53", b"question");
    assert_eq!(
        filter.enter(PEER, &mut open(&[Allow::icmp()]), &error(&foreign), now),
        refused_by_default()
    );
}

#[test]
fn a_packet_for_someone_else_is_refused_even_with_every_permission() {
    let mut filter = filter();
    let mut rules = open(&[Allow::tcp(0..=65535), Allow::udp(0..=65535), Allow::icmp()]);
    let packet = build::tcp("10.0.0.2:4000", "10.0.0.3:80", SYN);
    let verdict = filter.enter(PEER, &mut rules, &packet, Instant::now());
    assert_eq!(verdict, Verdict::Refused(Refusal::NotOurs));
}

#[test]
fn fragments_are_refused_even_with_every_permission() {
    let mut filter = filter();
    let mut rules = open(&[Allow::udp(0..=65535)]);
    let mut packet = build::udp("10.0.0.2:4000", "10.0.0.1:53", b"?");
    packet[6] = 0x20;
    let verdict = filter.enter(PEER, &mut rules, &packet, Instant::now());
    assert_eq!(
        verdict,
        Verdict::Refused(Refusal::Unjudged(Unjudged::Fragment))
    );
    assert_eq!(filter.counters().refused.fragment, 1);
}

/// The verdict in the model's words.
fn said(verdict: Verdict) -> Judgement {
    match verdict {
        Verdict::Rule(at) => Judgement::Rule(at),
        Verdict::Answer => Judgement::Answer,
        Verdict::Refused(Refusal::Default) => Judgement::Refused("default"),
        Verdict::Refused(Refusal::NotOurs) => Judgement::Refused("not ours"),
        Verdict::Refused(Refusal::Unjudged(why)) => Judgement::Refused(match why {
            Unjudged::Malformed => "malformed",
            Unjudged::Fragment => "fragment",
            Unjudged::Extension => "extension",
        }),
    }
}

fn allow((protocol, ports): &model::Rule) -> Allow {
    match *protocol {
        model::TCP => Allow::tcp(ports.clone()),
        model::UDP => Allow::udp(ports.clone()),
        _ => Allow::icmp(),
    }
}

/// Pauses that meet every time limit from both sides.
const WAITS_S: [u64; 16] = [
    0, 0, 0, 0, 0, 1, 59, 61, 119, 121, 239, 241, 241, 241, 7_439, 7_441,
];

proptest! {
    // 2,000 conversations of 50 packets each.
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn verdicts_equal_those_of_a_model_that_is_written_from_the_text(
        steps in packets::steps(50, &WAITS_S),
        rules in prop::collection::vec(packets::rules(), packets::PEERS),
    ) {
        let mut filter = Filter::new(packets::own().into_iter().collect());
        let mut ingress: Vec<Ingress> = rules
            .iter()
            .map(|rules| Ingress::new(&rules.iter().map(allow).collect::<Vec<_>>()))
            .collect();
        let mut model = Model::new(packets::own(), rules);
        let start = Instant::now();
        let mut now_s = 0;
        let mut refused = 0;
        for step in &steps {
            now_s += step.wait_s;
            let now = start + Duration::from_secs(now_s);
            let index = PeerIndex(step.peer as u32);
            let ingress = &mut ingress[step.peer];
            if step.outward {
                filter.leave(index, ingress, &step.packet, now);
                model.leave(step.peer, &step.packet, now_s);
            } else {
                let verdict = said(filter.enter(index, ingress, &step.packet, now));
                prop_assert_eq!(verdict, model.enter(step.peer, &step.packet, now_s), "{:?}", step);
                refused += u64::from(matches!(verdict, Judgement::Refused(_)));
            }
        }
        let counted = ingress.iter().map(|ingress| ingress.refusals().total());
        prop_assert_eq!(counted.sum::<u64>(), refused);
    }

    #[test]
    fn no_bytes_panic_the_filter(packet in prop::collection::vec(any::<u8>(), 0..100)) {
        let mut filter = filter();
        filter.leave(PEER, &open(&[]), &packet, Instant::now());
        filter.enter(PEER, &mut open(&[Allow::icmp()]), &packet, Instant::now());
    }
}
