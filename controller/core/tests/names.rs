//! The names that organizations declare, as nodes hear of them.
#![allow(clippy::unwrap_used, reason = "a step that fails is a test that fails")]

mod world;

use malha_core::{AddedAgency, Answer, Command, Rejection, Selector, affected};
use malha_proto::{Allow, HostName, Netmap, NodeId, OrganizationId, Profile, Protocol};
use world::shaping::agency;
use world::{World, enrol_command, host, label};

const NAME: &str = "xvia.sedec.mt.gov.br";

fn declare(organization: OrganizationId, site: &str, name: &str) -> Command {
    Command::Declare {
        organization,
        text: format!("version = 1\n[production]\nsite = \"{site}\"\nnames = [\"{name}\"]\n"),
        author: "key:test".to_owned(),
    }
}

/// Two agencies with all their machines, which may open each other's X-Road ports.
struct Scene {
    world: World,
    sedec: AddedAgency,
    seplag: AddedAgency,
}

impl Scene {
    fn new() -> Self {
        let mut world = World::bare();
        let command = world.apply_policy("version = 1 # ours\n", None);
        world.run(command).unwrap();
        let mut add = |name| {
            let command = Command::AddAgency(Box::new(agency(name)));
            match world.run(command).unwrap().answer {
                Answer::Agency(added) => *added,
                other => panic!("{other:?}"),
            }
        };
        let (sedec, seplag) = (add("sedec"), add("seplag"));
        let mut scene = Self {
            world,
            sedec,
            seplag,
        };
        for added in [scene.sedec.clone(), scene.seplag.clone()] {
            for number in 0..added.machines.len() {
                scene.enrol(&added, number);
            }
        }
        scene
    }

    fn enrol(&mut self, added: &AddedAgency, number: usize) {
        let machine = &added.machines[number];
        let key = 900 + 10 * added.organization.0 + number as u64;
        let command = enrol_command(machine.token, machine.secret.clone(), key, None);
        self.world.run(command).unwrap();
    }

    fn id(&self, path: &str) -> NodeId {
        self.world.state.node_by_path(path).unwrap().id
    }

    fn map(&self, path: &str) -> Netmap {
        self.world.state.netmap(self.id(path)).unwrap()
    }

    /// Where a node is told that the name stands.
    fn hears(&self, path: &str, name: &str) -> Vec<String> {
        let name: HostName = host(name);
        let peers = self.map(path).peers.into_values();
        let bearing = peers.filter(|peer| peer.names.contains(&name));
        bearing.map(|peer| peer.name.to_string()).collect()
    }
}

#[test]
fn a_declared_name_stands_at_the_sites_balancer_for_those_who_may_open_something_there() {
    let mut scene = Scene::new();
    let before = scene.world.state.clone();
    let sedec = scene.sedec.organization;
    let outcome = scene.world.run(declare(sedec, "producao", NAME)).unwrap();
    let bearer = "balanceador1.producao.sedec";
    assert_eq!(scene.hears("seplag/producao/xvia1", NAME), [bearer]);
    let own = scene.map("sedec/producao/balanceador1").me.names;
    assert_eq!(own, [host(NAME)]);
    // Nothing of sedec is open to it.
    let (peer, server) = ("seplag/producao/xvia1", "sedec/producao/xvia1");
    assert!(scene.map(server).me.names.is_empty());
    let touched = affected(&before, &outcome.state, &outcome.changes).nodes;
    assert!(
        touched.contains(&scene.id(peer))
            && touched.contains(&scene.id("sedec/producao/balanceador1"))
    );
    assert!(!touched.contains(&scene.id("sedec/desenvolvimento/xvia1")));
}

#[test]
fn who_may_open_nothing_there_does_not_hear_the_name() {
    let mut world = World::bare();
    let mut enrolled = |organization: &str, profile| {
        world
            .run(Command::CreateOrganization {
                name: label(organization),
                display_name: String::new(),
            })
            .unwrap();
        let organization = world.state.organization_by_name(organization).unwrap();
        let organization = organization.id;
        let create = Command::CreateSite {
            organization,
            name: label("producao"),
            display_name: String::new(),
        };
        let Answer::Site(site) = world.run(create).unwrap().answer else {
            panic!("no site");
        };
        let machine = u8::try_from(organization.0).unwrap();
        (organization, world.enrol(site, profile, machine))
    };
    let (sedec, server) = enrolled("sedec", Profile::SecurityServer);
    let (_, garage) = enrolled("vendor", Profile::Garage);
    world.run(declare(sedec, "producao", NAME)).unwrap();
    let mut allow = |from, to| {
        let (from, to) = (Selector::Node(from), Selector::Node(to));
        let allow = Allow {
            protocol: Protocol::Tcp,
            from_port: 5500,
            to_port: 5500,
        };
        world.run(Command::AddGrant { from, to, allow }).unwrap();
        let peers = world.state.netmap(garage).unwrap().peers;
        peers[&server].names.clone()
    };
    // This makes them peers, and opens nothing to the garage.
    assert!(allow(server, garage).is_empty());
    assert_eq!(allow(garage, server), [host(NAME)]);
}

