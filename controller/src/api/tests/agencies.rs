//! Agencies over HTTP: made in one request, made once, and shown before they are made.

use axum::http::Method;
use malha_core::{Command, Scope};
use malha_proto::{EnrolToken, Fingerprint, WgKey};
use serde_json::{Value, json};

use super::rig::{Reply, Rig, facts};

fn wanted() -> Value {
    json!({
        "name": "xvia.sedec", "profile": "xroad", "production": 2, "development": 1,
        "zone": "mt.gov.br", "public_addresses": ["201.49.0.2"],
    })
}

async fn add(rig: &Rig, query: &str, body: Value, key: Option<&str>) -> Reply {
    let headers: Vec<_> = key
        .map(|key| ("idempotency-key", key))
        .into_iter()
        .collect();
    let path = format!("/agencies{query}");
    let caller = Some(rig.key(Scope::Write));
    rig.call_as(caller, Method::POST, &path, Some(body), &headers)
        .await
}

async fn with_zone() -> Rig {
    let rig = Rig::bare().await;
    let controllers = vec!["malha.example.org:443".to_owned()];
    rig.does(Command::SetControllers { controllers }).await;
    let zone =
        json!({"origin": "mt.gov.br", "name_servers": ["ns1.mt.gov.br"], "contact": "a.mt.gov.br"});
    rig.post("/zones", zone).await;
    rig
}

#[tokio::test]
async fn each_awaited_machine_has_a_token_that_makes_it() {
    let rig = with_zone().await;
    let reply = add(&rig, "", wanted(), None).await;
    assert_eq!(reply.status, 201, "{}", reply.body);
    let made = reply.body;
    assert_eq!(
        made["sites"],
        json!(["sedec/producao", "sedec/desenvolvimento"])
    );
    assert_eq!(made["names"][0]["name"], "xvia.sedec.mt.gov.br");
    assert_eq!(made["names"][0]["is_kept_here"], true);
    assert_eq!(made["names"][1]["is_kept_here"], false);
    let machines = made["machines"].as_array().unwrap();
    assert_eq!(machines.len(), 4);
    for (number, machine) in (40..).zip(machines) {
        let token: EnrolToken = machine["token"].as_str().unwrap().parse().unwrap();
        rig.does(Command::Enrol {
            token: token.id,
            secret: token.secret,
            wg_key: WgKey([number; 32]),
            tls_key: Fingerprint([number; 32]),
            name: None,
            facts: facts("any", number),
        })
        .await;
        let node = machine["node"].as_str().unwrap().replace('/', "%2F");
        let shown = rig.get(&format!("/nodes/{node}")).await;
        assert_eq!(shown["profile"], machine["profile"]);
    }
    let records = rig.get("/zones/mt.gov.br/records").await;
    assert!(records.to_string().contains("201.49.0.2"), "{records}");
}

#[tokio::test]
async fn a_dry_run_says_the_same_and_makes_nothing() {
    let rig = with_zone().await;
    let before = rig.revision();
    let shown = add(&rig, "?dry_run=true", wanted(), Some("k")).await.ok();
    assert_eq!(rig.revision(), before);
    assert!(shown.get("revision").is_none());
    let made = add(&rig, "", wanted(), Some("k")).await.body;
    assert_eq!(shown["policy"], made["policy"]);
    assert_eq!(shown["names"], made["names"]);
    for (shown, made) in shown["machines"]
        .as_array()
        .unwrap()
        .iter()
        .zip(made["machines"].as_array().unwrap())
    {
        assert_eq!(shown["node"], made["node"]);
        assert!(shown.get("token").is_none() && made["token"].is_string());
    }
}

#[tokio::test]
async fn a_repeated_request_names_the_agency_without_its_tokens() {
    let rig = with_zone().await;
    let first = add(&rig, "", wanted(), Some("k")).await.body;
    let revision = rig.revision();
    let again = add(&rig, "", wanted(), Some("k")).await;
    assert_eq!(again.status, 200, "{}", again.body);
    assert_eq!(again.headers["idempotent-replay"], "true");
    assert_eq!(again.body["organization_id"], first["organization_id"]);
    assert_eq!(again.body["machines"].as_array().unwrap().len(), 4);
    assert!(!again.body.to_string().contains("malha_"), "{}", again.body);
    assert!(again.body["note"].is_string());
    assert_eq!(rig.revision(), revision);
    let other = json!({"name": "sefaz", "profile": "xroad", "production": 1});
    add(&rig, "", other, Some("k")).await.problem(409);
}

#[tokio::test]
async fn each_mistake_is_refused_by_its_field_and_makes_nothing() {
    let rig = with_zone().await;
    add(&rig, "", wanted(), None).await;
    let before = rig.revision();
    let with = |field: &str, value: Value| {
        let mut body = wanted();
        body["name"] = json!("xvia.sefaz");
        body[field] = value;
        body
    };
    for (body, status, field) in [
        (wanted(), 409, Value::Null),
        (with("name", json!("x.y.z")), 422, json!("name")),
        (with("name", json!("xvia.")), 422, json!("name")),
        (with("production", json!(0)), 422, json!("production")),
        (with("production", json!(-1)), 422, json!("production")),
        (with("development", json!(200)), 422, json!("development")),
        (with("profile", json!("garage")), 422, json!("profile")),
        (with("zone", json!("example.org")), 404, Value::Null),
        (
            with("public_addresses", json!(["201.49.0"])),
            422,
            json!("public_addresses[0]"),
        ),
        (
            with("development_addresses", json!(["201.49.0.2"])),
            422,
            json!("development_addresses"),
        ),
        (with("xroad", json!("new")), 422, json!("xroad")),
        (with("ttl_s", json!(1)), 422, json!("ttl_s")),
        (with("color", json!("red")), 422, json!("color")),
    ] {
        let reply = add(&rig, "", body.clone(), None).await;
        let problem = reply.problem(status);
        assert_eq!(problem["field"], field, "{body} {problem}");
    }
    assert_eq!(rig.revision(), before);
}

#[tokio::test]
async fn an_agency_declares_what_the_requirement_lists() {
    let rig = with_zone().await;
    let mut older = wanted();
    older["xroad"] = json!("7.3");
    add(&rig, "", older, None).await;
    let path = "/profiles/security-server/difference";
    let found = rig.get(&format!("{path}?organization=sedec")).await;
    let general = rig.get(&format!("{path}?xroad=7.3")).await;
    let kinds = |found: &Value| -> Vec<_> {
        let items = found["items"].as_array().unwrap().iter();
        items
            .map(|it| (it["kind"].clone(), it["port"].clone()))
            .collect()
    };
    assert_eq!(kinds(&found), kinds(&general));
    rig.post("/organizations", json!({"name": "nova"})).await;
    let none = rig
        .call(Method::GET, &format!("{path}?organization=nova"), None)
        .await;
    none.problem(404);
}
