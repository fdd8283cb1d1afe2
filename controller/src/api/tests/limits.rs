//! What is too much, of the wrong kind, or nowhere, and the headers of every answer.

use axum::http::{Method, header};
use malha_core::Scope;
use serde_json::json;

use super::rig::{Rig, key};
use crate::api::{KEY_BURST, MAX_BODY_BYTES, SOURCE_BURST, router};

#[tokio::test]
async fn a_key_that_asks_too_often_is_told_when_to_come_back() {
    let mut rig = Rig::bare().await;
    rig.router = router(rig.context.clone());
    let busy = rig.key(Scope::Read);
    let mut refused = None;
    for _ in 0..KEY_BURST + 50 {
        let reply = rig
            .call_as(Some(busy), Method::GET, "/settings", None, &[])
            .await;
        if reply.status == 429 {
            refused = Some(reply);
            break;
        }
    }
    let reply = refused.expect("more than the burst was let through");
    assert!(
        reply.headers[header::RETRY_AFTER]
            .to_str()
            .unwrap()
            .parse::<u64>()
            .unwrap()
            >= 1
    );
    reply.problem(429);
    rig.call_as(
        Some(rig.key(Scope::Write)),
        Method::GET,
        "/settings",
        None,
        &[],
    )
    .await
    .ok();
}

#[tokio::test]
async fn a_source_without_a_key_is_limited_too() {
    let mut rig = Rig::bare().await;
    rig.router = router(rig.context.clone());
    let mut statuses = std::collections::BTreeSet::new();
    for _ in 0..SOURCE_BURST + 100 {
        statuses.insert(
            rig.call_as(None, Method::GET, "/status", None, &[])
                .await
                .status
                .as_u16(),
        );
    }
    assert_eq!(statuses, [401, 429].into());
}

#[tokio::test]
async fn a_body_over_the_limit_is_refused_before_it_is_read_as_json() {
    let rig = Rig::bare().await;
    let body = format!("{{\"name\":\"{}\"}}", "a".repeat(MAX_BODY_BYTES));
    let reply = rig
        .send(
            Some(rig.key(Scope::Admin)),
            Method::POST,
            "/api/v1/organizations",
            Some(body),
            &[],
        )
        .await;
    reply.problem(413);
}

#[tokio::test]
async fn only_json_is_taken() {
    let rig = Rig::bare().await;
    for content_type in [
        "text/plain",
        "application/x-www-form-urlencoded",
        "application/jsonx",
        "",
    ] {
        let headers = [("content-type", content_type)];
        let body = Some(json!({"name": "a"}));
        rig.call_as(
            Some(rig.key(Scope::Admin)),
            Method::POST,
            "/organizations",
            body,
            &headers,
        )
        .await
        .problem(415);
    }
    let headers = [("content-type", "application/json; charset=utf-8")];
    let body = Some(json!({"name": "a"}));
    rig.call_as(
        Some(rig.key(Scope::Admin)),
        Method::POST,
        "/organizations",
        body,
        &headers,
    )
    .await
    .ok();
}

#[tokio::test]
async fn unknown_places_and_methods_have_the_same_form_of_answer() {
    let rig = Rig::bare().await;
    for path in [
        "/api/v1/nothing",
        "/api/nothing",
        "/api/v1",
        "/api/v1/nodes/n1/nothing",
        "/api/v1/zones/a/b/c/d/e",
    ] {
        rig.send(None, Method::GET, path, None, &[])
            .await
            .problem(404);
    }
    let reply = rig.call(Method::PATCH, "/organizations", None).await;
    let allow = reply.headers[header::ALLOW].to_str().unwrap().to_owned();
    assert!(allow.contains("GET") && allow.contains("POST"), "{allow}");
    reply.problem(405);
}

#[tokio::test]
async fn no_answer_is_cached_or_guessed_at() {
    let rig = Rig::bare().await;
    let text = key(&rig.context.handle, Scope::Read, None).await;
    let reply = rig
        .call_as(Some(&text), Method::GET, "/status", None, &[])
        .await;
    assert_eq!(reply.headers[header::CACHE_CONTROL], "no-store");
    assert_eq!(reply.headers[header::X_CONTENT_TYPE_OPTIONS], "nosniff");
}
