//! Nodes: as they are shown, and what is done to them.

use axum::http::Method;
use malha_core::{Command, NodeState};
use malha_proto::{EnrolToken, NodeId, PathProbe};
use malha_tunnel::InterfaceState;
use serde_json::json;

use super::rig::{NODE, NODE_IN_URL, Rig};
use crate::clock::now_ms;
use crate::hub::HubPorts;

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
        rig.call(Method::DELETE, &format!("/nodes/{id}?detach=true"), None)
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
async fn what_others_did_to_the_hubs_interface_shows_in_the_status_and_breaks_its_tunnel() {
    let mut rig = Rig::furnished().await;
    rig.has_hub(HubPorts::default()).await;
    let live = rig.context.live.clone();
    assert_eq!(
        rig.get("/status").await["hub"]["interface"],
        json!({"mended": 0})
    );
    let mut seen = InterfaceState {
        trouble: Some("EPERM".into()),
        ..InterfaceState::default()
    };
    live.hub_interface_seen(seen.clone(), 1_000);
    live.hub_interface_seen(seen.clone(), 2_000);
    let status = rig.get("/status").await;
    assert_eq!(
        status["hub"]["interface"],
        json!({"mended": 0, "trouble": "EPERM"})
    );
    assert_eq!(
        status["broken"],
        json!([{"node": "malha/hub/hub", "hop": "tunnel", "since_ms": 1_000}])
    );
    seen.trouble = None;
    seen.mended = 1;
    live.hub_interface_seen(seen, 3_000);
    let status = rig.get("/status").await;
    assert_eq!(status["hub"]["interface"], json!({"mended": 1}));
    assert_eq!(status["broken"], json!([]));
}
