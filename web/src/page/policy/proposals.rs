//! Changes of the policy that wait for another operator: each with what it would change now, and the two answers to it.

use axum::extract::Path;
use axum::response::Response;
use maud::{Markup, html};

use super::{ADDRESS, changes, later, number, page};
use crate::form::Submission;
use crate::model::{Decision, PolicyProposal, ProposedChange};
use crate::page::aftermath::{Aftermath, What, done};
use crate::page::fields::{Confirmed, confirmed, csrf};
use crate::page::moment;
use crate::text::Text;
use crate::untrusted::Visible;
use crate::visit::Visit;

/// `POST /policy/proposals/{number}/approve`.
pub(crate) async fn approve(Path(named): Path<String>, submission: Submission) -> Response {
    let hash = submission.fields.text("hash").to_owned();
    decide(&named, submission.visit, Decision::Approve { hash }).await
}

/// `POST /policy/proposals/{number}/reject`.
pub(crate) async fn reject(Path(named): Path<String>, submission: Submission) -> Response {
    decide(&named, submission.visit, Decision::Reject).await
}

async fn decide(named: &str, visit: Visit, decision: Decision) -> Response {
    let what = match decision {
        Decision::Approve { .. } => What::PolicyApproved,
        Decision::Reject => What::PolicyRejected,
    };
    let outcome = match number(named) {
        Ok(number) => {
            let console = visit.console();
            console
                .decide_proposal(&visit.viewer, number, decision)
                .await
        }
        Err(refused) => Err(refused),
    };
    match outcome {
        Ok(outcome) => done(ADDRESS, what, &outcome),
        Err(refused) => page(&visit, Aftermath::Refused(refused), None, None).await,
    }
}

pub(super) fn draw(visit: &Visit, proposals: &[PolicyProposal]) -> Markup {
    html! {
        @if !proposals.is_empty() {
            section.panel #proposals aria-labelledby="proposals-title" {
                h2 #proposals-title { (visit.say(Text::PolicyProposals)) }
                @for it in proposals { (proposal(visit, it)) }
            }
        }
    }
}

fn proposal(visit: &Visit, it: &PolicyProposal) -> Markup {
    html! {
        article id=(format!("proposal-{}", it.number)) {
            h3 { (visit.language.fill(Text::PolicyProposal, &[&it.number, &Visible(it.author.as_str())])) }
            p {
                @match &it.change {
                    ProposedChange::Text(_) => (visit.say(Text::PolicyNewWords)),
                    ProposedChange::Return(version) => (visit.language.fill(Text::PolicyBack, &[version])),
                    ProposedChange::OneApprover => (visit.say(Text::PolicyOneApprover)),
                }
                " · " (moment::relative(visit, it.proposed_at))
                " · " (visit.say(Text::PolicyProposalExpires)) " " (moment::relative(visit, it.expires_at))
            }
            p.note {
                (visit.say(Text::PolicyAskedBy))
                @for name in &it.organizations { " " span.mono { (name) } }
            }
            @if it.change != ProposedChange::OneApprover {
                p { strong { (visit.language.fill(Text::PolicyCounts, &[&it.gaining, &it.losing])) } }
                (changes(visit, &it.rows))
                (later(visit, &it.later))
            }
            @if let ProposedChange::Text(text) = &it.change {
                details {
                    summary { (visit.say(Text::PolicyWords)) }
                    pre.mono { @for line in text.lines() { (Visible(line)) "\n" } }
                }
            }
            @if it.outdated { p.problem.whole { (visit.say(Text::PolicyOutdated)) } }
            (answers(visit, it))
        }
    }
}

fn answers(visit: &Visit, it: &PolicyProposal) -> Markup {
    let action = |verb: &str| format!("{ADDRESS}/proposals/{}/{verb}", it.number);
    html! {
        @if visit.may_change() {
            @if !it.may_approve { p.muted { (visit.say(Text::PolicyOwnProposal)) } }
            div.actions {
                @if it.may_approve && !it.outdated {
                    form method="post" action=(action("approve")) {
                        (csrf(visit))
                        input type="hidden" name="hash" value=(it.hash);
                        button.button.primary type="submit" { (visit.say(Text::PolicyApprove)) }
                    }
                }
                (confirmed(visit, &Confirmed {
                    id: &format!("reject-{}", it.number),
                    ask: Text::PolicyReject,
                    hint: Text::ConfirmHint,
                    yes: Text::PolicyRejectYes,
                    action: &action("reject"),
                    hidden: &[],
                }))
            }
        }
    }
}
