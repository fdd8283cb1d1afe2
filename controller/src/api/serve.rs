//! HTTP on one listener for API and dashboard: bounded in connections, with deadlines against slow clients, drained on
//! shutdown. What is served is the router's business.

use std::net::{IpAddr, SocketAddr};
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::ConnectInfo;
use axum::http::{HeaderMap, Request};
use hyper::body::Incoming;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tower::ServiceExt;

/// Serves until `stop`, and whoever comes later until `last`. `behind_edge`: the listener is reached through our own edge only, whose
/// `X-Forwarded-For` names the visitor; anywhere else that header is somebody's claim and is not looked at.
pub async fn serve(
    listener: TcpListener,
    router: Router,
    behind_edge: bool,
    [stop, last]: [CancellationToken; 2],
) {
    let door = Door {
        listener,
        router,
        behind_edge,
        places: Arc::new(Semaphore::new(MAX_CONNECTIONS)),
    };
    let (early, late) = (Batch::default(), Batch::default());
    door.accept(&early, &stop).await;
    let accepting = async {
        door.accept(&late, &last).await;
        drop(door);
    };
    tokio::join!(early.end(), accepting);
    late.end().await;
}

/// Where connections come in.
struct Door {
    listener: TcpListener,
    router: Router,
    behind_edge: bool,
    places: Arc<Semaphore>,
}

/// Connections that end together.
#[derive(Default)]
struct Batch {
    connections: TaskTracker,
    stop: Stop,
}

/// The two steps of ending a connection.
#[derive(Clone, Default)]
struct Stop {
    /// After what is under way.
    leave: CancellationToken,
    /// Now.
    cut: CancellationToken,
}

impl Door {
    async fn accept(&self, batch: &Batch, stop: &CancellationToken) {
        loop {
            let accepted = tokio::select! {
                biased;
                () = stop.cancelled() => return,
                accepted = self.listener.accept() => accepted,
            };
            match (accepted, self.places.clone().try_acquire_owned()) {
                (Ok((stream, remote)), Ok(place)) => {
                    let (router, stop) = (self.router.clone(), batch.stop.clone());
                    let served = serve_connection(stream, remote, router, self.behind_edge, stop);
                    batch.connections.spawn(async move {
                        let _place = place;
                        served.await;
                    });
                }
                (Ok(_), Err(_)) => {
                    tracing::debug!("connection refused: {MAX_CONNECTIONS} are open");
                }
                (Err(error), _) => {
                    tracing::warn!(%error, "accepting API connections");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }
}

impl Batch {
    async fn end(&self) {
        self.connections.close();
        self.stop.leave.cancel();
        if timeout(DRAIN, self.connections.wait()).await.is_err() {
            self.stop.cut.cancel();
        }
        self.connections.wait().await;
    }
}

async fn serve_connection(
    stream: TcpStream,
    remote: SocketAddr,
    router: Router,
    behind_edge: bool,
    stop: Stop,
) {
    // Answers are whole messages; waiting for more to send would only delay them.
    let _ = stream.set_nodelay(true);
    let asked = CancellationToken::new();
    let has_asked = asked.clone();
    let service = router.map_request(move |mut request: Request<Incoming>| {
        has_asked.cancel();
        let forwarded = behind_edge.then(|| visitor(request.headers())).flatten();
        let source = forwarded.map_or(remote, |visitor| SocketAddr::new(visitor, 0));
        request.extensions_mut().insert(ConnectInfo(source));
        request.map(axum::body::Body::new)
    });
    let mut builder = Builder::new(TokioExecutor::new());
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER_TIMEOUT)
        .max_headers(MAX_HEADERS);
    builder
        .http2()
        .timer(TokioTimer::new())
        .keep_alive_interval(KEEP_ALIVE)
        .keep_alive_timeout(KEEP_ALIVE)
        .max_concurrent_streams(MAX_STREAMS)
        .max_header_list_size(MAX_HEADER_BYTES);
    let connection =
        builder.serve_connection(TokioIo::new(stream), TowerToHyperService::new(service));
    let mut connection = pin!(connection);
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        () = patience(&stop.leave, &asked) => {
            connection.as_mut().graceful_shutdown();
            tokio::select! {
                ended = connection => ended,
                () = stop.cut.cancelled() => return,
            }
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%error, "API connection");
    }
}

/// Ends when a connection must leave: who has just come is waited for, since the first request may be under way.
async fn patience(leave: &CancellationToken, asked: &CancellationToken) {
    leave.cancelled().await;
    let _ = timeout(FIRST_REQUEST, asked.cancelled()).await;
}

/// The address that our edge put in; it replaces what the visitor sent, so there is one.
fn visitor(headers: &HeaderMap) -> Option<IpAddr> {
    let value = headers.get_all("x-forwarded-for").iter().next_back()?;
    value.to_str().ok()?.rsplit(',').next()?.trim().parse().ok()
}

const MAX_CONNECTIONS: usize = 2_048;
/// For the head of a request, and for a connection that waits for its next one: longer than the edge keeps an idle one, so
/// that no request of it meets a connection that is just being closed.
const HEADER_TIMEOUT: Duration = Duration::from_secs(75);
const KEEP_ALIVE: Duration = Duration::from_secs(30);
const MAX_HEADERS: usize = 64;
const MAX_HEADER_BYTES: u32 = 32 * 1024;
const MAX_STREAMS: u32 = 64;
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// For the first request of a client that has just connected when the server stops.
const FIRST_REQUEST: Duration = Duration::from_secs(1);
/// Requests get this long to end; event streams never end by themselves.
const DRAIN: Duration = Duration::from_secs(3);

#[cfg(test)]
mod tests {
    use super::*;
    use axum::routing::get;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    async fn source_seen(behind_edge: bool) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let source = async |ConnectInfo(source): ConnectInfo<SocketAddr>| source.ip().to_string();
        let stop = CancellationToken::new();
        let served = tokio::spawn(serve(
            listener,
            Router::new().route("/", get(source)),
            behind_edge,
            [stop.clone(), stop.clone()],
        ));
        let mut stream = TcpStream::connect(address).await.unwrap();
        let request =
            "GET / HTTP/1.1\r\nHost: a\r\nX-Forwarded-For: 192.0.2.9\r\nConnection: close\r\n\r\n";
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        stop.cancel();
        served.await.unwrap();
        answer.rsplit("\r\n\r\n").next().unwrap().to_owned()
    }

