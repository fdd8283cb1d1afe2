//! What the API answers when it says no: RFC 9457 problem documents. Every error of every room becomes one here, and
//! nowhere else. It never shows a secret or an inner error's debug form.

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use malha_core::{Noun, Rejection, TextError};
use malha_proto::RefusalCode;
use malha_store::StoreError;
use malha_store::audit::AuditError;
use malha_web::{Bilingual, Language};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::coordinator::SubmitError;
use crate::refusals::{self, Refusal};

/// A problem document, `application/problem+json`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(as = Problem)]
pub struct ProblemDocument {
    /// Names the kind of problem for programs: `urn:malha:problem:not-found`. It stays the same between releases.
    #[serde(rename = "type")]
    pub kind: String,
    /// The kind in words.
    pub title: String,
    /// The HTTP status.
    pub status: u16,
    /// Names the cause for programs: `token-uses`. It stays the same between releases.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub code: String,
    /// What was wrong this time, and what would be right. In English, or in Portuguese where `Accept-Language` asks for it
    /// and there are words for it.
    pub detail: String,
    /// Names this request; it is in `X-Request-Id` and in the controller's log too.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub instance: Option<String>,
    /// The field of the body, the query or the path that is wrong.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub field: Option<String>,
    /// Seconds after which the same request may succeed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry_after_s: Option<u64>,
}

/// The error of every handler: a document to be, boxed because it travels through every result.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Problem(Box<Draft>);

/// A document before its language is chosen.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Draft {
    document: ProblemDocument,
    /// What `detail` says, in Portuguese.
    portuguese: Option<String>,
}

impl std::ops::Deref for Problem {
    type Target = ProblemDocument;

    fn deref(&self) -> &ProblemDocument {
        &self.0.document
    }
}

/// The kinds of problems.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Syntax,
    Unauthenticated,
    Forbidden,
    NotFound,
    MethodNotAllowed,
    TimedOut,
    Exists,
    InUse,
    OtherRequest,
    Conflict,
    Gone,
    TooLarge,
    MediaType,
    Invalid,
    Limit,
    TooMany,
    Unavailable,
}

impl Kind {
    const fn parts(self) -> (StatusCode, &'static str, &'static str) {
        match self {
            Self::Syntax => (
                StatusCode::BAD_REQUEST,
                "syntax",
                "The request can't be read",
            ),
            Self::Unauthenticated => (
                StatusCode::UNAUTHORIZED,
                "unauthenticated",
                "An API key is needed",
            ),
            Self::Forbidden => (StatusCode::FORBIDDEN, "forbidden", "Not allowed"),
            Self::NotFound => (StatusCode::NOT_FOUND, "not-found", "There is no such thing"),
            Self::MethodNotAllowed => (
                StatusCode::METHOD_NOT_ALLOWED,
                "method",
                "This method is not offered here",
            ),
            Self::TimedOut => (
                StatusCode::REQUEST_TIMEOUT,
                "timed-out",
                "The request took too long",
            ),
            Self::Exists => (StatusCode::CONFLICT, "exists", "It exists already"),
            Self::InUse => (StatusCode::CONFLICT, "in-use", "It is still in use"),
            Self::OtherRequest => (
                StatusCode::CONFLICT,
                "other-request",
                "The Idempotency-Key belongs to another request",
            ),
            Self::Conflict => (
                StatusCode::CONFLICT,
                "conflict",
                "The present state does not allow it",
            ),
            Self::Gone => (StatusCode::GONE, "gone", "It was there and is gone"),
            Self::TooLarge => (
                StatusCode::PAYLOAD_TOO_LARGE,
                "too-large",
                "The body is too large",
            ),
            Self::MediaType => (
                StatusCode::UNSUPPORTED_MEDIA_TYPE,
                "media-type",
                "The body must be JSON",
            ),
            Self::Invalid => (
                StatusCode::UNPROCESSABLE_ENTITY,
                "invalid",
                "A value is not right",
            ),
            Self::Limit => (
                StatusCode::UNPROCESSABLE_ENTITY,
                "limit",
                "A limit is reached",
            ),
            Self::TooMany => (
                StatusCode::TOO_MANY_REQUESTS,
                "too-many",
                "Too many requests",
            ),
            Self::Unavailable => (
                StatusCode::SERVICE_UNAVAILABLE,
                "unavailable",
                "Not possible now",
            ),
        }
    }
}

impl Problem {
    fn new(kind: Kind, detail: impl AsRef<str>) -> Self {
        let (status, slug, title) = kind.parts();
        let document = ProblemDocument {
            kind: format!("{TYPE_PREFIX}{slug}"),
            title: title.to_owned(),
            status: status.as_u16(),
            code: slug.to_owned(),
            detail: shown(detail.as_ref(), MAX_DETAIL_CHARS),
            instance: None,
            field: None,
            retry_after_s: None,
        };
        Self(Box::new(Draft {
            document,
            portuguese: None,
        }))
    }

