//! The policy over HTTP, as its operator's tools use it: looked at, compared, applied with the hash of what was seen, and
//! brought back.

use axum::http::{Method, StatusCode};
use serde_json::{Value, json};

use super::rig::{OPEN, Rig};

async fn two_nodes() -> Rig {
    let rig = Rig::furnished().await;
    rig.enrol("ss-2").await;
    rig
}

async fn post(rig: &Rig, path: &str, body: Value) -> Value {
    rig.call(Method::POST, path, Some(body)).await.ok()
}

async fn apply(rig: &Rig, text: &str, within_ms: Option<u64>) -> Value {
    let difference = post(rig, "/policy/diff", json!({ "text": text })).await;
    let body =
        json!({ "text": text, "difference": difference["hash"], "confirm_within_ms": within_ms });
    rig.call(Method::PUT, "/policy", Some(body)).await.ok()
}

#[tokio::test]
async fn what_was_seen_is_applied_and_anything_else_is_refused() {
    let rig = two_nodes().await;
    let before = rig.get("/policy").await;
    assert_eq!(before["version"], 0);
    assert!(
        before["text"].as_str().unwrap().contains("org:sefaz"),
        "{before}"
    );
    let difference = post(&rig, "/policy/diff", json!({ "text": OPEN })).await;
    assert_eq!(difference["gaining"], 1, "{difference}");
    let row = &difference["rows"][0];
    assert_eq!(row["to"]["names"], json!(["sefaz/producao/ss-2"]));
    assert_eq!(row["gained"][0]["from_port"], 5_500);
    let blind = json!({ "text": OPEN, "difference": "0".repeat(64) });
    let refused = rig.call(Method::PUT, "/policy", Some(blind)).await;
    assert_eq!(refused.status, StatusCode::UNPROCESSABLE_ENTITY);
    let written = apply(&rig, OPEN, None).await;
    assert_eq!(
        (&written["version"], &written["text"]),
        (&json!(2), &json!(OPEN))
    );
    let versions = rig.get("/policy/versions").await;
    assert_eq!(versions["items"][0]["origin"], "grants");
    assert_eq!(
        versions["items"][1]["author"]
            .as_str()
            .unwrap()
            .split(':')
            .next(),
        Some("key")
    );
    let grant = rig.get("/grants").await["items"][0].clone();
    assert_eq!(grant["policy"], "mensagens");
    let tail = rig.get("/audit").await.to_string();
    assert!(tail.contains("policy.apply"), "{tail}");
}

#[tokio::test]
async fn a_check_names_the_mistake_the_failing_pair_and_unknown_names() {
    let rig = two_nodes().await;
    let mistaken = OPEN.replace("ports = [\"5500\"]", "ports = [\"55000000\"]");
    let check = post(&rig, "/policy/check", json!({ "text": mistaken })).await;
    assert_eq!(
        (&check["ok"], &check["mistake"]["line"]),
        (&json!(false), &json!(7))
    );
    let failing = OPEN.replace("\"allow\"", "\"deny\"");
    let check = post(&rig, "/policy/check", json!({ "text": failing })).await;
    assert_eq!(check["tests"][0]["outcome"], "fails");
    assert!(
        check["tests"][0]["from"]
            .as_str()
            .unwrap()
            .starts_with("sefaz/producao/ss-")
    );
    let unknown = OPEN.replace(
        "to = [\"profile:security-server\"]",
        "to = [\"org:ninguem\"]",
    );
    let check = post(&rig, "/policy/check", json!({ "text": unknown })).await;
    assert_eq!(check["unresolved"][0]["name"], "org:ninguem", "{check}");
}

#[tokio::test]
async fn an_unconfirmed_policy_names_its_deadline_and_a_rollback_is_a_new_version() {
    let rig = two_nodes().await;
    let written = apply(&rig, OPEN, Some(60_000)).await;
    assert_eq!(written["pending"]["former"], 1, "{written}");
    let wrong = rig
        .call(
            Method::POST,
            "/policy/confirm",
            Some(json!({ "version": 1 })),
        )
        .await;
    assert_eq!(wrong.status, StatusCode::UNPROCESSABLE_ENTITY);
    let in_history = rig.get("/policy/versions").await["items"].clone();
    assert_eq!(in_history[1]["pending"], written["pending"]);
    assert!(in_history[0]["pending"].is_null());
    let confirmed = post(&rig, "/policy/confirm", json!({ "version": 2 })).await;
    assert!(confirmed["pending"].is_null());
    let confirmed = rig.get("/policy/versions/2").await;
    assert!(confirmed["pending"].is_null() && confirmed["in_force"] == true);
    let back = post(&rig, "/policy/rollback", json!({ "version": 1 })).await;
    assert_eq!(back["version"], 3);
    let version = rig.get("/policy/versions/3").await;
    assert_eq!(
        (&version["returned_to"], &version["in_force"]),
        (&json!(1), &json!(true))
    );
}

#[tokio::test]
async fn an_explanation_names_each_grant_and_a_tag_opens_what_is_granted_to_it() {
    let rig = two_nodes().await;
    let text = OPEN.replace(
        "from = [\"profile:security-server\"]",
        "from = [\"operator\"]",
    );
    let text = text.replace(
        "from = \"profile:security-server\"\nto",
        "from = \"operator\"\nto",
    );
    apply(&rig, &text, None).await;
    let asked = json!({ "from": "ss-1", "to": "ss-2", "protocol": "tcp", "port": 5_500 });
    let said = post(&rig, "/policy/explain", asked.clone()).await;
    assert_eq!(
        (&said["allowed"], &said["rules"]),
        (&json!(false), &json!([]))
    );
    let tags = json!({ "tags": ["operator"] });
    let node = rig
        .call(Method::PUT, "/nodes/ss-1/tags", Some(tags))
        .await
        .ok();
    assert_eq!(node["tags"], json!(["operator"]));
    let said = post(&rig, "/policy/explain", asked).await;
    assert_eq!(
        (&said["allowed"], &said["rules"][0]["reason"]),
        (&json!(true), &json!("opens"))
    );
}
