//! What a run is about: whose ports, where the public comes in, and where names lead a server.

use malha_check::{Exposure, PortProbe, Probe, Server, Target, TargetKind, Vantage, plan};
use malha_core::Command;
use malha_core::declaration::Stage as Environment;
use malha_proto::{EnrolToken, Fingerprint, WgKey};
use serde_json::json;
use tokio::sync::Mutex;

use super::*;
use crate::api::tests::rig::{Rig, facts};
use crate::hub::HubPorts;

const STATEMENT: &str = r#"version = 1
central = ["central.mt.example"]
peers = ["sefaz.mt.example"]
ocsp = ["http://ocsp.mt.example:8888/"]
time_stamps = ["https://tsa.mt.example/"]
name_servers = ["ns1.mt.example", "ns2.mt.example:5353"]
[production]
site = "production"
"#;
/// Where the public comes in, and where the controller's own edge answers.
const PUBLIC: &str = "203.0.113.10";
const CONTROL: &str = "192.0.2.1:443";

/// The subject of `sefaz`, whose production site is `producao`.
fn subject_of(rig: &Rig, more: &str) -> Subject {
    let stage = format!("[production]\nsite = \"producao\"\naddresses = [\"{PUBLIC}\"]\n");
    let statement = Statement::parse(&format!("version = 1\n{more}{stage}")).unwrap();
    let public = "198.51.100.9".parse().unwrap();
    let resolved = hosts(&statement).into_iter().map(|it| (it, vec![public]));
    let (state, context) = (rig.state(), &rig.context);
    let lookouts = Lookouts::new(&state, &context.registry, &context.live);
    let organization = state.organization_by_name("sefaz").unwrap();
    let control = [CONTROL.parse().unwrap()];
    let addresses = resolved.collect();
    let (subject, _) = subject(
        &state,
        organization,
        &statement,
        &addresses,
        &lookouts,
        &control,
    );
    subject
}

/// A node of this profile joins a site, which is made if it is not there.
async fn joins(rig: &Rig, site: &str, profile: &str, number: u8) -> NodeId {
    let (organization, name) = site.split_once('/').unwrap();
    if rig.state().organization_by_name(organization).is_none() {
        rig.post("/organizations", json!({"name": organization}))
            .await;
    }
    if rig.state().site_by_path(site).is_none() {
        let new = json!({"organization": organization, "name": name});
        rig.post("/sites", new).await;
    }
    let token = json!({"site": site, "profile": profile});
    let created = rig.post("/tokens", token).await;
    let token: EnrolToken = created["token"].as_str().unwrap().parse().unwrap();
    let node = format!("n{number}");
    rig.does(Command::Enrol {
        token: token.id,
        secret: token.secret,
        wg_key: WgKey([number; 32]),
        tls_key: Fingerprint([number; 32]),
        name: Some(node.parse().unwrap()),
        facts: facts(&node, number),
    })
    .await;
    let state = rig.state();
    state.node_by_path(&format!("{site}/{node}")).unwrap().id
}

/// A public balancer on the controller's own machine, which leads to `ss-1` for these sources.
async fn fronted(allowed: &[&str]) -> Rig {
    // The controller tries for a moment whether the port is free, and tests of one process run beside each other.
    static TRYING_5500: Mutex<()> = Mutex::const_new(());
    let _alone = TRYING_5500.lock().await;
    let mut rig = Rig::furnished().await;
    rig.has_hub(HubPorts::default()).await;
    let service = json!({
        "node": "ss-1", "name": "mensagens", "port": 5500, "target": "127.0.0.1:5500", "kind": "tcp",
    });
    rig.post("/services", service).await;
    let balancer = json!({
        "node": "malha/hub/hub", "name": "xroad", "port": 5500, "exposure": "public",
        "backends": ["ss-1/mensagens"], "settings": {"allowed_sources": allowed},
    });
    rig.post("/balancers", balancer).await;
    rig
}

fn server<'s>(subject: &'s Subject, name: &str) -> &'s Server {
    let mut servers = subject.production.servers.iter();
    servers.find(|it| it.node.name == name).unwrap()
}

