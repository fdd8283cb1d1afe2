//! Resources from their creation to their removal, as stories; and that none is left without one.

use std::collections::BTreeSet;

use axum::http::Method;
use malha_proto::EnrolToken;
use serde_json::{Value, json};

use super::rig::{AUTHORITY, NODE, Rig};
use crate::api::{document::operations_of, openapi_json};

#[tokio::test]
async fn an_organization_is_created_listed_shown_and_removed() {
    let rig = Rig::bare().await;
    let made = rig
        .post(
            "/organizations",
            json!({"name": "sefaz", "display_name": "Secretaria de Fazenda"}),
        )
        .await;
    assert_eq!(made["revision"], rig.revision().0);
    let id = made["id"].as_str().unwrap();
    let shown = rig.get("/organizations/sefaz").await;
    assert_eq!(
        (&shown["id"], &shown["display_name"]),
        (&made["id"], &json!("Secretaria de Fazenda"))
    );
    assert_eq!(rig.get(&format!("/organizations/{id}")).await, shown);
    assert_eq!(rig.get("/organizations").await["items"], json!([shown]));
    assert_eq!(
        rig.call(Method::DELETE, "/organizations/sefaz", None)
            .await
            .ok()["removed"],
        id
    );
    rig.call(Method::GET, "/organizations/sefaz", None)
        .await
        .problem(404);
}

#[tokio::test]
async fn a_site_lives_in_its_organization() {
    let rig = Rig::furnished().await;
    rig.post("/organizations", json!({"name": "outra"})).await;
    rig.post("/sites", json!({"organization": "outra", "name": "loja"}))
        .await;
    let of_outra = rig.get("/sites?organization=outra").await;
    assert_eq!(of_outra["items"][0]["path"], "outra/loja");
    assert_eq!(of_outra["items"].as_array().unwrap().len(), 1);
    assert_eq!(rig.get("/sites/sefaz%2Fproducao").await["nodes"], 1);
    assert_eq!(rig.get("/sites/loja").await["path"], "outra/loja");
    rig.call(Method::DELETE, "/organizations/outra", None)
        .await
        .problem(409);
    rig.call(Method::DELETE, "/sites/outra%2Floja", None)
        .await
        .ok();
}

#[tokio::test]
async fn a_token_is_shown_once_and_can_be_revoked() {
    let rig = Rig::furnished().await;
    let made = rig
        .post(
            "/tokens",
            json!({"site": "sefaz/producao", "profile": "garage", "uses": 3, "ttl_s": 600}),
        )
        .await;
    let token: EnrolToken = made["token"].as_str().unwrap().parse().unwrap();
    assert_eq!(
        (token.authority, token.controllers),
        (AUTHORITY, vec!["hub.example:443".to_owned()])
    );
    let id = made["id"].as_str().unwrap();
    let shown = rig.get(&format!("/tokens/{id}")).await;
    assert_eq!(
        (&shown["state"], &shown["uses_left"]),
        (&json!("active"), &json!(3))
    );
    assert!(shown.get("token").is_none());
    assert!(
        !rig.get("/tokens?site=sefaz/producao")
            .await
            .to_string()
            .contains("malha_")
    );
    let revoked = rig
        .call(Method::DELETE, &format!("/tokens/{id}"), None)
        .await
        .ok();
    assert_eq!(revoked["state"], "revoked");
}

#[tokio::test]
async fn a_grant_reads_back_as_it_was_written() {
    let rig = Rig::furnished().await;
    let new = json!({"from": "profile:central", "to": format!("node:{NODE}"), "protocol": "tcp", "from_port": 5500, "to_port": 5577});
    let made = rig.post("/grants", new.clone()).await;
    for field in ["from", "to", "protocol", "from_port", "to_port"] {
        assert_eq!(made[field], new[field], "{field}");
    }
    let id = made["id"].as_str().unwrap();
    assert_eq!(rig.get(&format!("/grants/{id}")).await["to"], new["to"]);
    rig.call(Method::DELETE, &format!("/grants/{id}"), None)
        .await
        .ok();
    assert_eq!(
        rig.get("/grants").await["items"].as_array().unwrap().len(),
        1
    );
}

