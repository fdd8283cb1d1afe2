//! Compliance: every organization with what its newest check found, and one organization with findings, what could not be tested,
//! evidence and history. What is not known is shown apart, and never as closed.

use axum::extract::{Path, Query};
use axum::response::{IntoResponse, Redirect, Response};
use http::header::{CONTENT_DISPOSITION, CONTENT_TYPE};
use maud::{Markup, html};

use super::aftermath::Aftermath;
use super::badge::{Tone, badge};
use super::fields::csrf;
use super::{command, cut_note, empty, error, moment, terminal, whole};
use crate::address;
use crate::form::{Fields, Submission};
use crate::language::Bilingual;
use crate::model::{
    CheckRun, CheckStanding, ComplianceDetail, ComplianceRow, EvidenceRow, FindingLevel,
    FindingRow, Listing, PassedRow, ROWS_MAX, Unreadable, UntestedRow,
};
use crate::text::{ComplianceText as Words, Text};
use crate::untrusted::{Untrusted, Visible};
use crate::view::View;
use crate::visit::Visit;

/// `GET /compliance`.
pub(crate) async fn show(visit: Visit) -> Response {
    let title = visit.say(Text::NavCompliance);
    let aftermath = Aftermath::Nothing;
    whole(&visit, &View::Compliance, title, &aftermath, html! {}).await
}

/// `GET /compliance/{organization}`.
pub(crate) async fn show_one(
    visit: Visit,
    Path(organization): Path<String>,
    Query(query): Query<Vec<(String, String)>>,
) -> Response {
    let run = Fields::from(query).text("run").parse().ok();
    page(&visit, organization, run, Aftermath::Nothing).await
}

/// `GET /compliance/{organization}/{run}/evidence`.
pub(crate) async fn evidence(
    visit: Visit,
    Path((organization, run)): Path<(String, u64)>,
) -> Response {
    let file = visit
        .console()
        .evidence(&visit.viewer, &organization, run)
        .await;
    match file {
        Ok(file) => {
            let headers = [
                (CONTENT_TYPE, "application/jsonl".to_owned()),
                (
                    CONTENT_DISPOSITION,
                    format!("attachment; filename=\"{}\"", file.name),
                ),
            ];
            (headers, file.bytes).into_response()
        }
        Err(unreadable) => error::unreadable(visit.language, unreadable),
    }
}

/// `POST /compliance/{organization}/check`.
pub(crate) async fn start(Path(organization): Path<String>, submission: Submission) -> Response {
    let visit = submission.visit;
    let started = visit
        .console()
        .start_check(&visit.viewer, &organization)
        .await;
    match started {
        Ok(()) => Redirect::to(&place(&organization)).into_response(),
        Err(refused) => page(&visit, organization, None, Aftermath::Refused(refused)).await,
    }
}

async fn page(
    visit: &Visit,
    organization: String,
    run: Option<u64>,
    aftermath: Aftermath,
) -> Response {
    let title = Untrusted::from(organization.clone());
    let view = View::ComplianceOf(organization, run);
    whole(visit, &view, title, &aftermath, html! {}).await
}

pub(crate) async fn draw(visit: &Visit) -> Result<Markup, Unreadable> {
    let organizations = visit.console().compliance(&visit.viewer).await?;
    let hint = || command(visit, "declare-command", terminal::DECLARE);
    Ok(html! {
        @if organizations.rows.is_empty() {
            (empty(visit.say(Words::None), visit.say(Words::NoneWords), hint()))
        } @else {
            table.cards {
                thead { tr {
                    th scope="col" { (visit.say(Words::Organization)) }
                    th scope="col" { (visit.say(Words::Verdicts)) }
                    th scope="col" { (visit.say(Words::LastRun)) }
                    th scope="col" { span.unseen { (visit.say(Text::Actions)) } }
                } }
                tbody { @for row in organizations.rows.iter().take(ROWS_MAX) { (organization(visit, row)) } }
            }
            (cut_note(visit, organizations.rows.len().min(ROWS_MAX), organizations.total))
        }
    })
}