#[tokio::test]
async fn a_server_must_reach_peers_central_ocsp_and_time_stamps_at_the_profiles_ports() {
    let rig = Rig::bare().await;
    let statement = Statement::parse(STATEMENT).unwrap();
    let ip: IpAddr = "203.0.113.1".parse().unwrap();
    let addresses = hosts(&statement).into_iter().map(|it| (it, vec![ip]));
    let addresses = addresses.collect();
    let targets = Egress::new(&rig.state(), &statement, &addresses).declared();
    let told = targets.iter().map(|it| (it.kind, &it.name[..], it.port));
    assert_eq!(
        told.collect::<Vec<_>>(),
        [
            (TargetKind::Peer, "sefaz.mt.example", 5_500),
            (TargetKind::Peer, "sefaz.mt.example", 5_577),
            (TargetKind::Central, "central.mt.example", 80),
            (TargetKind::Central, "central.mt.example", 443),
            (TargetKind::Central, "central.mt.example", 4_001),
            (TargetKind::Ocsp, "ocsp.mt.example", 8_888),
            (TargetKind::TimeStamp, "tsa.mt.example", 443),
        ]
    );
    assert!(targets.iter().all(|it| it.addresses == [ip]));
}

#[tokio::test]
async fn a_peer_that_is_a_member_is_looked_for_where_its_name_leads_the_server() {
    let rig = Rig::furnished().await;
    let peer = joins(&rig, "sedec/producao", "security-server", 50).await;
    let text =
        "version = 1\n[production]\nsite = \"producao\"\nnames = [\"xvia.sedec.mt.example\"]\n";
    let at = "/organizations/sedec/declaration";
    rig.call(axum::http::Method::PUT, at, Some(json!({ "text": text })))
        .await
        .ok();
    let peers = "peers = [\"xvia.sedec.mt.example\", \"xvia.fora.example\"]\n\
                 central = [\"n50.producao.sedec.malha.internal\"]\n";
    let reached = |kind, name: &str| {
        let subject = subject_of(&rig, peers);
        let egress = server(&subject, "ss-1.producao.sefaz").egress.clone();
        let mut targets = egress.into_iter();
        let found = targets.find(|it: &Target| (it.kind, &it.name[..]) == (kind, name));
        found.unwrap().addresses
    };
    let public: IpAddr = "198.51.100.9".parse().unwrap();
    // Nothing of it is open: its public address is all that the server has.
    assert_eq!(reached(TargetKind::Peer, "xvia.sedec.mt.example"), [public]);
    let grant = json!({"from": "organization:sefaz", "to": "organization:sedec", "protocol": "tcp", "from_port": 5500});
    rig.post("/grants", grant).await;
    let inside = overlay_addresses(rig.state().node(peer).unwrap());
    assert_eq!(reached(TargetKind::Peer, "xvia.sedec.mt.example"), inside);
    let central = "n50.producao.sedec.malha.internal";
    assert_eq!(reached(TargetKind::Central, central), inside);
    assert_eq!(reached(TargetKind::Peer, "xvia.fora.example"), [public]);
    // The name is its production's: servers of development have no business there.
    let (state, addresses) = (rig.state(), Addresses::new());
    let said = format!("version = 1\n{peers}[development]\nsite = \"producao\"\n");
    let statement = Statement::parse(&said).unwrap();
    let egress = Egress::new(&state, &statement, &addresses);
    let node = state.node_by_path("sefaz/producao/ss-1").unwrap();
    let targets = egress.of(node, Environment::Development);
    let peers = targets.iter().filter(|it| it.kind == TargetKind::Peer);
    let names: BTreeSet<&str> = peers.map(|it| &it.name[..]).collect();
    assert_eq!(names, ["xvia.fora.example"].into());
    assert!(targets.iter().any(|it| it.kind == TargetKind::Central));
}

#[tokio::test]
async fn a_balancer_elsewhere_that_leads_to_a_stages_server_is_where_the_public_comes_in() {
    let rig = fronted(&[]).await;
    let subject = subject_of(&rig, "");
    let front = server(&subject, "hub.hub.malha");
    assert!(front.overlay_addresses.is_empty() && front.egress.is_empty());
    let [port] = &front.ports[..] else {
        panic!("{front:?}");
    };
    assert_eq!((port.number, port.exposure), (5500, Exposure::Public));
    assert_eq!(port.probe, PortProbe::TlsClientCertificate);
    let balancers = subject.production.balancers.iter().map(|it| &it.name[..]);
    assert_eq!(balancers.collect::<Vec<_>>(), ["malha/hub/hub/xroad"]);

    let checks = plan(&subject);
    let expected = |id: String| {
        let found = checks.iter().find(|it| it.id == id);
        &found.unwrap_or_else(|| panic!("no {id}")).expect
    };
    let is_open = |port| {
        let expect = expected(format!("production/port/{port}/outside/{PUBLIC}"));
        matches!(expect, malha_check::Expect::Open { .. })
    };
    assert!(is_open(5500) && !is_open(5577) && !is_open(4000));
    expected(format!(
        "production/public/5500/{PUBLIC}/client-certificate"
    ));
}

