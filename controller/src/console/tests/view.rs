//! What the pages read: each broken hop by its name, the overview's figures, and the list of nodes with its filters.

use malha_proto::{FarewellReason, NodeReport, PathProbe, Revision, ServiceReport, ServiceState};
use malha_web::Console;
use malha_web::model::{
    BreakKind, Exposure, HopState, NodeDetail, NodeQuery, NodeState, ProbeState,
};

use time::OffsetDateTime;

use super::rig::{Machine, Rig, owner, shown};
use crate::clock::now_ms;

/// What is seen of a node, and the break that it is.
struct Sight {
    online: bool,
    farewell: Option<FarewellReason>,
    probe: PathProbe,
    report: ServiceState,
    kind: BreakKind,
}

async fn detail(rig: &Rig, machine: &Machine) -> NodeDetail {
    rig.console
        .node(&owner(), &shown(machine.id))
        .await
        .unwrap()
}

async fn listed(rig: &Rig, query: NodeQuery) -> Vec<String> {
    let query = NodeQuery {
        limit: if query.limit == 0 { 100 } else { query.limit },
        ..query
    };
    let rows = rig.console.nodes(&owner(), &query).await.unwrap().rows;
    rows.iter()
        .map(|row| row.name.as_str().to_owned())
        .collect()
}

#[tokio::test]
async fn every_break_has_its_own_name_and_a_time() {
    let stopped = Some(FarewellReason::Stopped);
    let sight = |online, farewell, probe, report, kind| Sight {
        online,
        farewell,
        probe,
        report,
        kind,
    };
    let sights = [
        sight(
            false,
            None,
            PathProbe::Answered,
            ServiceState::Up,
            BreakKind::ControlDown,
        ),
        sight(
            false,
            None,
            PathProbe::TunnelSilent,
            ServiceState::Up,
            BreakKind::LinkDown,
        ),
        sight(
            false,
            stopped,
            PathProbe::TunnelSilent,
            ServiceState::Up,
            BreakKind::AgentStopped,
        ),
        sight(
            true,
            None,
            PathProbe::TunnelSilent,
            ServiceState::Up,
            BreakKind::TunnelDown,
        ),
        sight(
            true,
            None,
            PathProbe::OriginFailed,
            ServiceState::Refused,
            BreakKind::ServiceRefused,
        ),
        sight(
            true,
            None,
            PathProbe::OriginFailed,
            ServiceState::Timeout,
            BreakKind::ServiceTimeout,
        ),
        sight(
            true,
            None,
            PathProbe::OriginFailed,
            ServiceState::Broken,
            BreakKind::ServiceBadAnswer,
        ),
        sight(
            true,
            None,
            PathProbe::OriginFailed,
            ServiceState::Up,
            BreakKind::ServiceBadAnswer,
        ),
    ];
    let rig = Rig::new().await;
    for (number, sight) in sights.into_iter().enumerate() {
        let machine = rig.online(&format!("servidor-{number}")).await;
        let web = rig.service(machine.id, "web", 80, Exposure::Public).await;
        let services = vec![ServiceReport {
            service: web,
            state: sight.report,
        }];
        rig.live.report(
            machine.id,
            &NodeReport {
                services,
                ..NodeReport::default()
            },
            now_ms(),
        );
        if !sight.online {
            rig.live
                .session_closed(machine.id, sight.farewell, now_ms());
        }
        rig.probed(machine.id, web, sight.probe);
        let broken = detail(&rig, &machine).await.row.hops.broken.unwrap();
        assert_eq!(broken.kind, sight.kind);
        assert!((OffsetDateTime::now_utc() - broken.since).whole_seconds() < 60);
        let of_service = matches!(
            sight.kind,
            BreakKind::ServiceRefused | BreakKind::ServiceTimeout | BreakKind::ServiceBadAnswer
        );
        assert_eq!(
            broken.service.map(|name| name.as_str().to_owned()),
            of_service.then(|| "web".to_owned())
        );
    }
}

