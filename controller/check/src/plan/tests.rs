//! Plans: what stands in them for which declaration, and that each is a function of its subject.

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};

use malha_proto::NodeId;
use proptest::prelude::*;

use super::{MAX_CHECKS, plan, probes};
use crate::sample;
use crate::{
    AllowList, DeclaredPort, Direction, Expect, Exposure, Outside, Port, PortProbe, Probe,
    Protocol, Subject, Vantage,
};

fn ids(subject: &Subject) -> Vec<String> {
    plan(subject).into_iter().map(|check| check.id).collect()
}

#[test]
fn a_whole_declaration_is_planned_from_every_vantage_point() {
    let ids = ids(&sample::subject());
    for id in [
        "production/dns/xvia.sedec.mt.gov.br/exists",
        "production/dns/xvia.sedec.mt.gov.br/declared-addresses",
        "production/dns/xvia.sedec.mt.gov.br/public-space",
        "production/dns/xvia.sedec.mt.gov.br/servers-agree",
        "production/dns/xvia.sedec.mt.gov.br/servers-declared",
        "production/dns/xvia.sedec.mt.gov.br/not-on-other-stage",
        "production/dns/xvia.sedec.mt.gov.br/internal-view",
        "development/dns/xvia-dev.sedec.mt.gov.br/differs-from/xvia.sedec.mt.gov.br",
        "production/port/5500/granted/servidor-1/10.90.0.11",
        "production/port/5500/ungranted/servidor-1/10.90.0.11",
        "production/port/5500/outside/201.49.10.7",
        "production/port/9011/ungranted/servidor-1/10.90.0.11",
        "production/service/5500/servidor-1/client-certificate",
        "production/service/5577/servidor-1/ocsp-responses",
        "production/service/4000/servidor-1/usage",
        "production/service/4000/servidor-1/lasting",
        "production/public/5500/201.49.10.7/client-certificate",
        "production/public/5500/201.49.10.7/lasting",
        "production/service/5588/servidor-1/health",
        "production/url/not-crossed/https://xvia.sedec.mt.gov.br/",
        "production/egress/servidor-1/central/central.mt.gov.br:4001/201.49.99.1",
        "production/ocsp/servidor-1/good/http://ocsp.mt.gov.br:8888/",
        "production/balancer/entrada/all-up",
        "time-stamp/signed/http://tsa.mt.gov.br:8899/",
        "declared/ports",
    ] {
        assert!(ids.iter().any(|it| it == id), "{id} in {ids:#?}");
    }
    assert!(
        !ids.iter()
            .any(|id| id.starts_with("declared/") && id != "declared/ports")
    );
}

#[test]
fn what_is_not_declared_stands_in_the_plan_as_such() {
    let plan = plan(&Subject::default());
    let declared = plan.iter().filter(|it| it.expect == Expect::Declared);
    assert_eq!(declared.count(), 14);
    assert_eq!(plan.len(), 14);
}

#[test]
fn without_a_vantage_point_the_check_stays_and_nobody_looks() {
    let mut subject = sample::subject();
    subject.outside = None;
    let checks = plan(&subject);
    let outside = checks.iter().filter(|it| it.id.contains("/outside/"));
    let outside: Vec<_> = outside.collect();
    assert!(outside.len() >= 5);
    assert!(outside.iter().all(|it| !it.vantage.is_manned()));
    let looks = probes(&checks);
    assert!(looks.iter().all(|(vantage, _)| vantage.is_manned()));
}

#[test]
fn only_connections_and_names_inside_are_asked_of_nodes() {
    for (vantage, probe) in probes(&plan(&sample::subject())) {
        assert_eq!(
            vantage != Vantage::Controller,
            probe.is_for_nodes(),
            "{vantage} {probe:?}"
        );
    }
}

#[test]
fn a_port_that_only_the_declaration_opens_to_the_outside_must_be_closed_there() {
    let checks = plan(&sample::subject());
    let check = checks
        .iter()
        .find(|it| it.id == "production/port/2080/outside/201.49.10.7");
    let expect = &check.unwrap().expect;
    let control = Some("198.51.100.1:443".parse().unwrap());
    assert_eq!(*expect, Expect::Closed { control });
}

#[test]
fn what_is_listed_inward_is_looked_at_from_outside_and_neither_what_goes_out_nor_a_web_address() {
    let mut subject = sample::subject();
    let line = |number, direction, from_outside| DeclaredPort {
        number,
        direction,
        from_outside,
    };
    subject.declared_ports = vec![
        line(8888, Direction::In, false),
        line(443, Direction::In, false),
        line(8443, Direction::In, false),
        line(8899, Direction::Out, true),
    ];
    let ids = ids(&subject);
    let at = |port, ip| ids.contains(&format!("production/port/{port}/outside/{ip}"));
    let public = "201.49.10.7";
    assert!(at(8888, public) && at(8443, public));
    assert!(!at(443, public) && !at(8899, public));
    subject.production.urls = ["https://[2001:db8::7]:8443/", "https://x.mt.gov.br:444/"]
        .map(str::to_owned)
        .into();
    let ids = self::ids(&subject);
    let at = |port| ids.contains(&format!("production/port/{port}/outside/{public}"));
    assert!(at(443) && !at(8443));
}

