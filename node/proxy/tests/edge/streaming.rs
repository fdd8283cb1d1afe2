//! Bodies of any size pass in both directions as they come.

use bytes::Bytes;
use http::HeaderValue;
use http_body_util::BodyExt;
use tokio::io::AsyncWriteExt;
use tokio::sync::oneshot;

use crate::origin::{BIG_BYTES, Origin, big, digest, fed, raw_origin, read_head, say};
use crate::rig::{Answer, HOST, Plan, empty, full, get, request, request2};

#[tokio::test]
async fn ten_mebibytes_pass_each_way_over_http1_unchanged() {
    let origin = Origin::start().await;
    let rig = Plan::new().start_before(origin.address);
    for path in ["/big", "/big-sized"] {
        let answer = rig.get(path).await;
        assert_eq!(digest(&answer.body), digest(&big()), "{path}");
    }
    let answer = rig.ask(request("POST", "/hash", full(big()))).await;
    assert_eq!(answer.text(), format!("{BIG_BYTES} {}", digest(&big())));
}

#[tokio::test]
async fn ten_mebibytes_pass_each_way_over_http2_unchanged() {
    let origin = Origin::start().await;
    let rig = Plan::new().start_before(origin.address);
    let mut sender = rig.http2(HOST).await;
    let response = sender.send_request(request2("GET", "/big", empty())).await;
    let answer = Answer::of(response.unwrap()).await;
    assert_eq!(digest(&answer.body), digest(&big()));
    let upload = request2("POST", "/hash", full(big()));
    let answer = Answer::of(sender.send_request(upload).await.unwrap()).await;
    assert_eq!(answer.text(), format!("{BIG_BYTES} {}", digest(&big())));
}

#[tokio::test]
async fn each_chunk_passes_before_the_next_one_exists() {
    let origin = Origin::start().await;
    let rig = Plan::new().start_before(origin.address);
    for http2 in [false, true] {
        let (feed, body) = fed();
        let response = if http2 {
            let mut sender = rig.http2(HOST).await;
            sender.send_request(request2("POST", "/duplex", body)).await
        } else {
            let mut sender = rig.http1(HOST).await;
            sender.send_request(request("POST", "/duplex", body)).await
        };
        let mut echoed = response.unwrap().into_body();
        for word in ["one", "two", "three"] {
            feed.send(Bytes::from_static(word.as_bytes()))
                .await
                .unwrap();
            let frame = echoed.frame().await.unwrap().unwrap();
            assert_eq!(frame.data_ref().unwrap(), word, "http2: {http2}");
        }
        drop(feed);
        assert!(echoed.collect().await.unwrap().to_bytes().is_empty());
    }
}

#[tokio::test]
async fn a_get_with_a_body_keeps_it() {
    let origin = Origin::start().await;
    let rig = Plan::new().start_before(origin.address);
    let (feed, body) = fed();
    tokio::spawn(async move { feed.send(Bytes::from_static(b"hello")).await });
    let mut request = request("GET", "/hash", body);
    let chunked = HeaderValue::from_static("chunked");
    request.headers_mut().insert("transfer-encoding", chunked);
    let answer = rig.ask(request).await;
    assert_eq!(answer.text(), format!("5 {}", digest(b"hello")));
}

#[tokio::test]
async fn trailers_pass_both_ways() {
    let origin = Origin::start().await;
    let rig = Plan::new().start_before(origin.address);
    let request = format!(
        "POST /trailers HTTP/1.1\r\nHost: {HOST}\r\nTE: trailers\r\nTrailer: x-sum\r\nConnection: close\r\n\
         Transfer-Encoding: chunked\r\n\r\n4\r\nbody\r\n0\r\nx-sum: 42\r\n\r\n"
    );
    let answer = rig.raw(request.as_bytes()).await;
    assert!(answer.ends_with("0\r\nx-sum: 42\r\n\r\n"), "{answer}");

    let mut sender = rig.http2(HOST).await;
    let mut request = request2("GET", "/trailers", empty());
    let accepts = HeaderValue::from_static("trailers");
    request.headers_mut().insert("te", accepts);
    let answer = Answer::of(sender.send_request(request).await.unwrap()).await;
    assert_eq!(answer.text(), "body");
    assert_eq!(answer.trailers.unwrap()["x-sum"], "none");
}

#[tokio::test]
async fn responses_without_a_body_stay_without_one() {
    let origin = Origin::start().await;
    let rig = Plan::new().start_before(origin.address);
    let head = rig.ask(request("HEAD", "/big-sized", empty())).await;
    assert_eq!(head.header("content-length"), BIG_BYTES.to_string());
    assert!(head.body.is_empty());

    let none = rig.get("/204").await;
    assert_eq!(none.status, 204);
    assert!(!none.headers.contains_key("content-length"));

    let unchanged = rig.get("/304").await;
    assert_eq!(unchanged.status, 304);
    assert_eq!(unchanged.header("etag"), "\"v1\"");
    assert!(unchanged.body.is_empty());
}

