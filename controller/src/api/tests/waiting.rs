//! `?wait=applied` with nodes that apply, lag, or are away.

use std::sync::Arc;
use std::time::Duration;

use axum::http::Method;
use serde_json::{Value, json};
use tokio::task::yield_now;

use super::rig::{NODE, Rig};

fn service(port: u16) -> Value {
    json!({"node": NODE, "name": format!("s-{port}"), "port": port, "target": "127.0.0.1:1", "kind": "tcp"})
}

#[tokio::test]
async fn a_write_can_wait_until_the_node_runs_with_it() {
    let rig = Arc::new(Rig::furnished().await);
    let node = rig.state().node_by_path(NODE).unwrap().id;
    let says = rig.connect(node);
    let before = rig.revision();
    let waiting = tokio::spawn({
        let rig = rig.clone();
        async move { rig.post("/services?wait=applied", service(81)).await }
    });
    let mut state = rig.context.handle.watch();
    while rig.revision() == before {
        state.changed().await.unwrap();
    }
    assert!(!waiting.is_finished());
    says(rig.revision());
    let body = tokio::time::timeout(Duration::from_secs(5), waiting)
        .await
        .unwrap()
        .unwrap();
    assert_eq!(body["revision"], rig.revision().0);
    assert_eq!(body["applied"]["nodes"], 1, "{body}");
    assert_eq!(body["applied"]["of"], 1);
    assert_eq!(body["applied"]["laggards"], json!([]));
}

#[tokio::test]
async fn a_node_that_is_away_is_named_and_not_waited_for() {
    let rig = Rig::furnished().await;
    let body = rig.post("/services?wait=applied", service(81)).await;
    assert_eq!(body["applied"]["nodes"], 0);
    assert_eq!(body["applied"]["offline"], json!([NODE]));
}

#[tokio::test]
async fn a_node_that_lags_is_named_at_the_timeout_and_the_write_holds() {
    let rig = Rig::furnished().await;
    let node = rig.state().node_by_path(NODE).unwrap().id;
    let _silent = rig.connect(node);
    let body = rig
        .post("/services?wait=applied&timeout_ms=20", service(81))
        .await;
    assert_eq!(body["applied"]["laggards"], json!([NODE]));
    assert!(body["applied"]["elapsed_ms"].as_u64().unwrap() >= 20);
    assert!(
        rig.state()
            .services()
            .any(|service| service.name.as_str() == "s-81")
    );
}

#[tokio::test]
async fn a_write_that_is_not_asked_to_wait_does_not() {
    let rig = Rig::furnished().await;
    let body = rig.post("/services", service(81)).await;
    yield_now().await;
    assert!(body.get("applied").is_none());
}

#[tokio::test]
async fn a_strange_wish_to_wait_is_refused_and_nothing_is_written() {
    let rig = Rig::furnished().await;
    let before = rig.revision();
    for (query, status) in [
        ("wait=forever", 400),
        ("wait=applied&timeout_ms=0", 422),
        ("wait=applied&timeout_ms=30001", 422),
        ("timeout_ms=-1", 400),
        ("wait=applied&timeout_ms=99999999999999999999", 400),
        ("waiting=applied", 400),
    ] {
        rig.call(
            Method::POST,
            &format!("/services?{query}"),
            Some(service(81)),
        )
        .await
        .problem(status);
    }
    assert_eq!(rig.revision(), before);
}
