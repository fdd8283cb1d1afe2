//! States as a badge: always an icon and a word, never a colour alone.

use maud::{Markup, PreEscaped, html};

use crate::model::{
    BalancerRow, HopState, NodeState, ProbeState, RouteState, ServerCondition, ServerMode,
    TokenState,
};
use crate::text::Text;
use crate::visit::Visit;

/// How a state feels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Tone {
    Good,
    Waiting,
    Bad,
    Quiet,
}

impl Tone {
    pub(super) fn class(self) -> &'static str {
        match self {
            Tone::Good => "good",
            Tone::Waiting => "waiting",
            Tone::Bad => "bad",
            Tone::Quiet => "quiet",
        }
    }

    pub(super) fn icon(self) -> Markup {
        let drawing = match self {
            Tone::Good => r#"<circle cx="8" cy="8" r="6.25"/><path d="m5.2 8.2 2 2 3.6-4"/>"#,
            Tone::Waiting => r#"<circle cx="8" cy="8" r="6.25"/><path d="M8 4.6V8l2.2 1.6"/>"#,
            Tone::Bad => r#"<path d="M8 1.9 14.6 13.4H1.4Z"/><path d="M8 6.4v3.2M8 11.5v.1"/>"#,
            Tone::Quiet => r#"<circle cx="8" cy="8" r="6.25"/><path d="M5.4 8h5.2"/>"#,
        };
        html! {
            svg.icon viewBox="0 0 16 16" width="16" height="16" aria-hidden="true" fill="none" stroke="currentColor"
                stroke-width="1.5" stroke-linecap="round" stroke-linejoin="round" { (PreEscaped(drawing)) }
        }
    }
}

pub(super) fn badge(tone: Tone, word: &str) -> Markup {
    html! { span.badge.(tone.class()) { (tone.icon()) span { (word) } } }
}

pub(super) fn node_state(visit: &Visit, state: NodeState) -> Markup {
    let (tone, word) = match state {
        NodeState::Active => (Tone::Good, Text::NodeActive),
        NodeState::Pending => (Tone::Waiting, Text::NodePending),
        NodeState::Quarantined => (Tone::Bad, Text::NodeQuarantined),
        NodeState::Removed => (Tone::Quiet, Text::NodeRemoved),
    };
    badge(tone, visit.say(word))
}

pub(super) fn token_state(visit: &Visit, state: TokenState) -> Markup {
    let (tone, word) = match state {
        TokenState::Active => (Tone::Good, Text::TokenActive),
        TokenState::Used => (Tone::Quiet, Text::TokenUsed),
        TokenState::Expired => (Tone::Quiet, Text::TokenExpired),
        TokenState::Revoked => (Tone::Quiet, Text::TokenRevoked),
    };
    badge(tone, visit.say(word))
}

pub(super) fn probe_state(visit: &Visit, state: ProbeState) -> Markup {
    let (tone, word) = probe(state);
    badge(tone, visit.say(word))
}

pub(super) fn route_state(visit: &Visit, state: RouteState) -> Markup {
    let (tone, word) = match state {
        RouteState::Up => (Tone::Good, Text::RouteUp),
        RouteState::Degraded => (Tone::Waiting, Text::RouteDegraded),
        RouteState::Down => (Tone::Bad, Text::RouteDown),
        RouteState::Unknown => (Tone::Quiet, Text::RouteUnknown),
    };
    badge(tone, visit.say(word))
}

/// Whether a balancer takes connections and has somebody to give them to.
pub(super) fn balancer(visit: &Visit, balancer: &BalancerRow) -> Markup {
    let serving = balancer.servers.iter();
    let serving = serving.filter(|it| it.mode == ServerMode::Serve);
    let conditions: Vec<_> = serving.filter_map(|it| it.condition).collect();
    let up = conditions.iter().filter(|it| **it == ServerCondition::Up);
    let up = up.count();
    let is_served = conditions.iter().any(|it| *it != ServerCondition::Down);
    let (tone, word) = match &balancer.live {
        None => (Tone::Quiet, Text::RouteUnknown),
        Some(live) if live.trouble.is_some() || !is_served => (Tone::Bad, Text::RouteDown),
        Some(_) if up < balancer.servers.len() => (Tone::Waiting, Text::RouteDegraded),
        Some(_) => (Tone::Good, Text::RouteUp),
    };
    badge(tone, visit.say(word))
}

pub(super) fn server(visit: &Visit, condition: Option<ServerCondition>) -> Markup {
    let (tone, word) = match condition {
        None => (Tone::Quiet, Text::RouteUnknown),
        Some(ServerCondition::Unproven) => (Tone::Quiet, Text::ServerUnproven),
        Some(ServerCondition::Up) => (Tone::Good, Text::RouteUp),
        Some(ServerCondition::Suspect) => (Tone::Waiting, Text::ServerSuspect),
        Some(ServerCondition::Down) => (Tone::Bad, Text::RouteDown),
        Some(ServerCondition::Recovering) => (Tone::Waiting, Text::ServerRecovering),
    };
    badge(tone, visit.say(word))
}

pub(super) fn hop(state: HopState) -> (Tone, Text) {
    match state {
        HopState::Up => (Tone::Good, Text::HopUp),
        HopState::Down => (Tone::Bad, Text::HopDown),
        HopState::Unknown => (Tone::Quiet, Text::HopUnknown),
    }
}

pub(super) fn probe(state: ProbeState) -> (Tone, Text) {
    match state {
        ProbeState::Up => (Tone::Good, Text::ProbeUp),
        ProbeState::Refused => (Tone::Bad, Text::ProbeRefused),
        ProbeState::Timeout => (Tone::Bad, Text::ProbeTimeout),
        ProbeState::Unreachable => (Tone::Bad, Text::ProbeUnreachable),
        ProbeState::BadAnswer => (Tone::Bad, Text::ProbeBadAnswer),
        ProbeState::Unknown => (Tone::Quiet, Text::ProbeUnknown),
    }
}
