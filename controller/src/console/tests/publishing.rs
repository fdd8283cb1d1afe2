//! Services and routes: what their forms write and refuse, and what their rows say.

use malha_proto::{PathProbe, ServiceKind};
use malha_web::Console;
use malha_web::model::RefusalKind::{Conflict, Invalid, NotFound};
use malha_web::model::{Exposure, NewService, ProbeState, Protocol, RouteState};

use super::rig::{Rig, at, new_route, new_service, owner, refusal};

#[tokio::test]
async fn a_public_service_is_probed_as_http_and_another_as_tcp() {
    let rig = Rig::new().await;
    let node = rig.online("servidor").await.id;
    let web = rig.service(node, "web", 80, Exposure::Public).await;
    let ssh = rig.service(node, "ssh", 22, Exposure::Tunnel).await;
    assert_eq!(rig.state().service(web).unwrap().kind, ServiceKind::Http);
    assert_eq!(rig.state().service(ssh).unwrap().kind, ServiceKind::Tcp);
    let rows = rig.console.services(&owner()).await.unwrap().rows;
    assert_eq!(rows[0].node_path.as_str(), "prefeitura/garagem-01/servidor");
    assert_eq!(
        (rows[0].target.as_str(), rows[0].protocol),
        ("127.0.0.1:8080", Protocol::Tcp)
    );
}

#[tokio::test]
async fn each_wrong_field_of_a_service_is_named() {
    let rig = Rig::new().await;
    let node = rig.online("servidor").await.id;
    rig.service(node, "web", 80, Exposure::Public).await;
    let before = rig.revision();
    let good = || new_service(node, "painel", 8080, Exposure::Tunnel);
    let wrong = [
        (
            new_service(malha_proto::NodeId(999), "a", 1, Exposure::Tunnel),
            "node",
            NotFound,
        ),
        (
            NewService {
                name: "Painel\u{0}".to_owned(),
                ..good()
            },
            "name",
            Invalid,
        ),
        (
            NewService {
                name: "web".to_owned(),
                ..good()
            },
            "name",
            Conflict,
        ),
        (NewService { port: 0, ..good() }, "port", Invalid),
        (NewService { port: 80, ..good() }, "port", Invalid),
        (
            NewService {
                protocol: Protocol::Udp,
                ..good()
            },
            "protocol",
            Invalid,
        ),
        (
            NewService {
                target: "localhost".to_owned(),
                ..good()
            },
            "target",
            Invalid,
        ),
        (
            NewService {
                target: "x".repeat(65_536),
                ..good()
            },
            "target",
            Invalid,
        ),
        (
            NewService {
                target: "0.0.0.0:80".to_owned(),
                ..good()
            },
            "target",
            Invalid,
        ),
    ];
    for (new, field, kind) in wrong {
        let name = format!("{new:?}");
        assert_eq!(
            refusal(rig.console.add_service(&owner(), new).await),
            at(field, kind),
            "{name}"
        );
    }
    assert_eq!(rig.revision(), before);
}

#[tokio::test]
async fn a_route_has_an_address_to_open_with_the_public_port() {
    let rig = Rig::new().await;
    let node = rig.online("servidor").await.id;
    let web = rig.service(node, "web", 80, Exposure::Public).await;
    rig.console
        .add_route(
            &owner(),
            new_route("garagem.example.org", "/painel/", &[web]),
        )
        .await
        .unwrap();
    rig.console
        .add_route(&owner(), new_route("*.example.org", "/", &[web]))
        .await
        .unwrap();
    let rows = rig.console.routes(&owner()).await.unwrap().rows;
    let urls: Vec<_> = rows
        .iter()
        .map(|row| row.url.as_ref().map(|url| url.as_str()))
        .collect();
    assert_eq!(
        urls,
        [None, Some("https://garagem.example.org:8443/painel")]
    );
    assert_eq!(
        rows[1].services,
        ["prefeitura/garagem-01/servidor/web".into()]
    );
    assert!(rows.iter().all(|row| row.elsewhere.is_none()));

    let elsewhere = new_route("a.example.net", "/", &[web]);
    rig.console.add_route(&owner(), elsewhere).await.unwrap();
    let rows = rig.console.routes(&owner()).await.unwrap().rows;
    let row = rows.iter().find(|row| row.host.as_str() == "a.example.net");
    let told = row.and_then(|row| row.elsewhere.as_deref());
    assert_eq!(told, Some("192.0.2.1"));
}

