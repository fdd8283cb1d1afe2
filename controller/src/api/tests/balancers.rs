//! Balancers over HTTP: made, shown with what their node says of each server, changed, and named by a trace.

use axum::http::{Method, StatusCode};
use malha_core::Command;
use malha_proto::{
    BackendCondition, BackendReport, BalancerCounts, BalancerId, BalancerReport, BalancerTrouble,
    EnrolToken, Fingerprint, NodeId, NodeReport, ServiceId, WgKey,
};
use serde_json::{Value, json};

use super::rig::{Rig, facts};

const BALANCER: &str = "sefaz/producao/bal-1";
const IN_URL: &str = "/balancers/bal-1%2Fxroad";

/// A balancer node beside two servers, each with a service on 5500.
async fn staged() -> (Rig, NodeId) {
    let rig = Rig::furnished().await;
    rig.enrol("ss-2").await;
    for server in ["ss-1", "ss-2"] {
        let service = json!({
            "node": server, "name": "mensagens", "port": 5500, "target": "127.0.0.1:5500", "kind": "tcp",
        });
        rig.post("/services", service).await;
    }
    let token = json!({"site": "sefaz/producao", "profile": "balancer"});
    let created = rig.post("/tokens", token).await;
    let token: EnrolToken = created["token"].as_str().unwrap().parse().unwrap();
    rig.does(Command::Enrol {
        token: token.id,
        secret: token.secret,
        wg_key: WgKey([99; 32]),
        tls_key: Fingerprint([99; 32]),
        name: Some("bal-1".parse().unwrap()),
        facts: facts("bal-1", 99),
    })
    .await;
    let node = rig.state().node_by_path(BALANCER).unwrap().id;
    (rig, node)
}

fn wanted() -> Value {
    json!({
        "node": BALANCER, "name": "xroad", "port": 5500,
        "backends": ["ss-1/mensagens", "ss-2/mensagens"],
        "settings": {
            "health": {"port": 5588, "path": "/"}, "allowed_sources": ["198.51.100.0/24"],
        },
    })
}

#[tokio::test]
async fn a_balancer_shows_what_its_node_says_of_each_server() {
    let (rig, node) = staged().await;
    let made = rig.post("/balancers", wanted()).await;
    assert_eq!(made["path"], format!("{BALANCER}/xroad"));
    assert_eq!(made["settings"]["algorithm"], "least-connections");
    assert_eq!(
        made["settings"]["allowed_sources"],
        json!(["198.51.100.0/24"])
    );
    assert_eq!(made["backends"][0]["condition"], Value::Null);
    let balancer: BalancerId = made["id"].as_str().unwrap().parse().unwrap();
    let service: ServiceId = made["backends"][1]["service_id"]
        .as_str()
        .unwrap()
        .parse()
        .unwrap();
    let report = NodeReport {
        backends: vec![BackendReport {
            balancer,
            service,
            condition: BackendCondition::Down,
            connections: 3,
        }],
        balancers: vec![BalancerReport {
            balancer,
            trouble: Some(BalancerTrouble::PortTaken),
            counts: BalancerCounts {
                not_allowed: 4,
                ..BalancerCounts::default()
            },
        }],
        ..NodeReport::default()
    };
    rig.context.live.report(node, &report, 1_000);
    let shown = rig.get(IN_URL).await;
    assert_eq!(shown["backends"][1]["condition"], "down");
    assert_eq!(shown["backends"][1]["connections"], 3);
    assert_eq!(shown["live"]["trouble"], "another program has the port");
    assert_eq!(shown["live"]["counts"]["not_allowed"], 4);
    rig.context.live.session_closed(node, None, 2_000);
    let shown = rig.get(IN_URL).await;
    assert_eq!(
        shown["backends"][1]["condition"],
        Value::Null,
        "nobody says"
    );
    assert_eq!(shown["live"], Value::Null);
}

#[tokio::test]
async fn a_balancer_is_changed_and_its_servers_taken_out_and_back() {
    let (rig, _) = staged().await;
    rig.post("/balancers", wanted()).await;
    let mode = json!({"service": "ss-2/mensagens", "mode": "maintenance"});
    let path = format!("{IN_URL}/mode");
    let changed = rig.call(Method::PUT, &path, Some(mode)).await.ok();
    assert_eq!(changed["backends"][1]["mode"], "maintenance");
    let change = json!({
        "backends": ["ss-2/mensagens"], "settings": {"algorithm": "source-affinity"},
    });
    let changed = rig.call(Method::PUT, IN_URL, Some(change)).await.ok();
    assert_eq!(changed["backends"][0]["mode"], "maintenance");
    assert_eq!(changed["settings"]["algorithm"], "source-affinity");
    assert_eq!(changed["settings"]["health"], Value::Null);
    rig.call(Method::DELETE, IN_URL, None).await.ok();
    assert_eq!(rig.get("/balancers").await["items"], json!([]));
}

