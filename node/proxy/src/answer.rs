//! Responses that the edge makes itself: an error page or a problem document (RFC 9457). Never relays a byte.

use std::time::{SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use data_encoding::HEXLOWER;
use http::header::{
    ALLOW, CACHE_CONTROL, CONTENT_LANGUAGE, CONTENT_SECURITY_POLICY, CONTENT_TYPE, REFERRER_POLICY,
    RETRY_AFTER, VARY, X_CONTENT_TYPE_OPTIONS,
};
use http::{HeaderName, HeaderValue, Response, StatusCode};
use http_body_util::Full;
use serde::Serialize;

use crate::failure::{Failure, Fault};
use crate::page::{self, Setting};
use crate::preference::{Form, Preference};
use crate::text;

/// Names the hop at fault on every response that the edge makes because something failed.
pub(crate) const X_MALHA_HOP: HeaderName = HeaderName::from_static("x-malha-hop");
pub(crate) const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// 128 random bits in hexadecimal that name one request in logs, pages and headers.
#[derive(Clone, Debug)]
pub(crate) struct RequestId(HeaderValue);

impl RequestId {
    pub(crate) fn random() -> Self {
        let text = HEXLOWER.encode(&random_bytes());
        Self(HeaderValue::try_from(text).expect("hexadecimal digits are a header value"))
    }

    pub(crate) fn as_str(&self) -> &str {
        self.0.to_str().unwrap_or_default()
    }

    pub(crate) fn header(&self) -> HeaderValue {
        self.0.clone()
    }
}

/// 16 bytes from the system's generator.
pub(crate) fn random_bytes() -> [u8; 16] {
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes).expect("the system's random generator answers once it was seeded");
    bytes
}

pub(crate) fn answer(
    failure: &Failure,
    preference: Preference,
    id: &RequestId,
    utc_offset_min: i16,
) -> Response<Full<Bytes>> {
    let fault = failure.fault;
    let (body, content_type) = match preference.form {
        Form::Page => {
            let setting = Setting {
                language: preference.language,
                request_id: id.as_str(),
                utc_offset_min,
                now_ms: now_ms(),
            };
            let page = page::page(failure, setting);
            (page.into_bytes(), "text/html; charset=utf-8")
        }
        Form::Problem => (problem(failure, preference, id), "application/problem+json"),
    };
    let mut response = Response::new(Full::new(Bytes::from(body)));
    *response.status_mut() = fault.status();
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    let language = HeaderValue::from_static(preference.language.tag());
    headers.insert(CONTENT_LANGUAGE, language);
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(VARY, HeaderValue::from_static("accept, accept-language"));
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    let policy = HeaderValue::from_static(page::content_security_policy());
    headers.insert(CONTENT_SECURITY_POLICY, policy);
    let hop = HeaderValue::from_static(fault.hop().as_str());
    headers.insert(X_MALHA_HOP, hop);
    headers.insert(X_REQUEST_ID, id.header());
    if worth_retrying(fault.status()) {
        headers.insert(RETRY_AFTER, HeaderValue::from(RETRY_AFTER_S));
    }
    if fault == Fault::MethodRefused {
        let allowed = "GET, HEAD, POST, PUT, DELETE, OPTIONS, PATCH";
        headers.insert(ALLOW, HeaderValue::from_static(allowed));
    }
    response
}

/// RFC 9457 §3, with the members `hop`, `since`, `site` and `organization` of our own.
#[derive(Serialize)]
struct Problem<'a> {
    r#type: String,
    title: &'a str,
    status: u16,
    detail: &'a str,
    instance: &'a str,
    hop: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    since: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    site: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    organization: Option<&'a str>,
}

fn problem(failure: &Failure, preference: Preference, id: &RequestId) -> Vec<u8> {
    let words = text::wording(failure.fault, preference.language);
    let place = failure.place.as_ref();
    let problem = Problem {
        r#type: format!("urn:malha:problem:{}", failure.fault.slug()),
        title: words.title,
        status: failure.fault.status().as_u16(),
        detail: words.explanation,
        instance: id.as_str(),
        hop: failure.fault.hop().as_str(),
        since: failure.since_ms.and_then(text::timestamp),
        site: place.map(|place| place.site_name.as_str()),
        organization: place.map(|place| place.org_name.as_str()),
    };
    serde_json::to_vec(&problem).expect("a struct of texts and numbers has a JSON form")
}

fn worth_retrying(status: StatusCode) -> bool {
    matches!(
        status,
        StatusCode::BAD_GATEWAY | StatusCode::SERVICE_UNAVAILABLE | StatusCode::GATEWAY_TIMEOUT
    )
}

fn now_ms() -> u64 {
    let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH);
    since_epoch.map_or(0, |elapsed| {
        u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX)
    })
}

const RETRY_AFTER_S: u16 = 5;
