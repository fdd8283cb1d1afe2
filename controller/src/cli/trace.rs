//! `malha trace`: why a packet between two nodes passes or not. It shows what the controller explains, and ends with a code
//! of its own where the packet is denied.

use std::process::ExitCode;

use clap::Args;
use clap::builder::PossibleValuesParser;

use crate::api::{Trace, TraceEnd, TraceReason, TraceRule, TraceSource};
use crate::cli::exit::{Exit, Failure};
use crate::cli::nodes::{health, path_word, service_health};
use crate::cli::publishing::allow_text;
use crate::cli::screen::Screen;
use crate::cli::session::{Session, parse};
use crate::cli::text::{self, Word};
use crate::client::part;

#[derive(Clone, Debug, Args)]
pub(super) struct TraceArgs {
    /// Who would open: `ORG/SITE/NODE`, its last name if it is the only one, overlay name or address, or id
    #[arg(long, env = "MALHA_FROM", value_name = "NODE")]
    from: String,
    /// On whom: the same, or a service: `ORG/SITE/NODE/SERVICE`, `NODE/SERVICE` or id
    #[arg(long, env = "MALHA_TO", value_name = "NODE|SERVICE")]
    to: String,
    /// The destination port; not for icmp, not needed for a service
    #[arg(long, env = "MALHA_PORT")]
    port: Option<u16>,
    #[arg(long, env = "MALHA_PROTOCOL", default_value = "tcp", value_parser = PossibleValuesParser::new(["tcp", "udp", "icmp"]))]
    protocol: String,
}

/// Success where the packet passes, [`Exit::Denied`] where it does not.
pub(super) async fn run(args: &TraceArgs, session: &Session) -> Result<ExitCode, Failure> {
    let port = args.port.map(|port| format!("&port={port}"));
    let path = format!(
        "/trace?from={}&to={}&protocol={}{}",
        part(&args.from),
        part(&args.to),
        part(&args.protocol),
        port.unwrap_or_default()
    );
    let value = session.client().read(&path).await?;
    let screen = &session.screen;
    let trace: Trace = parse(value.clone())?;
    if screen.json {
        screen.json(&value);
    } else {
        let (words, cells): (Vec<Word>, Vec<String>) = lines(&trace, screen).into_iter().unzip();
        screen.details(&words, &cells);
    }
    Ok(match trace.allowed {
        true => Exit::Success.into(),
        false => Exit::Denied.into(),
    })
}

fn lines(trace: &Trace, screen: &Screen) -> Vec<(Word, String)> {
    let lang = screen.lang;
    let (from, to) = (&trace.from, &trace.to);
    let mut lines = vec![
        (Word::From, end(from)),
        (Word::To, end(to)),
        (
            Word::Packet,
            allow_text(trace.protocol, trace.port, trace.port),
        ),
        (Word::Outcome, outcome(trace, screen)),
    ];
    if !trace.confirmed && trace.reason != TraceReason::SameNode {
        let line = text::rules_unconfirmed(lang, &to.path);
        lines.push((Word::Outcome, line));
    }
    for rule in &trace.rules {
        let word = match rule.decides {
            true => Word::Rule,
            false => Word::OtherRules,
        };
        lines.push((word, rule_line(rule, screen)));
    }
    if trace.allowed {
        lines.push((Word::Answers, text::answers_pass(lang, &from.path)));
    }
    if trace.reverse {
        let line = text::may_open_too(lang, &to.path, &from.path);
        lines.push((Word::OtherWay, line));
    }
    if matches!(trace.reason, TraceReason::Rule | TraceReason::NoRule) {
        lines.extend(way(from, to, screen).map(|line| (Word::Way, line)));
    }
    if let Some(path) = trace.path {
        let travels = text::path_now(lang, screen.word(path_word(path)));
        lines.push((Word::Way, travels));
    }
    for end in [from, to].into_iter().filter(|end| !end.hub) {
        let state = health(&end.tunnel, screen);
        let state = match end.seen_at {
            Some(endpoint) => text::heard_at(lang, state, endpoint),
            None => state,
        };
        lines.push((Word::Tunnel, text::end_tunnel(lang, &end.path, state)));
    }
    lines.push((Word::Service, service(trace, screen)));
    lines
}

fn end(end: &TraceEnd) -> String {
    let addresses: Vec<String> = end.addresses.iter().map(ToString::to_string).collect();
    format!("{} ({})", end.path, addresses.join(", "))
}

fn outcome(trace: &Trace, screen: &Screen) -> String {
    match trace.reason {
        TraceReason::Rule => screen.word(Word::Allowed),
        TraceReason::SameNode => screen.word(Word::DeniedSameNode),
        TraceReason::FromApart => text::denied_apart(screen.lang, &trace.from.path),
        TraceReason::ToApart => text::denied_apart(screen.lang, &trace.to.path),
        TraceReason::NotPeers => screen.word(Word::DeniedNotPeers),
        TraceReason::NoRule => screen.word(Word::DeniedNoRule),
    }
}