#[tokio::test]
async fn a_balancer_says_when_no_server_behind_it_serves() {
    let (rig, _) = staged().await;
    let made = rig.post("/balancers", wanted()).await;
    assert_eq!(made["serving"], true);
    let path = format!("{IN_URL}/mode");
    let steps = [
        ("ss-1/mensagens", "drain", true),
        ("ss-2/mensagens", "maintenance", false),
        ("ss-1/mensagens", "serve", true),
    ];
    for (service, mode, serving) in steps {
        let body = json!({ "service": service, "mode": mode });
        let changed = rig.call(Method::PUT, &path, Some(body)).await.ok();
        assert_eq!(changed["serving"], serving, "{service} {mode}");
    }
}

#[tokio::test]
async fn a_node_behind_a_balancer_goes_only_if_that_is_asked_for() {
    let (rig, _) = staged().await;
    rig.post("/balancers", wanted()).await;
    let refused = rig.call(Method::DELETE, "/nodes/ss-1", None).await;
    assert_eq!(refused.status, StatusCode::CONFLICT);
    assert_eq!(refused.body["code"], "in-use");
    let detail = refused.body["detail"].as_str().unwrap();
    let named = ["sefaz/producao/bal-1/xroad", "detach"];
    assert!(named.iter().all(|it| detail.contains(it)), "{detail}");
    assert!(!detail.contains("xroad (no other server"), "{detail}");
    let path = "/nodes/ss-1?detach=true&wait=applied";
    rig.call(Method::DELETE, path, None).await.ok();
    let left = rig.get(IN_URL).await["backends"].clone();
    assert_eq!(left.as_array().unwrap().len(), 1);
    let last = rig.call(Method::DELETE, "/nodes/ss-2", None).await;
    let detail = last.body["detail"].as_str().unwrap();
    assert!(detail.contains("xroad (no other server"), "{detail}");
    rig.call(Method::DELETE, "/nodes/ss-2?detach=true", None)
        .await
        .ok();
    assert_eq!(rig.get("/balancers").await["items"], json!([]));
}

#[tokio::test]
async fn a_wrong_balancer_is_refused_with_its_field() {
    let (rig, _) = staged().await;
    let cases = [
        ("node", json!("ss-1"), "node"),
        ("backends", json!([]), "backends"),
        ("backends", json!(["ss-1/none"]), "backends"),
        (
            "settings",
            json!({"check_interval_ms": 1}),
            "check_interval_ms",
        ),
    ];
    for (field, value, named) in cases {
        let mut body = wanted();
        body[field] = value;
        let reply = rig.call(Method::POST, "/balancers", Some(body)).await;
        assert!(reply.status.is_client_error(), "{field}");
        assert_eq!(reply.body["field"], named, "{}", reply.body);
    }
    let mut body = wanted();
    body["settings"]["allowed_sources"] = json!(["198.51.100.7/24"]);
    let reply = rig.call(Method::POST, "/balancers", Some(body)).await;
    assert_eq!(reply.status, StatusCode::UNPROCESSABLE_ENTITY);
    let detail = reply.body["detail"].as_str().unwrap();
    assert!(detail.contains("write 198.51.100.0/24"), "{detail}");
}

/// Only a controller with a hub knows what its machine's ports are.
#[tokio::test]
async fn a_port_of_the_hub_that_another_has_is_refused_by_name() {
    let (mut rig, _) = staged().await;
    let taken = std::net::TcpListener::bind("0.0.0.0:0").unwrap();
    let taken = taken.local_addr().unwrap().port();
    let own = [("edge.https", "0.0.0.0:443".parse().unwrap())];
    rig.has_hub(crate::hub::HubPorts::new(own)).await;
    let cases = [
        (
            443,
            "tunnel",
            "this controller's own (edge.https)".to_owned(),
        ),
        (443, "public", "change edge.https".to_owned()),
        (
            taken,
            "public",
            format!("{taken} of the hub's machine is taken by another program"),
        ),
    ];
    for (port, exposure, said) in cases {
        let mut body = wanted();
        body["node"] = json!("malha/hub/hub");
        body["port"] = json!(port);
        body["exposure"] = json!(exposure);
        let reply = rig.call(Method::POST, "/balancers", Some(body)).await;
        assert_eq!(reply.status, StatusCode::UNPROCESSABLE_ENTITY);
        assert_eq!(reply.body["field"], "port");
        let detail = reply.body["detail"].as_str().unwrap();
        assert!(detail.contains(&said), "{detail}");
    }
    let mut body = wanted();
    body["node"] = json!("malha/hub/hub");
    let made = rig.post("/balancers", body).await;
    assert_eq!(made["path"], "malha/hub/hub/xroad");
}

