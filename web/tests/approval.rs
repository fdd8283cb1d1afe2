//! A policy that takes two operators, on the page: what is proposed is shown with what it changes, and only another operator
//! gets the button that approves it.

mod browser;
mod memory_console;

use std::sync::Arc;

use browser::{Browser, attribute};
use malha_web::Role;
use malha_web::model::{NodePolicy, PendingPolicy, Topic};
use memory_console::MemoryConsole;

const TEXT: &str = "version = 1\n# dois \u{202e}<i>\n";

fn with_proposal(own: bool) -> Arc<MemoryConsole> {
    let console = Arc::new(MemoryConsole::sample());
    console.change(Topic::Activity, |world| {
        world.proposed.push((TEXT.to_owned(), own))
    });
    console
}

#[tokio::test]
async fn what_concerns_such_an_organization_is_proposed_and_its_author_can_not_approve_it() {
    let mut browser = Browser::signed_in(&Arc::new(MemoryConsole::sample())).await;
    browser.get("/policy").await;
    let page = browser.submit("/policy/review", &[("text", TEXT)]).await;
    assert!(page.has("Another operator must approve it") && page.has("Propose exactly this"));
    assert!(page.has("name=\"emergency\""), "an owner may act alone");
    let hash = page
        .tags("input")
        .into_iter()
        .find(|input| attribute(input, "name") == Some("hash"));
    let hash = hash
        .and_then(|input| attribute(input, "value"))
        .unwrap()
        .to_owned();
    let page = browser
        .submit("/policy/apply", &[("text", TEXT), ("hash", &hash)])
        .await;
    assert!(page.has("it waits for another operator") && page.has("Waiting for approval"));
    assert!(page.has("Not yours to approve"));
    assert!(page.has("/policy/proposals/0/reject") && !page.has("/policy/proposals/0/approve"));
}

#[tokio::test]
async fn another_operator_sees_what_it_changes_and_approves_exactly_that() {
    let mut browser = Browser::signed_in(&with_proposal(false)).await;
    let page = browser.get("/policy").await;
    assert!(
        page.has("operator:&lt;bia&gt;")
            && page.has("tcp 5500")
            && page.has("acme/centro/&lt;ss-2&gt;")
    );
    assert!(
        page.has("[U+202E]&lt;i&gt;"),
        "the text can't lie about itself"
    );
    let page = browser.submit("/policy/proposals/0/approve", &[]).await;
    assert!(
        page.has("Approved and in force."),
        "the page carries the hash: {}",
        page.status
    );
    assert!(!page.has("Waiting for approval"));
}

#[tokio::test]
async fn a_proposal_is_rejected_and_is_gone() {
    let mut browser = Browser::signed_in(&with_proposal(true)).await;
    browser.get("/policy").await;
    let page = browser.submit("/policy/proposals/0/reject", &[]).await;
    assert!(page.has("Proposal rejected.") && !page.has("Waiting for approval"));
}

#[tokio::test]
async fn an_auditor_reads_proposals_and_answers_none() {
    let console = with_proposal(false);
    console.change(Topic::Activity, |world| world.role = Some(Role::Auditor));
    let mut browser = Browser::signed_in(&console).await;
    let page = browser.get("/policy").await;
    assert!(page.has("Waiting for approval") && !page.has("/policy/proposals/0/"));
}

#[tokio::test]
async fn a_version_that_waits_for_its_confirmation_is_not_shown_as_settled() {
    let console = Arc::new(MemoryConsole::sample());
    let wait = |pending: Option<PendingPolicy>| {
        console.change(Topic::Activity, |world| {
            world.policies = vec![TEXT.to_owned()];
            world.pending = pending;
        });
    };
    let mut browser = Browser::signed_in(&console).await;
    wait(None);
    let page = browser.get("/policy").await;
    assert!(page.has("<span>in force</span>"));
    wait(Some(PendingPolicy {
        former: 7,
        deadline: time::OffsetDateTime::UNIX_EPOCH,
        emergency: None,
    }));
    let page = browser.get("/policy").await;
    assert!(page.has("<span>waits for its confirmation</span>"));
    assert!(page.has("without it version 7 comes back") && !page.has("<span>in force</span>"));
}

#[tokio::test]
async fn a_node_whose_filter_waits_or_went_back_says_so_on_its_page() {
    let console = Arc::new(MemoryConsole::sample());
    let id = console.peek(|world| world.nodes[0].row.id.clone());
    let mut browser = Browser::signed_in(&console).await;
    let said = [
        (
            NodePolicy::Waiting {
                version: 7,
                deadline: time::OffsetDateTime::UNIX_EPOCH,
            },
            "Policy version 7 waits for its confirmation",
        ),
        (
            NodePolicy::Returned { version: 7 },
            "this node went back to the former filter",
        ),
    ];
    for (policy, words) in said {
        console.change(Topic::Nodes, |world| world.nodes[0].policy = Some(policy));
        let page = browser.get(&format!("/nodes/{}", id.as_str())).await;
        assert!(page.has(words), "{words}");
    }
}
