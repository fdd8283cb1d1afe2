//! The language of what the API says to people: English, unless `Accept-Language` likes Portuguese better. What programs
//! read is the same in both.

use std::convert::Infallible;

use axum::extract::FromRequestParts;
use axum::http::{HeaderMap, header, request::Parts};
use malha_web::Language;

/// What the caller's people speak.
#[derive(Clone, Copy, Debug)]
pub(super) struct Speech(pub(super) Language);

impl<S: Sync> FromRequestParts<S> for Speech {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Infallible> {
        Ok(Self(of(&parts.headers)))
    }
}

pub(super) fn of(headers: &HeaderMap) -> Language {
    let wish = headers.get(header::ACCEPT_LANGUAGE);
    wish.and_then(|value| malha_web::preferred(value.to_str().ok()?))
        .unwrap_or(Language::English)
}
