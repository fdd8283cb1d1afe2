//! What a change of the policy costs in an overlay of many nodes: it follows the nodes that the change concerns, and not all the
//! others.
#![allow(clippy::unwrap_used, reason = "a step that fails is a test that fails")]

mod world;

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use malha_core::{Answer, Command, Settings, State, affected};
use malha_proto::{MachineId, NodeId, OverlayPools, Profile};
use world::{World, enrol_command, host, label};

const NODES_PER_SITE: u32 = 50;
const FEW_SITES: u32 = 20;
/// Of each measurement the best of so many counts: whatever else the machine does only makes one longer.
const ROUNDS: u16 = 5;

/// An overlay of so many sites, and a policy that lets the nodes of some of them reach each other.
fn overlay(sites: u32) -> World {
    let pools = OverlayPools::new(
        "10.64.0.0/16".parse().unwrap(),
        "fd00:1::/48".parse().unwrap(),
    );
    let settings = Settings::new(MachineId([7; 16]), pools.unwrap(), host("malha.internal"));
    let mut world = World::with(settings);
    world
        .run(Command::CreateOrganization {
            name: label("acme"),
            display_name: String::new(),
        })
        .unwrap();
    let organization = world.state.organizations().next().unwrap().id;
    for number in 0..sites {
        let site = Command::CreateSite {
            organization,
            name: label(&format!("s{number}")),
            display_name: String::new(),
        };
        let Answer::Site(site) = world.run(site).unwrap().answer else {
            panic!("no site");
        };
        let (token, secret) = world.token(site, Profile::SecurityServer, NODES_PER_SITE);
        for machine in 0..NODES_PER_SITE {
            let machine = u64::from(number * NODES_PER_SITE + machine);
            let enrol = enrol_command(token, secret.clone(), machine, None);
            world.run(enrol).unwrap();
        }
    }
    let first = policy(5_500);
    world.run(world.apply_policy(&first, None)).unwrap();
    world
}

/// Only what the first site opens to itself depends on the port.
fn policy(port: u16) -> String {
    let mut text = "version = 1\n".to_owned();
    for number in 0..FEW_SITES {
        let port = if number == 0 { port } else { 5_577 };
        text.push_str(&format!(
            "[[grant]]\nname = \"s{number}\"\nfrom = [\"site:acme/s{number}\"]\nto = [\"site:acme/s{number}\"]\n\
             protocol = \"tcp\"\nports = [\"{port}\"]\n"
        ));
    }
    text.push_str(&format!(
        "[[test]]\nfrom = \"site:acme/s0\"\nto = \"site:acme/s0\"\nprotocol = \"tcp\"\nport = {port}\nexpect = \"allow\"\n"
    ));
    text
}

fn of_first_site(state: &State) -> BTreeSet<NodeId> {
    let site = state.sites().next().unwrap().id;
    let nodes = state.nodes().filter(|node| node.site == site);
    nodes.map(|node| node.id).collect()
}

/// The shortest time that a change of the first site's port takes, from the look at the difference to the nodes to tell; and
/// checks whom it concerns.
fn shortest_change(world: &mut World) -> Duration {
    let concerned = of_first_site(&world.state);
    assert_eq!(concerned.len(), NODES_PER_SITE as usize);
    let changes = (1..=ROUNDS).map(|round| {
        let text = policy(5_500 + round);
        let start = Instant::now();
        let before = world.state.clone();
        let outcome = world.run(world.apply_policy(&text, None)).unwrap();
        let told = affected(&before, &world.state, &outcome.changes);
        let took = start.elapsed();
        assert_eq!(told.nodes, concerned);
        took
    });
    changes.min().unwrap()
}

#[test]
fn a_change_that_concerns_fifty_nodes_does_not_cost_ten_times_as_much_among_ten_times_as_many() {
    let among_few = shortest_change(&mut overlay(FEW_SITES));
    let among_many = shortest_change(&mut overlay(10 * FEW_SITES));
    println!("{among_few:?} among 1,000 nodes, {among_many:?} among 10,000");
    // Ten times as much would be a look at all of them.
    assert!(among_many < among_few * 5, "{among_few:?}, {among_many:?}");
}
