//! An agency in one command: what it makes, what its machines become, and that a mistake makes nothing.
#![allow(clippy::unwrap_used, reason = "a step that fails is a test that fails")]

mod adoption;
mod policy;
#[path = "../world/mod.rs"]
mod world;

use std::collections::BTreeSet;

use malha_core::{
    AddedAgency, Answer, Command, NewAgency, Node, Noun, Question, Rejection, Verdict,
};
use malha_proto::{Fingerprint, Profile, Protocol};
use world::shaping::agency;
use world::{World, enrol_command, host, label};

fn add(world: &mut World, new: NewAgency) -> AddedAgency {
    match world.run(Command::AddAgency(Box::new(new))).unwrap().answer {
        Answer::Agency(added) => *added,
        other => panic!("{other:?}"),
    }
}

/// Every awaited machine comes, in this order of their numbers.
fn enrol(world: &mut World, added: &AddedAgency, order: impl IntoIterator<Item = usize>) {
    for number in order {
        let machine = &added.machines[number];
        let key = 900 + 10 * added.organization.0 + number as u64;
        let command = enrol_command(machine.token, machine.secret.clone(), key, None);
        world.run(command).unwrap();
    }
}

fn node<'a>(world: &'a World, path: &str) -> &'a Node {
    world.state.node_by_path(path).unwrap()
}

fn opens(world: &World, from: &str, to: &str, port: u16) -> bool {
    let question = Question {
        from: node(world, from).id,
        to: node(world, to).id,
        protocol: Protocol::Tcp,
        port,
    };
    let explained = world.state.explain(&question).unwrap();
    explained.verdict == Verdict::Allowed
}

fn with_policy() -> World {
    let mut world = World::bare();
    let text = "version = 1 # ours\n";
    let command = world.apply_policy(text, None);
    world.run(command).unwrap();
    world
}

#[test]
fn machines_become_what_the_agency_was_added_for() {
    let mut world = with_policy();
    let added = add(&mut world, agency("sedec"));
    let paths: Vec<&str> = added.machines.iter().map(|it| it.path.as_str()).collect();
    assert_eq!(
        paths,
        [
            "sedec/producao/xvia1",
            "sedec/producao/xvia2",
            "sedec/producao/balanceador1",
            "sedec/desenvolvimento/xvia1"
        ]
    );
    enrol(&mut world, &added, 0..4);
    for machine in &added.machines {
        assert_eq!(node(&world, &machine.path).profile, machine.profile);
    }
    let server = node(&world, "sedec/producao/xvia1");
    let offered: BTreeSet<u16> = world
        .state
        .services_of(server.id)
        .map(|it| {
            assert_eq!(it.target, ([127, 0, 0, 1], it.port.number()).into());
            it.port.number()
        })
        .collect();
    let wanted = [5500, 5577, 5588, 8080, 8443, 4000, 2080];
    assert_eq!(offered, wanted.into());
}

#[test]
fn a_balancer_waits_for_its_machines_in_any_order() {
    for order in [[0, 1, 2], [2, 1, 0], [1, 2, 0]] {
        let mut world = with_policy();
        let added = add(&mut world, agency("sedec"));
        enrol(&mut world, &added, order);
        let runner = node(&world, "sedec/producao/balanceador1").id;
        let balancers: Vec<_> = world.state.balancers_of(runner).collect();
        let ports: Vec<u16> = balancers.iter().map(|it| it.port.number()).collect();
        assert_eq!(ports, [5500, 5577, 8080, 8443], "{order:?}");
        for balancer in balancers {
            assert_eq!(balancer.backends.len(), 2, "{order:?}");
            let health = balancer.settings.health.as_ref().unwrap();
            assert_eq!(health.port.number(), 5588);
        }
    }
}

#[test]
fn stages_and_agencies_reach_each_other_only_as_the_profile_says() {
    let mut world = with_policy();
    for name in ["sedec", "sefaz"] {
        let added = add(&mut world, agency(name));
        enrol(&mut world, &added, 0..4);
    }
    let (ours, theirs) = ("sedec/producao/xvia1", "sefaz/producao/xvia1");
    let (balancer, development) = ("sefaz/producao/balanceador1", "sefaz/desenvolvimento/xvia1");
    for (to, port, open) in [
        (theirs, 5500, true),
        (balancer, 5500, true),
        (balancer, 5577, true),
        (development, 5500, false),
        (theirs, 4000, false),
        (theirs, 9011, false),
        (theirs, 8443, false),
        (theirs, 5433, false),
        ("sedec/producao/xvia2", 5433, true),
        ("sedec/producao/xvia2", 8443, true),
        ("sedec/producao/balanceador1", 8443, true),
        (balancer, 8443, false),
        ("sedec/desenvolvimento/xvia1", 8443, false),
    ] {
        assert_eq!(opens(&world, ours, to, port), open, "{ours} {to} {port}");
    }
}

