//! Wrong, hostile and oversized input to every write: a problem document that names the place, and nothing stored.

use axum::http::Method;
use malha_core::Scope;
use serde_json::{Value, json};

use super::rig::{NODE, Rig};

/// A right body for every operation that takes one. The first field of each is a text or a list of texts.
fn operations() -> Vec<(Method, &'static str, Value)> {
    let service = format!("{NODE}/web");
    vec![
        (
            Method::POST,
            "/organizations",
            json!({"name": "outra", "display_name": "Outra"}),
        ),
        (
            Method::POST,
            "/sites",
            json!({"organization": "sefaz", "name": "outro", "display_name": "Outro"}),
        ),
        (
            Method::POST,
            "/tokens",
            json!({"site": "sefaz/producao", "profile": "garage", "uses": 1, "ttl_s": 600}),
        ),
        (
            Method::POST,
            "/services",
            json!({"node": NODE, "name": "x", "port": 81, "target": "127.0.0.1:1", "kind": "http", "exposure": "public"}),
        ),
        (
            Method::POST,
            "/routes",
            json!({"host": "x.example.org", "path": "/x", "services": [service]}),
        ),
        (
            Method::POST,
            "/grants",
            json!({"from": "organization:sefaz", "to": "profile:edge", "protocol": "tcp", "from_port": 1, "to_port": 2}),
        ),
        (
            Method::POST,
            "/zones",
            json!({"origin": "example.net", "name_servers": ["ns1.example.net"], "contact": "a.example.net"}),
        ),
        (
            Method::POST,
            "/operators",
            json!({"name": "bia", "role": "auditor", "password": "correct horse battery"}),
        ),
        (
            Method::POST,
            "/api-keys",
            json!({"name": "x", "scopes": ["read"], "expires_ms": 99_999_999_999_999_u64}),
        ),
        (Method::POST, "/nodes/ss-1/replace", json!({"ttl_s": 600})),
        (Method::PUT, "/nodes/ss-1/name", json!({"name": "ss-2"})),
        (
            Method::PUT,
            "/nodes/ss-1/endpoints",
            json!({"endpoints": ["192.0.2.7:51820"]}),
        ),
        (
            Method::PUT,
            "/nodes/ss-1/quarantine",
            json!({"keep": "holder", "machine": "00000000000000000000000000000000"}),
        ),
        (
            Method::PUT,
            "/zones/example.org/records/x/A",
            json!({"ttl_s": 60, "data": ["192.0.2.2"]}),
        ),
        (
            Method::PUT,
            "/operators/ana/password",
            json!({"password": "correct horse battery"}),
        ),
    ]
}

/// Values that no field of text may have, whatever it means.
fn hostile() -> Vec<Value> {
    let long = "a".repeat(65_536);
    let texts = [
        "..",
        "../../etc/passwd",
        "a\u{0}b",
        "a\nb",
        "a\u{1b}[2J",
        "a\u{202e}b",
        "раураl",
        "аpple.example",
        long.as_str(),
    ];
    let mut values: Vec<Value> = texts.into_iter().map(Value::from).collect();
    values.extend([
        json!(1e300),
        json!(true),
        json!(-1),
        json!({"a": 1}),
        json!([[[]]]),
        json!(null),
    ]);
    values
}

/// Fields in which some of these are right: free text, passwords, and what may be left out.
fn is_right(field: &str, value: &Value) -> bool {
    let text = value.as_str();
    match field {
        "display_name" => text.is_some_and(|text| {
            text.chars().count() <= 200 && !text.chars().any(|c| c.is_control() || c == '\u{202e}')
        }),
        "password" => text.is_some_and(|text| (12..=256).contains(&text.chars().count())),
        "machine" | "expires_ms" | "to_port" => value.is_null(),
        _ => false,
    }
}

fn with(body: &Value, field: &str, value: &Value) -> Value {
    let mut body = body.clone();
    body[field] = value.clone();
    body
}

/// Sends it; it must be refused with a problem document, and the state must be what it was.
async fn refused(rig: &Rig, method: &Method, path: &str, body: String) -> Value {
    let before = rig.revision();
    let shown: String = body.chars().take(200).collect();
    let key = rig.key(Scope::Admin);
    let reply = rig
        .send(
            Some(key),
            method.clone(),
            &format!("/api/v1{path}"),
            Some(body),
            &[],
        )
        .await;
    let status = reply.status.as_u16();
    assert!(
        [400, 404, 409, 413, 422].contains(&status),
        "{method} {path} {shown}: {status} {}",
        reply.body
    );
    assert_eq!(rig.revision(), before, "{method} {path} {shown}");
    reply.problem(status)
}

#[tokio::test]
async fn hostile_values_are_refused_in_every_field_of_every_write() {
    for (method, path, body) in operations() {
        let rig = Rig::furnished().await;
        for field in body.as_object().unwrap().keys() {
            for value in hostile().iter().filter(|value| !is_right(field, value)) {
                let value = if body[field].is_array() && !value.is_array() {
                    json!([value])
                } else {
                    value.clone()
                };
                refused(&rig, &method, path, with(&body, field, &value).to_string()).await;
            }
        }
    }
}

