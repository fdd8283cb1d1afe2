//! Two operators and an organization that asks for both.

use std::collections::BTreeSet;

use malha_core::policy::Author;
use malha_core::{Answer, Command, Rejection, Role, Scope, State};
use malha_proto::{Fingerprint, NodeId, OrganizationId, Protocol};

use super::policy_text::by;
use super::{World, label};

pub(crate) const INSIDE: &str = r#"version = 1
[[grant]]
name = "a"
from = ["org:fazenda"]
to = ["org:fazenda"]
protocol = "tcp"
ports = ["5500"]
[[test]]
from = "org:fazenda"
to = "org:fazenda"
protocol = "tcp"
port = 5500
expect = "allow"
"#;

/// Two operators, one of them an owner; `fazenda` asks for a second approver.
pub(crate) struct Stage {
    pub(crate) world: World,
    pub(crate) fazenda: OrganizationId,
    pub(crate) ana: Author,
    pub(crate) bruno: Author,
}

impl Stage {
    pub(crate) fn new() -> Self {
        let mut world = World::furnished();
        let ana = operator(&mut world, "ana", Role::Owner);
        let bruno = operator(&mut world, "bruno", Role::Operator);
        let fazenda = world.state.organization_by_name("fazenda").unwrap().id;
        let mut stage = Self {
            world,
            fazenda,
            ana,
            bruno,
        };
        stage.ask(true, ana).unwrap();
        stage
    }

    pub(crate) fn ask(&mut self, on: bool, author: Author) -> Result<Answer, Rejection> {
        let command = Command::SetSecondApprover {
            organization: self.fazenda,
            on,
            author,
        };
        self.world.run(command).map(|it| it.answer)
    }

    pub(crate) fn apply(
        &mut self,
        text: &str,
        author: Author,
        within_ms: Option<u64>,
    ) -> Result<Answer, Rejection> {
        let command = by(self.world.apply_policy(text, within_ms), author, None);
        self.world.run(command).map(|it| it.answer)
    }

    pub(crate) fn alone(
        &mut self,
        text: &str,
        author: Author,
        reason: &str,
    ) -> Result<Answer, Rejection> {
        let command = by(self.world.apply_policy(text, None), author, Some(reason));
        self.world.run(command).map(|it| it.answer)
    }

    pub(crate) fn propose(&mut self, text: &str, author: Author) -> u64 {
        match self.apply(text, author, None).unwrap() {
            Answer::Proposed { proposal } => proposal,
            other => panic!("{other:?}"),
        }
    }

    pub(crate) fn approve(&mut self, proposal: u64, author: Author) -> Result<Answer, Rejection> {
        let seen = self.world.state.proposal(proposal).map(|it| it.difference);
        let command = Command::ApprovePolicy {
            proposal,
            difference: seen.unwrap_or(Fingerprint([0; 32])),
            author,
        };
        self.world.run(command).map(|it| it.answer)
    }

    pub(crate) fn roll_back(&mut self, version: u64, author: Author) -> Result<Answer, Rejection> {
        let command = Command::RollbackPolicy {
            version,
            emergency: None,
            author,
        };
        self.world.run(command).map(|it| it.answer)
    }

    pub(crate) fn confirm(&mut self, version: u64, author: Author) -> Result<Answer, Rejection> {
        let command = Command::ConfirmPolicy { version, author };
        self.world.run(command).map(|it| it.answer)
    }

    pub(crate) fn key(&mut self, name: &str, of: Option<Author>, scope: Scope) -> Author {
        let operator = match of {
            Some(Author::Operator(id)) => Some(id),
            _ => None,
        };
        let command = Command::AddApiKey {
            name: label(name),
            scopes: [scope].into(),
            expires_ms: None,
            operator,
        };
        match self.world.run(command).unwrap().answer {
            Answer::ApiKey { id, .. } => Author::Key(id),
            other => panic!("{other:?}"),
        }
    }

    /// What the filters inside `fazenda` let in.
    pub(crate) fn is_open(&self) -> bool {
        let nodes = nodes_of(&self.world.state, self.fazenda);
        open(&self.world.state, nodes[0], nodes[1], 5_500)
    }
}

pub(crate) fn operator(world: &mut World, name: &str, role: Role) -> Author {
    let command = Command::AddOperator {
        name: label(name),
        password_hash: "$argon2id$v=19$m=1,t=1,p=1$c2FsdA$aGFzaA".to_owned(),
        role,
    };
    match world.run(command).unwrap().answer {
        Answer::Operator(id) => Author::Operator(id),
        other => panic!("{other:?}"),
    }
}

pub(crate) fn nodes_of(state: &State, organization: OrganizationId) -> Vec<NodeId> {
    let sites: BTreeSet<_> = state.sites_of(organization).map(|it| it.id).collect();
    let nodes = state.nodes().filter(|it| sites.contains(&it.site));
    nodes.map(|it| it.id).collect()
}

pub(crate) fn open(state: &State, from: NodeId, to: NodeId, port: u16) -> bool {
    let map = state.netmap(to).unwrap();
    let peer = map.peers.get(&from);
    peer.is_some_and(|it| it.allow.iter().any(|it| it.covers(Protocol::Tcp, port)))
}
