//! Balancers as an operator meets them: what they open, what they refuse, and what goes with what.
#![allow(clippy::unwrap_used, reason = "a step that fails is a test that fails")]

mod world;

use std::collections::BTreeSet;

use malha_core::{Answer, BalancerSettings, Command, Rejection, Source, User, affected};
use malha_proto::{
    BackendMode, BalancerId, Exposure, HealthPort, NodeId, Port, Profile, ServiceId, ServiceKind,
};
use world::{World, label};

/// A balancer node and two servers of one site, each with a service on 5500.
struct Stage {
    world: World,
    node: NodeId,
    servers: [NodeId; 2],
    services: [ServiceId; 2],
}

impl Stage {
    fn new() -> Self {
        let mut world = World::furnished();
        let site = world.state.sites().next().unwrap().id;
        let node = world.enrol(site, Profile::Balancer, 101);
        let servers = [102, 103].map(|machine| world.enrol(site, Profile::SecurityServer, machine));
        let services = servers.map(|server| {
            let command = Command::AddService {
                node: server,
                name: label("mensagens"),
                port: port(5_500),
                target: "127.0.0.1:5500".parse().unwrap(),
                kind: ServiceKind::Tcp,
                exposure: Exposure::Tunnel,
            };
            match world.run(command).unwrap().answer {
                Answer::Service(id) => id,
                other => panic!("{other:?}"),
            }
        });
        Self {
            world,
            node,
            servers,
            services,
        }
    }

    fn command(&self) -> Command {
        Command::AddBalancer {
            node: self.node,
            name: label("xroad"),
            port: port(5_500),
            exposure: Exposure::Tunnel,
            backends: self.services.into(),
            settings: x_road(),
        }
    }

    fn add(&mut self) -> BalancerId {
        match self.world.run(self.command()).unwrap().answer {
            Answer::Balancer(id) => id,
            other => panic!("{other:?}"),
        }
    }

    /// What the balancer may open on a server.
    fn open_ports(&self, server: NodeId) -> Vec<u16> {
        let map = self.world.state.netmap(server).unwrap();
        let peer = map.peers.get(&self.node);
        peer.map_or(vec![], |peer| {
            peer.allow.iter().map(|allow| allow.from_port).collect()
        })
    }
}

fn port(number: u16) -> Port {
    Port::new(number).unwrap()
}

fn x_road() -> BalancerSettings {
    BalancerSettings {
        health: Some(HealthPort {
            port: port(5_588),
            path: "/".to_owned(),
        }),
        ..BalancerSettings::default()
    }
}

#[test]
fn a_balancer_reaches_its_servers_and_their_health_ports_and_nothing_else() {
    let mut stage = Stage::new();
    assert!(stage.open_ports(stage.servers[0]).is_empty());
    let before = stage.world.state.clone();
    let id = stage.add();
    for server in stage.servers {
        assert_eq!(stage.open_ports(server), [5_500, 5_588]);
    }
    let state = &stage.world.state;
    let map = state.netmap(stage.node).unwrap();
    let mine = &map.balancers[&id];
    let first = state.node(stage.servers[0]).unwrap().addresses.v4;
    assert_eq!(mine.backends[0].address, (first, 5_500).into());
    assert!(
        map.peers[&stage.servers[0]].allow.is_empty(),
        "one way only"
    );
    let touched = affected(&before, state, &[]).nodes;
    let expected = [stage.node, stage.servers[0], stage.servers[1]];
    assert_eq!(touched, BTreeSet::from(expected));
}

#[test]
fn the_way_to_a_server_names_its_balancer() {
    let mut stage = Stage::new();
    let id = stage.add();
    let question = malha_core::Question {
        from: stage.node,
        to: stage.servers[1],
        protocol: malha_proto::Protocol::Tcp,
        port: 5_588,
    };
    let said = stage.world.state.explain(&question).unwrap();
    assert_eq!(said.verdict, malha_core::Verdict::Allowed);
    assert_eq!(said.permissions[0].source, Source::Balanced(id));
}