#[tokio::test]
async fn lists_come_in_pages_that_cover_them_once() {
    let rig = Rig::furnished().await;
    for name in ["b", "c", "*.c"] {
        let path = format!("/zones/example.org/records/{}/A", name.replace('*', "%2A"));
        rig.call(Method::PUT, &path, Some(json!({"data": ["192.0.2.9"]})))
            .await
            .ok();
        rig.post(
            "/organizations",
            json!({"name": format!("org-{}", name.replace("*.", "w"))}),
        )
        .await;
    }
    for path in [
        "/zones/example.org/records",
        "/organizations",
        "/api-keys",
        "/operators",
    ] {
        let whole = rig.get(path).await["items"].as_array().unwrap().clone();
        let (mut paged, mut after) = (Vec::new(), String::new());
        loop {
            let page = rig.get(&format!("{path}?limit=1{after}")).await;
            paged.extend(page["items"].as_array().unwrap().clone());
            match page["next"].as_str() {
                Some(next) => after = format!("&after={}", crate::client::part(next)),
                None => break,
            }
        }
        assert_eq!(paged, whole, "{path}");
    }
}

#[tokio::test]
async fn operators_and_keys_show_no_secret_twice() {
    let rig = Rig::bare().await;
    let ana = json!({"name": "ana", "role": "owner", "password": "correct horse battery"});
    let made = rig.post("/operators", ana).await;
    assert!(!made.to_string().contains("argon2") && !made.to_string().contains("horse"));
    let before = rig
        .state()
        .operator_by_name("ana")
        .unwrap()
        .password_hash
        .clone();
    let other = json!({"password": "another long password"});
    rig.call(Method::PUT, "/operators/ana/password", Some(other))
        .await
        .ok();
    assert_ne!(
        rig.state().operator_by_name("ana").unwrap().password_hash,
        before
    );
    assert_eq!(rig.get("/operators/ana").await["role"], "owner");
    rig.call(Method::DELETE, "/operators/ana", None)
        .await
        .problem(409);
    let key = rig
        .post(
            "/api-keys",
            json!({"name": "script", "scopes": ["read", "dns"]}),
        )
        .await;
    assert!(key["key"].as_str().unwrap().starts_with("malha_key_"));
    assert_eq!(
        rig.get("/api-keys/script").await["scopes"],
        json!(["read", "dns"])
    );
    assert!(
        !rig.get("/api-keys")
            .await
            .to_string()
            .contains("malha_key_")
    );
    assert!(
        !rig.get("/audit?limit=1000")
            .await
            .to_string()
            .contains("malha_key_")
    );
}

#[tokio::test]
async fn the_audit_log_goes_on_from_where_the_reader_was() {
    let rig = Rig::bare().await;
    let all = rig.get("/audit?limit=1000").await;
    let next = all["next"].as_str().unwrap();
    assert_eq!(
        rig.get(&format!("/audit?after={next}")).await["items"],
        json!([])
    );
    rig.post("/organizations", json!({"name": "sefaz"})).await;
    let newer = rig.get(&format!("/audit?after={next}")).await;
    assert_eq!(newer["items"].as_array().unwrap().len(), 1);
    assert_eq!(newer["items"][0]["action"], "organization.create");
}

#[tokio::test]
async fn the_settings_name_the_authority_and_the_controllers() {
    let rig = Rig::furnished().await;
    let settings = rig.get("/settings").await;
    assert_eq!(settings["authority"], AUTHORITY.to_string());
    assert_eq!(settings["controllers"], json!(["hub.example:443"]));
    assert_eq!(settings["edge_addresses"], json!(["192.0.2.1"]));
    assert_eq!(settings["pool_v4"], "100.64.0.0/10");
}

#[test]
fn no_resource_is_left_without_a_story_here() {
    let story = concat!(
        include_str!("endpoints.rs"),
        include_str!("nodes.rs"),
        include_str!("records.rs"),
        include_str!("backup.rs"),
        include_str!("policy.rs"),
        include_str!("approval.rs"),
        include_str!("agencies.rs"),
        include_str!("profiles.rs"),
        include_str!("declarations.rs"),
        include_str!("balancers.rs"),
        include_str!("checks.rs"),
        include_str!("psk.rs"),
        include_str!("trace.rs")
    );
    let document: Value = serde_json::from_str(&openapi_json()).unwrap();
    let nouns: BTreeSet<String> = operations_of(&document)
        .filter_map(|(path, _, _)| {
            path.strip_prefix("/api/v1/")?
                .split('/')
                .next()
                .map(str::to_owned)
        })
        .collect();
    for noun in nouns {
        assert!(story.contains(&format!("\"/{noun}")), "{noun}");
    }
}
