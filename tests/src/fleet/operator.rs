//! What operators do, at random: everything that changes who may speak with whom.

use malha_core::{Answer, Command, NodeState, Selector, State};
use malha_proto::{
    Allow, Exposure, NodeId, OrganizationId, Port, Profile, Protocol, ServiceId, ServiceKind,
    SiteId, TokenId,
};

use super::Fleet;
use super::agenda::{BoxId, Happening};
use super::controller::Verdict;
use super::failure::Broken;
use super::machine::{Machine, Ticket};

impl Fleet {
    /// One random wish of an operator; a rejection is an answer like any other.
    pub(super) fn operate(&mut self) -> Result<(), Broken> {
        let state = self.controller.committed().clone();
        match self.dice.below(100) {
            0..20 => self.add_service(&state),
            20..28 => {
                let services: Vec<ServiceId> = state.services().map(|it| it.id).collect();
                let command = self
                    .dice
                    .pick(&services)
                    .map(|id| Command::RemoveService { id });
                self.wish(command)
            }
            28..48 => self.add_grant(&state),
            48..60 => {
                let grants: Vec<_> = state.grants().map(|it| it.id).collect();
                let command = self
                    .dice
                    .pick(&grants)
                    .map(|id| Command::RemoveGrant { id });
                self.wish(command)
            }
            60..66 => self.add_route(&state),
            66..69 => {
                let routes: Vec<_> = state.routes().map(|it| it.id).collect();
                let command = self
                    .dice
                    .pick(&routes)
                    .map(|id| Command::RemoveRoute { id });
                self.wish(command)
            }
            69..76 => self.set_endpoints(&state),
            76..79 => self.rename(&state),
            79..82 => {
                let node = self.some_node(&state);
                self.wish(node.map(|id| Command::RemoveNode { id, detach: true }))
            }
            82..86 => self.replace(&state),
            86..93 => self.resolve(&state),
            93..95 => {
                let tokens: Vec<TokenId> = state.tokens().map(|it| it.id).collect();
                let command = self
                    .dice
                    .pick(&tokens)
                    .map(|id| Command::RevokeToken { id });
                self.wish(command)
            }
            95..97 => self.wish(Some(Command::Sweep)),
            97..98 => self.add_site(&state),
            _ => self.add_machines(&state),
        }
    }

    /// The first organizations, sites and the hub.
    pub(super) fn found(&mut self) -> Result<(), Broken> {
        for number in 0..3 {
            let name = format!("orgao-{number}");
            let command = Command::CreateOrganization {
                name: label(&name)?,
                display_name: name,
            };
            let organization = match self.command(&command)? {
                Some(Answer::Organization(id)) => id,
                other => return Err(Broken::new(format!("no organization: {other:?}"))),
            };
            for site in 0..3 {
                self.create_site(organization, site)?;
            }
        }
        let site = self
            .controller
            .committed()
            .sites()
            .map(|site| site.id)
            .next();
        let site = site.ok_or_else(|| Broken::new("no site".to_owned()))?;
        let facts = Machine::new(0, &mut self.dice).facts;
        let command = Command::AdoptHub {
            site,
            name: label("hub")?,
            wg_key: malha_proto::WgKey(self.dice.bytes()),
            tls_key: malha_proto::Fingerprint(self.dice.bytes()),
            endpoints: vec![([198, 51, 100, 1], 51_820).into()],
            facts,
        };
        match self.command(&command)? {
            Some(Answer::Node(hub)) => self.controller.hub = hub,
            other => return Err(Broken::new(format!("no hub: {other:?}"))),
        }
        Ok(())
    }

    /// A token, and the machines that got it.
    pub(super) fn enrol_machines(&mut self, machines: u32, uses: u32) -> Result<(), Broken> {
        let state = self.controller.committed().clone();
        let sites: Vec<SiteId> = state.sites().map(|site| site.id).collect();
        let Some(site) = self.dice.pick(&sites) else {
            return Ok(());
        };
        let profile = self.some_profile();
        let command = Command::CreateToken {
            site,
            profile,
            uses,
            ttl_s: TOKEN_TTL_S,
        };
        match self.command(&command)? {
            Some(Answer::Token { id, secret }) => {
                self.ledger.handed_out(id, uses, machines);
                for _ in 0..machines {
                    self.set_up(Ticket {
                        token: id,
                        secret: secret.clone(),
                    });
                }
                Ok(())
            }
            _ => Ok(()),
        }
    }

