//! The tail of the audit log in the dashboard's words. What a line names by id is shown by its path while it exists.

use malha_core::State;
use malha_store::audit::{AuditEntry, AuditOutcome, AuditRecord};
use malha_web::model::{Action, ActivityRow, Listing, ROWS_MAX, Unreadable};

use crate::console::moment::at;
use crate::console::sign_in::{LOGIN, LOGOUT, OPERATOR_PREFIX};
use crate::console::{ControllerConsole, paths};

/// The newest lines first.
pub(super) async fn list(console: &ControllerConsole) -> Result<Listing<ActivityRow>, Unreadable> {
    let entries = console
        .handle
        .audit_tail(ROWS_MAX)
        .await
        .map_err(|_| Unreadable::Unavailable)?;
    let total = entries.last().map_or(0, |newest| {
        usize::try_from(newest.sequence).unwrap_or(usize::MAX)
    });
    let state = console.state();
    Ok(Listing {
        rows: entries
            .iter()
            .rev()
            .map(|entry| row(&state, entry))
            .collect(),
        total,
    })
}

fn row(state: &State, entry: &AuditEntry) -> ActivityRow {
    let record = &entry.record;
    ActivityRow {
        sequence: entry.sequence,
        at: at(record.at_ms),
        actor: actor(state, &record.actor).into(),
        action: action(record),
        subject: subject(state, record).into(),
        revision: record.revision,
    }
}

fn action(record: &AuditRecord) -> Action {
    match (record.action.as_str(), record.outcome) {
        (LOGIN, AuditOutcome::Accepted) => Action::SignedIn,
        (LOGIN, _) => Action::SignInFailed,
        (LOGOUT, _) => Action::SignedOut,
        ("organization.create" | "agency.add", AuditOutcome::Accepted) => {
            Action::OrganizationCreated
        }
        ("site.create", AuditOutcome::Accepted) => Action::SiteCreated,
        ("token.create", AuditOutcome::Accepted) => Action::TokenCreated,
        ("token.revoke", AuditOutcome::Accepted) => Action::TokenRevoked,
        ("node.enrol", AuditOutcome::Accepted) => Action::NodeEnrolled,
        ("node.replace", AuditOutcome::Accepted) => Action::NodeReplaced,
        ("node.remove", AuditOutcome::Accepted) => Action::NodeRemoved,
        ("node.quarantine", AuditOutcome::Accepted) => Action::NodeQuarantined,
        ("node.resolve", AuditOutcome::Accepted) => Action::QuarantineResolved,
        ("service.add", AuditOutcome::Accepted) => Action::ServiceAdded,
        ("service.remove", AuditOutcome::Accepted) => Action::ServiceRemoved,
        ("route.add", AuditOutcome::Accepted) => Action::RouteAdded,
        ("route.remove", AuditOutcome::Accepted) => Action::RouteRemoved,
        ("record.put", AuditOutcome::Accepted) => Action::RecordSetPut,
        ("record.delete", AuditOutcome::Accepted) => Action::RecordSetDeleted,
        ("controller.addresses", AuditOutcome::Accepted) => Action::ControllersSet,
        ("edge.addresses", AuditOutcome::Accepted) => Action::EdgeAddressesSet,
        ("organization.remove", AuditOutcome::Accepted) => Action::OrganizationRemoved,
        ("site.remove", AuditOutcome::Accepted) => Action::SiteRemoved,
        ("hub.adopt", AuditOutcome::Accepted) => Action::HubAdopted,
        ("node.rename", AuditOutcome::Accepted) => Action::NodeRenamed,
        ("node.endpoints", AuditOutcome::Accepted) => Action::EndpointsSet,
        ("node.renew", AuditOutcome::Accepted) => Action::NodeRenewed,
        ("grant.add", AuditOutcome::Accepted) => Action::GrantAdded,
        ("grant.remove", AuditOutcome::Accepted) => Action::GrantRemoved,
        ("policy.apply", AuditOutcome::Accepted) => Action::PolicyApplied,
        ("policy.confirm", AuditOutcome::Accepted) => Action::PolicyConfirmed,
        ("policy.rollback" | "policy.return", AuditOutcome::Accepted) => Action::PolicyReturned,
        ("policy.propose", AuditOutcome::Accepted) => Action::PolicyProposed,
        ("policy.approve", AuditOutcome::Accepted) => Action::PolicyApproved,
        ("policy.reject", AuditOutcome::Accepted) => Action::PolicyRejected,
        ("policy.expire", AuditOutcome::Accepted) => Action::PolicyExpired,
        ("policy.emergency", AuditOutcome::Accepted) => Action::PolicyAlone,
        ("organization.second-approver", AuditOutcome::Accepted) => Action::SecondApproverSet,
        ("node.tags", AuditOutcome::Accepted) => Action::TagsSet,
        ("zone.add", AuditOutcome::Accepted) => Action::ZoneAdded,
        ("zone.remove", AuditOutcome::Accepted) => Action::ZoneRemoved,
        ("operator.add", AuditOutcome::Accepted) => Action::OperatorAdded,
        ("operator.password", AuditOutcome::Accepted) => Action::PasswordSet,
        ("operator.remove", AuditOutcome::Accepted) => Action::OperatorRemoved,
        ("api-key.add", AuditOutcome::Accepted) => Action::ApiKeyAdded,
        ("api-key.remove", AuditOutcome::Accepted) => Action::ApiKeyRemoved,
        ("balancer.add", AuditOutcome::Accepted) => Action::BalancerAdded,
        ("balancer.set", AuditOutcome::Accepted) => Action::BalancerSet,
        ("balancer.mode", AuditOutcome::Accepted) => Action::ServerModeSet,
        ("balancer.remove", AuditOutcome::Accepted) => Action::BalancerRemoved,
        ("check.start", AuditOutcome::Accepted) => Action::CheckAsked,
        ("check.keep", AuditOutcome::Accepted) => Action::CheckKept,
        ("declaration.put", AuditOutcome::Accepted) => Action::DeclarationPut,
        ("declaration.remove", AuditOutcome::Accepted) => Action::DeclarationRemoved,
        ("profile.set", AuditOutcome::Accepted) => Action::ProfileSet,
        ("profile.reset", AuditOutcome::Accepted) => Action::ProfileReset,
        (other, AuditOutcome::Accepted) => Action::Other(other.into()),
        (other, AuditOutcome::Refused) => Action::Other(format!("{other} (refused)").into()),
        (other, AuditOutcome::Failed) => Action::Other(format!("{other} (failed)").into()),
    }
}