#[test]
fn a_port_is_one_service_s_or_one_balancer_s() {
    let mut stage = Stage::new();
    stage.add();
    let service = Command::AddService {
        node: stage.node,
        name: label("outro"),
        port: port(5_500),
        target: "127.0.0.1:5500".parse().unwrap(),
        kind: ServiceKind::Tcp,
        exposure: Exposure::Tunnel,
    };
    let refused = stage.world.run(service).unwrap_err();
    assert!(matches!(refused, Rejection::Invalid { field: "port", .. }));
    let Command::AddBalancer {
        node,
        port,
        exposure,
        backends,
        settings,
        ..
    } = stage.command()
    else {
        unreachable!()
    };
    let second = Command::AddBalancer {
        node,
        name: label("segundo"),
        port,
        exposure,
        backends,
        settings,
    };
    let refused = stage.world.run(second).unwrap_err();
    assert!(refused.to_string().contains("balancer xroad has port 5500"));
}

#[test]
fn only_a_balancer_or_an_edge_balances() {
    let mut stage = Stage::new();
    stage.node = stage.servers[0];
    let refused = stage.world.run(stage.command()).unwrap_err();
    assert!(matches!(refused, Rejection::Invalid { field: "node", .. }));
}

#[test]
fn the_hub_balances_like_an_edge() {
    let mut stage = Stage::new();
    let gateway = stage.world.state.nodes().find(|node| node.hub);
    stage.node = gateway.unwrap().id;
    let before = stage.world.state.clone();
    let id = stage.add();
    let state = &stage.world.state;
    assert!(
        state
            .netmap(stage.node)
            .unwrap()
            .balancers
            .contains_key(&id)
    );
    for server in stage.servers {
        assert!(stage.open_ports(server).contains(&5_588));
    }
    assert!(affected(&before, state, &[]).nodes.contains(&stage.node));
}

#[test]
fn x_road_is_not_asked_more_often_than_every_two_seconds() {
    let mut stage = Stage::new();
    let id = stage.add();
    let set = |settings| Command::SetBalancer {
        id,
        backends: stage.services.into(),
        settings,
    };
    let hasty = BalancerSettings {
        check_interval_ms: 1_999,
        ..x_road()
    };
    let refused = stage.world.run(set(hasty.clone())).unwrap_err();
    assert_eq!(
        refused.to_string(),
        "check_interval_ms: it must be 2000 to 300000, not 1999"
    );
    let by_tcp = BalancerSettings {
        health: None,
        ..hasty
    };
    stage.world.run(set(by_tcp)).unwrap();
}

#[test]
fn a_server_that_is_drained_stays_so_when_the_settings_change() {
    let mut stage = Stage::new();
    let id = stage.add();
    let service = stage.services[0];
    let drain = Command::SetBackendMode {
        id,
        service,
        mode: BackendMode::Drain,
    };
    stage.world.run(drain).unwrap();
    let set = Command::SetBalancer {
        id,
        backends: stage.services.into(),
        settings: BalancerSettings::default(),
    };
    stage.world.run(set).unwrap();
    let balancer = stage.world.state.balancer(id).unwrap();
    assert_eq!(balancer.backends[&service], BackendMode::Drain);
    assert_eq!(balancer.backends[&stage.services[1]], BackendMode::Serve);
}

#[test]
fn a_server_leaves_its_balancers_only_if_asked_and_the_last_one_takes_them_along() {
    let mut stage = Stage::new();
    let id = stage.add();
    let service = stage.services[0];
    let refused = stage.world.run(Command::RemoveService { id: service });
    assert!(matches!(refused, Err(Rejection::InUse { .. })));
    let remove = |id, detach| Command::RemoveNode { id, detach };
    for (server, left) in stage.servers.into_iter().zip([Some(1), None]) {
        let before = match stage.world.run(remove(server, false)) {
            Err(Rejection::InUse {
                by: User::Leading(before),
                ..
            }) => before,
            other => panic!("{other:?}"),
        };
        assert_eq!(before.len(), 1);
        assert!(before[0].name.ends_with("/xroad"), "{}", before[0].name);
        assert_eq!(before[0].alone, left.is_none());
        stage.world.run(remove(server, true)).unwrap();
        let balancer = stage.world.state.balancer(id);
        assert_eq!(balancer.map(|it| it.backends.len()), left);
    }
}

#[test]
fn a_balancer_goes_with_its_node() {
    let mut stage = Stage::new();
    let id = stage.add();
    stage
        .world
        .run(Command::RemoveNode {
            id: stage.node,
            detach: false,
        })
        .unwrap();
    assert!(stage.world.state.balancer(id).is_none());
    assert!(stage.open_ports(stage.servers[0]).is_empty());
}