#[tokio::test]
async fn a_trace_names_the_balancer_that_opens_the_way() {
    let (rig, _) = staged().await;
    rig.post("/balancers", wanted()).await;
    let trace = rig
        .get("/trace?from=bal-1&to=ss-2&protocol=tcp&port=5588")
        .await;
    assert_eq!(trace["allowed"], true, "{trace}");
    let rule = trace["rules"].as_array().unwrap().iter();
    let rule = rule.into_iter().find(|it| it["decides"] == true).unwrap();
    assert_eq!(rule["source"], "balancer");
    assert_eq!(rule["balancer"], format!("{BALANCER}/xroad"));
}

/// The proxy and the state each keep these bounds, and neither knows the other.
#[test]
fn what_the_state_takes_the_proxy_runs() {
    use malha_core::limits;
    use malha_proxy::balance;
    assert_eq!(limits::MAX_BACKENDS, balance::MAX_BACKENDS);
    assert_eq!(limits::MAX_BALANCER_SOURCES, balance::MAX_ALLOWED_SOURCES);
    assert_eq!(limits::MAX_HEALTH_PATH_CHARS, balance::MAX_PATH_BYTES);
    let least = [
        limits::BALANCER_CONNECT_MS.start(),
        limits::BALANCER_INTERVAL_MS.start(),
        limits::BALANCER_IDLE_S.start(),
    ];
    let most = [
        limits::BALANCER_CONNECT_MS.end(),
        limits::BALANCER_INTERVAL_MS.end(),
        limits::BALANCER_IDLE_S.end(),
    ];
    for [connect, interval, idle] in [least, most] {
        let mut spec = balance::Spec::new(vec![balance::Backend {
            id: 1,
            address: ([100, 64, 0, 2], 5500).into(),
            mode: balance::Mode::Serve,
        }]);
        let ms = |it: &u32| std::time::Duration::from_millis((*it).into());
        spec.limits.connect = ms(connect);
        spec.check.interval = ms(interval);
        spec.limits.idle = std::time::Duration::from_secs((*idle).into());
        spec.limits.connections = *limits::BALANCER_CONNECTIONS.end() as usize;
        assert_eq!(spec.check(), Ok(()));
    }
    let health = std::time::Duration::from_millis(limits::MIN_HEALTH_INTERVAL_MS.into());
    assert_eq!(health, balance::MIN_HTTP_INTERVAL);
}

#[tokio::test]
async fn a_balancer_says_what_its_node_gains_and_an_explanation_counts_it() {
    let (rig, _) = staged().await;
    let asked = json!({"from": "bal-1", "to": "ss-2", "protocol": "tcp", "port": 5588});
    let explain = async || {
        let reply = rig.call(Method::POST, "/policy/explain", Some(asked.clone()));
        reply.await.ok()
    };
    assert_eq!(explain().await["allowed"], false);
    let made = rig.post("/balancers", wanted()).await;
    assert_eq!(made["opens"][1]["on"], "sefaz/producao/ss-2");
    let ports = made["opens"][1]["ports"].as_array().unwrap().iter();
    // 5500 is granted to the whole organization.
    let ports: Vec<&Value> = ports.map(|it| &it["from_port"]).collect();
    assert_eq!(ports, [5_500, 5_588]);
    let said = explain().await;
    assert_eq!(
        (&said["allowed"], &said["rules"]),
        (&json!(true), &json!([]))
    );
    assert_eq!(said["beside"][1]["balancer"], format!("{BALANCER}/xroad"));
    let granted = &rig.get(IN_URL).await["opens"][0]["ports"];
    assert_eq!(
        granted[0]["from_port"], 5_588,
        "ss-1 has 5500 open to the organization"
    );
}
