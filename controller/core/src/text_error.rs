//! What is wrong in a text with lines, and where: a policy, a profile, a declaration.

use thiserror::Error;

use crate::reason::Reason;

/// Why a text is not what it should be.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("line {line}, column {column}: {}", TextError::problem(self))]
pub struct TextError {
    /// From 1.
    pub line: usize,
    /// In characters, from 1.
    pub column: usize,
    /// The field at fault, as `grant web: ports`; empty where it is the text itself.
    pub field: String,
    pub reason: Reason,
}

impl TextError {
    /// At a byte of the text.
    pub(crate) fn at(text: &str, offset: usize, field: &str, reason: Reason) -> Self {
        let (line, column) = position(text, offset);
        Self {
            line,
            column,
            field: field.to_owned(),
            reason,
        }
    }

    /// What the TOML reader says of a text.
    pub(crate) fn syntax(text: &str, error: &toml::de::Error) -> Self {
        let start = error.span().map_or(0, |span| span.start);
        let message = error.message().trim().to_owned();
        Self::at(text, start, "", Reason::TextSyntax { message })
    }

    /// Field and reason, in English.
    #[must_use]
    pub fn problem(&self) -> String {
        match self.field.as_str() {
            "" => self.reason.to_string(),
            field => format!("{field}: {}", self.reason),
        }
    }
}

/// Line and column of a byte, from 1.
pub(crate) fn position(text: &str, offset: usize) -> (usize, usize) {
    let before = text.get(..offset).unwrap_or(text);
    let line_start = before.rfind('\n').map_or(0, |at| at + 1);
    (
        before.matches('\n').count() + 1,
        before[line_start..].chars().count() + 1,
    )
}
