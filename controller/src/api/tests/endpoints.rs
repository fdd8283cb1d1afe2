//! Every resource from its creation to its removal, as stories.

use std::collections::BTreeSet;

use axum::http::Method;
use malha_core::{Command, NodeState};
use malha_proto::{EnrolToken, NodeId, PathProbe};
use serde_json::{Value, json};

use super::rig::{AUTHORITY, NODE, Rig};
use crate::api::{document::operations_of, openapi_json};
use crate::clock::now_ms;

const NODE_IN_URL: &str = "sefaz%2Fproducao%2Fss-1";

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
async fn a_node_is_shown_with_its_live_hops_and_the_broken_one_is_named() {
    let rig = Rig::furnished().await;
    let node = rig.state().node_by_path(NODE).unwrap().id;
    let unseen = rig.get(&format!("/nodes/{NODE_IN_URL}")).await;
    assert_eq!(unseen["hops"]["control"]["state"], "unknown");
    assert!(unseen.get("broken").is_none());
    let _says = rig.connect(node);
    let web = rig.state().services_of(node).next().unwrap().id;
    rig.context.live.session_opened(node, now_ms());
    rig.context
        .live
        .probed(node, web, PathProbe::OriginFailed, now_ms(), now_ms());
    let shown = rig.get("/nodes/ss-1").await;
    assert_eq!(shown["hops"]["control"]["state"], "up");
    assert_eq!(shown["hops"]["tunnel"]["state"], "up");
    assert_eq!(shown["services"][0]["health"]["state"], "down");
    assert_eq!(shown["broken"]["hop"], "service");
    assert_eq!(shown["broken"]["service"], format!("{NODE}/web"));
    assert_eq!(shown["session"]["transport"], "quic");
    assert_eq!(shown["machine"]["engine"], "netstack");
    assert_eq!(shown["overlay_name"], "ss-1.producao.sefaz.malha.internal");
    let status = rig.get("/status").await;
    assert_eq!(
        (&status["nodes"]["connected"], &status["nodes"]["broken"]),
        (&json!(1), &json!(1))
    );
    assert_eq!(status["broken"][0]["node"], NODE);
    assert_eq!(
        rig.get("/services/ss-1%2Fweb").await["health"]["state"],
        "down"
    );
}

#[tokio::test]
async fn a_node_is_renamed_given_endpoints_replaced_and_removed() {
    let rig = Rig::furnished().await;
    let renamed = rig
        .call(
            Method::PUT,
            "/nodes/ss-1/name",
            Some(json!({"name": "ss-2"})),
        )
        .await
        .ok();
    assert_eq!(renamed["path"], "sefaz/producao/ss-2");
    let endpoints = json!({"endpoints": ["192.0.2.7:51820", "[2001:db8::7]:51820"]});
    let moved = rig
        .call(
            Method::PUT,
            "/nodes/ss-2/endpoints",
            Some(endpoints.clone()),
        )
        .await
        .ok();
    assert_eq!(moved["endpoints"], endpoints["endpoints"]);
    let replacement = rig.post("/nodes/ss-2/replace", json!({})).await;
    assert_eq!(replacement["replaces"], "sefaz/producao/ss-2");
    assert!(
        replacement["token"]
            .as_str()
            .unwrap()
            .parse::<EnrolToken>()
            .is_ok()
    );
    let id = renamed["id"].as_str().unwrap();
    assert_eq!(
        rig.call(Method::DELETE, &format!("/nodes/{id}"), None)
            .await
            .ok()["removed"],
        id
    );
    assert_eq!(rig.get("/nodes").await["items"], json!([]));
}

#[tokio::test]
async fn a_quarantine_is_shown_and_the_chosen_machine_keeps_the_identity() {
    let rig = Rig::furnished().await;
    let node = rig.state().node_by_path(NODE).unwrap().id;
    rig.call(
        Method::PUT,
        "/nodes/ss-1/quarantine",
        Some(json!({"keep": "holder"})),
    )
    .await
    .problem(409);
    quarantine(&rig, node).await;
    let shown = rig.get("/nodes/ss-1").await;
    assert_eq!(shown["state"], "quarantined");
    let rival = shown["quarantine"]["rival"]["machine"]
        .as_str()
        .unwrap()
        .to_owned();
    let other = json!({"keep": "rival", "machine": "00000000000000000000000000000000"});
    rig.call(Method::PUT, "/nodes/ss-1/quarantine", Some(other))
        .await
        .problem(409);
    let chosen = json!({"keep": "rival", "machine": rival});
    let resolved = rig
        .call(Method::PUT, "/nodes/ss-1/quarantine", Some(chosen))
        .await
        .ok();
    assert_eq!(resolved["state"], "rekeying");
}

