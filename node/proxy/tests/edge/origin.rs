//! Origins: a real HTTP server with pages for every story, and raw sockets that misbehave on purpose.

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use futures_util::{SinkExt, StreamExt};
use http::{HeaderMap, HeaderValue, Request, Response, StatusCode};
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use sha2::{Digest, Sha256};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tokio_tungstenite::tungstenite::protocol::Role;

/// Size of the big download and upload.
pub(crate) const BIG_BYTES: usize = 10 * 1024 * 1024;
const CHUNK_BYTES: usize = 64 * 1024;

type OriginBody = BoxBody<Bytes, io::Error>;

/// A running HTTP server.
pub(crate) struct Origin {
    pub(crate) address: SocketAddr,
    pub(crate) connections: Arc<AtomicUsize>,
    pub(crate) requests: Arc<AtomicUsize>,
}

impl Origin {
    pub(crate) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let origin = Self {
            address: listener.local_addr().unwrap(),
            connections: Arc::default(),
            requests: Arc::default(),
        };
        let (connections, requests) = (origin.connections.clone(), origin.requests.clone());
        tokio::spawn(async move {
            while let Ok((tcp, _)) = listener.accept().await {
                connections.fetch_add(1, Ordering::SeqCst);
                let requests = requests.clone();
                let service = service_fn(move |request| {
                    requests.fetch_add(1, Ordering::SeqCst);
                    async move { Ok::<_, Infallible>(page(request).await) }
                });
                let http = hyper::server::conn::http1::Builder::new();
                let connection = http.serve_connection(TokioIo::new(tcp), service);
                tokio::spawn(connection.with_upgrades());
            }
        });
        origin
    }

    pub(crate) fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }

    pub(crate) fn requests(&self) -> usize {
        self.requests.load(Ordering::SeqCst)
    }
}

/// Accepts connections and lets `behave` do with each what it likes; `behave` knows how many came before.
pub(crate) async fn raw_origin<F, R>(behave: F) -> SocketAddr
where
    F: Fn(TcpStream, usize) -> R + Send + 'static,
    R: Future<Output = ()> + Send + 'static,
{
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        let mut before = 0;
        while let Ok((tcp, _)) = listener.accept().await {
            tokio::spawn(behave(tcp, before));
            before += 1;
        }
    });
    address
}

/// One request head, as text.
pub(crate) async fn read_head(tcp: &mut TcpStream) -> String {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        match tcp.read_u8().await {
            Ok(byte) => head.push(byte),
            Err(_) => break,
        }
    }
    String::from_utf8(head).unwrap()
}

pub(crate) async fn say(tcp: &mut TcpStream, text: &str) {
    tcp.write_all(text.as_bytes()).await.unwrap();
    tcp.flush().await.unwrap();
}

/// Bytes that differ everywhere, so that a lost or doubled chunk changes the hash.
pub(crate) fn big() -> Bytes {
    let words =
        (0..BIG_BYTES as u32 / 4).map(|word| word.wrapping_mul(2_654_435_761).to_le_bytes());
    words.flatten().collect::<Vec<u8>>().into()
}

pub(crate) fn digest(bytes: &[u8]) -> String {
    let digest = Sha256::digest(bytes);
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
}

async fn page(request: Request<Incoming>) -> Response<OriginBody> {
    match request.uri().path() {
        "/hash" => hash(request).await,
        "/big" => Response::new(chunks(big())),
        "/big-sized" => {
            let mut response = Response::new(whole(big()));
            let length = HeaderValue::from(BIG_BYTES);
            response.headers_mut().insert("content-length", length);
            response
        }
        "/duplex" => Response::new(request.into_body().map_err(io::Error::other).boxed()),
        "/trailers" => trailers(request).await,
        "/never" => std::future::pending().await,
        "/204" => status(StatusCode::NO_CONTENT),
        "/304" => {
            let mut response = status(StatusCode::NOT_MODIFIED);
            let tag = HeaderValue::from_static("\"v1\"");
            response.headers_mut().insert("etag", tag);
            response
        }
        "/ws" => websocket(request),
        "/hop-headers" => {
            let mut response = Response::new(whole("x"));
            for (name, value) in [
                ("connection", "x-private"),
                ("x-private", "1"),
                ("keep-alive", "timeout=5"),
                ("x-malha-hop", "edge"),
                ("x-public", "1"),
            ] {
                let value = HeaderValue::from_static(value);
                response.headers_mut().append(name, value);
            }
            response
        }
        _ => echo(&request),
    }
}

