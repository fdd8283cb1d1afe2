//! Who may do what: every operation of the document against every key. No operation is left out by hand.

use axum::http::{Method, header};
use malha_core::Scope;
use serde_json::{Value, json};

use super::rig::{Rig, SCOPES, key};
use crate::api::caller::{includes, scope_text};
use crate::api::{document::operations_of, openapi_json};
use crate::clock::now_ms;

/// Each operation with its scope, names filled in that exist nowhere.
fn operations() -> Vec<(Method, String, Scope)> {
    let document: Value = serde_json::from_str(&openapi_json()).unwrap();
    let operations = operations_of(&document).map(|(path, method, operation)| {
        let scope = operation["security"][0]["api_key"][0].as_str().unwrap();
        let scope = SCOPES
            .into_iter()
            .find(|it| scope_text(*it) == scope)
            .unwrap();
        let path = path
            .split('/')
            .map(|part| if part.starts_with('{') { "zz" } else { part });
        let method: Method = method.to_uppercase().parse().unwrap();
        (method, path.collect::<Vec<_>>().join("/"), scope)
    });
    operations.collect()
}

#[tokio::test]
async fn every_operation_refuses_strangers_and_changes_nothing() {
    let rig = Rig::bare().await;
    let before = rig.revision();
    let expired = key(&rig.context.handle, Scope::Admin, Some(now_ms() + 1_000)).await;
    while now_ms()
        <= rig
            .state()
            .api_keys()
            .filter_map(|key| key.expires_ms)
            .max()
            .unwrap()
    {
        tokio::task::yield_now().await;
    }
    let before = before.next();
    let unknown = format!("malha_key_{}", "A".repeat(43));
    let strangers = [
        None,
        Some(expired.as_str()),
        Some(&unknown),
        Some("malha_key_x"),
        Some(""),
    ];
    let mut details = std::collections::BTreeSet::new();
    for (method, path, _) in operations() {
        for stranger in strangers {
            let reply = rig
                .send(stranger, method.clone(), &path, Some("{}".into()), &[])
                .await;
            assert_eq!(
                reply.headers[header::WWW_AUTHENTICATE],
                "Bearer realm=\"malha\""
            );
            details.insert(reply.problem(401)["detail"].to_string());
        }
    }
    assert_eq!(
        details.len(),
        1,
        "the answer must not tell a missing key from a wrong one"
    );
    assert_eq!(rig.revision(), before);
}

#[tokio::test]
async fn every_operation_asks_for_the_scope_that_it_documents() {
    for held in SCOPES {
        let rig = Rig::bare().await;
        for (method, path, needed) in operations() {
            let reply = rig
                .send(
                    Some(rig.key(held)),
                    method.clone(),
                    &path,
                    Some("{}".into()),
                    &[],
                )
                .await;
            assert_eq!(
                reply.status == 403,
                !includes(held, needed),
                "{method} {path} with {held:?}: {}",
                reply.status
            );
            assert_ne!(reply.status, 401, "{method} {path}");
        }
    }
}

#[tokio::test]
async fn a_removed_key_is_refused_from_then_on() {
    let rig = Rig::bare().await;
    let text = key(&rig.context.handle, Scope::Read, None).await;
    let listed = rig.get("/api-keys").await;
    let name = listed["items"].as_array().unwrap().last().unwrap()["name"]
        .as_str()
        .unwrap()
        .to_owned();
    rig.call_as(Some(&text), Method::GET, "/status", None, &[])
        .await
        .ok();
    rig.call(Method::DELETE, &format!("/api-keys/{name}"), None)
        .await
        .ok();
    rig.call_as(Some(&text), Method::GET, "/status", None, &[])
        .await
        .problem(401);
}

#[tokio::test]
async fn a_cookie_opens_nothing() {
    let rig = Rig::bare().await;
    let cookie = format!("malha={}", rig.key(Scope::Admin));
    rig.call_as(None, Method::GET, "/status", None, &[("cookie", &cookie)])
        .await
        .problem(401);
}

#[tokio::test]
async fn a_write_is_audited_with_the_name_of_its_key_and_its_source() {
    let rig = Rig::bare().await;
    let body = Some(json!({"name": "sefaz"}));
    rig.call_as(
        Some(rig.key(Scope::Write)),
        Method::POST,
        "/organizations",
        body,
        &[],
    )
    .await
    .ok();
    let audit = rig.get("/audit?limit=1").await;
    let line = &audit["items"][0];
    assert_eq!(line["action"], "organization.create");
    assert!(
        line["actor"].as_str().unwrap().starts_with("key:write-"),
        "{line}"
    );
    assert_eq!(line["source"], "192.0.2.77");
}
