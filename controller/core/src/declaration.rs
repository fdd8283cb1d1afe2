//! Declarations: what an organization says of itself, for checks to compare with what is there. One text per organization;
//! it opens nothing and closes nothing. Its names lead to its servers inside the overlay.

mod statement;
mod web_address;

use malha_proto::OrganizationId;
use serde::{Deserialize, Serialize};

use crate::apply::found;
use crate::change::EntityKey;
use crate::command::{Answer, Rejection};
use crate::draft::Draft;
use crate::names::names;
use crate::noun::Noun;
use crate::reason::Reason;
use crate::state::State;
use crate::text_error::TextError;

pub use statement::{DeclaredPorts, Stage, StageStatement, Statement};
pub use web_address::{Host, NameServer, PlaceError, WebAddress};

/// What an organization has declared.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Stored", into = "Stored")]
pub struct Declaration {
    pub organization: OrganizationId,
    /// TOML, exactly as it was written.
    pub text: String,
    /// What the text says.
    pub statement: Statement,
    pub author: String,
    pub declared_ms: u64,
}

/// The text is the truth; what it says is read from it.
#[derive(Serialize, Deserialize)]
struct Stored {
    organization: OrganizationId,
    text: String,
    author: String,
    declared_ms: u64,
}

impl TryFrom<Stored> for Declaration {
    type Error = TextError;

    fn try_from(it: Stored) -> Result<Self, TextError> {
        Ok(Self {
            organization: it.organization,
            statement: Statement::parse(&it.text)?,
            text: it.text,
            author: it.author,
            declared_ms: it.declared_ms,
        })
    }
}

impl From<Declaration> for Stored {
    fn from(it: Declaration) -> Self {
        Self {
            organization: it.organization,
            text: it.text,
            author: it.author,
            declared_ms: it.declared_ms,
        }
    }
}

/// Puts a text in the place of the one before.
pub(crate) fn declare(
    draft: &mut Draft,
    organization: OrganizationId,
    text: &str,
    author: &str,
) -> Result<Answer, Rejection> {
    found(
        draft.state.organization(organization),
        Noun::Organization,
        organization,
    )?;
    let statement = Statement::parse_new(text)?;
    if let Some(present) = draft.state.declaration(organization)
        && present.text == text
    {
        return Ok(Answer::Done);
    }
    check_names(&draft.state, organization, &statement)?;
    let declared_ms = draft.now_ms();
    draft.put(Declaration {
        organization,
        text: text.to_owned(),
        statement,
        author: author.to_owned(),
        declared_ms,
    });
    Ok(Answer::Done)
}

/// A name leads to one organization's servers inside the overlay, and nobody takes it from who has it.
fn check_names(
    state: &State,
    organization: OrganizationId,
    statement: &Statement,
) -> Result<(), Rejection> {
    for name in names(statement) {
        let other = state.declarer_of(name).filter(|it| *it != organization);
        if let Some(other) = other.and_then(|id| state.organization(id)) {
            return Err(Rejection::Invalid {
                field: "names",
                reason: Reason::NameDeclared {
                    organization: other.name.to_string(),
                    name: name.to_string(),
                },
            });
        }
    }
    Ok(())
}

pub(crate) fn withdraw(
    draft: &mut Draft,
    organization: OrganizationId,
) -> Result<Answer, Rejection> {
    let organization = found(
        draft.state.declaration(organization),
        Noun::Declaration,
        organization,
    )?
    .organization;
    draft.delete(EntityKey::Declaration(organization));
    Ok(Answer::Done)
}

/// The organization is going.
pub(crate) fn remove_of(draft: &mut Draft, organization: OrganizationId) {
    if draft.state.declaration(organization).is_some() {
        draft.delete(EntityKey::Declaration(organization));
    }
}

impl State {
    /// What an organization has declared.
    #[must_use]
    pub fn declaration(&self, organization: OrganizationId) -> Option<&Declaration> {
        self.declarations.get(&organization).map(AsRef::as_ref)
    }

    pub fn declarations(&self) -> impl ExactSizeIterator<Item = &Declaration> {
        self.declarations.values().map(AsRef::as_ref)
    }
}
