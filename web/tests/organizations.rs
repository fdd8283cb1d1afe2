//! An organization's page: who may switch its second approver and what that means, and its declared ports beside the profile.

mod browser;
mod memory_console;

use std::sync::Arc;

use axum::http::StatusCode;
use browser::Browser;
use malha_web::Role;
use malha_web::model::{SecondApprover, Topic};
use memory_console::MemoryConsole;

const PAGE: &str = "/organizations/saude";
const ON: &str = "/organizations/saude/second-approver/on";
const OFF: &str = "/organizations/saude/second-approver/off";

fn with_people(people: usize, on: bool) -> Arc<MemoryConsole> {
    let console = Arc::new(MemoryConsole::sample());
    console.change(Topic::Sites, |world| {
        world.approver = SecondApprover {
            on,
            ending: None,
            people,
        };
    });
    console
}

#[tokio::test]
async fn the_list_of_organizations_leads_to_each_ones_page() {
    let mut browser = Browser::signed_in(&with_people(2, false)).await;
    let page = browser.get("/sites").await;
    assert!(page.has(r#"href="/organizations/saude""#));
    let page = browser.get(PAGE).await;
    assert!(page.has("&lt;b&gt;Secretaria") && !page.has("<b>Secretaria"));
    let nobody = browser.get("/organizations/nobody").await;
    assert_eq!(nobody.status, StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn the_second_approver_is_turned_on_after_a_second_thought() {
    let console = with_people(2, false);
    let mut browser = Browser::signed_in(&console).await;
    let page = browser.get(PAGE).await;
    assert!(page.has("Yes, turn on") && page.has(">off<") && !page.has(OFF));
    let page = browser.submit(ON, &[]).await;
    assert!(page.has("The second approver is on.") && page.has(">on<"));
    assert!(console.peek(|world| world.approver.on));
}

#[tokio::test]
async fn it_takes_two_people_and_the_page_says_how_to_add_the_second() {
    let mut browser = Browser::signed_in(&with_people(1, false)).await;
    let page = browser.get(PAGE).await;
    assert!(page.has("malha operator add") && !page.has(ON));
}

#[tokio::test]
async fn turning_it_off_is_proposed_and_leads_to_the_proposal() {
    let console = with_people(2, true);
    let mut browser = Browser::signed_in(&console).await;
    browser.get(PAGE).await;
    let page = browser.submit(OFF, &[]).await;
    assert!(page.has("another operator approves it on the page Policy"));
    assert!(page.has("/policy#proposal-7") && !page.has(OFF) && !page.has(ON));
    assert!(
        console.peek(|world| world.approver.on),
        "it stays on until then"
    );
}

#[tokio::test]
async fn who_may_not_switch_it_sees_it_without_the_button() {
    for role in [Role::Auditor, Role::SiteTechnician] {
        let console = with_people(2, false);
        console.change(Topic::Sites, |world| world.role = Some(role));
        let mut browser = Browser::signed_in(&console).await;
        let page = browser.get(PAGE).await;
        assert!(page.has("Second approver") && !page.has(ON), "{role:?}");
    }
}

#[tokio::test]
async fn declared_ports_stand_beside_the_profile_in_words_of_the_reader() {
    let mut browser = Browser::signed_in(&with_people(2, false)).await;
    browser.language = "pt-BR";
    let page = browser.get(PAGE).await;
    for words in [
        "aberta demais",
        "nunca aberta",
        "não está no perfil",
        "só no túnel",
        "X-Road 7.3",
    ] {
        assert!(page.has(words), "{words}");
    }
    let console = with_people(2, false);
    console.change(Topic::Checks, |world| world.checked = false);
    let mut browser = Browser::signed_in(&console).await;
    let page = browser.get(PAGE).await;
    assert!(page.has("malha check declare"));
}
