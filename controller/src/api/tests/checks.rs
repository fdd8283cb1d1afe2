//! Checks over HTTP: asked for, run one after the other, kept with their evidence, and read in both languages.

use std::sync::Arc;
use std::time::Duration;

use axum::http::{Method, StatusCode};
use malha_check::verify_evidence;
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use super::rig::Rig;
use crate::checks::Checks;

const AT: &str = "/organizations/sefaz/checks";
const DECLARATION: &str =
    "version = 1\n[production]\nsite = \"producao\"\naddresses = [\"203.0.113.10\"]\n";

async fn declared() -> Rig {
    let rig = Rig::furnished().await;
    let text = json!({ "text": DECLARATION });
    let at = "/organizations/sefaz/declaration";
    rig.call(Method::PUT, at, Some(text)).await.ok();
    rig
}

/// Asks for a run and waits until it is over.
async fn checked(rig: &Rig) -> Value {
    let asked = rig.call(Method::POST, AT, Some(json!({}))).await;
    assert_eq!(asked.status, StatusCode::ACCEPTED, "{}", asked.body);
    let checks = rig.context.checks.clone();
    let mut changes = checks.changes();
    let stop = CancellationToken::new();
    let running = tokio::spawn({
        let (checks, stop) = (checks.clone(), stop.clone());
        async move { checks.run(stop).await }
    });
    let before = asked.body["runs"].as_array().unwrap().len();
    loop {
        let now = rig.get(AT).await;
        if now["state"] == "idle" && now["runs"].as_array().unwrap().len() > before {
            stop.cancel();
            running.await.unwrap();
            return now;
        }
        assert!(now.get("failure").is_none(), "{now}");
        changes.changed().await.unwrap();
    }
}

#[tokio::test]
async fn who_was_checked_once_is_checked_again_by_the_schedule_and_by_nobody_else() {
    let rig = declared().await;
    let (context, folder) = (&rig.context, tempfile::tempdir().unwrap());
    let on_schedule = |every| {
        let (handle, registry) = (context.handle.clone(), context.registry.clone());
        Checks::alone(handle, registry, context.live.clone(), folder.path(), every)
    };
    let organization = rig.state().organization_by_name("sefaz").unwrap().id;
    let until = async |checks: Arc<Checks>, count: usize| {
        let mut changes = checks.changes();
        let runs = || checks.history().runs(organization);
        let stop = CancellationToken::new();
        let running = checks.run(stop.clone());
        let counted = async {
            while runs().len() < count {
                changes.changed().await.unwrap();
            }
            stop.cancel();
        };
        tokio::join!(running, counted);
        runs()
    };
    let asked = on_schedule(None);
    asked.request(organization, Some("ana".to_owned())).unwrap();
    until(asked, 1).await;
    let runs = until(on_schedule(Some(Duration::from_millis(1))), 2).await;
    let by: Vec<_> = runs.iter().map(|run| run.by.as_deref()).collect();
    assert_eq!(by, [None, Some("ana")]);
}

#[tokio::test]
async fn why_a_run_came_to_nothing_is_told_in_both_languages() {
    let rig = declared().await;
    // Where the folder of what checks found should be, there is a file.
    std::fs::write(rig.context.audit_dir.join("checks"), b"").unwrap();
    rig.call(Method::POST, AT, Some(json!({}))).await;
    let checks = rig.context.checks.clone();
    let mut changes = checks.changes();
    let stop = CancellationToken::new();
    let running = tokio::spawn({
        let (checks, stop) = (checks.clone(), stop.clone());
        async move { checks.run(stop).await }
    });
    while rig.get(AT).await.get("failure").is_none() {
        changes.changed().await.unwrap();
    }
    stop.cancel();
    running.await.unwrap();
    for (lang, begin) in [
        ("pt", "O que foi encontrado não pôde ser guardado em "),
        ("en", "What was found could not be kept in "),
    ] {
        let told = rig.get(&format!("{AT}?lang={lang}")).await;
        let failure = told["failure"].as_str().unwrap();
        assert!(failure.starts_with(begin), "{failure}");
    }
}

#[tokio::test]
async fn nothing_is_checked_before_something_is_declared() {
    let rig = Rig::furnished().await;
    let asked = rig.call(Method::POST, AT, Some(json!({}))).await;
    let problem = asked.problem(409);
    assert!(
        problem["detail"]
            .as_str()
            .unwrap()
            .contains("malha check declare")
    );
    rig.call(Method::GET, &format!("{AT}/newest"), None)
        .await
        .problem(404);
    assert_eq!(rig.get(AT).await["runs"], json!([]));
}

#[tokio::test]
async fn without_anybody_to_look_everything_could_not_be_tested_and_says_why() {
    let rig = declared().await;
    let checks = checked(&rig).await;
    let run = &checks["runs"][0];
    assert!(run["by"].as_str().unwrap().starts_with("key:"));
    assert!(run["no_outside"].as_str().unwrap().contains("outside"));
    assert_eq!(run["findings"], 0, "{run}");
    let report = rig.get(&format!("{AT}/newest?lang=pt")).await;
    let outcomes = report["outcomes"].as_array().unwrap();
    let outside = outcomes
        .iter()
        .find(|it| {
            it["check"]
                .as_str()
                .unwrap()
                .starts_with("production/port/5500/outside")
        })
        .unwrap_or_else(|| panic!("{report}"));
    assert_eq!(outside["verdict"], "could-not-test");
    assert_eq!(outside["text"], "não há ponto de observação para isto");
    assert!(outcomes.iter().all(|it| it["verdict"] != "finding"));
}

#[tokio::test]
async fn the_evidence_of_a_run_verifies_with_the_authoritys_certificate_and_not_when_changed() {
    let rig = declared().await;
    let number = checked(&rig).await["runs"][0]["run"].as_u64().unwrap();
    let file = rig
        .call(Method::GET, &format!("{AT}/{number}/evidence"), None)
        .await;
    let text = String::from_utf8(file.bytes).unwrap();
    let authority = rig.get("/authority").await;
    let pem = authority["certificate_pem"].as_str().unwrap();
    let verified = verify_evidence(&text, pem).unwrap();
    assert_eq!(verified.organization, "sefaz");
    assert!(verified.disagreeing.is_empty());
    let changed = text.replacen("203.0.113.10", "203.0.113.11", 1);
    assert_ne!(changed, text);
    assert!(verify_evidence(&changed, pem).is_err());
    let page = rig
        .call(Method::GET, &format!("{AT}/{number}/html?lang=pt"), None)
        .await;
    assert!(
        String::from_utf8(page.bytes)
            .unwrap()
            .contains("Conformidade")
    );
}

#[tokio::test]
async fn runs_are_kept_the_newest_first_and_asking_twice_is_asking_once() {
    let rig = declared().await;
    let first = checked(&rig).await["runs"][0]["run"].clone();
    let asked = rig.call(Method::POST, AT, Some(json!({}))).await.ok();
    assert_eq!(asked["state"], "waiting");
    let checks = checked(&rig).await;
    let runs = checks["runs"].as_array().unwrap();
    assert_eq!(runs.len(), 2);
    assert_eq!(runs[1]["run"], first);
    let tail = rig.get("/audit").await.to_string();
    assert!(tail.contains("check.start"), "{tail}");
}
