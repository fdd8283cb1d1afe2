//! The filter against a naive model, and its rules one by one.

use std::time::Duration;

use proptest::prelude::*;

use super::*;
use crate::flow::{ICMP_IDLE, TCP_EDGE_IDLE, TCP_OPEN_IDLE, UDP_IDLE};
use crate::packet::build;

const PEER: PeerIndex = PeerIndex(1);
const SYN: u8 = 0x02;
const SYN_ACK: u8 = 0x12;
const ACK: u8 = 0x10;
const FIN_ACK: u8 = 0x11;
const RST: u8 = 0x04;

fn filter() -> Filter {
    Filter::new(["10.0.0.1".parse().unwrap(), "fd00::1".parse().unwrap()].into())
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
        assert_eq!(filter.enter(PEER, &[], &packet, now), refused_by_default());
    }
    assert_eq!(filter.counters().refused_by_default, 6);
}

#[test]
fn a_permission_opens_its_ports_and_no_others() {
    let mut filter = filter();
    let now = Instant::now();
    let rules = [Allow::tcp(80..=81)];
    let mut enter = |packet: Vec<u8>| filter.enter(PEER, &rules, &packet, now);
    assert_eq!(
        enter(build::tcp("10.0.0.2:4000", "10.0.0.1:81", SYN)),
        Verdict::Rule
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
        filter.enter(PEER, &[Allow::tcp(0..=65535)], &echo, now),
        refused_by_default()
    );
    assert_eq!(
        filter.enter(PEER, &[Allow::icmp()], &echo, now),
        Verdict::Rule
    );
}

#[test]
fn answers_come_back_from_the_peer_that_was_asked_only() {
    let mut filter = filter();
    let now = Instant::now();
    filter.leave(
        PEER,
        &[],
        &build::tcp("10.0.0.1:4000", "10.0.0.2:80", SYN),
        now,
    );
    let answer = build::tcp("10.0.0.2:80", "10.0.0.1:4000", SYN_ACK);
    assert_eq!(
        filter.enter(PeerIndex(2), &[], &answer, now),
        refused_by_default()
    );
    assert_eq!(filter.enter(PEER, &[], &answer, now), Verdict::Answer);
}

#[test]
fn a_bare_syn_never_counts_as_an_answer() {
    let mut filter = filter();
    let now = Instant::now();
    filter.leave(
        PEER,
        &[],
        &build::tcp("10.0.0.1:4000", "10.0.0.2:80", SYN),
        now,
    );
    let syn = build::tcp("10.0.0.2:80", "10.0.0.1:4000", SYN);
    assert_eq!(filter.enter(PEER, &[], &syn, now), refused_by_default());
}

#[test]
fn answering_a_permitted_request_gives_no_permission_of_its_own() {
    let mut filter = filter();
    let now = Instant::now();
    let rules = [Allow::udp(53..=53)];
    let question = build::udp("10.0.0.2:4000", "10.0.0.1:53", b"?");
    assert_eq!(filter.enter(PEER, &rules, &question, now), Verdict::Rule);
    filter.leave(
        PEER,
        &rules,
        &build::udp("10.0.0.1:53", "10.0.0.2:4000", b"!"),
        now,
    );
    assert_eq!(
        filter.enter(PEER, &[], &question, now),
        refused_by_default()
    );
}

#[test]
fn only_icmp_errors_about_our_own_flows_pass() {
    let mut filter = filter();
    let now = Instant::now();
    let ours = build::udp("10.0.0.1:4000", "10.0.0.2:53", b"question");
    filter.leave(PEER, &[], &ours, now);
    let error = |about: &[u8]| {
        build::icmp(
            "10.0.0.2".parse().unwrap(),
            "10.0.0.1".parse().unwrap(),
            3,
            0,
            &about[..28],
        )
    };
    assert_eq!(filter.enter(PEER, &[], &error(&ours), now), Verdict::Answer);
    let foreign = build::udp("10.0.0.1:4001", "10.0.0.2:53", b"question");
    assert_eq!(
        filter.enter(PEER, &[Allow::icmp()], &error(&foreign), now),
        refused_by_default()
    );
}

#[test]
fn a_packet_for_someone_else_is_refused_even_with_every_permission() {
    let mut filter = filter();
    let rules = [Allow::tcp(0..=65535), Allow::udp(0..=65535), Allow::icmp()];
    let packet = build::tcp("10.0.0.2:4000", "10.0.0.3:80", SYN);
    let verdict = filter.enter(PEER, &rules, &packet, Instant::now());
    assert_eq!(verdict, Verdict::Refused(Refusal::NotOurs));
}

#[test]
fn fragments_are_refused_even_with_every_permission() {
    let mut filter = filter();
    let rules = [Allow::udp(0..=65535)];
    let mut packet = build::udp("10.0.0.2:4000", "10.0.0.1:53", b"?");
    packet[6] = 0x20;
    let verdict = filter.enter(PEER, &rules, &packet, Instant::now());
    assert_eq!(
        verdict,
        Verdict::Refused(Refusal::Unjudged(Unjudged::Fragment))
    );
    assert_eq!(filter.counters().refused_fragment, 1);
}

#[derive(Debug, Clone)]
struct Step {
    outward: bool,
    protocol: Protocol,
    ipv6: bool,
    ours: u16,
    theirs: u16,
    flags: u8,
    wait_s: u64,
}

