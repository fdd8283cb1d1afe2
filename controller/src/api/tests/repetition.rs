//! Creations that are asked for again with the same `Idempotency-Key`.

use axum::http::Method;
use malha_core::Scope;
use serde_json::{Value, json};

use super::rig::{NODE, Reply, Rig};

async fn post(rig: &Rig, scope: Scope, path: &str, body: &Value, name: &str) -> Reply {
    let headers = [("idempotency-key", name)];
    rig.call_as(
        Some(rig.key(scope)),
        Method::POST,
        path,
        Some(body.clone()),
        &headers,
    )
    .await
}

async fn organization(rig: &Rig, scope: Scope, name: &str, key: &str) -> Reply {
    post(rig, scope, "/organizations", &json!({"name": name}), key).await
}

#[tokio::test]
async fn every_creation_can_be_repeated_and_happens_once() {
    let rig = Rig::furnished().await;
    let creations = [
        ("/organizations", json!({"name": "outra"}), "id"),
        (
            "/sites",
            json!({"organization": "sefaz", "name": "outro"}),
            "id",
        ),
        (
            "/tokens",
            json!({"site": "sefaz/producao", "profile": "garage"}),
            "id",
        ),
        (
            "/services",
            json!({"node": NODE, "name": "ssh", "port": 22, "target": "127.0.0.1:22", "kind": "tcp"}),
            "id",
        ),
        (
            "/routes",
            json!({"host": "b.example.org", "services": [format!("{NODE}/web")]}),
            "id",
        ),
        (
            "/grants",
            json!({"from": "profile:central", "to": "site:sefaz/producao", "protocol": "icmp"}),
            "id",
        ),
        (
            "/zones",
            json!({"origin": "example.net", "name_servers": ["ns1.example.net"], "contact": "a.example.net"}),
            "origin",
        ),
        (
            "/operators",
            json!({"name": "bia", "role": "operator", "password": "correct horse battery"}),
            "id",
        ),
        (
            "/api-keys",
            json!({"name": "script", "scopes": ["read"]}),
            "id",
        ),
        (
            &format!("/nodes/{}/replace", NODE.replace('/', "%2F")),
            json!({}),
            "id",
        ),
    ];
    for (at, (path, body, id)) in creations.iter().enumerate() {
        let name = format!("once-{at}");
        let first = post(&rig, Scope::Admin, path, body, &name).await;
        assert_eq!(first.status, 201, "{path}: {}", first.body);
        let revision = rig.revision();
        let again = post(&rig, Scope::Admin, path, body, &name).await;
        assert_eq!(again.status, 200, "{path}: {}", again.body);
        assert_eq!(again.headers["idempotent-replay"], "true");
        assert_eq!(again.body[*id], first.body[*id], "{path}");
        assert_eq!(rig.revision(), revision, "{path}");
    }
}

#[tokio::test]
async fn a_repeated_token_says_why_its_text_is_missing() {
    let rig = Rig::furnished().await;
    let body = json!({"site": "sefaz/producao", "profile": "garage"});
    let first = post(&rig, Scope::Enrol, "/tokens", &body, "a").await.ok();
    assert!(first["token"].as_str().unwrap().starts_with("malha_"));
    let again = post(&rig, Scope::Enrol, "/tokens", &body, "a").await.ok();
    assert_eq!(again["id"], first["id"]);
    assert!(again.get("token").is_none());
    assert!(
        again["note"]
            .as_str()
            .unwrap()
            .contains("can't be shown again")
    );
}

#[tokio::test]
async fn the_same_name_for_another_request_is_a_conflict_and_another_caller_has_names_of_its_own() {
    let rig = Rig::bare().await;
    organization(&rig, Scope::Admin, "a", "k").await.ok();
    let problem = organization(&rig, Scope::Admin, "b", "k")
        .await
        .problem(409);
    assert_eq!(problem["type"], "urn:malha:problem:other-request");
    let other = organization(&rig, Scope::Write, "b", "k").await;
    assert_eq!(other.status, 201);
}

#[tokio::test]
async fn what_was_created_and_removed_is_gone() {
    let rig = Rig::bare().await;
    organization(&rig, Scope::Admin, "a", "k").await.ok();
    rig.call(Method::DELETE, "/organizations/a", None)
        .await
        .ok();
    organization(&rig, Scope::Admin, "a", "k")
        .await
        .problem(410);
}

#[tokio::test]
async fn a_strange_idempotency_key_is_refused() {
    let rig = Rig::bare().await;
    for name in ["", "a b", &"x".repeat(129), "\u{e9}"] {
        let problem = organization(&rig, Scope::Admin, "a", name)
            .await
            .problem(400);
        assert_eq!(problem["field"], "idempotency-key");
    }
    assert_eq!(rig.state().organizations().len(), 0);
}
