//! Entry point for fuzzing what a client of the edge says of its request, replayed over the committed corpus by an ordinary test. It
//! panics when an invariant breaks and never otherwise.

use std::net::{IpAddr, Ipv4Addr};

use http::header::HOST;
use http::{HeaderName, HeaderValue, Request};

use crate::forwarded::{self, Origin};
use crate::headers::{join_cookies, size_bytes, strip_hop_by_hop};
use crate::path::{PathPrefix, climbs};
use crate::preference::Preference;
use crate::target::Target;

/// Any bytes as the head of a request, a field a line: what is relayed names one host, stays below its prefix, and claims nothing
/// that a stranger said.
pub fn request(data: &[u8]) {
    let Some(mut request) = read(data) else {
        return;
    };
    if let Ok(text) = std::str::from_utf8(data)
        && let Ok(prefix) = PathPrefix::parse(text)
    {
        assert!(prefix.covers(prefix.as_str()) && !climbs(prefix.as_str()));
    }
    Preference::of(request.headers());
    let Ok(target) = Target::read(&request) else {
        return;
    };
    assert!(!target.host.is_wildcard() && !climbs(target.path()));
    let headers = request.headers_mut();
    let before = size_bytes(headers);
    strip_hop_by_hop(headers);
    join_cookies(headers);
    assert!(size_bytes(headers) <= before);
    forwarded::apply(
        headers,
        Origin {
            peer: (STRANGER, 4711).into(),
            host: &target.authority,
            port: 443,
            trusted: &[],
        },
    );
    for name in ["x-forwarded-for", "x-real-ip"] {
        let said: Vec<_> = headers.get_all(name).iter().collect();
        assert_eq!(said, ["192.0.2.7"], "{name}");
    }
    assert_eq!(headers.get_all("forwarded").iter().count(), 1);
}

/// A request with the target on the first line.
fn read(data: &[u8]) -> Option<Request<()>> {
    let mut lines = data.split(|byte| *byte == b'\n').take(MAX_LINES);
    let mut request = Request::builder().uri(lines.next()?).body(()).ok()?;
    for line in lines {
        let colon = line.iter().position(|byte| *byte == b':')?;
        let name = HeaderName::from_bytes(&line[..colon]).ok()?;
        let value = HeaderValue::from_bytes(line[colon + 1..].trim_ascii()).ok()?;
        request.headers_mut().append(name, value);
    }
    let host = HeaderValue::from_static("app.example.org");
    request.headers_mut().entry(HOST).or_insert(host);
    Some(request)
}

const MAX_LINES: usize = 64;
const STRANGER: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 7));
