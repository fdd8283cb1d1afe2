//! Signing in and out, and the choice of language. Passwords are only passed on; whether they are
//! right, and how often one may try, is the console's to say.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;

use axum::extract::{ConnectInfo, FromRequest, Query, Request, State};
use axum::response::{IntoResponse, Redirect, Response};
use http::header::{RETRY_AFTER, SET_COOKIE};
use http::{HeaderMap, HeaderValue, StatusCode};

use crate::console::{LoginAttempt, SessionToken};
use crate::form::{Fields, Submission};
use crate::language::Language;
use crate::model::Secret;
use crate::page::{error, login as login_view};
use crate::visit::Desk;
use crate::{WebConfig, address, cookie, guard, language};

/// `GET /login`.
pub(crate) async fn login_page(
    State(desk): State<Arc<Desk>>,
    headers: HeaderMap,
    Query(query): Query<Vec<(String, String)>>,
) -> Response {
    let query = Fields::from(query);
    let next = address::local_or_start(query.exact("next"));
    if let Some(token) = token_of(&headers, &desk.config)
        && desk.console.session(&token).await.is_some()
    {
        return Redirect::to(next).into_response();
    }
    login_view::page(Language::of_request(&headers), "", next, None)
}

/// `POST /login`.
pub(crate) async fn login(State(desk): State<Arc<Desk>>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let language = Language::of_request(&parts.headers);
    if !guard::is_same_origin(&parts) {
        return error::cross_site(language);
    }
    let source = parts
        .extensions
        .get::<ConnectInfo<SocketAddr>>()
        .map_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED), |peer| peer.0.ip());
    let fields = match Fields::from_request(Request::from_parts(parts, body), &desk).await {
        Ok(fields) => fields,
        Err(refusal) => return refusal,
    };
    let totp = fields.text("totp");
    let attempt = LoginAttempt {
        user: fields.text("user").to_owned(),
        password: Secret::from(fields.exact("password")),
        totp: (!totp.is_empty()).then(|| Secret::from(totp)),
        source,
    };
    let next = address::local_or_start(fields.exact("next"));
    match desk.console.login(attempt).await {
        Ok(token) => match cookie::set(
            cookie_name(&desk.config),
            token.reveal(),
            desk.config.secure_cookies,
            None,
        ) {
            Some(header) => with_cookie(next, header),
            None => {
                tracing::error!("signing in: the console's session token can't stand in a cookie");
                error::unavailable(language)
            }
        },
        Err(refused) => {
            let mut response = login_view::page(language, fields.text("user"), next, Some(refused));
            if refused.retry_after_s > 0 {
                *response.status_mut() = StatusCode::TOO_MANY_REQUESTS;
                response
                    .headers_mut()
                    .insert(RETRY_AFTER, HeaderValue::from(refused.retry_after_s));
            }
            response
        }
    }
}

/// `POST /logout`.
pub(crate) async fn logout(submission: Submission) -> Response {
    let desk = &submission.visit.desk;
    desk.console.logout(&submission.visit.token).await;
    match cookie::set(
        cookie_name(&desk.config),
        "",
        desk.config.secure_cookies,
        Some(0),
    ) {
        Some(header) => with_cookie("/login", header),
        None => Redirect::to("/login").into_response(),
    }
}

/// `POST /language`: works signed in or not, and changes nothing but a cookie of the browser that
/// asks.
pub(crate) async fn choose_language(State(desk): State<Arc<Desk>>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    if !guard::is_same_origin(&parts) {
        return error::cross_site(Language::of_request(&parts.headers));
    }
    let fields = match Fields::from_request(Request::from_parts(parts, body), &desk).await {
        Ok(fields) => fields,
        Err(refusal) => return refusal,
    };
    let back = address::local_or_start(fields.exact("back"));
    let header = Language::parse(fields.text("language")).and_then(|chosen| {
        cookie::set(
            language::COOKIE,
            chosen.tag(),
            desk.config.secure_cookies,
            Some(LANGUAGE_AGE_S),
        )
    });
    match header {
        Some(header) => with_cookie(back, header),
        None => Redirect::to(back).into_response(),
    }
}

/// The session's secret, if the request carries one.
pub(crate) fn token_of(headers: &HeaderMap, config: &WebConfig) -> Option<SessionToken> {
    cookie::value(headers, cookie_name(config)).map(SessionToken::from)
}

fn with_cookie(target: &str, header: HeaderValue) -> Response {
    ([(SET_COOKIE, header)], Redirect::to(target)).into_response()
}

/// Browsers accept a `__Host-` cookie only from HTTPS, for the whole host and this host alone.
fn cookie_name(config: &WebConfig) -> &'static str {
    if config.secure_cookies {
        "__Host-malha"
    } else {
        "malha"
    }
}

const LANGUAGE_AGE_S: u64 = 365 * 24 * 60 * 60;
