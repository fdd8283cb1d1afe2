//! HTTP on one listener for API and dashboard: bounded in connections, with deadlines against slow clients, drained on
//! shutdown. What is served is the router's business.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::ConnectInfo;
use axum::http::{HeaderMap, Request};
use hyper::body::Incoming;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use hyper_util::server::graceful::{GracefulShutdown, Watcher};
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tower::ServiceExt;

/// Serves until `stop`. `behind_edge`: the listener is reached through our own edge only, whose `X-Forwarded-For` names the
/// visitor; anywhere else that header is somebody's claim and is not looked at.
pub async fn serve(
    listener: TcpListener,
    router: Router,
    behind_edge: bool,
    stop: CancellationToken,
) {
    let places = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    let graceful = GracefulShutdown::new();
    let (connections, cut) = (TaskTracker::new(), CancellationToken::new());
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = stop.cancelled() => break,
        };
        match (accepted, places.clone().try_acquire_owned()) {
            (Ok((stream, remote)), Ok(place)) => {
                let served = serve_connection(
                    stream,
                    remote,
                    router.clone(),
                    behind_edge,
                    graceful.watcher(),
                );
                let cut = cut.clone();
                connections.spawn(async move {
                    let _place = place;
                    tokio::select! {
                        () = served => {}
                        () = cut.cancelled() => {}
                    }
                });
            }
            (Ok(_), Err(_)) => tracing::debug!("connection refused: {MAX_CONNECTIONS} are open"),
            (Err(error), _) => {
                tracing::warn!(%error, "accepting API connections");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
    drop(listener);
    connections.close();
    if tokio::time::timeout(DRAIN, graceful.shutdown())
        .await
        .is_err()
    {
        cut.cancel();
    }
    connections.wait().await;
}

async fn serve_connection(
    stream: TcpStream,
    remote: SocketAddr,
    router: Router,
    behind_edge: bool,
    watcher: Watcher,
) {
    // Answers are whole messages; waiting for more to send would only delay them.
    let _ = stream.set_nodelay(true);
    let service = router.map_request(move |mut request: Request<Incoming>| {
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
    if let Err(error) = watcher.watch(connection).await {
        tracing::debug!(%error, "API connection");
    }
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
            stop.clone(),
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
                stop.clone(),
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
}
