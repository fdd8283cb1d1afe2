//! Names: existence, addresses, agreement of servers, and the two stages kept apart.

use proptest::prelude::*;

use super::{NOW, assert_unknown, check, sees, verdict};
use crate::sample::{self, ip};
use crate::{
    Cause, DnsAnswer, DnsSeen, Failure, Fault, InsideSeen, Observation, Probe, Seen, Subject,
    Verdict, View, judge,
};

const NAME: &str = "xvia.sedec.mt.gov.br";

fn records(addresses: &[&str]) -> DnsAnswer {
    DnsAnswer::Records {
        is_authoritative: true,
        aliases: Vec::new(),
        addresses: addresses.iter().map(|it| ip(it)).collect(),
    }
}

fn error(code: &str) -> DnsAnswer {
    let code = code.to_owned();
    DnsAnswer::Error { code }
}

/// The verdict when the sample's two servers say this.
fn said(what: &str, answers: [DnsAnswer; 2]) -> Verdict {
    let subject = sample::subject();
    let check = check(&subject, &format!("production/dns/{NAME}/{what}"));
    let observations = observations(&subject, NAME, answers);
    judge(&check, &subject, &observations, NOW)
}

fn observations(subject: &Subject, name: &str, answers: [DnsAnswer; 2]) -> Vec<Observation> {
    let probe = Probe::Dns {
        name: name.to_owned(),
        view: View::Public,
    };
    let each = subject.name_servers.iter().zip(answers);
    each.map(|(server, answer)| Observation {
        time: NOW,
        vantage: crate::Vantage::Controller,
        probe: probe.clone(),
        address: Some(server.address),
        seen: Seen::Dns(DnsSeen {
            server: server.name.clone(),
            answer,
        }),
    })
    .collect()
}

fn both(answer: &DnsAnswer) -> [DnsAnswer; 2] {
    [answer.clone(), answer.clone()]
}

#[test]
fn a_name_exists_when_it_has_an_address() {
    let what = "exists";
    assert!(said(what, both(&records(&["201.49.10.7"]))).is_ok());
    let missing = said(what, both(&DnsAnswer::NoName));
    assert_eq!(missing.fault(), Some(Fault::NameMissing));
    assert_eq!(
        said(what, both(&records(&[]))).fault(),
        Some(Fault::NameMissing)
    );
    let failing = said(what, both(&error("SERVFAIL")));
    assert_eq!(failing.fault(), Some(Fault::NameServerError));
    assert_unknown(&said(what, both(&DnsAnswer::Silent)), Cause::NoConnection);
}

#[test]
fn only_declared_addresses_may_stand_behind_a_name() {
    let what = "declared-addresses";
    assert!(said(what, both(&records(&["201.49.10.7"]))).is_ok());
    let other = said(what, both(&records(&["201.49.10.7", "2001:db8::7"])));
    let Verdict::Finding(finding) = other else {
        panic!("an undeclared IPv6 address passed");
    };
    assert_eq!(finding.fault, Fault::UndeclaredAddress);
    assert_eq!(finding.declared, "201.49.10.7");
    assert_eq!(finding.observed, "2001:db8::7");
    assert_unknown(&said(what, both(&DnsAnswer::NoName)), Cause::NoAddress);
}

#[test]
fn private_addresses_are_no_public_answer() {
    let what = "public-space";
    assert!(said(what, both(&records(&["201.49.10.7"]))).is_ok());
    let private = said(what, both(&records(&["201.49.10.7", "10.1.2.3"])));
    assert_eq!(private.fault(), Some(Fault::PrivateAddress));
}

#[test]
fn servers_agree_or_the_one_that_differs_is_named() {
    let what = "servers-agree";
    let right = records(&["201.49.10.7"]);
    assert!(said(what, both(&right)).is_ok());
    for (other, fault) in [
        (records(&["201.49.10.9"]), Fault::NameServersDisagree),
        (DnsAnswer::NoName, Fault::NameServersDisagree),
        (DnsAnswer::Silent, Fault::NameServerSilent),
        (error("REFUSED"), Fault::NameServerError),
    ] {
        let verdict = said(what, [right.clone(), other]);
        assert_eq!(verdict.fault(), Some(fault), "{verdict:?}");
    }
    let mut cached = right.clone();
    if let DnsAnswer::Records {
        is_authoritative, ..
    } = &mut cached
    {
        *is_authoritative = false;
    }
    assert_eq!(
        said(what, [right, cached]).fault(),
        Some(Fault::NameServerLame)
    );
}

#[test]
fn a_server_that_could_not_be_asked_leaves_agreement_open() {
    let subject = sample::subject();
    let check = check(&subject, &format!("production/dns/{NAME}/servers-agree"));
    let mut seen = observations(&subject, NAME, both(&records(&["201.49.10.7"])));
    seen[1].seen = Seen::Failed {
        why: Failure::NoRoute,
    };
    assert_unknown(&judge(&check, &subject, &seen, NOW), Cause::NoRoute);
    seen.truncate(1);
    assert_unknown(&judge(&check, &subject, &seen, NOW), Cause::NotObserved);
}