fn organization(visit: &Visit, row: &ComplianceRow) -> Markup {
    html! {
        tr id=(format!("organization-{}", row.organization)) {
            td.lead data-label=(visit.say(Words::Organization)) {
                a href=(place(&row.organization)) { (Untrusted::from(row.organization.as_str())) }
                @if !row.display_name.is_empty() { span.muted { (row.display_name) } }
            }
            td data-label=(visit.say(Words::Verdicts)) {
                @match &row.newest {
                    Some(run) => (counts(visit, run)),
                    None if row.is_declared => (badge(Tone::Quiet, visit.say(Words::NeverChecked))),
                    None => (badge(Tone::Quiet, visit.say(Words::NotDeclared))),
                }
            }
            td data-label=(visit.say(Words::LastRun)) {
                @match &row.newest { Some(run) => (moment::relative(visit, run.started)), None => "–" }
                @if let Some(standing) = standing(visit, row.standing) { " " (standing) }
            }
            td.row-actions { (check_button(visit, &row.organization, row.is_declared, row.standing, false)) }
        }
    }
}

/// One badge per verdict; none is left out where it counts something.
fn counts(visit: &Visit, run: &CheckRun) -> Markup {
    let count = |tone, words, number: usize| {
        html! { @if number > 0 { (badge(tone, &visit.language.fill(words, &[&number]))) " " } }
    };
    html! {
        (count(Tone::Bad, Words::Findings, run.findings))
        (count(Tone::Waiting, Words::Untested, run.could_not_test))
        (count(Tone::Good, Words::InOrder, run.ok))
    }
}

fn standing(visit: &Visit, standing: CheckStanding) -> Option<Markup> {
    match standing {
        CheckStanding::Idle => None,
        CheckStanding::Waiting => Some(badge(Tone::Waiting, visit.say(Words::Waiting))),
        CheckStanding::Running { .. } => Some(badge(Tone::Waiting, visit.say(Words::Running))),
    }
}

fn check_button(
    visit: &Visit,
    organization: &str,
    is_declared: bool,
    standing: CheckStanding,
    is_main: bool,
) -> Markup {
    let class = if is_main {
        "button primary"
    } else {
        "button small"
    };
    html! {
        @if visit.may_change() && is_declared && standing == CheckStanding::Idle {
            form method="post" action=(format!("{}/check", place(organization))) {
                (csrf(visit))
                button class=(class) type="submit" { (visit.say(Words::CheckNow)) }
            }
        }
    }
}

pub(crate) async fn draw_one(
    visit: &Visit,
    organization: &str,
    run: Option<u64>,
) -> Result<Markup, Unreadable> {
    let console = visit.console();
    let detail = console
        .compliance_of(&visit.viewer, organization, run)
        .await?;
    Ok(html! {
        (head(visit, &detail))
        @if let Some(run) = &detail.run {
            (verdict(visit, run))
            (findings(visit, &detail.findings))
            (untested(visit, &detail.untested))
            (passed(visit, &detail.passed, run.ok))
        }
        (history(visit, &detail))
    })
}

fn head(visit: &Visit, detail: &ComplianceDetail) -> Markup {
    let newest = detail.runs.rows.first().map(|run| run.number);
    let is_older = detail.run.as_ref().map(|run| run.number) != newest;
    html! {
        p.subtitle {
            @if !detail.display_name.is_empty() { (detail.display_name) " · " }
            @match &detail.declared {
                Some((at, by)) => {
                    (visit.say(Words::Declared)) " " (moment::relative(visit, *at)) " "
                    (visit.language.fill(Words::DeclaredBy, &[&visible(by)]))
                },
                None => (visit.say(Words::NotDeclared)),
            }
            @if let CheckStanding::Running { since } = detail.standing {
                " " (badge(Tone::Waiting, visit.say(Words::Running))) " " (moment::relative(visit, since))
            } @else if let Some(standing) = standing(visit, detail.standing) { " " (standing) }
        }
        @if detail.declared.is_none() {
            p.note { (visit.say(Words::DeclareHint)) }
            (command(visit, "declare-command", terminal::DECLARE))
        }
        @if let Some(failure) = &detail.failure {
            div.notice.bad role="alert" {
                (Tone::Bad.icon())
                p { strong { (visit.say(Words::Failed)) } " " (said(visit, failure)) }
            }
        }
        @if is_older {
            div.notice {
                (Tone::Waiting.icon())
                p { (visit.say(Words::OlderRun)) " "
                    a href=(place(&detail.organization)) { (visit.say(Words::ShowNewest)) } }
            }
        }
        div.actions {
            (check_button(visit, &detail.organization, detail.declared.is_some(), detail.standing, true))
            @if let Some(run) = &detail.run {
                a.button href=(format!("{}/{}/evidence", place(&detail.organization), run.number)) download {
                    (visit.say(Words::Evidence))
                }
            }
        }
        @if detail.run.is_some() {
            p.note { (visit.say(Words::EvidenceHint)) }
            (command(visit, "verify-command", terminal::VERIFY_EVIDENCE))
        }
    }
}

