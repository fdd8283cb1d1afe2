//! The dashboard as an operator without JavaScript uses it: every page, every form, in both
//! languages.
#![allow(clippy::unwrap_used)] // A panic fails the test that caused it.

mod browser;
mod memory_console;

use std::sync::Arc;

use axum::http::StatusCode;
use browser::{Browser, attribute};
use malha_web::Role;
use malha_web::model::Topic;
use memory_console::MemoryConsole;

const PAGES: [&str; 16] = [
    "/",
    "/nodes",
    "/nodes/n2",
    "/nodes/n3",
    "/sites",
    "/tokens",
    "/services",
    "/balancers",
    "/dns",
    "/dns/malha.example",
    "/activity",
    "/profiles",
    "/organizations/saude",
    "/compliance",
    "/compliance/sedec",
    "/no-such-page",
];

#[tokio::test]
async fn signing_in_leads_to_the_page_that_was_asked_for() {
    let mut browser = Browser::new(&Arc::new(MemoryConsole::sample()));
    let login = browser.get("/nodes?q=a%26b").await;
    assert!(login.path.starts_with("/login?next="), "{}", login.path);
    let page = browser
        .submit("/login", &[("user", "ana"), ("password", "correct horse")])
        .await;
    assert_eq!(
        (page.status, page.path.as_str()),
        (StatusCode::OK, "/nodes?q=a%26b")
    );
}

#[tokio::test]
async fn a_login_never_leads_to_another_site() {
    let mut browser = Browser::new(&Arc::new(MemoryConsole::sample()));
    browser.get("/login?next=//evil.example/").await;
    let page = browser
        .submit("/login", &[("user", "ana"), ("password", "correct horse")])
        .await;
    assert_eq!(page.path, "/");
}

