//! What strangers can make the edge hold, and for how long.

use std::sync::Mutex;
use std::time::Duration;

use bytes::Bytes;
use http::HeaderValue;
use http_body_util::BodyExt;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::oneshot;

use crate::origin::{Origin, fed, raw_origin, read_head, say};
use crate::rig::{Answer, HOST, Plan, empty, get, read_until_closed, request, request2};

const SHORT: Duration = Duration::from_millis(100);

#[tokio::test]
async fn a_target_over_16_kib_is_414_and_headers_over_64_kib_are_431() {
    let origin = Origin::start().await;
    let rig = Plan::new().start_before(origin.address);
    let long = format!("/{}", "a".repeat(16 * 1024));
    assert_eq!(rig.get(&long).await.status, 414);
    assert_eq!(rig.get(&long[..16 * 1024]).await.status, 200);

    let field = "a".repeat(60 * 1024);
    let close = "Connection: close\r\n";
    let fits = format!("GET / HTTP/1.1\r\nHost: {HOST}\r\n{close}X-Large: {field}\r\n\r\n");
    assert!(rig.raw(fits.as_bytes()).await.starts_with("HTTP/1.1 200"));
    let field = "a".repeat(65 * 1024);
    let over = format!("GET / HTTP/1.1\r\nHost: {HOST}\r\n{close}X-Large: {field}\r\n\r\n");
    assert!(rig.raw(over.as_bytes()).await.starts_with("HTTP/1.1 431"));
    let many = "X-Field: 1\r\n".repeat(200);
    let over = format!("GET / HTTP/1.1\r\nHost: {HOST}\r\n{close}{many}\r\n");
    assert!(rig.raw(over.as_bytes()).await.starts_with("HTTP/1.1 431"));
}

#[tokio::test]
async fn http2_header_lists_have_the_same_limit() {
    let origin = Origin::start().await;
    let rig = Plan::new().start_before(origin.address);
    let mut sender = rig.http2(HOST).await;
    let mut request = request2("GET", "/", empty());
    let field = HeaderValue::from_str(&"a".repeat(66 * 1024)).unwrap();
    request.headers_mut().insert("x-large", field);
    let answer = Answer::of(sender.send_request(request).await.unwrap()).await;
    assert_eq!(answer.status, 431);
}

#[tokio::test]
async fn one_source_has_a_limited_number_of_connections() {
    let mut plan = Plan::new();
    plan.config.limits.connections_per_source = 2;
    let rig = plan.start();
    let first = rig.tls(HOST, &[b"http/1.1"]).await.unwrap();
    let _second = rig.tls(HOST, &[b"http/1.1"]).await.unwrap();
    assert!(rig.tls(HOST, &[b"http/1.1"]).await.is_err());
    assert_eq!(rig.counters.open_connections.value(), 2);
    assert_eq!(rig.counters.refused_connections.value(), 1);
    drop(first);
    while rig.counters.open_connections.value() == 2 {
        tokio::task::yield_now().await;
    }
    assert!(rig.tls(HOST, &[b"http/1.1"]).await.is_ok());
}

#[tokio::test]
async fn a_client_that_does_not_say_hello_is_dropped() {
    let mut plan = Plan::new();
    plan.config.limits.handshake = SHORT;
    let rig = plan.start();
    let mut silent = TcpStream::connect(rig.https()).await.unwrap();
    assert_eq!(silent.read(&mut [0; 1]).await.unwrap(), 0);
    assert_eq!(rig.counters.failed_handshakes.value(), 1);
}

#[tokio::test]
async fn a_request_head_that_never_ends_is_dropped() {
    let mut plan = Plan::new();
    plan.config.limits.header_read = SHORT;
    let rig = plan.start();
    let mut stream = rig.tls(HOST, &[b"http/1.1"]).await.unwrap();
    stream.write_all(b"GET / HTTP/1.1\r\nHost: ").await.unwrap();
    read_until_closed(&mut stream).await;
}

