//! The policy: its versions, its text to edit, and what a new text would change before it is saved. A save carries the hash
//! of what was shown.

mod proposals;

use std::sync::Arc;

use axum::extract::{DefaultBodyLimit, Path, Query};
use axum::response::Response;
use axum::routing::{MethodRouter, post};
use maud::{Markup, html};

use super::aftermath::{Aftermath, What, done, refusal as refusal_words};
use super::badge::{Tone, badge};
use super::fields::{Confirmed, confirmed, csrf};
use super::{cut_note, error, moment, whole};
use crate::console::Role;
use crate::form::{Submission, wrong};
use crate::model::{
    Listing, NewPolicy, PolicyChange, PolicyDetail, PolicyLater, PolicyLaterChange, PolicyReview,
    PolicySide, PolicyVersionRow, PolicyWritten, ROWS_MAX, RefusalKind, Refused, Unreadable,
};
use crate::text::Text;
use crate::untrusted::{Untrusted, Visible};
use crate::view::View;
use crate::visit::{Desk, Visit};

pub(crate) use proposals::{approve, reject};

/// `GET /policy`.
pub(crate) async fn show(visit: Visit, Query(query): Query<Vec<(String, String)>>) -> Response {
    page(&visit, Aftermath::of_query(query), None, None).await
}

/// `POST /policy/review`: a whole policy is longer than other forms.
pub(crate) fn review_route() -> MethodRouter<Arc<Desk>> {
    post(review).layer(DefaultBodyLimit::max(POLICY_BODY_BYTES_MAX))
}

/// `POST /policy/apply`.
pub(crate) fn apply_route() -> MethodRouter<Arc<Desk>> {
    post(apply).layer(DefaultBodyLimit::max(POLICY_BODY_BYTES_MAX))
}

async fn review(submission: Submission) -> Response {
    let Submission { visit, fields } = submission;
    let text = plain_lines(fields.exact("text"));
    match visit.console().review_policy(&visit.viewer, &text).await {
        Ok(review) => page(&visit, Aftermath::Nothing, Some(text), Some(review)).await,
        Err(refused) => page(&visit, Aftermath::Refused(refused), Some(text), None).await,
    }
}

async fn apply(submission: Submission) -> Response {
    let Submission { visit, fields } = submission;
    let text = plain_lines(fields.exact("text"));
    let confirm_within_s = match fields.text("confirm_within_s") {
        "" => Ok(None),
        _ => fields.number("confirm_within_s", 5..=3_600).map(Some),
    };
    let outcome = match confirm_within_s {
        Ok(confirm_within_s) => {
            let new = NewPolicy {
                text: text.clone(),
                hash: fields.text("hash").to_owned(),
                confirm_within_s,
                emergency: Some(fields.text("emergency"))
                    .filter(|reason| !reason.is_empty())
                    .map(str::to_owned),
            };
            visit.console().apply_policy(&visit.viewer, new).await
        }
        Err(refused) => Err(refused),
    };
    match outcome {
        Ok(written) => taken(What::PolicyApplied, &written),
        Err(refused) => page(&visit, Aftermath::Refused(refused), Some(text), None).await,
    }
}

/// `POST /policy/{version}/confirm`.
pub(crate) async fn confirm(Path(version): Path<String>, submission: Submission) -> Response {
    let visit = submission.visit;
    let outcome = match number(&version) {
        Ok(version) => visit.console().confirm_policy(&visit.viewer, version).await,
        Err(refused) => Err(refused),
    };
    match outcome {
        Ok(outcome) => done(ADDRESS, What::PolicyConfirmed, &outcome),
        Err(refused) => page(&visit, Aftermath::Refused(refused), None, None).await,
    }
}

/// `POST /policy/{version}/rollback`.
pub(crate) async fn roll_back(Path(version): Path<String>, submission: Submission) -> Response {
    let visit = submission.visit;
    let outcome = match number(&version) {
        Ok(version) => {
            visit
                .console()
                .roll_back_policy(&visit.viewer, version)
                .await
        }
        Err(refused) => Err(refused),
    };
    match outcome {
        Ok(written) => taken(What::PolicyReturned, &written),
        Err(refused) => page(&visit, Aftermath::Refused(refused), None, None).await,
    }
}