/// The request head as the origin saw it.
fn echo(request: &Request<Incoming>) -> Response<OriginBody> {
    let mut seen = format!("{} {}\n", request.method(), request.uri());
    for (name, value) in request.headers() {
        seen.push_str(&format!("{name}: {}\n", value.to_str().unwrap()));
    }
    Response::new(whole(seen))
}

async fn hash(request: Request<Incoming>) -> Response<OriginBody> {
    let mut body = request.into_body();
    let (mut hasher, mut count) = (Sha256::new(), 0);
    while let Some(frame) = body.frame().await {
        let Ok(frame) = frame else {
            return status(StatusCode::BAD_REQUEST);
        };
        if let Some(data) = frame.data_ref() {
            hasher.update(data);
            count += data.len();
        }
    }
    let digest = hasher.finalize();
    let digest: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
    Response::new(whole(format!("{count} {digest}")))
}

async fn trailers(request: Request<Incoming>) -> Response<OriginBody> {
    let collected = request.into_body().collect().await.unwrap();
    let received = collected
        .trailers()
        .and_then(|fields| fields.get("x-sum").cloned());
    let mut fields = HeaderMap::new();
    fields.insert(
        "x-sum",
        received.unwrap_or(HeaderValue::from_static("none")),
    );
    let frames = [
        Ok::<_, io::Error>(Frame::data(Bytes::from_static(b"body"))),
        Ok(Frame::trailers(fields)),
    ];
    let body = StreamBody::new(futures_util::stream::iter(frames));
    let mut response = Response::new(BodyExt::boxed(body));
    let names = HeaderValue::from_static("x-sum");
    response.headers_mut().insert("trailer", names);
    response
}

fn websocket(mut request: Request<Incoming>) -> Response<OriginBody> {
    let Some(key) = request.headers().get("sec-websocket-key") else {
        return status(StatusCode::UPGRADE_REQUIRED);
    };
    let accept = derive_accept_key(key.as_bytes());
    let seen = request.headers().get("x-forwarded-for").cloned();
    let upgraded = hyper::upgrade::on(&mut request);
    tokio::spawn(async move {
        let io = TokioIo::new(upgraded.await.unwrap());
        let mut socket = WebSocketStream::from_raw_socket(io, Role::Server, None).await;
        while let Some(Ok(message)) = socket.next().await {
            if message.is_close() || socket.send(message).await.is_err() {
                break;
            }
        }
    });
    let mut response = status(StatusCode::SWITCHING_PROTOCOLS);
    let headers = response.headers_mut();
    headers.insert("connection", HeaderValue::from_static("Upgrade"));
    headers.insert("upgrade", HeaderValue::from_static("websocket"));
    headers.insert("sec-websocket-accept", accept.parse().unwrap());
    if let Some(seen) = seen {
        headers.insert("x-seen", seen);
    }
    response
}

fn status(status: StatusCode) -> Response<OriginBody> {
    let mut response = Response::new(whole(""));
    *response.status_mut() = status;
    response
}

fn whole(bytes: impl Into<Bytes>) -> OriginBody {
    let body = Full::new(bytes.into());
    BodyExt::boxed(body.map_err(|never| match never {}))
}

/// Without a declared length.
fn chunks(bytes: Bytes) -> OriginBody {
    let starts = (0..bytes.len()).step_by(CHUNK_BYTES);
    let frames = starts.map(move |start| {
        let end = bytes.len().min(start + CHUNK_BYTES);
        Ok::<_, io::Error>(Frame::data(bytes.slice(start..end)))
    });
    BodyExt::boxed(StreamBody::new(futures_util::stream::iter(frames)))
}

/// A body that a test feeds frame by frame.
pub(crate) fn fed() -> (mpsc::Sender<Bytes>, OriginBody) {
    let (feed, frames) = mpsc::channel::<Bytes>(1);
    let frames = futures_util::stream::unfold(frames, |mut frames| async move {
        let bytes = frames.recv().await?;
        Some((Ok::<_, io::Error>(Frame::data(bytes)), frames))
    });
    (feed, BodyExt::boxed(StreamBody::new(frames)))
}
