//! Reads out of a request what it asks for, and refuses what an origin could read differently. Knows no routes.

use http::header::{HOST, TRANSFER_ENCODING};
use http::uri::Authority;
use http::{HeaderValue, Method, Request, Uri};

use crate::failure::Fault;
use crate::headers::size_bytes;
use crate::host::{HostError, HostName};
use crate::path::climbs;

/// Longest request target in bytes; beyond it the answer is 414.
pub const MAX_TARGET_BYTES: usize = 16 * 1024;
/// Most bytes in all header fields of a request together; beyond it the answer is 431.
pub const MAX_HEADERS_BYTES: usize = 64 * 1024;

/// What a request asks for.
#[derive(Clone, Debug)]
pub(crate) struct Target {
    pub(crate) host: HostName,
    /// The host and port as the client wrote them.
    pub(crate) authority: HeaderValue,
    /// Path and query as they go to the origin.
    pub(crate) origin_form: Uri,
}

impl Target {
    pub(crate) fn read<B>(request: &Request<B>) -> Result<Self, Fault> {
        let uri = request.uri();
        if uri_bytes(uri) > MAX_TARGET_BYTES {
            return Err(Fault::TargetTooLong);
        }
        if size_bytes(request.headers()) > MAX_HEADERS_BYTES {
            return Err(Fault::HeadersTooLarge);
        }
        // HTTP/2 opens WebSocket with CONNECT and a `:protocol` (RFC 8441); any other CONNECT asks for a tunnel.
        let extended = request.extensions().get::<hyper::ext::Protocol>().is_some();
        let method = request.method();
        if (method == Method::CONNECT && !extended) || method == Method::TRACE {
            return Err(Fault::MethodRefused);
        }
        check_transfer_coding(request)?;
        let authority = authority(request)?;
        let text = authority.to_str().map_err(|_| Fault::BadRequest)?;
        let host = HostName::from_authority(text).map_err(|error| match error {
            HostError::AddressLiteral => Fault::UnknownHost,
            _ => Fault::BadRequest,
        })?;
        if climbs(uri.path()) {
            return Err(Fault::BadRequest);
        }
        Ok(Self {
            host,
            authority,
            origin_form: origin_form(uri)?,
        })
    }

    pub(crate) fn path(&self) -> &str {
        self.origin_form.path()
    }
}

/// The codings below `chunked` would be lost on the way, so the origin would take coded bytes for the body.
fn check_transfer_coding<B>(request: &Request<B>) -> Result<(), Fault> {
    let mut codings = request.headers().get_all(TRANSFER_ENCODING).iter();
    let only_chunked = match (codings.next(), codings.next()) {
        (None, _) => true,
        (Some(coding), None) => coding.as_bytes().eq_ignore_ascii_case(b"chunked"),
        (Some(_), Some(_)) => false,
    };
    if only_chunked {
        Ok(())
    } else {
        Err(Fault::TransferCoding)
    }
}

/// RFC 9112 §3.2: exactly one `Host`, which an absolute target overrules. RFC 9113 §8.3.1: `Host` and `:authority` agree.
fn authority<B>(request: &Request<B>) -> Result<HeaderValue, Fault> {
    let mut hosts = request.headers().get_all(HOST).iter();
    let (host, more) = (hosts.next(), hosts.next());
    if more.is_some() {
        return Err(Fault::BadRequest);
    }
    let Some(authority) = request.uri().authority() else {
        return host.cloned().ok_or(Fault::BadRequest);
    };
    let http2 = request.version() == http::Version::HTTP_2;
    if http2 && host.is_some_and(|host| !same(host, authority)) {
        return Err(Fault::BadRequest);
    }
    HeaderValue::from_str(authority.as_str()).map_err(|_| Fault::BadRequest)
}

fn same(host: &HeaderValue, authority: &Authority) -> bool {
    host.as_bytes()
        .eq_ignore_ascii_case(authority.as_str().as_bytes())
}

fn origin_form(uri: &Uri) -> Result<Uri, Fault> {
    let mut parts = http::uri::Parts::default();
    parts.path_and_query = match uri.path_and_query() {
        Some(path_and_query) => Some(path_and_query.clone()),
        None => Some(http::uri::PathAndQuery::from_static("/")),
    };
    Uri::from_parts(parts).map_err(|_| Fault::BadRequest)
}

fn uri_bytes(uri: &Uri) -> usize {
    let path_and_query = uri.path_and_query().map_or(0, |text| text.as_str().len());
    path_and_query + uri.authority().map_or(0, |text| text.as_str().len())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(uri: &str, hosts: &[&str]) -> Request<()> {
        let mut builder = Request::builder().uri(uri);
        for host in hosts {
            builder = builder.header(HOST, *host);
        }
        builder.body(()).unwrap()
    }

    #[test]
    fn an_absolute_target_overrules_host() {
        let target = Target::read(&request("http://B.org/x?y=1", &["a.org"])).unwrap();
        assert_eq!(target.host.as_str(), "b.org");
        assert_eq!(target.origin_form, "/x?y=1");
    }

    #[test]
    fn a_request_names_exactly_one_host() {
        for hosts in [&[][..], &["a.org", "a.org"], &["a.org", "b.org"]] {
            let refused = Target::read(&request("/", hosts)).unwrap_err();
            assert_eq!(refused, Fault::BadRequest, "{hosts:?}");
        }
    }

    #[test]
    fn what_can_not_be_relayed_faithfully_is_refused() {
        let read = |request: &Request<()>| Target::read(request).unwrap_err();
        let mut gzip = request("/", &["a.org"]);
        let coding = HeaderValue::from_static("gzip, chunked");
        gzip.headers_mut().insert(TRANSFER_ENCODING, coding);
        assert_eq!(read(&gzip), Fault::TransferCoding);

        let mut connect = request("/", &["a.org"]);
        *connect.method_mut() = Method::CONNECT;
        assert_eq!(read(&connect), Fault::MethodRefused);

        let climbing = request("/public/..%2fadmin", &["a.org"]);
        assert_eq!(read(&climbing), Fault::BadRequest);

        let long = format!("/{}", "a".repeat(MAX_TARGET_BYTES));
        assert_eq!(read(&request(&long, &["a.org"])), Fault::TargetTooLong);

        let literal = request("/", &["[::1]:443"]);
        assert_eq!(read(&literal), Fault::UnknownHost);
    }

    #[test]
    fn header_fields_have_a_limit_together() {
        let mut large = request("/", &["a.org"]);
        let half = HeaderValue::from_str(&"a".repeat(MAX_HEADERS_BYTES / 2)).unwrap();
        large.headers_mut().append("x-a", half.clone());
        large.headers_mut().append("x-a", half);
        assert_eq!(Target::read(&large).unwrap_err(), Fault::HeadersTooLarge);
    }
}
