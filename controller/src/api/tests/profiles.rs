//! Profiles over HTTP: listed, shown, edited, reset, and compared with what agencies are asked for.

use axum::http::Method;
use malha_core::Scope;
use serde_json::{Value, json};

use super::rig::{NODE, Rig};

const IN_URL: &str = "/profiles/security-server";

async fn call(rig: &Rig, method: Method, path: &str, body: Option<Value>) -> super::rig::Reply {
    rig.call_as(Some(rig.key(Scope::Write)), method, path, body, &[])
        .await
}

#[tokio::test]
async fn the_five_profiles_are_listed_without_their_texts() {
    let rig = Rig::bare().await;
    let listed = rig.get("/profiles").await;
    let names: Vec<&str> = listed["items"]
        .as_array()
        .unwrap()
        .iter()
        .map(|it| {
            assert!(it.get("text").is_none());
            it["profile"].as_str().unwrap()
        })
        .collect();
    let all = ["garage", "security-server", "balancer", "central", "edge"];
    assert_eq!(names, all);
}

#[tokio::test]
async fn an_edit_holds_until_it_is_reset() {
    let rig = Rig::bare().await;
    let shipped = rig.get(IN_URL).await;
    let text = shipped["text"].as_str().unwrap();
    let edited = text.replace("[\"9011\"]", "[\"9012\"]");
    let body = json!({ "text": edited });
    let written = call(&rig, Method::PUT, "/profiles", Some(body)).await.ok();
    assert_eq!(written["text"], edited);
    assert!(rig.get(IN_URL).await["edited_ms"].is_u64());
    call(&rig, Method::DELETE, IN_URL, None).await.ok();
    assert_eq!(rig.get(IN_URL).await, shipped);
    call(&rig, Method::DELETE, IN_URL, None).await.problem(404);
}

#[tokio::test]
async fn a_wrong_text_is_refused_with_line_and_field() {
    let rig = Rig::bare().await;
    let text = "version = 1\nprofile = \"edge\"\n\n[[port]]\nname = \"web\"\nprotocol = \"sctp\"\nports = [\"80\"]\n\
        direction = \"in\"\nwho = [\"anyone\"]\nexposure = \"public\"\nprobe = \"tcp\"\n";
    let reply = call(
        &rig,
        Method::PUT,
        "/profiles",
        Some(json!({ "text": text })),
    )
    .await;
    let problem = reply.problem(422);
    assert_eq!(problem["field"], "text");
    let detail = problem["detail"].as_str().unwrap();
    assert!(
        detail.contains("line 6") && detail.contains("port web: protocol"),
        "{detail}"
    );
    call(&rig, Method::GET, "/profiles/router", None)
        .await
        .problem(400);
}

#[tokio::test]
async fn the_difference_to_the_requirement_follows_the_release() {
    let rig = Rig::bare().await;
    let differs = async |query: &str, port: u16, kind: &str| {
        let found = rig.get(&format!("{IN_URL}/difference{query}")).await;
        let items = found["items"].as_array().unwrap().clone();
        items.iter().any(|it| {
            (&it["port"], &it["kind"], &it["direction"])
                == (&json!(port), &json!(kind), &json!("in"))
        })
    };
    assert!(differs("", 9011, "too-open").await);
    assert!(differs("", 443, "not-in-profile").await);
    assert!(differs("", 8443, "not-declared").await);
    assert!(!differs("?xroad=7.3", 443, "not-in-profile").await);
    let wrong = format!("{IN_URL}/difference?xroad=seven");
    call(&rig, Method::GET, &wrong, None).await.problem(400);
}

#[tokio::test]
async fn a_site_says_which_release_its_servers_run() {
    let rig = Rig::furnished().await;
    let site = NODE.rsplit_once('/').unwrap().0.replace('/', "%2F");
    let path = format!("/sites/{site}/xroad");
    let body = json!({"xroad": "7.3"});
    let written = call(&rig, Method::PUT, &path, Some(body)).await.ok();
    assert_eq!(written["xroad"], "7.3");
    let written = call(&rig, Method::PUT, &path, Some(json!({}))).await.ok();
    assert!(written.get("xroad").is_none());
    let wrong = json!({"xroad": "new"});
    call(&rig, Method::PUT, &path, Some(wrong))
        .await
        .problem(422);
}
