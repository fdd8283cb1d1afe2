//! Compliance as an operator reads it: findings with evidence, what could not be tested apart, older runs, and another check.
#![allow(clippy::unwrap_used)] // A panic fails the test that caused it.

mod browser;
mod memory_console;

use std::sync::Arc;

use axum::http::StatusCode;
use browser::Browser;
use malha_web::Role;
use memory_console::MemoryConsole;
use memory_console::compliance::{NEWEST_RUN, OLDER_RUN};

const SEDEC: &str = "/compliance/sedec";
const CHECK: &str = "/compliance/sedec/check";

#[tokio::test]
async fn organizations_are_listed_with_each_verdict_counted_by_itself() {
    let mut browser = Browser::signed_in(&Arc::new(MemoryConsole::sample())).await;
    let page = browser.get("/compliance").await;
    for words in [
        "Findings: 1",
        "Not tested: 1",
        "In order: 7",
        "never checked",
    ] {
        assert!(page.has(words), "{words}");
    }
    assert!(page.has(r#"href="/compliance/sedec""#));
    let mut browser = Browser::signed_in(&Arc::new(MemoryConsole::empty())).await;
    let page = browser.get("/compliance").await;
    assert!(page.has("malha check declare"));
}

#[tokio::test]
async fn a_finding_shows_declared_and_observed_and_what_was_not_tested_stands_apart() {
    let mut browser = Browser::signed_in(&Arc::new(MemoryConsole::sample())).await;
    browser.language = "pt-BR";
    let page = browser.get(SEDEC).await;
    let at = |words: &str| page.body.find(words).unwrap_or_else(|| panic!("{words}"));
    let (findings, untested, passed) = (
        at("Divergências"),
        at("Não foi possível testar"),
        at("Em ordem (7)"),
    );
    assert!(findings < untested && untested < passed);
    let finding = at("a porta está aberta");
    assert!(findings < finding && finding < untested);
    assert!(page.has("fechada") && page.has("<strong>aberta</strong>"));
    let unknown = at("production/port/5500/granted");
    assert!(untested < unknown && unknown < passed);
    assert!(page.has("nem que estão fechados"));
    assert!(page.has("de fora (&lt;vigia&gt;)") && !page.has("<vigia>"));
}

#[tokio::test]
async fn another_check_begins_once_and_is_seen_to_run() {
    let mut browser = Browser::signed_in(&Arc::new(MemoryConsole::sample())).await;
    browser.get(SEDEC).await;
    let page = browser.submit(CHECK, &[]).await;
    assert_eq!((page.status, page.path.as_str()), (StatusCode::OK, SEDEC));
    assert!(page.has("checking"));
    assert!(!page.post_actions().contains(&CHECK.to_owned()));
}

#[tokio::test]
async fn an_older_run_says_so_and_leads_back() {
    let mut browser = Browser::signed_in(&Arc::new(MemoryConsole::sample())).await;
    let page = browser.get(SEDEC).await;
    assert!(!page.has("This is an older check"));
    let older = format!("{SEDEC}?run={OLDER_RUN}");
    assert!(page.has(&format!("href=\"{older}\"")));
    let page = browser.get(&older).await;
    assert!(page.has("This is an older check") && page.has("Show the newest"));
    assert!(
        page.has(&format!("run={OLDER_RUN}")),
        "its live part shows the same run"
    );
}

#[tokio::test]
async fn the_evidence_is_a_file_to_keep() {
    let mut browser = Browser::signed_in(&Arc::new(MemoryConsole::sample())).await;
    let place = format!("{SEDEC}/{NEWEST_RUN}/evidence");
    assert!(browser.get(SEDEC).await.has(&format!("href=\"{place}\"")));
    let file = browser.get(&place).await;
    assert_eq!(file.header("content-type"), "application/jsonl");
    let wanted = "attachment; filename=\"sedec-2000.jsonl\"";
    assert_eq!(file.header("content-disposition"), wanted);
    assert_eq!(file.body, "{\"line\":1}\n");
    let missing = browser.get(&format!("{SEDEC}/7/evidence")).await;
    assert_eq!(missing.status, StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn an_auditor_reads_everything_and_starts_nothing() {
    let console = Arc::new(MemoryConsole::sample());
    console.change(malha_web::model::Topic::Nodes, |world| {
        world.role = Some(Role::Auditor);
    });
    let mut browser = Browser::signed_in(&console).await;
    let page = browser.get(SEDEC).await;
    assert!(page.has("production/port/4000") && page.has("/evidence"));
    assert!(!page.post_actions().contains(&CHECK.to_owned()));
    assert_eq!(
        browser.get("/compliance/nobody").await.status,
        StatusCode::NOT_FOUND
    );
}