fn verdict(visit: &Visit, run: &CheckRun) -> Markup {
    let tone = match (run.findings, run.could_not_test) {
        (0, 0) => Tone::Good,
        (0, _) => Tone::Waiting,
        _ => Tone::Bad,
    };
    html! {
        div.hero.(tone.class()) role="group" aria-labelledby="verdict-title" {
            (tone.icon())
            div {
                h2 #verdict-title {
                    @if run.findings == 0 { (visit.say(Words::AllInOrder)) }
                    @else { (visit.language.fill(Words::HasFindings, &[&run.findings])) }
                }
                @if run.could_not_test > 0 {
                    p { (visit.language.fill(Words::UntestedToo, &[&run.could_not_test])) }
                }
                @if let Some(why) = &run.no_outside {
                    p { (visit.say(Words::NoOutside)) " " (said(visit, why)) }
                }
                p { (counts(visit, run)) (asked(visit, run)) }
            }
        }
    }
}

fn asked(visit: &Visit, run: &CheckRun) -> Markup {
    html! {
        span.muted {
            (moment::relative(visit, run.started)) " · " (moment::duration(run.took_s)) " · "
            @match &run.by { Some(by) => (by), None => (visit.say(Words::Schedule)) }
        }
    }
}

fn findings(visit: &Visit, findings: &Listing<FindingRow>) -> Markup {
    html! {
        @if !findings.rows.is_empty() {
            section #findings aria-labelledby="findings-title" {
                h2 #findings-title { (visit.say(Words::FindingsTitle)) }
                @for row in findings.rows.iter().take(ROWS_MAX) { (finding(visit, row)) }
                (cut_note(visit, findings.rows.len().min(ROWS_MAX), findings.total))
            }
        }
    }
}

fn finding(visit: &Visit, row: &FindingRow) -> Markup {
    let (tone, level) = match row.level {
        FindingLevel::Serious => (Tone::Bad, Words::Serious),
        FindingLevel::Warning => (Tone::Waiting, Words::Warning),
        FindingLevel::Notice => (Tone::Quiet, Words::Notice),
    };
    html! {
        article.panel.finding id=(format!("check-{}", identifier(row.check.as_str()))) {
            h3 { (badge(tone, visit.say(level))) " " (said(visit, &row.what)) }
            p.mono.muted { (row.check) }
            dl.facts.compared {
                div { dt { (visit.say(Words::DeclaredThis)) } dd { (said(visit, &row.declared)) } }
                div { dt { (visit.say(Words::Observed)) } dd { strong { (said(visit, &row.observed)) } } }
            }
            @if !row.evidence.is_empty() {
                details {
                    summary { (visit.language.fill(Words::Seen, &[&row.evidence.len()])) }
                    (evidence_table(visit, &row.evidence))
                }
            }
        }
    }
}

fn evidence_table(visit: &Visit, rows: &[EvidenceRow]) -> Markup {
    html! {
        table.cards {
            thead { tr {
                th scope="col" { (visit.say(Text::When)) }
                th scope="col" { (visit.say(Words::From)) }
                th scope="col" { (visit.say(Words::Address)) }
                th scope="col" { (visit.say(Words::Observed)) }
            } }
            tbody { @for row in rows.iter().take(EVIDENCE_ROWS_MAX) { tr {
                td data-label=(visit.say(Text::When)) { (moment::absolute_time(visit, row.at)) }
                td.wrap data-label=(visit.say(Words::From)) { (said(visit, &row.vantage)) }
                td.wrap data-label=(visit.say(Words::Address)) { span.mono { (row.address) } }
                td.wrap data-label=(visit.say(Words::Observed)) { (said(visit, &row.observed)) }
            } } }
        }
        (cut_note(visit, rows.len().min(EVIDENCE_ROWS_MAX), rows.len()))
    }
}

