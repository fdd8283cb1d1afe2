//! Who asks for a change of the policy, and which person that is: an approval counts only from another one, and an API key is
//! the person whose key it is.

use malha_proto::{ApiKeyId, OperatorId};

use crate::apply::found;
use crate::command::Rejection;
use crate::model::{Operator, Role, Scope};
use crate::noun::Noun;
use crate::reason::Reason;
use crate::state::State;

/// Who asks for a change of the policy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Author {
    /// By itself: a deadline, an expiry.
    Controller,
    Operator(OperatorId),
    Key(ApiKeyId),
}

impl Author {
    /// As the audit log names it.
    pub(crate) fn name(self, state: &State) -> Result<String, Rejection> {
        Ok(match self {
            Self::Controller => "controller".to_owned(),
            Self::Operator(id) => {
                format!(
                    "operator:{}",
                    found(state.operator(id), Noun::Operator, id)?.name
                )
            }
            Self::Key(id) => format!("key:{}", found(state.api_key(id), Noun::ApiKey, id)?.name),
        })
    }

    /// The person, who must be one that may change the policy. Where two must agree, nobody is not one of them.
    pub(super) fn person(self, state: &State) -> Result<&Operator, Rejection> {
        let id = match self {
            Self::Controller => None,
            Self::Operator(id) => Some(id),
            Self::Key(id) => found(state.api_key(id), Noun::ApiKey, id)?.operator,
        };
        let person = id.and_then(|id| state.operator(id));
        let person = person.ok_or_else(|| invalid(Reason::AuthorUnknown))?;
        match person.role >= Role::Operator {
            true => Ok(person),
            false => Err(invalid(Reason::AuthorRole {
                operator: person.name.to_string(),
            })),
        }
    }

    /// The person, who must be an owner; a key needs the scope `admin` too.
    pub(super) fn owner(self, state: &State) -> Result<&Operator, Rejection> {
        let person = self.person(state)?;
        let key = match self {
            Self::Key(id) => state.api_key(id),
            Self::Controller | Self::Operator(_) => None,
        };
        let narrow = key.is_some_and(|key| !key.scopes.contains(&Scope::Admin));
        if person.role == Role::Owner && !narrow {
            return Ok(person);
        }
        Err(invalid(Reason::EmergencyNotOwner))
    }
}

fn invalid(reason: Reason) -> Rejection {
    Rejection::Invalid {
        field: "approval",
        reason,
    }
}
