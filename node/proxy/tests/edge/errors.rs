//! Every failure that the edge answers for, in each form and language.

use std::io::ErrorKind;
use std::time::Duration;

use http::HeaderValue;
use malha_proxy::{BackendHealth, Hop, InternalHosts};

use crate::origin::{Origin, raw_origin, read_head, say};
use crate::rig::{Answer, BACKEND, HOST, OTHER, PANEL, Plan, Rig, Way, down, get, route};

const BROWSER: &str = "text/html,application/xhtml+xml,*/*;q=0.8";

async fn ask_as(rig: &Rig, accept: &'static str, language: &'static str) -> Answer {
    let mut request = get("/secret?token=1");
    let headers = request.headers_mut();
    headers.insert("accept", HeaderValue::from_static(accept));
    headers.insert("accept-language", HeaderValue::from_static(language));
    rig.ask(request).await
}

fn problem(answer: &Answer) -> serde_json::Value {
    assert_eq!(answer.header("content-type"), "application/problem+json");
    serde_json::from_slice(&answer.body).unwrap()
}

/// Checks what holds for every failure, then status, hop and type.
fn assert_failure(answer: &Answer, status: u16, hop: &str, slug: &str) {
    assert_eq!(answer.status, status, "{}", answer.text());
    assert_eq!(answer.header("x-malha-hop"), hop);
    assert_eq!(answer.header("cache-control"), "no-store");
    let problem = problem(answer);
    assert_eq!(problem["type"], format!("urn:malha:problem:{slug}"));
    assert_eq!(problem["status"], status);
    assert_eq!(problem["hop"], hop);
    assert_eq!(problem["instance"], answer.header("x-request-id"));
    let retry = if status >= 502 { "5" } else { "" };
    assert_eq!(answer.header("retry-after"), retry);
}

#[tokio::test]
async fn a_site_that_is_offline_has_a_page_in_both_languages() {
    let mut plan = Plan::new();
    plan.routes = vec![route(1, HOST, "/", &[(BACKEND, down(Hop::Tunnel))])];
    let rig = plan.start();
    rig.get("/").await; // the canary
    for (language, title, since) in [
        (
            "pt-BR",
            "Este local está fora do ar",
            "desde 22/11/2026 12:42 (UTC−3)",
        ),
        (
            "en-US,en",
            "This site is offline",
            "since 2026-11-22 12:42 (UTC−3)",
        ),
    ] {
        let answer = ask_as(&rig, BROWSER, language).await;
        assert_eq!(answer.status, 504);
        assert_eq!(answer.header("content-type"), "text/html; charset=utf-8");
        assert_eq!(answer.header("x-malha-hop"), "tunnel");
        assert_eq!(answer.header("retry-after"), "5");
        let policy = answer.header("content-security-policy");
        assert!(policy.starts_with("default-src 'none'; style-src 'sha256-"));
        let page = answer.text();
        assert!(page.contains(title), "{page}");
        assert!(page.contains(since), "{page}");
        assert!(page.contains("Garagem Sé"));
        assert!(
            page.contains("&lt;b&gt;Unidos&lt;/b&gt;"),
            "names are escaped"
        );
        assert!(!page.contains("token=1"), "the query is not echoed");
        assert!(page.contains(answer.header("x-request-id")));
    }
    assert_eq!(rig.dialer.dials(), 1, "only the canary dialed");
}

#[tokio::test]
async fn a_site_that_is_offline_has_a_problem_document_for_programs() {
    let mut plan = Plan::new();
    plan.routes = vec![route(1, HOST, "/", &[(BACKEND, down(Hop::Origin))])];
    let rig = plan.start();
    rig.get("/").await; // the canary
    let answer = ask_as(&rig, "application/json", "en").await;
    assert_failure(&answer, 502, "origin", "origin-down");
    let problem = problem(&answer);
    assert_eq!(problem["since"], "2026-11-22T15:42:00Z");
    assert_eq!(problem["title"], "The service is stopped");
    assert_eq!(problem["site"], "Garagem Sé");
}

#[tokio::test]
async fn the_hop_at_fault_follows_from_how_the_dial_failed() {
    let rig = Plan::new().start();
    for (kind, status, hop, slug) in [
        (ErrorKind::TimedOut, 504, "tunnel", "tunnel-down"),
        (ErrorKind::HostUnreachable, 504, "tunnel", "tunnel-down"),
        (ErrorKind::ConnectionRefused, 502, "origin", "origin-down"),
        (ErrorKind::ConnectionReset, 502, "origin", "origin-down"),
    ] {
        rig.dialer.lead(BACKEND, Way::Fails(kind));
        assert_failure(&rig.get("/").await, status, hop, slug);
    }
    assert_eq!(rig.counters.failures(Hop::Tunnel), 2);
    assert_eq!(rig.counters.failures(Hop::Origin), 2);
    assert_eq!(rig.counters.responses(5), 4);
}

