//! How many peers grants make of one node: one that has more than it takes keeps its former netmap, so a grant that would make
//! so many is refused. Those that come by enrolment are the node's to report.

use std::collections::BTreeSet;

use malha_proto::{MAX_PEERS, NodeId};

use super::groups::{Groups, Lens, check_pairs, pairs};
use crate::command::Rejection;
use crate::model::Node;
use crate::reason::Reason;
use crate::state::State;

/// Refuses grants that give a node more peers than it takes, and more than it had.
pub(crate) fn check_peers(before: &State, after: &State) -> Result<(), Rejection> {
    if after.nodes.len() <= MAX_PEERS {
        return Ok(());
    }
    let mut lens = Lens::default();
    lens.look_at(before.grants().chain(after.grants()));
    let selectors: BTreeSet<_> = (after.grants())
        .flat_map(|grant| [grant.from, grant.to])
        .collect();
    let nodes: BTreeSet<NodeId> = (selectors.into_iter())
        .flat_map(|selector| after.members(selector))
        .collect();
    let (groups, others) = lens.group(after, &nodes, &nodes);
    if check_pairs(&groups, &others).is_err() {
        return Ok(());
    }
    for group in groups.values() {
        let peers = after.granted_peers(group, &others);
        if peers > MAX_PEERS && peers > before.granted_peers(group, &others) {
            let node = group.first().map(|id| after.node_path(*id));
            return Err(Rejection::Invalid {
                field: "grant",
                reason: Reason::TooManyPeers {
                    node: node.unwrap_or_default(),
                    peers,
                },
            });
        }
    }
    Ok(())
}

impl State {
    /// The peers of each node of a group: those that grants join it with, and the gateways. None of a gateway, whose peers don't
    /// depend on grants.
    fn granted_peers(&self, group: &[NodeId], others: &Groups) -> usize {
        let opens = |from: &Node, to: &Node| {
            let mut granted = self.granted(from, to);
            granted.any(|grant| self.opened(&grant.allow, to).is_some())
        };
        let mut peers = self.index.gateways.len();
        for other in others.values() {
            let Some(pair) = pairs(self, group, other) else {
                continue;
            };
            if pair.from.is_gateway() {
                return 0;
            }
            if !pair.to.is_gateway() && (opens(pair.from, pair.to) || opens(pair.to, pair.from)) {
                let is_among = other.contains(&pair.from.id);
                peers += other.len() - usize::from(is_among);
            }
        }
        peers
    }
}

#[cfg(test)]
mod tests {
    use malha_proto::{
        Allow, Fingerprint, MachineFacts, MachineId, OverlayPools, Profile, Protocol, WgKey,
    };

    use super::*;
    use crate::change::Entity;
    use crate::command::{Answer, Command, Context};
    use crate::model::{Selector, Settings};
    use crate::policy::{Author, Policy};

    fn run(state: &mut State, command: &Command) -> Result<Answer, Rejection> {
        let context = Context {
            now_ms: 1_800_000_000_000,
            random: [3; 32],
            request: None,
        };
        let outcome = state.apply(command, &context)?;
        *state = outcome.state;
        Ok(outcome.answer)
    }

    /// A hub, a security server, and so many garages.
    fn overlay_of(garages: usize) -> State {
        let pools = OverlayPools::with_random_v6([1; 5]);
        let zone = "malha.internal".parse().unwrap();
        let mut state = State::new(Settings::new(MachineId([0; 16]), pools, zone));
        let name = || "centro".parse().unwrap();
        let organization = Command::CreateOrganization {
            name: name(),
            display_name: String::new(),
        };
        run(&mut state, &organization).unwrap();
        let site = Command::CreateSite {
            organization: state.organizations().next().unwrap().id,
            name: name(),
            display_name: String::new(),
        };
        run(&mut state, &site).unwrap();
        let hub = Command::AdoptHub {
            site: state.sites().next().unwrap().id,
            name: "hub".parse().unwrap(),
            wg_key: WgKey([1; 32]),
            tls_key: Fingerprint([1; 32]),
            endpoints: vec![],
            facts: MachineFacts {
                host_name: "hub".to_owned(),
                machine: MachineId([1; 16]),
                agent_version: String::new(),
                os: String::new(),
                engine: None,
            },
        };
        run(&mut state, &hub).unwrap();
        add_node(&mut state, Profile::SecurityServer);
        for _ in 0..garages {
            add_node(&mut state, Profile::Garage);
        }
        state
    }

    fn add_node(state: &mut State, profile: Profile) {
        let mut node = state.nodes().next().unwrap().clone();
        let number = 1_000 + u64::try_from(state.nodes().len()).unwrap();
        (node.id, node.hub, node.profile) = (NodeId(number), false, profile);
        node.name = format!("node-{number}").parse().unwrap();
        state.put(Entity::Node(node));
    }

    fn grant(port: u16) -> Command {
        Command::AddGrant {
            from: Selector::Profile(Profile::Garage),
            to: Selector::Profile(Profile::SecurityServer),
            allow: Allow {
                protocol: Protocol::Tcp,
                from_port: port,
                to_port: port,
            },
        }
    }

    /// A policy that says the same.
    fn policy(state: &State, port: u16) -> Command {
        let who = "from = \"profile:garage\"\nto = \"profile:security-server\"\nprotocol = \"tcp\"";
        let text = format!(
            "version = 1\n[[grant]]\nname = \"garages\"\n{}ports = [\"{port}\"]\n[[test]]\n{who}\nport = {port}\nexpect = \"allow\"\n",
            "from = [\"profile:garage\"]\nto = [\"profile:security-server\"]\nprotocol = \"tcp\"\n",
        );
        let parsed = Policy::parse(&text).unwrap();
        let seen = state.policy_difference(&parsed, &text, 1_800_000_000_000);
        Command::ApplyPolicy {
            text,
            difference: seen.unwrap().hash,
            confirm_within_ms: None,
            emergency: None,
            author: Author::Controller,
        }
    }

    #[test]
    fn a_grant_that_gives_a_node_more_peers_than_it_takes_is_refused_by_number() {
        let mut state = overlay_of(MAX_PEERS);
        let said = policy(&state, 5_500);
        for command in [grant(5_500), said] {
            let refused = run(&mut state, &command).unwrap_err();
            let text = refused.to_string();
            assert!(text.contains("20001 peers"), "{text}");
            assert!(text.contains("at most 20000"), "{text}");
        }
    }

    #[test]
    fn a_node_may_have_as_many_peers_as_it_takes() {
        let mut state = overlay_of(MAX_PEERS - 1);
        run(&mut state, &grant(5_500)).unwrap();
        let server = state.nodes().nth(1).unwrap().id;
        assert_eq!(state.netmap(server).unwrap().peers.len(), MAX_PEERS);
    }

    #[test]
    fn a_fleet_that_grew_beyond_may_still_change_its_policy() {
        let mut state = overlay_of(MAX_PEERS - 1);
        run(&mut state, &grant(5_500)).unwrap();
        add_node(&mut state, Profile::Garage);
        let other_port = policy(&state, 5_577);
        run(&mut state, &other_port).unwrap();
    }
}
