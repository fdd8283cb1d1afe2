//! The ports that each role has, and where agencies are asked for others.

use axum::extract::Query;
use axum::response::Response;
use maud::{Markup, html};

use super::aftermath::Aftermath;
use super::badge::{Tone, badge};
use super::nodes::profile_text;
use super::{moment, whole};
use crate::model::{
    Party, PortDifferenceKind, PortDifferenceRow, PortExposure, PortProbe, ProfileDetail,
    ProfilePortRow, Unreadable,
};
use crate::text::{ProfileText as Words, Text};
use crate::untrusted::Visible;
use crate::view::View;
use crate::visit::Visit;

/// `GET /profiles`.
pub(crate) async fn show(visit: Visit, Query(query): Query<Vec<(String, String)>>) -> Response {
    let title = visit.say(Text::NavProfiles);
    let aftermath = Aftermath::of_query(query);
    whole(&visit, &View::Profiles, title, &aftermath, html! {}).await
}

pub(crate) async fn draw(visit: &Visit) -> Result<Markup, Unreadable> {
    let profiles = visit.console().profiles(&visit.viewer).await?;
    Ok(html! {
        p.muted { (visit.say(Words::Intro)) }
        @for profile in &profiles { (section(visit, profile)) }
    })
}

fn section(visit: &Visit, it: &ProfileDetail) -> Markup {
    let name = it.profile.as_str();
    let title = format!("profile-{name}");
    html! {
        section aria-labelledby=(title) {
            h2 id=(title) { (visit.say(profile_text(it.profile))) " " code { (name) } }
            @if let Some(edited) = it.edited {
                p { (visit.say(Words::Edited)) " " (moment::relative(visit, edited)) }
            }
            (ports(visit, &it.ports))
            @if !it.differences.is_empty() {
                h3 { (visit.say(Words::Differences)) }
                p.muted { (visit.say(Words::DifferencesWords)) }
                (differences(visit, &it.differences))
            }
        }
    }
}

fn ports(visit: &Visit, rows: &[ProfilePortRow]) -> Markup {
    html! {
        table.cards {
            thead { tr {
                th scope="col" { (visit.say(Text::Name)) }
                th scope="col" { (visit.say(Words::Ports)) }
                th scope="col" { (visit.say(Words::Direction)) }
                th scope="col" { (visit.say(Words::Partners)) }
                th scope="col" { (visit.say(Text::ExposureLabel)) }
                th scope="col" { (visit.say(Words::Probe)) }
            } }
            tbody { @for row in rows { tr {
                td.lead data-label=(visit.say(Text::Name)) {
                    strong { (row.name) }
                    @if let Some(release) = &row.since {
                        " " span.muted { (visit.language.fill(Words::FromRelease, &[&Visible(release)])) }
                    }
                    @if let Some(release) = &row.before {
                        " " span.muted { (visit.language.fill(Words::BeforeRelease, &[&Visible(release)])) }
                    }
                }
                td data-label=(visit.say(Words::Ports)) { (row.protocol) " " (numbers(&row.ports)) }
                td data-label=(visit.say(Words::Direction)) { (visit.say(direction(row.is_inbound))) }
                td.wrap data-label=(visit.say(Words::Partners)) { (partners(visit, &row.who)) }
                td data-label=(visit.say(Text::ExposureLabel)) { (exposure(visit, row.exposure)) }
                td data-label=(visit.say(Words::Probe)) { (probe(visit, row.probe)) }
            } } }
        }
    }
}

pub(super) fn differences(visit: &Visit, rows: &[PortDifferenceRow]) -> Markup {
    html! {
        table.cards {
            thead { tr {
                th scope="col" { (visit.say(Words::Ports)) }
                th scope="col" { (visit.say(Words::Direction)) }
                th scope="col" { (visit.say(Words::Difference)) }
                th scope="col" { (visit.say(Words::AskedFor)) }
                th scope="col" { (visit.say(Words::InProfile)) }
            } }
            tbody { @for row in rows { tr {
                td.lead data-label=(visit.say(Words::Ports)) { strong { (row.port) } }
                td data-label=(visit.say(Words::Direction)) { (visit.say(direction(row.is_inbound))) }
                td data-label=(visit.say(Words::Difference)) { (kind(visit, row.kind)) }
                td data-label=(visit.say(Words::AskedFor)) { (networks(visit, row)) }
                td data-label=(visit.say(Words::InProfile)) {
                    @match row.exposure { Some(it) => (exposure(visit, it)), None => "–" }
                }
            } } }
        }
    }
}

fn kind(visit: &Visit, kind: PortDifferenceKind) -> Markup {
    let (tone, text) = match kind {
        PortDifferenceKind::TooOpen => (Tone::Bad, Words::TooOpen),
        PortDifferenceKind::NotInProfile => (Tone::Waiting, Words::NotInProfile),
        PortDifferenceKind::NotDeclared => (Tone::Quiet, Words::NotDeclared),
    };
    badge(tone, visit.say(text))
}

fn networks(visit: &Visit, row: &PortDifferenceRow) -> String {
    let networks = [
        (row.on_internal, Words::NetworkInternal),
        (row.on_external, Words::NetworkExternal),
    ];
    let asked = networks.into_iter().filter(|(asked, _)| *asked);
    let words: Vec<&str> = asked.map(|(_, text)| visit.say(text)).collect();
    match words.is_empty() {
        true => "–".to_owned(),
        false => words.join(", "),
    }
}

fn partners(visit: &Visit, who: &[Party]) -> Markup {
    html! {
        @for (at, party) in who.iter().enumerate() {
            @if at > 0 { ", " }
            (word(visit, party_words(*party), party.as_str()))
        }
    }
}

fn party_words(party: Party) -> Words {
    match party {
        Party::Peers => Words::Peers,
        Party::Central => Words::Central,
        Party::InformationSystems => Words::InformationSystems,
        Party::Operators => Words::Operators,
        Party::Balancer => Words::Balancer,
        Party::Cluster => Words::Cluster,
        Party::TrustServices => Words::TrustServices,
        Party::Anyone => Words::Anyone,
        Party::Nobody => Words::Nobody,
    }
}

fn exposure(visit: &Visit, it: PortExposure) -> Markup {
    let words = match it {
        PortExposure::Tunnel => Words::Tunnel,
        PortExposure::Public => Words::Public,
        PortExposure::Loopback => Words::Loopback,
        PortExposure::Never => Words::Never,
    };
    word(visit, words, it.as_str())
}

fn probe(visit: &Visit, it: PortProbe) -> Markup {
    let words = match it {
        PortProbe::Tcp => Words::ProbeTcp,
        PortProbe::TlsClientCertificate => Words::ProbeTls,
        PortProbe::Http => Words::ProbeHttp,
        PortProbe::Https => Words::ProbeHttps,
        PortProbe::Health => Words::ProbeHealth,
        PortProbe::None => Words::ProbeNone,
    };
    word(visit, words, it.as_str())
}

/// A word for people; the one that the profile's text takes is beside it for who writes that text.
fn word(visit: &Visit, words: Words, written: &'static str) -> Markup {
    html! { span title=(written) { (visit.say(words)) } }
}

fn direction(is_inbound: bool) -> Words {
    if is_inbound {
        Words::DirectionIn
    } else {
        Words::DirectionOut
    }
}

fn numbers(ports: &[u16]) -> String {
    let ports: Vec<String> = ports.iter().map(u16::to_string).collect();
    ports.join(", ")
}
