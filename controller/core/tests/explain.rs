//! What an explanation says against the netmaps that nodes get, and against a plain reading of the rules.
#![allow(clippy::unwrap_used, reason = "a step that fails is a test that fails")]

mod world;

use std::collections::BTreeMap;

use malha_core::{
    Command, Denial, Explanation, NodeState, Opening, Question, Selector, Source, State, Verdict,
};
use malha_proto::{Allow, Exposure, Netmap, NodeId, Profile, Protocol};
use proptest::prelude::*;
use world::{World, any_dice};

fn ask(state: &State, from: NodeId, to: NodeId, port: u16) -> Explanation {
    let question = Question {
        from,
        to,
        protocol: Protocol::Tcp,
        port,
    };
    state.explain(&question).unwrap()
}

fn of_profile(state: &State, profile: Profile) -> Vec<NodeId> {
    let nodes = state
        .nodes()
        .filter(|node| node.profile == profile && !node.hub);
    nodes.map(|node| node.id).collect()
}

/// Whether a filter that was given `to`'s netmap lets `from` in.
fn lets_in(maps: &BTreeMap<NodeId, Netmap>, question: &Question) -> bool {
    let allow = maps[&question.to]
        .peers
        .get(&question.from)
        .map(|peer| &peer.allow);
    allow.is_some_and(|allow| {
        allow.iter().any(|allow| {
            let port = allow.from_port <= question.port && question.port <= allow.to_port;
            allow.protocol == question.protocol && (port || allow.protocol == Protocol::Icmp)
        })
    })
}

/// Whether a grant's selector means a node, read from the node.
fn means(state: &State, selector: Selector, id: NodeId) -> bool {
    let node = state.node(id).unwrap();
    match selector {
        Selector::Organization(id) => state.site(node.site).unwrap().organization == id,
        Selector::Site(id) => node.site == id,
        Selector::Node(id) => node.id == id,
        Selector::Profile(profile) => node.profile == profile,
        Selector::Tag(tag) => node.tags.contains(&tag),
    }
}

/// Whether a reason holds, read from the entities it names.
fn holds(state: &State, source: Source, allow: Allow, question: &Question) -> bool {
    let gateway = state.node(question.from).unwrap();
    let is_port = |id| {
        let service = state.service(id).unwrap();
        let port = service.port.number();
        service.node == question.to
            && (allow.protocol, allow.from_port, allow.to_port) == (Protocol::Tcp, port, port)
    };
    match source {
        Source::Grant(id) => {
            let grant = state.grant(id).unwrap();
            let opened = match &grant.allow {
                Opening::Ports(ports) => *ports == allow,
                Opening::Service { service } => {
                    let service = state.service_by_name(question.to, service);
                    service.is_some_and(|it| it.port.number() == allow.from_port)
                        && allow.from_port == allow.to_port
                }
            };
            opened && means(state, grant.from, question.from) && means(state, grant.to, question.to)
        }
        Source::Published(id) => {
            is_port(id)
                && state.service(id).unwrap().exposure == Exposure::Public
                && (gateway.hub || gateway.profile == Profile::Edge)
        }
        Source::Probed(id) => is_port(id) && gateway.hub,
        Source::Balanced(id) => {
            let balancer = state.balancer(id).unwrap();
            let health = balancer.settings.health.as_ref().map(|it| it.port.number());
            let is_health = (allow.protocol, Some(allow.from_port)) == (Protocol::Tcp, health)
                && allow.from_port == allow.to_port;
            let mut behind = balancer.backends.keys().copied();
            balancer.node == question.from
                && behind.any(|id| {
                    let is_there = state.service(id).unwrap().node == question.to;
                    is_port(id) || (is_there && is_health)
                })
        }
    }
}

/// How many of the grants join these two nodes.
fn grants_between(state: &State, from: NodeId, to: NodeId) -> usize {
    let grants = state.grants();
    grants
        .filter(|grant| means(state, grant.from, from) && means(state, grant.to, to))
        .filter(|grant| match &grant.allow {
            Opening::Ports(_) => true,
            Opening::Service { service } => state.service_by_name(to, service).is_some(),
        })
        .count()
}

