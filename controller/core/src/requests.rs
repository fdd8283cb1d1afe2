//! Idempotency: a creation that is asked for again with the same key finds what the first one made, for a day.

use malha_proto::Fingerprint;

use crate::change::EntityKey;
use crate::command::{Answer, Command, Context, Rejection};
use crate::draft::Draft;
use crate::limits::{MAX_REQUESTS, REQUEST_MEMORY_MS};
use crate::model::RequestRecord;
use crate::state::State;

/// What to answer to a request that was made before; None if it was not.
pub(crate) fn repeated(
    state: &State,
    command: &Command,
    context: &Context,
) -> Result<Option<Answer>, Rejection> {
    let Some(record) = context.request.and_then(|key| state.requests.get(&key)) else {
        return Ok(None);
    };
    if record.created_ms.saturating_add(REQUEST_MEMORY_MS) <= context.now_ms {
        return Ok(None);
    }
    if record.command != digest(command) {
        return Err(Rejection::OtherRequest);
    }
    Ok(Some(Answer::AlreadyCreated {
        created: record.created.clone(),
    }))
}

/// Notes a creation under its key. Of too many, the oldest is forgotten.
pub(crate) fn remember(draft: &mut Draft, command: &Command, answer: &Answer) {
    let (Some(key), Some(created)) = (draft.context.request, answer.created(command)) else {
        return;
    };
    if draft.state.requests.len() >= MAX_REQUESTS
        && let Some((_, oldest)) = draft.state.index.requests_by_age.get_min().copied()
    {
        draft.delete(EntityKey::Request(oldest));
    }
    let created_ms = draft.now_ms();
    draft.put(RequestRecord {
        key,
        command: digest(command),
        created,
        created_ms,
    });
}

/// Commands that ask for the same thing have the same digest. A password's hash is left out: it is salted anew each time.
fn digest(command: &Command) -> Fingerprint {
    let text = match command {
        Command::AddOperator {
            name,
            password_hash: _,
            role,
        } => format!("AddOperator {name} {role:?}"),
        command => format!("{command:?}"),
    };
    Fingerprint::of(text.as_bytes())
}

impl Answer {
    /// The id of what was created, as text; None when nothing was.
    #[must_use]
    pub fn created(&self, command: &Command) -> Option<String> {
        match self {
            Self::Organization(id) => Some(id.to_string()),
            Self::Site(id) => Some(id.to_string()),
            Self::Token { id, .. } => Some(id.to_string()),
            Self::Node(id) | Self::Enrolled { node: id, .. } => Some(id.to_string()),
            Self::Service(id) => Some(id.to_string()),
            Self::Route(id) => Some(id.to_string()),
            Self::Grant(id) => Some(id.to_string()),
            Self::Balancer(id) => Some(id.to_string()),
            Self::Agency(added) => Some(added.organization.to_string()),
            Self::Operator(id) => Some(id.to_string()),
            Self::ApiKey { id, .. } => Some(id.to_string()),
            Self::AlreadyCreated { created } => Some(created.clone()),
            Self::Zone => match command {
                Command::AddZone { origin, .. } => Some(origin.to_string()),
                _ => None,
            },
            Self::Policy { version } => Some(version.to_string()),
            Self::Proposed { proposal } => Some(proposal.to_string()),
            Self::ProposalExpired { .. }
            | Self::Done
            | Self::Session { .. }
            | Self::Cloned { .. } => None,
        }
    }
}