#[test]
fn the_control_address_is_of_the_family_of_the_address_and_is_looked_at_itself() {
    let mut subject = sample::subject();
    let v6: IpAddr = "2001:db8::7".parse().unwrap();
    subject.production.public_addresses.push(v6);
    let checks = plan(&subject);
    let of = |id: &str| checks.iter().find(|it| it.id == id).unwrap();
    let check = of("production/port/4000/outside/2001:db8::7");
    assert_eq!(check.expect, Expect::Closed { control: None });
    let control = of("outside/control/198.51.100.1:443");
    assert_eq!(control.expect, Expect::Open { control: None });
}

#[test]
fn what_is_over_the_limits_is_said() {
    let mut subject = sample::subject();
    subject.production.names = (0..50).map(|n| format!("n{n}.mt.gov.br")).collect();
    assert!(ids(&subject).contains(&"declared/within-limits".to_owned()));
    assert!(!ids(&sample::subject()).contains(&"declared/within-limits".to_owned()));
}

#[test]
fn a_server_must_reach_what_is_its_own_to_reach_and_no_other() {
    let mut subject = sample::subject();
    let (ours, theirs) = (sample::ip("100.64.0.7"), sample::ip("201.49.99.1"));
    subject.production.servers[0].egress[0].addresses = vec![ours];
    subject.development.servers[0].egress.clear();
    let ids = ids(&subject);
    let egress = |stage: &str| ids.iter().filter(|id| id.starts_with(stage)).count();
    let at = |ip| format!("production/egress/servidor-1/central/central.mt.gov.br:4001/{ip}");
    assert!(ids.contains(&at(ours)) && !ids.contains(&at(theirs)));
    assert_eq!(egress("development/egress/"), 0);
}

#[test]
fn what_shuts_the_controller_out_is_not_judged_by_its_own_look() {
    let mut subject = sample::subject();
    let looks = |subject: &Subject| {
        let checks = plan(subject);
        let public = checks
            .into_iter()
            .filter(|it| it.id.contains("/public/5500/"));
        public.map(|it| it.vantage.is_manned()).collect::<Vec<_>>()
    };
    assert_eq!(looks(&subject), [true; 8]);
    for (sources, is_looked_at) in [("198.51.100.0/30", true), ("203.0.113.0/24", false)] {
        admits_only(&mut subject, &[sources]);
        assert_eq!(looks(&subject), [is_looked_at; 8]);
    }
}

/// The messages come in through a balancer that admits these only.
fn admits_only(subject: &mut Subject, sources: &[&str]) {
    for stage in [&mut subject.production, &mut subject.development] {
        stage.servers[0].ports[0].allow_list = Some(AllowList {
            balancer: "entrada".to_owned(),
            sources: sources.iter().map(|it| it.parse().unwrap()).collect(),
        });
    }
}

/// Whether somebody looks if who is listed comes in, and if a stranger is turned away.
fn manned(subject: &Subject) -> [bool; 2] {
    let checks = plan(subject);
    ["outside", "unlisted"].map(|who| {
        let id = format!("production/port/5500/{who}/201.49.10.7");
        let check = checks.iter().find(|it| it.id == id).unwrap();
        let address = "201.49.10.7:5500".parse().unwrap();
        assert_eq!(check.probe, Probe::TcpStay { address });
        assert_eq!(
            matches!(check.expect, Expect::TurnedAway { .. }),
            who == "unlisted"
        );
        check.vantage.is_manned()
    })
}

#[test]
fn one_outside_is_either_listed_or_a_stranger_and_the_other_look_is_nobodys() {
    let mut subject = sample::subject();
    assert!(!ids(&subject).iter().any(|id| id.contains("/unlisted/")));
    admits_only(&mut subject, &["203.0.113.0/24", "198.51.100.96/27"]);
    assert_eq!(manned(&subject), [true, false]);
    admits_only(&mut subject, &["203.0.113.0/24", "2001:db8::/32"]);
    assert_eq!(manned(&subject), [false, true]);
}