#[tokio::test]
async fn what_is_missing_unknown_or_repeated_is_named() {
    let rig = Rig::furnished().await;
    for (method, path, body) in operations() {
        let fields = body.as_object().unwrap();
        let optional = [
            "display_name",
            "uses",
            "ttl_s",
            "exposure",
            "path",
            "from_port",
            "to_port",
            "expires_ms",
            "machine",
        ];
        for field in fields
            .keys()
            .filter(|field| !optional.contains(&field.as_str()))
        {
            let mut less = body.clone();
            less.as_object_mut().unwrap().remove(field);
            let problem = refused(&rig, &method, path, less.to_string()).await;
            assert_eq!(
                (&problem["status"], &problem["field"]),
                (&json!(422), &json!(field)),
                "{path}: {problem}"
            );
        }
        let problem = refused(
            &rig,
            &method,
            path,
            with(&body, "surprise", &json!(1)).to_string(),
        )
        .await;
        assert_eq!(
            (&problem["status"], &problem["field"]),
            (&json!(422), &json!("surprise")),
            "{path}: {problem}"
        );
        let first = fields.keys().next().unwrap();
        let twice = format!("{{\"{first}\":{},{}", body[first], &body.to_string()[1..]);
        let problem = refused(&rig, &method, path, twice).await;
        assert_eq!(
            (&problem["status"], &problem["field"]),
            (&json!(422), &json!(first)),
            "{path}: {problem}"
        );
    }
}

#[tokio::test]
async fn broken_json_is_refused_with_line_and_column() {
    let rig = Rig::furnished().await;
    for (method, path, body) in operations() {
        for broken in [
            "",
            "{",
            "nul",
            "\u{feff}{}",
            &body.to_string()[..10],
            &format!("{body}x"),
            &"[".repeat(200),
        ] {
            let problem = refused(&rig, &method, path, broken.to_owned()).await;
            let detail = problem["detail"].as_str().unwrap();
            assert!(
                detail.contains("line ") && detail.contains(" column "),
                "{path} {broken:?}: {detail}"
            );
        }
        for other in ["[]", "1", "\"a\"", "null"] {
            refused(&rig, &method, path, other.to_owned()).await;
        }
    }
}

#[tokio::test]
async fn what_exists_is_not_made_twice() {
    let rig = Rig::furnished().await;
    let service = format!("{NODE}/web");
    for (path, body) in [
        ("/organizations", json!({"name": "sefaz"})),
        (
            "/sites",
            json!({"organization": "sefaz", "name": "producao"}),
        ),
        (
            "/services",
            json!({"node": NODE, "name": "web", "port": 99, "target": "127.0.0.1:1", "kind": "http"}),
        ),
        (
            "/routes",
            json!({"host": "A.example.org.", "services": [service]}),
        ),
        (
            "/zones",
            json!({"origin": "EXAMPLE.org", "name_servers": ["ns1.example.org"], "contact": "a.example.org"}),
        ),
        (
            "/operators",
            json!({"name": "ana", "role": "owner", "password": "correct horse battery"}),
        ),
        ("/api-keys", json!({"name": "read-0", "scopes": ["read"]})),
        (
            "/grants",
            json!({"from": "organization:sefaz", "to": format!("node:{NODE}"), "protocol": "tcp", "from_port": 5500}),
        ),
    ] {
        let problem = refused(&rig, &Method::POST, path, body.to_string()).await;
        assert_eq!(
            problem["type"], "urn:malha:problem:exists",
            "{path}: {problem}"
        );
    }
}

