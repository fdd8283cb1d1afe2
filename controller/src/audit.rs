//! Lines of the audit log from this process: accepted commands in malha-core's words, and what is not a command, like logins.

use std::collections::BTreeMap;

use malha_core::{Answer, AuditName, Command};
use malha_proto::Revision;
use malha_store::audit::{AuditOutcome, AuditRecord};

use crate::coordinator::Actor;

/// The line for an accepted command; None for the traffic of healthy sessions, which changes nothing an auditor asks about.
#[must_use]
pub fn accepted(
    command: &Command,
    answer: &Answer,
    actor: &Actor,
    revision: Revision,
    at_ms: u64,
) -> Option<AuditRecord> {
    let action = command.audit_action(answer)?;
    let line = line(
        actor,
        action.name,
        action.target,
        AuditOutcome::Accepted,
        at_ms,
    );
    Some(AuditRecord {
        revision: Some(revision.0),
        detail: action.detail,
        ..line
    })
}

/// A line about something that is not a command, like a login.
#[must_use]
pub fn line(
    actor: &Actor,
    action: AuditName,
    target: String,
    outcome: AuditOutcome,
    at_ms: u64,
) -> AuditRecord {
    AuditRecord {
        at_ms,
        actor: actor.name.clone(),
        source: actor
            .source
            .map(|source| source.to_string())
            .unwrap_or_default(),
        action: action.as_str().to_owned(),
        target,
        outcome,
        revision: None,
        detail: BTreeMap::new(),
    }
}
