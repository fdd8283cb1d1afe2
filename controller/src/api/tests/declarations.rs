//! Declarations over HTTP: kept as they were written, refused with the place of the mistake.

use axum::http::Method;
use serde_json::json;

use super::rig::Rig;

const AT: &str = "/organizations/sefaz/declaration";
const TEXT: &str =
    "version = 1\n[production]\nsite = \"producao\"\nnames = [\"xvia.sefaz.example\"]\n";

#[tokio::test]
async fn a_declaration_is_kept_shown_and_withdrawn() {
    let rig = Rig::furnished().await;
    rig.call(Method::GET, AT, None).await.problem(404);
    let put = rig
        .call(Method::PUT, AT, Some(json!({ "text": TEXT })))
        .await;
    assert_eq!(put.ok()["organization"], "sefaz");
    let shown = rig.get(AT).await;
    assert_eq!(shown["text"], TEXT);
    assert!(shown["author"].as_str().unwrap().starts_with("key:"));
    let removed = rig.call(Method::DELETE, AT, None).await.ok();
    assert!(removed["removed"].is_string());
    rig.call(Method::DELETE, AT, None).await.problem(404);
}

#[tokio::test]
async fn a_mistake_in_a_declaration_is_named_with_its_place() {
    let rig = Rig::furnished().await;
    let wrong = TEXT.replace("xvia.sefaz", "xvia..sefaz");
    let put = rig
        .call(Method::PUT, AT, Some(json!({ "text": wrong })))
        .await;
    let problem = put.problem(422);
    assert_eq!(problem["field"], "text");
    let detail = problem["detail"].as_str().unwrap();
    assert!(
        detail.contains("line 4, column 10: production: names"),
        "{detail}"
    );
}