fn untested(visit: &Visit, untested: &Listing<UntestedRow>) -> Markup {
    html! {
        @if !untested.rows.is_empty() {
            section #untested aria-labelledby="untested-title" {
                h2 #untested-title { (visit.say(Words::UntestedTitle)) }
                p.note { (visit.say(Words::UntestedWords)) }
                table.cards {
                    thead { tr {
                        th scope="col" { (visit.say(Words::Check)) }
                        th scope="col" { (visit.say(Words::From)) }
                        th scope="col" { (visit.say(Words::Why)) }
                    } }
                    tbody { @for row in untested.rows.iter().take(ROWS_MAX) { tr {
                        td.lead.wrap data-label=(visit.say(Words::Check)) { span.mono { (row.check) } }
                        td.wrap data-label=(visit.say(Words::From)) { (said(visit, &row.vantage)) }
                        td.wrap data-label=(visit.say(Words::Why)) {
                            (said(visit, &row.why))
                            @if !row.detail.is_empty() { br; span.muted { (row.detail) } }
                        }
                    } } }
                }
                (cut_note(visit, untested.rows.len().min(ROWS_MAX), untested.total))
            }
        }
    }
}

fn passed(visit: &Visit, passed: &Listing<PassedRow>, count: usize) -> Markup {
    html! {
        @if !passed.rows.is_empty() {
            details.panel #passed {
                summary { h2 { (visit.language.fill(Words::PassedTitle, &[&count])) } }
                table.cards {
                    thead { tr {
                        th scope="col" { (visit.say(Words::Check)) }
                        th scope="col" { (visit.say(Words::From)) }
                        th scope="col" { (visit.say(Words::Observed)) }
                    } }
                    tbody { @for row in passed.rows.iter().take(ROWS_MAX) { tr {
                        td.lead.wrap data-label=(visit.say(Words::Check)) { span.mono { (row.check) } }
                        td.wrap data-label=(visit.say(Words::From)) { (said(visit, &row.vantage)) }
                        td.wrap data-label=(visit.say(Words::Observed)) { (said(visit, &row.observed)) }
                    } } }
                }
                (cut_note(visit, passed.rows.len().min(ROWS_MAX), passed.total))
            }
        }
    }
}

fn history(visit: &Visit, detail: &ComplianceDetail) -> Markup {
    let shown = detail.run.as_ref().map(|run| run.number);
    html! {
        @if !detail.runs.rows.is_empty() {
            section #history aria-labelledby="history-title" {
                h2 #history-title { (visit.say(Words::History)) }
                table.cards {
                    thead { tr {
                        th scope="col" { (visit.say(Words::Run)) }
                        th scope="col" { (visit.say(Words::Verdicts)) }
                        th scope="col" { (visit.say(Words::Took)) }
                        th scope="col" { (visit.say(Words::By)) }
                    } }
                    tbody { @for run in detail.runs.rows.iter().take(ROWS_MAX) {
                        (past(visit, &detail.organization, run, shown == Some(run.number)))
                    } }
                }
                (cut_note(visit, detail.runs.rows.len().min(ROWS_MAX), detail.runs.total))
            }
        }
    }
}

fn past(visit: &Visit, organization: &str, run: &CheckRun, is_shown: bool) -> Markup {
    html! {
        tr id=(format!("run-{}", run.number)) {
            td.lead data-label=(visit.say(Words::Run)) {
                a href=(format!("{}?run={}", place(organization), run.number)) {
                    (moment::absolute_time(visit, run.started))
                }
                @if is_shown { " " (badge(Tone::Quiet, visit.say(Words::Shown))) }
            }
            td data-label=(visit.say(Words::Verdicts)) { (counts(visit, run)) }
            td data-label=(visit.say(Words::Took)) { (moment::duration(run.took_s)) }
            td.wrap data-label=(visit.say(Words::By)) {
                @match &run.by { Some(by) => (by), None => (visit.say(Words::Schedule)) }
            }
        }
    }
}

/// Words that may quote what machines said.
fn said<'a>(visit: &Visit, text: &'a Bilingual) -> Visible<'a> {
    Visible(text.in_language(visit.language))
}

fn visible(text: &Untrusted) -> Visible<'_> {
    Visible(text.as_str())
}

/// What may stand in an element's id, and is the same when the page is drawn again.
fn identifier(check: &str) -> String {
    let plain = |c: char| if c.is_ascii_alphanumeric() { c } else { '-' };
    check.chars().map(plain).collect()
}

fn place(organization: &str) -> String {
    format!("/compliance/{}", address::encode(organization))
}

/// Observations of one finding that are shown; the evidence file has all.
const EVIDENCE_ROWS_MAX: usize = 20;
