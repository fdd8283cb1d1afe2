//! The policy on the dashboard: what is in force, what a text would change, and the writes that come of it.

use malha_core::policy::{Policy, Row, Side};
use malha_core::{Command, Rejection, State};
use malha_proto::{Allow, Protocol};
use malha_web::model::{
    Listing, NewPolicy, Outcome, PendingPolicy, PolicyChange, PolicyDetail, PolicyReview,
    PolicySide, PolicyVersionRow, Refused,
};
use malha_web::{Untrusted, Viewer};

use crate::clock::now_ms;
use crate::console::permission::{Permission, permit};
use crate::console::refusal::{Form, refused};
use crate::console::{ControllerConsole, moment, sign_in};
use crate::coordinator::SubmitError;

pub(super) fn detail(state: &State) -> PolicyDetail {
    let head = state.policy();
    let pending = head.and_then(|head| head.pending.as_ref());
    let row = |it: &malha_core::policy::PolicyVersion| PolicyVersionRow {
        version: it.version,
        author: it.author.clone().into(),
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
        }),
        changes_at: state.policy_wakes_ms().map(moment::at),
        versions: state
            .policy_versions()
            .rev()
            .map(row)
            .collect::<Vec<_>>()
            .into(),
    }
}

/// Looks at a text for whoever may save it.
pub(super) fn review(
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
    let unresolved = trial.unresolved.iter();
    Ok(PolicyReview {
        hash: difference.hash.to_string(),
        gaining: difference.gaining,
        losing: difference.losing,
        rows: Listing {
            total: difference.rows.len() + difference.rows_left_out,
            rows: difference.rows.iter().map(change).collect(),
        },
        refusal: trial.refusal().map(Untrusted::from),
        unresolved: unresolved
            .map(|it| format!("{}: {} ({})", it.line, it.name, it.place).into())
            .collect(),
    })
}

pub(super) async fn apply(
    console: &ControllerConsole,
    viewer: &Viewer,
    new: NewPolicy,
) -> Result<Outcome, Refused> {
    permit(viewer, Permission::Change)?;
    let difference = new.hash.parse().map_err(|_| {
        let rejection = Rejection::Invalid {
            field: "difference",
            problem: "give the hash of what was seen".to_owned(),
        };
        refused(&SubmitError::Rejected(rejection), Form::POLICY)
    })?;
    let command = Command::ApplyPolicy {
        text: new.text,
        difference,
        confirm_within_ms: new
            .confirm_within_s
            .map(|within_s| within_s.saturating_mul(1_000)),
        author: sign_in::actor(viewer).name,
    };
    console.write(viewer, Form::POLICY, command).await
}

pub(super) async fn confirm(
    console: &ControllerConsole,
    viewer: &Viewer,
    version: u64,
) -> Result<Outcome, Refused> {
    permit(viewer, Permission::Change)?;
    console
        .write(viewer, Form::BUTTON, Command::ConfirmPolicy { version })
        .await
}

pub(super) async fn roll_back(
    console: &ControllerConsole,
    viewer: &Viewer,
    version: u64,
) -> Result<Outcome, Refused> {
    permit(viewer, Permission::Change)?;
    let author = sign_in::actor(viewer).name;
    let command = Command::RollbackPolicy { version, author };
    console.write(viewer, Form::BUTTON, command).await
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
