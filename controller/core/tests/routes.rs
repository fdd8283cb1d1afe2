//! Routes, zones and the records between them, as an operator meets them.
#![allow(clippy::unwrap_used, reason = "a step that fails is a test that fails")]

mod world;

use std::collections::BTreeSet;

use malha_core::{Answer, Command, RecordSource, Rejection, Selector, User, affected};
use malha_proto::{Allow, Exposure, NodeId, Profile, Protocol, RouteId, ServiceId};
use malha_zone::{RecordName, RecordSet, RecordType, ZoneName};
use world::{World, host};

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
fn an_operators_record_that_says_the_same_is_no_conflict_and_the_routes_takes_over_when_it_goes() {
    let mut stage = Stage::new();
    stage.put("garagem", RecordType::A, "192.0.2.1").unwrap();
    stage.add_route("garagem.example.org", "/").unwrap();
    let (zone, name) = (stage.zone.clone(), "garagem".parse().unwrap());
    stage
        .world
        .run(Command::DeleteRecordSet {
            zone,
            name,
            rtype: RecordType::A,
        })
        .unwrap();
    assert_eq!(
        stage.records("example.org", "garagem"),
        ["192.0.2.1", "2001:db8::1"]
    );
    let zone = stage.world.state.zone(&stage.zone).unwrap();
    let set = zone
        .set(&"garagem".parse().unwrap(), RecordType::A)
        .unwrap();
    assert_eq!(set.source(), RecordSource::Route);
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
    let remove = Command::RemoveZone {
        origin: stage.zone.clone(),
    };
    let refused = stage.world.run(remove.clone()).unwrap_err();
    assert_eq!(
        refused.to_string(),
        "zone example.org is still in use: route garagem.example.org"
    );
    let route = stage.world.state.routes().next().unwrap().id;
    (stage.world.run(Command::RemoveRoute { id: route })).unwrap();
    stage.world.run(remove).unwrap();
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
    let refused = stage.world.run(Command::RemoveNode {
        id: node,
        detach: false,
    });
    let Err(Rejection::InUse {
        by: User::Leading(leading),
        ..
    }) = refused
    else {
        panic!("{refused:?}");
    };
    let named = [("x.example.org/", true)];
    assert!(
        leading
            .iter()
            .map(|it| (it.name.as_str(), it.alone))
            .eq(named)
    );
    let outcome = stage
        .world
        .run(Command::RemoveNode {
            id: node,
            detach: true,
        })
        .unwrap();
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
