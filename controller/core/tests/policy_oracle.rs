//! What the compiled filters let in, against a reading of the policy's text for each pair of nodes and port.
#![allow(clippy::unwrap_used, reason = "a step that fails is a test that fails")]

mod world;

use std::collections::BTreeMap;

use malha_core::policy::Policy;
use malha_core::{Balancer, Command, Node, Question, Service, State};
use malha_proto::{Exposure, Netmap, NodeId, Profile, Protocol};
use world::policy_text::{PORTS, policy_text};
use world::{World, label};

/// What services open to gateways beside any policy.
fn as_gateway(state: &State, from: &Node, to: &Node, question: &Question) -> bool {
    (from.hub || from.profile == Profile::Edge)
        && from.id != to.id
        && question.protocol == Protocol::Tcp
        && state.services().any(|service| {
            service.node == to.id
                && service.port.number() == question.port
                && (from.hub || service.exposure == Exposure::Public)
        })
}

/// What balancers open beside any policy.
fn as_balancer(state: &State, from: &Node, to: &Node, question: &Question) -> bool {
    let opens = |it: &Balancer| {
        let services = state.services().filter(|service| service.node == to.id);
        let behind: Vec<&Service> = services
            .filter(|service| it.backends.contains_key(&service.id))
            .collect();
        let health = it.settings.health.as_ref();
        behind
            .iter()
            .any(|service| service.port.number() == question.port)
            || !behind.is_empty() && health.is_some_and(|it| it.port.number() == question.port)
    };
    question.protocol == Protocol::Tcp
        && state.balancers().any(|it| it.node == from.id && opens(it))
}

/// Compares every pair of nodes on several ports; returns how many cases that were.
fn check_filters(state: &State, now_ms: u64) -> usize {
    let policy = Policy::parse(&state.policy_text()).unwrap();
    let maps: BTreeMap<NodeId, Netmap> = state
        .nodes()
        .map(|node| (node.id, state.netmap(node.id).unwrap()))
        .collect();
    let others = [81, 83, 5_600, 8_010, 8_011, 4_000];
    let tcp = PORTS
        .iter()
        .chain(&others)
        .map(|port| (Protocol::Tcp, *port));
    let asked: Vec<(Protocol, u16)> = tcp
        .chain([
            (Protocol::Udp, 5_500),
            (Protocol::Udp, 80),
            (Protocol::Udp, 5_499),
            (Protocol::Icmp, 0),
        ])
        .collect();
    let mut cases = 0;
    for from in state.nodes() {
        for to in state.nodes() {
            let peer = maps[&to.id].peers.get(&from.id);
            for (protocol, port) in &asked {
                let question = Question {
                    from: from.id,
                    to: to.id,
                    protocol: *protocol,
                    port: *port,
                };
                let filter = peer
                    .is_some_and(|peer| peer.allow.iter().any(|it| it.covers(*protocol, *port)));
                let said = from.is_active()
                    && to.is_active()
                    && (policy.allows(state, &question, now_ms)
                        || as_gateway(state, from, to, &question)
                        || as_balancer(state, from, to, &question));
                assert_eq!(filter, said, "{question:?} under\n{}", state.policy_text());
                cases += 1;
            }
        }
    }
    cases
}

/// `MALHA_POLICY_CASES` asks for more.
#[test]
fn a_reading_of_the_text_agrees_with_the_compiled_filters_on_a_million_cases() {
    let wanted =
        std::env::var("MALHA_POLICY_CASES").map_or(1_000_000, |count| count.parse().unwrap());
    let (mut cases, mut seed, mut opened) = (0, 0_u64, 0_usize);
    while cases < wanted {
        let mut world = World::furnished();
        world.furnish_balancers();
        for (n, tag) in [(3, "db"), (7, "web"), (9, "operator")] {
            let id = world.state.nodes().nth(n).unwrap().id;
            world
                .run(Command::SetNodeTags {
                    id,
                    tags: [tag.parse().unwrap()].into(),
                })
                .unwrap();
        }
        let garages: Vec<NodeId> = (world.state.nodes())
            .filter(|node| node.profile == Profile::Garage)
            .map(|node| node.id)
            .collect();
        world.service(garages[1], "admin", 4_000, Exposure::Tunnel);
        world.service(garages[2], "admin", 4_001, Exposure::Public);
        for _ in 0..6 {
            seed += 1;
            let text = policy_text(&world.state, seed);
            let command = world.apply_policy(&text, None);
            world.run(command).unwrap();
            cases += check_filters(&world.state, world.now_ms);
            opened += world.state.grants().count();
            // Names come and go, and so does time.
            let id = garages[(seed % 7) as usize];
            let _ = world.run(Command::RenameNode {
                id,
                name: label(["garagem-9", "x", "y"][(seed % 3) as usize]),
            });
            world.now_ms += 5_000 + (seed % 5) * 60_000;
            world.run(Command::Sweep).unwrap();
            cases += check_filters(&world.state, world.now_ms);
        }
    }
    assert!(opened > 100, "the policies opened nothing");
}