#[test]
fn without_the_balancer_the_name_stands_at_the_servers() {
    let mut scene = Scene::new();
    let sedec = scene.sedec.organization;
    scene.world.run(declare(sedec, "producao", NAME)).unwrap();
    let before = scene.world.state.clone();
    let balancer = scene.id("sedec/producao/balanceador1");
    let outcome = scene
        .world
        .run(Command::RemoveNode {
            id: balancer,
            detach: false,
        })
        .unwrap();
    for server in ["sedec/producao/xvia1", "sedec/producao/xvia2"] {
        assert_eq!(scene.map(server).me.names, [host(NAME)]);
        let touched = affected(&before, &outcome.state, &outcome.changes).nodes;
        assert!(touched.contains(&scene.id(server)));
    }
}

/// The port 4001 of a central server is in the tunnel only: by its one name it must be found there.
#[test]
fn a_central_servers_name_stands_at_it_as_long_as_no_security_server_shares_its_site() {
    const CENTRAL: &str = "central.xvia.mt.gov.br";
    let mut scene = Scene::new();
    let world = &mut scene.world;
    let create = Command::CreateOrganization {
        name: label("mti"),
        display_name: String::new(),
    };
    world.run(create).unwrap();
    let organization = world.state.organization_by_name("mti").unwrap().id;
    let create = Command::CreateSite {
        organization,
        name: label("central"),
        display_name: String::new(),
    };
    let Answer::Site(site) = world.run(create).unwrap().answer else {
        panic!("no site");
    };
    let central = world.enrol(site, Profile::Central, 77);
    let declared = declare(organization, "central", CENTRAL);
    let before = world.state.clone();
    let outcome = world.run(declared).unwrap();
    let touched = affected(&before, &outcome.state, &outcome.changes).nodes;
    let bearer = world.state.node_name(central).unwrap().to_string();
    // The grant to 4001 is every agency's.
    assert_eq!(scene.hears("sedec/producao/xvia1", CENTRAL), [bearer]);
    let heard = [central, scene.id("sedec/producao/xvia1")];
    assert!(heard.iter().all(|id| touched.contains(id)));

    let server = scene.world.enrol(site, Profile::SecurityServer, 78);
    let map = |node| scene.world.state.netmap(node).unwrap().me.names;
    assert!(map(central).is_empty());
    assert_eq!(map(server), [host(CENTRAL)]);
    let remove = Command::RemoveNode {
        id: server,
        detach: false,
    };
    let with_server = scene.world.state.clone();
    let outcome = scene.world.run(remove).unwrap();
    let touched = affected(&with_server, &outcome.state, &outcome.changes).nodes;
    assert!(touched.contains(&central));
    let again = scene.world.state.netmap(central).unwrap().me.names;
    assert_eq!(again, [host(CENTRAL)]);
}

#[test]
fn a_name_is_one_organizations() {
    let mut scene = Scene::new();
    let (sedec, seplag) = (scene.sedec.organization, scene.seplag.organization);
    scene.world.run(declare(sedec, "producao", NAME)).unwrap();
    match scene.world.run(declare(seplag, "producao", NAME)) {
        Err(Rejection::Invalid { field, reason }) => {
            assert_eq!(field, "names");
            assert!(
                reason.to_string().contains("sedec has declared"),
                "{reason}"
            );
        }
        other => panic!("{other:?}"),
    }
    scene
        .world
        .run(declare(sedec, "producao", "outro.mt.gov.br"))
        .unwrap();
    scene.world.run(declare(seplag, "producao", NAME)).unwrap();
}

#[test]
fn no_declaration_moves_the_overlays_own_names() {
    let mut scene = Scene::new();
    let sedec = scene.sedec.organization;
    let zone = scene.world.state.settings().overlay_zone.to_string();
    for name in [format!("xvia.{zone}"), zone.clone()] {
        scene.world.run(declare(sedec, "producao", &name)).unwrap();
        let me = scene.map("sedec/producao/balanceador1").me;
        assert!(
            me.names.is_empty() && me.profile == Profile::Balancer,
            "{name}"
        );
    }
}
