//! Ports, HTTP, balancers and the organization's own list.

use super::{NOW, assert_unknown, check, sees, verdict};
use crate::sample;
use crate::{
    AllowList, BalancerSeen, Cause, Direction, Exposure, Fault, HttpSeen, Observation,
    OcspCacheSeen, PortDifference, Probe, Seen, Subject, TcpSeen, Verdict, judge,
};

fn tcp(id: &str, seen: TcpSeen) -> Verdict {
    verdict(&sample::subject(), id, Seen::Tcp(seen))
}

fn observed(verdict: &Verdict) -> &str {
    match verdict {
        Verdict::Ok { observed, .. } => observed,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_member_with_a_grant_must_come_through() {
    let id = "production/port/4000/granted/servidor-1/10.90.0.11";
    assert!(tcp(id, TcpSeen::Open).is_ok());
    for closed in [TcpSeen::Refused, TcpSeen::Silent, TcpSeen::Unreachable] {
        assert_eq!(tcp(id, closed).fault(), Some(Fault::PortClosed));
    }
}

#[test]
fn a_member_without_must_not_and_how_it_was_kept_out_is_told_apart() {
    let id = "production/port/4000/ungranted/servidor-1/10.90.0.11";
    assert_eq!(tcp(id, TcpSeen::Open).fault(), Some(Fault::PortOpen));
    assert_eq!(observed(&tcp(id, TcpSeen::Refused)), "refused");
    assert_eq!(observed(&tcp(id, TcpSeen::Silent)), "silent");
    assert_eq!(observed(&tcp(id, TcpSeen::Unreachable)), "unreachable");
}

#[test]
fn silence_to_the_outside_counts_only_if_the_control_answers() {
    let subject = sample::subject();
    let check = check(&subject, "production/port/4000/outside/201.49.10.7");
    let silent = sees(&check, Seen::Tcp(TcpSeen::Silent));
    let control = |seen| {
        let address = "198.51.100.1:443".parse().unwrap();
        let mut control = sees(&check, Seen::Tcp(seen));
        control.probe = Probe::TcpConnect { address };
        control
    };
    let judged = |seen| judge(&check, &subject, &[silent.clone(), control(seen)], NOW);
    assert!(judged(TcpSeen::Open).is_ok());
    assert_unknown(&judged(TcpSeen::Silent), Cause::ControlUnreachable);
    let alone = judge(&check, &subject, std::slice::from_ref(&silent), NOW);
    assert_unknown(&alone, Cause::ControlUnreachable);
    let open = sees(&check, Seen::Tcp(TcpSeen::Open));
    assert_eq!(
        judge(&check, &subject, &[open], NOW).fault(),
        Some(Fault::PortOpen)
    );
    let refused = sees(&check, Seen::Tcp(TcpSeen::Refused));
    assert!(judge(&check, &subject, &[refused], NOW).is_ok());
}

#[test]
fn silence_in_a_family_without_a_control_is_not_closed() {
    let mut subject = sample::subject();
    let v6 = "2001:db8::7".parse().unwrap();
    subject.production.public_addresses = vec![v6];
    let check = check(&subject, "production/port/4000/outside/2001:db8::7");
    for seen in [TcpSeen::Silent, TcpSeen::Unreachable] {
        let seen = sees(&check, Seen::Tcp(seen));
        assert_unknown(&judge(&check, &subject, &[seen], NOW), Cause::NoControl);
    }
    let refused = sees(&check, Seen::Tcp(TcpSeen::Refused));
    assert!(judge(&check, &subject, &[refused], NOW).is_ok());
}

/// What is judged of a balancer's list when a stranger, or who is listed, sees this while so many of its servers are up.
fn at_the_list(who: &str, seen: TcpSeen, up: &[&str]) -> Verdict {
    let mut subject = sample::subject();
    let listed = match who {
        "outside" => "198.51.100.96/27",
        _ => "203.0.113.0/24",
    };
    subject.production.servers[0].ports[0].allow_list = Some(AllowList {
        balancer: "entrada".to_owned(),
        sources: vec![listed.parse().unwrap()],
    });
    let id = format!("production/port/5500/{who}/201.49.10.7");
    let check = check(&subject, &id);
    let balancer = servers_up(&subject, up);
    judge(
        &check,
        &subject,
        &[sees(&check, Seen::Tcp(seen)), balancer],
        NOW,
    )
}

fn servers_up(subject: &Subject, up: &[&str]) -> Observation {
    let seen = Seen::Balancer(BalancerSeen {
        up: up.iter().map(|it| (*it).to_owned()).collect(),
        down: vec!["servidor-2".to_owned()],
    });
    sees(&check(subject, "production/balancer/entrada/all-up"), seen)
}

#[test]
fn a_stranger_who_is_served_is_found_and_one_who_is_thrown_out_or_does_not_come_in_is_not() {
    let up = &["servidor-1"];
    let served = at_the_list("unlisted", TcpSeen::Open, up);
    assert_eq!(served.fault(), Some(Fault::PortOpen));
    let dismissed = at_the_list("unlisted", TcpSeen::Dismissed, up);
    assert_eq!(observed(&dismissed), "accepted and closed");
    let refused = at_the_list("unlisted", TcpSeen::Refused, &[]);
    assert_eq!(observed(&refused), "refused");
    let silent = at_the_list("unlisted", TcpSeen::Silent, up);
    assert_unknown(&silent, Cause::ControlUnreachable);
}

#[test]
fn to_be_thrown_out_where_nobody_is_served_says_nothing_of_the_list() {
    let dismissed = at_the_list("unlisted", TcpSeen::Dismissed, &[]);
    assert_unknown(&dismissed, Cause::NobodyServed);
}

#[test]
fn who_is_listed_and_thrown_out_is_a_finding() {
    let up = &["servidor-1"];
    assert!(at_the_list("outside", TcpSeen::Open, up).is_ok());
    let dismissed = at_the_list("outside", TcpSeen::Dismissed, up);
    assert_eq!(dismissed.fault(), Some(Fault::PortClosed));
}

fn answer(status: u16, content_type: Option<&str>, body: &str) -> HttpSeen {
    HttpSeen::Answer {
        status,
        content_type: content_type.map(str::to_owned),
        location: None,
        body: body.to_owned(),
    }
}

#[test]
fn health_is_200_and_nothing_else() {
    let id = "production/service/5588/servidor-1/health";
    let health = |seen| verdict(&sample::subject(), id, seen);
    assert!(health(Seen::Http(answer(200, None, ""))).is_ok());
    let maintenance = answer(503, None, "Health check interface is in maintenance mode");
    assert_eq!(
        health(Seen::Http(maintenance)).fault(),
        Some(Fault::StatusWrong)
    );
    let error = "connection closed".to_owned();
    let broken = Seen::Http(HttpSeen::Broken { error });
    assert_eq!(health(broken).fault(), Some(Fault::NoHttp));
    assert_eq!(
        health(Seen::Tcp(TcpSeen::Refused)).fault(),
        Some(Fault::NoHttp)
    );
    assert_unknown(&health(Seen::Tcp(TcpSeen::Silent)), Cause::NoConnection);
}

#[test]
fn the_ocsp_cache_answers_with_responses_for_a_certificate_and_without_an_error_for_none() {
    let subject = sample::subject();
    let seen = |with_certificate: HttpSeen, without: HttpSeen| {
        Seen::OcspCache(OcspCacheSeen {
            certificate_sha1: "00".to_owned(),
            with_certificate,
            without,
        })
    };
    let multipart = || {
        let part = "--b\r\nContent-Type: application/ocsp-response\r\n\r\n";
        answer(200, Some("multipart/related; boundary=b"), part)
    };
    let responses = "production/service/5577/servidor-1/ocsp-responses";
    let error = "production/service/5577/servidor-1/no-server-error";
    let right = seen(multipart(), answer(404, None, ""));
    assert!(verdict(&subject, responses, right.clone()).is_ok());
    assert!(verdict(&subject, error, right).is_ok());
    for wrong in [
        answer(200, Some("text/html"), "<html>"),
        answer(
            200,
            Some("multipart/mixed"),
            "--b\r\nContent-Type: text/plain",
        ),
        answer(500, Some("multipart/related"), "application/ocsp-response"),
    ] {
        let wrong = verdict(&subject, responses, seen(wrong, answer(200, None, "")));
        assert_eq!(wrong.fault(), Some(Fault::NotMultipart));
    }
    let failing = seen(multipart(), answer(500, None, ""));
    assert_eq!(
        verdict(&subject, error, failing).fault(),
        Some(Fault::StatusWrong)
    );
}

#[test]
fn a_balancer_with_a_server_down_is_a_finding() {
    let id = "production/balancer/entrada/all-up";
    let seen = |up: &[&str], down: &[&str]| {
        let names = |names: &[&str]| names.iter().map(|it| (*it).to_owned()).collect();
        let balancer = BalancerSeen {
            up: names(up),
            down: names(down),
        };
        verdict(&sample::subject(), id, Seen::Balancer(balancer))
    };
    assert!(seen(&["servidor-1", "servidor-2"], &[]).is_ok());
    assert_eq!(
        seen(&["servidor-1"], &["servidor-2"]).fault(),
        Some(Fault::BackendDown)
    );
    assert_unknown(&seen(&[], &[]), Cause::NothingDeclared);
}

#[test]
fn what_the_controller_found_to_differ_is_a_finding_line_by_line() {
    let mut subject = sample::subject();
    let list = check(&subject, "declared/ports");
    let line =
        |number, direction, is_declared_inside, is_declared_outside, exposure| PortDifference {
            number,
            direction,
            is_declared_inside,
            is_declared_outside,
            exposure,
        };
    subject.port_differences = Some(vec![
        line(4000, Direction::In, true, true, Some(Exposure::Tunnel)),
        line(9011, Direction::In, false, true, Some(Exposure::Never)),
        line(8888, Direction::In, true, false, None),
        line(2080, Direction::Out, true, false, None),
        line(8080, Direction::In, false, false, Some(Exposure::Tunnel)),
    ]);
    let Verdict::Finding(finding) = judge(&list, &subject, &[], NOW) else {
        panic!("a list that differs passed");
    };
    assert_eq!(finding.fault, Fault::PortsDiffer);
    assert_eq!(
        finding.declared,
        "4000 in inside, outside; 9011 in outside; 8888 in inside; 2080 out inside; 8080 -"
    );
    assert_eq!(
        finding.observed,
        "4000 in tunnel; 9011 in never; 8888 -; 2080 -; 8080 in tunnel"
    );
    subject.port_differences = Some(Vec::new());
    assert!(judge(&list, &subject, &[], NOW).is_ok());
    subject.port_differences = None;
    assert_unknown(&judge(&list, &subject, &[], NOW), Cause::NothingDeclared);
}