fn check(
    state: &State,
    maps: &BTreeMap<NodeId, Netmap>,
    question: &Question,
) -> Result<(), TestCaseError> {
    let said = state.explain(question).unwrap();
    let allowed = said.verdict == Verdict::Allowed;
    prop_assert_eq!(
        allowed,
        lets_in(maps, question),
        "{:?}: {:?}",
        question,
        said
    );
    let turned = Question {
        from: question.to,
        to: question.from,
        ..*question
    };
    prop_assert_eq!(said.reverse, lets_in(maps, &turned), "{:?}", question);
    for permission in &said.permissions {
        let holds = holds(state, permission.source, permission.allow, question);
        prop_assert!(holds, "{:?}: {:?}", question, permission);
    }
    let grants = said.permissions.iter();
    let grants = grants
        .filter(|it| matches!(it.source, Source::Grant(_)))
        .count();
    prop_assert_eq!(grants, grants_between(state, question.from, question.to));
    let mut covering = said.permissions.iter();
    let covers = covering.any(|it| it.allow.covers(question.protocol, question.port));
    let apart = |id: NodeId| state.node(id).unwrap().state != NodeState::Active;
    match said.verdict {
        Verdict::Allowed => prop_assert!(covers, "{:?}", question),
        Verdict::Denied(Denial::NoPermission) => prop_assert!(!covers, "{:?}", question),
        Verdict::Denied(Denial::NotPeers) => prop_assert!(said.permissions.is_empty()),
        Verdict::Denied(Denial::SameNode) => prop_assert_eq!(question.from, question.to),
        Verdict::Denied(Denial::Apart(id)) => prop_assert!(apart(id), "{:?}", question),
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn a_trace_says_allowed_exactly_where_the_netmap_lets_it_in(
        rolls in prop::collection::vec(any_dice(), 60..160),
    ) {
        let mut world = World::furnished();
        for dice in rolls {
            let command = world.roll(dice);
            let _ = world.run(command);
        }
        let state = &world.state;
        let maps: BTreeMap<NodeId, Netmap> =
            state.nodes().map(|node| (node.id, state.netmap(node.id).unwrap())).collect();
        let asked = [
            (Protocol::Tcp, 80), (Protocol::Tcp, 83), (Protocol::Tcp, 5_500), (Protocol::Tcp, 9),
            (Protocol::Udp, 53), (Protocol::Udp, 120), (Protocol::Icmp, 0),
        ];
        for from in maps.keys() {
            for to in maps.keys() {
                for (protocol, port) in asked {
                    check(state, &maps, &Question { from: *from, to: *to, protocol, port })?;
                }
            }
        }
    }
}

#[test]
fn the_grant_that_opens_a_port_is_named_and_the_other_direction_stays_closed() {
    let mut world = World::furnished();
    let garages = of_profile(&world.state, Profile::Garage);
    let (a, b) = (garages[0], garages[1]);
    let said = ask(&world.state, a, b, 5_500);
    assert_eq!(said.verdict, Verdict::Denied(Denial::NotPeers));
    let allow = Allow {
        protocol: Protocol::Tcp,
        from_port: 5_500,
        to_port: 5_577,
    };
    let (from, to) = (Selector::Node(a), Selector::Node(b));
    world.run(Command::AddGrant { from, to, allow }).unwrap();
    let said = ask(&world.state, a, b, 5_577);
    assert_eq!((said.verdict, said.reverse), (Verdict::Allowed, false));
    let grant = world.state.grants().last().unwrap().id;
    assert_eq!(said.permissions[0].source, Source::Grant(grant));
    let said = ask(&world.state, b, a, 5_577);
    assert_eq!(said.verdict, Verdict::Denied(Denial::NoPermission));
    assert!(said.reverse && said.permissions.is_empty());
}

#[test]
fn a_hub_reaches_public_services_to_publish_and_others_to_probe() {
    let mut world = World::furnished();
    let garage = of_profile(&world.state, Profile::Garage)[0];
    let site = world.service(garage, "site", 8_000, Exposure::Public);
    let admin = world.service(garage, "admin", 4_000, Exposure::Tunnel);
    let hub = world.state.nodes().find(|node| node.hub).unwrap().id;
    let edge = of_profile(&world.state, Profile::Edge)[0];
    let sources = |from| -> Vec<Source> {
        let said = ask(&world.state, from, garage, 8_000);
        assert_eq!(said.verdict, Verdict::Allowed);
        said.permissions.iter().map(|it| it.source).collect()
    };
    assert_eq!(
        sources(hub),
        [Source::Probed(admin), Source::Published(site)]
    );
    assert_eq!(sources(edge), [Source::Published(site)]);
}
