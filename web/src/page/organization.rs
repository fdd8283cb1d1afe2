//! One organization: its sites, the switch of the second approver, and the ports that it declares beside the profile's.

use axum::extract::{Path, Query};
use axum::response::Response;
use maud::{Markup, html};

use super::aftermath::{Aftermath, What, done};
use super::badge::{Tone, badge};
use super::fields::{Confirmed, confirmed};
use super::{command, cut_note, moment, profiles, sites, terminal, whole};
use crate::address;
use crate::form::{Submission, wrong};
use crate::model::{DeclaredPorts, OrganizationDetail, ROWS_MAX, SecondApprover, Unreadable};
use crate::text::{OrganizationText as Words, Text};
use crate::untrusted::{Untrusted, Visible};
use crate::view::View;
use crate::visit::Visit;

/// `GET /organizations/{name}`.
pub(crate) async fn show(
    visit: Visit,
    Path(name): Path<String>,
    Query(query): Query<Vec<(String, String)>>,
) -> Response {
    page(&visit, name, Aftermath::of_query(query)).await
}

/// `POST /organizations/{name}/second-approver/{wanted}`, `on` or `off`.
pub(crate) async fn set_second_approver(
    Path((name, wanted)): Path<(String, String)>,
    submission: Submission,
) -> Response {
    let visit = submission.visit;
    let outcome = match wanted.as_str() {
        "on" | "off" => {
            let console = visit.console();
            console
                .set_second_approver(&visit.viewer, &name, wanted == "on")
                .await
        }
        _ => Err(wrong("wanted", Text::WrongChoice)),
    };
    match outcome {
        Ok(written) => {
            let what = match written.proposed {
                true => What::ApproverProposed,
                false => What::ApproverOn,
            };
            done(&place(&name), what, &written.outcome)
        }
        Err(refused) => page(&visit, name, Aftermath::Refused(refused)).await,
    }
}

async fn page(visit: &Visit, name: String, aftermath: Aftermath) -> Response {
    let title = Untrusted::from(name.clone());
    let view = View::Organization(name);
    whole(visit, &view, title, &aftermath, html! {}).await
}

pub(crate) async fn draw(visit: &Visit, name: &str) -> Result<Markup, Unreadable> {
    let console = visit.console();
    let it = console.organization(&visit.viewer, name).await?;
    Ok(html! {
        p.subtitle {
            (visit.say(Words::Kind))
            @if !it.display_name.is_empty() { " · " (it.display_name) }
        }
        div.actions {
            a.button href=(format!("/compliance/{}", address::encode(&it.name))) { (visit.say(Words::SeeCompliance)) }
            a.button href="/policy" { (visit.say(Words::SeePolicy)) }
        }
        (own_sites(visit, &it))
        (approver(visit, &it.name, &it.approver))
        (declared(visit, it.declared.as_ref()))
    })
}

fn own_sites(visit: &Visit, it: &OrganizationDetail) -> Markup {
    html! {
        section aria-labelledby="sites-title" {
            h2 #sites-title { (visit.say(Text::Sites)) }
            @if it.sites.rows.is_empty() {
                p.muted { (visit.say(Words::NoSites)) " " a href="/sites" { (visit.say(Text::NavSites)) } "." }
            } @else {
                (sites::sites_of(visit, &it.sites, false))
                (cut_note(visit, it.sites.rows.len().min(ROWS_MAX), it.sites.total))
            }
        }
    }
}

fn approver(visit: &Visit, organization: &str, it: &SecondApprover) -> Markup {
    let (tone, state) = match (it.on, it.ending) {
        (true, Some(_)) => (Tone::Waiting, Words::ApproverEnding),
        (true, None) => (Tone::Good, Words::ApproverOn),
        (false, _) => (Tone::Quiet, Words::ApproverOff),
    };
    html! {
        section.panel #second-approver aria-labelledby="approver-title" {
            h2 #approver-title { (visit.say(Words::Approver)) " " (badge(tone, visit.say(state))) }
            p { (visit.say(Words::ApproverMeans)) }
            p.muted { (visit.say(Words::ApproverWho)) " " (visit.language.fill(Words::ApproverPeople, &[&it.people])) }
            @if let Some(number) = it.ending {
                p { (visit.say(Words::ApproverWaiting)) " "
                    a href=(format!("/policy#proposal-{number}")) {
                        (visit.language.fill(Words::ApproverProposal, &[&number]))
                    }
                }
            } @else if visit.may_change() { (switch(visit, organization, it)) }
        }
    }
}

fn switch(visit: &Visit, organization: &str, it: &SecondApprover) -> Markup {
    let action = |to| format!("{}/second-approver/{to}", place(organization));
    html! {
        @if it.on {
            (confirmed(visit, &Confirmed {
                id: "approver-off",
                ask: Words::ApproverTurnOff,
                hint: Words::ApproverTurnOffHint,
                yes: Words::ApproverTurnOffYes,
                action: &action("off"),
                hidden: &[],
            }))
        } @else if it.people < PEOPLE_NEEDED {
            p { (visit.say(Words::ApproverTooFew)) }
            (command(visit, "operator-command", terminal::ADD_OPERATOR))
        } @else {
            (confirmed(visit, &Confirmed {
                id: "approver-on",
                ask: Words::ApproverTurnOn,
                hint: Words::ApproverTurnOnHint,
                yes: Words::ApproverTurnOnYes,
                action: &action("on"),
                hidden: &[],
            }))
        }
    }
}

fn declared(visit: &Visit, it: Option<&DeclaredPorts>) -> Markup {
    html! {
        section aria-labelledby="declared-title" {
            h2 #declared-title { (visit.say(Words::DeclaredPorts)) }
            @match it {
                None => {
                    p.muted { (visit.say(Words::DeclaredNothing)) }
                    (command(visit, "declare-command", terminal::DECLARE))
                },
                Some(it) => {
                    p.muted { (visit.say(Words::DeclaredWords)) }
                    p {
                        (visit.say(Words::DeclaredAt)) " " (moment::relative(visit, it.at)) " "
                        (visit.language.fill(Words::DeclaredBy, &[&Visible(it.by.as_str())]))
                        @if !it.release.is_empty() {
                            " · " (visit.language.fill(Words::DeclaredRelease, &[&Visible(&it.release)]))
                        }
                    }
                    @if !it.lists_ports {
                        p { (visit.say(Words::DeclaredNoPorts)) }
                    } @else if it.differences.is_empty() {
                        p { (badge(Tone::Good, visit.say(Words::DeclaredSame))) }
                    } @else { (profiles::differences(visit, &it.differences)) }
                },
            }
        }
    }
}

/// Its page's address.
pub(super) fn place(organization: &str) -> String {
    format!("/organizations/{}", address::encode(organization))
}

/// One proposes, another approves.
const PEOPLE_NEEDED: usize = 2;
