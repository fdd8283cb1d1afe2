//! What `GET /trace` says of a packet, and how it takes names.

use axum::http::Method;
use malha_proto::{NodeReport, PathKind, PathProbe, PeerObservation};
use serde_json::{Value, json};

use super::rig::{NODE, Rig};
use crate::clock::now_ms;

/// Two nodes of one organization, joined by the furnished grant: whoever is in `sefaz` may open 5500 on `ss-1`.
async fn two_nodes() -> Rig {
    let rig = Rig::furnished().await;
    rig.enrol("ss-2").await;
    rig
}

async fn trace(rig: &Rig, query: &str) -> Value {
    rig.get(&format!("/trace?{query}")).await
}

#[tokio::test]
async fn the_grant_that_decides_is_shown_whole() {
    let rig = two_nodes().await;
    let said = trace(&rig, "from=ss-2&to=ss-1&port=5500").await;
    assert_eq!(
        (&said["allowed"], &said["reason"]),
        (&json!(true), &json!("rule"))
    );
    let rule = &said["rules"][0];
    assert_eq!(
        (&rule["decides"], &rule["source"]),
        (&json!(true), &json!("grant"))
    );
    let grant = rig.get("/grants").await["items"][0].clone();
    assert_eq!(rule["grant"], grant);
    assert_eq!(said["to"]["path"], NODE);
    assert_eq!(said["reverse"], false);
}

#[tokio::test]
async fn what_no_rule_covers_is_denied_and_the_rules_that_there_are_are_shown() {
    let rig = two_nodes().await;
    for query in [
        "from=ss-2&to=ss-1&port=5501",
        "from=ss-2&to=ss-1&port=5500&protocol=udp",
        "from=ss-2&to=ss-1&protocol=icmp",
    ] {
        let said = trace(&rig, query).await;
        assert_eq!(
            (&said["allowed"], &said["reason"]),
            (&json!(false), &json!("no-rule")),
            "{query}"
        );
        assert_eq!(said["rules"][0]["decides"], false, "{query}");
    }
    let said = trace(&rig, "from=ss-1&to=ss-1&port=80").await;
    assert_eq!(said["reason"], "same-node");
    let grant = rig.get("/grants").await["items"][0]["id"].clone();
    let grant = format!("/grants/{}", grant.as_str().unwrap());
    rig.call(Method::DELETE, &grant, None).await.ok();
    let said = trace(&rig, "from=ss-2&to=ss-1&port=5500").await;
    assert_eq!(
        (&said["reason"], &said["rules"]),
        (&json!("not-peers"), &json!([]))
    );
}

#[tokio::test]
async fn rules_that_the_receiver_has_not_confirmed_are_named_as_such() {
    let rig = two_nodes().await;
    let ask = async || trace(&rig, "from=ss-2&to=ss-1&port=5500").await["confirmed"].clone();
    assert_eq!(ask().await, false);
    let node = rig.state().node_by_path(NODE).unwrap().id;
    let applies = rig.connect(node);
    assert_eq!(ask().await, false);
    applies(rig.revision());
    assert_eq!(ask().await, true);
    rig.enrol("ss-3").await;
    assert_eq!(ask().await, false);
    applies(rig.revision());
    assert_eq!(ask().await, true);
}

#[tokio::test]
async fn names_addresses_and_services_mean_the_same_node() {
    let rig = two_nodes().await;
    let node = rig.get("/nodes/ss-1").await;
    let of = |field: &str| node[field].as_str().unwrap().to_owned();
    let expected = trace(&rig, "from=ss-2&to=ss-1&port=80").await;
    for to in [
        of("id"),
        of("overlay_name"),
        of("address_v4"),
        of("address_v6"),
        "ss-1.producao.sefaz".to_owned(),
        "sefaz%2Fproducao%2Fss-1%2Fweb".to_owned(),
        "ss-1%2Fweb".to_owned(),
    ] {
        let said = trace(&rig, &format!("from=ss-2&to={to}&port=80")).await;
        assert_eq!(said, expected, "{to}");
    }
    assert_eq!(trace(&rig, "from=ss-2&to=ss-1%2Fweb").await, expected);
}

#[tokio::test]
async fn the_service_at_the_port_is_shown_as_probed() {
    let rig = two_nodes().await;
    let said = trace(&rig, "from=ss-2&to=ss-1&port=80").await;
    assert_eq!(said["service"]["path"], format!("{NODE}/web"));
    assert_eq!(said["service"]["health"]["state"], "unknown");
    let service = rig.state().services().next().unwrap().clone();
    let now_ms = now_ms();
    let live = &rig.context.live;
    live.probed(
        service.node,
        service.id,
        PathProbe::Answered,
        now_ms,
        now_ms,
    );
    let said = trace(&rig, "from=ss-2&to=ss-1&port=80").await;
    assert_eq!(said["service"]["health"]["state"], "up");
    assert_eq!(said["to"]["tunnel"]["state"], "up");
    assert_eq!(
        trace(&rig, "from=ss-2&to=ss-1&port=81").await["service"],
        Value::Null
    );
}

#[tokio::test]
async fn a_question_that_means_nothing_is_refused_with_its_field() {
    let rig = two_nodes().await;
    for (query, status, field) in [
        ("from=ss-2&to=ss-1", 422, "port"),
        ("from=ss-2&to=ss-1&port=0", 422, "port"),
        ("from=ss-2&to=ss-1&port=1&protocol=icmp", 422, "port"),
        ("from=ss-2&to=ss-1%2Fweb&port=81", 422, "port"),
        ("from=ss-2&to=ss-1%2Fweb&protocol=udp", 422, "protocol"),
        ("from=nobody&to=ss-1&port=1", 404, "from"),
        ("from=ss-2&to=203.0.113.9&port=1", 404, "to"),
        ("from=ss-2&to=ss-1%2Fnone&port=1", 404, "to"),
        ("from=ss-2&port=1", 400, "to"),
        ("from=ss-2&to=ss-1&port=70000", 400, "port"),
        ("from=ss-2&to=ss-1&port=1&protocol=gre", 400, "protocol"),
    ] {
        let reply = rig
            .call(Method::GET, &format!("/trace?{query}"), None)
            .await;
        assert_eq!(reply.problem(status)["field"], field, "{query}");
    }
}

#[tokio::test]
async fn the_path_is_what_either_end_told_last() {
    let rig = Rig::furnished().await;
    let (one, other) = (
        rig.state().node_by_path(NODE).unwrap().id,
        rig.enrol("ss-2").await,
    );
    let ask = async || rig.get("/trace?from=ss-1&to=ss-2&port=5500").await;
    assert_eq!(ask().await["path"], Value::Null);
    let told = |peer, path| NodeReport {
        peers: vec![PeerObservation {
            peer,
            endpoint: None,
            handshake_age_ms: None,
            rx_bytes: 0,
            tx_bytes: 0,
            path: Some(path),
        }],
        ..NodeReport::default()
    };
    rig.context
        .live
        .report(other, &told(one, PathKind::Carrier), 1_000);
    assert_eq!(ask().await["path"], "carrier");
    rig.context
        .live
        .report(one, &told(other, PathKind::Direct), 1_000);
    assert_eq!(
        ask().await["path"],
        "direct",
        "the one that opens knows best"
    );
}
