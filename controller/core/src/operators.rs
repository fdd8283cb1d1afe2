//! Operators and API keys. Passwords come as argon2id hashes; a key's secret is made here and shown once.

use std::collections::BTreeSet;

use malha_proto::{ApiKeyId, Fingerprint, Label, OperatorId, Secret32};

use crate::apply::{check_limit, found};
use crate::change::EntityKey;
use crate::command::{Answer, Rejection};
use crate::draft::Draft;
use crate::limits::{MAX_API_KEYS, MAX_OPERATORS, MAX_PASSWORD_HASH_CHARS};
use crate::model::{ApiKey, Operator, Role, Scope};
use crate::noun::{Noun, Plenty, User};
use crate::reason::Reason;

pub(crate) fn add(
    draft: &mut Draft,
    name: &Label,
    password_hash: &str,
    role: Role,
) -> Result<Answer, Rejection> {
    check_hash(password_hash)?;
    if draft.state.index.operator_by_name.contains_key(name) {
        return Err(Rejection::Exists {
            what: Noun::Operator,
            name: name.to_string(),
        });
    }
    check_limit(
        Plenty::Operators,
        draft.state.operators.len(),
        MAX_OPERATORS,
    )?;
    let id = OperatorId(draft.next_id());
    let created_ms = draft.now_ms();
    draft.put(Operator {
        id,
        name: name.clone(),
        password_hash: password_hash.to_owned(),
        role,
        created_ms,
    });
    Ok(Answer::Operator(id))
}

pub(crate) fn set_password(
    draft: &mut Draft,
    id: OperatorId,
    password_hash: &str,
) -> Result<Answer, Rejection> {
    check_hash(password_hash)?;
    let operator = found(draft.state.operator(id), Noun::Operator, id)?;
    let changed = Operator {
        password_hash: password_hash.to_owned(),
        ..operator.clone()
    };
    draft.put(changed);
    Ok(Answer::Done)
}

pub(crate) fn remove(draft: &mut Draft, id: OperatorId) -> Result<Answer, Rejection> {
    let operator = found(draft.state.operator(id), Noun::Operator, id)?;
    let other_owner = draft
        .state
        .operators()
        .any(|other| other.id != id && other.role == Role::Owner);
    if operator.role == Role::Owner && !other_owner {
        return Err(Rejection::InUse {
            what: Noun::Operator,
            name: operator.name.to_string(),
            by: User::LastOwner,
        });
    }
    // A key that goes on working would be the person going on.
    let keys = draft.state.api_keys().filter(|it| it.operator == Some(id));
    let keys: Vec<ApiKeyId> = keys.map(|it| it.id).collect();
    for key in keys {
        draft.delete(EntityKey::ApiKey(key));
    }
    draft.delete(EntityKey::Operator(id));
    Ok(Answer::Done)
}

pub(crate) fn add_key(
    draft: &mut Draft,
    name: &Label,
    scopes: &BTreeSet<Scope>,
    expires_ms: Option<u64>,
    operator: Option<OperatorId>,
) -> Result<Answer, Rejection> {
    if let Some(id) = operator {
        found(draft.state.operator(id), Noun::Operator, id)?;
    }
    if scopes.is_empty() {
        return Err(Rejection::Invalid {
            field: "scopes",
            reason: Reason::KeyWithoutScopes,
        });
    }
    if expires_ms.is_some_and(|expires_ms| expires_ms <= draft.now_ms()) {
        return Err(Rejection::Invalid {
            field: "expires_ms",
            reason: Reason::KeyExpiredAlready,
        });
    }
    if draft.state.index.api_key_by_name.contains_key(name) {
        return Err(Rejection::Exists {
            what: Noun::ApiKey,
            name: name.to_string(),
        });
    }
    check_limit(Plenty::ApiKeys, draft.state.api_keys.len(), MAX_API_KEYS)?;
    let secret = Secret32(draft.context.random);
    let id = ApiKeyId(draft.next_id());
    let created_ms = draft.now_ms();
    draft.put(ApiKey {
        id,
        name: name.clone(),
        secret_hash: Fingerprint(secret.hash()),
        scopes: scopes.clone(),
        created_ms,
        expires_ms,
        operator,
    });
    Ok(Answer::ApiKey { id, secret })
}

pub(crate) fn remove_key(draft: &mut Draft, id: ApiKeyId) -> Result<Answer, Rejection> {
    found(draft.state.api_key(id), Noun::ApiKey, id)?;
    draft.delete(EntityKey::ApiKey(id));
    Ok(Answer::Done)
}

/// Only the form: whether the hash is strong enough is decided where it is made.
fn check_hash(hash: &str) -> Result<(), Rejection> {
    if hash.starts_with("$argon2id$") && hash.len() <= MAX_PASSWORD_HASH_CHARS && hash.is_ascii() {
        return Ok(());
    }
    Err(Rejection::Invalid {
        field: "password_hash",
        reason: Reason::PasswordHash,
    })
}
