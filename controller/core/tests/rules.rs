//! Policy, repetition, limits and names, as an operator meets them.
#![allow(clippy::unwrap_used, reason = "a step that fails is a test that fails")]

mod world;

use std::collections::BTreeSet;

use malha_core::limits::{MAX_SERVICES_PER_NODE, MAX_SWEPT, REQUEST_MEMORY_MS, TOKEN_MEMORY_MS};
use malha_core::{Answer, Command, Rejection, Role, Selector, State, Topic, affected};
use malha_proto::{
    Allow, Exposure, Fingerprint, HostName, NodeId, Port, Profile, Protocol, ServiceKind, SiteId,
    WgKey,
};
use world::{World, facts, host, label};

const TCP_5500: Allow = Allow {
    protocol: Protocol::Tcp,
    from_port: 5_500,
    to_port: 5_500,
};

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

/// A restored backup has no WireGuard key: the hub makes a new one, and every peer hears of it.
#[test]
fn a_hub_with_a_new_wireguard_key_stays_the_same_node() {
    let mut world = World::furnished();
    let hub = world.state.nodes().find(|node| node.hub).unwrap().clone();
    let garage = nodes_of(&world.state, Profile::Garage)[0];
    let wg_key = WgKey([9; 32]);
    let again = Command::AdoptHub {
        site: hub.site,
        name: hub.name.clone(),
        wg_key,
        tls_key: hub.tls_key,
        endpoints: hub.endpoints.clone(),
        facts: facts(0),
    };
    assert_eq!(world.run(again).unwrap().answer, Answer::Node(hub.id));
    assert_eq!(
        world.state.netmap(garage).unwrap().peers[&hub.id].key,
        wg_key
    );
}

#[test]
fn the_hub_can_be_neither_removed_nor_replaced() {
    let mut world = World::furnished();
    let hub = world.state.nodes().find(|node| node.hub).unwrap().id;
    for command in [
        Command::RemoveNode {
            id: hub,
            detach: false,
        },
        Command::ReplaceNode {
            id: hub,
            ttl_s: 600,
        },
    ] {
        let rejection = world.run(command).unwrap_err().to_string();
        assert!(rejection.contains("is a hub"), "{rejection}");
    }
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
