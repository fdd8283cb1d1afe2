//! How the program ends: one number per reason, for scripts. They are part of its interface and never change their
//! meaning.

use std::process::ExitCode;

use malha_pki::PkiError;
use malha_store::StoreError;
use malha_store::audit::AuditError;

use crate::checks::HistoryError;
use crate::cli::text::{self, Lang};
use crate::client::ClientError;
use crate::config::ConfigError;
use crate::folder::FolderError;

/// The exit codes of `malha`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum Exit {
    Success = 0,
    /// Something broke that is nobody's input.
    Internal = 1,
    /// The command line is wrong; clap's own number.
    Usage = 2,
    /// A value is not right; nothing was changed.
    Refused = 3,
    NotFound = 4,
    /// It exists already, is in use, or the state does not allow it.
    Conflict = 5,
    /// Nobody answers, or not now.
    Unreachable = 6,
    NotAllowed = 7,
    /// Stored data is not what was written.
    Damaged = 8,
    /// `malha trace`, `malha policy explain`: the packet would not pass.
    Denied = 9,
    /// `malha check`: something is not as declared.
    Findings = 10,
    /// `malha check`: nothing is wrong as far as is known, but something could not be tested.
    Untested = 11,
}

/// The table in `malha --help`.
pub(super) const EXIT_CODES: &str = "\
Exit codes:
  0  done
  1  something broke
  2  wrong usage
  3  a value was refused; nothing was changed
  4  not found
  5  exists already, is in use, or the state does not allow it
  6  the controller can't be reached, or can't do it now
  7  not allowed: no valid API key, or not its scope
  8  stored data is damaged
  9  malha trace, malha policy explain: the packet would be denied
  10  malha check: something is not as declared
  11  malha check: nothing found, but something could not be tested";

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}

/// Why a command did not do what it was asked.
#[derive(Debug)]
pub(super) struct Failure {
    pub(super) exit: Exit,
    pub(super) text: String,
    /// The same in Portuguese, where it differs.
    pub(super) portuguese: Option<String>,
    /// The API's problem document, for `--json`.
    pub(super) problem: Option<serde_json::Value>,
}

impl Failure {
    pub(super) fn new(exit: Exit, text: impl Into<String>) -> Self {
        Self {
            exit,
            text: text.into(),
            portuguese: None,
            problem: None,
        }
    }

    /// One that the catalogue has the words for.
    pub(super) fn said(exit: Exit, words: impl Fn(Lang) -> String) -> Self {
        Self::new(exit, words(Lang::En)).in_portuguese(words(Lang::Pt))
    }

    /// A file that could not be read or written.
    pub(super) fn file(path: &std::path::Path, error: &std::io::Error) -> Self {
        Self::new(of_file(error), format!("{}: {error}", path.display()))
            .in_portuguese(text::file(path, error))
    }

    /// Why, in the reader's language.
    pub(super) fn words(&self, lang: Lang) -> &str {
        match (lang, &self.portuguese) {
            (Lang::Pt, Some(portuguese)) => portuguese,
            _ => &self.text,
        }
    }

    fn in_portuguese(mut self, words: impl Into<Option<String>>) -> Self {
        self.portuguese = words.into();
        self
    }
}

fn of_file(error: &std::io::Error) -> Exit {
    match error.kind() {
        std::io::ErrorKind::NotFound => Exit::NotFound,
        std::io::ErrorKind::AlreadyExists => Exit::Conflict,
        std::io::ErrorKind::PermissionDenied => Exit::NotAllowed,
        _ => Exit::Internal,
    }
}

impl From<ClientError> for Failure {
    fn from(error: ClientError) -> Self {
        let exit = match &error {
            ClientError::Address { .. } | ClientError::Authority { .. } | ClientError::Key => {
                Exit::Usage
            }
            ClientError::Unreachable { .. }
            | ClientError::Broken { .. }
            | ClientError::TimedOut { .. }
            | ClientError::Strange { .. } => Exit::Unreachable,
            ClientError::Problem(problem) => of_status(problem.status),
            ClientError::Write(_) => Exit::Internal,
        };
        let problem = match &error {
            ClientError::Problem(problem) => serde_json::to_value(problem).ok(),
            _ => None,
        };
        Self {
            exit,
            text: error.to_string(),
            portuguese: text::failure(&error),
            problem,
        }
    }
}

