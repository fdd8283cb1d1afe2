//! The grants that profiles suggest for an agency, in words. What every agency has in common is said once, by tags; what is
//! its own is said by its names. Each rule comes with the tests that a policy needs to take it.

use std::collections::BTreeSet;
use std::fmt::Write;

use malha_proto::{Label, Port, Profile, Protocol};

use crate::declaration::Stage;
use crate::policy::Who;
use crate::profile::{Direction, Party, PortExposure, PortSpec, ProfileSpec, Release};
use crate::tags::Tag;

/// A grant as a policy's text says it, over TCP.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct SuggestedRule {
    pub(super) name: Label,
    pub(super) from: Vec<Who>,
    pub(super) to: Vec<Who>,
    pub(super) ports: BTreeSet<Port>,
    /// From whom, to whom, on which port, and whether it must be open.
    pub(super) tests: Vec<(Who, Who, Port, bool)>,
}

/// What is suggested for the servers of one stage of an agency.
pub(super) struct Suggestion<'a> {
    pub(super) organization: &'a Label,
    pub(super) stage: Stage,
    /// Its servers' names.
    pub(super) servers: &'a [Label],
    pub(super) release: Option<Release>,
    pub(super) server: &'a ProfileSpec,
    /// Whether the agency has the other stage too.
    pub(super) has_other: bool,
}

impl Suggestion<'_> {
    /// At most one rule for each kind of partner.
    pub(super) fn rules(&self) -> Vec<SuggestedRule> {
        [
            self.between_peers(),
            self.by_operators(),
            self.to_central(),
            self.by_information_systems(),
            self.within_cluster(),
        ]
        .into_iter()
        .flatten()
        .collect()
    }

    /// Servers, and balancers in front of them, of one stage of all agencies.
    fn between_peers(&self) -> Option<SuggestedRule> {
        let ports = self.ports(Direction::In, Party::Peers);
        let first = *ports.first()?;
        let servers = Who::Profile(Profile::SecurityServer);
        let mut tests = vec![(self.all(), self.all(), first, true)];
        let shut = self.server.ports_at(self.release).find(|it| {
            it.direction == Direction::In
                && it.protocol == Protocol::Tcp
                && it.exposure == PortExposure::Never
        });
        if let Some(port) = shut.and_then(|it| it.ports.first()) {
            tests.push((servers, self.all(), *port, false));
        }
        let other = self.stage.other();
        tests.push((Who::Tag(other.tag()), self.all(), first, false));
        self.rule(
            self.shared("peers"),
            vec![self.all()],
            vec![self.all()],
            ports,
            tests,
        )
    }

    fn by_operators(&self) -> Option<SuggestedRule> {
        let ports = self.ports(Direction::In, Party::Operators);
        let operator = Who::Tag(Tag::operator());
        let first = *ports.first()?;
        let own = [Party::Peers, Party::Cluster, Party::InformationSystems];
        let others: BTreeSet<Port> = own
            .into_iter()
            .flat_map(|party| self.ports(Direction::In, party))
            .collect();
        let mut tests = vec![(operator.clone(), self.all(), first, true)];
        if let Some(port) = ports.difference(&others).next() {
            tests.push((self.all(), self.all(), *port, false));
        }
        self.rule(
            self.shared("operators"),
            vec![operator],
            vec![self.all()],
            ports,
            tests,
        )
    }

    fn to_central(&self) -> Option<SuggestedRule> {
        let ports = self.ports(Direction::Out, Party::Central);
        let central = Who::Profile(Profile::Central);
        let last = *ports.last()?;
        let tests = vec![
            (self.all(), central.clone(), last, true),
            (central.clone(), self.all(), last, false),
        ];
        self.rule(
            self.shared("central"),
            vec![self.all()],
            vec![central],
            ports,
            tests,
        )
    }

    /// The agency's own systems stand in the same site as the servers that they use.
    fn by_information_systems(&self) -> Option<SuggestedRule> {
        let ports = self.ports(Direction::In, Party::InformationSystems);
        let site = self.site(self.stage);
        let last = *ports.last()?;
        let mut tests = vec![(site.clone(), site.clone(), last, true)];
        if self.has_other {
            tests.push((self.site(self.stage.other()), site.clone(), last, false));
        }
        self.rule(
            self.own("systems"),
            vec![site.clone()],
            vec![site],
            ports,
            tests,
        )
    }

    fn within_cluster(&self) -> Option<SuggestedRule> {
        let ports = self.ports(Direction::In, Party::Cluster);
        if self.servers.len() < 2 {
            return None;
        }
        let node = |name: &Label| {
            Who::Node(
                self.organization.clone(),
                self.stage.site_name(),
                name.clone(),
            )
        };
        let servers: Vec<Who> = self.servers.iter().map(node).collect();
        let (one, other) = (servers[0].clone(), servers[1].clone());
        let tests = vec![(one, other, *ports.first()?, true)];
        self.rule(self.own("cluster"), servers.clone(), servers, ports, tests)
    }

    fn rule(
        &self,
        name: Label,
        from: Vec<Who>,
        to: Vec<Who>,
        ports: BTreeSet<Port>,
        tests: Vec<(Who, Who, Port, bool)>,
    ) -> Option<SuggestedRule> {
        Some(SuggestedRule {
            name,
            from,
            to,
            ports,
            tests,
        })
    }

    /// The TCP ports that the profile has for somebody inside the overlay.
    fn ports(&self, direction: Direction, party: Party) -> BTreeSet<Port> {
        let is_meant = |it: &&PortSpec| {
            it.direction == direction
                && it.protocol == Protocol::Tcp
                && it.who.contains(&party)
                && (direction == Direction::Out || it.exposure == PortExposure::Tunnel)
        };
        let entries = self.server.ports_at(self.release).filter(is_meant);
        entries.flat_map(|it| it.ports.iter().copied()).collect()
    }

    /// Everybody's servers of this stage.
    fn all(&self) -> Who {
        Who::Tag(self.stage.tag())
    }

    fn site(&self, stage: Stage) -> Who {
        Who::Site(self.organization.clone(), stage.site_name())
    }

    fn shared(&self, partner: &str) -> Label {
        label(&format!("xroad-{}-{partner}", self.stage.name()))
    }

    fn own(&self, partner: &str) -> Label {
        label(&format!(
            "{}-{}-{partner}",
            self.organization,
            self.stage.name()
        ))
    }
}

impl SuggestedRule {
    /// As a policy's text says it, with its tests.
    pub(super) fn text(&self) -> String {
        let names = |side: &[Who]| list(side.iter());
        let mut text = format!(
            "\n[[grant]]\nname = \"{}\"\nfrom = [{}]\nto = [{}]\nprotocol = \"tcp\"\nports = [{}]\n",
            self.name,
            names(&self.from),
            names(&self.to),
            list(self.ports.iter()),
        );
        for (from, to, port, allowed) in &self.tests {
            let expect = if *allowed { "allow" } else { "deny" };
            // Writing into a String can't fail.
            let _ = write!(
                text,
                "\n[[test]]\nfrom = \"{from}\"\nto = \"{to}\"\nprotocol = \"tcp\"\nport = {port}\nexpect = \"{expect}\"\n"
            );
        }
        text
    }
}

fn list(items: impl Iterator<Item = impl ToString>) -> String {
    let quoted: Vec<String> = items.map(|it| format!("\"{}\"", it.to_string())).collect();
    quoted.join(", ")
}

/// Names are checked to leave room for this before any is made.
fn label(text: &str) -> Label {
    text.parse()
        .unwrap_or_else(|error| unreachable!("{text:?} is no label: {error}"))
}
