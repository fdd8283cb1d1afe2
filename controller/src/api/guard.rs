//! What stands before every handler: the request's name, limits by source and in number, a deadline, and the headers of
//! every answer. It knows no resource.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::{DefaultBodyLimit, Request, State};
use axum::http::{HeaderName, HeaderValue, Uri, header};
use axum::middleware::{Next, from_fn, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use data_encoding::HEXLOWER;

use crate::api::problem::{Kind, Problem};
use crate::api::{Api, MAX_BODY_BYTES, caller, language};
use crate::clock::now_ms;
use crate::refusals::Refusal;

/// The router behind all of it.
pub(super) fn guarded(inner: Router<Arc<Api>>, api: &Arc<Api>) -> Router<Arc<Api>> {
    inner
        .layer(DefaultBodyLimit::max(MAX_BODY_BYTES))
        .layer(from_fn(deadline))
        .layer(from_fn_with_state(api.clone(), admit))
        .layer(from_fn(finish))
}

pub(super) async fn not_found(uri: Uri) -> Problem {
    let path = uri.path().to_owned();
    Problem::of(Kind::NotFound, &Refusal::NoSuchPath { path })
}

pub(super) async fn method_not_allowed() -> Problem {
    Problem::of(Kind::MethodNotAllowed, &Refusal::AnotherMethod)
}

/// Names the request, writes problems as documents, and sets the headers of every answer.
async fn finish(request: Request, next: Next) -> Response {
    let id = request_id();
    let (method, path) = (request.method().clone(), request.uri().path().to_owned());
    let spoken = language::of(request.headers());
    let mut response = next.run(request).await;
    if let Some(problem) = response.extensions_mut().remove::<Problem>() {
        tracing::debug!(request = %id, %method, path, status = problem.status, kind = %problem.kind, "API request refused");
        let mut document = problem.render(&id, spoken);
        if let Some(allow) = response.headers().get(header::ALLOW) {
            document.headers_mut().insert(header::ALLOW, allow.clone());
        }
        response = document;
    }
    let headers = response.headers_mut();
    if let Ok(value) = HeaderValue::from_str(&id) {
        headers.insert(REQUEST_ID, value);
    }
    headers
        .entry(header::CACHE_CONTROL)
        .or_insert(HeaderValue::from_static("no-store"));
    headers.insert(
        header::X_CONTENT_TYPE_OPTIONS,
        HeaderValue::from_static("nosniff"),
    );
    headers.insert(
        header::CONTENT_SECURITY_POLICY,
        HeaderValue::from_static("default-src 'none'; frame-ancestors 'none'"),
    );
    response
}

/// Refuses what is too much before anything is read of it.
async fn admit(
    State(api): State<Arc<Api>>,
    request: Request,
    next: Next,
) -> Result<Response, Problem> {
    let (parts, body) = request.into_parts();
    let source = caller::source(&parts);
    api.sources.take(&source, now_ms()).map_err(|wait_ms| {
        Problem::of(Kind::TooMany, &Refusal::SourceTooFast).after_s(wait_ms.div_ceil(1_000))
    })?;
    let place = api.places.clone().try_acquire_owned();
    let _place = place.map_err(|_| Problem::of(Kind::Unavailable, &Refusal::Full).after_s(1))?;
    Ok(next.run(Request::from_parts(parts, body)).await)
}

async fn deadline(request: Request, next: Next) -> Response {
    match tokio::time::timeout(DEADLINE, next.run(request)).await {
        Ok(response) => response,
        Err(_) => {
            let seconds = DEADLINE.as_secs();
            Problem::of(Kind::TimedOut, &Refusal::GivenUp { seconds }).into_response()
        }
    }
}

/// Sixteen hexadecimal digits, for people to quote; unique enough for a log.
fn request_id() -> String {
    let mut random = [0; 8];
    match getrandom::fill(&mut random) {
        Ok(()) => HEXLOWER.encode(&random),
        Err(_) => "unnamed".to_owned(),
    }
}

const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
const DEADLINE: Duration = Duration::from_secs(60);
