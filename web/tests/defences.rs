//! What the dashboard does not let happen: forged writes, scripts in names, pages in frames, forms
//! without end.
#![allow(clippy::unwrap_used)] // A panic fails the test that caused it.

mod browser;
mod memory_console;

use std::sync::Arc;

use axum::http::StatusCode;
use browser::{Browser, Page};
use malha_web::model::*;
use malha_web::{Untrusted, WebConfig};
use memory_console::{MemoryConsole, World};

const PAGES: [&str; 11] = [
    "/",
    "/nodes",
    "/nodes/n3",
    "/sites",
    "/tokens",
    "/services",
    "/dns",
    "/activity",
    "/profiles",
    "/organizations/saude",
    "/login",
];
const SAME_ORIGIN: (&str, &str) = ("sec-fetch-site", "same-origin");

#[tokio::test]
async fn a_write_that_is_not_from_our_own_page_changes_nothing() {
    let console = Arc::new(MemoryConsole::sample());
    let mut browser = Browser::signed_in(&console).await;
    let right = "csrf=csrf-of-session-0&name=intruso";
    let forgeries: [(&str, &[(&str, &str)]); 8] = [
        ("name=intruso", &[SAME_ORIGIN]),
        ("csrf=&name=intruso", &[SAME_ORIGIN]),
        ("csrf=csrf-of-session-1&name=intruso", &[SAME_ORIGIN]),
        (right, &[]),
        (right, &[("sec-fetch-site", "cross-site")]),
        (
            right,
            &[
                ("sec-fetch-site", "same-site"),
                ("origin", "https://malha.test"),
            ],
        ),
        (right, &[("origin", "https://evil.example")]),
        (right, &[("origin", "null")]),
    ];
    for (form, headers) in forgeries {
        let page = browser.post("/sites/organization", form, headers).await;
        assert_eq!(page.status, StatusCode::FORBIDDEN, "{form} {headers:?}");
    }
    assert!(!console.peek(|world| world.organizations.contains(&"intruso".to_owned())));
    let page = browser
        .post(
            "/sites/organization",
            right,
            &[("origin", "https://malha.test")],
        )
        .await;
    assert_eq!(
        page.status,
        StatusCode::SEE_OTHER,
        "the same form from our own origin is taken"
    );
}

#[tokio::test]
async fn signing_in_from_another_site_is_refused_before_the_password_is_looked_at() {
    let console = Arc::new(MemoryConsole::sample());
    let mut browser = Browser::new(&console);
    let page = browser
        .post(
            "/login",
            "user=ana&password=x",
            &[("sec-fetch-site", "cross-site")],
        )
        .await;
    assert_eq!(page.status, StatusCode::FORBIDDEN);
    assert_eq!(console.peek(|world| world.failed_logins), 0);
}

#[tokio::test]
async fn the_session_cookie_is_bound_to_the_host_over_https() {
    let mut browser = Browser::with(&Arc::new(MemoryConsole::sample()), WebConfig::default());
    let page = browser
        .post("/login", "user=ana&password=correct+horse", &[SAME_ORIGIN])
        .await;
    assert_eq!(
        page.header("set-cookie"),
        "__Host-malha=session-0; Path=/; HttpOnly; SameSite=Lax; Secure"
    );
    assert_eq!(browser.get("/").await.status, StatusCode::OK);
}

#[tokio::test]
async fn on_plain_loopback_the_cookie_has_another_name_so_that_neither_is_taken_for_the_other() {
    let mut browser = Browser::new(&Arc::new(MemoryConsole::sample()));
    let page = browser
        .post("/login", "user=ana&password=correct+horse", &[SAME_ORIGIN])
        .await;
    assert_eq!(
        page.header("set-cookie"),
        "malha=session-0; Path=/; HttpOnly; SameSite=Lax"
    );
}

