//! The policy on the dashboard: what is in force, what a text would change, and the writes that come of it.

mod proposals;

use async_trait::async_trait;
use malha_core::policy::{Author, Difference, LaterChange, Policy, Row, Side};
use malha_core::{Answer, Command, Noun, Reason, Rejection, State};
use malha_proto::{Allow, Fingerprint, OrganizationId, Protocol};
use malha_web::model::{
    Decision, Listing, NewPolicy, Outcome, PendingPolicy, PolicyChange, PolicyDetail, PolicyLater,
    PolicyLaterChange, PolicyReview, PolicySide, PolicyVersionRow, PolicyWritten, Refused,
    Unreadable,
};
use malha_web::{PolicyConsole, Untrusted, Viewer};

use crate::clock::now_ms;
use crate::console::permission::{Permission, permit};
use crate::console::refusal::{Form, missing, refused};
use crate::console::{ControllerConsole, moment};
use crate::coordinator::SubmitError;
use crate::refusals;

#[async_trait]
impl PolicyConsole for ControllerConsole {
    async fn policy(&self, viewer: &Viewer) -> Result<PolicyDetail, Unreadable> {
        Ok(detail(&self.state(), author(self, viewer)))
    }

    async fn review_policy(&self, viewer: &Viewer, text: &str) -> Result<PolicyReview, Refused> {
        review(self, viewer, text)
    }

    async fn apply_policy(
        &self,
        viewer: &Viewer,
        new: NewPolicy,
    ) -> Result<PolicyWritten, Refused> {
        apply(self, viewer, new).await
    }

    async fn confirm_policy(&self, viewer: &Viewer, version: u64) -> Result<Outcome, Refused> {
        permit(viewer, Permission::Change)?;
        let author = known(self, viewer)?;
        self.write(
            viewer,
            Form::BUTTON,
            Command::ConfirmPolicy { version, author },
        )
        .await
    }

    async fn roll_back_policy(
        &self,
        viewer: &Viewer,
        version: u64,
    ) -> Result<PolicyWritten, Refused> {
        permit(viewer, Permission::Change)?;
        let command = Command::RollbackPolicy {
            version,
            emergency: None,
            author: known(self, viewer)?,
        };
        write(self, viewer, Form::BUTTON, command).await
    }

    async fn decide_proposal(
        &self,
        viewer: &Viewer,
        number: u64,
        decision: Decision,
    ) -> Result<Outcome, Refused> {
        permit(viewer, Permission::Change)?;
        let command = match decision {
            Decision::Approve { hash } => Command::ApprovePolicy {
                proposal: number,
                difference: seen(&hash)?,
                author: known(self, viewer)?,
            },
            Decision::Reject => Command::RejectPolicy { proposal: number },
        };
        self.write(viewer, Form::BUTTON, command).await
    }
}

fn detail(state: &State, viewer: Option<Author>) -> PolicyDetail {
    let head = state.policy();
    let pending = head.and_then(|head| head.pending.as_ref());
    let row = |it: &malha_core::policy::PolicyVersion| PolicyVersionRow {
        version: it.version,
        author: it.author.clone().into(),
        approver: it.approver.clone().map(Untrusted::from),
        emergency: it.emergency.clone().map(Untrusted::from),
        applied_at: moment::at(it.applied_ms),
        returned_to: match it.origin {
            malha_core::policy::VersionOrigin::Returned { to } => Some(to),
            _ => None,
        },
        gaining: it.gaining,
        losing: it.losing,
    };
    PolicyDetail {
        version: head.map_or(0, |head| head.version),
        text: state.policy_text(),
        pending: pending.map(|pending| PendingPolicy {
            former: pending.former,
            deadline: moment::at(pending.deadline_ms),
            emergency: pending
                .emergency
                .as_ref()
                .map(|it| it.reason.clone().into()),
        }),
        proposals: state
            .proposals()
            .map(|it| proposals::shown(state, it, viewer))
            .collect(),
        changes_at: state.policy_changes_ms().map(moment::at),
        versions: state
            .policy_versions()
            .rev()
            .map(row)
            .collect::<Vec<_>>()
            .into(),
    }
}