fn taken(what: What, written: &PolicyWritten) -> Response {
    let what = if written.proposed {
        What::PolicyProposed
    } else {
        what
    };
    done(ADDRESS, what, &written.outcome)
}

fn number(version: &str) -> Result<u64, Refused> {
    version.parse().map_err(|_| Refused {
        field: None,
        kind: RefusalKind::NotFound,
        ..wrong("version", Text::WrongChoice)
    })
}

/// Browsers send lines with CR and LF.
fn plain_lines(text: &str) -> String {
    text.replace("\r\n", "\n")
}

async fn page(
    visit: &Visit,
    aftermath: Aftermath,
    text: Option<String>,
    review: Option<PolicyReview>,
) -> Response {
    let detail = match visit.console().policy(&visit.viewer).await {
        Ok(detail) => detail,
        Err(unreadable) => return error::unreadable(visit.language, unreadable),
    };
    let text = text.unwrap_or(detail.text);
    let forms = html! {
        @if let Some(review) = &review { (reviewed(visit, review, &text)) }
        (editor(visit, &text))
    };
    let title = visit.say(Text::NavPolicy);
    whole(visit, &View::Policy, title, &aftermath, forms).await
}

pub(crate) async fn draw(visit: &Visit) -> Result<Markup, Unreadable> {
    let detail = visit.console().policy(&visit.viewer).await?;
    Ok(html! {
        (standing(visit, &detail))
        (proposals::draw(visit, &detail.proposals))
        @if !detail.versions.rows.is_empty() {
            table.cards {
                thead { tr {
                    th.number scope="col" { (visit.say(Text::PolicyVersion)) }
                    th scope="col" { (visit.say(Text::PolicyApplied)) }
                    th scope="col" { (visit.say(Text::PolicyAuthor)) }
                    th.number scope="col" { (visit.say(Text::PolicyGaining)) }
                    th.number scope="col" { (visit.say(Text::PolicyLosing)) }
                    th scope="col" { span.unseen { (visit.say(Text::Actions)) } }
                } }
                tbody {
                    @for row in detail.versions.rows.iter().take(ROWS_MAX) {
                        (version(visit, row, &detail))
                    }
                }
            }
            (cut_note(visit, detail.versions.rows.len().min(ROWS_MAX), detail.versions.total))
        }
    })
}

fn standing(visit: &Visit, detail: &PolicyDetail) -> Markup {
    html! {
        @match detail.version {
            0 => p.subtitle { (visit.say(Text::PolicyNone)) },
            version => p.subtitle {
                (visit.say(Text::PolicyVersion)) " " strong { (version) }
                @if let Some(at) = detail.changes_at {
                    " · " (visit.say(Text::PolicyChanges)) " " (moment::relative(visit, at))
                }
            },
        }
        @if let Some(pending) = &detail.pending {
            div.notice.bad role="status" {
                (Tone::Bad.icon())
                p {
                    strong { (visit.language.fill(Text::PolicyPending, &[&pending.former])) } " "
                    (moment::relative(visit, pending.deadline))
                    @if let Some(reason) = &pending.emergency {
                        br; (visit.say(Text::PolicyEmergency)) " " (reason)
                    }
                }
                @if visit.may_change() {
                    form method="post" action=(format!("{ADDRESS}/{}/confirm", detail.version)) {
                        (csrf(visit))
                        button.button.primary type="submit" { (visit.say(Text::PolicyConfirm)) }
                    }
                }
            }
        }
    }
}

