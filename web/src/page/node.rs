//! One node: the way to it hop by hop, its facts, its services, and its maintenance.

use axum::extract::{Path, Query};
use axum::response::Response;
use maud::{Markup, html};

use super::aftermath::{Aftermath, What, done};
use super::badge::Tone;
use super::fields::{Confirmed, confirmed, csrf};
use super::{badge, error, hops, moment, nodes, services, whole};
use crate::address;
use crate::form::{Submission, wrong};
use crate::model::{
    Claimant, Keep, Leading, LeadingKind, NodeDetail, NodeId, NodePolicy, NodeState, Outcome,
    PathKind, Quarantine, Refused, Unreadable,
};
use crate::text::Text;
use crate::view::View;
use crate::visit::Visit;

/// `GET /nodes/{id}`.
pub(crate) async fn show(
    visit: Visit,
    Path(id): Path<String>,
    Query(query): Query<Vec<(String, String)>>,
) -> Response {
    page(&visit, &NodeId::from(id), Aftermath::of_query(query)).await
}

/// `POST /nodes/{id}/replace`.
pub(crate) async fn replace(Path(id): Path<String>, submission: Submission) -> Response {
    let visit = &submission.visit;
    let id = NodeId::from(id);
    let aftermath = match visit.console().replace_node(&visit.viewer, &id).await {
        Ok(issued) => Aftermath::Issued(issued),
        Err(refused) => Aftermath::Refused(refused),
    };
    page(visit, &id, aftermath).await
}

/// `POST /nodes/{id}/remove`.
pub(crate) async fn remove(Path(id): Path<String>, submission: Submission) -> Response {
    let visit = &submission.visit;
    let id = NodeId::from(id);
    let seen: Vec<String> = submission.fields.all(SEEN).map(str::to_owned).collect();
    let removed = visit.console().remove_node(&visit.viewer, &id, &seen);
    match removed.await {
        Ok(outcome) => done("/nodes", What::NodeRemoved, &outcome),
        Err(refused) => page(visit, &id, Aftermath::Refused(refused)).await,
    }
}

/// `POST /nodes/{id}/quarantine`.
pub(crate) async fn resolve_quarantine(Path(id): Path<String>, submission: Submission) -> Response {
    let visit = &submission.visit;
    let id = NodeId::from(id);
    match resolve(&submission, &id).await {
        Ok(outcome) => done(&node_address(&id), What::QuarantineResolved, &outcome),
        Err(refused) => page(visit, &id, Aftermath::Refused(refused)).await,
    }
}

async fn resolve(submission: &Submission, id: &NodeId) -> Result<Outcome, Refused> {
    let keep = match submission.fields.text("keep") {
        "this" => Keep::This,
        "other" => Keep::Other,
        _ => return Err(wrong("keep", Text::WrongChoice)),
    };
    let visit = &submission.visit;
    visit
        .console()
        .resolve_quarantine(&visit.viewer, id, keep)
        .await
}

async fn page(visit: &Visit, id: &NodeId, aftermath: Aftermath) -> Response {
    let node = match visit.console().node(&visit.viewer, id).await {
        Ok(node) => node,
        Err(unreadable) => return error::unreadable(visit.language, unreadable),
    };
    let maintenance = if node.row.state == NodeState::Removed {
        html! {}
    } else {
        maintenance(visit, id, &node.leading)
    };
    whole(
        visit,
        &View::Node(id.clone()),
        &node.row.name,
        &aftermath,
        maintenance,
    )
    .await
}

pub(crate) async fn draw(visit: &Visit, id: &NodeId) -> Result<Markup, Unreadable> {
    let node = visit.console().node(&visit.viewer, id).await?;
    Ok(html! {
        p.subtitle {
            (node.row.organization) "/" (node.row.site) " · " (visit.say(nodes::profile_text(node.row.profile)))
            " " (badge::node_state(visit, node.row.state))
        }
        @if let Some(quarantine) = &node.quarantine { (quarantine_panel(visit, id, quarantine)) }
        @if let Some(policy) = &node.policy { (policy_notice(visit, policy)) }
        section.panel aria-labelledby="path-title" {
            h2 #path-title { (visit.say(Text::Path)) }
            (hops::chain(visit, &node.row.hops))
        }
        (facts(visit, &node))
        section aria-labelledby="services-title" {
            div.section-head {
                h2 #services-title { (visit.say(Text::Services)) } a href="/services" { (visit.say(Text::SeeAll)) }
            }
            @if node.services.is_empty() {
                p.muted {
                    (visit.say(Text::NoServicesWords)) " " a href="/services" { (visit.say(Text::NewService)) }
                }
            } @else {
                (services::service_table(visit, &node.services))
            }
        }
    })
}

fn policy_notice(visit: &Visit, policy: &NodePolicy) -> Markup {
    html! {
        div.notice.bad role="status" {
            (Tone::Bad.icon())
            p {
                @match policy {
                    NodePolicy::Waiting { version, deadline } => {
                        (visit.language.fill(Text::NodePolicyWaiting, &[version])) " "
                        (moment::relative(visit, *deadline))
                    }
                    NodePolicy::Returned { version } => {
                        (visit.language.fill(Text::NodePolicyReturned, &[version]))
                    }
                }
                " " a href="/policy" { (visit.say(Text::NavPolicy)) }
            }
        }
    }
}