#[tokio::test]
async fn a_node_that_never_came_back_is_pending_since_its_enrolment() {
    let rig = Rig::new().await;
    let machine = rig.enrolled("servidor").await;
    let web = rig.service(machine.id, "web", 80, Exposure::Public).await;
    rig.probed(machine.id, web, PathProbe::TunnelSilent);
    let node = detail(&rig, &machine).await;
    let broken = node.row.hops.broken.unwrap();
    assert_eq!(
        (node.row.state, broken.kind),
        (NodeState::Pending, BreakKind::NeverConnected)
    );
    assert_eq!(broken.since, node.enrolled_at);
}

#[tokio::test]
async fn a_node_that_came_back_before_this_controller_started_is_active_and_not_observed_yet() {
    let rig = Rig::new().await;
    let machine = rig.enrolled("servidor").await;
    rig.hello(&machine, 1).await;
    let node = detail(&rig, &machine).await;
    assert_eq!(
        (node.row.state, node.row.hops.broken),
        (NodeState::Active, None)
    );
    assert_eq!(node.row.hops.control.state, HopState::Unknown);
}

#[tokio::test]
async fn a_node_whose_whole_path_carries_has_nothing_broken() {
    let rig = Rig::new().await;
    let machine = rig.online("servidor").await;
    let web = rig.service(machine.id, "web", 80, Exposure::Public).await;
    rig.probed(machine.id, web, PathProbe::Answered);
    let node = detail(&rig, &machine).await;
    assert_eq!(
        (node.row.state, node.row.hops.broken),
        (NodeState::Active, None)
    );
    assert_eq!(
        (node.row.hops.control.state, node.row.hops.tunnel.state),
        (HopState::Up, HopState::Up)
    );
    assert_eq!(node.row.hops.services[0].state, ProbeState::Up);
    assert_eq!(
        node.overlay_name.as_str(),
        "servidor.garagem-01.prefeitura.malha.internal"
    );
    assert_eq!(node.software.as_str(), "malha-node 1.2.3 Debian");
    assert_eq!(node.applied_revision.map(Revision), Some(rig.revision()));
}

#[tokio::test]
async fn the_hub_is_up_while_it_serves() {
    let rig = Rig::new().await;
    let hub = rig.hub().await;
    let node = rig.console.node(&owner(), &shown(hub)).await.unwrap();
    assert_eq!(
        (node.row.state, node.row.hops.broken),
        (NodeState::Active, None)
    );
    assert_eq!(
        (node.row.hops.control.state, node.row.hops.tunnel.state),
        (HopState::Up, HopState::Up)
    );
}

#[tokio::test]
async fn nodes_are_found_by_name_path_and_address_and_by_what_is_wrong_with_them() {
    let rig = Rig::new().await;
    let (beta, alfa, nova) = (
        rig.online("beta").await,
        rig.online("alfa").await,
        rig.enrolled("nova").await,
    );
    for machine in [&alfa, &beta] {
        let web = rig.service(machine.id, "web", 80, Exposure::Public).await;
        let met = if machine.id == beta.id {
            PathProbe::OriginFailed
        } else {
            PathProbe::Answered
        };
        rig.probed(machine.id, web, met);
    }
    let text = |text: &str| NodeQuery {
        text: text.to_owned(),
        ..NodeQuery::default()
    };
    assert_eq!(
        listed(&rig, NodeQuery::default()).await,
        ["alfa", "beta", "nova"]
    );
    assert_eq!(listed(&rig, text("GARAGEM-01/b")).await, ["beta"]);
    let v4 = rig.state().node(nova.id).unwrap().addresses.v4.to_string();
    assert_eq!(listed(&rig, text(&v4)).await, ["nova"]);
    assert_eq!(listed(&rig, text("\u{202e}")).await, [""; 0]);
    assert_eq!(
        listed(
            &rig,
            NodeQuery {
                broken: true,
                ..NodeQuery::default()
            }
        )
        .await,
        ["beta", "nova"]
    );
    let pending = NodeQuery {
        state: Some(NodeState::Pending),
        ..NodeQuery::default()
    };
    assert_eq!(listed(&rig, pending).await, ["nova"]);
    let removed = NodeQuery {
        state: Some(NodeState::Removed),
        ..NodeQuery::default()
    };
    assert_eq!(listed(&rig, removed).await, [""; 0]);
}