#[tokio::test]
async fn each_wrong_field_of_a_route_is_named() {
    let rig = Rig::new().await;
    let node = rig.online("servidor").await.id;
    let web = rig.service(node, "web", 80, Exposure::Public).await;
    let ssh = rig.service(node, "ssh", 22, Exposure::Tunnel).await;
    rig.console
        .add_route(&owner(), new_route("a.example.org", "/", &[web]))
        .await
        .unwrap();
    let before = rig.revision();
    let gone = malha_proto::ServiceId(999);
    let wrong = [
        (new_route("garagem", "/", &[web]), "host", Invalid),
        (
            new_route("раураl.example.org", "/", &[web]),
            "host",
            Invalid,
        ),
        (new_route("192.0.2.1", "/", &[web]), "host", Invalid),
        (new_route("a.malha.internal", "/", &[web]), "host", Invalid),
        (
            new_route("ns1.example.org", "/../x", &[web]),
            "path",
            Invalid,
        ),
        (new_route("b.example.org", "", &[web]), "path", Invalid),
        (new_route("b.example.org", "/", &[]), "service", Invalid),
        (new_route("b.example.org", "/", &[ssh]), "service", Invalid),
        (
            new_route("b.example.org", "/", &[gone]),
            "service",
            NotFound,
        ),
        (new_route("a.example.org", "/", &[web]), "host", Conflict),
    ];
    for (new, field, kind) in wrong {
        let name = format!("{new:?}");
        assert_eq!(
            refusal(rig.console.add_route(&owner(), new).await),
            at(field, kind),
            "{name}"
        );
    }
    assert_eq!(rig.revision(), before);
}

#[tokio::test]
async fn a_service_behind_a_route_stays_until_the_route_is_removed() {
    let rig = Rig::new().await;
    let node = rig.online("servidor").await.id;
    let web = rig.service(node, "web", 80, Exposure::Public).await;
    rig.console
        .add_route(&owner(), new_route("a.example.org", "/", &[web]))
        .await
        .unwrap();
    let refused = rig
        .console
        .remove_service(&owner(), &web.to_string().into())
        .await
        .unwrap_err();
    assert_eq!(refused.kind, Conflict);
    assert!(
        refused.text.pt.contains("a rota “a.example.org/”"),
        "{}",
        refused.text.pt
    );
    let route = rig.state().routes().next().unwrap().id;
    rig.console
        .remove_route(&owner(), &route.to_string().into())
        .await
        .unwrap();
    rig.console
        .remove_service(&owner(), &web.to_string().into())
        .await
        .unwrap();
    let again = rig
        .console
        .remove_route(&owner(), &route.to_string().into())
        .await;
    assert_eq!(refusal(again), (None, NotFound));
}

#[tokio::test]
async fn a_route_is_as_well_as_the_services_behind_it() {
    let rig = Rig::new().await;
    let (one, two) = (rig.online("um").await.id, rig.online("dois").await.id);
    let (web, other) = (
        rig.service(one, "web", 80, Exposure::Public).await,
        rig.service(two, "web", 80, Exposure::Public).await,
    );
    rig.console
        .add_route(&owner(), new_route("a.example.org", "/", &[web, other]))
        .await
        .unwrap();
    let state = async || rig.console.routes(&owner()).await.unwrap().rows[0].state;
    assert_eq!(state().await, RouteState::Unknown);
    rig.probed(one, web, PathProbe::Answered);
    rig.probed(two, other, PathProbe::Answered);
    assert_eq!(state().await, RouteState::Up);
    rig.probed(two, other, PathProbe::TunnelSilent);
    assert_eq!(state().await, RouteState::Degraded);
    rig.probed(one, web, PathProbe::OriginFailed);
    assert_eq!(state().await, RouteState::Down);
}

#[tokio::test]
async fn a_service_behind_a_broken_tunnel_has_no_way_to_it_since_the_tunnel_broke() {
    let rig = Rig::new().await;
    let node = rig.online("servidor").await.id;
    let web = rig.service(node, "web", 80, Exposure::Public).await;
    rig.probed(node, web, PathProbe::TunnelSilent);
    let row = rig.console.services(&owner()).await.unwrap().rows.remove(0);
    assert_eq!(
        (row.state, row.since.is_some()),
        (ProbeState::Unreachable, true)
    );
}