    /// With words for people of both languages.
    pub(crate) fn said(kind: Kind, words: &Bilingual) -> Self {
        Self::new(kind, &words.en).in_portuguese(&words.pt)
    }

    /// A value that is not right, with words for people of both languages.
    pub(crate) fn wrong(field: impl AsRef<str>, words: &Bilingual) -> Self {
        let field = field.as_ref();
        Self::new(Kind::Invalid, format!("{field}: {}", words.en))
            .in_portuguese(&format!("{field}: {}", words.pt))
            .at(field)
    }

    /// For a cause of the catalogue.
    pub(crate) fn of(kind: Kind, refusal: &Refusal) -> Self {
        Self::said(kind, &refusal.words()).because(refusal.code())
    }

    /// A value that is not right, for a cause of the catalogue.
    pub(crate) fn invalid(field: impl AsRef<str>, refusal: &Refusal) -> Self {
        Self::wrong(field, &refusal.words()).because(refusal.code())
    }

    pub(crate) fn not_found(what: Noun, name: impl std::fmt::Display) -> Self {
        let name = name.to_string();
        Self::new(Kind::NotFound, format!("there is no {what} {name}"))
            .in_portuguese(&refusals::not_found(what, &name).pt)
    }

    /// The same problem with what its detail says in Portuguese.
    pub(crate) fn in_portuguese(mut self, detail: &str) -> Self {
        self.0.portuguese = Some(shown(detail, MAX_DETAIL_CHARS));
        self
    }

    /// The same problem with the code of its cause, where that says more than its kind.
    pub(super) fn because(mut self, code: &str) -> Self {
        self.0.document.code = code.to_owned();
        self
    }

    /// The same problem with the field it is about.
    pub(crate) fn at(mut self, field: impl AsRef<str>) -> Self {
        self.0.document.field = Some(shown(field.as_ref(), MAX_FIELD_CHARS));
        self
    }

    /// The same problem with the time after which another attempt makes sense.
    pub(crate) fn after_s(mut self, seconds: u64) -> Self {
        self.0.document.retry_after_s = Some(seconds.max(1));
        self
    }

    fn status(&self) -> StatusCode {
        StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
    }

    /// The document as it is sent, naming the request.
    pub(super) fn render(self, request_id: &str, spoken: Language) -> Response {
        let status = self.status();
        let Draft {
            mut document,
            portuguese,
        } = *self.0;
        document.instance = Some(format!("{REQUEST_PREFIX}{request_id}"));
        let language = match (spoken, portuguese) {
            (Language::Portuguese, Some(detail)) => {
                document.detail = detail;
                "pt-BR"
            }
            _ => "en",
        };
        let retry_after = document.retry_after_s.map(HeaderValue::from);
        let body = serde_json::to_vec(&document).unwrap_or_default();
        let head = [
            (header::CONTENT_TYPE, PROBLEM_TYPE),
            (header::CONTENT_LANGUAGE, language),
            (header::VARY, "Accept-Language"),
        ];
        let mut response = (status, head, body).into_response();
        if let Some(retry_after) = retry_after {
            response
                .headers_mut()
                .insert(header::RETRY_AFTER, retry_after);
        }
        if status == StatusCode::UNAUTHORIZED {
            response.headers_mut().insert(
                header::WWW_AUTHENTICATE,
                HeaderValue::from_static(CHALLENGE),
            );
        }
        response
    }
}

/// Carries the problem to the outermost layer, which knows the request's name and writes the document.
impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let mut response = self.status().into_response();
        response.extensions_mut().insert(self);
        response
    }
}

impl From<SubmitError> for Problem {
    fn from(error: SubmitError) -> Self {
        match error {
            SubmitError::Rejected(rejection) => rejection.into(),
            SubmitError::Unavailable(_) | SubmitError::Closed => {
                let words = refusals::submit(&error);
                Self::new(Kind::Unavailable, error.to_string())
                    .in_portuguese(&words.pt)
                    .after_s(RETRY_S)
            }
        }
    }
}

impl From<TextError> for Problem {
    fn from(error: TextError) -> Self {
        Rejection::from(error).into()
    }
}

impl From<Rejection> for Problem {
    fn from(rejection: Rejection) -> Self {
        let detail = rejection.to_string();
        let (code, words) = (refusals::code(&rejection), refusals::rejection(&rejection));
        let portuguese = match &rejection {
            Rejection::Invalid { field, .. } => format!("{field}: {}", words.pt),
            _ => words.pt,
        };
        let problem = match rejection {
            Rejection::NotFound { .. } => Self::new(Kind::NotFound, detail),
            Rejection::Exists { .. } => Self::new(Kind::Exists, detail),
            Rejection::InUse { .. } => Self::new(Kind::InUse, detail),
            Rejection::OtherRequest => Self::new(Kind::OtherRequest, detail),
            Rejection::Invalid { field, .. } => Self::new(Kind::Invalid, detail).at(field),
            Rejection::Zone(_) => Self::new(Kind::Invalid, detail),
            Rejection::Text(_) => Self::new(Kind::Invalid, detail).at("text"),
            Rejection::Limit { .. } => Self::new(Kind::Limit, detail),
            Rejection::Refused { code, .. } => Self::refused(code, &detail),
        };
        problem.because(code).in_portuguese(&portuguese)
    }
}

