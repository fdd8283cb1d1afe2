//! The shipped profiles, port by port, against X-Road's own matrix: who opens what, in which direction, where it may answer, and how
//! it is looked at. A port more or less in a profile fails here too.

use super::*;

/// Port, who is on the other side, where it may answer, how it is looked at.
type Row = (u16, &'static [Party], PortExposure, PortProbe);

const EVERYBODY: [Party; 1] = [Party::Anyone];
const PEERS: [Party; 1] = [Party::Peers];
const IN_FRONT: [Party; 2] = [Party::Peers, Party::Balancer];
const CENTRAL: [Party; 1] = [Party::Central];
const CONFIGURATION: [Party; 2] = [Party::Central, Party::TrustServices];
const TRUST: [Party; 1] = [Party::TrustServices];
const SYSTEMS: [Party; 1] = [Party::InformationSystems];
const SYSTEMS_AND_BALANCER: [Party; 2] = [Party::InformationSystems, Party::Balancer];
const OPERATORS: [Party; 1] = [Party::Operators];
const BALANCER: [Party; 1] = [Party::Balancer];
const CLUSTER: [Party; 1] = [Party::Cluster];
const OPERATORS_AND_CLUSTER: [Party; 2] = [Party::Operators, Party::Cluster];
const NOBODY: [Party; 1] = [Party::Nobody];

/// The TCP ports of a profile that has these and no others.
fn has(profile: Profile, release: Option<&str>, direction: Direction, rows: &[Row]) {
    let spec = ProfileSpec::shipped(profile);
    let release = release.map(|it| it.parse().unwrap());
    let shipped = spec
        .ports_at(release)
        .filter(|it| (it.direction, it.protocol) == (direction, Protocol::Tcp));
    let shipped: BTreeMap<u16, _> = shipped
        .flat_map(|it| it.ports.iter().map(move |port| (port.number(), it)))
        .map(|(port, it)| (port, (it.who.clone(), it.exposure, it.probe)))
        .collect();
    let wanted: BTreeMap<u16, _> = rows
        .iter()
        .map(|(port, who, exposure, probe)| {
            (*port, (who.iter().copied().collect(), *exposure, *probe))
        })
        .collect();
    assert_eq!(shipped, wanted, "{profile:?} {direction:?} {release:?}");
}

#[test]
fn a_security_server_opens_what_x_road_says() {
    use PortExposure::{Loopback, Never, Public, Tunnel};
    use PortProbe::{Health, Http, Https, Tcp, TlsClientCertificate};
    let inner = [2552, 5432, 5559, 5560, 5566, 5567, 5675];
    let inner = inner.map(|port| (port, &NOBODY[..], Loopback, Tcp));
    let always: [Row; 8] = [
        (5500, &IN_FRONT, Tunnel, TlsClientCertificate),
        (5577, &IN_FRONT, Tunnel, Http),
        (4000, &OPERATORS, Tunnel, Https),
        (2080, &OPERATORS, Tunnel, Tcp),
        (9011, &NOBODY, Never, Tcp),
        (5588, &BALANCER, Tunnel, Health),
        (5433, &CLUSTER, Tunnel, Tcp),
        (22, &OPERATORS_AND_CLUSTER, Tunnel, Tcp),
    ];
    let systems = |ports: [u16; 2]| ports.map(|it| (it, &SYSTEMS_AND_BALANCER[..], Tunnel, Tcp));
    let all = |ports| [&always[..], &inner, &systems(ports)].concat();
    let server = Profile::SecurityServer;
    has(server, None, Direction::In, &all([8080, 8443]));
    has(server, Some("7.4"), Direction::In, &all([8080, 8443]));
    has(server, Some("7.3"), Direction::In, &all([80, 443]));
    let out: [Row; 7] = [
        (5500, &PEERS, Tunnel, TlsClientCertificate),
        (5577, &PEERS, Tunnel, Http),
        (4001, &CENTRAL, Tunnel, Tcp),
        (80, &CONFIGURATION, Public, Tcp),
        (443, &CONFIGURATION, Public, Tcp),
        (8888, &TRUST, Public, Tcp),
        (8899, &TRUST, Public, Tcp),
    ];
    has(server, None, Direction::Out, &out);
    has(server, Some("7.3"), Direction::Out, &out);
}

#[test]
fn a_central_server_is_asked_at_4001_80_and_443() {
    use PortExposure::{Loopback, Public, Tunnel};
    use PortProbe::{Https, Tcp};
    let central = Profile::Central;
    let inward: [Row; 6] = [
        (4001, &PEERS, Tunnel, Tcp),
        (80, &PEERS, Public, Tcp),
        (443, &PEERS, Public, Tcp),
        (4000, &OPERATORS, Tunnel, Https),
        (5432, &NOBODY, Loopback, Tcp),
        (22, &OPERATORS, Tunnel, Tcp),
    ];
    has(central, None, Direction::In, &inward);
    let out: [Row; 2] = [(80, &TRUST, Public, Tcp), (443, &TRUST, Public, Tcp)];
    has(central, None, Direction::Out, &out);
}

#[test]
fn a_balancer_takes_what_it_hands_on_and_asks_the_health_port() {
    use PortExposure::Tunnel;
    use PortProbe::{Http, Tcp, TlsClientCertificate};
    for (release, systems) in [(None, [8080, 8443]), (Some("7.3"), [80, 443])] {
        let always: [Row; 3] = [
            (5500, &PEERS, Tunnel, TlsClientCertificate),
            (5577, &PEERS, Tunnel, Http),
            (22, &OPERATORS, Tunnel, Tcp),
        ];
        let inward = systems.map(|port| (port, &SYSTEMS[..], Tunnel, Tcp));
        let inward = [&always[..], &inward].concat();
        has(Profile::Balancer, release, Direction::In, &inward);
        let [plain, tls] = systems;
        let out = [5500, 5577, 5588, plain, tls].map(|port| (port, &CLUSTER[..], Tunnel, Tcp));
        has(Profile::Balancer, release, Direction::Out, &out);
    }
}

#[test]
fn a_garage_opens_nothing_and_an_edge_what_the_public_asks() {
    use PortExposure::{Public, Tunnel};
    use PortProbe::{None as Unprobed, Tcp};
    let ssh: Row = (22, &OPERATORS, Tunnel, Tcp);
    has(Profile::Garage, None, Direction::In, &[ssh]);
    let control: Row = (443, &EVERYBODY, Public, Unprobed);
    has(Profile::Garage, None, Direction::Out, &[control]);
    let inward: [Row; 6] = [
        (80, &EVERYBODY, Public, Tcp),
        (443, &EVERYBODY, Public, Tcp),
        (53, &EVERYBODY, Public, Tcp),
        (5500, &PEERS, Public, Tcp),
        (5577, &PEERS, Public, Tcp),
        ssh,
    ];
    has(Profile::Edge, None, Direction::In, &inward);
    has(Profile::Edge, None, Direction::Out, &[]);
    let datagrams = |profile, direction| -> BTreeSet<u16> {
        let spec = ProfileSpec::shipped(profile);
        let udp = spec.ports.iter().filter(|it| {
            (it.protocol, it.direction, it.exposure) == (Protocol::Udp, direction, Public)
        });
        udp.flat_map(|it| it.ports.iter().map(|port| port.number()))
            .collect()
    };
    let inward = datagrams(Profile::Edge, Direction::In);
    assert_eq!(inward, [53, 443, 51_820].into());
    let out = datagrams(Profile::Garage, Direction::Out);
    assert_eq!(out, [443, 51_820].into());
}

#[test]
fn what_must_never_be_public_is_closed_by_the_guard_or_left_to_it_by_name() {
    let closed = |profile| numbers(&ProfileSpec::shipped(profile).closed_at(None));
    assert!(closed(Profile::SecurityServer).is_superset(&[4000, 2080, 9011, 5588].into()));
    assert!(closed(Profile::Central).is_superset(&[4000, 4001, 5432].into()));
    let balancer = closed(Profile::Balancer);
    assert_eq!(balancer, [5500, 5577, 8080, 8443].into());
    assert!(closed(Profile::Garage).is_empty() && closed(Profile::Edge).is_empty());
}