#[tokio::test]
async fn a_wrong_password_keeps_the_user_and_forgets_the_password() {
    let mut browser = Browser::new(&Arc::new(MemoryConsole::sample()));
    browser.get("/login").await;
    let page = browser
        .submit("/login", &[("user", "ana"), ("password", "guess-17")])
        .await;
    assert_eq!(page.status, StatusCode::UNAUTHORIZED);
    assert!(page.has(r#"value="ana""#) && page.has("do not match") && !page.has("guess-17"));
}

#[tokio::test]
async fn too_many_attempts_say_when_to_try_again() {
    let mut browser = Browser::new(&Arc::new(MemoryConsole::sample()));
    browser.get("/login").await;
    for _ in 0..3 {
        browser
            .submit("/login", &[("user", "ana"), ("password", "x")])
            .await;
    }
    let page = browser
        .submit("/login", &[("user", "ana"), ("password", "correct horse")])
        .await;
    assert_eq!(
        (page.status, page.header("retry-after")),
        (StatusCode::TOO_MANY_REQUESTS, "60")
    );
    assert!(page.has("Try again in 1 min"));
}

#[tokio::test]
async fn without_a_session_every_page_asks_to_sign_in() {
    let mut browser = Browser::new(&Arc::new(MemoryConsole::sample()));
    for path in PAGES.iter().filter(|path| **path != "/no-such-page") {
        assert!(browser.get(path).await.path.starts_with("/login"), "{path}");
    }
}

#[tokio::test]
async fn signing_out_ends_the_session_at_the_console() {
    let console = Arc::new(MemoryConsole::sample());
    let mut browser = Browser::signed_in(&console).await;
    assert!(
        browser
            .submit("/logout", &[])
            .await
            .path
            .starts_with("/login")
    );
    assert!(console.peek(|world| world.sessions.is_empty()));
}

#[tokio::test]
async fn every_page_speaks_the_language_that_was_asked_for_and_no_other() {
    let console = Arc::new(MemoryConsole::sample());
    let mut browser = Browser::signed_in(&console).await;
    for path in PAGES {
        browser.language = "en";
        let page = browser.get(path).await;
        let visible = page.body.replace("Português", "");
        assert!(page.has(r#"<html lang="en""#), "{path}");
        assert!(
            !visible.contains(['ã', 'õ', 'ç', 'á', 'é', 'í', 'ó', 'ú', 'â', 'ê', 'ô']),
            "{path} has Portuguese in it"
        );
        browser.language = "pt-BR";
        let page = browser.get(path).await;
        assert!(page.has(r#"<html lang="pt-BR""#), "{path}");
        for english in [
            " the ",
            " of ",
            " is ",
            ">Nodes<",
            ">Sign out<",
            " ago<",
            ">unknown<",
            ">active<",
        ] {
            assert!(!page.has(english), "{path} has {english:?} in it");
        }
    }
}

#[tokio::test]
async fn no_text_has_a_gap_left_open() {
    let mut browser = Browser::signed_in(&Arc::new(MemoryConsole::sample())).await;
    for path in PAGES {
        let page = browser.get(path).await;
        // The two on <html> are for the script, which fills them.
        assert_eq!(page.body.matches("{}").count(), 2, "{path}");
    }
}

#[tokio::test]
async fn the_language_switch_comes_back_to_the_page_and_stays() {
    let mut browser = Browser::signed_in(&Arc::new(MemoryConsole::sample())).await;
    browser.get("/tokens").await;
    let page = browser.submit("/language", &[("language", "pt-BR")]).await;
    assert!(page.path == "/tokens" && page.has("Revogar"));
    assert!(browser.get("/nodes").await.has("Organizações e locais"));
}

#[tokio::test]
async fn the_overview_names_the_broken_hop_in_words() {
    let mut browser = Browser::signed_in(&Arc::new(MemoryConsole::sample())).await;
    let page = browser.get("/").await;
    assert!(page.has("2 nodes with a broken hop"));
    assert!(
        page.has("Service <b>web</b>: the machine refused the connection; the program is stopped.")
    );
}

#[tokio::test]
async fn an_empty_network_says_the_next_step_with_its_command() {
    let mut browser = Browser::signed_in(&Arc::new(MemoryConsole::empty())).await;
    for (path, command) in [
        ("/", "malha-node up TOKEN"),
        ("/nodes", "malha-node up TOKEN"),
        ("/sites", "malha org add"),
        ("/tokens", "malha token add"),
        ("/services", "malha route add"),
        ("/dns", "malha zone add"),
        ("/activity", "malha audit verify"),
    ] {
        assert!(browser.get(path).await.has(command), "{path}");
    }
}

#[tokio::test]
async fn the_node_list_filters_and_pages() {
    let console = Arc::new(MemoryConsole::sample());
    let mut browser = Browser::signed_in(&console).await;
    let page = browser.get("/nodes?q=seguro").await;
    assert!(page.has("seguro-01") && !page.has("garagem-01"));
    assert!(browser.get("/nodes?broken=1").await.has("seguro-02"));
    assert!(
        browser
            .get("/nodes?q=zzz")
            .await
            .has("No node matches this filter.")
    );
    console.change(Topic::Nodes, |world| {
        let model = world.nodes[0].clone();
        world.nodes.extend((0..60).map(|number| {
            let mut node = model.clone();
            node.row.id = format!("x{number}").into();
            node
        }));
    });
    assert!(
        browser
            .get("/nodes?q=estacione")
            .await
            .has(r#"rel="next" href="/nodes?q=estacione&amp;skip=50""#)
    );
    assert!(
        browser
            .get("/nodes?q=estacione&skip=50")
            .await
            .has(r#"rel="prev""#)
    );
}

#[tokio::test]
async fn an_auditor_reads_everything_and_is_offered_no_write() {
    let console = Arc::new(MemoryConsole::sample());
    console.change(Topic::Nodes, |world| world.role = Some(Role::Auditor));
    let mut browser = Browser::signed_in(&console).await;
    for path in PAGES.iter().filter(|path| **path != "/no-such-page") {
        let page = browser.get(path).await;
        let writes: Vec<String> = page
            .post_actions()
            .into_iter()
            .filter(|action| !["/language", "/logout"].contains(&&**action))
            .collect();
        assert!(
            page.status == StatusCode::OK && writes.is_empty(),
            "{path} offers {writes:?}"
        );
    }
}

#[tokio::test]
async fn a_controller_that_can_not_answer_gives_a_page_that_says_so() {
    let console = Arc::new(MemoryConsole::sample());
    let mut browser = Browser::signed_in(&console).await;
    console.change(Topic::Nodes, |world| world.unavailable = true);
    for path in PAGES.iter().filter(|path| **path != "/no-such-page") {
        let page = browser.get(path).await;
        assert!(
            page.status == StatusCode::SERVICE_UNAVAILABLE && page.has("The tunnels carry on."),
            "{path}"
        );
    }
}

#[tokio::test]
async fn every_control_has_a_label_and_every_cell_its_heading() {
    let mut browser = Browser::signed_in(&Arc::new(MemoryConsole::sample())).await;
    for path in PAGES {
        let page = browser.get(path).await;
        for element in ["input", "select", "textarea"] {
            for tag in page.tags(element) {
                if ["hidden", "checkbox"].contains(&attribute(tag, "type").unwrap_or_default()) {
                    continue;
                }
                let id = attribute(tag, "id")
                    .unwrap_or_else(|| panic!("{path}: <{element}{tag}> has no id"));
                assert!(
                    page.has(&format!(r#"<label for="{id}""#)),
                    "{path}: {id} has no label"
                );
            }
        }
        for cell in page
            .tags("td")
            .into_iter()
            .filter(|cell| attribute(cell, "class") != Some("row-actions"))
        {
            assert!(
                attribute(cell, "data-label").is_some_and(|label| !label.is_empty()),
                "{path}: <td{cell}>"
            );
        }
    }
}

#[tokio::test]
async fn ids_on_a_page_are_unique() {
    let mut browser = Browser::signed_in(&Arc::new(MemoryConsole::sample())).await;
    for path in PAGES {
        let page = browser.get(path).await;
        let mut ids: Vec<&str> = page
            .body
            .split(" id=\"")
            .skip(1)
            .map(|rest| rest.split('"').next().unwrap())
            .collect();
        let all = ids.len();
        ids.sort_unstable();
        ids.dedup();
        assert_eq!(ids.len(), all, "{path}");
    }
}

#[tokio::test]
async fn a_profile_shows_its_ports_and_where_the_requirement_asks_for_others() {
    let console = Arc::new(MemoryConsole::sample());
    let mut browser = Browser::signed_in(&console).await;
    let page = browser.get("/profiles").await;
    assert!(page.has("messages") && page.has("5566, 5567") && page.has("X-Road from 7.4 on"));
    assert!(page.has("&lt;b&gt;inner"), "a name of an operator's text");
    assert!(page.has("9011") && page.has("too open") && page.has("external network"));
    assert!(page.has("8888") && page.has("not in the profile"));
}
