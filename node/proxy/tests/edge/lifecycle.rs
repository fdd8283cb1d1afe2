//! Starting and stopping: ports that are taken, requests under way at shutdown.

use std::time::Duration;

use bytes::Bytes;
use http_body_util::BodyExt;
use malha_proxy::{Edge, EdgeConfig, EdgeError};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::origin::{Origin, fed};
use crate::rig::{Answer, HOST, NEVER, Plan, empty, get, http1_on, request, request2};

#[tokio::test]
async fn a_port_that_is_taken_is_named() {
    let taken = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = taken.local_addr().unwrap();
    let error = match Edge::bind(EdgeConfig::new(vec![address], 443)) {
        Ok(_) => panic!("two listeners on one port"),
        Err(error) => error,
    };
    assert!(error.to_string().contains(&address.to_string()), "{error}");
    assert!(matches!(error, EdgeError::Bind { .. }));
}

#[tokio::test]
async fn ipv4_and_ipv6_wildcards_share_a_port() {
    let four = Edge::bind(EdgeConfig::new(vec!["0.0.0.0:0".parse().unwrap()], 443)).unwrap();
    let port = four.local_addrs().https[0].port();
    let six = format!("[::]:{port}").parse().unwrap();
    assert!(Edge::bind(EdgeConfig::new(vec![six], 443)).is_ok());
}

#[tokio::test]
async fn a_request_under_way_is_finished_at_shutdown() {
    let origin = Origin::start().await;
    let rig = Plan::new().start_before(origin.address);
    let mut sender = rig.http1(HOST).await;
    let mut idle = rig.http2(HOST).await;
    let answer = idle.send_request(request2("GET", "/", empty())).await;
    Answer::of(answer.unwrap()).await;
    let (feed, body) = fed();
    let response = sender.send_request(request("POST", "/duplex", body)).await;
    let mut echoed = response.unwrap().into_body();
    feed.send(Bytes::from_static(b"before")).await.unwrap();
    echoed.frame().await.unwrap().unwrap();

    rig.shutdown.cancel();
    while !idle.is_closed() {
        tokio::task::yield_now().await;
    }
    feed.send(Bytes::from_static(b"after")).await.unwrap();
    let frame = echoed.frame().await.unwrap().unwrap();
    assert_eq!(frame.data_ref().unwrap(), "after");
    drop(feed);
    assert!(echoed.collect().await.unwrap().to_bytes().is_empty());
    rig.stop().await;
}

#[tokio::test]
async fn what_does_not_end_is_cut_off_after_the_drain_limit() {
    let origin = Origin::start().await;
    let mut plan = Plan::new();
    plan.config.limits.drain = Duration::from_millis(100);
    let rig = plan.start_before(origin.address);
    let mut sender = rig.http1(HOST).await;
    let waiting = tokio::spawn(async move { sender.send_request(get("/never")).await });
    while origin.requests() == 0 {
        tokio::task::yield_now().await;
    }
    rig.stop().await;
    // Either the connection was cut first or the request, and then the edge takes the blame.
    if let Ok(response) = waiting.await.unwrap() {
        assert_eq!(response.headers()["x-malha-hop"], "edge");
    }
}

#[tokio::test]
async fn who_has_connected_is_answered_at_shutdown_and_leaves_nothing_to_be_cut_off() {
    let origin = Origin::start().await;
    let mut plan = Plan::new();
    plan.config.limits.drain = NEVER;
    let rig = plan.start_before(origin.address);
    let mut silent = rig.http1(HOST).await;
    let tcp = TcpStream::connect(rig.https()).await.unwrap();
    while rig.counters.open_connections.value() < 2 {
        tokio::task::yield_now().await;
    }
    rig.shutdown.cancel();
    while TcpStream::connect(rig.https()).await.is_ok() {
        tokio::task::yield_now().await;
    }
    // A second for each step of theirs: a handshake, a first request.
    let answer = silent.send_request(get("/")).await.unwrap();
    assert_eq!(Answer::of(answer).await.status, 200);
    let stream = rig.tls_on(tcp, HOST, &[b"http/1.1"]).await.unwrap();
    let answer = http1_on(stream).await.send_request(get("/")).await.unwrap();
    assert_eq!(Answer::of(answer).await.status, 200);
    rig.stop().await;
}

#[tokio::test]
async fn who_has_connected_and_says_nothing_is_not_waited_for_at_shutdown() {
    let origin = Origin::start().await;
    let mut plan = Plan::new();
    plan.config.limits.drain = NEVER;
    plan.config.limits.handshake = NEVER;
    let rig = plan.start_before(origin.address);
    let _in_tls = rig.http1(HOST).await;
    let _in_clear = TcpStream::connect(rig.https()).await.unwrap();
    while rig.counters.open_connections.value() < 2 {
        tokio::task::yield_now().await;
    }
    let stopped = timeout(Duration::from_secs(10), rig.stop()).await;
    assert!(stopped.is_ok(), "it still waits for somebody");
}
