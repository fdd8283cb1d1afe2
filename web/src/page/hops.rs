//! The way to a service drawn hop by hop, with the broken one named in words.

use maud::{Markup, html};

use super::{badge, moment};
use crate::model::{BreakKind, BrokenHop, HopState, Hops, ProbeState};
use crate::page::badge::Tone;
use crate::text::Text;
use crate::visit::Visit;

/// The chain control → tunnel → services, each with its state and since when.
pub(super) fn chain(visit: &Visit, hops: &Hops) -> Markup {
    let (control_tone, control_word) = badge::hop(hops.control.state);
    let (tunnel_tone, tunnel_word) = badge::hop(hops.tunnel.state);
    html! {
        ol.chain {
            (link(visit, visit.say(Text::HopControl), control_tone, control_word, hops.control.since))
            (link(visit, visit.say(Text::HopTunnel), tunnel_tone, tunnel_word, hops.tunnel.since))
            @for service in &hops.services {
                @let (tone, word) = badge::probe(service.state);
                @let name = html! { (visit.say(Text::HopService)) " " b { (service.name) } ":" (service.port) };
                (link(visit, name, tone, word, service.since))
            }
            @if hops.services.is_empty() {
                (link(visit, visit.say(Text::HopService), Tone::Quiet, Text::NoServicesOnNode, None))
            }
        }
        (verdict(visit, hops))
    }
}

/// The same chain in one line, for a row of a table.
pub(super) fn summary(visit: &Visit, hops: &Hops) -> Markup {
    let answering = hops
        .services
        .iter()
        .filter(|service| service.state == ProbeState::Up)
        .count();
    let services_tone = match (answering, hops.services.len()) {
        (_, 0) => Tone::Quiet,
        (up, all) if up == all => Tone::Good,
        _ if hops
            .services
            .iter()
            .all(|service| service.state == ProbeState::Unknown) =>
        {
            Tone::Quiet
        }
        _ => Tone::Bad,
    };
    let hop = |tone: Tone, name: &str, word: &str| {
        html! { span.hop.(tone.class()) { (tone.icon()) (name) span.unseen { ": " (word) } } }
    };
    let (control_tone, control_word) = badge::hop(hops.control.state);
    let (tunnel_tone, tunnel_word) = badge::hop(hops.tunnel.state);
    html! {
        div.hop-line {
            (hop(control_tone, visit.say(Text::HopControl), visit.say(control_word)))
            (hop(tunnel_tone, visit.say(Text::HopTunnel), visit.say(tunnel_word)))
            span.hop.(services_tone.class()) {
                (services_tone.icon()) (visit.say(Text::Services)) " " (answering) "/" (hops.services.len())
            }
        }
        @if let Some(broken) = &hops.broken {
            p.broken-words { (words(visit, broken)) " (" (moment::relative(visit, broken.since)) ")" }
        }
    }
}

/// The broken hop in words.
pub(super) fn words(visit: &Visit, broken: &BrokenHop) -> Markup {
    let text = match broken.kind {
        BreakKind::NeverConnected => Text::BreakNeverConnected,
        BreakKind::AgentStopped => Text::BreakAgentStopped,
        BreakKind::LinkDown => Text::BreakLinkDown,
        BreakKind::ControlDown => Text::BreakControlDown,
        BreakKind::TunnelDown => Text::BreakTunnelDown,
        BreakKind::HubInterface => Text::BreakHubInterface,
        BreakKind::ServiceRefused => Text::BreakServiceRefused,
        BreakKind::ServiceTimeout => Text::BreakServiceTimeout,
        BreakKind::ServiceUnreachable => Text::BreakServiceUnreachable,
        BreakKind::ServiceBadAnswer => Text::BreakServiceBadAnswer,
    };
    let (before, after) = visit
        .say(text)
        .split_once("{}")
        .unwrap_or((visit.say(text), ""));
    html! { (before) @if let Some(service) = &broken.service { b { (service) } } (after) }
}

fn link(
    visit: &Visit,
    name: impl maud::Render,
    tone: Tone,
    word: Text,
    since: Option<time::OffsetDateTime>,
) -> Markup {
    html! {
        li.link.(tone.class()) {
            span.link-mark { (tone.icon()) }
            span.link-name { (name) }
            span.link-state { (visit.say(word)) }
            @if let Some(since) = since {
                span.link-since { (moment::relative(visit, since)) }
            }
        }
    }
}

fn verdict(visit: &Visit, hops: &Hops) -> Markup {
    let carries = hops.control.state == HopState::Up && hops.tunnel.state == HopState::Up;
    html! {
        @match &hops.broken {
            Some(broken) => div.verdict.bad {
                (Tone::Bad.icon())
                p {
                    strong { (words(visit, broken)) } br;
                    (visit.say(Text::Since)) " " (moment::absolute_time(visit, broken.since))
                    " (" (moment::relative(visit, broken.since)) ")"
                }
            },
            None if carries => div.verdict.good { (Tone::Good.icon()) p { (visit.say(Text::PathCarries)) } },
            None => div.verdict.quiet { (Tone::Quiet.icon()) p { (visit.say(Text::PathUnknown)) } },
        }
    }
}
