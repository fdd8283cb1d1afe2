//! Requests that two servers could read differently, sent byte by byte. None may reach the origin as two requests.

use crate::origin::{Origin, raw_origin, read_head, say};
use crate::rig::{HOST, Plan};

async fn refused(request: String) -> String {
    let origin = Origin::start().await;
    let rig = Plan::new().start_before(origin.address);
    let answer = rig.raw(request.as_bytes()).await;
    assert_eq!(origin.requests(), 0, "{request:?}");
    answer
}

fn status(answer: &str) -> &str {
    answer.split(' ').nth(1).unwrap_or("closed")
}

#[tokio::test]
async fn differing_content_lengths_are_refused() {
    for lengths in [
        "Content-Length: 5\r\nContent-Length: 6",
        "Content-Length: 5, 6",
        "Content-Length: +5",
        "Content-Length: -1",
        "Content-Length: 5a",
        "Content-Length: 99999999999999999999",
    ] {
        let request = format!("POST /hash HTTP/1.1\r\nHost: {HOST}\r\n{lengths}\r\n\r\nhello");
        let answer = refused(request).await;
        assert_eq!(status(&answer), "400", "{lengths}: {answer}");
    }
}

#[tokio::test]
async fn broken_transfer_codings_are_refused() {
    for (coding, expected) in [
        ("Transfer-Encoding: chunked, identity", "400"),
        ("Transfer-Encoding: xchunked", "400"),
        ("Transfer-Encoding: gzip, chunked", "501"),
        (
            "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked",
            "501",
        ),
        ("Transfer-Encoding : chunked", "400"),
    ] {
        let request = format!(
            "POST /hash HTTP/1.1\r\nHost: {HOST}\r\nConnection: close\r\n{coding}\r\n\r\n0\r\n\r\n"
        );
        let answer = refused(request).await;
        assert_eq!(status(&answer), expected, "{coding}: {answer}");
    }
}

#[tokio::test]
async fn a_request_with_both_framings_is_one_chunked_request_and_the_connection_ends() {
    let origin = Origin::start().await;
    let rig = Plan::new().start_before(origin.address);
    for both in [
        "Content-Length: 6\r\nTransfer-Encoding: chunked",
        "Transfer-Encoding: chunked\r\nContent-Length: 6",
    ] {
        let before = origin.requests();
        let request = format!(
            "POST /echo HTTP/1.1\r\nHost: {HOST}\r\n{both}\r\n\r\n0\r\n\r\nGET /smuggled HTTP/1.1\r\nHost: {HOST}\r\n\r\n"
        );
        let answer = rig.raw(request.as_bytes()).await;
        assert_eq!(status(&answer), "200", "{answer}");
        assert!(!answer.contains("content-length: 6"), "{answer}");
        assert!(!answer.contains("smuggled"), "{answer}");
        assert_eq!(origin.requests(), before + 1);
    }
}

#[tokio::test]
async fn folded_and_malformed_header_lines_are_refused() {
    for line in [
        "X-Folded: a\r\n b",
        "X-Space : a",
        "No-Colon",
        ": empty",
        "X-Nul: a\0b",
        "X-Bare: a\rb",
    ] {
        let request = format!("GET / HTTP/1.1\r\nHost: {HOST}\r\n{line}\r\n\r\n");
        let answer = refused(request).await;
        assert_eq!(status(&answer), "400", "{line:?}: {answer}");
    }
}

#[tokio::test]
async fn hostile_hosts_are_refused_or_unknown() {
    for (host, expected) in [
        (String::new(), "400"),
        ("..".into(), "400"),
        ("../../etc/passwd".into(), "400"),
        ("a\u{1}b.example.org".into(), "400"),
        (format!("{HOST}@evil.example"), "400"),
        (format!("evil.example, {HOST}"), "400"),
        (format!("{HOST}:99999"), "400"),
        ("a".repeat(10 * 1024), "400"),
        ("[::1]".into(), "404"),
        ("127.0.0.1".into(), "421"),
    ] {
        let request = format!("GET / HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
        let answer = refused(request).await;
        assert_eq!(status(&answer), expected, "{host:.40}: {answer}");
    }
    let huge = "a".repeat(64 * 1024);
    let request = format!("GET / HTTP/1.1\r\nHost: {huge}\r\nConnection: close\r\n\r\n");
    assert_eq!(status(&refused(request).await), "431");
}

#[tokio::test]
async fn a_missing_or_second_host_is_refused() {
    for hosts in [
        "",
        "Host: garagem-01.example.org\r\nHost: outra.example.org\r\n",
    ] {
        let request = format!("GET / HTTP/1.1\r\n{hosts}Connection: close\r\n\r\n");
        assert_eq!(status(&refused(request).await), "400", "{hosts}");
    }
}

#[tokio::test]
async fn a_path_can_not_climb_out_of_its_route() {
    for path in [
        "/a/../b",
        "/a/%2e%2e/b",
        "/a/..%2fb",
        "/a/..;/b",
        "/a/..\\b",
    ] {
        let request = format!("GET {path} HTTP/1.1\r\nHost: {HOST}\r\nConnection: close\r\n\r\n");
        assert_eq!(status(&refused(request).await), "400", "{path}");
    }
}

#[tokio::test]
async fn tunnels_and_traces_are_refused() {
    for request in [
        format!("CONNECT {HOST}:443 HTTP/1.1\r\nHost: {HOST}\r\nConnection: close\r\n\r\n"),
        format!("TRACE / HTTP/1.1\r\nHost: {HOST}\r\nConnection: close\r\n\r\n"),
    ] {
        assert_eq!(status(&refused(request).await), "405");
    }
}

#[tokio::test]
async fn an_h2c_upgrade_stays_an_ordinary_request() {
    let origin = Origin::start().await;
    let rig = Plan::new().start_before(origin.address);
    let request = format!(
        "GET / HTTP/1.1\r\nHost: {HOST}\r\nConnection: Upgrade, HTTP2-Settings, close\r\nUpgrade: h2c\r\n\
         HTTP2-Settings: AAMAAABkAAQAAP__\r\n\r\n"
    );
    let answer = rig.raw(request.as_bytes()).await;
    assert_eq!(status(&answer), "200", "{answer}");
    assert!(!answer.contains("h2c"), "{answer}");
    assert!(!answer.contains("http2-settings"), "{answer}");
}

#[tokio::test]
async fn a_response_with_both_framings_is_relayed_by_its_chunks() {
    let origin = raw_origin(|mut tcp, _| async move {
        read_head(&mut tcp).await;
        let response = "HTTP/1.1 200 OK\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n\
                        5\r\nhello\r\n0\r\n\r\n";
        say(&mut tcp, response).await;
    })
    .await;
    let rig = Plan::new().start_before(origin);
    let answer = rig.get("/").await;
    assert_eq!(answer.text(), "hello");
    assert!(!answer.headers.contains_key("content-length"));
}

#[tokio::test]
async fn an_http_1_0_client_is_served_and_closed() {
    let origin = Origin::start().await;
    let rig = Plan::new().start_before(origin.address);
    let request = format!("GET /old HTTP/1.0\r\nHost: {HOST}\r\n\r\n");
    let answer = rig.raw(request.as_bytes()).await;
    assert!(answer.starts_with("HTTP/1.0 200"), "{answer}");
    assert!(answer.contains("GET /old\n"));
}