#[test]
fn operators_and_information_systems_reach_what_is_theirs_and_nothing_else() {
    let mut world = with_policy();
    let added = add(&mut world, agency("sedec"));
    enrol(&mut world, &added, 0..4);
    let server = node(&world, "sedec/producao/xvia1");
    let site = server.site;
    let operator = world.enrol(site, Profile::Garage, 71);
    let system = world.enrol(site, Profile::Garage, 72);
    let abroad = node(&world, "sedec/desenvolvimento/xvia1").site;
    let operator_abroad = world.enrol(abroad, Profile::Garage, 73);
    for id in [operator, operator_abroad] {
        let tags = [malha_core::Tag::operator()].into();
        world.run(Command::SetNodeTags { id, tags }).unwrap();
    }
    let may_open = |from, to: &str| -> BTreeSet<u16> {
        let to = node(&world, to).id;
        let is_open = |port: &u16| {
            let question = Question {
                from,
                to,
                protocol: Protocol::Tcp,
                port: *port,
            };
            world.state.explain(&question).unwrap().verdict == Verdict::Allowed
        };
        let all = [22, 80, 443, 2080, 4000, 4001, 5432, 5433, 5500, 5566, 5577];
        let more = [5588, 8080, 8443, 8888, 8899, 9011];
        all.into_iter().chain(more).filter(is_open).collect()
    };
    let (server, balancer) = ("sedec/producao/xvia1", "sedec/producao/balanceador1");
    assert_eq!(may_open(operator_abroad, server), [22, 2080, 4000].into());
    assert_eq!(may_open(system, server), [8080, 8443].into());
    assert_eq!(may_open(system, balancer), [8080, 8443].into());
    let front = node(&world, balancer).id;
    let handed_on = [5500, 5577, 5588, 8080, 8443];
    assert_eq!(may_open(front, server), handed_on.into());
}

#[test]
fn servers_before_x_road_7_4_serve_their_systems_on_80_and_443() {
    let mut world = with_policy();
    let added = add(
        &mut world,
        NewAgency {
            xroad: "7.3".parse().ok(),
            ..agency("sedec")
        },
    );
    enrol(&mut world, &added, 0..4);
    let (one, other) = ("sedec/producao/xvia1", "sedec/producao/xvia2");
    assert!(opens(&world, one, other, 443) && !opens(&world, one, other, 8443));
    let map = world.state.netmap(node(&world, one).id).unwrap();
    let closed: BTreeSet<u16> = map
        .closed
        .iter()
        .flatten()
        .map(|it| it.port.number())
        .collect();
    assert!(closed.contains(&443) && !closed.contains(&8443));
}

#[test]
fn the_names_that_the_requirement_asks_for_get_their_addresses() {
    let mut world = with_policy();
    let origin: malha_zone::ZoneName = "mt.gov.br".parse().unwrap();
    world
        .run(Command::AddZone {
            origin: origin.clone(),
            name_servers: vec![host("ns1.example.org")],
            contact: host("hostmaster.example.org"),
        })
        .unwrap();
    let new = NewAgency {
        zone: Some(origin.clone()),
        public_addresses: [
            "201.49.0.2".parse().unwrap(),
            "2001:db8::2".parse().unwrap(),
        ]
        .into(),
        development_addresses: ["201.49.0.3".parse().unwrap()].into(),
        ..agency("sedec")
    };
    add(&mut world, new.clone());
    let zone = world.state.zone(&origin).unwrap();
    for (name, rtype, data) in [
        ("xvia.sedec", "A", "201.49.0.2"),
        ("xvia.sedec", "AAAA", "2001:db8::2"),
        ("xvia-dev.sedec", "A", "201.49.0.3"),
    ] {
        let set = zone
            .set(&name.parse().unwrap(), rtype.parse().unwrap())
            .unwrap();
        assert_eq!(set.data()[0].to_string(), data);
    }

    let organization = world.state.organization_by_name("sedec").unwrap().id;
    let declared = &world.state.declaration(organization).unwrap().statement;
    let production = declared.production.as_ref().unwrap();
    assert_eq!(production.names, [host("xvia.sedec.mt.gov.br")]);
    assert_eq!(production.addresses.len(), 2);
    assert!(declared.ports.from_outside.contains(&9011));
    // Checks ask the servers of the zone, without anybody having to say which these are.
    let servers = declared.name_servers.iter().map(ToString::to_string);
    assert_eq!(servers.collect::<Vec<_>>(), ["ns1.example.org"]);

    let before = world.state.clone();
    let taken = NewAgency {
        name: label("outra"),
        host: label("xvia"),
        ..new.clone()
    };
    world
        .run(Command::PutRecordSet {
            zone: origin.clone(),
            set: malha_zone::RecordSet::new(
                "xvia.outra".parse().unwrap(),
                malha_zone::RecordType::A,
                300,
                vec![malha_zone::RecordData::A([192, 0, 2, 1].into())],
                malha_core::RecordSource::Operator,
            )
            .unwrap(),
        })
        .unwrap();
    let with_record = world.state.clone();
    assert!(before != with_record);
    let refused = world.run(Command::AddAgency(Box::new(taken)));
    assert!(matches!(
        refused,
        Err(Rejection::Exists {
            what: Noun::RecordSet,
            ..
        })
    ));
    assert!(world.state == with_record);
}