#[tokio::test]
async fn an_http2_connection_without_requests_is_dismissed() {
    let origin = Origin::start().await;
    let mut plan = Plan::new();
    plan.config.limits.unused = SHORT;
    let rig = plan.start_before(origin.address);
    let mut sender = rig.http2(HOST).await;
    let response = sender.send_request(request2("GET", "/", empty())).await;
    Answer::of(response.unwrap()).await;
    while !sender.is_closed() {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn an_upload_that_stalls_is_the_clients_fault() {
    let origin = Origin::start().await;
    let mut plan = Plan::new();
    plan.config.limits.idle = SHORT;
    // Shorter than the stall: the origin is not blamed for a client that sends nothing.
    plan.config.limits.first_byte = SHORT / 4;
    let rig = plan.start_before(origin.address);
    let mut sender = rig.http2(HOST).await;
    let (feed, body) = fed();
    feed.send(Bytes::from_static(b"part")).await.unwrap();
    let upload = request2("POST", "/hash", body);
    let answer = Answer::of(sender.send_request(upload).await.unwrap()).await;
    assert_eq!(answer.status, 408);
    assert_eq!(answer.header("x-malha-hop"), "client");
}

#[tokio::test]
async fn a_response_that_stalls_is_aborted() {
    let origin = raw_origin(|mut tcp, _| async move {
        read_head(&mut tcp).await;
        say(
            &mut tcp,
            "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf",
        )
        .await;
        std::future::pending::<()>().await;
    })
    .await;
    let mut plan = Plan::new();
    plan.config.limits.idle = SHORT;
    let rig = plan.start_before(origin);
    let mut sender = rig.http2(HOST).await;
    let response = sender.send_request(request2("GET", "/", empty())).await;
    assert!(response.unwrap().into_body().collect().await.is_err());
}

#[tokio::test]
async fn a_client_that_stops_reading_does_not_hold_the_origin_forever() {
    let (gone, left) = oneshot::channel::<()>();
    let gone = Mutex::new(Some(gone));
    let origin = raw_origin(move |mut tcp, _| {
        let gone = gone.lock().unwrap().take();
        async move {
            read_head(&mut tcp).await;
            say(&mut tcp, "HTTP/1.1 200 OK\r\n\r\n").await;
            while tcp.write_all(&[b'x'; 64 * 1024]).await.is_ok() {}
            gone.unwrap().send(()).unwrap();
        }
    })
    .await;
    let mut plan = Plan::new();
    plan.config.limits.idle = SHORT;
    plan.config.limits.first_byte = SHORT;
    let rig = plan.start_before(origin);
    let mut stream = rig.tls(HOST, &[b"http/1.1"]).await.unwrap();
    let head = format!("GET / HTTP/1.1\r\nHost: {HOST}\r\n\r\n");
    stream.write_all(head.as_bytes()).await.unwrap();
    // Nothing is read, so every buffer on the way fills up.
    left.await.unwrap();
}

#[tokio::test]
async fn a_backend_at_its_limit_makes_the_edge_busy() {
    let origin = Origin::start().await;
    let mut plan = Plan::new();
    plan.config.limits.connections_per_backend = 1;
    plan.config.limits.dial = SHORT;
    let rig = plan.start_before(origin.address);
    let (feed, body) = fed();
    let mut sender = rig.http1(HOST).await;
    let held = sender.send_request(request("POST", "/duplex", body)).await;
    let answer = rig.get("/").await;
    assert_eq!(answer.status, 503);
    assert_eq!(answer.header("x-malha-hop"), "edge");
    assert_eq!(answer.header("retry-after"), "5");
    drop(feed);
    Answer::of(held.unwrap()).await;
    assert_eq!(rig.get("/").await.status, 200);
}

#[tokio::test]
async fn kept_connections_are_closed_after_their_time() {
    let (gone, left) = oneshot::channel::<()>();
    let gone = Mutex::new(Some(gone));
    let origin = raw_origin(move |mut tcp, _| {
        let gone = gone.lock().unwrap().take();
        async move {
            read_head(&mut tcp).await;
            say(&mut tcp, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").await;
            read_head(&mut tcp).await;
            gone.unwrap().send(()).unwrap();
        }
    })
    .await;
    let mut plan = Plan::new();
    plan.config.limits.pool_idle = SHORT;
    let rig = plan.start_before(origin);
    assert_eq!(rig.ask(get("/")).await.status, 200);
    left.await.unwrap();
}