    fn set_up(&mut self, ticket: Ticket) -> BoxId {
        let id = BoxId(self.machines.len());
        let mut machine = Machine::new(id.0, &mut self.dice);
        machine.ticket = Some(ticket);
        self.machines.push(machine);
        let at = self.now + self.dice.below(2_000);
        self.agenda.plan(
            at,
            Happening::Enrol {
                machine: id,
                attempt: 0,
            },
        );
        id
    }

    fn wish(&mut self, command: Option<Command>) -> Result<(), Broken> {
        match command {
            Some(command) => self.command(&command).map(drop),
            None => Ok(()),
        }
    }

    /// An operator's command, whose arrival at the nodes is waited for.
    fn command(&mut self, command: &Command) -> Result<Option<Answer>, Broken> {
        match self.submit(command)? {
            Verdict::Accepted(accepted) => {
                self.summary.changes += 1;
                if accepted.before.is_some() {
                    let revision = self.controller.committed().revision();
                    self.wait_for(revision, &accepted.affected);
                }
                Ok(Some(accepted.answer))
            }
            Verdict::Rejected(rejection) => {
                self.summary.rejections += 1;
                self.note(format_args!("rejected: {rejection}"));
                Ok(None)
            }
            Verdict::Dead => Ok(None),
        }
    }

    fn add_service(&mut self, state: &State) -> Result<(), Broken> {
        let Some(node) = self.some_node(state) else {
            return Ok(());
        };
        let port = [80, 443, 22, 5_500, 8_080][self.index(5)];
        let command = Command::AddService {
            node,
            name: label(&format!("porta-{port}"))?,
            port: Port::new(port).ok_or_else(|| Broken::new("port zero".to_owned()))?,
            target: ([127, 0, 0, 1], port).into(),
            kind: [ServiceKind::Http, ServiceKind::Tcp][self.index(2)],
            exposure: [Exposure::Public, Exposure::Tunnel][self.index(2)],
        };
        self.command(&command).map(drop)
    }

    fn add_grant(&mut self, state: &State) -> Result<(), Broken> {
        let (Some(from), Some(to)) = (self.some_selector(state), self.some_selector(state)) else {
            return Ok(());
        };
        let (from_port, to_port) =
            [(80, 80), (443, 443), (5_500, 5_577), (0, 65_535)][self.index(4)];
        let allow = match self.dice.below(5) {
            0 => Allow {
                protocol: Protocol::Icmp,
                from_port: 0,
                to_port: 0,
            },
            1 => Allow {
                protocol: Protocol::Udp,
                from_port,
                to_port,
            },
            _ => Allow {
                protocol: Protocol::Tcp,
                from_port,
                to_port,
            },
        };
        self.command(&Command::AddGrant { from, to, allow })
            .map(drop)
    }

    fn add_route(&mut self, state: &State) -> Result<(), Broken> {
        let services: Vec<ServiceId> = state.services().map(|it| it.id).collect();
        let Some(service) = self.dice.pick(&services) else {
            return Ok(());
        };
        let host = format!("site-{}.malha.example", self.dice.below(30));
        let command = Command::AddRoute {
            host: host
                .parse()
                .map_err(|error| Broken::new(format!("{error}")))?,
            path: "/".to_owned(),
            services: [service].into(),
        };
        self.command(&command).map(drop)
    }

    fn set_endpoints(&mut self, state: &State) -> Result<(), Broken> {
        let Some(id) = self.some_node(state) else {
            return Ok(());
        };
        let endpoints = (0..self.dice.below(3)).map(|at| {
            let last = u8::try_from(self.dice.below(250)).unwrap_or(0);
            ([203, 0, 113, last], 51_820 + u16::try_from(at).unwrap_or(0)).into()
        });
        let endpoints = endpoints.collect();
        self.command(&Command::SetNodeEndpoints { id, endpoints })
            .map(drop)
    }

    fn rename(&mut self, state: &State) -> Result<(), Broken> {
        let Some(id) = self.some_node(state) else {
            return Ok(());
        };
        let name = label(&format!("caixa-{}", self.dice.below(200)))?;
        self.command(&Command::RenameNode { id, name }).map(drop)
    }

