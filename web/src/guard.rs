//! What protects every page: response headers, and the proof that a write was sent from one of our
//! own pages. It knows no session; the session's own secret is checked where the form is read.

use axum::extract::Request;
use axum::middleware::Next;
use axum::response::Response;
use http::header::{
    CACHE_CONTROL, CONTENT_SECURITY_POLICY, HOST, HeaderName, ORIGIN, REFERRER_POLICY,
    X_CONTENT_TYPE_OPTIONS, X_FRAME_OPTIONS,
};
use http::request::Parts;
use http::{HeaderMap, HeaderValue};

/// Puts the security headers on every response, errors among them; pages are not kept by caches
/// unless they say so.
pub(crate) async fn security_headers(request: Request, next: Next) -> Response {
    let mut response = next.run(request).await;
    let headers = response.headers_mut();
    for (name, value) in SECURITY_HEADERS {
        headers.insert(name, HeaderValue::from_static(value));
    }
    headers
        .entry(CACHE_CONTROL)
        .or_insert(HeaderValue::from_static("no-store"));
    response
}

/// Whether a state-changing request was sent by a page of this origin.
///
/// `Sec-Fetch-Site` decides where it is sent, since a page can't forge it. Only without it `Origin`
/// does; our pages send no referrer, so a browser that knows `Sec-Fetch-Site` gives `Origin: null`
/// on a form post. With neither: no.
pub(crate) fn is_same_origin(parts: &Parts) -> bool {
    if let Some(site) = parts.headers.get(SEC_FETCH_SITE) {
        return site == "same-origin";
    }
    let Some(host) = own_host(parts) else {
        return false;
    };
    text_of(&parts.headers, &ORIGIN)
        .and_then(|origin| {
            origin
                .strip_prefix("https://")
                .or_else(|| origin.strip_prefix("http://"))
        })
        .is_some_and(|origin_host| origin_host.eq_ignore_ascii_case(host))
}

/// The host and port that the client asked for: `:authority` in HTTP/2, `Host` before.
fn own_host(parts: &Parts) -> Option<&str> {
    parts
        .uri
        .authority()
        .map(|authority| authority.as_str())
        .or_else(|| text_of(&parts.headers, &HOST))
}

fn text_of<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a str> {
    headers.get(name)?.to_str().ok()
}

const SEC_FETCH_SITE: &str = "sec-fetch-site";

/// Nothing inline, nothing from elsewhere, no frames. Forms go only to ourselves.
const CONTENT_POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; \
     connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'";

const SECURITY_HEADERS: [(HeaderName, &str); 6] = [
    (CONTENT_SECURITY_POLICY, CONTENT_POLICY),
    (X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (X_FRAME_OPTIONS, "DENY"),
    (REFERRER_POLICY, "no-referrer"),
    (
        HeaderName::from_static("cross-origin-opener-policy"),
        "same-origin",
    ),
    (
        HeaderName::from_static("cross-origin-resource-policy"),
        "same-origin",
    ),
];

#[cfg(test)]
mod tests {
    use super::*;

    fn judged(headers: &[(&str, &str)]) -> bool {
        let mut request = http::Request::post("/tokens");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        is_same_origin(&request.body(()).unwrap().into_parts().0)
    }

    #[test]
    fn a_browser_that_says_same_origin_is_believed() {
        assert!(judged(&[
            ("sec-fetch-site", "same-origin"),
            ("origin", "null")
        ]));
    }

    #[test]
    fn a_sibling_site_and_a_stranger_are_refused_whatever_origin_says() {
        for site in ["same-site", "cross-site", "none", ""] {
            assert!(!judged(&[
                ("sec-fetch-site", site),
                ("host", "m.example"),
                ("origin", "https://m.example")
            ]));
        }
    }

    #[test]
    fn without_fetch_metadata_the_origin_must_be_the_host() {
        assert!(judged(&[
            ("host", "m.example:8443"),
            ("origin", "https://m.example:8443")
        ]));
        assert!(!judged(&[
            ("host", "m.example:8443"),
            ("origin", "https://m.example")
        ]));
        assert!(!judged(&[
            ("host", "m.example"),
            ("origin", "https://m.example.evil")
        ]));
        assert!(!judged(&[("host", "m.example"), ("origin", "null")]));
    }

    #[test]
    fn who_says_nothing_about_itself_is_refused() {
        assert!(!judged(&[("host", "m.example")]));
    }
}
