//! Policies by chance: every kind of name, some of which nobody has, schedules and expiries around the world's time.

use std::fmt::Write;

use malha_core::policy::Author;
use malha_core::{Command, State};
use malha_proto::{Fingerprint, OperatorId, OrganizationId};

use super::World;
use super::dice::{nth, tag};

/// A small generator, so that one number is one policy.
pub(crate) struct Chance(pub(crate) u64);

impl Chance {
    pub(crate) fn below(&mut self, limit: usize) -> usize {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as usize % limit
    }

    pub(crate) fn pick<'a, T>(&mut self, items: &'a [T]) -> &'a T {
        &items[self.below(items.len())]
    }
}

impl World {
    /// A policy's part of the rolls: tags, a new policy, a word on it.
    pub(super) fn policy(&self, kind: u8, a: u8, b: u8, c: u8) -> Command {
        match kind {
            43 => Command::SetNodeTags {
                id: self.node(a),
                tags: (0..b % 3).map(tag).collect(),
            },
            44 if b.is_multiple_of(2) => {
                let text = policy_text(&self.state, u64::from(a) << 8 | u64::from(c));
                self.apply_policy(&text, c.is_multiple_of(3).then_some(30_000))
            }
            44 => self.approval(a, b, c),
            45 if b.is_multiple_of(2) => Command::ConfirmPolicy {
                version: self.state.policy().map_or(1, |head| head.version),
                author: self.author(a),
            },
            45 if b.is_multiple_of(3) => Command::RollbackPolicy {
                version: u64::from(c) % 8,
                emergency: c.is_multiple_of(5).then(|| "por acaso".to_owned()),
                author: self.author(a),
            },
            _ => Command::Sweep,
        }
    }

    /// A second approver's part of the rolls.
    fn approval(&self, a: u8, b: u8, c: u8) -> Command {
        let waiting = nth(self.state.proposals(), a);
        let proposal = waiting.map_or(u64::from(a), |it| it.number);
        let author = self.author(c);
        match b / 2 % 5 {
            0 => Command::SetSecondApprover {
                organization: nth(self.state.organizations(), a)
                    .map_or(OrganizationId(1), |it| it.id),
                on: !c.is_multiple_of(4),
                author,
            },
            1 => Command::RejectPolicy { proposal },
            2 => {
                let text = policy_text(&self.state, u64::from(a) << 8 | u64::from(c));
                let command = self.apply_policy(&text, None);
                by(command, author, c.is_multiple_of(7).then_some("por acaso"))
            }
            _ => Command::ApprovePolicy {
                proposal,
                difference: waiting.map_or(Fingerprint([a; 32]), |it| it.difference),
                author,
            },
        }
    }

    /// Anyone who may ask: an operator of any role, an API key, the controller.
    fn author(&self, n: u8) -> Author {
        let operator = nth(self.state.operators().map(|it| it.id), n / 3).map(Author::Operator);
        let key = nth(self.state.api_keys().map(|it| it.id), n / 3).map(Author::Key);
        match n % 3 {
            0 => Some(Author::Controller),
            1 => key,
            _ => operator,
        }
        .unwrap_or(Author::Operator(OperatorId(u64::from(n))))
    }
}

/// A policy's command as another author gives it.
pub(crate) fn by(command: Command, author: Author, emergency: Option<&str>) -> Command {
    match command {
        Command::ApplyPolicy {
            text,
            difference,
            confirm_within_ms,
            ..
        } => Command::ApplyPolicy {
            text,
            difference,
            confirm_within_ms,
            emergency: emergency.map(str::to_owned),
            author,
        },
        other => other,
    }
}

/// The ports that these policies open; the tests ask for them and for those beside.
pub(crate) const PORTS: [u16; 5] = [80, 82, 5_500, 5_577, 8_005];

/// A policy whose tests hold, whatever else it says.
pub(crate) fn policy_text(state: &State, seed: u64) -> String {
    let mut chance = Chance(seed ^ 0x9e37_79b9_7f4a_7c15);
    let mut text = String::from("version = 1\n");
    for n in 0..chance.below(7) {
        let from = side(state, &mut chance);
        let to = side(state, &mut chance);
        let opens = chance.pick(&[
            "protocol = \"tcp\"\nports = [\"5500\", \"5577\"]",
            "protocol = \"tcp\"\nports = [\"80-82\"]",
            "protocol = \"udp\"\nports = [\"5500-5600\", \"80\"]",
            "protocol = \"tcp\"\nports = [\"8000-8010\"]",
            "protocol = \"icmp\"",
            "service = \"web-0\"",
            "service = \"admin\"",
        ]);
        let time = chance.pick(&[
            "",
            "",
            "expires = 2027-01-15T08:00:10Z",
            "expires = 2020-01-01T00:00:00Z",
            "schedule = { from = \"04:00\", to = \"04:02\", zone = \"America/Cuiaba\" }",
            "schedule = { days = [\"mon\", \"sun\"], from = \"22:00\", to = \"06:00\", zone = \"UTC\" }",
        ]);
        writeln!(
            text,
            "[[grant]]\nname = \"g{n}\"\nfrom = [{from}]\nto = [{to}]\n{opens}\n{time}"
        )
        .unwrap();
    }
    for profile in ["garage", "security-server", "balancer", "central", "edge"] {
        writeln!(
            text,
            "[[test]]\nfrom = \"profile:{profile}\"\nto = \"profile:{profile}\"\nprotocol = \"tcp\"\nport = 7\nexpect = \"deny\""
        )
        .unwrap();
    }
    text
}

fn side(state: &State, chance: &mut Chance) -> String {
    let mut names = Vec::new();
    for _ in 0..1 + chance.below(2) {
        let name = name(state, chance);
        if !names.contains(&name) {
            names.push(name);
        }
    }
    names.join(", ")
}

fn name(state: &State, chance: &mut Chance) -> String {
    let organizations: Vec<_> = state.organizations().collect();
    let sites: Vec<_> = state.sites().collect();
    let nodes: Vec<_> = state.nodes().collect();
    let name = match chance.below(9) {
        0 if !organizations.is_empty() => format!("org:{}", chance.pick(&organizations).name),
        1 if !sites.is_empty() => {
            let site = chance.pick(&sites);
            let organization = state.organization(site.organization).unwrap();
            format!("site:{}/{}", organization.name, site.name)
        }
        2 | 3 if !nodes.is_empty() => {
            let name = state.node_name(chance.pick(&nodes).id).unwrap();
            let mut labels: Vec<&str> = name.as_str().split('.').collect();
            labels.reverse();
            format!("node:{}", labels.join("/"))
        }
        4 => format!(
            "profile:{}",
            chance.pick(&["garage", "security-server", "edge"])
        ),
        5 => format!("tag:{}", chance.pick(&["db", "web"])),
        6 => "operator".to_owned(),
        7 => "org:ninguem".to_owned(),
        _ => "node:acme/centro/garagem-9".to_owned(),
    };
    format!("\"{name}\"")
}