fn version(visit: &Visit, row: &PolicyVersionRow, detail: &PolicyDetail) -> Markup {
    let in_force = row.version == detail.version;
    let (tone, word) = match detail.pending {
        Some(_) => (Tone::Waiting, Text::PolicyWaits),
        None => (Tone::Good, Text::PolicyInForce),
    };
    html! {
        tr id=(format!("version-{}", row.version)) {
            td.lead.number data-label=(visit.say(Text::PolicyVersion)) {
                strong { (row.version) }
                @if in_force { " " (badge(tone, visit.say(word))) }
            }
            td data-label=(visit.say(Text::PolicyApplied)) {
                (moment::relative(visit, row.applied_at))
                @if let Some(to) = row.returned_to {
                    " · " (visit.language.fill(Text::PolicyBack, &[&to]))
                }
            }
            td data-label=(visit.say(Text::PolicyAuthor)) {
                (row.author)
                @if let Some(approver) = &row.approver {
                    " · " (visit.language.fill(Text::PolicyApprover, &[&Visible(approver.as_str())]))
                }
                @if let Some(reason) = &row.emergency {
                    " · " (visit.language.fill(Text::PolicyAlone, &[&Visible(reason.as_str())]))
                }
            }
            td.number data-label=(visit.say(Text::PolicyGaining)) { (row.gaining) }
            td.number data-label=(visit.say(Text::PolicyLosing)) { (row.losing) }
            td.row-actions {
                @if !in_force && visit.may_change() {
                    (confirmed(visit, &Confirmed {
                        id: &format!("rollback-{}", row.version),
                        ask: Text::PolicyRollBack,
                        hint: Text::ConfirmHint,
                        yes: Text::PolicyRollBackYes,
                        action: &format!("{ADDRESS}/{}/rollback", row.version),
                        hidden: &[],
                    }))
                }
            }
        }
    }
}

/// What the text would change, and the form that saves exactly that.
fn reviewed(visit: &Visit, review: &PolicyReview, text: &str) -> Markup {
    html! {
        section.panel #review aria-labelledby="review-title" {
            h2 #review-title { (visit.say(Text::PolicyReviewTitle)) }
            p { strong { (visit.language.fill(Text::PolicyCounts, &[&review.gaining, &review.losing])) } }
            (changes(visit, &review.rows))
            (later(visit, &review.later))
            @if !review.unresolved.is_empty() {
                p.note { (visit.say(Text::PolicyUnresolved)) }
                ul.note { @for name in &review.unresolved { li { (name) } } }
            }
            @match &review.refusal {
                Some(refusal) => p.problem.whole role="alert" {
                    (visit.say(Text::PolicyRefused)) " " (refusal_words(visit, refusal))
                },
                None => form.stack method="post" action="/policy/apply" {
                    (csrf(visit))
                    input type="hidden" name="hash" value=(review.hash);
                    textarea name="text" hidden { "\n" (text) }
                    div.field {
                        label for="confirm-within" { (visit.say(Text::PolicyConfirmWithin)) }
                        input #confirm-within type="number" name="confirm_within_s" min="5" max="3600"
                            inputmode="numeric" aria-describedby="confirm-within-hint";
                        p.hint #confirm-within-hint { (visit.say(Text::PolicyConfirmHint)) }
                    }
                    (asked(visit, &review.second_approver))
                },
            }
        }
    }
}

/// Whom it takes beside the author, and the button.
fn asked(visit: &Visit, organizations: &[Untrusted]) -> Markup {
    html! {
        @if organizations.is_empty() {
            div { button.button.primary type="submit" { (visit.say(Text::PolicySave)) } }
        } @else {
            p.note {
                (visit.say(Text::PolicyWillPropose))
                @for name in organizations { " " span.mono { (name) } }
            }
            @if visit.viewer.role == Role::Owner {
                div.field {
                    label for="emergency" { (visit.say(Text::PolicyEmergencyReason)) }
                    input #emergency type="text" name="emergency" maxlength="200" autocomplete="off"
                        aria-describedby="emergency-hint";
                    p.hint #emergency-hint { (visit.say(Text::PolicyEmergencyHint)) }
                }
            }
            div { button.button.primary type="submit" { (visit.say(Text::PolicyPropose)) } }
        }
    }
}

