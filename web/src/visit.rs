//! One request by a signed-in operator: who it is, in which language, at what time. Handlers that
//! show anything ask for it.

use std::sync::Arc;

use axum::extract::FromRequestParts;
use axum::response::{IntoResponse, Redirect, Response};
use http::StatusCode;
use http::request::Parts;
use time::OffsetDateTime;
use tokio::sync::Semaphore;

use crate::console::{Console, SessionToken, Viewer};
use crate::language::Language;
use crate::text::Words;
use crate::{WebConfig, address, session};

/// What all requests share.
pub(crate) struct Desk {
    pub(crate) console: Arc<dyn Console>,
    pub(crate) config: WebConfig,
    /// One permit for each live stream.
    pub(crate) streams: Arc<Semaphore>,
}

/// A request whose session is known. Extracting it fails with a redirect to the login, or for a
/// live stream with 401.
pub(crate) struct Visit {
    pub(crate) desk: Arc<Desk>,
    pub(crate) token: SessionToken,
    pub(crate) viewer: Viewer,
    pub(crate) language: Language,
    pub(crate) now: OffsetDateTime,
    /// Path and query of the request, to come back to.
    pub(crate) here: String,
}

impl Visit {
    pub(crate) fn console(&self) -> &dyn Console {
        self.desk.console.as_ref()
    }

    pub(crate) fn say(&self, text: impl Words) -> &'static str {
        self.language.say(text)
    }

    pub(crate) fn may_enrol(&self) -> bool {
        self.viewer.role.may_enrol()
    }

    pub(crate) fn may_change(&self) -> bool {
        self.viewer.role.may_change()
    }
}

impl FromRequestParts<Arc<Desk>> for Visit {
    type Rejection = Response;

    async fn from_request_parts(parts: &mut Parts, desk: &Arc<Desk>) -> Result<Self, Response> {
        let here = parts
            .uri
            .path_and_query()
            .map_or("/", |here| here.as_str())
            .to_owned();
        let signed_in = match session::token_of(&parts.headers, &desk.config) {
            Some(token) => desk
                .console
                .session(&token)
                .await
                .map(|viewer| (token, viewer)),
            None => None,
        };
        let Some((token, viewer)) = signed_in else {
            return Err(if parts.uri.path() == crate::live::PATH {
                StatusCode::UNAUTHORIZED.into_response()
            } else if parts.method.is_safe() && here != "/" {
                Redirect::to(&format!("/login?next={}", address::encode(&here))).into_response()
            } else {
                Redirect::to("/login").into_response()
            });
        };
        let language = Language::of_request(&parts.headers);
        Ok(Self {
            desk: desk.clone(),
            token,
            viewer,
            language,
            now: OffsetDateTime::now_utc(),
            here,
        })
    }
}