#[test]
fn the_two_stages_have_names_and_addresses_of_their_own() {
    let subject = sample::subject();
    let dev = "xvia-dev.sedec.mt.gov.br";
    let differs = |production: &[&str], development: &[&str]| {
        let check = check(
            &subject,
            &format!("development/dns/{dev}/differs-from/{NAME}"),
        );
        let mut seen = observations(&subject, NAME, both(&records(production)));
        seen.extend(observations(&subject, dev, both(&records(development))));
        judge(&check, &subject, &seen, NOW)
    };
    assert!(differs(&["201.49.10.7"], &["201.49.10.8"]).is_ok());
    let shared = differs(&["201.49.10.7"], &["201.49.10.8", "201.49.10.7"]);
    assert_eq!(shared.fault(), Some(Fault::SameAddress));
    assert_unknown(&differs(&[], &["201.49.10.8"]), Cause::NoAddress);

    let id = format!("development/dns/{dev}/not-on-other-stage");
    let not_on = |address| {
        let check = check(&subject, &id);
        let seen = observations(&subject, dev, both(&records(&[address])));
        judge(&check, &subject, &seen, NOW)
    };
    assert!(not_on("201.49.10.8").is_ok());
    assert_eq!(not_on("201.49.10.7").fault(), Some(Fault::OtherStage));
}

#[test]
fn one_name_for_both_stages_is_a_finding() {
    let mut subject = sample::subject();
    subject.development.names = vec!["XVIA.sedec.mt.gov.br.".to_owned()];
    let id = format!("development/dns/XVIA.sedec.mt.gov.br./differs-from/{NAME}");
    let seen = Seen::Failed {
        why: Failure::NoTime,
    };
    assert_eq!(verdict(&subject, &id, seen).fault(), Some(Fault::SameName));
}

#[test]
fn inside_the_name_has_exactly_the_overlays_addresses() {
    let subject = sample::subject();
    let check = check(&subject, &format!("production/dns/{NAME}/internal-view"));
    let inside = |resolver: DnsAnswer, programs: Option<&[&str]>| {
        let programs = programs.map(|all| all.iter().map(|it| ip(it)).collect());
        let seen = Seen::Inside(InsideSeen { resolver, programs });
        judge(&check, &subject, &[sees(&check, seen)], NOW)
    };
    let right = || records(&["10.90.0.10"]);
    assert!(inside(right(), Some(&["10.90.0.10"])).is_ok());
    for wrong in [
        records(&["201.49.10.7"]),
        records(&["10.90.0.10", "10.90.0.11"]),
        DnsAnswer::NoName,
    ] {
        let verdict = inside(wrong, Some(&["10.90.0.10"]));
        assert_eq!(verdict.fault(), Some(Fault::InternalViewWrong));
    }
    // The agent is right, and the machine's programs ask somebody else.
    for wrong in [Some(&["201.49.10.7"][..]), Some(&[]), None] {
        let verdict = inside(right(), wrong);
        assert_eq!(verdict.fault(), Some(Fault::InternalViewWrong));
    }
    let silent = inside(DnsAnswer::Silent, None);
    assert_unknown(&silent, Cause::NoConnection);
}

#[test]
fn without_a_member_that_can_look_the_internal_view_is_not_known() {
    let mut subject = sample::subject();
    let id = format!("production/dns/{NAME}/internal-view");
    let unseen = judge(&check(&subject, &id), &subject, &[], NOW);
    assert_unknown(&unseen, Cause::NotObserved);
    subject.production.asker = None;
    let unmanned = judge(&check(&subject, &id), &subject, &[], NOW);
    assert_unknown(&unmanned, Cause::NoVantagePoint);
}

proptest! {
    #[test]
    fn what_is_undeclared_is_found_wherever_it_stands(
        addresses in prop::collection::vec(any::<[u8; 4]>(), 1..6),
        at_second in any::<bool>(),
    ) {
        let declared = ip("201.49.10.7");
        let texts: Vec<String> = addresses.iter().map(|it| std::net::Ipv4Addr::from(*it).to_string()).collect();
        let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
        let right = records(&["201.49.10.7"]);
        let answers = if at_second { [right, records(&texts)] } else { [records(&texts), right] };
        let is_clean = texts.iter().all(|it| ip(it) == declared);
        prop_assert_eq!(said("declared-addresses", answers).is_ok(), is_clean);
    }
}

#[test]
fn agreement_is_not_known_while_a_declared_server_has_no_address() {
    let mut subject = sample::subject();
    let check = check(&subject, &format!("production/dns/{NAME}/servers-agree"));
    let answers = both(&records(&["201.49.10.7"]));
    let observations = observations(&subject, NAME, answers);
    assert!(judge(&check, &subject, &observations, NOW).is_ok());
    subject.unresolved_name_servers = vec!["ns3.mt.gov.br".to_owned()];
    let verdict = judge(&check, &subject, &observations, NOW);
    assert_unknown(&verdict, Cause::NoAddress);
    subject.name_servers.clear();
    let verdict = judge(&check, &subject, &[], NOW);
    assert_unknown(&verdict, Cause::NoAddress);
}
