//! The dashboard's forms, without JavaScript: what they write is there on the next page, what they
//! refuse is said.
#![allow(clippy::unwrap_used)] // A panic fails the test that caused it.

mod browser;
mod memory_console;

use std::sync::Arc;

use axum::http::StatusCode;
use browser::{Browser, attribute};
use malha_web::model::{Leading, LeadingKind, NodeState, ServerMode, TokenState, Topic};
use memory_console::MemoryConsole;

#[tokio::test]
async fn from_nothing_to_a_token_by_forms_alone() {
    let mut browser = Browser::signed_in(&Arc::new(MemoryConsole::empty())).await;
    browser.get("/sites").await;
    let page = browser
        .submit("/sites/organization", &[("name", "prefeitura")])
        .await;
    assert!(page.has("Organization created.") && page.has("Revision 1, applied by 0 of 0 nodes."));
    let page = browser
        .submit(
            "/sites/site",
            &[("organization", "prefeitura"), ("name", "garagem-09")],
        )
        .await;
    assert!(page.has("Site created.") && page.has("garagem-09"));
    browser.get("/tokens").await;
    let token = [
        ("site", "prefeitura/garagem-09"),
        ("profile", "garage"),
        ("lifetime_s", "86400"),
        ("uses", "1"),
    ];
    let page = browser.submit("/tokens", &token).await;
    assert_eq!(page.status, StatusCode::CREATED);
    assert!(page.has("mlh1_secret-number-1") && page.has("Copy it now"));
}

#[tokio::test]
async fn a_tokens_secret_stands_on_one_page_once_and_never_again() {
    let mut browser = Browser::signed_in(&Arc::new(MemoryConsole::sample())).await;
    browser.get("/tokens").await;
    let token = [
        ("site", "estacione/garagem-01"),
        ("profile", "garage"),
        ("lifetime_s", "3600"),
        ("uses", "1"),
    ];
    let page = browser.submit("/tokens", &token).await;
    assert_eq!(page.body.matches("mlh1_secret").count(), 1);
    assert_eq!(page.header("cache-control"), "no-store");
    for path in ["/tokens", "/", "/sites", "/activity"] {
        assert!(!browser.get(path).await.has("mlh1_secret"), "{path}");
    }
}

