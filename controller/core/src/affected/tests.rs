//! Whom a change concerns, against what a full recompute finds.

use std::net::SocketAddr;

use malha_proto::{
    Allow, Exposure, Fingerprint, HostName, MachineFacts, MachineId, OverlayPools, Port, Profile,
    Protocol, Secret32, ServiceKind, SiteId, ToNode, TokenId, WgKey,
};

use super::*;
use crate::state::NODES_READ;
use crate::{Answer, Command, Context, History, NodeSync, Outcome, Selector, Settings};

/// A hub, and garages on many sites.
struct Fleet {
    state: State,
    commands: u64,
}

impl Fleet {
    fn new(sites: u64, nodes_per_site: u64) -> Self {
        let pools = OverlayPools::with_random_v6([1; 5]);
        let overlay_zone: HostName = "malha.internal".parse().unwrap();
        let state = State::new(Settings::new(MachineId([0; 16]), pools, overlay_zone));
        let mut fleet = Self { state, commands: 0 };
        let create = Command::CreateOrganization {
            name: "garages".parse().unwrap(),
            display_name: String::new(),
        };
        let Answer::Organization(organization) = fleet.run(&create).answer else {
            panic!("no organization")
        };
        for site in 0..sites {
            let name = format!("site-{site}").parse().unwrap();
            fleet.run(&Command::CreateSite {
                organization,
                name,
                display_name: String::new(),
            });
        }
        let sites: Vec<SiteId> = fleet.state.sites().map(|site| site.id).collect();
        fleet.run(&Command::AdoptHub {
            site: sites[0],
            name: "hub".parse().unwrap(),
            wg_key: WgKey([1; 32]),
            tls_key: Fingerprint([1; 32]),
            endpoints: vec!["198.51.100.1:51820".parse().unwrap()],
            facts: facts(0),
        });
        for site in &sites {
            let create = Command::CreateToken {
                site: *site,
                profile: Profile::Garage,
                uses: 1_000,
                ttl_s: 3_600,
            };
            let Answer::Token { id, secret } = fleet.run(&create).answer else {
                panic!("no token")
            };
            for _ in 0..nodes_per_site {
                fleet.enrol(id, &secret);
            }
        }
        fleet
    }

    fn run(&mut self, command: &Command) -> Outcome {
        self.commands += 1;
        let context = Context {
            now_ms: 1,
            random: bytes(self.commands),
            request: None,
        };
        let outcome = self.state.apply(command, &context).unwrap();
        self.state = outcome.state.clone();
        outcome
    }

    fn enrol(&mut self, token: TokenId, secret: &Secret32) -> Outcome {
        let key = bytes(self.commands);
        self.run(&Command::Enrol {
            token,
            secret: secret.clone(),
            wg_key: WgKey(key),
            tls_key: Fingerprint(key),
            name: None,
            facts: facts(self.commands),
        })
    }

    fn apply_policy(&mut self, text: &str) -> Outcome {
        let policy = crate::policy::Policy::parse(text).unwrap();
        let difference = self.state.policy_difference(&policy, text, 1).unwrap();
        self.run(&Command::ApplyPolicy {
            text: text.to_owned(),
            difference: difference.hash,
            confirm_within_ms: None,
            emergency: None,
            author: crate::policy::Author::Controller,
        })
    }

    fn add_service(&mut self, node: NodeId) -> Outcome {
        self.run(&Command::AddService {
            node,
            name: "web".parse().unwrap(),
            port: Port::new(80).unwrap(),
            target: SocketAddr::from(([127, 0, 0, 1], 8_080)),
            kind: ServiceKind::Http,
            exposure: Exposure::Public,
        })
    }
}

fn bytes(n: u64) -> [u8; 32] {
    let mut bytes = [7; 32];
    bytes[..8].copy_from_slice(&n.to_be_bytes());
    bytes
}

fn facts(n: u64) -> MachineFacts {
    MachineFacts {
        host_name: format!("garagem-{n}"),
        machine: MachineId([2; 16]),
        agent_version: String::new(),
        os: String::new(),
        engine: None,
    }
}

fn nodes_read(work: impl FnOnce()) -> usize {
    NODES_READ.with(|count| count.set(0));
    work();
    NODES_READ.with(std::cell::Cell::get)
}

