//! The ports that each role has, and where agencies are asked for others.

use axum::extract::Query;
use axum::response::Response;
use maud::{Markup, html};

use super::aftermath::Aftermath;
use super::badge::{Tone, badge};
use super::nodes::profile_text;
use super::{moment, whole};
use crate::model::{
    PortDifferenceKind, PortDifferenceRow, ProfileDetail, ProfilePortRow, Unreadable,
};
use crate::text::Text;
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
        p.muted { (visit.say(Text::ProfilesWords)) }
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
                p { (visit.say(Text::ProfileEdited)) " " (moment::relative(visit, edited)) }
            }
            (ports(visit, &it.ports))
            @if !it.differences.is_empty() {
                h3 { (visit.say(Text::ProfileDifferences)) }
                p.muted { (visit.say(Text::ProfileDifferencesWords)) }
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
                th scope="col" { (visit.say(Text::ProfilePorts)) }
                th scope="col" { (visit.say(Text::ProfileDirection)) }
                th scope="col" { (visit.say(Text::ProfilePartners)) }
                th scope="col" { (visit.say(Text::ExposureLabel)) }
                th scope="col" { (visit.say(Text::ProfileProbe)) }
            } }
            tbody { @for row in rows { tr {
                td.lead data-label=(visit.say(Text::Name)) {
                    strong { (row.name) }
                    @if !row.releases.is_empty() { " X-Road " (row.releases) }
                }
                td data-label=(visit.say(Text::ProfilePorts)) { (row.protocol) " " (numbers(&row.ports)) }
                td data-label=(visit.say(Text::ProfileDirection)) { (visit.say(direction(row.is_inbound))) }
                td.wrap data-label=(visit.say(Text::ProfilePartners)) { code { (row.who.join(", ")) } }
                td data-label=(visit.say(Text::ExposureLabel)) { code { (row.exposure) } }
                td data-label=(visit.say(Text::ProfileProbe)) { code { (row.probe) } }
            } } }
        }
    }
}

fn differences(visit: &Visit, rows: &[PortDifferenceRow]) -> Markup {
    html! {
        table.cards {
            thead { tr {
                th.number scope="col" { (visit.say(Text::ProfilePorts)) }
                th scope="col" { (visit.say(Text::ProfileDirection)) }
                th scope="col" { (visit.say(Text::ProfileDifference)) }
                th scope="col" { (visit.say(Text::ProfileAskedFor)) }
                th scope="col" { (visit.say(Text::ExposureLabel)) }
            } }
            tbody { @for row in rows { tr {
                td.number.lead data-label=(visit.say(Text::ProfilePorts)) { strong { (row.port) } }
                td data-label=(visit.say(Text::ProfileDirection)) { (visit.say(direction(row.is_inbound))) }
                td data-label=(visit.say(Text::ProfileDifference)) { (kind(visit, row.kind)) }
                td data-label=(visit.say(Text::ProfileAskedFor)) { (networks(visit, row)) }
                td data-label=(visit.say(Text::ExposureLabel)) {
                    @if row.exposure.is_empty() { "–" } @else { code { (row.exposure) } }
                }
            } } }
        }
    }
}

fn kind(visit: &Visit, kind: PortDifferenceKind) -> Markup {
    let (tone, text) = match kind {
        PortDifferenceKind::TooOpen => (Tone::Bad, Text::DifferenceTooOpen),
        PortDifferenceKind::NotInProfile => (Tone::Waiting, Text::DifferenceNotInProfile),
        PortDifferenceKind::NotDeclared => (Tone::Quiet, Text::DifferenceNotDeclared),
    };
    badge(tone, visit.say(text))
}

fn networks(visit: &Visit, row: &PortDifferenceRow) -> String {
    let networks = [
        (row.on_internal, Text::NetworkInternal),
        (row.on_external, Text::NetworkExternal),
    ];
    let asked = networks.into_iter().filter(|(asked, _)| *asked);
    let words: Vec<&str> = asked.map(|(_, text)| visit.say(text)).collect();
    match words.is_empty() {
        true => "–".to_owned(),
        false => words.join(", "),
    }
}

fn direction(is_inbound: bool) -> Text {
    if is_inbound {
        Text::DirectionIn
    } else {
        Text::DirectionOut
    }
}

fn numbers(ports: &[u16]) -> String {
    let ports: Vec<String> = ports.iter().map(u16::to_string).collect();
    ports.join(", ")
}