#[tokio::test]
async fn a_page_of_nodes_is_bounded_and_says_how_many_there_are() {
    let rig = Rig::new().await;
    for name in ["a", "b", "c"] {
        rig.enrolled(name).await;
    }
    let page = |skip, limit| NodeQuery {
        skip,
        limit,
        ..NodeQuery::default()
    };
    assert_eq!(listed(&rig, page(1, 1)).await, ["b"]);
    assert_eq!(listed(&rig, page(usize::MAX, usize::MAX)).await, [""; 0]);
    assert_eq!(
        rig.console
            .nodes(&owner(), &page(1, 1))
            .await
            .unwrap()
            .total,
        3
    );
}

#[tokio::test]
async fn the_overview_counts_what_is_there_and_names_what_is_broken() {
    let rig = Rig::new().await;
    rig.hub().await;
    let (good, bad) = (rig.online("boa").await, rig.online("ruim").await);
    rig.enrolled("nova").await;
    for (machine, met) in [
        (&good, PathProbe::Answered),
        (&bad, PathProbe::OriginFailed),
    ] {
        let web = rig.service(machine.id, "web", 80, Exposure::Public).await;
        rig.probed(machine.id, web, met);
    }
    let overview = rig.console.overview(&owner()).await.unwrap();
    assert_eq!(Revision(overview.revision), rig.revision());
    assert_eq!(
        (overview.organizations, overview.sites, overview.nodes),
        (1, 1, 4)
    );
    assert_eq!(
        (
            overview.nodes_online,
            overview.nodes_pending,
            overview.nodes_quarantined
        ),
        (3, 1, 0)
    );
    assert_eq!(
        (overview.services, overview.services_up, overview.routes),
        (2, 1, 0)
    );
    assert_eq!(overview.tokens_active, 0);
    let broken: Vec<_> = overview
        .broken
        .iter()
        .map(|node| (node.path.as_str(), node.hop.kind))
        .collect();
    assert_eq!(overview.broken_total, 2);
    assert!(
        broken.contains(&("prefeitura/garagem-01/ruim", BreakKind::ServiceRefused))
            || broken.contains(&("prefeitura/garagem-01/ruim", BreakKind::ServiceBadAnswer))
    );
    assert!(broken.contains(&("prefeitura/garagem-01/nova", BreakKind::NeverConnected)));
    let sites = rig.console.sites(&owner()).await.unwrap();
    assert_eq!((sites.rows[0].nodes, sites.rows[0].online), (4, 3));
}

#[tokio::test]
async fn ids_that_name_nothing_show_nothing() {
    let rig = Rig::new().await;
    for id in ["", "n999", "s1", "n1/../..", "\u{0}"] {
        assert!(
            rig.console.node(&owner(), &id.into()).await.is_err(),
            "{id:?}"
        );
    }
}

#[tokio::test]
async fn a_hub_whose_interface_cant_be_set_again_is_broken_by_its_own_name() {
    let rig = Rig::new().await;
    let hub = rig.hub().await;
    let seen = malha_tunnel::InterfaceState {
        trouble: Some("EPERM".into()),
        ..malha_tunnel::InterfaceState::default()
    };
    rig.live.hub_interface_seen(seen, 1_000);
    let shown = rig.console.node(&owner(), &shown(hub)).await.unwrap();
    let broken = shown.row.hops.broken.unwrap();
    assert_eq!(broken.kind, BreakKind::HubInterface);
}