#[tokio::test]
async fn values_that_do_not_fit_are_refused_with_their_field() {
    let rig = Rig::furnished().await;
    let service = format!("{NODE}/web");
    for (path, body, field) in [
        (
            "/tokens",
            json!({"site": "sefaz/producao", "profile": "garage", "uses": 0}),
            "uses",
        ),
        (
            "/tokens",
            json!({"site": "sefaz/producao", "profile": "garage", "uses": 10_001}),
            "uses",
        ),
        (
            "/tokens",
            json!({"site": "sefaz/producao", "profile": "garage", "ttl_s": 59}),
            "ttl_s",
        ),
        (
            "/tokens",
            json!({"site": "sefaz/producao", "profile": "warehouse"}),
            "profile",
        ),
        (
            "/services",
            json!({"node": NODE, "name": "a", "port": 80, "target": "127.0.0.1:1", "kind": "http"}),
            "port",
        ),
        (
            "/services",
            json!({"node": NODE, "name": "a", "port": 0, "target": "127.0.0.1:1", "kind": "http"}),
            "port",
        ),
        (
            "/services",
            json!({"node": NODE, "name": "a", "port": 65_536, "target": "127.0.0.1:1", "kind": "http"}),
            "port",
        ),
        (
            "/services",
            json!({"node": NODE, "name": "a", "port": 1, "target": "localhost:80", "kind": "http"}),
            "target",
        ),
        (
            "/services",
            json!({"node": NODE, "name": "a", "port": 1, "target": "0.0.0.0:80", "kind": "http"}),
            "target",
        ),
        (
            "/routes",
            json!({"host": "x.example.org", "path": "/a/../b", "services": [service]}),
            "path",
        ),
        (
            "/routes",
            json!({"host": "x.example.org", "path": "painel", "services": [service]}),
            "path",
        ),
        (
            "/routes",
            json!({"host": "x.example.org", "services": []}),
            "services",
        ),
        (
            "/routes",
            json!({"host": "127.0.0.1", "services": [service]}),
            "host",
        ),
        (
            "/grants",
            json!({"from": "sefaz", "to": "profile:edge", "protocol": "tcp", "from_port": 1}),
            "from",
        ),
        (
            "/grants",
            json!({"from": "profile:none", "to": "profile:edge", "protocol": "tcp", "from_port": 1}),
            "from",
        ),
        (
            "/grants",
            json!({"from": "profile:edge", "to": "site:sefaz/none", "protocol": "tcp", "from_port": 1}),
            "to",
        ),
        (
            "/operators",
            json!({"name": "bia", "role": "auditor", "password": "short"}),
            "password",
        ),
        ("/api-keys", json!({"name": "x", "scopes": []}), "scopes"),
        (
            "/api-keys",
            json!({"name": "x", "scopes": ["read"], "expires_ms": 1}),
            "expires_ms",
        ),
    ] {
        let problem = refused(&rig, &Method::POST, path, body.to_string()).await;
        assert_eq!(problem["field"], field, "{path} {body}: {problem}");
    }
}

#[tokio::test]
async fn record_sets_that_a_zone_may_not_hold_are_refused() {
    let rig = Rig::furnished().await;
    for (place, data) in [
        ("x/A", json!(["256.0.0.1"])),
        ("x/A", json!([])),
        ("x/A", json!(["192.0.2.1", "192.0.2.1"])),
        ("x/HINFO", json!(["a.example.org."])),
        ("x/SOA", json!(["a. b. 1 2 3 4 5"])),
        ("@/CNAME", json!(["www.example.org."])),
        ("a/A", json!(["192.0.2.9"])),
        ("x/CNAME", json!(["without.final.dot"])),
        ("x/MX", json!(["mail.example.org."])),
        ("%2E%2E/A", json!(["192.0.2.1"])),
        ("a%00b/A", json!(["192.0.2.1"])),
        ("%D1%80/A", json!(["192.0.2.1"])),
        ("%FF/A", json!(["192.0.2.1"])),
        ("x.example.net./A", json!(["192.0.2.1"])),
    ] {
        let path = format!("/zones/example.org/records/{place}");
        refused(&rig, &Method::PUT, &path, json!({"data": data}).to_string()).await;
    }
    let long = format!("/zones/example.org/records/{}/A", "a".repeat(60_000));
    refused(
        &rig,
        &Method::PUT,
        &long,
        json!({"data": ["192.0.2.1"]}).to_string(),
    )
    .await;
}

#[tokio::test]
async fn hostile_places_in_the_url_are_not_found_or_refused() {
    let rig = Rig::furnished().await;
    let long = "a".repeat(60_000);
    for name in [
        "%2E%2E",
        "..%2F..%2Fetc%2Fpasswd",
        "a%00b",
        "%0A",
        "%E2%80%AE",
        "%FF",
        "n0",
        "n-1",
        "n99999999999999999999",
        &long,
    ] {
        for noun in [
            "organizations",
            "sites",
            "tokens",
            "nodes",
            "services",
            "routes",
            "grants",
            "zones",
            "operators",
            "api-keys",
        ] {
            for method in [Method::GET, Method::DELETE] {
                let before = rig.revision();
                let reply = rig
                    .call(method.clone(), &format!("/{noun}/{name}"), None)
                    .await;
                let status = reply.status.as_u16();
                assert!(
                    [400, 404, 422].contains(&status),
                    "{method} {noun} {name}: {status}"
                );
                reply.problem(status);
                assert_eq!(rig.revision(), before);
            }
        }
    }
}

#[tokio::test]
async fn queries_that_are_not_understood_are_refused() {
    let rig = Rig::furnished().await;
    for (path, status) in [
        ("/nodes?limit=0", 422),
        ("/nodes?limit=1001", 422),
        ("/nodes?limit=x", 400),
        ("/nodes?after=x", 422),
        ("/nodes?surprise=1", 400),
        ("/nodes?site=none", 404),
        ("/nodes?limit=1&limit=2", 400),
        ("/zones/example.org/records?after=www", 422),
        ("/audit?after=-1", 400),
    ] {
        rig.call(Method::GET, path, None).await.problem(status);
    }
}