    #[tokio::test]
    async fn the_visitor_is_who_the_edge_says_and_only_behind_the_edge() {
        assert_eq!(source_seen(true).await, "192.0.2.9");
        assert_eq!(source_seen(false).await, "127.0.0.1");
    }

    #[tokio::test]
    async fn an_open_event_stream_does_not_keep_the_server_from_ending() {
        tokio::time::timeout(Duration::from_secs(20), async {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let address = listener.local_addr().unwrap();
            let endless = async || {
                let first = futures_util::stream::once(async {
                    Ok::<_, std::io::Error>(bytes::Bytes::from("x"))
                });
                axum::body::Body::from_stream(futures_util::StreamExt::chain(
                    first,
                    futures_util::stream::pending(),
                ))
            };
            let stop = CancellationToken::new();
            let served = tokio::spawn(serve(
                listener,
                Router::new().route("/", get(endless)),
                false,
                [stop.clone(), stop.clone()],
            ));
            let mut stream = TcpStream::connect(address).await.unwrap();
            stream
                .write_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
                .await
                .unwrap();
            stream.read_u8().await.unwrap();
            stop.cancel();
            served.await.unwrap();
        })
        .await
        .unwrap();
    }

    /// A server on loopback that answers `a`, and its end.
    async fn serving(stops: [CancellationToken; 2]) -> (SocketAddr, tokio::task::JoinHandle<()>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let router = Router::new().route("/", get(async || "a"));
        (address, tokio::spawn(serve(listener, router, true, stops)))
    }

    async fn ask(stream: &mut TcpStream) -> String {
        let request = "GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        answer
    }

    #[tokio::test]
    async fn who_was_let_in_is_answered_though_the_server_has_been_told_to_end() {
        let stop = CancellationToken::new();
        let (address, served) = serving([stop.clone(), stop.clone()]).await;
        let mut early = TcpStream::connect(address).await.unwrap();
        // Taken after the other, which is so taken, too.
        let mut later = TcpStream::connect(address).await.unwrap();
        assert!(ask(&mut later).await.ends_with('a'));
        stop.cancel();
        // All that is idle has heard of it, and done what it does then.
        for _ in 0..20 {
            tokio::task::yield_now().await;
        }
        assert!(ask(&mut early).await.ends_with('a'));
        timeout(Duration::from_secs(20), served)
            .await
            .unwrap()
            .unwrap();
    }

    #[tokio::test]
    async fn whom_the_edge_still_sends_is_answered_until_it_has_ended() {
        let [stop, last] = [(); 2].map(|()| CancellationToken::new());
        let (address, served) = serving([stop.clone(), last.clone()]).await;
        stop.cancel();
        tokio::task::yield_now().await;
        let mut late = TcpStream::connect(address).await.unwrap();
        assert!(ask(&mut late).await.ends_with('a'));
        last.cancel();
        timeout(Duration::from_secs(20), served)
            .await
            .unwrap()
            .unwrap();
        assert!(TcpStream::connect(address).await.is_err());
    }
}
