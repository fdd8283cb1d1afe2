//! Servers that were there before their agency: which become its own, and which stay as they are.

use std::collections::BTreeSet;

use malha_core::{Answer, Command};
use malha_proto::{Exposure, NodeId, OrganizationId, Profile};

use crate::world::shaping::agency;
use crate::world::{World, label};
use crate::{add, enrol, node, opens, with_policy};

#[test]
fn a_server_that_enrolled_before_in_a_stages_site_becomes_one_of_the_agencys() {
    let mut world = with_policy();
    let (organization, server) = by_hand(&mut world, "producao");
    let mine = world.service(server, "admin", 4000, Exposure::Tunnel);
    let added = add(&mut world, agency("sedec"));
    assert_eq!(added.organization, organization);
    assert_eq!(added.adopted, [server]);
    let awaited: Vec<&str> = added.machines.iter().map(|it| it.path.as_str()).collect();
    let wanted = ["xvia1", "balanceador1"].map(|name| format!("sedec/producao/{name}"));
    assert_eq!(awaited[..2], wanted);
    assert_eq!(awaited[2..], ["sedec/desenvolvimento/xvia1"]);
    enrol(&mut world, &added, 0..3);
    let old = world.state.node(server).unwrap().clone();
    let path = format!("sedec/producao/{}", old.name);
    assert!(opens(&world, "sedec/producao/xvia1", &path, 5500));
    assert!(opens(&world, &path, "sedec/producao/xvia1", 5433));
    assert!(!opens(&world, "sedec/desenvolvimento/xvia1", &path, 5500));
    let offered = world.state.services_of(server);
    let offered: BTreeSet<u16> = offered.map(|it| it.port.number()).collect();
    assert_eq!(offered, [5500, 5577, 5588, 8080, 8443, 4000, 2080].into());
    assert!(world.state.service(mine).is_some());
    let runner = node(&world, "sedec/producao/balanceador1").id;
    let balancers: Vec<_> = world.state.balancers_of(runner).collect();
    assert!(balancers.iter().all(|it| it.backends.len() == 2));
}

#[test]
fn a_server_in_another_site_is_named_and_stays_as_it_is() {
    let mut world = with_policy();
    let (_, server) = by_hand(&mut world, "matriz");
    let added = add(&mut world, agency("sedec"));
    assert_eq!((added.adopted, added.unplaced), (vec![], vec![server]));
    assert_eq!(added.machines.len(), 4);
    assert!(world.state.node(server).unwrap().tags.is_empty());
    assert_eq!(world.state.services_of(server).count(), 0);
}

#[test]
fn a_server_that_was_tagged_by_hand_in_another_site_is_in_nobodys_way() {
    let mut world = with_policy();
    let (organization, server) = by_hand(&mut world, "matriz");
    let tags = ["xroad-producao".parse().unwrap()].into();
    world
        .run(Command::SetNodeTags { id: server, tags })
        .unwrap();
    let added = add(&mut world, agency("sedec"));
    assert_eq!(added.organization, organization);
    assert!(added.adopted.is_empty() && added.unplaced.is_empty());
    enrol(&mut world, &added, 0..4);
    let path = format!("sedec/matriz/{}", world.state.node(server).unwrap().name);
    assert!(opens(&world, "sedec/producao/xvia1", &path, 5500));
}

/// An organization as an operator makes it by hand, with a site of this name and one server in it.
fn by_hand(world: &mut World, site: &str) -> (OrganizationId, NodeId) {
    let create = Command::CreateOrganization {
        name: label("sedec"),
        display_name: "Secretaria".to_owned(),
    };
    let Answer::Organization(organization) = world.run(create).unwrap().answer else {
        panic!("no organization");
    };
    let create = Command::CreateSite {
        organization,
        name: label(site),
        display_name: String::new(),
    };
    let Answer::Site(id) = world.run(create).unwrap().answer else {
        panic!("no site");
    };
    (organization, world.enrol(id, Profile::SecurityServer, 200))
}
