//! The shipped profiles say what X-Road needs, wrong texts are refused where they are wrong, and the requirement's list
//! differs from them where it should.

mod matrix;

use std::collections::BTreeMap;

use super::*;

#[test]
fn every_shipped_text_is_its_own_profile() {
    for profile in PROFILES {
        assert_eq!(ProfileSpec::shipped(profile).name, profile);
    }
    assert!(!seed_ports().is_empty());
}

#[test]
fn a_security_server_keeps_its_ports_inside() {
    let spec = ProfileSpec::shipped(Profile::SecurityServer);
    let closed = numbers(&spec.closed_at(None));
    for port in [5500, 5577, 8080, 8443, 4000, 2080, 9011, 5588, 5432, 5433] {
        assert!(closed.contains(&port), "{port}");
    }
    for port in [22, 80, 443, 4001] {
        assert!(!closed.contains(&port), "{port}");
    }
}

#[test]
fn before_x_road_7_4_information_systems_come_on_80_and_443() {
    let spec = ProfileSpec::shipped(Profile::SecurityServer);
    let closed = |release: &str| numbers(&spec.closed_at(Some(release.parse().unwrap())));
    assert!(closed("7.3").is_superset(&[80, 443].into()));
    assert!(closed("7.3").is_disjoint(&[8080, 8443].into()));
    assert_eq!(closed("7.4"), numbers(&spec.closed_at(None)));
}

#[test]
fn what_the_guard_leaves_open_stays_open() {
    let mut spec = (*ProfileSpec::shipped(Profile::SecurityServer)).clone();
    for entry in &mut spec.ports {
        entry.guard = entry.name.as_str() != "consumers";
    }
    let closed = numbers(&spec.closed_at(None));
    assert!(closed.contains(&22) && !closed.contains(&8080));
}

#[test]
fn a_wrong_text_is_refused_with_its_line_and_field() {
    let text = shipped_text(Profile::Edge);
    let refused = |from: &str, to: &str, said: &str| {
        let line = 1 + text[..text.find(from).unwrap()].matches('\n').count();
        let error = ProfileSpec::parse(&text.replacen(from, to, 1)).unwrap_err();
        assert_eq!(error.line, line, "{error}");
        assert!(error.to_string().contains(said), "{error}");
    };
    refused("version = 1", "version = 2", "version");
    refused("\"edge\"", "\"borda\"", "profile: \"borda\"");
    refused("\"web\"", "\"we b\"", "port: name");
    refused("\"tcp\"", "\"sctp\"", "port web: protocol");
    refused("\"tcp\"", "\"icmp\"", "icmp has no ports");
    refused("[\"80\", \"443\"]", "[\"80\", \"0\"]", "port web: ports");
    refused("[\"80\", \"443\"]", "[\"80-70\"]", "write \"70-80\"");
    refused("[\"80\", \"443\"]", "[\"1-65535\"]", "more than");
    refused("[\"80\", \"443\"]", "[\"80\", \"80\"]", "twice");
    refused("[\"80\", \"443\"]", "[]", "empty");
    refused("\"in\"", "\"both\"", "port web: direction");
    refused("[\"anyone\"]", "[\"all\"]", "port web: who");
    refused("[\"anyone\"]", "[\"nobody\"]", "\"nobody\" goes with");
    refused("\"public\"", "\"open\"", "port web: exposure");
    refused("probe = \"tcp\"", "probe = \"ping\"", "port web: probe");
    refused("probe = \"none\"", "probe = \"tcp\"", "udp is not probed");
    refused("name = \"tunnel\"", "name = \"web\"", "a name of its own");
    refused("[\"5500\", \"5577\"]", "[\"443\"]", "port web has 443");
    refused("guard = false", "since = \"7\"", "port ssh: since");
    refused("guard = false", "gard = false", "gard");
}

#[test]
fn the_requirement_asks_for_what_must_stay_inside() {
    let spec = ProfileSpec::shipped(Profile::SecurityServer);
    let differences = port_differences(&spec, None, seed_ports());
    let ports = |kind, direction| -> BTreeSet<u16> {
        differences
            .iter()
            .filter(|it| (it.kind, it.direction) == (kind, direction))
            .map(|it| it.port.number())
            .collect()
    };
    use DifferenceKind::{NotDeclared, NotInProfile, TooOpen};
    assert_eq!(
        ports(TooOpen, Direction::In),
        [2080, 4000, 5500, 5577, 9011].into()
    );
    assert_eq!(
        ports(NotInProfile, Direction::In),
        [80, 443, 4001, 8888, 8899].into()
    );
    assert_eq!(ports(NotInProfile, Direction::Out), [22, 2080].into());
    assert_eq!(
        ports(NotDeclared, Direction::In),
        [5433, 5588, 8080, 8443].into()
    );
    assert!(ports(NotDeclared, Direction::Out).is_empty());
}

#[test]
fn a_declaration_of_before_7_4_agrees_on_80_and_443() {
    let spec = ProfileSpec::shipped(Profile::SecurityServer);
    let before = "7.3".parse().ok();
    let differences = port_differences(&spec, before, seed_ports());
    let differs = |port| {
        differences
            .iter()
            .any(|it| it.direction == Direction::In && it.port.number() == port)
    };
    assert!(!differs(80) && !differs(443) && !differs(8080));
}

#[test]
fn a_declaration_says_the_ports_of_the_requirement_once_more() {
    let spec = ProfileSpec::shipped(Profile::SecurityServer);
    let again = port_entries(&declared_ports(seed_ports()));
    let found = |declared: &[DeclaredPort]| -> Vec<_> {
        let differences = port_differences(&spec, None, declared).into_iter();
        differences
            .map(|it| (it.kind, it.port, it.direction, it.declared))
            .collect()
    };
    assert_eq!(found(&again), found(seed_ports()));
}

fn numbers(closed: &BTreeSet<ClosedPort>) -> BTreeSet<u16> {
    closed.iter().map(|it| it.port.number()).collect()
}