#[tokio::test]
async fn expect_continue_waits_for_the_origins_word() {
    let (decided, decision) = oneshot::channel::<()>();
    let decision = std::sync::Mutex::new(Some(decision));
    let origin = raw_origin(move |mut tcp, _| {
        let decision = decision.lock().unwrap().take();
        async move {
            let head = read_head(&mut tcp).await;
            assert!(head.contains("expect: 100-continue"), "{head}");
            decision.unwrap().await.unwrap();
            say(&mut tcp, "HTTP/1.1 100 Continue\r\n\r\n").await;
            let mut body = [0; 5];
            tokio::io::AsyncReadExt::read_exact(&mut tcp, &mut body)
                .await
                .unwrap();
            assert_eq!(&body, b"hello");
            say(
                &mut tcp,
                "HTTP/1.1 201 Created\r\nContent-Length: 0\r\n\r\n",
            )
            .await;
        }
    })
    .await;
    let mut plan = Plan::new();
    plan.config.limits.expect_continue = std::time::Duration::from_secs(30);
    let rig = plan.start_before(origin);
    let mut stream = rig.tls(HOST, &[b"http/1.1"]).await.unwrap();
    let head = format!(
        "PUT / HTTP/1.1\r\nHost: {HOST}\r\nContent-Length: 5\r\nExpect: 100-continue\r\nConnection: close\r\n\r\n"
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    decided.send(()).unwrap();
    let interim = b"HTTP/1.1 100 Continue\r\n\r\n";
    let mut received = vec![0; interim.len()];
    tokio::io::AsyncReadExt::read_exact(&mut stream, &mut received)
        .await
        .unwrap();
    assert_eq!(received, interim);
    stream.write_all(b"hello").await.unwrap();
    let answer = crate::rig::read_until_closed(&mut stream).await;
    assert!(answer.starts_with("HTTP/1.1 201"), "{answer}");
}

#[tokio::test]
async fn an_origin_that_refuses_an_upload_saves_the_client_from_sending_it() {
    let origin = raw_origin(|mut tcp, _| async move {
        read_head(&mut tcp).await;
        say(
            &mut tcp,
            "HTTP/1.1 413 Too Large\r\nContent-Length: 0\r\n\r\n",
        )
        .await;
    })
    .await;
    let mut plan = Plan::new();
    plan.config.limits.expect_continue = std::time::Duration::from_secs(30);
    let rig = plan.start_before(origin);
    let request = format!(
        "PUT / HTTP/1.1\r\nHost: {HOST}\r\nContent-Length: 5\r\nExpect: 100-continue\r\nConnection: close\r\n\r\n"
    );
    let answer = rig.raw(request.as_bytes()).await;
    assert!(answer.starts_with("HTTP/1.1 413"), "{answer}");
}

#[tokio::test]
async fn an_origin_that_dies_mid_body_aborts_the_response() {
    let origin = raw_origin(|mut tcp, _| async move {
        read_head(&mut tcp).await;
        say(
            &mut tcp,
            "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf",
        )
        .await;
    })
    .await;
    let rig = Plan::new().start_before(origin);
    let mut sender = rig.http1(HOST).await;
    let response = sender.send_request(get("/")).await.unwrap();
    assert_eq!(response.status(), 200);
    assert!(response.into_body().collect().await.is_err());

    let mut sender = rig.http2(HOST).await;
    let response = sender.send_request(request2("GET", "/", empty())).await;
    assert!(response.unwrap().into_body().collect().await.is_err());
}

#[tokio::test]
async fn a_client_that_leaves_mid_body_frees_the_origin() {
    let (gone, left) = oneshot::channel::<()>();
    let gone = std::sync::Mutex::new(Some(gone));
    let origin = raw_origin(move |mut tcp, _| {
        let gone = gone.lock().unwrap().take();
        async move {
            read_head(&mut tcp).await;
            say(
                &mut tcp,
                "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf",
            )
            .await;
            let mut rest = Vec::new();
            // Ends when the edge closes its side, in whatever way.
            let _ = tokio::io::AsyncReadExt::read_to_end(&mut tcp, &mut rest).await;
            gone.unwrap().send(()).unwrap();
        }
    })
    .await;
    let rig = Plan::new().start_before(origin);
    let mut sender = rig.http1(HOST).await;
    let response = sender.send_request(get("/")).await.unwrap();
    drop((response, sender));
    left.await.unwrap();
}
