//! Pages and fragments for what went wrong: in words, in the reader's language, with the way back.

use std::sync::Arc;

use axum::extract::State;
use axum::response::{Html, IntoResponse, Response};
use http::{HeaderMap, StatusCode};
use maud::{Markup, html};

use super::badge::Tone;
use super::shell;
use crate::form::{BODY_BYTES_MAX, FIELDS_MAX};
use crate::language::Language;
use crate::model::Unreadable;
use crate::text::Text;
use crate::visit::Desk;

/// Any address that is not ours.
pub(crate) async fn not_found(State(_): State<Arc<Desk>>, headers: HeaderMap) -> Response {
    unreadable(Language::of_request(&headers), Unreadable::NotFound)
}

/// One of our addresses, asked in a way it does not know.
pub(crate) async fn method_not_allowed(headers: HeaderMap) -> Response {
    let language = Language::of_request(&headers);
    let text = language.say(Text::ErrorMethodWords);
    page(
        language,
        StatusCode::METHOD_NOT_ALLOWED,
        Text::ErrorMethod,
        text,
    )
}

/// A read that gave nothing, as a page.
pub(crate) fn unreadable(language: Language, unreadable: Unreadable) -> Response {
    let (status, title, text) = match unreadable {
        Unreadable::NotFound => (
            StatusCode::NOT_FOUND,
            Text::ErrorNotFound,
            Text::ErrorNotFoundWords,
        ),
        Unreadable::Unavailable => (
            StatusCode::SERVICE_UNAVAILABLE,
            Text::ErrorUnavailable,
            Text::ErrorUnavailableWords,
        ),
    };
    page(language, status, title, language.say(text))
}

pub(crate) fn unavailable(language: Language) -> Response {
    unreadable(language, Unreadable::Unavailable)
}

/// A read that gave nothing, inside a page that is open.
pub(crate) fn inline(language: Language, unreadable: Unreadable) -> Markup {
    let (title, text) = match unreadable {
        Unreadable::NotFound => (Text::ErrorNotFound, Text::ErrorNotFoundWords),
        Unreadable::Unavailable => (Text::ErrorUnavailable, Text::ErrorUnavailableWords),
    };
    html! {
        div.notice.bad { (Tone::Bad.icon()) p { strong { (language.say(title)) } " " (language.say(text)) } }
    }
}

/// A write that can't prove that it comes from one of our pages.
pub(crate) fn cross_site(language: Language) -> Response {
    page(
        language,
        StatusCode::FORBIDDEN,
        Text::ErrorCrossSite,
        language.say(Text::ErrorCrossSiteWords),
    )
}

pub(crate) fn too_large(language: Language) -> Response {
    let text = language.fill(Text::ErrorTooLargeWords, &[&(BODY_BYTES_MAX / 1024)]);
    page(
        language,
        StatusCode::PAYLOAD_TOO_LARGE,
        Text::ErrorTooLarge,
        &text,
    )
}

pub(crate) fn malformed(language: Language) -> Response {
    let text = language.fill(Text::ErrorMalformedWords, &[&FIELDS_MAX]);
    page(
        language,
        StatusCode::BAD_REQUEST,
        Text::ErrorMalformed,
        &text,
    )
}

fn page(language: Language, status: StatusCode, title: Text, text: &str) -> Response {
    let content = html! {
        h1 { (language.say(title)) }
        p { (text) }
        p { a.button href="/" { (language.say(Text::BackToOverview)) } }
    };
    (
        status,
        Html(shell::stranger(language, language.say(title), "/", content).into_string()),
    )
        .into_response()
}
