//! Lines of the audit log from this process: accepted commands in malha-core's words, and what is not a command, like logins.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;

use malha_core::{Answer, AuditName, Command};
use malha_proto::Revision;
use malha_store::audit::{AuditOutcome, AuditRecord};

use crate::clock::now_ms;
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

/// Says that earlier lines, by their numbers, tell of changes that were never made durable.
#[must_use]
pub fn uncommitted(lines: RangeInclusive<u64>) -> AuditRecord {
    let target = format!("{}-{}", lines.start(), lines.end());
    let mut line = line(
        &Actor::controller(),
        AuditName::AuditRecover,
        target,
        AuditOutcome::Failed,
        now_ms(),
    );
    line.detail.insert(
        "why".to_owned(),
        "these lines were written, their changes were never committed".to_owned(),
    );
    line
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