/// Looks at a text for whoever may save it.
fn review(
    console: &ControllerConsole,
    viewer: &Viewer,
    text: &str,
) -> Result<PolicyReview, Refused> {
    permit(viewer, Permission::Change)?;
    let state = console.state();
    let no = |rejection: Rejection| refused(&SubmitError::Rejected(rejection), Form::POLICY);
    let policy = Policy::parse(text).map_err(|error| no(error.into()))?;
    let difference = state
        .policy_difference(&policy, text, now_ms())
        .map_err(no)?;
    let trial = state.try_policy(&policy, now_ms()).map_err(no)?;
    let asking = state.second_approver_asked(&policy, &difference);
    let unresolved = trial.unresolved.iter();
    Ok(PolicyReview {
        hash: difference.hash.to_string(),
        gaining: difference.gaining,
        losing: difference.losing,
        rows: rows(&difference),
        later: later(&difference),
        second_approver: asking.iter().map(|id| name(&state, *id)).collect(),
        refusal: trial.refusal().map(|it| refusals::reason(&it)),
        unresolved: unresolved
            .map(|it| format!("{}: {} ({})", it.line, it.name, it.place).into())
            .collect(),
    })
}

async fn apply(
    console: &ControllerConsole,
    viewer: &Viewer,
    new: NewPolicy,
) -> Result<PolicyWritten, Refused> {
    permit(viewer, Permission::Change)?;
    let command = Command::ApplyPolicy {
        text: new.text,
        difference: seen(&new.hash)?,
        confirm_within_ms: new
            .confirm_within_s
            .map(|within_s| within_s.saturating_mul(1_000)),
        emergency: new.emergency,
        author: known(console, viewer)?,
    };
    write(console, viewer, Form::POLICY, command).await
}

pub(super) async fn write(
    console: &ControllerConsole,
    viewer: &Viewer,
    form: Form,
    command: Command,
) -> Result<PolicyWritten, Refused> {
    let accepted = console.submit(viewer, form, command).await?;
    let convergence = console.settle(&accepted).await;
    Ok(PolicyWritten {
        outcome: Outcome {
            revision: accepted.revision.0,
            convergence,
        },
        proposed: matches!(accepted.answer, Answer::Proposed { .. }),
    })
}

fn author(console: &ControllerConsole, viewer: &Viewer) -> Option<Author> {
    let state = console.state();
    let operator = state.operator_by_name(viewer.user.as_str());
    operator.map(|it| Author::Operator(it.id))
}

/// The operator, who may have been removed since the page was opened.
pub(super) fn known(console: &ControllerConsole, viewer: &Viewer) -> Result<Author, Refused> {
    author(console, viewer).ok_or_else(|| missing(None, Noun::Operator, viewer.user.as_str()))
}

fn seen(hash: &str) -> Result<Fingerprint, Refused> {
    hash.parse().map_err(|_| {
        let rejection = Rejection::Invalid {
            field: "difference",
            reason: Reason::DifferenceHash,
        };
        refused(&SubmitError::Rejected(rejection), Form::POLICY)
    })
}

fn name(state: &State, id: OrganizationId) -> Untrusted {
    match state.organization(id) {
        Some(organization) => organization.name.as_str().into(),
        None => id.to_string().into(),
    }
}

fn rows(difference: &Difference) -> Listing<PolicyChange> {
    Listing {
        total: difference.rows.len() + difference.rows_left_out,
        rows: difference.rows.iter().map(change).collect(),
    }
}

fn later(difference: &Difference) -> Listing<PolicyLater> {
    let grant = |it: &malha_core::policy::Later| PolicyLater {
        name: it.name.to_string().into(),
        line: it.line,
        change: match it.change {
            LaterChange::Opens { from_ms } => PolicyLaterChange::Opens(from_ms.map(moment::at)),
            LaterChange::Gone => PolicyLaterChange::Gone,
            LaterChange::Expired { since_ms } => PolicyLaterChange::Expired(moment::at(since_ms)),
        },
    };
    Listing {
        total: difference.later.len() + difference.later_left_out,
        rows: difference.later.iter().map(grant).collect(),
    }
}

fn change(row: &Row) -> PolicyChange {
    let side = |side: &Side| PolicySide {
        names: side.names.iter().map(|name| name.clone().into()).collect(),
        count: side.count,
    };
    let ports = |allows: &[Allow]| allows.iter().map(opening).collect();
    PolicyChange {
        from: side(&row.from),
        to: side(&row.to),
        pairs: row.pairs,
        gained: ports(&row.gained),
        lost: ports(&row.lost),
    }
}

fn opening(allow: &Allow) -> String {
    let protocol = match allow.protocol {
        Protocol::Tcp => "tcp",
        Protocol::Udp => "udp",
        Protocol::Icmp => return "icmp".to_owned(),
    };
    match allow.from_port == allow.to_port {
        true => format!("{protocol} {}", allow.from_port),
        false => format!("{protocol} {}-{}", allow.from_port, allow.to_port),
    }
}
