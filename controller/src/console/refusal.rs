//! Refusals with their place: which field of which form is at fault, and of what kind the fault is. Their words are in
//! [`crate::refusals`].

use malha_core::{Noun, Rejection};
use malha_proto::RefusalCode;
use malha_web::Bilingual;
use malha_web::model::{RefusalKind, Refused};
use malha_zone::{NameError, SetError, ZoneError};

use crate::coordinator::SubmitError;
use crate::refusals;

/// A form: what the state calls a thing, and the field in which the operator wrote it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Form(&'static [(&'static str, &'static str)]);

impl Form {
    /// A button without fields.
    pub(super) const BUTTON: Self = Self(&[]);
    pub(super) const ORGANIZATION: Self =
        Self(&[("organization", "name"), ("display_name", "name")]);
    pub(super) const SITE: Self = Self(&[
        ("organization", "organization"),
        ("site", "name"),
        ("display_name", "name"),
    ]);
    pub(super) const TOKEN: Self =
        Self(&[("site", "site"), ("uses", "uses"), ("ttl_s", "lifetime_s")]);
    pub(super) const SERVICE: Self = Self(&[
        ("node", "node"),
        ("service", "name"),
        ("port", "port"),
        ("target", "target"),
    ]);
    pub(super) const ROUTE: Self = Self(&[
        ("host", "host"),
        ("route", "host"),
        ("path", "path"),
        ("service", "service"),
        ("services", "service"),
        ("services of one route", "service"),
    ]);
    pub(super) const POLICY: Self = Self(&[("text", "text")]);
    pub(super) const RECORD_SET: Self = Self(&[
        ("record name", "name"),
        ("record type", "record_type"),
        ("ttl", "ttl_s"),
        ("record data", "values"),
    ]);

    fn field(self, what: &str) -> Option<String> {
        self.0
            .iter()
            .find(|(known, _)| *known == what)
            .map(|(_, field)| (*field).to_owned())
    }
}

/// What the coordinator said no to.
pub(super) fn refused(error: &SubmitError, form: Form) -> Refused {
    let (what, kind) = match error {
        SubmitError::Unavailable(_) | SubmitError::Closed => ("", RefusalKind::Unavailable),
        SubmitError::Rejected(rejection) => place(rejection),
    };
    Refused {
        field: form.field(what),
        text: refusals::submit(error),
        kind,
    }
}

/// A value that can't be read, in the field that holds it.
pub(super) fn wrong(field: &str, text: Bilingual) -> Refused {
    Refused {
        field: Some(field.to_owned()),
        text,
        kind: RefusalKind::Invalid,
    }
}

/// Something that is named in a field, or by the page itself, and is not there.
pub(super) fn missing(field: Option<&str>, what: Noun, name: &str) -> Refused {
    Refused {
        field: field.map(str::to_owned),
        text: refusals::not_found(what, name),
        kind: RefusalKind::NotFound,
    }
}

/// The whole write can't be done as things are.
pub(super) fn impossible(text: Bilingual) -> Refused {
    Refused {
        field: None,
        text,
        kind: RefusalKind::Conflict,
    }
}

/// What of a record set a zone refuses.
pub(super) fn refused_set(error: &ZoneError) -> Refused {
    let (what, kind) = place_in_zone(error);
    Refused {
        field: Form::RECORD_SET.field(what),
        text: refusals::zone(error),
        kind,
    }
}

fn place(rejection: &Rejection) -> (&str, RefusalKind) {
    match rejection {
        Rejection::NotFound { what, .. } => (what.as_str(), RefusalKind::NotFound),
        Rejection::Exists { what, .. } => (what.as_str(), RefusalKind::Conflict),
        // The page is older than the state it shows.
        Rejection::Invalid {
            field: field @ ("node" | "keep" | "id"),
            ..
        } => (field, RefusalKind::Conflict),
        Rejection::Invalid { field, .. } => (field, RefusalKind::Invalid),
        Rejection::InUse { .. } | Rejection::OtherRequest => ("", RefusalKind::Conflict),
        Rejection::Limit { what, .. } => (what.as_str(), RefusalKind::Invalid),
        Rejection::Zone(error) => place_in_zone(error),
        Rejection::Text(_) => ("text", RefusalKind::Invalid),
        Rejection::Refused { code, .. } => ("", kind_of_code(*code)),
    }
}

fn place_in_zone(error: &ZoneError) -> (&'static str, RefusalKind) {
    match error {
        ZoneError::Name(
            NameError::Root | NameError::NotAbsolute { .. } | NameError::Address { .. },
        ) => (DATA, RefusalKind::Invalid),
        ZoneError::Name(_)
        | ZoneError::WildcardDelegation { .. }
        | ZoneError::BelowDelegation { .. } => (NAME, RefusalKind::Invalid),
        ZoneError::Set(SetError::Ttl { .. }) => ("ttl", RefusalKind::Invalid),
        ZoneError::Set(_) => (DATA, RefusalKind::Invalid),
        ZoneError::SoaIsDerived { .. } | ZoneError::CnameAtApex => {
            ("record type", RefusalKind::Invalid)
        }
        ZoneError::ManagedByRoute { .. }
        | ZoneError::KeptByOperator { .. }
        | ZoneError::CnameNotAlone { .. } => (NAME, RefusalKind::Conflict),
        ZoneError::ApexNsRequired => ("", RefusalKind::Conflict),
        ZoneError::SoaTime { .. }
        | ZoneError::SoaRoot { .. }
        | ZoneError::TooManySets
        | ZoneError::TooManyEdits { .. }
        | ZoneError::StoredTwice { .. }
        | ZoneError::OtherZone { .. }
        | ZoneError::JournalGap { .. }
        | ZoneError::JournalMismatch { .. } => ("", RefusalKind::Invalid),
    }
}

fn kind_of_code(code: RefusalCode) -> RefusalKind {
    match code {
        RefusalCode::Busy | RefusalCode::Unavailable => RefusalKind::Unavailable,
        RefusalCode::NodeRemoved | RefusalCode::TokenUnknown => RefusalKind::NotFound,
        RefusalCode::Malformed | RefusalCode::WrongController => RefusalKind::Invalid,
        RefusalCode::TokenExpired
        | RefusalCode::TokenUsed
        | RefusalCode::TokenRevoked
        | RefusalCode::NameTaken
        | RefusalCode::KeyTaken
        | RefusalCode::Cloned
        | RefusalCode::Replaced
        | RefusalCode::PoolExhausted => RefusalKind::Conflict,
    }
}

const NAME: &str = "record name";
const DATA: &str = "record data";
