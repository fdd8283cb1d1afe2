//! Operators and API keys: who may ask for something, and as whom.

use std::collections::BTreeSet;

use malha_proto::{ApiKeyId, Fingerprint, Label, OperatorId};
use serde::{Deserialize, Serialize};

/// What an operator may do, in growing order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Role {
    /// Reads, with the audit log.
    Auditor,
    /// Enrols and replaces boxes of its sites.
    Technician,
    /// Everything but operators and keys.
    Operator,
    Owner,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Operator {
    pub id: OperatorId,
    pub name: Label,
    /// PHC string (argon2id).
    pub password_hash: String,
    pub role: Role,
    pub created_ms: u64,
}

/// What an API key may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Scope {
    Read,
    Enrol,
    Write,
    Dns,
    Admin,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ApiKey {
    pub id: ApiKeyId,
    pub name: Label,
    /// SHA-256 of the key.
    pub secret_hash: Fingerprint,
    pub scopes: BTreeSet<Scope>,
    pub created_ms: u64,
    pub expires_ms: Option<u64>,
    /// Whose key it is: what is done with it, this operator did. None: nobody's, like that of the controller's own CLI.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub operator: Option<OperatorId>,
}