impl Step {
    fn packet(&self) -> Vec<u8> {
        let (us, them) = match self.ipv6 {
            false => ("10.0.0.1", "10.0.0.2"),
            true => ("[fd00::1]", "[fd00::2]"),
        };
        let ours = format!("{us}:{}", self.ours);
        let theirs = format!("{them}:{}", self.theirs);
        let (source, destination) = if self.outward {
            (ours, theirs)
        } else {
            (theirs, ours)
        };
        match self.protocol {
            Protocol::Tcp => build::tcp(&source, &destination, self.flags),
            Protocol::Udp => build::udp(&source, &destination, b"x"),
            Protocol::Icmp => {
                let kind = match (self.ipv6, self.outward) {
                    (false, true) => 8,
                    (false, false) => 0,
                    (true, true) => 128,
                    (true, false) => 129,
                };
                let address = |text: &str| text.parse::<std::net::SocketAddr>().unwrap().ip();
                build::icmp(
                    address(&source),
                    address(&destination),
                    kind,
                    self.ours,
                    b"",
                )
            }
        }
    }

    fn flow(&self) -> (Protocol, bool, u16, u16) {
        let theirs = if self.protocol == Protocol::Icmp {
            self.ours
        } else {
            self.theirs
        };
        (self.protocol, self.ipv6, self.ours, theirs)
    }
}

/// Reads the whole history backwards for every question: is there an opening packet, and was the flow never idle too long
/// since then?
fn naive_answers(history: &[(u64, Step)], now_s: u64, step: &Step, rules: &[Allow]) -> bool {
    let bare_syn = |step: &Step| step.flags == SYN;
    if step.protocol == Protocol::Tcp && bare_syn(step) {
        return false;
    }
    let mut known = false;
    let (mut fin_ours, mut fin_theirs, mut rst, mut heard) = (false, false, false, false);
    let mut used_s = 0;
    let limit = |fin_ours: bool, fin_theirs: bool, rst: bool, heard: bool| {
        match step.protocol {
            Protocol::Icmp => ICMP_IDLE,
            Protocol::Udp => UDP_IDLE,
            Protocol::Tcp if rst || (fin_ours && fin_theirs) => TCP_EDGE_IDLE,
            Protocol::Tcp if heard || fin_ours || fin_theirs => TCP_OPEN_IDLE,
            Protocol::Tcp => TCP_EDGE_IDLE,
        }
        .as_secs()
    };
    for (at_s, past) in history
        .iter()
        .filter(|(_, past)| past.flow() == step.flow())
    {
        if known && at_s - used_s >= limit(fin_ours, fin_theirs, rst, heard) {
            known = false;
        }
        let permitted = rules
            .iter()
            .any(|rule| rule.covers(past.protocol, past.ours));
        let opens = past.outward
            && match past.protocol {
                Protocol::Tcp => bare_syn(past),
                _ => !permitted,
            };
        let closed = rst || (fin_ours && fin_theirs);
        if opens && (!known || closed) {
            known = true;
            (fin_ours, fin_theirs, rst, heard) = (false, false, false, false);
            used_s = *at_s;
        } else if opens {
            used_s = *at_s;
        } else if known && !(past.protocol == Protocol::Tcp && !past.outward && bare_syn(past)) {
            used_s = *at_s;
            let closed_before = rst || (fin_ours && fin_theirs);
            if past.protocol == Protocol::Tcp && !closed_before {
                let fin = past.flags & 1 != 0;
                rst |= past.flags & 4 != 0;
                fin_ours |= fin && past.outward;
                fin_theirs |= fin && !past.outward;
                heard |= !past.outward;
            }
        }
    }
    known && now_s - used_s < limit(fin_ours, fin_theirs, rst, heard)
}

fn step() -> impl Strategy<Value = Step> {
    (
        any::<bool>(),
        prop_oneof![
            Just(Protocol::Tcp),
            Just(Protocol::Udp),
            Just(Protocol::Icmp)
        ],
        any::<bool>(),
        79u16..82,
        5000u16..5002,
        prop_oneof![
            Just(SYN),
            Just(SYN_ACK),
            Just(ACK),
            Just(FIN_ACK),
            Just(RST)
        ],
        prop_oneof![Just(1u64), Just(30), Just(90), Just(200), Just(4000)],
    )
        .prop_map(
            |(outward, protocol, ipv6, ours, theirs, flags, wait_s)| Step {
                outward,
                protocol,
                ipv6,
                ours,
                theirs,
                flags,
                wait_s,
            },
        )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(3000))]

    #[test]
    fn verdicts_equal_those_of_a_model_that_rereads_all_history(
        steps in prop::collection::vec(step(), 1..40),
        tcp in prop::option::of(80u16..82),
        udp in prop::option::of(80u16..82),
    ) {
        let rules: Vec<_> = tcp.map(|port| Allow::tcp(port..=port)).into_iter()
            .chain(udp.map(|port| Allow::udp(port..=port)))
            .collect();
        let mut filter = filter();
        let start = Instant::now();
        let mut now_s = 0;
        let mut history = Vec::new();
        for step in steps {
            now_s += step.wait_s;
            let now = start + Duration::from_secs(now_s);
            if step.outward {
                filter.leave(PEER, &rules, &step.packet(), now);
            } else {
                let expected = if naive_answers(&history, now_s, &step, &rules) {
                    Verdict::Answer
                } else if rules.iter().any(|rule| rule.covers(step.protocol, step.ours)) {
                    Verdict::Rule
                } else {
                    refused_by_default()
                };
                prop_assert_eq!(filter.enter(PEER, &rules, &step.packet(), now), expected);
            }
            history.push((now_s, step));
        }
    }

    #[test]
    fn no_bytes_panic_the_filter(packet in prop::collection::vec(any::<u8>(), 0..100)) {
        let mut filter = filter();
        filter.leave(PEER, &[], &packet, Instant::now());
        filter.enter(PEER, &[Allow::icmp()], &packet, Instant::now());
    }
}