    /// "Replace this box": a new machine takes the node's place, while the old one may still run.
    fn replace(&mut self, state: &State) -> Result<(), Broken> {
        let Some(id) = self.some_node(state) else {
            return Ok(());
        };
        let answer = self.command(&Command::ReplaceNode {
            id,
            ttl_s: TOKEN_TTL_S,
        })?;
        if let Some(Answer::Token { id: token, secret }) = answer {
            self.ledger.handed_out(token, 1, 1);
            let fresh = self.set_up(Ticket { token, secret });
            self.note(format_args!("{} shall replace {id}", self.called(fresh)));
            self.summary.replacements += 1;
        }
        Ok(())
    }

    /// The operator chooses one of two machines with the same identity.
    fn resolve(&mut self, state: &State) -> Result<(), Broken> {
        let held = state.nodes().filter_map(|node| match &node.state {
            NodeState::Quarantined(quarantine) => Some((node.id, quarantine)),
            _ => None,
        });
        let held: Vec<_> = held.collect();
        if held.is_empty() {
            return Ok(());
        }
        let (node, quarantine) = held[self.index(held.len())];
        let chosen = [&quarantine.holder, &quarantine.rival][self.index(2)];
        self.note(format_args!("{node} is given to {chosen:?}"));
        let command = Command::ResolveQuarantine {
            node,
            keep: chosen.machine,
            instance: chosen.instance,
        };
        self.summary.resolutions += 1;
        self.command(&command).map(drop)
    }

    fn add_site(&mut self, state: &State) -> Result<(), Broken> {
        let organizations: Vec<OrganizationId> = state.organizations().map(|it| it.id).collect();
        let number = self.dice.between(10, 99);
        match self.dice.pick(&organizations) {
            Some(organization) => self.create_site(organization, number),
            None => Ok(()),
        }
    }

    fn create_site(&mut self, organization: OrganizationId, number: u64) -> Result<(), Broken> {
        let name = format!("garagem-{number}");
        let command = Command::CreateSite {
            organization,
            name: label(&name)?,
            display_name: name,
        };
        self.command(&command).map(drop)
    }

    fn add_machines(&mut self, state: &State) -> Result<(), Broken> {
        if state.nodes().len() >= MOST_NODES {
            return Ok(());
        }
        let machines = u32::try_from(self.dice.between(1, 3)).unwrap_or(1);
        // Sometimes a token for fewer machines than try to use it.
        let uses = if self.dice.percent(30) { 1 } else { machines };
        self.enrol_machines(machines, uses)
    }

    /// Any node but the hub.
    fn some_node(&mut self, state: &State) -> Option<NodeId> {
        let hub = self.controller.hub;
        let nodes: Vec<NodeId> = state
            .nodes()
            .map(|it| it.id)
            .filter(|id| *id != hub)
            .collect();
        self.dice.pick(&nodes)
    }

    fn some_profile(&mut self) -> Profile {
        let mostly = [
            Profile::Garage,
            Profile::SecurityServer,
            Profile::Balancer,
            Profile::Central,
        ];
        match self.dice.percent(6) {
            true => Profile::Edge,
            false => mostly[self.index(mostly.len())],
        }
    }

    fn some_selector(&mut self, state: &State) -> Option<Selector> {
        let sites: Vec<SiteId> = state.sites().map(|it| it.id).collect();
        let organizations: Vec<OrganizationId> = state.organizations().map(|it| it.id).collect();
        match self.dice.below(10) {
            0..6 => self.some_node(state).map(Selector::Node),
            6..8 => self.dice.pick(&sites).map(Selector::Site),
            8 => self.dice.pick(&organizations).map(Selector::Organization),
            _ => Some(Selector::Profile(self.some_profile())),
        }
    }

    pub(super) fn index(&mut self, count: usize) -> usize {
        usize::try_from(self.dice.below(count as u64)).unwrap_or(0)
    }
}

fn label(text: &str) -> Result<malha_proto::Label, Broken> {
    text.parse()
        .map_err(|error| Broken::new(format!("{error}")))
}

/// A year: the longest that there is, so that only operators end tokens here.
const TOKEN_TTL_S: u64 = 365 * 86_400;
const MOST_NODES: usize = 56;