impl Problem {
    fn storage(problem: String) -> Self {
        Self::of(Kind::Unavailable, &Refusal::Storage { problem }).after_s(RETRY_S)
    }

    fn refused(code: RefusalCode, detail: &str) -> Self {
        match code {
            RefusalCode::Busy | RefusalCode::Unavailable => {
                Self::new(Kind::Unavailable, detail).after_s(RETRY_S)
            }
            RefusalCode::NodeRemoved => Self::new(Kind::NotFound, detail),
            RefusalCode::Malformed => Self::new(Kind::Invalid, detail),
            RefusalCode::TokenUnknown | RefusalCode::WrongController => {
                Self::new(Kind::Forbidden, detail)
            }
            RefusalCode::TokenExpired
            | RefusalCode::TokenUsed
            | RefusalCode::TokenRevoked
            | RefusalCode::NameTaken
            | RefusalCode::KeyTaken
            | RefusalCode::Cloned
            | RefusalCode::Replaced
            | RefusalCode::PoolExhausted => Self::new(Kind::Conflict, detail),
        }
    }
}

impl From<StoreError> for Problem {
    fn from(error: StoreError) -> Self {
        Self::storage(error.to_string())
    }
}

impl From<AuditError> for Problem {
    fn from(error: AuditError) -> Self {
        Self::storage(error.to_string())
    }
}

/// Text from outside as it may stand in an answer: on one line, control characters escaped, shortened.
pub(super) fn shown(text: &str, max_chars: usize) -> String {
    let mut out = String::new();
    for (at, c) in text.chars().enumerate() {
        if at == max_chars {
            out.push('…');
            break;
        }
        match c {
            c if c.is_control() || is_direction_mark(c) => out.extend(c.escape_unicode()),
            c => out.push(c),
        }
    }
    out
}

/// Characters that turn or hide the text around them.
pub(crate) fn is_direction_mark(c: char) -> bool {
    matches!(c, '\u{061c}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}')
}

const TYPE_PREFIX: &str = "urn:malha:problem:";
const REQUEST_PREFIX: &str = "urn:malha:request:";
const PROBLEM_TYPE: &str = "application/problem+json";
const CHALLENGE: &str = "Bearer realm=\"malha\"";
const MAX_DETAIL_CHARS: usize = 600;
const MAX_FIELD_CHARS: usize = 100;
/// After a refused write; the store tries again by itself.
const RETRY_S: u64 = 2;

#[cfg(test)]
mod tests {
    use malha_core::{Plenty, Reason, User};

    use super::*;

    #[test]
    fn each_rejection_has_its_status() {
        let rejected = [
            (
                Rejection::NotFound {
                    what: Noun::Site,
                    name: "a".into(),
                },
                404,
            ),
            (
                Rejection::Exists {
                    what: Noun::Site,
                    name: "a".into(),
                },
                409,
            ),
            (
                Rejection::InUse {
                    what: Noun::Site,
                    name: "a".into(),
                    by: User::Thing(Noun::Node, "b".into()),
                },
                409,
            ),
            (Rejection::OtherRequest, 409),
            (
                Rejection::Invalid {
                    field: "name",
                    reason: Reason::ZoneWithoutServers,
                },
                422,
            ),
            (
                Rejection::Limit {
                    what: Plenty::Sites,
                    limit: 1,
                },
                422,
            ),
            (Rejection::Zone(malha_zone::ZoneError::CnameAtApex), 422),
            (
                Rejection::Refused {
                    code: RefusalCode::PoolExhausted,
                    text: "full".into(),
                },
                409,
            ),
            (
                Rejection::Refused {
                    code: RefusalCode::TokenUnknown,
                    text: "no".into(),
                },
                403,
            ),
        ];
        for (rejection, status) in rejected {
            assert_eq!(
                Problem::from(rejection.clone()).status,
                status,
                "{rejection}"
            );
        }
        let unavailable = Problem::from(SubmitError::Unavailable("disk".into()));
        assert_eq!(
            (unavailable.status, unavailable.retry_after_s),
            (503, Some(RETRY_S))
        );
    }

    #[test]
    fn what_comes_from_outside_is_escaped_and_shortened() {
        assert_eq!(
            shown("a\u{1b}[31m\u{202e}b\nc", 100),
            "a\\u{1b}[31m\\u{202e}b\\u{a}c"
        );
        assert_eq!(
            shown(&"x".repeat(70_000), 10),
            format!("{}…", "x".repeat(10))
        );
    }
}
