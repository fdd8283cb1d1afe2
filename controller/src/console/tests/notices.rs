//! What open pages are told, and what keeps quiet.

use std::time::Duration;

use malha_core::Command;
use malha_proto::{BalancerCounts, BalancerId, BalancerReport, NodeId, PathProbe, Revision};
use malha_web::Console;
use malha_web::model::{ChangeNotice, Exposure, Topic, Topics};
use tokio::sync::broadcast::Receiver;
use tokio::time::{Instant, timeout};

use super::rig::{Rig, owner, parsed};

/// The topics of the next notice.
async fn told(changes: &mut Receiver<ChangeNotice>) -> Topics {
    match timeout(Duration::from_secs(10), changes.recv()).await {
        Ok(Ok(ChangeNotice::Changed(topics))) => topics,
        other => panic!("{other:?}"),
    }
}

async fn running() -> Rig {
    let rig = Rig::new().await;
    tokio::spawn(rig.console.clone().run(rig.stop.clone()));
    tokio::task::yield_now().await;
    rig
}

async fn create_organization(rig: &Rig, name: &str) {
    rig.does(Command::CreateOrganization {
        name: parsed(name),
        display_name: String::new(),
    })
    .await;
}

#[tokio::test]
async fn many_commits_in_a_moment_are_one_notice_with_their_topics() {
    let rig = running().await;
    let mut changes = rig.console.changes();
    create_organization(&rig, "agencia").await;
    create_organization(&rig, "outra").await;
    let topics = told(&mut changes).await;
    assert!(
        topics.meets(Topic::Sites)
            && topics.meets(Topic::Activity)
            && topics.meets(Topic::Convergence)
    );
    assert!(!topics.meets(Topic::Dns) && !topics.meets(Topic::Tokens));
    assert!(changes.is_empty());
}

#[tokio::test]
async fn a_storm_of_commits_does_not_become_a_storm_of_notices() {
    let rig = running().await;
    let mut changes = rig.console.changes();
    let started = Instant::now();
    for number in 0..50 {
        create_organization(&rig, &format!("agencia-{number}")).await;
    }
    told(&mut changes).await;
    let rounds = started.elapsed().as_millis() / 100;
    assert!(
        changes.len() as u128 <= rounds,
        "{} notices more in {rounds} rounds",
        changes.len()
    );
}

#[tokio::test]
async fn a_changed_verdict_draws_the_pages_anew_and_what_they_read_is_fresh() {
    let rig = running().await;
    let node = rig.online("servidor").await.id;
    let web = rig.service(node, "web", 80, Exposure::Public).await;
    assert_eq!(rig.console.overview(&owner()).await.unwrap().services_up, 0);
    let mut changes = rig.console.changes();
    let now_ms = crate::clock::now_ms();
    rig.live
        .probed(node, web, PathProbe::Answered, now_ms, now_ms);
    while !told(&mut changes).await.meets(Topic::Services) {}
    assert_eq!(rig.console.overview(&owner()).await.unwrap().services_up, 1);
}

#[tokio::test]
async fn what_balancers_carry_redraws_their_page_and_no_other() {
    let rig = running().await;
    let mut changes = rig.console.changes();
    let report = BalancerReport {
        balancer: BalancerId(9),
        trouble: None,
        counts: BalancerCounts::default(),
    };
    rig.live.balancing.report(NodeId(1), &[report], &[]);
    let topics = told(&mut changes).await;
    assert!(topics.meets(Topic::Balancers) && !topics.meets(Topic::Nodes));
}

#[tokio::test]
async fn the_overview_follows_who_has_applied_what_concerns_it() {
    let rig = running().await;
    let machine = rig.silent("servidor").await;
    let seat = {
        let session = rig.registry.find(machine.id).unwrap();
        rig.registry.sit(machine.id, session)
    };
    let mut changes = rig.console.changes();
    create_organization(&rig, "agencia").await;
    told(&mut changes).await;
    let before = rig.console.overview(&owner()).await.unwrap().convergence;
    assert_eq!((before.applied, before.of), (0, 1));
    assert_eq!(before.lagging, ["prefeitura/garagem-01/servidor".into()]);

    rig.registry.applied(&seat, rig.revision());
    while !told(&mut changes).await.meets(Topic::Convergence) {}
    let after = rig.console.overview(&owner()).await.unwrap().convergence;
    assert_eq!((after.applied, after.of, after.lagging.len()), (1, 1, 0));

    create_organization(&rig, "outra").await;
    let later = rig.console.overview(&owner()).await.unwrap().convergence;
    assert_eq!(
        (later.applied, later.of),
        (1, 1),
        "a change that does not concern the node leaves it up to date"
    );
    assert!(rig.registry.find(machine.id).unwrap().applied < rig.revision());
}

#[tokio::test]
async fn a_node_that_leaves_after_it_applied_everything_owes_nothing() {
    let rig = running().await;
    let machine = rig.silent("servidor").await;
    let session = rig.registry.find(machine.id).unwrap();
    let seat = rig.registry.sit(machine.id, session);
    let mut changes = rig.console.changes();
    rig.registry.applied(&seat, Revision(u64::MAX));
    while !told(&mut changes).await.meets(Topic::Convergence) {}
    while timeout(Duration::from_millis(300), changes.recv())
        .await
        .is_ok()
    {}
    rig.registry.leave(&seat);
    let convergence = rig.console.overview(&owner()).await.unwrap().convergence;
    assert_eq!((convergence.applied, convergence.of), (1, 1));
}

#[tokio::test]
async fn stopping_closes_the_pages() {
    let rig = running().await;
    let mut changes = rig.console.changes();
    rig.stop.cancel();
    let closing = timeout(Duration::from_secs(10), changes.recv()).await;
    assert!(
        matches!(closing, Ok(Ok(ChangeNotice::Closing))),
        "{closing:?}"
    );
}