/// One test, because the fleet is what takes the time.
#[test]
fn in_a_fleet_of_ten_thousand_the_cost_follows_the_change() {
    let mut fleet = Fleet::new(100, 100);
    let hub = fleet.state.nodes().find(|node| node.hub).unwrap().id;
    let garage = fleet.state.nodes().nth(5_000).unwrap().id;
    let neighbour = fleet.state.nodes().nth(5_001).unwrap().id;
    let mut history = History::new();
    history.push(&fleet.state);
    let map = fleet.state.netmap(hub).unwrap();
    let (mut hub_session, _) = NodeSync::open(
        hub,
        Some(map.revision),
        Some(map.digest()),
        &fleet.state,
        &history,
    );

    let before = fleet.state.clone();
    let outcome = fleet.add_service(garage);
    let read = nodes_read(|| {
        let said = affected(&before, &fleet.state, &outcome.changes);
        assert_eq!(said.nodes, BTreeSet::from([garage]));
    });
    assert!(read <= 16, "{read} nodes read for one service");

    let before = fleet.state.clone();
    let allow = Allow {
        protocol: Protocol::Tcp,
        from_port: 5_500,
        to_port: 5_500,
    };
    let (from, to) = (Selector::Node(garage), Selector::Node(neighbour));
    let outcome = fleet.run(&Command::AddGrant { from, to, allow });
    let read = nodes_read(|| {
        let said = affected(&before, &fleet.state, &outcome.changes);
        assert_eq!(said.nodes, BTreeSet::from([garage, neighbour]));
    });
    assert!(read <= 32, "{read} nodes read for one grant");

    let outcome = fleet.run(&Command::RenameNode {
        id: garage,
        name: "novo".parse().unwrap(),
    });
    let read = nodes_read(|| {
        history.push(&fleet.state);
        let message = hub_session.advance(&fleet.state, &history);
        let Some(ToNode::Delta(delta)) = message else {
            panic!("the hub got {message:?}")
        };
        assert_eq!(
            delta.peers.iter().map(|peer| peer.id).collect::<Vec<_>>(),
            [garage]
        );
    });
    assert!(
        outcome.changes.len() == 1 && read <= 64,
        "{read} nodes read to tell the hub of one name"
    );

    let rule = |name: &str, from: NodeId, to: NodeId, port: u16| {
        let path = |id| {
            let name = fleet.state.node_name(id).unwrap();
            let labels: Vec<&str> = name.as_str().rsplit('.').collect();
            labels.join("/")
        };
        format!(
            "[[grant]]\nname = \"{name}\"\nfrom = [\"node:{}\"]\nto = [\"node:{}\"]\nprotocol = \"tcp\"\nports = [\"{port}\"]\n",
            path(from),
            path(to)
        )
    };
    let others: Vec<NodeId> = fleet
        .state
        .nodes()
        .skip(100)
        .take(200)
        .map(|node| node.id)
        .collect();
    let many: String = others
        .windows(2)
        .enumerate()
        .map(|(n, pair)| rule(&format!("r{n}"), pair[0], pair[1], 80))
        .collect();
    let head = "version = 1\n[[test]]\nfrom = \"profile:garage\"\nto = \"profile:garage\"\nprotocol = \"tcp\"\nport = 7\nexpect = \"deny\"\n";
    let first = format!("{head}{many}{}", rule("ours", garage, neighbour, 5_500));
    let second = format!("{head}{many}{}", rule("ours", garage, neighbour, 5_577));
    fleet.apply_policy(&first);
    let before = fleet.state.clone();
    let outcome = fleet.apply_policy(&second);
    let read = nodes_read(|| {
        let said = affected(&before, &fleet.state, &outcome.changes);
        assert_eq!(said.nodes, BTreeSet::from([neighbour]));
    });
    assert!(read <= 64, "{read} nodes read for one rule of a policy");
}

/// The nodes read when one site of so many opens another port to itself, from the look at the difference to whom to tell.
fn nodes_read_for_one_site(sites: u64) -> usize {
    let mut fleet = Fleet::new(sites, 25);
    let site = fleet.state.site_by_path("garages/site-7").unwrap().id;
    let concerned: BTreeSet<NodeId> = fleet.state.nodes_of(site).map(|node| node.id).collect();
    fleet.apply_policy(&of_sites(5_500));
    let before = fleet.state.clone();
    nodes_read(|| {
        let outcome = fleet.apply_policy(&of_sites(5_577));
        let said = affected(&before, &fleet.state, &outcome.changes);
        assert_eq!(said.nodes, concerned);
    })
}

#[test]
fn a_policy_that_concerns_one_site_costs_the_same_among_ten_times_as_many() {
    let among_few = nodes_read_for_one_site(25);
    assert!(among_few > 0);
    assert_eq!(nodes_read_for_one_site(250), among_few);
}

/// What twenty sites open to themselves: the seventh this port, the others always the same.
fn of_sites(port: u16) -> String {
    let grant = |number: u16| {
        let site = format!("site:garages/site-{number}");
        let port = if number == 7 { port } else { 80 };
        format!(
            "[[grant]]\nname = \"s{number}\"\nfrom = [\"{site}\"]\nto = [\"{site}\"]\nprotocol = \"tcp\"\nports = [\"{port}\"]\n"
        )
    };
    let grants: String = (1..=20).map(grant).collect();
    format!(
        "version = 1\n{grants}[[test]]\nfrom = \"site:garages/site-7\"\nto = \"site:garages/site-7\"\nprotocol = \"tcp\"\nport = {port}\nexpect = \"allow\"\n"
    )
}
