//! Edited profiles: whom an edit concerns, what comes back, and what a restart keeps.
#![allow(clippy::unwrap_used, reason = "a step that fails is a test that fails")]

mod world;

use std::collections::BTreeSet;

use malha_core::{Command, Rejection, affected};
use malha_proto::{NodeId, Profile};
use world::World;

const LESS: &str = r#"
version = 1
profile = "security-server"

[[port]]
name = "messages"
protocol = "tcp"
ports = ["5500"]
direction = "in"
who = ["peers"]
exposure = "tunnel"
probe = "tls-client-certificate"
"#;

fn closed(world: &World, node: NodeId) -> BTreeSet<u16> {
    let map = world.state.netmap(node).unwrap();
    map.closed
        .iter()
        .flatten()
        .map(|it| it.port.number())
        .collect()
}

#[test]
fn an_edit_reaches_the_nodes_of_its_profile_and_no_other() {
    let mut world = World::furnished();
    let servers: BTreeSet<NodeId> = world
        .state
        .nodes()
        .filter(|node| node.profile == Profile::SecurityServer)
        .map(|node| node.id)
        .collect();
    let server = *servers.first().unwrap();
    let shipped = closed(&world, server);
    assert!(shipped.contains(&9011));
    let before = world.state.clone();
    let text = LESS.to_owned();
    let outcome = world.run(Command::SetProfile { text }).unwrap();
    assert_eq!(
        affected(&before, &outcome.state, &outcome.changes).nodes,
        servers
    );
    assert_eq!(closed(&world, server), [5500].into());
    assert_eq!(world.state.profile_text(Profile::SecurityServer), LESS);

    let profile = Profile::SecurityServer;
    world.run(Command::ResetProfile { profile }).unwrap();
    assert_eq!(closed(&world, server), shipped);
    let again = world.run(Command::ResetProfile { profile });
    assert!(matches!(again, Err(Rejection::NotFound { .. })));
}

#[test]
fn an_edit_that_closes_the_same_concerns_nobody() {
    let mut world = World::furnished();
    let before = world.state.clone();
    let text = world.state.profile_text(Profile::SecurityServer);
    let text = format!("{text}\n# read and kept\n");
    let outcome = world.run(Command::SetProfile { text }).unwrap();
    assert!(
        affected(&before, &outcome.state, &outcome.changes)
            .nodes
            .is_empty()
    );
}

#[test]
fn the_release_of_a_site_moves_the_ports_of_its_servers() {
    let mut world = World::furnished();
    let server = world
        .state
        .nodes()
        .find(|node| node.profile == Profile::SecurityServer);
    let (server, site) = server.map(|node| (node.id, node.site)).unwrap();
    assert!(closed(&world, server).contains(&8443));
    let xroad = "7.3".parse().ok();
    world
        .run(Command::SetSiteRelease { id: site, xroad })
        .unwrap();
    let now = closed(&world, server);
    assert!(now.contains(&443) && !now.contains(&8443));
}

#[test]
fn a_wrong_text_changes_nothing() {
    let mut world = World::furnished();
    let before = world.state.clone();
    let text = LESS.replace("\"5500\"", "\"70000\"");
    let Err(Rejection::Text(error)) = world.run(Command::SetProfile { text }) else {
        panic!("taken");
    };
    assert_eq!(error.line, 8);
    assert!(world.state == before);
}