#[tokio::test]
async fn a_balancers_list_is_looked_at_by_a_stranger_or_by_who_is_listed() {
    for (allowed, is_listed) in [("203.0.113.8/29", true), ("198.51.100.0/24", false)] {
        let rig = fronted(&[allowed]).await;
        let node = joins(&rig, "outra/loja", "garage", 70).await;
        let tags = [crate::checks::OUTSIDE_TAG.parse().unwrap()].into();
        rig.does(Command::SetNodeTags { id: node, tags }).await;
        // From 203.0.113.9.
        let _session = rig.connect(node);
        let subject = subject_of(&rig, "");
        let [port] = &server(&subject, "hub.hub.malha").ports[..] else {
            panic!("{subject:?}");
        };
        let list = port.allow_list.as_ref().unwrap();
        assert_eq!(list.balancer, "malha/hub/hub/xroad");
        let checks = plan(&subject);
        let is_manned = |who: &str| {
            let id = format!("production/port/5500/{who}/{PUBLIC}");
            let check = checks.iter().find(|it| it.id == id).unwrap();
            check.vantage.is_manned()
        };
        assert_eq!(is_manned("outside"), is_listed, "{allowed}");
        assert_eq!(is_manned("unlisted"), !is_listed, "{allowed}");
    }
}

#[tokio::test]
async fn a_balancer_that_admits_others_only_is_not_asked_for_tls_by_the_controller() {
    for (allowed, is_shut) in [
        (&["198.51.100.0/24"][..], true),
        (&["198.51.100.0/24", "192.0.2.0/24"], false),
    ] {
        let rig = fronted(allowed).await;
        let subject = subject_of(&rig, "");
        let checks = plan(&subject);
        let address = format!("{PUBLIC}:5500").parse().unwrap();
        let mut own = checks
            .iter()
            .filter(|it| it.probe == Probe::Tls { address });
        assert!(own.clone().count() > 0);
        let by_controller = own.all(|it| it.vantage == Vantage::Controller);
        assert_eq!(by_controller, !is_shut, "{allowed:?}");
    }
}

#[tokio::test]
async fn a_central_servers_ports_are_looked_at_and_a_garages_are_not() {
    let rig = Rig::furnished().await;
    joins(&rig, "sefaz/producao", "central", 60).await;
    joins(&rig, "sefaz/producao", "garage", 61).await;
    let subject = subject_of(&rig, "");
    let central = server(&subject, "n60.producao.sefaz");
    let exposed = |number| central.ports.iter().find(|it| it.number == number);
    let exposed = |number| exposed(number).map(|it| it.exposure);
    assert_eq!(exposed(4001), Some(Exposure::Tunnel));
    assert_eq!(exposed(4000), Some(Exposure::Tunnel));
    assert_eq!(exposed(443), Some(Exposure::Public));
    assert_eq!(exposed(5432), Some(Exposure::Loopback));
    let servers = subject
        .production
        .servers
        .iter()
        .map(|it| &it.node.name[..]);
    let servers: BTreeSet<&str> = servers.collect();
    let wanted = ["ss-1.producao.sefaz", "n60.producao.sefaz"];
    assert_eq!(servers, wanted.into());
}

#[test]
fn a_name_server_without_an_address_is_not_forgotten() {
    let statement = Statement::parse(STATEMENT).unwrap();
    let ip: IpAddr = "203.0.113.1".parse().unwrap();
    let first = statement.name_servers[0].host.clone();
    let addresses = Addresses::from([(first, vec![ip])]);
    assert_eq!(name_servers(&statement, &addresses).len(), 1);
    assert_eq!(unresolved(&statement, &addresses), ["ns2.mt.example:5353"]);
}
