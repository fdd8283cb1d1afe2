//! The tail of the audit log in the dashboard's words. What a line names by id is shown by its path while it exists.

use malha_core::{AuditName, State};
use malha_store::audit::{AuditEntry, AuditOutcome, AuditRecord};
use malha_web::model::{Action, ActivityRow, Listing, ROWS_MAX, Unreadable};

use crate::console::ControllerConsole;
use crate::console::moment::at;
use crate::console::sign_in::OPERATOR_PREFIX;
use crate::paths;

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

/// A login that failed has words of its own, and lines that were not committed are a failure by nature. Of nothing else that failed
/// a line is written.
fn action(record: &AuditRecord) -> Action {
    let name = record.action.as_str();
    match (AuditName::named(name), record.outcome) {
        (Some(AuditName::OperatorLogin), AuditOutcome::Refused | AuditOutcome::Failed) => {
            Action::SignInFailed
        }
        (Some(AuditName::AuditRecover), _) => Action::LinesUncommitted,
        (Some(AuditName::NodeTurnedAway), _) => Action::MachineTurnedAway,
        (Some(name), AuditOutcome::Accepted) => done(name),
        (None, AuditOutcome::Accepted) => Action::Other(name.into()),
        (_, AuditOutcome::Refused) => Action::Other(format!("{name} (refused)").into()),
        (_, AuditOutcome::Failed) => Action::Other(format!("{name} (failed)").into()),
    }
}

fn done(name: AuditName) -> Action {
    match name {
        AuditName::OperatorLogin => Action::SignedIn,
        AuditName::OperatorLogout => Action::SignedOut,
        AuditName::OrganizationCreate | AuditName::AgencyAdd => Action::OrganizationCreated,
        AuditName::SiteCreate => Action::SiteCreated,
        AuditName::TokenCreate => Action::TokenCreated,
        AuditName::TokenRevoke => Action::TokenRevoked,
        AuditName::NodeEnrol => Action::NodeEnrolled,
        AuditName::NodeReplace => Action::NodeReplaced,
        AuditName::NodeRemove => Action::NodeRemoved,
        AuditName::NodeQuarantine => Action::NodeQuarantined,
        AuditName::NodeResolve => Action::QuarantineResolved,
        AuditName::NodeTurnedAway => Action::MachineTurnedAway,
        AuditName::ServiceAdd => Action::ServiceAdded,
        AuditName::ServiceRemove => Action::ServiceRemoved,
        AuditName::RouteAdd => Action::RouteAdded,
        AuditName::RouteRemove => Action::RouteRemoved,
        AuditName::RecordPut => Action::RecordSetPut,
        AuditName::RecordDelete => Action::RecordSetDeleted,
        AuditName::ControllerAddresses => Action::ControllersSet,
        AuditName::EdgeAddresses => Action::EdgeAddressesSet,
        AuditName::OrganizationRemove => Action::OrganizationRemoved,
        AuditName::SiteRemove => Action::SiteRemoved,
        AuditName::HubAdopt => Action::HubAdopted,
        AuditName::NodeRename => Action::NodeRenamed,
        AuditName::NodeEndpoints => Action::EndpointsSet,
        AuditName::NodeRenew => Action::NodeRenewed,
        AuditName::GrantAdd => Action::GrantAdded,
        AuditName::GrantRemove => Action::GrantRemoved,
        AuditName::PolicyApply => Action::PolicyApplied,
        AuditName::PolicyConfirm => Action::PolicyConfirmed,
        AuditName::PolicyRollback | AuditName::PolicyReturn => Action::PolicyReturned,
        AuditName::PolicyPropose => Action::PolicyProposed,
        AuditName::PolicyApprove => Action::PolicyApproved,
        AuditName::PolicyReject => Action::PolicyRejected,
        AuditName::PolicyExpire => Action::PolicyExpired,
        AuditName::PolicyEmergency => Action::PolicyAlone,
        AuditName::OrganizationSecondApprover => Action::SecondApproverSet,
        AuditName::NodeTags => Action::TagsSet,
        AuditName::ZoneAdd => Action::ZoneAdded,
        AuditName::ZoneRemove => Action::ZoneRemoved,
        AuditName::OperatorAdd => Action::OperatorAdded,
        AuditName::OperatorPassword => Action::PasswordSet,
        AuditName::OperatorRemove => Action::OperatorRemoved,
        AuditName::ApiKeyAdd => Action::ApiKeyAdded,
        AuditName::ApiKeyRemove => Action::ApiKeyRemoved,
        AuditName::BalancerAdd => Action::BalancerAdded,
        AuditName::BalancerSet => Action::BalancerSet,
        AuditName::BalancerMode => Action::ServerModeSet,
        AuditName::BalancerRemove => Action::BalancerRemoved,
        AuditName::CheckStart => Action::CheckAsked,
        AuditName::CheckKeep => Action::CheckKept,
        AuditName::DeclarationPut => Action::DeclarationPut,
        AuditName::DeclarationRemove => Action::DeclarationRemoved,
        AuditName::ProfileSet => Action::ProfileSet,
        AuditName::ProfileReset => Action::ProfileReset,
        AuditName::SiteRelease => Action::SiteReleaseSet,
        AuditName::PskRotate => Action::KeysRotated,
        AuditName::AuditRecover => Action::LinesUncommitted,
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
    let is_login = matches!(
        AuditName::named(&record.action),
        Some(AuditName::OperatorLogin | AuditName::OperatorLogout)
    );
    if is_login {
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
            .map(|service| paths::service(state, service.id))
    };
    let route = || {
        state
            .route(target.parse().ok()?)
            .map(|route| format!("{}{}", route.host, route.path))
    };
    let balancer = || {
        let balancer = state.balancer(target.parse().ok()?)?;
        Some(paths::balancer(state, balancer.id))
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audit::line;
    use crate::coordinator::Actor;

    #[test]
    fn a_line_reads_as_words_and_one_of_another_release_as_it_is() {
        let read = |name: &str, outcome| {
            let actor = Actor::controller();
            let mut record = line(&actor, AuditName::PskRotate, String::new(), outcome, 0);
            record.action = name.to_owned();
            action(&record)
        };
        let accepted = AuditOutcome::Accepted;
        assert_eq!(read("psk.rotate", accepted), Action::KeysRotated);
        assert_eq!(read("site.release", accepted), Action::SiteReleaseSet);
        let uncommitted = read("audit.recover", AuditOutcome::Failed);
        assert_eq!(uncommitted, Action::LinesUncommitted);
        let failed = read("operator.login", AuditOutcome::Refused);
        assert_eq!(failed, Action::SignInFailed);
        assert_eq!(
            read("moon.land", accepted),
            Action::Other("moon.land".into())
        );
    }
}