#[test]
fn who_comes_from_nobody_knows_where_is_neither_listed_nor_a_stranger() {
    let mut subject = sample::subject();
    admits_only(&mut subject, &["198.51.100.96/27"]);
    for sources in [
        &[][..],
        // The other family; an address behind a translation; one that is listed beside one that is not.
        &["2001:db8::9"],
        &["10.0.0.9"],
        &["198.51.100.99", "198.51.100.1"],
    ] {
        let outside = subject.outside.as_mut().unwrap();
        outside.sources = sources.iter().map(|it| sample::ip(it)).collect();
        assert_eq!(manned(&subject), [false, false], "{sources:?}");
    }
}

#[test]
fn where_one_of_two_balancers_admits_everybody_there_are_no_strangers() {
    let mut subject = sample::subject();
    let second = subject.production.servers[0].clone();
    admits_only(&mut subject, &["203.0.113.0/24"]);
    subject.production.servers.push(second);
    let checks = plan(&subject);
    let mut messages = checks.iter().filter(|it| it.id.contains("/port/5500/"));
    let at = "production/port/5500/outside/201.49.10.7";
    let outside = messages.clone().find(|it| it.id == at).unwrap();
    assert!(outside.vantage.is_manned() && matches!(outside.expect, Expect::Open { .. }));
    assert!(!messages.any(|it| it.id.starts_with("production/port/5500/unlisted/")));
}

#[test]
fn udp_ports_are_planned_and_dialled_by_nobody() {
    let mut subject = sample::subject();
    let port = Port {
        number: 51_820,
        protocol: Protocol::Udp,
        exposure: Exposure::Public,
        probe: PortProbe::None,
        granted: None,
        ungranted: None,
        allow_list: None,
    };
    subject.production.servers[0].ports = vec![port];
    let checks = plan(&subject);
    let udp = |probe: &Probe| matches!(probe, Probe::UdpPort { .. });
    assert!(checks.iter().any(|it| udp(&it.probe)));
    assert!(!probes(&checks).iter().any(|(_, probe)| udp(probe)));
}

fn any_subject() -> impl Strategy<Value = Subject> {
    let numbers = prop::collection::vec((any::<u16>(), 0..4_u8, any::<bool>()), 0..40);
    let addresses = prop::collection::vec(any::<[u8; 4]>(), 0..20);
    (numbers, addresses, 0..20_usize, any::<bool>()).prop_map(
        |(numbers, addresses, servers, has_outside)| {
            let mut subject = sample::subject();
            let ports: Vec<Port> = numbers
                .into_iter()
                .map(|(number, exposure, is_udp)| Port {
                    number,
                    protocol: if is_udp { Protocol::Udp } else { Protocol::Tcp },
                    exposure: [
                        Exposure::Tunnel,
                        Exposure::Public,
                        Exposure::Loopback,
                        Exposure::Never,
                    ][usize::from(exposure)],
                    probe: PortProbe::None,
                    granted: None,
                    ungranted: Some(sample::node(9, "alheio")),
                    allow_list: None,
                })
                .collect();
            let server = subject.production.servers[0].clone();
            subject.production.servers = (0..servers)
                .map(|n| {
                    let mut server = server.clone();
                    server.node = sample::node(n as u64, &format!("s{n}"));
                    server.ports.clone_from(&ports);
                    server
                })
                .collect();
            subject.production.public_addresses = addresses.into_iter().map(IpAddr::from).collect();
            subject.outside = has_outside.then(|| Outside {
                node: sample::node(NodeId(99).0, "fora"),
                sources: Vec::new(),
                control: vec![SocketAddr::from(([198, 51, 100, 1], 443))],
            });
            subject
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn a_plan_is_bounded_has_each_id_once_and_is_the_same_again(subject in any_subject()) {
        let checks = plan(&subject);
        prop_assert!(checks.len() <= MAX_CHECKS + 1);
        let ids: BTreeSet<&String> = checks.iter().map(|check| &check.id).collect();
        prop_assert_eq!(ids.len(), checks.len());
        prop_assert_eq!(&checks, &plan(&subject));
        let looks: BTreeSet<_> = probes(&checks).into_iter().collect();
        prop_assert_eq!(looks.len(), probes(&checks).len());
    }

    #[test]
    fn a_port_that_is_not_public_is_never_expected_open_outside(subject in any_subject()) {
        let is_public = |number: u16| {
            let ports = subject.production.servers.iter().flat_map(|it| &it.ports);
            ports.filter(|it| it.number == number).any(|it| it.exposure == Exposure::Public)
        };
        for check in plan(&subject) {
            let Probe::TcpConnect { address } = check.probe else { continue };
            let outside = matches!(check.vantage, Vantage::Outside { .. });
            if outside && check.id.starts_with("production/") && !is_public(address.port()) {
                let is_closed = matches!(check.expect, Expect::Closed { .. });
                prop_assert!(is_closed, "{}", check.id);
            }
        }
    }
}
