//! The documents of the API: whole, true to the code, and committed as the code says.

use std::path::Path;

use serde_json::Value;

use super::rig::Rig;
use crate::api::{markdown, openapi_json};
use axum::http::Method;

fn committed(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../docs")
        .join(name);
    std::fs::read_to_string(&path).unwrap_or_default()
}

#[test]
fn the_committed_documents_are_what_the_code_says() {
    let document = openapi_json();
    let advice = "make it anew with `malha openapi > docs/openapi.json; malha openapi --markdown > docs/API.md`";
    assert!(
        committed("openapi.json") == document,
        "docs/openapi.json: {advice}"
    );
    assert!(
        committed("API.md") == markdown(&document),
        "docs/API.md: {advice}"
    );
}

#[tokio::test]
async fn the_served_document_is_the_committed_one_and_needs_no_key() {
    let rig = Rig::bare().await;
    let reply = rig
        .send(None, Method::GET, "/api/openapi.json", None, &[])
        .await;
    assert_eq!(String::from_utf8(reply.bytes).unwrap(), openapi_json());
}

#[test]
fn every_operation_is_described_whole() {
    let document: Value = serde_json::from_str(&openapi_json()).unwrap();
    assert_eq!(document["openapi"], "3.1.0");
    assert_eq!(
        document["components"]["securitySchemes"]["api_key"]["scheme"],
        "bearer"
    );
    let mut ids = std::collections::BTreeSet::new();
    for (path, method, operation) in crate::api::document::operations_of(&document) {
        let name = format!("{method} {path}");
        assert!(
            ids.insert(operation["operationId"].as_str().unwrap()),
            "{name}"
        );
        assert!(
            operation["summary"].is_string() && operation["tags"][0].is_string(),
            "{name}"
        );
        assert!(operation["security"][0]["api_key"][0].is_string(), "{name}");
        let responses = operation["responses"].as_object().unwrap();
        assert!(
            responses.keys().any(|status| status.starts_with('2'))
                && responses.contains_key("default"),
            "{name}"
        );
        let parameters = operation["parameters"].as_array().into_iter().flatten();
        let in_path: Vec<&str> = parameters
            .filter(|it| it["in"] == "path")
            .filter_map(|it| it["name"].as_str())
            .collect();
        let named: Vec<&str> = path
            .split('/')
            .filter_map(|part| part.strip_prefix('{')?.strip_suffix('}'))
            .collect();
        assert_eq!(in_path, named, "{name}");
        assert_eq!(
            ["post", "put"].contains(&method),
            !operation["requestBody"].is_null(),
            "{name}"
        );
    }
}

#[test]
fn every_reference_leads_somewhere() {
    let text = openapi_json();
    let document: Value = serde_json::from_str(&text).unwrap();
    let references = text
        .split("\"$ref\": \"#")
        .skip(1)
        .filter_map(|rest| rest.split('"').next());
    assert!(references.clone().count() > 100);
    for reference in references {
        assert!(document.pointer(reference).is_some(), "{reference}");
    }
}