/// The exit code of an HTTP status.
fn of_status(status: u16) -> Exit {
    match status {
        401 | 403 => Exit::NotAllowed,
        404 | 410 => Exit::NotFound,
        409 => Exit::Conflict,
        408 | 429 | 500..=599 => Exit::Unreachable,
        _ => Exit::Refused,
    }
}

impl From<StoreError> for Failure {
    fn from(error: StoreError) -> Self {
        let exit = match &error {
            StoreError::Damaged { .. } | StoreError::InvalidBackup { .. } => Exit::Damaged,
            StoreError::Missing { .. } => Exit::NotFound,
            StoreError::InUse { .. } | StoreError::NotEmpty { .. } => Exit::Conflict,
            StoreError::NewerSchema { .. } | StoreError::OlderSchema { .. } => Exit::Refused,
            _ => Exit::Internal,
        };
        Self::new(exit, error.to_string()).in_portuguese(text::store(&error))
    }
}

impl From<AuditError> for Failure {
    fn from(error: AuditError) -> Self {
        let exit = match &error {
            AuditError::BadLine { .. }
            | AuditError::MissingSegment { .. }
            | AuditError::Truncated { .. }
            | AuditError::Rewritten { .. }
            | AuditError::HeadLost { .. } => Exit::Damaged,
            AuditError::InUse { .. } => Exit::Conflict,
            _ => Exit::Internal,
        };
        Self::new(exit, error.to_string()).in_portuguese(text::audit(&error))
    }
}

impl From<HistoryError> for Failure {
    fn from(error: HistoryError) -> Self {
        let exit = match &error {
            HistoryError::Io { source, .. } => of_file(source),
            HistoryError::Content { .. } => Exit::Damaged,
        };
        Self::new(exit, error.to_string()).in_portuguese(text::history(&error))
    }
}

impl From<FolderError> for Failure {
    fn from(error: FolderError) -> Self {
        match error {
            FolderError::Store(error) => error.into(),
            FolderError::Audit(error) => error.into(),
            FolderError::Pki(error) => error.into(),
            error => {
                let exit = match &error {
                    FolderError::Exists(_) => Exit::Conflict,
                    FolderError::Missing(_) => Exit::NotFound,
                    FolderError::Record { .. } | FolderError::Key { .. } => Exit::Damaged,
                    _ => Exit::Internal,
                };
                Self::new(exit, error.to_string()).in_portuguese(text::folder(&error))
            }
        }
    }
}

impl From<PkiError> for Failure {
    fn from(error: PkiError) -> Self {
        let exit = match &error {
            PkiError::MasterKeyFile { source, .. } => of_file(source),
            _ => Exit::Internal,
        };
        Self::new(exit, error.to_string()).in_portuguese(text::pki(&error))
    }
}

impl From<ConfigError> for Failure {
    fn from(error: ConfigError) -> Self {
        let exit = match &error {
            ConfigError::Read { source, .. } => of_file(source),
            _ => Exit::Refused,
        };
        Self::new(exit, error.to_string()).in_portuguese(text::config(&error))
    }
}

impl From<anyhow::Error> for Failure {
    fn from(error: anyhow::Error) -> Self {
        match error.downcast::<FolderError>() {
            Ok(folder) => folder.into(),
            Err(error) => Self::new(Exit::Internal, format!("{error:#}")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_status_ends_with_the_code_that_help_documents() {
        for (status, exit) in [
            (400, Exit::Refused),
            (401, Exit::NotAllowed),
            (403, Exit::NotAllowed),
            (404, Exit::NotFound),
            (409, Exit::Conflict),
            (413, Exit::Refused),
            (422, Exit::Refused),
            (429, Exit::Unreachable),
            (503, Exit::Unreachable),
        ] {
            assert_eq!(of_status(status), exit, "{status}");
        }
        for code in 0..=11 {
            assert!(EXIT_CODES.contains(&format!("\n  {code}  ")), "{code}");
        }
    }
}
