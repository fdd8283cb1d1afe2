//! Two operators over HTTP: keys that belong to somebody, a change that waits, its approval, and the ways that stay shut.

use axum::http::{Method, StatusCode};
use serde_json::{Value, json};

use super::rig::{OPEN, Reply, Rig};

/// `sefaz` asks for a second approver; ana is an owner, bruno an operator, each with a key.
struct Stage {
    rig: Rig,
    ana: String,
    bruno: String,
}

impl Stage {
    async fn new() -> Self {
        let rig = Rig::furnished().await;
        rig.enrol("ss-2").await;
        rig.call(Method::DELETE, "/operators/ana", None).await.ok();
        let mut keys = Vec::new();
        for (name, role, scope) in [("ana", "owner", "admin"), ("bruno", "operator", "write")] {
            let operator =
                json!({ "name": name, "role": role, "password": "correct horse battery" });
            rig.post("/operators", operator).await;
            let key = json!({ "name": format!("{name}-cli"), "scopes": [scope], "operator": name });
            let made = rig.post("/api-keys", key).await;
            assert_eq!(made["operator"], name);
            keys.push(made["key"].as_str().unwrap().to_owned());
        }
        let (bruno, ana) = (keys.remove(1), keys.remove(0));
        let on = json!({ "on": true });
        let path = "/organizations/sefaz/second-approver";
        let organization = rig.call(Method::PUT, path, Some(on)).await.ok();
        assert_eq!(organization["second_approver"], true);
        Self { rig, ana, bruno }
    }

    async fn call(&self, key: &str, method: Method, path: &str, body: Value) -> Reply {
        let body = Some(body).filter(|body| !body.is_null());
        self.rig.call_as(Some(key), method, path, body, &[]).await
    }

    async fn apply(&self, key: &str, text: &str, emergency: Option<&str>) -> Reply {
        let asked = json!({ "text": text });
        let seen = self
            .call(key, Method::POST, "/policy/diff", asked)
            .await
            .ok();
        let body = json!({ "text": text, "difference": seen["hash"], "emergency": emergency });
        self.call(key, Method::PUT, "/policy", body).await
    }

    async fn propose(&self) -> Value {
        let reply = self.apply(&self.ana, OPEN, None).await;
        assert_eq!(reply.status, StatusCode::ACCEPTED, "{}", reply.body);
        reply.body["proposed"].clone()
    }

    async fn approve(&self, key: &str, proposal: &Value, hash: &Value) -> Reply {
        let path = format!("/policy/proposals/{proposal}/approve");
        self.call(key, Method::POST, &path, json!({ "difference": hash }))
            .await
    }
}

#[tokio::test]
async fn a_change_waits_is_shown_with_its_difference_and_comes_in_force_by_another_key() {
    let stage = Stage::new().await;
    let proposed = stage.propose().await;
    assert_eq!(proposed["organizations"], json!(["sefaz"]));
    assert_eq!(stage.rig.get("/policy").await["version"], 0);
    let listed = stage.rig.get("/policy/proposals").await;
    assert_eq!(listed["items"][0]["author"], "key:ana-cli");
    let hash = proposed["hash"].as_str().unwrap();
    let shown = stage
        .rig
        .get(&format!("/policy/proposals/{}", &hash[..12]))
        .await;
    assert_eq!(
        (&shown["text"], &shown["difference"]["gaining"]),
        (&json!(OPEN), &json!(1))
    );
    assert_eq!(shown["difference"]["hash"], proposed["hash"]);
    let (number, hash) = (&proposed["number"], &proposed["hash"]);
    let own = stage.approve(&stage.ana, number, hash).await.problem(422);
    assert!(
        own["detail"]
            .as_str()
            .unwrap()
            .contains("another one approves it"),
        "{own}"
    );
    let blind = stage
        .approve(&stage.bruno, number, &json!("0".repeat(64)))
        .await;
    blind.problem(422);
    let policy = stage.approve(&stage.bruno, number, hash).await.ok();
    assert_eq!(policy["version"], 2);
    let version = stage.rig.get("/policy/versions/2").await;
    assert_eq!(
        (&version["author"], &version["approver"]),
        (&json!("key:ana-cli"), &json!("key:bruno-cli"))
    );
    let tail = stage.rig.get("/audit").await.to_string();
    for action in [
        "organization.second-approver",
        "policy.propose",
        "policy.approve",
    ] {
        assert!(tail.contains(action), "{action}: {tail}");
    }
}

