//! The recent states: bounded, found by revision, and cheap to keep.

use malha_proto::{
    Fingerprint, HostName, MachineFacts, MachineId, NodeId, OverlayPools, ToNode, WgKey,
};

use super::*;
use crate::{Answer, Command, Context, NodeSync, Settings};

/// Two hubs on one site: the state changes when either is renamed.
struct Pair {
    state: State,
    history: History,
    nodes: [NodeId; 2],
}

impl Pair {
    fn new() -> Self {
        let pools = OverlayPools::with_random_v6([1; 5]);
        let overlay_zone: HostName = "malha.internal".parse().unwrap();
        let mut state = State::new(Settings::new(MachineId([0; 16]), pools, overlay_zone));
        let name = "acme".parse().unwrap();
        run(
            &mut state,
            Command::CreateOrganization {
                name,
                display_name: String::new(),
            },
        );
        let organization = state.organizations().next().unwrap().id;
        let name = "centro".parse().unwrap();
        run(
            &mut state,
            Command::CreateSite {
                organization,
                name,
                display_name: String::new(),
            },
        );
        let site = state.sites().next().unwrap().id;
        let nodes = [1, 2].map(|n| {
            let facts = MachineFacts {
                host_name: String::new(),
                machine: MachineId([n; 16]),
                agent_version: String::new(),
                os: String::new(),
                engine: None,
            };
            let answer = run(
                &mut state,
                Command::AdoptHub {
                    site,
                    name: format!("hub-{n}").parse().unwrap(),
                    wg_key: WgKey([n; 32]),
                    tls_key: Fingerprint([n; 32]),
                    endpoints: vec![],
                    facts,
                },
            );
            match answer {
                Answer::Node(id) => id,
                other => panic!("{other:?}"),
            }
        });
        let mut history = History::new();
        history.push(&state);
        Self {
            state,
            history,
            nodes,
        }
    }

    fn apply(&mut self, command: Command) {
        run(&mut self.state, command);
        self.history.push(&self.state);
    }

    fn rename(&mut self, id: NodeId, n: u64) {
        self.apply(Command::RenameNode {
            id,
            name: format!("nome-{n}").parse().unwrap(),
        });
    }
}

fn run(state: &mut State, command: Command) -> Answer {
    let outcome = state
        .apply(
            &command,
            &Context {
                now_ms: 1,
                random: [0; 32],
                request: None,
            },
        )
        .unwrap();
    *state = outcome.state;
    outcome.answer
}

#[test]
fn the_ring_never_grows_beyond_its_length() {
    let mut pair = Pair::new();
    let first = pair.state.revision();
    for n in 0..MAX_STATES as u64 + 10 {
        pair.rename(pair.nodes[0], n);
    }
    assert_eq!(pair.history.len(), MAX_STATES);
    assert!(pair.history.at(first).is_none());
    assert_eq!(pair.history.at(pair.state.revision()), Some(&pair.state));
}

#[test]
fn changes_that_touch_no_netmap_share_one_place() {
    let mut pair = Pair::new();
    let before = pair.state.revision();
    for n in 0..20 {
        let name = format!("org-{n}").parse().unwrap();
        pair.apply(Command::CreateOrganization {
            name,
            display_name: String::new(),
        });
    }
    assert_eq!(pair.history.len(), 1);
    assert!(pair.history.at(before).is_some() && pair.history.at(pair.state.revision()).is_some());
}

/// Both hubs know each other, so a lonely garage plays the quiet node here.
#[test]
fn a_node_that_was_quiet_for_longer_than_the_ring_still_gets_a_delta() {
    let mut pair = Pair::new();
    let quiet = enrol_garage(&mut pair);
    let map = pair.state.netmap(quiet).unwrap();
    let (mut session, first) = NodeSync::open(
        quiet,
        Some(map.revision),
        Some(map.digest()),
        &pair.state,
        &pair.history,
    );
    assert_eq!(first, None);
    let other = enrol_garage(&mut pair);
    for n in 0..MAX_STATES as u64 + 10 {
        pair.rename(other, n);
    }
    pair.rename(pair.nodes[0], 1);
    let message = session.advance(&pair.state, &pair.history);
    let Some(ToNode::Delta(delta)) = message else {
        panic!("{message:?}")
    };
    let mut patched = map;
    patched.patch(*delta).unwrap();
    assert_eq!(patched, pair.state.netmap(quiet).unwrap());
}

fn enrol_garage(pair: &mut Pair) -> NodeId {
    let site = pair.state.sites().next().unwrap().id;
    let create = Command::CreateToken {
        site,
        profile: malha_proto::Profile::Garage,
        uses: 1,
        ttl_s: 600,
    };
    let Answer::Token { id, secret } = run(&mut pair.state, create) else {
        panic!("no token")
    };
    let n = pair.state.nodes().len() as u8 + 10;
    let facts = MachineFacts {
        host_name: "garagem".to_owned(),
        machine: MachineId([n; 16]),
        agent_version: String::new(),
        os: String::new(),
        engine: None,
    };
    let (wg_key, tls_key) = (WgKey([n; 32]), Fingerprint([n; 32]));
    let enrol = Command::Enrol {
        token: id,
        secret,
        wg_key,
        tls_key,
        name: None,
        facts,
    };
    let Answer::Enrolled { node, .. } = run(&mut pair.state, enrol) else {
        panic!("not enrolled")
    };
    pair.history.push(&pair.state);
    node
}
