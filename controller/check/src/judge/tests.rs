//! Verdicts: each fault of names, ports and certificates made true and false, and that nothing unknown is ever in order. OCSP
//! answers and time stamps are judged in `tests/`, where real ones come from.

mod certificates;
mod names;
mod ports;

use std::net::SocketAddr;

use proptest::prelude::*;
use time::OffsetDateTime;
use time::macros::datetime;

use super::{MAX_OBSERVED_CHARS, judge};
use crate::asn1::{INTEGER, element, sequence};
use crate::sample;
use crate::{
    Cause, Check, Der, Expect, Failure, Fault, HttpSeen, Observation, OcspSeen, Probe, Protocol,
    Seen, StampSeen, Subject, TcpSeen, Vantage, Verdict, plan,
};

const NOW: OffsetDateTime = datetime!(2026-11-22 12:00 UTC);

/// A check of the sample's plan.
fn check(subject: &Subject, id: &str) -> Check {
    let found = plan(subject).into_iter().find(|check| check.id == id);
    found.unwrap_or_else(|| panic!("no check {id}"))
}

/// What is seen where the check looks.
fn sees(check: &Check, seen: Seen) -> Observation {
    Observation {
        time: NOW,
        vantage: check.vantage.clone(),
        probe: check.probe.clone(),
        address: None,
        seen,
    }
}

fn verdict(subject: &Subject, id: &str, seen: Seen) -> Verdict {
    let check = check(subject, id);
    judge(&check, subject, &[sees(&check, seen)], NOW)
}

#[track_caller]
fn assert_unknown(verdict: &Verdict, cause: Cause) {
    match verdict {
        Verdict::CouldNotTest { why } => assert_eq!(why.cause, cause, "{why:?}"),
        other => panic!("{other:?}"),
    }
}

#[test]
fn nothing_that_was_not_observed_is_in_order_or_a_finding() {
    let subject = sample::subject();
    for check in plan(&subject) {
        if check.expect == Expect::SamePorts {
            continue;
        }
        let verdict = judge(&check, &subject, &[], NOW);
        assert!(
            matches!(verdict, Verdict::CouldNotTest { .. }),
            "{}: {verdict:?}",
            check.id
        );
    }
}

#[test]
fn without_a_vantage_point_a_port_is_not_closed() {
    let mut subject = sample::subject();
    subject.outside = None;
    let id = "production/port/4000/outside/201.49.10.7";
    let unmanned = verdict(&subject, id, Seen::Tcp(TcpSeen::Silent));
    assert_unknown(&unmanned, Cause::NoVantagePoint);
}

#[test]
fn each_failure_to_look_is_said_as_such() {
    let subject = sample::subject();
    let id = "production/port/4000/outside/201.49.10.7";
    let reason = "limit".to_owned();
    let error = "x".to_owned();
    for (why, cause) in [
        (Failure::NodeOffline, Cause::NodeOffline),
        (Failure::NodeRefused { reason }, Cause::NodeRefused),
        (Failure::NoRoute, Cause::NoRoute),
        (Failure::NoTime, Cause::NoTime),
        (
            Failure::Local {
                error: error.clone(),
            },
            Cause::Local,
        ),
        (Failure::Before { error }, Cause::Before),
    ] {
        assert_unknown(&verdict(&subject, id, Seen::Failed { why }), cause);
    }
}

#[test]
fn what_nobody_can_test_says_why() {
    let mut subject = sample::subject();
    subject.production.names = (0..99).map(|n| format!("n{n}.mt.gov.br")).collect();
    let cut = check(&subject, "declared/within-limits");
    assert_unknown(&judge(&cut, &subject, &[], NOW), Cause::TooMuch);
    let mut subject = sample::subject();
    subject.production.servers[0].ports[0].protocol = Protocol::Udp;
    let id = "production/port/5500/granted/servidor-1/10.90.0.11";
    let udp = verdict(&subject, id, Seen::Tcp(TcpSeen::Open));
    assert_unknown(&udp, Cause::NotOverTcp);
    let mut subject = sample::subject();
    subject.production.servers[0].egress[0].addresses.clear();
    let id = "production/egress/servidor-1/central/central.mt.gov.br:4001";
    let nowhere = verdict(&subject, id, Seen::Tcp(TcpSeen::Open));
    assert_unknown(&nowhere, Cause::NoAddress);
}

#[test]
fn the_later_of_two_looks_counts() {
    let subject = sample::subject();
    let check = check(
        &subject,
        "production/port/4000/granted/servidor-1/10.90.0.11",
    );
    let open = sees(&check, Seen::Tcp(TcpSeen::Open));
    let mut refused = sees(&check, Seen::Tcp(TcpSeen::Refused));
    refused.time = NOW - time::Duration::MINUTE;
    for order in [[&open, &refused], [&refused, &open]] {
        let observations = order.map(Clone::clone);
        assert!(judge(&check, &subject, &observations, NOW).is_ok());
    }
}