#[tokio::test]
async fn every_response_carries_the_security_headers() {
    let console = Arc::new(MemoryConsole::sample());
    let mut browser = Browser::signed_in(&console).await;
    let asset = browser
        .get("/")
        .await
        .tags("link")
        .into_iter()
        .find_map(|tag| browser::attribute(tag, "href"))
        .unwrap()
        .to_owned();
    for path in PAGES.iter().copied().chain([
        "/no-such",
        "/assets/no-such.js",
        "/live?view=no-such",
        "/nodes/no-such",
        &asset,
    ]) {
        assert_guarded(browser.get(path).await);
    }
    for (path, form) in [
        ("/tokens", "x=1"),
        ("/nodes", ""),
        ("/language", "language=en"),
        ("/logout", "csrf=csrf-of-session-0"),
    ] {
        assert_guarded(browser.post(path, form, &[SAME_ORIGIN]).await);
    }
    assert_guarded(
        browser
            .post("/tokens", &"x".repeat(70_000), &[SAME_ORIGIN])
            .await,
    );
}

fn assert_guarded(page: &Page) {
    let policy = page.header("content-security-policy");
    let whole = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; \
                 form-action 'self'; base-uri 'none'; frame-ancestors 'none'";
    assert_eq!(policy, whole, "{}", page.path);
    assert_eq!(
        page.header("x-content-type-options"),
        "nosniff",
        "{}",
        page.path
    );
    assert_eq!(
        page.header("referrer-policy"),
        "no-referrer",
        "{}",
        page.path
    );
    assert_eq!(
        page.header("cross-origin-opener-policy"),
        "same-origin",
        "{}",
        page.path
    );
    assert!(!page.header("cache-control").is_empty(), "{}", page.path);
}

#[tokio::test]
async fn no_page_holds_a_script_a_style_or_a_handler_of_its_own() {
    let mut browser = Browser::signed_in(&Arc::new(MemoryConsole::sample())).await;
    for path in PAGES {
        let page = browser.get(path).await;
        for script in page.tags("script") {
            assert!(
                browser::attribute(script, "src").is_some_and(|src| src.starts_with("/assets/")),
                "{path}"
            );
        }
        assert!(
            page.tags("style").is_empty() && !page.has("javascript:"),
            "{path}"
        );
        for tag in page
            .body
            .split('<')
            .map(|tag| tag.split('>').next().unwrap())
        {
            let names = tag
                .split('"')
                .step_by(2)
                .flat_map(str::split_whitespace)
                .skip(1);
            for name in names.map(|name| name.trim_end_matches('=')) {
                assert!(
                    name != "style" && !name.starts_with("on") && !name.starts_with("hx-on"),
                    "{path}: <{tag}>"
                );
            }
        }
    }
}

#[tokio::test]
async fn hostile_names_are_shown_and_do_nothing() {
    let console = Arc::new(MemoryConsole::sample());
    console.change(Topics::ALL, poison);
    let mut browser = Browser::signed_in(&console).await;
    let zone = format!(
        "/dns/{}",
        HOSTILE
            .bytes()
            .map(|byte| format!("%{byte:02X}"))
            .collect::<String>()
    );
    for path in PAGES
        .iter()
        .copied()
        .filter(|path| *path != "/login")
        .chain([zone.as_str()])
    {
        let page = browser.get(path).await;
        assert_eq!(page.status, StatusCode::OK, "{path}");
        assert!(
            !page.has("<script>alert")
                && !page.has("<img src=x")
                && !page.has("javascript:alert(3)\""),
            "{path}"
        );
        assert!(
            page.has("&lt;script&gt;alert(1)&lt;/script&gt;[U+202E]"),
            "{path} does not show the name"
        );
        for text in page
            .body
            .split('>')
            .map(|text| text.split('<').next().unwrap())
        {
            assert!(
                !text.contains(['\u{202E}', '\u{200B}', '\r']),
                "{path} shows a hidden character: {text:?}"
            );
        }
    }
}

const HOSTILE: &str =
    "<script>alert(1)</script>\u{202E}\u{200B}\"'><img src=x onerror=alert(2)>\r&amp;";

