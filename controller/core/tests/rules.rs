//! The rules of routes, zones, policy and repetition, as an operator meets them.

mod world;

use std::collections::BTreeSet;

use malha_core::limits::{MAX_SERVICES_PER_NODE, MAX_SWEPT, REQUEST_MEMORY_MS, TOKEN_MEMORY_MS};
use malha_core::{
    Answer, Command, RecordSource, Rejection, Role, Selector, State, Topic, affected,
};
use malha_proto::{
    Allow, Exposure, Fingerprint, HostName, NodeId, Port, Profile, Protocol, RouteId, ServiceId,
    ServiceKind, SiteId,
};
use malha_zone::{RecordName, RecordSet, RecordType, ZoneName};
use world::{World, host, label};

const TCP_5500: Allow = Allow {
    protocol: Protocol::Tcp,
    from_port: 5_500,
    to_port: 5_500,
};

/// An overlay with one public service on the last garage, a zone `example.org` and no route yet.
struct Stage {
    world: World,
    service: ServiceId,
    zone: ZoneName,
}

impl Stage {
    fn new() -> Self {
        let mut world = World::furnished();
        let route = world.state.routes().next().unwrap().clone();
        world.run(Command::RemoveRoute { id: route.id }).unwrap();
        Self {
            world,
            service: *route.services.first().unwrap(),
            zone: "example.org".parse().unwrap(),
        }
    }

    fn add_route(&mut self, host_name: &str, path: &str) -> Result<RouteId, Rejection> {
        let services = BTreeSet::from([self.service]);
        let command = Command::AddRoute {
            host: host(host_name),
            path: path.to_owned(),
            services,
        };
        self.world.run(command).map(|outcome| match outcome.answer {
            Answer::Route(id) => id,
            other => panic!("{other:?}"),
        })
    }

    fn records(&self, zone: &str, name: &str) -> Vec<String> {
        let zone = self.world.state.zone(&zone.parse().unwrap());
        let name: RecordName = name.parse().unwrap();
        let sets = zone.into_iter().flat_map(|zone| {
            [RecordType::A, RecordType::Aaaa, RecordType::Cname]
                .into_iter()
                .filter_map(|rtype| zone.set(&name, rtype))
        });
        sets.flat_map(|set| {
            set.data()
                .iter()
                .map(ToString::to_string)
                .collect::<Vec<_>>()
        })
        .collect()
    }

    fn put(&mut self, name: &str, rtype: RecordType, data: &str) -> Result<(), Rejection> {
        let set = RecordSet::from_text(
            name.parse().unwrap(),
            rtype,
            300,
            [data],
            RecordSource::Operator,
        )
        .unwrap();
        self.world
            .run(Command::PutRecordSet {
                zone: self.zone.clone(),
                set,
            })
            .map(drop)
    }

    fn serial(&self) -> u32 {
        self.world.state.zone(&self.zone).unwrap().serial().value()
    }
}

fn problem(result: Result<impl std::fmt::Debug, Rejection>) -> String {
    result.unwrap_err().to_string()
}

fn nodes_of(state: &State, profile: Profile) -> Vec<NodeId> {
    state
        .nodes()
        .filter(|node| node.profile == profile && !node.hub)
        .map(|node| node.id)
        .collect()
}

#[test]
fn records_come_with_the_first_route_of_a_host_and_go_with_the_last() {
    let mut stage = Stage::new();
    let first = stage.add_route("garagem.example.org", "/").unwrap();
    let second = stage.add_route("garagem.example.org", "/painel").unwrap();
    assert_eq!(
        stage.records("example.org", "garagem"),
        ["192.0.2.1", "2001:db8::1"]
    );
    stage.world.run(Command::RemoveRoute { id: first }).unwrap();
    assert_eq!(stage.records("example.org", "garagem").len(), 2);
    stage
        .world
        .run(Command::RemoveRoute { id: second })
        .unwrap();
    assert!(stage.records("example.org", "garagem").is_empty());
}

#[test]
fn new_edge_addresses_reach_every_route_and_the_name_servers() {
    let mut stage = Stage::new();
    stage.add_route("garagem.example.org", "/").unwrap();
    let serial = stage.serial();
    stage
        .world
        .run(Command::SetEdgeAddresses {
            addresses: vec!["203.0.113.5".parse().unwrap()],
        })
        .unwrap();
    assert_eq!(stage.records("example.org", "garagem"), ["203.0.113.5"]);
    assert_eq!(stage.records("example.org", "ns0"), ["203.0.113.5"]);
    assert!(stage.serial() > serial);
}