#[test]
fn a_verdict_carries_time_vantage_point_and_address() {
    let subject = sample::subject();
    let id = "production/port/4000/ungranted/servidor-1/10.90.0.11";
    let Verdict::Finding(finding) = verdict(&subject, id, Seen::Tcp(TcpSeen::Open)) else {
        panic!("an open port passed");
    };
    let evidence = &finding.evidence[0];
    assert_eq!(evidence.time, NOW);
    assert_eq!(
        evidence.vantage.to_string(),
        "member without grant (alheio)"
    );
    assert_eq!(evidence.address, "10.90.0.11:4000");
    assert_eq!(evidence.observed, "open");
}

#[test]
fn every_fault_and_cause_has_words_in_both_languages() {
    let faults = Fault::ALL.iter().flat_map(|it| [it.pt(), it.en()]);
    let causes = Cause::ALL.iter().flat_map(|it| [it.pt(), it.en()]);
    let words: Vec<&str> = faults.chain(causes).collect();
    assert!(words.iter().all(|words| words.len() > 10));
    let mut once = words.clone();
    once.sort_unstable();
    once.dedup();
    assert_eq!(once.len(), words.len());
}

fn any_seen() -> impl Strategy<Value = Seen> {
    let bytes = || prop::collection::vec(any::<u8>(), 0..200).prop_map(Der);
    let http = HttpSeen::Answer {
        status: 200,
        content_type: None,
        location: None,
        body: String::new(),
    };
    let ocsp_http = http.clone();
    prop_oneof![
        (bytes(), bytes(), bytes()).prop_map(move |(certificate, issuer, answer)| {
            Seen::Ocsp(OcspSeen {
                certificate,
                issuer,
                nonce: Der::default(),
                http: ocsp_http.clone(),
                answer: Some(answer),
            })
        }),
        bytes().prop_map(move |answer| {
            Seen::TimeStamp(StampSeen {
                imprint: Der(vec![1]),
                nonce: Der(vec![2]),
                sent: NOW,
                received: NOW,
                http: http.clone(),
                answer: Some(answer),
            })
        }),
        bytes().prop_map(|leaf| {
            Seen::Tls(crate::TlsSeen {
                chain: vec![leaf],
                ..crate::TlsSeen::default()
            })
        }),
        Just(Seen::Tcp(TcpSeen::Silent)),
        Just(Seen::Failed {
            why: Failure::NodeOffline
        }),
    ]
}

proptest! {
    #[test]
    fn what_comes_from_outside_is_never_in_order_by_chance(seen in any_seen(), pick: prop::sample::Index) {
        let subject = sample::subject();
        let checks = plan(&subject);
        let check = &checks[pick.index(checks.len())];
        let verdict = judge(check, &subject, &[sees(check, seen.clone())], NOW);
        let is_closed = matches!(check.expect, Expect::Closed { control: None });
        let silent = seen == Seen::Tcp(TcpSeen::Silent);
        prop_assert_eq!(verdict.is_ok(), is_closed && silent, "{}: {:?}", check.id, verdict);
    }
}

#[test]
fn what_a_server_says_at_length_makes_no_long_finding() {
    let number = element(INTEGER, &[2; 60_000]);
    let answer = sequence(&[&sequence(&[&number])]);
    let seen = Seen::TimeStamp(StampSeen {
        imprint: Der::default(),
        nonce: Der::default(),
        sent: NOW,
        received: NOW,
        http: HttpSeen::Broken {
            error: String::new(),
        },
        answer: Some(Der(answer)),
    });
    let subject = sample::subject();
    let id = format!("time-stamp/signed/{}", subject.timestamp_urls[0]);
    let Verdict::Finding(finding) = verdict(&subject, &id, seen) else {
        panic!("refused, and no finding");
    };
    assert_eq!(finding.fault, Fault::StampRefused);
    assert!(finding.observed.starts_with("PKIStatus [2, 2, "));
    assert_eq!(finding.observed.chars().count(), MAX_OBSERVED_CHARS + 1);
}

#[test]
fn another_vantage_points_observation_proves_nothing() {
    let subject = sample::subject();
    let check = check(
        &subject,
        "production/port/4000/ungranted/servidor-1/10.90.0.11",
    );
    let mut elsewhere = sees(&check, Seen::Tcp(TcpSeen::Refused));
    elsewhere.vantage = Vantage::MemberWithoutGrant {
        node: Some(sample::node(77, "terceiro")),
    };
    let verdict = judge(&check, &subject, &[elsewhere], NOW);
    assert_unknown(&verdict, Cause::NotObserved);
    let address: SocketAddr = "10.90.0.11:4001".parse().unwrap();
    let mut other_port = sees(&check, Seen::Tcp(TcpSeen::Refused));
    other_port.probe = Probe::TcpConnect { address };
    let verdict = judge(&check, &subject, &[other_port], NOW);
    assert_unknown(&verdict, Cause::NotObserved);
}