/// Puts the hostile name wherever foreign text can stand.
fn poison(world: &mut World) {
    let bad = || Untrusted::from(HOSTILE);
    world.organizations.push(HOSTILE.to_owned());
    world.sites.push((HOSTILE.to_owned(), HOSTILE.to_owned()));
    world.lagging = vec![bad()];
    world.port_name = Some(bad());
    for node in &mut world.nodes {
        (node.row.organization, node.row.site, node.row.name) = (bad(), bad(), bad());
        (node.public_key, node.overlay_name, node.software) = (bad(), bad(), bad());
        node.row.hops.tunnel.endpoint = Some(bad());
        node.row
            .hops
            .services
            .iter_mut()
            .for_each(|service| service.name = bad());
        if let Some(broken) = &mut node.row.hops.broken {
            broken.service = Some(bad());
        }
        if let Some(quarantine) = &mut node.quarantine {
            for claimant in [&mut quarantine.this, &mut quarantine.other] {
                (claimant.host_name, claimant.source, claimant.fingerprint) = (bad(), bad(), bad());
            }
        }
    }
    for token in &mut world.tokens {
        (token.id, token.organization, token.site, token.replaces) =
            (HOSTILE.into(), bad(), bad(), Some(bad()));
    }
    for service in &mut world.services {
        (service.id, service.node_path, service.name, service.target) =
            (HOSTILE.into(), bad(), bad(), bad());
    }
    for route in &mut world.routes {
        (route.id, route.host, route.path, route.services) =
            (HOSTILE.into(), bad(), bad(), vec![bad()]);
        route.url = Some("javascript:alert(3)".into());
    }
    for zone in &mut world.zones {
        zone.name = bad();
        for set in &mut zone.record_sets.rows {
            (set.name, set.record_type, set.values) = (bad(), bad(), vec![bad()]);
        }
    }
    for row in &mut world.activity {
        (row.actor, row.subject, row.action) = (bad(), bad(), Action::Other(bad()));
    }
}

#[tokio::test]
async fn hostile_input_comes_back_as_text() {
    let mut browser = Browser::signed_in(&Arc::new(MemoryConsole::sample())).await;
    browser.get("/sites").await;
    let page = browser
        .submit("/sites/organization", &[("name", HOSTILE)])
        .await;
    assert_eq!(page.status, StatusCode::UNPROCESSABLE_ENTITY);
    assert!(!page.has("<script>alert") && !page.has("<img src=x"));
    assert!(
        page.has(r#"value="&lt;script&gt;alert(1)"#),
        "what was typed is kept"
    );
}

#[tokio::test]
async fn a_form_without_end_is_refused() {
    let mut browser = Browser::signed_in(&Arc::new(MemoryConsole::sample())).await;
    let large = format!("csrf=csrf-of-session-0&name={}", "a".repeat(64 * 1024));
    let page = browser
        .post("/sites/organization", &large, &[SAME_ORIGIN])
        .await;
    assert!(page.status == StatusCode::PAYLOAD_TOO_LARGE && page.has("64 KiB"));
    let many = format!("csrf=csrf-of-session-0{}", "&a=1".repeat(64));
    let page = browser
        .post("/sites/organization", &many, &[SAME_ORIGIN])
        .await;
    assert!(page.status == StatusCode::BAD_REQUEST && page.has("64 fields"));
}

#[tokio::test]
async fn assets_are_kept_for_ever_and_their_addresses_hold_their_hash() {
    let mut browser = Browser::new(&Arc::new(MemoryConsole::sample()));
    let page = browser.get("/login").await;
    let addresses: Vec<String> = page
        .body
        .split("\"/assets/")
        .skip(1)
        .map(|rest| format!("/assets/{}", rest.split('"').next().unwrap()))
        .collect();
    assert!(addresses.len() >= 4);
    for address in addresses {
        let asset = browser.get(&address).await;
        assert_eq!(
            (asset.status, asset.header("cache-control")),
            (StatusCode::OK, "public, max-age=31536000, immutable")
        );
    }
    assert_eq!(
        browser.get("/assets/malha.css").await.status,
        StatusCode::NOT_FOUND
    );
}
