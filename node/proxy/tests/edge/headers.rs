//! What the origin is told about the client, and what neither side may learn about the other's connection.

use http::HeaderValue;

use crate::origin::Origin;
use crate::rig::{Answer, HOST, Plan, empty, get, request2};

#[tokio::test]
async fn the_origin_learns_the_client_from_the_edge_alone() {
    let origin = Origin::start().await;
    let rig = Plan::new().start_before(origin.address);
    let mut request = get("/page?x=1");
    for (name, value) in [
        ("x-forwarded-for", "6.6.6.6"),
        ("x_forwarded_for", "6.6.6.6"),
        ("x-forwarded-host", "evil.example"),
        ("x-forwarded-proto", "http"),
        ("x-real-ip", "6.6.6.6"),
        ("forwarded", "for=6.6.6.6"),
        ("x-request-id", "chosen-by-client"),
    ] {
        request
            .headers_mut()
            .insert(name, HeaderValue::from_static(value));
    }
    let seen = rig.ask(request).await;
    let seen = seen.text();
    assert!(seen.starts_with("GET /page?x=1\n"), "{seen}");
    assert!(seen.contains(&format!("\nhost: {HOST}\n")));
    assert!(seen.contains("\nx-forwarded-for: 127.0.0.1\n"));
    assert!(seen.contains("\nx-real-ip: 127.0.0.1\n"));
    assert!(seen.contains("\nx-forwarded-proto: https\n"));
    assert!(seen.contains(&format!("\nx-forwarded-host: {HOST}\n")));
    assert!(seen.contains("\nx-forwarded-port: 443\n"));
    let forwarded = format!("\nforwarded: for=127.0.0.1;host=\"{HOST}\";proto=https\n");
    assert!(seen.contains(&forwarded));
    assert!(!seen.contains("6.6.6.6"), "{seen}");
    assert!(!seen.contains("chosen-by-client"));
}

#[tokio::test]
async fn a_trusted_proxy_in_front_is_believed_and_extended() {
    let origin = Origin::start().await;
    let mut plan = Plan::new();
    plan.config.trusted_proxies = vec!["127.0.0.0/8".parse().unwrap()];
    let rig = plan.start_before(origin.address);
    let mut request = get("/");
    let claim = HeaderValue::from_static("203.0.113.9");
    request.headers_mut().insert("x-forwarded-for", claim);
    let seen = rig.ask(request).await;
    let chain = "\nx-forwarded-for: 203.0.113.9, 127.0.0.1\n";
    assert!(seen.text().contains(chain), "{}", seen.text());
    assert!(seen.text().contains("\nx-real-ip: 203.0.113.9\n"));
}

#[tokio::test]
async fn hop_by_hop_fields_stop_at_the_edge_in_both_directions() {
    let origin = Origin::start().await;
    let rig = Plan::new().start_before(origin.address);
    let mut request = get("/");
    for (name, value) in [
        ("connection", "keep-alive, X-Private, host"),
        ("x-private", "1"),
        ("keep-alive", "timeout=5"),
        ("proxy-authorization", "Basic c2VjcmV0"),
        ("te", "trailers, deflate"),
        ("x-public", "1"),
    ] {
        request
            .headers_mut()
            .insert(name, HeaderValue::from_static(value));
    }
    let seen = rig.ask(request).await;
    let seen = seen.text();
    for gone in [
        "x-private",
        "keep-alive",
        "proxy-authorization",
        "connection",
        "deflate",
    ] {
        assert!(!seen.contains(gone), "{gone} in {seen}");
    }
    assert!(seen.contains("\nte: trailers\n"));
    assert!(seen.contains("\nx-public: 1\n"));
    assert!(seen.contains(&format!("\nhost: {HOST}\n")));

    let answer = rig.get("/hop-headers").await;
    assert_eq!(answer.header("x-public"), "1");
    for gone in ["connection", "x-private", "keep-alive", "x-malha-hop"] {
        assert!(!answer.headers.contains_key(gone), "{gone}");
    }
}

#[tokio::test]
async fn http2_requests_reach_the_origin_as_plain_http1() {
    let origin = Origin::start().await;
    let rig = Plan::new().start_before(origin.address);
    let mut sender = rig.http2(HOST).await;
    let mut request = request2("GET", "/page?x=1", empty());
    request
        .headers_mut()
        .append("cookie", HeaderValue::from_static("a=1"));
    request
        .headers_mut()
        .append("cookie", HeaderValue::from_static("b=2"));
    let response = sender.send_request(request).await.unwrap();
    assert_eq!(response.version(), http::Version::HTTP_2);
    let seen = Answer::of(response).await;
    assert!(
        seen.text().starts_with("GET /page?x=1\n"),
        "{}",
        seen.text()
    );
    assert!(seen.text().contains(&format!("\nhost: {HOST}\n")));
    assert!(seen.text().contains("\ncookie: a=1; b=2\n"));
}

#[tokio::test]
async fn http2_host_and_authority_must_agree() {
    let origin = Origin::start().await;
    let rig = Plan::new().start_before(origin.address);
    let mut sender = rig.http2(HOST).await;
    let mut request = request2("GET", "/", empty());
    let other = HeaderValue::from_static("evil.example");
    request.headers_mut().insert("host", other);
    let answer = Answer::of(sender.send_request(request).await.unwrap()).await;
    assert_eq!(answer.status, 400);
    assert_eq!(origin.requests(), 0);
}

#[tokio::test]
async fn the_host_is_found_whatever_its_spelling_and_passed_on_as_written() {
    let origin = Origin::start().await;
    let rig = Plan::new().start_before(origin.address);
    for spelling in [
        "GARAGEM-01.Example.ORG",
        "garagem-01.example.org:8443",
        "garagem-01.example.org.",
    ] {
        let mut request = get("/");
        let host = HeaderValue::from_static(spelling);
        request.headers_mut().insert("host", host);
        let seen = rig.ask(request).await;
        assert_eq!(seen.status, 200, "{spelling}");
        let host = format!("\nhost: {spelling}\n");
        assert!(seen.text().contains(&host), "{}", seen.text());
    }
}

#[tokio::test]
async fn strict_transport_security_is_sent_only_when_configured() {
    let origin = Origin::start().await;
    let rig = Plan::new().start_before(origin.address);
    let name = "strict-transport-security";
    assert!(!rig.get("/").await.headers.contains_key(name));

    let mut plan = Plan::new();
    plan.config.hsts_max_age_s = Some(31_536_000);
    let rig = plan.start_before(origin.address);
    assert_eq!(rig.get("/").await.header(name), "max-age=31536000");
}