#[tokio::test]
async fn a_dial_that_hangs_is_given_up() {
    let mut plan = Plan::new();
    plan.config.limits.dial = Duration::from_millis(50);
    let rig = plan.start();
    rig.dialer.lead(BACKEND, Way::Hangs);
    assert_failure(&rig.get("/").await, 504, "tunnel", "tunnel-down");
}

#[tokio::test]
async fn an_origin_that_speaks_nonsense_or_nothing_is_broken() {
    for reply in ["", "nonsense\r\n\r\n", "HTTP/1.1 200 OK\r\nContent-Le"] {
        let origin = raw_origin(move |mut tcp, _| async move {
            read_head(&mut tcp).await;
            say(&mut tcp, reply).await;
        })
        .await;
        let rig = Plan::new().start_before(origin);
        assert_failure(&rig.get("/").await, 502, "origin", "origin-broken");
    }
}

/// As through a node whose target refuses: it accepts, and resets.
#[tokio::test]
async fn an_origin_that_resets_before_it_answers_is_stopped() {
    let origin = raw_origin(|tcp, _| async move {
        tcp.set_zero_linger().unwrap();
    })
    .await;
    let rig = Plan::new().start_before(origin);
    assert_failure(&rig.get("/").await, 502, "origin", "origin-down");
}

#[tokio::test]
async fn an_upgrade_that_nobody_asked_for_is_a_broken_answer() {
    let origin = raw_origin(|mut tcp, _| async move {
        read_head(&mut tcp).await;
        let response =
            "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n";
        say(&mut tcp, response).await;
    })
    .await;
    let rig = Plan::new().start_before(origin);
    assert_failure(&rig.get("/").await, 502, "origin", "origin-broken");
}

#[tokio::test]
async fn an_origin_that_never_answers_is_slow() {
    let origin = Origin::start().await;
    let mut plan = Plan::new();
    plan.config.limits.first_byte = Duration::from_millis(50);
    let rig = plan.start_before(origin.address);
    assert_failure(&rig.get("/never").await, 504, "origin", "origin-slow");
}

#[tokio::test]
async fn unknown_places_are_the_clients_fault() {
    let mut plan = Plan::new();
    plan.routes = vec![route(1, HOST, "/app", &[(BACKEND, BackendHealth::Up)])];
    let rig = plan.start();
    assert_failure(&rig.get("/").await, 404, "client", "no-route");

    let mut sender = rig.http1(OTHER).await;
    let mut request = get("/");
    request
        .headers_mut()
        .insert("host", HeaderValue::from_static(OTHER));
    let answer = Answer::of(sender.send_request(request).await.unwrap()).await;
    assert_failure(&answer, 404, "client", "unknown-host");
}

#[tokio::test]
async fn a_host_of_another_connection_is_misdirected_but_a_routable_one_is_served() {
    let origin = Origin::start().await;
    let rig = Plan::new().start_before(origin.address);
    let mut request = get("/");
    request
        .headers_mut()
        .insert("host", HeaderValue::from_static(OTHER));
    assert_failure(&rig.ask(request).await, 421, "client", "misdirected");

    let mut sender = rig.http1(OTHER).await;
    let answer = Answer::of(sender.send_request(get("/")).await.unwrap()).await;
    assert_eq!(answer.status, 200);
}

#[tokio::test]
async fn a_process_beside_the_edge_is_reached_without_the_tunnel() {
    let panel = Origin::start().await;
    let mut plan = Plan::new();
    let host = PANEL.parse().unwrap();
    plan.internal = Some(InternalHosts::new([(host, panel.address)]));
    let rig = plan.start();
    let mut sender = rig.http1(PANEL).await;
    let mut request = get("/painel");
    request
        .headers_mut()
        .insert("host", HeaderValue::from_static(PANEL));
    let answer = Answer::of(sender.send_request(request).await.unwrap()).await;
    assert_eq!(answer.status, 200);
    assert!(answer.text().contains("x-forwarded-for: 127.0.0.1"));
    assert_eq!(rig.dialer.dials(), 0);
}

#[tokio::test]
async fn a_process_beside_the_edge_that_is_gone_is_the_edges_fault() {
    let gone = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = gone.local_addr().unwrap();
    drop(gone);
    let mut plan = Plan::new();
    let host = PANEL.parse().unwrap();
    plan.internal = Some(InternalHosts::new([(host, address)]));
    let rig = plan.start();
    let mut sender = rig.http1(PANEL).await;
    let mut request = get("/");
    request
        .headers_mut()
        .insert("host", HeaderValue::from_static(PANEL));
    let answer = Answer::of(sender.send_request(request).await.unwrap()).await;
    assert_failure(&answer, 502, "edge", "edge-down");
}

#[tokio::test]
async fn a_head_request_gets_a_failure_without_a_body() {
    let rig = Plan::new().start();
    let answer = rig
        .ask(crate::rig::request("HEAD", "/", crate::rig::empty()))
        .await;
    assert_eq!(answer.status, 504);
    assert!(answer.body.is_empty());
    assert_ne!(answer.header("content-length"), "");
}
