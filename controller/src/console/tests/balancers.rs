//! Balancers in the dashboard: what their nodes say, live, and the buttons.

use malha_core::{Answer, BalancerSettings, Command};
use malha_proto::{
    BackendCondition, BackendReport, BalancerCounts, BalancerReport, NodeReport, Port,
};
use malha_web::Console;
use malha_web::model::{BalancerRow, Exposure, ServerCondition, ServerMode};

use super::rig::{Rig, owner, parsed};

async fn shown(rig: &Rig) -> BalancerRow {
    let mut all = rig.console.balancers(&owner()).await.unwrap().rows;
    all.remove(0)
}

#[tokio::test]
async fn a_balancer_on_the_hub_shows_what_it_says_and_obeys_its_buttons() {
    let rig = Rig::new().await;
    let hub = rig.hub().await;
    let server = rig.enrolled("ss-1").await.id;
    let service = rig
        .service(server, "mensagens", 5_500, Exposure::Tunnel)
        .await;
    let add = Command::AddBalancer {
        node: hub,
        name: parsed("xroad"),
        port: Port::new(5_500).unwrap(),
        exposure: malha_proto::Exposure::Public,
        backends: [service].into(),
        settings: BalancerSettings::default(),
    };
    let Answer::Balancer(balancer) = rig.does(add).await.answer else {
        panic!("no balancer")
    };
    let before = shown(&rig).await;
    assert!(before.live.is_none() && before.servers[0].condition.is_none());

    let mut changes = rig.live.balancing.changes();
    let report = NodeReport {
        backends: vec![BackendReport {
            balancer,
            service,
            condition: BackendCondition::Recovering,
            connections: 3,
        }],
        balancers: vec![BalancerReport {
            balancer,
            trouble: None,
            counts: BalancerCounts {
                open: 3,
                unserved: 2,
                ..BalancerCounts::default()
            },
        }],
        ..NodeReport::default()
    };
    rig.live.report(hub, &report, 1_000);
    assert!(changes.has_changed().unwrap());
    changes.mark_unchanged();
    rig.live.report(hub, &report, 2_000);
    assert!(!changes.has_changed().unwrap(), "that is no news");
    let now = shown(&rig).await;
    let live = now.live.unwrap();
    assert_eq!((live.open, live.unserved), (3, 2));
    assert_eq!(now.servers[0].condition, Some(ServerCondition::Recovering));

    let service = now.servers[0].service.clone();
    let outcome = rig
        .console
        .set_server_mode(&owner(), &now.id, &service, ServerMode::Drain)
        .await;
    outcome.unwrap();
    assert_eq!(shown(&rig).await.servers[0].mode, ServerMode::Drain);

    let refused = rig
        .console
        .remove_node(&owner(), &server.to_string().into(), &[])
        .await;
    let words = refused.unwrap_err().text;
    assert!(words.pt.contains("/hub/xroad"), "{}", words.pt);
}