#[tokio::test]
async fn a_key_that_is_nobodys_neither_proposes_nor_approves() {
    let stage = Stage::new().await;
    let nobodys = stage.rig.key(malha_core::Scope::Admin).to_owned();
    let refused = stage.apply(&nobodys, OPEN, None).await.problem(422);
    assert!(
        refused["detail"]
            .as_str()
            .unwrap()
            .contains("malha key add NAME"),
        "{refused}"
    );
    let proposed = stage.propose().await;
    let answer = stage.approve(&nobodys, &proposed["number"], &proposed["hash"]);
    answer.await.problem(422);
    let heir = json!({ "name": "ana-ci", "scopes": ["write"] });
    let made = stage
        .call(&stage.ana, Method::POST, "/api-keys", heir)
        .await
        .ok();
    assert_eq!(made["operator"], "ana", "a key made with ana's key is hers");
    let heir = made["key"].as_str().unwrap();
    let answer = stage.approve(heir, &proposed["number"], &proposed["hash"]);
    answer.await.problem(422);
}

#[tokio::test]
async fn a_proposal_is_rejected_and_a_node_that_came_makes_one_outdated() {
    let stage = Stage::new().await;
    let proposed = stage.propose().await;
    let path = format!("/policy/proposals/{}", proposed["number"]);
    stage.rig.enrol("ss-3").await;
    assert_eq!(stage.rig.get(&path).await["outdated"], true);
    let answer = stage.approve(&stage.bruno, &proposed["number"], &proposed["hash"]);
    let refused = answer.await.problem(422);
    assert_eq!(refused["field"], "difference");
    let removed = stage
        .call(&stage.bruno, Method::DELETE, &path, Value::Null)
        .await
        .ok();
    assert_eq!(removed["removed"], proposed["number"].to_string());
    stage.rig.call(Method::GET, &path, None).await.problem(404);
}

#[tokio::test]
async fn an_owner_acts_alone_for_a_day_and_the_setting_goes_with_two_only() {
    let stage = Stage::new().await;
    stage
        .apply(&stage.bruno, OPEN, Some("invasão"))
        .await
        .problem(422);
    let policy = stage.apply(&stage.ana, OPEN, Some("invasão")).await.ok();
    assert_eq!(policy["pending"]["emergency"], "invasão");
    let confirm = json!({ "version": 2 });
    let own = stage.call(&stage.ana, Method::POST, "/policy/confirm", confirm.clone());
    own.await.problem(422);
    let other = stage.call(&stage.bruno, Method::POST, "/policy/confirm", confirm);
    other.await.ok();
    let path = "/organizations/sefaz/second-approver";
    let off = stage
        .call(&stage.bruno, Method::PUT, path, json!({ "on": false }))
        .await;
    assert_eq!(off.status, StatusCode::ACCEPTED);
    assert_eq!(off.body["second_approver"], true);
    let number = &off.body["proposed"];
    let shown = stage.rig.get(&format!("/policy/proposals/{number}")).await;
    assert_eq!(shown["kind"], "one-approver");
    stage
        .approve(&stage.bruno, number, &shown["hash"])
        .await
        .problem(422);
    stage.approve(&stage.ana, number, &shown["hash"]).await.ok();
    let organization = stage.rig.get("/organizations/sefaz").await;
    assert_eq!(organization["second_approver"], false);
    let tail = stage.rig.get("/audit").await.to_string();
    assert!(tail.contains("policy.emergency"), "{tail}");
}