#[test]
fn an_operators_record_that_leads_elsewhere_is_a_conflict_with_a_name() {
    let mut stage = Stage::new();
    stage.put("garagem", RecordType::A, "203.0.113.9").unwrap();
    let text = problem(stage.add_route("garagem.example.org", "/"));
    assert!(
        text.contains("example.org") && text.contains(" A record") && text.contains("garagem"),
        "{text}"
    );
    stage
        .put("alias", RecordType::Cname, "elsewhere.example.net.")
        .unwrap();
    assert!(problem(stage.add_route("alias.example.org", "/")).contains("CNAME"));
}

#[test]
fn a_routes_record_is_changed_only_through_the_route() {
    let mut stage = Stage::new();
    stage.add_route("garagem.example.org", "/").unwrap();
    assert!(problem(stage.put("garagem", RecordType::A, "203.0.113.9")).contains("route"));
}

#[test]
fn a_source_that_the_caller_claims_does_not_count() {
    let mut stage = Stage::new();
    let set = RecordSet::from_text(
        "x".parse().unwrap(),
        RecordType::A,
        60,
        ["192.0.2.9"],
        RecordSource::Route,
    )
    .unwrap();
    stage
        .world
        .run(Command::PutRecordSet {
            zone: stage.zone.clone(),
            set,
        })
        .unwrap();
    let zone = stage.world.state.zone(&stage.zone).unwrap();
    assert_eq!(
        zone.set(&"x".parse().unwrap(), RecordType::A)
            .unwrap()
            .source(),
        RecordSource::Operator
    );
}

#[test]
fn a_new_zone_takes_the_records_of_routes_that_were_there_before_it() {
    let mut stage = Stage::new();
    stage.add_route("a.dev.example.org", "/").unwrap();
    stage.add_route("www.example.net", "/").unwrap();
    let add = |origin: &str| Command::AddZone {
        origin: origin.parse().unwrap(),
        name_servers: vec![host(&format!("ns1.{origin}"))],
        contact: host("hostmaster.example.org"),
    };
    stage.world.run(add("example.net")).unwrap();
    assert_eq!(stage.records("example.net", "www").len(), 2);
    stage.world.run(add("dev.example.org")).unwrap();
    assert_eq!(stage.records("dev.example.org", "a").len(), 2);
    assert!(
        stage.records("example.org", "a.dev").is_empty(),
        "the longer zone has it now"
    );
    stage
        .world
        .run(Command::RemoveZone {
            origin: "dev.example.org".parse().unwrap(),
        })
        .unwrap();
    assert_eq!(
        stage.records("example.org", "a.dev").len(),
        2,
        "the zone above has it again"
    );
}

#[test]
fn a_zone_made_again_goes_on_above_its_former_serial() {
    let mut stage = Stage::new();
    stage.add_route("garagem.example.org", "/").unwrap();
    let former = stage.serial();
    stage.world.now_ms += 60_000;
    stage
        .world
        .run(Command::RemoveZone {
            origin: stage.zone.clone(),
        })
        .unwrap();
    let (origin, name_servers) = (stage.zone.clone(), vec![host("ns9.example.net")]);
    stage
        .world
        .run(Command::AddZone {
            origin,
            name_servers,
            contact: host("hostmaster.example.org"),
        })
        .unwrap();
    assert!(stage.serial() > former);
}

#[test]
fn a_route_leads_only_to_existing_public_http_services() {
    let mut stage = Stage::new();
    let node = stage.world.state.service(stage.service).unwrap().node;
    let private = stage.world.service(node, "admin", 4_000, Exposure::Tunnel);
    for services in [
        BTreeSet::new(),
        BTreeSet::from([private]),
        BTreeSet::from([ServiceId(999)]),
    ] {
        let command = Command::AddRoute {
            host: host("x.example.org"),
            path: "/".to_owned(),
            services,
        };
        assert!(stage.world.run(command).is_err());
    }
    stage.add_route("x.example.org", "/").unwrap();
    assert!(problem(stage.add_route("x.example.org", "/")).contains("exists already"));
    assert!(
        problem(
            stage
                .world
                .run(Command::RemoveService { id: stage.service })
        )
        .contains("x.example.org/")
    );
}

