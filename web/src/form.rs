//! Forms as they arrive: bounded, ordered fields, and the proof that they came from a page of the
//! same session. Whether their values make sense is the page's and the console's matter.

use std::fmt;
use std::ops::RangeInclusive;
use std::sync::Arc;

use axum::Form;
use axum::extract::{FromRequest, FromRequestParts, Request};
use axum::response::Response;
use http::StatusCode;

use crate::guard;
use crate::language::{Bilingual, Language};
use crate::model::{RefusalKind, Refused};
use crate::page::error;
use crate::text::Text;
use crate::visit::{Desk, Visit};

/// A form that a signed-in operator sent from one of our own pages. A handler that writes asks for
/// this, so none can forget the checks.
pub(crate) struct Submission {
    pub(crate) visit: Visit,
    pub(crate) fields: Fields,
}

impl FromRequest<Arc<Desk>> for Submission {
    type Rejection = Response;

    async fn from_request(request: Request, desk: &Arc<Desk>) -> Result<Self, Response> {
        let (mut parts, body) = request.into_parts();
        let language = Language::of_request(&parts.headers);
        if !guard::is_same_origin(&parts) {
            return Err(error::cross_site(language));
        }
        let visit = Visit::from_request_parts(&mut parts, desk).await?;
        let fields = Fields::from_request(Request::from_parts(parts, body), desk).await?;
        if !visit.viewer.csrf.matches(fields.exact(CSRF_FIELD)) {
            return Err(error::cross_site(language));
        }
        Ok(Self { visit, fields })
    }
}

/// The fields of a form, in their order. Its `Debug` tells no value, for one may be a password.
#[derive(Clone, Default)]
pub(crate) struct Fields(Vec<(String, String)>);

impl FromRequest<Arc<Desk>> for Fields {
    type Rejection = Response;

    async fn from_request(request: Request, desk: &Arc<Desk>) -> Result<Self, Response> {
        let language = Language::of_request(request.headers());
        match Form::<Vec<(String, String)>>::from_request(request, desk).await {
            Ok(Form(fields)) if fields.len() <= FIELDS_MAX => Ok(Self(fields)),
            Err(rejection) if rejection.status() == StatusCode::PAYLOAD_TOO_LARGE => {
                Err(error::too_large(language))
            }
            Ok(_) | Err(_) => Err(error::malformed(language)),
        }
    }
}

impl Fields {
    /// A field's first value without surrounding white space; empty when it is missing.
    pub(crate) fn text(&self, name: &str) -> &str {
        self.exact(name).trim()
    }

    /// A field's first value as it came; empty when it is missing.
    pub(crate) fn exact(&self, name: &str) -> &str {
        self.0
            .iter()
            .find(|(found, _)| found == name)
            .map_or("", |(_, value)| value)
    }

    /// Every value of a field that may be given more than once.
    pub(crate) fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        self.0
            .iter()
            .filter(move |(found, _)| found == name)
            .map(|(_, value)| value.as_str())
    }

    /// A field that must be a whole number in a range.
    pub(crate) fn number(&self, name: &str, range: RangeInclusive<u64>) -> Result<u64, Refused> {
        self.text(name)
            .parse()
            .ok()
            .filter(|number| range.contains(number))
            .ok_or_else(|| {
                let fill = |language: Language| {
                    language.fill(Text::WrongNumber, &[range.start(), range.end()])
                };
                let text = Bilingual {
                    pt: fill(Language::Portuguese),
                    en: fill(Language::English),
                };
                Refused {
                    field: Some(name.to_owned()),
                    text,
                    kind: RefusalKind::Invalid,
                }
            })
    }

    /// A field that must not be empty.
    pub(crate) fn required(&self, name: &str) -> Result<String, Refused> {
        let text = self.text(name);
        if text.is_empty() {
            Err(wrong(name, Text::WrongMissing))
        } else {
            Ok(text.to_owned())
        }
    }

    /// A field whose value must be one that `parse` knows.
    pub(crate) fn choice<T>(&self, name: &str, parse: fn(&str) -> Option<T>) -> Result<T, Refused> {
        parse(self.text(name)).ok_or_else(|| wrong(name, Text::WrongChoice))
    }
}

impl fmt::Debug for Fields {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list()
            .entries(self.0.iter().map(|(name, _)| name))
            .finish()
    }
}

impl From<Vec<(String, String)>> for Fields {
    fn from(fields: Vec<(String, String)>) -> Self {
        Self(fields)
    }
}

/// Wrong input in one field.
pub(crate) fn wrong(field: &str, text: Text) -> Refused {
    Refused {
        field: Some(field.to_owned()),
        text: Bilingual::of(text),
        kind: RefusalKind::Invalid,
    }
}

/// The hidden field with the session's secret.
pub(crate) const CSRF_FIELD: &str = "csrf";

/// The largest form that is read.
pub(crate) const BODY_BYTES_MAX: usize = 64 * 1024;

/// The most fields in a form.
pub(crate) const FIELDS_MAX: usize = 64;