fn facts(visit: &Visit, node: &NodeDetail) -> Markup {
    let tunnel = &node.row.hops.tunnel;
    html! {
        dl.facts {
            (fact(visit, Text::Handshake, moment::relative_or(visit, tunnel.handshake_at, Text::Never)))
            (fact(visit, Text::TunnelPath, html! {
                (visit.say(match node.path {
                    Some(PathKind::Direct) => Text::PathDirect,
                    Some(PathKind::Relay) => Text::PathRelay,
                    Some(PathKind::Carrier) => Text::PathCarrier,
                    None => Text::NotYetKnown,
                }))
            }))
            (fact(visit, Text::PostQuantumKey, moment::relative_or(visit, node.psk_since, Text::NoKey)))
            (fact(visit, Text::Received, html! { (moment::bytes(visit.language, tunnel.rx_bytes)) }))
            (fact(visit, Text::Sent, html! { (moment::bytes(visit.language, tunnel.tx_bytes)) }))
            (fact(visit, Text::Endpoint, html! {
                @match &tunnel.endpoint {
                    Some(endpoint) => span.mono { (endpoint) }, None => (visit.say(Text::NotYetKnown))
                }
            }))
            (fact(visit, Text::Addresses, html! { span.stacked { (nodes::addresses(&node.row)) } }))
            (fact(visit, Text::OverlayName, html! { span.mono { (node.overlay_name) } }))
            (fact(visit, Text::AppliedRevision, html! {
                @match node.applied_revision {
                    Some(revision) => (revision), None => (visit.say(Text::NotYetKnown))
                }
            }))
            (fact(visit, Text::EnrolledAt, moment::absolute_time(visit, node.enrolled_at)))
            (fact(visit, Text::Software, html! { (node.software) }))
            (fact(visit, Text::PublicKey, html! { span.mono { (node.public_key) } }))
        }
    }
}

fn fact(visit: &Visit, name: Text, value: Markup) -> Markup {
    html! { div { dt { (visit.say(name)) } dd { (value) } } }
}

fn quarantine_panel(visit: &Visit, id: &NodeId, quarantine: &Quarantine) -> Markup {
    html! {
        section.panel.alarm aria-labelledby="quarantine-title" {
            h2 #quarantine-title { (badge::Tone::Bad.icon()) (visit.say(Text::QuarantineTitle)) }
            p {
                (visit.say(Text::QuarantineWords)) " " span.muted {
                    "(" (moment::relative(visit, quarantine.since)) ")"
                }
            }
            div.claimants {
                (claimant(visit, id, Text::ClaimantThis, "this", &quarantine.this))
                (claimant(visit, id, Text::ClaimantOther, "other", &quarantine.other))
            }
        }
    }
}

fn claimant(visit: &Visit, id: &NodeId, title: Text, keep: &str, claimant: &Claimant) -> Markup {
    html! {
        div.claimant {
            h3 { (visit.say(title)) }
            dl.facts.narrow {
                (fact(visit, Text::HostName, html! { (claimant.host_name) }))
                (fact(visit, Text::Source, html! { span.mono { (claimant.source) } }))
                (fact(visit, Text::Fingerprint, html! { span.mono { (claimant.fingerprint) } }))
                (fact(visit, Text::LastSeen, moment::relative(visit, claimant.seen_at)))
            }
            @if visit.may_change() {
                form method="post" action=(format!("{}/quarantine", node_address(id))) {
                    (csrf(visit))
                    button.button.primary type="submit" name="keep" value=(keep) { (visit.say(Text::KeepThis)) }
                }
            }
        }
    }
}

fn maintenance(visit: &Visit, id: &NodeId, leading: &[Leading]) -> Markup {
    let address = node_address(id);
    let seen = leading.iter().take(MAX_SEEN);
    let seen: Vec<(&str, &str)> = seen.map(|it| (SEEN, it.name.as_str())).collect();
    html! {
        details.panel #maintenance {
            summary { h2 { (visit.say(Text::Maintenance)) } }
            h3 { (visit.say(Text::ReplaceNode)) }
            p { (visit.say(Text::ReplaceWords)) }
            form method="post" action=(format!("{address}/replace")) {
                (csrf(visit))
                button.button type="submit" { (visit.say(Text::ReplaceButton)) }
            }
            @if visit.may_change() {
                h3 { (visit.say(Text::RemoveNode)) }
                p { (visit.say(Text::RemoveNodeWords)) }
                @if !leading.is_empty() {
                    p { (visit.say(Text::LeadingWords)) }
                    ul { @for it in leading.iter().take(MAX_SEEN) { li { (led_by(visit, it)) } } }
                    @if leading.len() > MAX_SEEN { p { (visit.language.fill(Text::LeadingMore, &[&(leading.len() - MAX_SEEN)])) } }
                }
                (confirmed(visit, &Confirmed {
                    id: "remove-node",
                    ask: Text::RemoveButton,
                    hint: Text::ConfirmHint,
                    yes: Text::RemoveYes,
                    action: &format!("{address}/remove"),
                    hidden: &seen,
                }))
            }
        }
    }
}

fn led_by(visit: &Visit, it: &Leading) -> Markup {
    let kind = match it.kind {
        LeadingKind::Route => Text::LeadingRoute,
        LeadingKind::Balancer => Text::LeadingBalancer,
    };
    let becomes = match it.alone {
        true => Text::LeadingGoes,
        false => Text::LeadingStays,
    };
    html! { (visit.say(kind)) " " span.mono { (it.name) } ": " (visit.say(becomes)) }
}

fn node_address(id: &NodeId) -> String {
    format!("/nodes/{}", address::encode(id.as_str()))
}

/// The hidden field with the name of what changes with a node: its removal covers that and nothing else.
const SEEN: &str = "seen";
/// More than that leads to a node whose removal the page does not offer: a form has room for so many fields.
const MAX_SEEN: usize = 50;