pub(super) fn rule_line(rule: &TraceRule, screen: &Screen) -> String {
    let lang = screen.lang;
    let allow = allow_text(rule.protocol, rule.from_port, rule.to_port);
    let service = rule.service.as_deref().unwrap_or_default();
    match (&rule.grant, rule.source) {
        (Some(grant), _) => {
            // As it stands in the policy's text; the id of such a grant stands nowhere.
            let id = grant.id.to_string();
            let name = grant.policy.as_deref().unwrap_or(&id);
            text::rule_grant(lang, name, &grant.from, &grant.to, allow)
        }
        (None, TraceSource::PublicService) => text::rule_public(lang, service, allow),
        (None, TraceSource::HubProbe) => text::rule_probe(lang, service, allow),
        (None, TraceSource::Balancer) => {
            text::rule_balancer(lang, rule.balancer.as_deref().unwrap_or_default(), allow)
        }
        (None, TraceSource::Grant) => allow,
    }
}

/// Who dials whom.
fn way(from: &TraceEnd, to: &TraceEnd, screen: &Screen) -> impl Iterator<Item = String> {
    let dials = |one: &TraceEnd, other: &TraceEnd| {
        let endpoints: Vec<String> = other.endpoints.iter().map(ToString::to_string).collect();
        let at = endpoints.join(", ");
        (!at.is_empty()).then(|| text::dials(screen.lang, &one.path, &other.path, at))
    };
    let mut ways = vec![dials(from, to), dials(to, from)];
    if ways.iter().all(Option::is_none) {
        ways.push(Some(screen.word(Word::NoEndpoints)));
    }
    ways.into_iter().flatten()
}

fn service(trace: &Trace, screen: &Screen) -> String {
    match &trace.service {
        Some(service) => {
            let state = service_health(&service.seen, screen);
            text::service_at(screen.lang, &service.path, service.target, state)
        }
        None => screen.word(Word::NoService),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::text::Lang;
    use serde_json::json;

    fn end_json(path: &str, hub: bool) -> serde_json::Value {
        let endpoints = if hub {
            json!(["192.0.2.1:51820"])
        } else {
            json!([])
        };
        json!({"id": "n1", "path": path, "addresses": ["100.64.0.1", "fd00::1"], "state": "active", "hub": hub,
            "endpoints": endpoints, "tunnel": {"state": "unknown"}})
    }

    fn said(change: impl Fn(&mut serde_json::Value), lang: Lang) -> String {
        let mut value = json!({"from": end_json("acme/centro/hub", true), "to": end_json("acme/centro/g1", false),
            "protocol": "tcp", "port": 80, "allowed": true, "reason": "rule", "confirmed": true, "reverse": false, "path": "relay",
            "rules": [{"decides": true, "source": "hub-probe", "service": "acme/centro/g1/web", "protocol": "tcp",
                "from_port": 80, "to_port": 80}]});
        change(&mut value);
        let trace: Trace = serde_json::from_value(value).unwrap();
        let screen = Screen { json: false, lang };
        let lines = lines(&trace, &screen).into_iter();
        let lines = lines.map(|(word, line)| format!("{}={line}", word.text(lang)));
        lines.collect::<Vec<_>>().join("\n")
    }

    #[test]
    fn the_rule_the_way_and_the_answers_are_named() {
        let english = said(|_| {}, Lang::En);
        for line in [
            "packet=tcp 80",
            "outcome=allowed",
            "rule=service acme/centro/g1/web, tcp 80: the hub probes its health",
            "answers=pass, because acme/centro/hub opens",
            "way=acme/centro/g1 dials acme/centro/hub at 192.0.2.1:51820",
            "way=packets travel now: relay",
            "tunnel=acme/centro/g1 to the hub: not seen yet",
            "service=none is declared at this port",
        ] {
            assert!(
                english.lines().any(|said| said == line),
                "{line}\n{english}"
            );
        }
    }

    #[test]
    fn rules_that_the_receiver_has_not_confirmed_are_named_as_such() {
        let line = "outcome=acme/centro/g1 has not confirmed these rules; until then earlier ones may decide";
        let of = |confirmed: bool| said(|value| value["confirmed"] = json!(confirmed), Lang::En);
        assert!(of(false).contains(line) && !of(true).contains(line));
    }

    #[test]
    fn a_denied_packet_says_that_the_other_way_is_open() {
        let english = said(
            |value| {
                value["allowed"] = json!(false);
                value["reason"] = json!("no-rule");
                value["reverse"] = json!(true);
            },
            Lang::En,
        );
        let line = "other way=acme/centro/g1 may open the same on acme/centro/hub";
        assert!(english.lines().any(|said| said == line), "{english}");
        assert!(!english.contains("answers="), "{english}");
    }

    #[test]
    fn each_denial_has_its_own_sentence_in_both_languages() {
        let reasons = [
            "same-node",
            "from-apart",
            "to-apart",
            "not-peers",
            "no-rule",
        ];
        let sentences: std::collections::BTreeSet<String> = reasons
            .into_iter()
            .flat_map(|reason| [(reason, Lang::Pt), (reason, Lang::En)])
            .map(|(reason, lang)| {
                let page = said(
                    |value| {
                        value["allowed"] = json!(false);
                        value["reason"] = json!(reason);
                    },
                    lang,
                );
                page.lines().nth(3).unwrap().to_owned()
            })
            .collect();
        assert_eq!(sentences.len(), 2 * reasons.len());
    }
}