fn changes(visit: &Visit, rows: &Listing<PolicyChange>) -> Markup {
    html! {
        @if !rows.rows.is_empty() {
            table.cards {
                thead { tr {
                    th scope="col" { (visit.say(Text::PolicyFrom)) }
                    th scope="col" { (visit.say(Text::PolicyTo)) }
                    th scope="col" { (visit.say(Text::PolicyGains)) }
                    th scope="col" { (visit.say(Text::PolicyLoses)) }
                    th.number scope="col" { (visit.say(Text::PolicyPairs)) }
                } }
                tbody { @for row in rows.rows.iter().take(ROWS_MAX) { (change(visit, row)) } }
            }
            (cut_note(visit, rows.rows.len().min(ROWS_MAX), rows.total))
        }
    }
}

/// What the changes don't show, because it is closed now.
fn later(visit: &Visit, grants: &Listing<PolicyLater>) -> Markup {
    let change = |change: PolicyLaterChange| match change {
        PolicyLaterChange::Opens(Some(from)) => html! {
            (visit.say(Text::PolicyOpensLater)) " " (moment::relative(visit, from))
        },
        PolicyLaterChange::Opens(None) => html! { (visit.say(Text::PolicyOpensNever)) },
        PolicyLaterChange::Gone => html! { (visit.say(Text::PolicyGoneLater)) },
        PolicyLaterChange::Expired(at) => html! {
            (visit.say(Text::PolicyExpired)) " " (moment::relative(visit, at))
        },
    };
    html! {
        @if !grants.rows.is_empty() {
            p.note { (visit.say(Text::PolicyLater)) }
            ul.note {
                @for grant in &grants.rows {
                    li { (grant.line) ": " span.mono { (grant.name) } ": " (change(grant.change)) }
                }
            }
            @if grants.total > grants.rows.len() {
                p.note { (visit.language.fill(Text::PolicyMoreLater, &[&(grants.total - grants.rows.len())])) }
            }
        }
    }
}

fn change(visit: &Visit, row: &PolicyChange) -> Markup {
    let ports = |label, ports: &[String]| {
        html! {
            td.wrap.stacked data-label=(visit.say(label)) { @for port in ports { span.mono { (port) } } }
        }
    };
    html! {
        tr {
            td.lead.wrap.stacked data-label=(visit.say(Text::PolicyFrom)) { (side(visit, &row.from)) }
            td.wrap.stacked data-label=(visit.say(Text::PolicyTo)) { (side(visit, &row.to)) }
            (ports(Text::PolicyGains, &row.gained))
            (ports(Text::PolicyLoses, &row.lost))
            td.number data-label=(visit.say(Text::PolicyPairs)) { (row.pairs) }
        }
    }
}

fn side(visit: &Visit, side: &PolicySide) -> Markup {
    let more = side.count.saturating_sub(side.names.len());
    html! {
        @for name in &side.names { span.mono { (name) } }
        @if more > 0 { span.muted { (visit.language.fill(Text::PolicyMore, &[&more])) } }
    }
}

fn editor(visit: &Visit, text: &str) -> Markup {
    html! {
        section.panel aria-labelledby="policy-title" {
            h2 #policy-title { (visit.say(Text::PolicyWords)) }
            form.stack method="post" action="/policy/review" {
                (csrf(visit))
                div.field {
                    label.unseen for="policy-text" { (visit.say(Text::PolicyWords)) }
                    // The parser drops one newline after the tag.
                    textarea #policy-text.mono name="text" rows="24" required autocomplete="off"
                        autocapitalize="none" spellcheck="false" { "\n" (text) }
                    p.hint { (visit.say(Text::PolicyHint)) }
                }
                div { button.button.primary type="submit" { (visit.say(Text::PolicyReview)) } }
            }
        }
    }
}

const ADDRESS: &str = "/policy";

/// The longest policy, every byte of it percent-encoded.
const POLICY_BODY_BYTES_MAX: usize = 512 * 1024;