#[test]
fn removing_a_node_takes_its_services_routes_and_grants_with_it_and_cuts_it_at_every_peer() {
    let mut stage = Stage::new();
    stage.add_route("x.example.org", "/").unwrap();
    let node = stage.world.state.service(stage.service).unwrap().node;
    let (from, to) = (
        Selector::Node(node),
        Selector::Profile(Profile::SecurityServer),
    );
    stage
        .world
        .run(Command::AddGrant {
            from,
            to,
            allow: TCP_5500,
        })
        .unwrap();
    let before = stage.world.state.clone();
    let peers: BTreeSet<NodeId> = before.netmap(node).unwrap().peers.into_keys().collect();
    let outcome = stage.world.run(Command::RemoveNode { id: node }).unwrap();
    let state = &stage.world.state;
    assert_eq!(
        (
            state.services().len(),
            state.routes().len(),
            state.grants().len()
        ),
        (0, 0, 0)
    );
    assert!(stage.records("example.org", "x").is_empty());
    let said = affected(&before, state, &outcome.changes);
    assert!(
        peers
            .iter()
            .all(|peer| !state.netmap(*peer).unwrap().peers.contains_key(&node))
    );
    assert_eq!(said.nodes, peers.into_iter().chain([node]).collect());
    assert_eq!(said.removed, BTreeSet::from([node]));
}

#[test]
fn two_garages_are_peers_only_through_a_grant_and_only_in_its_direction() {
    let mut world = World::furnished();
    let garages = nodes_of(&world.state, Profile::Garage);
    let (a, b) = (garages[0], garages[1]);
    assert!(!world.state.netmap(a).unwrap().peers.contains_key(&b));
    world
        .run(Command::AddGrant {
            from: Selector::Node(a),
            to: Selector::Node(b),
            allow: TCP_5500,
        })
        .unwrap();
    assert_eq!(
        world.state.netmap(b).unwrap().peers[&a].allow,
        [TCP_5500],
        "a may open the port on b"
    );
    assert!(
        world.state.netmap(a).unwrap().peers[&b].allow.is_empty(),
        "b may open nothing on a"
    );
}

#[test]
fn the_hub_may_open_every_service_port_and_an_edge_only_the_public_ones() {
    let mut world = World::furnished();
    let node = nodes_of(&world.state, Profile::Garage)[0];
    world.service(node, "site", 8_000, Exposure::Public);
    world.service(node, "admin", 4_000, Exposure::Tunnel);
    let hub = world.state.nodes().find(|node| node.hub).unwrap().id;
    let edge = nodes_of(&world.state, Profile::Edge)[0];
    let ports = |peer| -> Vec<u16> {
        world.state.netmap(node).unwrap().peers[&peer]
            .allow
            .iter()
            .map(|allow| allow.from_port)
            .collect()
    };
    assert_eq!((ports(hub), ports(edge)), (vec![4_000, 8_000], vec![8_000]));
}

#[test]
fn a_node_without_an_endpoint_keeps_its_path_open_to_those_that_have_one() {
    let world = World::furnished();
    let garage = nodes_of(&world.state, Profile::Garage)[0];
    let hub = world.state.nodes().find(|node| node.hub).unwrap().id;
    assert_eq!(
        world.state.netmap(garage).unwrap().peers[&hub].keepalive_s,
        Some(25)
    );
    assert_eq!(
        world.state.netmap(hub).unwrap().peers[&garage].keepalive_s,
        None
    );
}

#[test]
fn a_repeated_creation_finds_the_first_one_and_another_request_with_its_key_is_refused() {
    let mut world = World::furnished();
    let key = Some(Fingerprint([1; 32]));
    let create = |name: &str| Command::CreateOrganization {
        name: label(name),
        display_name: String::new(),
    };
    let Answer::Organization(id) = world.run_as(create("nova"), key).unwrap().answer else {
        panic!("none made")
    };
    let again = world.run_as(create("nova"), key).unwrap();
    assert_eq!(
        again.answer,
        Answer::AlreadyCreated {
            created: id.to_string()
        }
    );
    assert!(again.changes.is_empty());
    assert_eq!(
        world.run_as(create("outra"), key).unwrap_err(),
        Rejection::OtherRequest
    );
    world.now_ms += REQUEST_MEMORY_MS;
    assert!(
        world.run_as(create("outra"), key).is_ok(),
        "after a day the key is free"
    );
}