/// Another machine comes with a lease that this node never had.
async fn quarantine(rig: &Rig, node: NodeId) {
    let state = rig.state();
    let entity = state.node(node).unwrap();
    let hello = Command::OpenSession {
        node,
        tls_key: entity.tls_key,
        lease: malha_proto::Lease([66; 16]),
        instance: 2,
        facts: malha_proto::MachineFacts {
            host_name: "copy".to_owned(),
            machine: malha_proto::MachineId([99; 16]),
            agent_version: "1".to_owned(),
            os: "Debian".to_owned(),
            engine: None,
        },
        source: None,
        live: None,
    };
    rig.does(hello).await;
    assert!(matches!(
        rig.state().node(node).unwrap().state,
        NodeState::Quarantined(_)
    ));
}

#[tokio::test]
async fn a_route_makes_its_records_and_they_go_with_it() {
    let rig = Rig::furnished().await;
    let made = rig
        .post(
            "/routes",
            json!({"host": "b.example.org", "path": "/painel", "services": ["ss-1/web"]}),
        )
        .await;
    assert_eq!(made["services"], json!([format!("{NODE}/web")]));
    let record = rig.get("/zones/example.org/records/b/A").await;
    assert_eq!(
        (&record["data"], &record["source"]),
        (&json!(["192.0.2.1"]), &json!("route"))
    );
    assert_eq!(
        rig.get("/routes/b.example.org%2Fpainel").await["id"],
        made["id"]
    );
    rig.call(
        Method::DELETE,
        &format!("/services/{}%2Fweb", NODE_IN_URL),
        None,
    )
    .await
    .problem(409);
    rig.call(Method::DELETE, "/routes/b.example.org%2Fpainel", None)
        .await
        .ok();
    rig.call(Method::GET, "/zones/example.org/records/b/A", None)
        .await
        .problem(404);
    rig.call(Method::DELETE, "/routes/a.example.org", None)
        .await
        .ok();
    rig.call(Method::DELETE, "/services/ss-1%2Fweb", None)
        .await
        .ok();
    assert_eq!(rig.get("/services?node=ss-1").await["items"], json!([]));
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
async fn record_sets_are_put_shown_replaced_and_deleted_at_every_name() {
    let rig = Rig::furnished().await;
    let serial = rig.get("/zones/example.org").await["serial"]
        .as_u64()
        .unwrap();
    for (name, rtype, data) in [
        ("www", "A", json!(["192.0.2.2", "192.0.2.3"])),
        ("%2A.dev", "CNAME", json!(["www.example.org."])),
        ("@", "MX", json!(["10 mail.example.org."])),
        ("_sip._tcp", "SRV", json!(["0 5 5060 sip.example.org."])),
    ] {
        let path = format!("/zones/example.org/records/{name}/{rtype}");
        let put = rig
            .call(Method::PUT, &path, Some(json!({"ttl_s": 60, "data": data})))
            .await
            .ok();
        assert_eq!((&put["data"], &put["ttl_s"]), (&data, &json!(60)), "{path}");
        assert_eq!(rig.get(&path).await["source"], "operator");
        rig.call(Method::DELETE, &path, None).await.ok();
        rig.call(Method::GET, &path, None).await.problem(404);
    }
    assert!(
        rig.get("/zones/example.org").await["serial"]
            .as_u64()
            .unwrap()
            > serial
    );
    assert_eq!(
        rig.get("/zones/example.org/records/@/SOA").await["type"],
        "SOA"
    );
    rig.call(Method::DELETE, "/zones/example.org", None)
        .await
        .ok();
    rig.call(Method::GET, "/zones/example.org/records", None)
        .await
        .problem(404);
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
async fn the_backup_is_whole_and_holds_the_state() {
    let rig = Rig::furnished().await;
    let reply = rig.call(Method::GET, "/backup", None).await;
    assert_eq!(reply.headers["content-type"], "application/octet-stream");
    let store = malha_store::restore_to_memory(
        &mut std::io::Cursor::new(reply.bytes),
        &crate::folder::schema(),
    )
    .unwrap();
    assert_eq!(
        store.health().await.keys,
        rig.context.store.health().await.keys
    );
}

#[tokio::test]
async fn a_reader_that_goes_away_gives_its_place_back() {
    let rig = Rig::furnished().await;
    for name in 0..400 {
        // Long enough that a backup does not fit the pipe between store and reader.
        let display_name = "x".repeat(200);
        rig.post(
            "/organizations",
            json!({"name": format!("o-{name}"), "display_name": display_name}),
        )
        .await;
    }
    let full = tokio::time::timeout(std::time::Duration::from_secs(20), async {
        for _ in 0..4 {
            while rig.begin_and_drop("/api/v1/backup").await == 503 {
                tokio::task::yield_now().await;
            }
        }
    });
    full.await.unwrap();
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
