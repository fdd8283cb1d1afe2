//! Record sets, and those that come and go with a route.

use axum::http::Method;
use serde_json::{Value, json};

use super::rig::{NODE, NODE_IN_URL, Rig};

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
    assert_eq!(made["zone"], "example.org");
    let elsewhere = json!({"host": "b.example.net", "services": ["ss-1/web"]});
    let elsewhere = rig.post("/routes", elsewhere).await;
    assert_eq!(elsewhere["zone"], Value::Null);
    assert_eq!(elsewhere["addresses"], json!(["192.0.2.1"]));
    rig.call(Method::DELETE, "/routes/b.example.net", None)
        .await
        .ok();
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
    let zone = "/zones/example.org";
    rig.call(Method::DELETE, zone, None).await.problem(409);
    rig.call(Method::DELETE, "/routes/a.example.org", None)
        .await
        .ok();
    rig.call(Method::DELETE, zone, None).await.ok();
    rig.call(Method::GET, "/zones/example.org/records", None)
        .await
        .problem(404);
}