#[test]
fn each_mistake_is_named_and_makes_nothing() {
    let mut world = with_policy();
    add(&mut world, agency("sedec"));
    let before = world.state.clone();
    let one: BTreeSet<std::net::IpAddr> = ["201.49.0.2".parse().unwrap()].into();
    let wrong = [
        ("name", agency("sedec")),
        ("name", agency(&"a".repeat(40))),
        (
            "production",
            NewAgency {
                production: 0,
                ..agency("sefaz")
            },
        ),
        (
            "production",
            NewAgency {
                production: 17,
                ..agency("sefaz")
            },
        ),
        (
            "development",
            NewAgency {
                development: 17,
                ..agency("sefaz")
            },
        ),
        (
            "balancers",
            NewAgency {
                balancers: 3,
                ..agency("sefaz")
            },
        ),
        (
            "ttl_s",
            NewAgency {
                token_ttl_s: 1,
                ..agency("sefaz")
            },
        ),
        (
            "zone",
            NewAgency {
                zone: "x.org".parse().ok(),
                ..agency("sefaz")
            },
        ),
        (
            "public_addresses",
            NewAgency {
                public_addresses: ["0.0.0.0".parse().unwrap()].into(),
                ..agency("sefaz")
            },
        ),
        (
            "development_addresses",
            NewAgency {
                public_addresses: one.clone(),
                development_addresses: one.clone(),
                ..agency("sefaz")
            },
        ),
        (
            "development_addresses",
            NewAgency {
                development: 0,
                development_addresses: one,
                ..agency("sefaz")
            },
        ),
    ];
    for (field, new) in wrong {
        let rejection = world.run(Command::AddAgency(Box::new(new))).unwrap_err();
        match &rejection {
            Rejection::Invalid { field: named, .. } => assert_eq!(*named, field),
            Rejection::NotFound { what, .. } => assert_eq!(what.as_str(), field),
            Rejection::Exists { what, .. } => {
                assert_eq!((*what, field), (Noun::Organization, "name"))
            }
            other => panic!("{other:?}"),
        }
    }
    assert!(world.state == before);
}

#[test]
fn an_agency_has_public_addresses_only() {
    let mut world = with_policy();
    let before = world.state.clone();
    for text in [
        "10.0.0.5",
        "172.16.0.1",
        "192.168.1.10",
        "100.64.0.3",
        "127.0.0.1",
        "169.254.1.1",
        "224.0.0.1",
        "255.255.255.255",
        "0.0.0.0",
        "::",
        "::1",
        "fd00::1",
        "fe80::1",
        "ff02::1",
        "::ffff:10.0.0.5",
    ] {
        let wrong: std::net::IpAddr = text.parse().unwrap();
        let new = NewAgency {
            development_addresses: [wrong].into(),
            ..agency("sefaz")
        };
        let rejection = world.run(Command::AddAgency(Box::new(new))).unwrap_err();
        let words = rejection.to_string();
        let named = format!("development_addresses: {wrong} is no public address");
        assert!(words.starts_with(&named), "{text}: {words}");
    }
    assert!(world.state == before);
}

#[test]
fn an_agency_is_added_once_before_and_after_its_machines_come() {
    let mut world = with_policy();
    let again = |world: &mut World| {
        let before = world.state.clone();
        let refused = world.run(Command::AddAgency(Box::new(agency("sedec"))));
        assert!(
            matches!(refused, Err(Rejection::Exists { .. })),
            "{refused:?}"
        );
        assert!(world.state == before);
    };
    let added = add(&mut world, agency("sedec"));
    again(&mut world);
    enrol(&mut world, &added, 0..4);
    again(&mut world);
}

#[test]
fn a_repeated_request_makes_one_agency() {
    let mut world = with_policy();
    let key = Some(Fingerprint([9; 32]));
    let command = || Command::AddAgency(Box::new(agency("sedec")));
    let made = world.run_as(command(), key).unwrap().answer;
    let Answer::Agency(added) = made else {
        panic!("{made:?}");
    };
    let again = world.run_as(command(), key).unwrap();
    let created = added.organization.to_string();
    assert_eq!(again.answer, Answer::AlreadyCreated { created });
    assert!(again.changes.is_empty());
}

#[test]
fn every_token_has_a_secret_of_its_own_and_lets_one_machine_in() {
    let mut world = with_policy();
    let added = add(&mut world, agency("sedec"));
    let secrets: BTreeSet<[u8; 32]> = added.machines.iter().map(|it| it.secret.hash()).collect();
    assert_eq!(secrets.len(), added.machines.len());
    enrol(&mut world, &added, [0]);
    let first = &added.machines[0];
    let again = enrol_command(first.token, first.secret.clone(), 77, None);
    assert!(matches!(world.run(again), Err(Rejection::Refused { .. })));
    assert_eq!(first.profile, Profile::SecurityServer);
}