#[tokio::test]
async fn a_refused_form_keeps_what_was_typed_and_says_why_beside_the_field() {
    let mut browser = Browser::signed_in(&Arc::new(MemoryConsole::sample())).await;
    browser.get("/sites").await;
    let page = browser
        .submit(
            "/sites/site",
            &[("organization", "saude"), ("name", "Garagem <3")],
        )
        .await;
    assert_eq!(page.status, StatusCode::UNPROCESSABLE_ENTITY);
    assert!(page.has(r#"value="Garagem &lt;3""#) && page.has(r#"<option value="saude" selected"#));
    let field = page
        .tags("input")
        .into_iter()
        .find(|input| attribute(input, "id") == Some("site-name"))
        .unwrap();
    assert_eq!(attribute(field, "aria-invalid"), Some("true"));
    let problem = attribute(field, "aria-describedby")
        .unwrap()
        .split(' ')
        .next_back()
        .unwrap();
    assert!(page.has(&format!(
        r#"<div id="{problem}"><p class="problem">“Garagem &lt;3” will not do"#
    )));
    assert!(
        !page.has(r#"id="organization-name" name="name" value="Garagem"#),
        "the other form stays blank"
    );
}

#[tokio::test]
async fn wrong_numbers_and_choices_are_named_before_the_console_is_asked() {
    let console = Arc::new(MemoryConsole::sample());
    let mut browser = Browser::signed_in(&console).await;
    let good = [
        ("site", "estacione/garagem-01"),
        ("profile", "garage"),
        ("lifetime_s", "3600"),
        ("uses", "1"),
    ];
    for (field, value, words) in [
        ("uses", "0", "Give a whole number from 1 to 10000."),
        ("uses", "-1", "Give a whole number from 1 to 10000."),
        (
            "lifetime_s",
            "99999999999999999999",
            "Give a whole number from 60 to 2592000.",
        ),
        ("profile", "root", "Choose one of the profiles in the list."),
        ("site", " ", "Fill in this field."),
    ] {
        let fields = good.map(|(name, other)| (name, if name == field { value } else { other }));
        browser.get("/tokens").await;
        let page = browser.submit("/tokens", &fields).await;
        assert!(
            page.status == StatusCode::UNPROCESSABLE_ENTITY && page.has(words),
            "{field}={value}"
        );
    }
    assert_eq!(console.peek(|world| world.tokens.len()), 3);
}

#[tokio::test]
async fn a_token_is_revoked_and_its_button_goes() {
    let console = Arc::new(MemoryConsole::sample());
    let mut browser = Browser::signed_in(&console).await;
    browser.get("/tokens").await;
    let page = browser.submit("/tokens/k8f3/revoke", &[]).await;
    assert!(
        page.has("Token revoked.")
            && !page
                .post_actions()
                .contains(&"/tokens/k8f3/revoke".to_owned())
    );
    assert_eq!(
        console.peek(|world| world.tokens[0].state),
        TokenState::Revoked
    );
}

#[tokio::test]
async fn a_node_is_replaced_with_a_token_and_removed() {
    let console = Arc::new(MemoryConsole::sample());
    let mut browser = Browser::signed_in(&console).await;
    browser.get("/nodes/n1").await;
    assert!(
        browser
            .submit("/nodes/n1/replace", &[])
            .await
            .has("mlh1_secret-number-1")
    );
    let page = browser.submit("/nodes/n1/remove", &[]).await;
    assert!(page.path.starts_with("/nodes?") && page.has("Node removed."));
    assert_eq!(
        console.peek(|world| world.nodes[0].row.state),
        NodeState::Removed
    );
}

#[tokio::test]
async fn a_node_is_removed_with_those_routes_that_the_page_named_and_no_others() {
    let console = Arc::new(MemoryConsole::sample());
    let mut browser = Browser::signed_in(&console).await;
    let leads = |name: &str| {
        let leading = Leading {
            kind: LeadingKind::Route,
            name: name.into(),
            alone: true,
        };
        console.change(Topic::Nodes, |world| world.nodes[0].leading.push(leading));
    };
    leads("camera.malha.example/");
    let page = browser.get("/nodes/n1").await;
    assert!(page.has("camera.malha.example/</span>: is removed with the node"));
    leads("late.malha.example/");
    let page = browser.submit("/nodes/n1/remove", &[]).await;
    assert!(page.has("late.malha.example/</span>: is removed with the node"));
    assert_ne!(
        console.peek(|world| world.nodes[0].row.state),
        NodeState::Removed
    );
    let page = browser.submit("/nodes/n1/remove", &[]).await;
    assert!(page.has("Node removed."));
}

#[tokio::test]
async fn a_quarantine_ends_with_the_machine_that_the_operator_keeps() {
    let console = Arc::new(MemoryConsole::sample());
    let mut browser = Browser::signed_in(&console).await;
    assert!(
        browser
            .get("/nodes/n3")
            .await
            .has("Two machines use the same identity")
    );
    let page = browser
        .submit("/nodes/n3/quarantine", &[("keep", "other")])
        .await;
    assert!(page.has("Quarantine resolved.") && !page.has("Two machines use the same identity"));
    let kept = console.peek(|world| world.nodes[2].row.hops.tunnel.endpoint.clone().unwrap());
    assert_eq!(kept.as_str(), "198.51.100.7:41200");
}

#[tokio::test]
async fn services_and_routes_come_and_go() {
    let mut browser = Browser::signed_in(&Arc::new(MemoryConsole::sample())).await;
    browser.get("/services").await;
    let service = [
        ("node", "n1"),
        ("name", "camera"),
        ("port", "8554"),
        ("protocol", "tcp"),
        ("target", "127.0.0.1:554"),
        ("exposure", "public"),
    ];
    assert!(
        browser
            .submit("/services/service", &service)
            .await
            .has("Service added.")
    );
    let route = [
        ("host", "camera.malha.example"),
        ("path", "/"),
        ("service", "n1.camera"),
        ("service", "n1.web"),
    ];
    let page = browser.submit("/services/route", &route).await;
    assert!(page.has("Route added.") && page.has(r#"href="https://camera.malha.example/""#));
    assert!(page.has("In no zone here") && page.has("203.0.113.10"));
    let page = browser
        .submit("/services/service/n1.camera/remove", &[])
        .await;
    assert!(page.status == StatusCode::CONFLICT && page.has("A route uses this service"));
    assert!(
        browser
            .submit("/services/route/camera.malha.example%2F/remove", &[])
            .await
            .has("Route removed.")
    );
    assert!(
        browser
            .submit("/services/service/n1.camera/remove", &[])
            .await
            .has("Service removed.")
    );
}

#[tokio::test]
async fn record_sets_are_saved_refused_and_deleted() {
    let mut browser = Browser::signed_in(&Arc::new(MemoryConsole::sample())).await;
    browser.get("/dns/malha.example").await;
    let with = |values| {
        [
            ("name", "www"),
            ("record_type", "A"),
            ("ttl_s", "300"),
            ("values", values),
        ]
    };
    let page = browser
        .submit("/dns/malha.example/record", &with("\nnot-an-address"))
        .await;
    assert!(
        page.status == StatusCode::UNPROCESSABLE_ENTITY
            && page.has("An A record needs IPv4 addresses")
    );
    assert!(
        page.has(">\n\nnot-an-address</textarea>"),
        "the typed lines are kept whole"
    );
    let page = browser
        .submit(
            "/dns/malha.example/record",
            &with("203.0.113.5\r\n203.0.113.6\r\n"),
        )
        .await;
    assert!(page.has("Record set saved.") && page.has("203.0.113.5") && page.has("203.0.113.6"));
    assert!(!page.post_actions().is_empty());
    let page = browser.submit("/dns/malha.example/delete", &[]).await;
    assert!(page.has("Record set deleted."));
}

#[tokio::test]
async fn a_policy_is_shown_with_what_it_changes_before_exactly_that_is_saved() {
    let mut browser = Browser::signed_in(&Arc::new(MemoryConsole::sample())).await;
    browser.get("/policy").await;
    let text = "version = 1\r\n# </textarea><b>\r\n";
    let page = browser.submit("/policy/review", &[("text", text)]).await;
    assert!(page.has("2 pairs of nodes gain ports") && page.has("tcp 5500"));
    assert!(page.has("acme/centro/&lt;ss-2&gt;") && page.has("and 2 more"));
    assert!(!page.has("<b>"), "the text stays text");
    let hash = page
        .tags("input")
        .into_iter()
        .find(|input| attribute(input, "name") == Some("hash"))
        .and_then(|input| attribute(input, "value"))
        .unwrap()
        .to_owned();
    let other = [("text", "version = 1\n# other\n"), ("hash", &hash)];
    let page = browser.submit("/policy/apply", &other).await;
    assert_eq!(page.status, StatusCode::NOT_FOUND);
    browser.submit("/policy/review", &[("text", text)]).await;
    let same = [("text", text), ("hash", &hash)];
    let page = browser.submit("/policy/apply", &same).await;
    assert!(page.has("Policy in force.") && page.has("&lt;/textarea&gt;"));
}

#[tokio::test]
async fn a_policy_that_may_not_come_in_force_has_no_button_that_saves_it() {
    let mut browser = Browser::signed_in(&Arc::new(MemoryConsole::sample())).await;
    browser.get("/policy").await;
    let page = browser
        .submit("/policy/review", &[("text", "# refused")])
        .await;
    assert!(page.has("It can't be saved:") && !page.has("/policy/apply"));
}

#[tokio::test]
async fn a_server_is_drained_put_into_maintenance_and_brought_back() {
    let console = Arc::new(MemoryConsole::sample());
    let mut browser = Browser::signed_in(&console).await;
    let mode = || console.peek(|world| world.balancers[0].servers[0].mode);
    let page = browser.get("/balancers").await;
    assert!(page.has("another program has the port") && page.has("18204 since"));
    let page = browser.submit("/balancers/b7/s30/drain", &[]).await;
    assert!(page.has("Mode of the server changed.") && page.has("draining"));
    assert_eq!(mode(), ServerMode::Drain);
    browser.submit("/balancers/b7/s30/maintenance", &[]).await;
    let page = browser.get("/balancers").await;
    assert!(!page.has("No server in service"));
    browser.submit("/balancers/b7/s40/drain", &[]).await;
    let page = browser.get("/balancers").await;
    assert!(page.has("No server in service"));
    assert_eq!(mode(), ServerMode::Maintenance);
    let page = browser.submit("/balancers/b7/s30/serve", &[]).await;
    assert_eq!(mode(), ServerMode::Serve);
    let offered = page.post_actions();
    assert!(!offered.contains(&"/balancers/b7/s30/serve".to_owned()));
    let here = [("sec-fetch-site", "same-origin")];
    for (wrong, status) in [
        ("s99/drain", StatusCode::NOT_FOUND),
        ("s30/off", StatusCode::UNPROCESSABLE_ENTITY),
    ] {
        let path = format!("/balancers/b7/{wrong}");
        let page = browser.post(&path, "csrf=csrf-of-session-0", &here).await;
        assert_eq!(page.status, status, "no page offers it");
    }
}