fn actor(state: &State, actor: &str) -> String {
    match (
        actor.strip_prefix(OPERATOR_PREFIX),
        actor.strip_prefix("node:").and_then(|id| id.parse().ok()),
    ) {
        (Some(operator), _) => operator.to_owned(),
        (None, Some(node)) => paths::node(state, node),
        (None, None) => actor.to_owned(),
    }
}

/// What stands at the target now, else what the line itself says of it.
fn subject(state: &State, record: &AuditRecord) -> String {
    let target = record.target.as_str();
    if matches!(record.action.as_str(), LOGIN | LOGOUT) {
        return record.source.clone();
    }
    let said = || {
        record
            .detail
            .get("name")
            .filter(|name| !target.contains(name.as_str()))
    };
    match (standing_at(state, target), said()) {
        (Some(path), _) => path,
        (None, Some(name)) => format!("{name} ({target})"),
        (None, None) => target.to_owned(),
    }
}

/// Ids of all kinds start with different letters.
fn standing_at(state: &State, target: &str) -> Option<String> {
    let organization = || Some(state.organization(target.parse().ok()?)?.name.to_string());
    let site = || {
        state
            .site(target.parse().ok()?)
            .map(|site| paths::site(state, site.id))
    };
    let node = || {
        state
            .node(target.parse().ok()?)
            .map(|node| paths::node(state, node.id))
    };
    let token = || {
        state
            .token(target.parse().ok()?)
            .map(|it| format!("{} ({})", it.id, paths::site(state, it.site)))
    };
    let service = || {
        state
            .service(target.parse().ok()?)
            .map(|service| paths::service(state, service))
    };
    let route = || {
        state
            .route(target.parse().ok()?)
            .map(|route| format!("{}{}", route.host, route.path))
    };
    let balancer = || {
        let balancer = state.balancer(target.parse().ok()?)?;
        let node = paths::node(state, balancer.node);
        Some(format!("{node}/{}", balancer.name))
    };
    let operator = || Some(state.operator(target.parse().ok()?)?.name.to_string());
    let api_key = || Some(state.api_key(target.parse().ok()?)?.name.to_string());
    organization()
        .or_else(site)
        .or_else(node)
        .or_else(token)
        .or_else(service)
        .or_else(route)
        .or_else(balancer)
        .or_else(operator)
        .or_else(api_key)
}
