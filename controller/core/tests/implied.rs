//! What balancers open beside the policy, wherever the policy speaks of ports: its tests, its difference and the balancer itself
//! say what the filters do.
#![allow(clippy::unwrap_used, reason = "a step that fails is a test that fails")]

mod world;

use std::collections::BTreeMap;

use malha_core::policy::{CaseVerdict, Policy};
use malha_core::{Command, State};
use malha_proto::{NodeId, Profile, Protocol};
use world::World;
use world::policy_text::{Chance, PORTS, policy_text};

/// Whether `to`'s filter lets `from` open it.
fn filter(state: &State, from: NodeId, to: NodeId, protocol: Protocol, port: u16) -> bool {
    let map = state.netmap(to).unwrap();
    let peer = map.peers.get(&from);
    peer.is_some_and(|peer| peer.allow.iter().any(|it| it.covers(protocol, port)))
}

fn of_profile(state: &State, profile: Profile) -> Vec<NodeId> {
    let fit = state
        .nodes()
        .filter(|node| node.profile == profile && !node.hub);
    fit.map(|node| node.id).collect()
}

#[test]
fn a_grant_gives_nothing_new_to_a_balancer_that_has_the_port_already() {
    let mut world = World::furnished();
    world.furnish_balancers();
    let balancers = of_profile(&world.state, Profile::Balancer);
    let garages = of_profile(&world.state, Profile::Garage);
    let text = "version = 1\n[[grant]]\nname = \"a\"\nfrom = [\"profile:balancer\"]\nto = [\"profile:garage\"]\n\
                protocol = \"tcp\"\nports = [\"5500\"]\n";
    let policy = Policy::parse(text).unwrap();
    let said = world.state.policy_difference(&policy, text, world.now_ms);
    let said = said.unwrap();
    // Both reach the second garage on 5500 as balancers.
    let expected = balancers.len() * garages.len() - 2;
    assert_eq!(
        (said.gaining, said.losing),
        (expected as u64, 0),
        "{said:?}"
    );
    let names: Vec<&String> = said.rows.iter().flat_map(|row| &row.to.names).collect();
    let name = world.state.node_name(garages[1]).unwrap();
    let mut second: Vec<&str> = name.as_str().split('.').collect();
    second.reverse();
    assert!(!names.contains(&&second.join("/")), "{names:?}");
}

/// Tests of a policy, drawn by chance, against the netmaps pair by pair.
#[test]
fn a_policys_tests_hold_exactly_where_the_filters_do_with_balancers() {
    let (mut held, mut failed) = (0, 0);
    for seed in 0..60_u64 {
        let mut world = World::furnished();
        world.furnish_balancers();
        let mut chance = Chance(seed);
        let sides = [
            "profile:balancer",
            "profile:garage",
            "org:acme",
            "profile:edge",
            "site:acme/centro",
        ];
        let (from, to) = (*chance.pick(&sides), *chance.pick(&sides));
        let port = *chance.pick(&PORTS);
        let case = format!(
            "[[test]]\nfrom = \"{from}\"\nto = \"{to}\"\nprotocol = \"tcp\"\nport = {port}\nexpect = \"deny\"\n"
        );
        let base = policy_text(&world.state, seed);
        let command = world.apply_policy(&base, None);
        world.run(command).unwrap();
        let text = format!("{base}{case}");
        let policy = Policy::parse(&text).unwrap();
        let trial = world.state.try_policy(&policy, world.now_ms).unwrap();
        let outcome = trial.outcomes.last().unwrap();
        let meant = |who: &malha_core::policy::Who| -> Vec<NodeId> {
            let nodes = world
                .state
                .nodes()
                .filter(|node| who.means(&world.state, node));
            nodes.map(|node| node.id).collect()
        };
        let (from, to) = (meant(&outcome.case.from), meant(&outcome.case.to));
        let pairs = from
            .iter()
            .flat_map(|from| to.iter().map(move |to| (*from, *to)));
        let pairs: Vec<(NodeId, NodeId)> = pairs.filter(|(from, to)| from != to).collect();
        let open =
            |pair: &&(NodeId, NodeId)| filter(&world.state, pair.0, pair.1, Protocol::Tcp, port);
        match outcome.verdict {
            CaseVerdict::Fails { from, to } => {
                assert!(open(&&(from, to)), "{case}");
                failed += 1;
            }
            CaseVerdict::Holds { pairs: count } => {
                assert_eq!(pairs.iter().find(open), None, "{case}");
                assert_eq!(count, pairs.len() as u64);
                held += 1;
            }
            CaseVerdict::Nobody => assert!(pairs.is_empty()),
        }
    }
    assert!(held > 5 && failed > 5, "{held} held, {failed} failed");
}

/// Against the filters with the balancer and without it.
#[test]
fn a_balancer_says_exactly_what_its_node_gains_by_it() {
    let mut gained = 0;
    for seed in 0..40 {
        let mut world = World::furnished();
        let balancers = world.furnish_balancers();
        let command = world.apply_policy(&policy_text(&world.state, seed), None);
        world.run(command).unwrap();
        for id in balancers {
            let from = world.state.balancer(id).unwrap().node;
            let said = world.state.opened_by_balancer(id);
            let with = world.state.clone();
            world.run(Command::RemoveBalancer { id }).unwrap();
            let mut found: BTreeMap<NodeId, Vec<u16>> = BTreeMap::new();
            for to in with.nodes() {
                for port in PORTS {
                    let open = |state| filter(state, from, to.id, Protocol::Tcp, port);
                    if open(&with) && !open(&world.state) {
                        found.entry(to.id).or_default().push(port);
                    }
                }
            }
            let ports = said.iter().map(|(id, allows)| {
                let ports = PORTS.iter().filter(|port| {
                    let mut allows = allows.iter();
                    allows.any(|allow| allow.covers(Protocol::Tcp, **port))
                });
                (*id, ports.copied().collect())
            });
            assert_eq!(ports.collect::<BTreeMap<_, Vec<u16>>>(), found);
            gained += found.len();
        }
    }
    assert!(gained > 40, "{gained}");
}
