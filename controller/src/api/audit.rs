//! The newest lines of the audit log over HTTP. The whole log is files, which `malha audit verify` checks.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::Json;
use axum::extract::State as Shared;
use malha_store::audit::{AuditEntry, AuditOutcome, MAX_TAIL_ENTRIES};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use crate::api::Api;
use crate::api::body::Query;
use crate::api::caller::{Admin, Caller};
use crate::api::listing::checked_limit;
use crate::api::problem::Problem;

/// One line of the audit log.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct AuditLine {
    pub sequence: u64,
    pub at_ms: u64,
    /// `operator:ana`, `key:backup-script`, `node:n12`, `controller`.
    pub actor: String,
    /// The address it came from; empty for the controller itself.
    pub source: String,
    /// Noun and verb.
    #[schema(example = "node.remove")]
    pub action: String,
    pub target: String,
    /// `accepted`, `refused` or `failed`.
    #[schema(value_type = String)]
    pub outcome: AuditOutcome,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revision: Option<u64>,
    pub detail: BTreeMap<String, String>,
    /// SHA-256 over the line, which holds the hash of the line before.
    pub hash: String,
}

/// Lines of the audit log, oldest first.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct AuditPage {
    pub items: Vec<AuditLine>,
    /// Give it as `after` to go on from here, now or later.
    pub next: String,
}

/// Which lines.
#[derive(Clone, Debug, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct AuditQuery {
    /// Only lines after this sequence; without it the newest ones.
    after: Option<u64>,
    /// Most lines in the answer; 100 if absent.
    #[param(minimum = 1, maximum = 1000)]
    limit: Option<usize>,
}

impl From<AuditEntry> for AuditLine {
    fn from(entry: AuditEntry) -> Self {
        let record = entry.record;
        Self {
            sequence: entry.sequence,
            at_ms: record.at_ms,
            actor: record.actor,
            source: record.source,
            action: record.action,
            target: record.target,
            outcome: record.outcome,
            revision: record.revision,
            detail: record.detail,
            hash: entry.hash.to_string(),
        }
    }
}

/// Read the newest lines of the audit log
///
/// At most the last 1,000 lines are at hand here; older ones are in the log's files.
#[utoipa::path(get, path = "/audit", tag = "audit", params(AuditQuery),
    responses((status = 200, body = AuditPage)), security(("api_key" = ["admin"])))]
pub(super) async fn tail(
    _caller: Caller<Admin>,
    Shared(api): Shared<Arc<Api>>,
    Query(query): Query<AuditQuery>,
) -> Result<Json<AuditPage>, Problem> {
    let limit = checked_limit(query.limit)?;
    let entries = match query.after {
        None => api.context.handle.audit_tail(limit).await?,
        Some(after) => {
            let recent = api.context.handle.audit_tail(MAX_TAIL_ENTRIES).await?;
            recent
                .into_iter()
                .filter(|entry| entry.sequence > after)
                .take(limit)
                .collect()
        }
    };
    let next = entries
        .last()
        .map_or(query.after.unwrap_or(0), |entry| entry.sequence)
        .to_string();
    Ok(Json(AuditPage {
        items: entries.into_iter().map(AuditLine::from).collect(),
        next,
    }))
}
