//! Connections that leave HTTP: WebSocket from HTTP/1.1 and from HTTP/2.

use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use http::{HeaderValue, Method};
use hyper_util::rt::TokioIo;
use tokio_tungstenite::tungstenite::protocol::Role;
use tokio_tungstenite::tungstenite::{Error, Message};
use tokio_tungstenite::{WebSocketStream, client_async};

use crate::origin::{Origin, raw_origin, read_head, say};
use crate::rig::{Answer, HOST, NEVER, Plan, Rig, empty, request2};

async fn echo_works<S>(socket: &mut WebSocketStream<S>)
where
    S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin,
{
    for message in [Message::text("olá"), Message::binary(vec![7; 100_000])] {
        socket.send(message.clone()).await.unwrap();
        assert_eq!(socket.next().await.unwrap().unwrap(), message);
    }
}

async fn connect(
    rig: &Rig,
) -> WebSocketStream<impl tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin> {
    let stream = rig.tls(HOST, &[b"http/1.1"]).await.unwrap();
    let (socket, response) = client_async(format!("wss://{HOST}/ws"), stream)
        .await
        .unwrap();
    assert_eq!(response.headers()["x-seen"], "127.0.0.1");
    socket
}

#[tokio::test]
async fn a_websocket_echoes_over_http1() {
    let origin = Origin::start().await;
    let rig = Plan::new().start_before(origin.address);
    let mut socket = connect(&rig).await;
    echo_works(&mut socket).await;
    socket.close(None).await.unwrap();
    assert_eq!(rig.counters.upgrades.value(), 1);
}

#[tokio::test]
async fn a_websocket_echoes_over_http2_beside_other_requests() {
    let origin = Origin::start().await;
    let rig = Plan::new().start_before(origin.address);
    let mut sender = rig.http2(HOST).await;
    // The first answer proves that the settings, with extended CONNECT, have arrived.
    let answer = sender.send_request(request2("GET", "/", empty())).await;
    Answer::of(answer.unwrap()).await;
    let mut request = request2("CONNECT", "/ws", empty());
    *request.method_mut() = Method::CONNECT;
    let websocket = hyper::ext::Protocol::from_static("websocket");
    request.extensions_mut().insert(websocket);
    let version = HeaderValue::from_static("13");
    request
        .headers_mut()
        .insert("sec-websocket-version", version);
    let response = sender.send_request(request).await.unwrap();
    assert_eq!(response.status(), 200);
    assert!(!response.headers().contains_key("sec-websocket-accept"));
    let upgraded = TokioIo::new(hyper::upgrade::on(response).await.unwrap());
    let mut socket = WebSocketStream::from_raw_socket(upgraded, Role::Client, None).await;
    echo_works(&mut socket).await;

    let answer = sender.send_request(request2("GET", "/", empty())).await;
    assert_eq!(answer.unwrap().status(), 200);
    echo_works(&mut socket).await;
}

#[tokio::test]
async fn an_origin_that_refuses_the_upgrade_is_relayed() {
    let origin = raw_origin(|mut tcp, _| async move {
        read_head(&mut tcp).await;
        say(
            &mut tcp,
            "HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\n\r\nno",
        )
        .await;
    })
    .await;
    let rig = Plan::new().start_before(origin);
    let stream = rig.tls(HOST, &[b"http/1.1"]).await.unwrap();
    let error = client_async(format!("wss://{HOST}/ws"), stream)
        .await
        .unwrap_err();
    match error {
        Error::Http(response) => assert_eq!(response.status(), 403),
        other => panic!("{other}"),
    }
}

#[tokio::test]
async fn an_http2_client_is_not_told_of_an_upgrade_that_did_not_happen() {
    let origin = Origin::start().await;
    let rig = Plan::new().start_before(origin.address);
    let mut sender = rig.http2(HOST).await;
    let answer = sender.send_request(request2("GET", "/", empty())).await;
    Answer::of(answer.unwrap()).await;
    // The page answers 200 without switching protocols.
    let mut request = request2("CONNECT", "/page", empty());
    *request.method_mut() = Method::CONNECT;
    let websocket = hyper::ext::Protocol::from_static("websocket");
    request.extensions_mut().insert(websocket);
    let response = sender.send_request(request).await.unwrap();
    assert_eq!(response.status(), 502);
}

#[tokio::test]
async fn a_silent_websocket_ends_after_the_idle_limit() {
    let origin = Origin::start().await;
    let mut plan = Plan::new();
    plan.config.limits.idle = Duration::from_millis(100);
    let rig = plan.start_before(origin.address);
    let mut socket = connect(&rig).await;
    echo_works(&mut socket).await;
    assert!(!matches!(socket.next().await, Some(Ok(_))));
}

#[tokio::test]
async fn an_upgraded_connection_still_counts_as_open() {
    let origin = Origin::start().await;
    let rig = Plan::new().start_before(origin.address);
    let mut socket = connect(&rig).await;
    echo_works(&mut socket).await;
    assert_eq!(rig.counters.open_connections.value(), 1);
    drop(socket);
    while rig.counters.open_connections.value() > 0 {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn a_websocket_ends_as_soon_as_the_edge_begins_to_stop() {
    let origin = Origin::start().await;
    let mut plan = Plan::new();
    plan.config.limits.drain = NEVER;
    let rig = plan.start_before(origin.address);
    let mut socket = connect(&rig).await;
    echo_works(&mut socket).await;
    rig.shutdown.cancel();
    assert!(!matches!(socket.next().await, Some(Ok(_))));
    drop(socket);
    rig.stop().await;
}
