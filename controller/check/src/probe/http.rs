//! One HTTP exchange over a given connection: a request, and the beginning of the answer. It follows no redirect.

use std::time::Duration;

use http::header::{ACCEPT, CONNECTION, CONTENT_TYPE, HOST, LOCATION, USER_AGENT};
use http::{HeaderMap, Method, Request, Uri};
use http_body_util::{BodyExt, Full};
use hyper::body::Bytes;
use hyper_util::rt::TokioIo;
use tokio::time::timeout;

use super::dial::Stream;
use crate::observation::{Der, HttpSeen};

/// Where a URL leads.
pub(super) struct Target {
    pub(super) is_tls: bool,
    pub(super) host: String,
    pub(super) port: u16,
    /// With the query.
    pub(super) path: String,
}

impl Target {
    pub(super) fn parse(url: &str) -> Result<Self, String> {
        let uri: Uri = url.parse().map_err(|error| format!("{url}: {error}"))?;
        let is_tls = match uri.scheme_str() {
            Some("https") => true,
            Some("http") => false,
            _ => return Err(format!("{url}: must begin with http:// or https://")),
        };
        let host = uri.host().unwrap_or_default();
        let host = host.trim_start_matches('[').trim_end_matches(']');
        if host.is_empty() {
            return Err(format!("{url}: has no host"));
        }
        let usual = if is_tls { 443 } else { 80 };
        // `Uri` takes every number for a port, and then says that there is none.
        let authority = uri.authority().map_or("", |authority| authority.as_str());
        let has_port = !authority.ends_with(uri.host().unwrap_or_default());
        let port = match uri.port_u16() {
            Some(0) | None if has_port => return Err(format!("{url}: has no port 1 to 65535")),
            port => port.unwrap_or(usual),
        };
        let path = uri.path_and_query().map_or("/", |path| path.as_str());
        Ok(Self {
            is_tls,
            host: host.to_owned(),
            port,
            path: path.to_owned(),
        })
    }

    /// What goes into the Host header.
    pub(super) fn authority(&self) -> String {
        let usual = if self.is_tls { 443 } else { 80 };
        let host = match self.host.contains(':') {
            true => format!("[{}]", self.host),
            false => self.host.clone(),
        };
        match self.port == usual {
            true => host,
            false => format!("{host}:{}", self.port),
        }
    }
}

/// `GET`.
pub(super) async fn fetch(stream: Box<dyn Stream>, host: &str, path: &str) -> HttpSeen {
    exchange(stream, host, path, None).await.0
}

/// `POST`, with the answer's bytes where there is one of status 200.
pub(super) async fn post(
    stream: Box<dyn Stream>,
    host: &str,
    path: &str,
    content_type: &str,
    body: Vec<u8>,
) -> (HttpSeen, Option<Der>) {
    let (seen, body) = exchange(stream, host, path, Some((content_type, body))).await;
    let is_whole = body.len() < MAX_BODY_BYTES;
    match seen {
        // Its bytes are kept as such.
        HttpSeen::Answer {
            status: 200,
            content_type,
            location,
            ..
        } if is_whole => {
            let seen = HttpSeen::Answer {
                status: 200,
                content_type,
                location,
                body: String::new(),
            };
            (seen, Some(Der(body)))
        }
        other => (other, None),
    }
}

async fn exchange(
    stream: Box<dyn Stream>,
    host: &str,
    path: &str,
    sent: Option<(&str, Vec<u8>)>,
) -> (HttpSeen, Vec<u8>) {
    let request = Request::builder()
        .uri(path)
        .header(HOST, host)
        .header(USER_AGENT, "malha-check")
        .header(ACCEPT, "*/*")
        .header(CONNECTION, "close");
    let request = match sent {
        None => request.method(Method::GET).body(Full::default()),
        Some((content_type, body)) => request
            .method(Method::POST)
            .header(CONTENT_TYPE, content_type)
            .body(Full::new(Bytes::from(body))),
    };
    let broken = |error: String| (HttpSeen::Broken { error }, Vec::new());
    let request = match request {
        Ok(request) => request,
        Err(error) => return broken(error.to_string()),
    };
    match timeout(EXCHANGE_LIMIT, answer(stream, request)).await {
        Ok(Ok(answer)) => answer,
        Ok(Err(error)) => broken(error.to_string()),
        Err(_) => broken(format!("no whole answer in {} s", EXCHANGE_LIMIT.as_secs())),
    }
}

async fn answer(
    stream: Box<dyn Stream>,
    request: Request<Full<Bytes>>,
) -> Result<(HttpSeen, Vec<u8>), hyper::Error> {
    let mut builder = hyper::client::conn::http1::Builder::new();
    builder
        .max_headers(MAX_HEADERS)
        .max_buf_size(MAX_HEADER_BYTES);
    let (mut sender, connection) = builder.handshake(TokioIo::new(stream)).await?;
    let exchange = async {
        let response = sender.send_request(request).await?;
        let (head, mut body) = response.into_parts();
        let mut bytes = Vec::new();
        while bytes.len() < MAX_BODY_BYTES {
            let Some(frame) = body.frame().await.transpose()? else {
                break;
            };
            if let Some(data) = frame.data_ref() {
                let room = MAX_BODY_BYTES - bytes.len();
                bytes.extend_from_slice(&data[..data.len().min(room)]);
            }
        }
        let shown = &bytes[..bytes.len().min(MAX_SHOWN_BYTES)];
        let seen = HttpSeen::Answer {
            status: head.status.as_u16(),
            content_type: text(&head.headers, CONTENT_TYPE),
            location: text(&head.headers, LOCATION),
            body: String::from_utf8_lossy(shown).into_owned(),
        };
        Ok((seen, bytes))
    };
    // The connection moves the exchange's bytes, and may end before it or after.
    tokio::pin!(exchange);
    tokio::select! {
        answer = &mut exchange => answer,
        ended = connection => match ended {
            Ok(()) => exchange.await,
            Err(error) => Err(error),
        },
    }
}

fn text(headers: &HeaderMap, name: http::HeaderName) -> Option<String> {
    let value = String::from_utf8_lossy(headers.get(name)?.as_bytes()).into_owned();
    Some(value.chars().take(MAX_HEADER_CHARS).collect())
}

const EXCHANGE_LIMIT: Duration = Duration::from_secs(10);
const MAX_HEADERS: usize = 100;
const MAX_HEADER_BYTES: usize = 32 * 1_024;
const MAX_HEADER_CHARS: usize = 300;
/// OCSP answers and time stamps have a few thousand bytes.
const MAX_BODY_BYTES: usize = 64 * 1_024;
/// What is kept of other answers.
const MAX_SHOWN_BYTES: usize = 512;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_are_taken_apart() {
        let target = Target::parse("http://ocsp.example:8888/x?y=1").unwrap();
        assert_eq!(
            (
                target.is_tls,
                &target.host[..],
                target.port,
                &target.path[..]
            ),
            (false, "ocsp.example", 8888, "/x?y=1")
        );
        assert_eq!(target.authority(), "ocsp.example:8888");
        let target = Target::parse("https://[2001:db8::1]").unwrap();
        assert_eq!((&target.host[..], target.port), ("2001:db8::1", 443));
        assert_eq!(target.authority(), "[2001:db8::1]");
        for wrong in [
            "",
            "ocsp.example",
            "ftp://ocsp.example/",
            "http://",
            "https:///x",
            "http://ocsp.example:99999999/x",
            "http://ocsp.example:0/",
            "https://[2001:db8::1]:65536",
        ] {
            assert!(Target::parse(wrong).is_err(), "{wrong}");
        }
    }
}