#[test]
fn an_operator_added_twice_with_one_key_is_one_although_the_password_is_salted_anew() {
    let mut world = World::furnished();
    let add = |salt: &str| Command::AddOperator {
        name: label("ana"),
        password_hash: format!("$argon2id$v=19$m=1,t=1,p=1${salt}$aGFzaA"),
        role: Role::Owner,
    };
    let key = Some(Fingerprint([2; 32]));
    world.run_as(add("c2FsdA"), key).unwrap();
    assert!(matches!(
        world.run_as(add("b3V0cm8"), key).unwrap().answer,
        Answer::AlreadyCreated { .. }
    ));
}

#[test]
fn the_last_owner_stays() {
    let mut world = World::furnished();
    let mut add = |name: &str, role| {
        let password_hash = "$argon2id$v=19$m=1,t=1,p=1$c2FsdA$aGFzaA".to_owned();
        match world
            .run(Command::AddOperator {
                name: label(name),
                password_hash,
                role,
            })
            .unwrap()
            .answer
        {
            Answer::Operator(id) => id,
            other => panic!("{other:?}"),
        }
    };
    let (ana, _bia) = (add("ana", Role::Owner), add("bia", Role::Operator));
    assert!(matches!(
        world.run(Command::RemoveOperator { id: ana }),
        Err(Rejection::InUse { .. })
    ));
}

#[test]
fn sweeping_forgets_what_is_past_a_bounded_part_at_a_time() {
    let mut world = World::furnished();
    let site = world.state.sites().next().unwrap().id;
    for _ in 0..MAX_SWEPT {
        world.token(site, Profile::Garage, 1);
    }
    let all = world.state.tokens().len();
    world.now_ms += 3_600_000 + TOKEN_MEMORY_MS;
    assert_eq!(world.run(Command::Sweep).unwrap().changes.len(), MAX_SWEPT);
    assert_eq!(
        world.run(Command::Sweep).unwrap().changes.len(),
        all - MAX_SWEPT
    );
    assert!(world.run(Command::Sweep).unwrap().changes.is_empty());
}

#[test]
fn limits_are_refused_with_their_number() {
    let mut world = World::furnished();
    let node = nodes_of(&world.state, Profile::Garage)[0];
    for n in 0..MAX_SERVICES_PER_NODE {
        world.service(node, &format!("s{n}"), 1_000 + n as u16, Exposure::Tunnel);
    }
    let one_more = Command::AddService {
        node,
        name: label("more"),
        port: Port::new(9).unwrap(),
        target: "127.0.0.1:1".parse().unwrap(),
        kind: ServiceKind::Tcp,
        exposure: Exposure::Tunnel,
    };
    assert_eq!(
        problem(world.run(one_more)),
        "at most 64 services on one node are allowed"
    );
}

#[test]
fn a_change_names_the_topics_it_touches_and_an_enrolment_counter_is_none() {
    let mut world = World::furnished();
    let before = world.state.clone();
    let site: SiteId = world.state.sites().next().unwrap().id;
    let outcome = world
        .run(Command::CreateToken {
            site,
            profile: Profile::Garage,
            uses: 1,
            ttl_s: 600,
        })
        .unwrap();
    let said = affected(&before, &world.state, &outcome.changes);
    assert_eq!(said.topics, BTreeSet::from([Topic::Tokens]));
    assert!(said.is_any() && said.nodes.is_empty());
}

#[test]
fn every_node_has_a_full_name() {
    let world = World::furnished();
    let names: BTreeSet<HostName> = world
        .state
        .nodes()
        .map(|node| world.state.node_name(node.id).unwrap())
        .collect();
    assert_eq!(names.len(), world.state.nodes().len());
    let path = world
        .state
        .node_by_path("acme/centro/hub")
        .map(|node| node.id);
    assert_eq!(
        path.and_then(|id| world.state.node_name(id)),
        Some(host("hub.centro.acme"))
    );
}
