//! New preshared keys on command: who may ask, and what is left of it.

use axum::http::{Method, StatusCode};
use malha_core::Scope;
use serde_json::json;

use super::rig::Rig;

#[tokio::test]
async fn new_keys_begin_an_epoch_and_leave_a_line_with_the_reason() {
    let rig = Rig::bare().await;
    for expected in [2, 3] {
        let body = json!({"reason": "a laptop was stolen"});
        let reply = rig.call(Method::POST, "/psk/rotate", Some(body)).await;
        assert_eq!(reply.ok()["epoch"], expected);
    }
    let audit = rig.get("/audit?limit=1").await;
    let line = &audit["items"][0];
    assert_eq!(line["action"], "psk.rotate");
    assert_eq!(line["target"], "epoch 3");
    assert_eq!(line["detail"]["reason"], "a laptop was stolen");
}

#[tokio::test]
async fn who_may_not_operate_the_controller_may_not_rotate() {
    let rig = Rig::bare().await;
    let key = rig.key(Scope::Write).to_owned();
    let reply = rig
        .call_as(
            Some(&key),
            Method::POST,
            "/psk/rotate",
            Some(json!({})),
            &[],
        )
        .await;
    assert_eq!(reply.status, StatusCode::FORBIDDEN);
}

#[tokio::test]
async fn a_reason_that_is_too_long_is_refused() {
    let rig = Rig::bare().await;
    let body = json!({"reason": "x".repeat(201)});
    let reply = rig.call(Method::POST, "/psk/rotate", Some(body)).await;
    assert_eq!(reply.status, StatusCode::UNPROCESSABLE_ENTITY);
    assert_eq!(reply.body["field"], "reason");
}
