//! A small overlay with the machines that use it, and a store in miniature. Shared by the tests of this crate.
#![allow(dead_code, unused_imports, reason = "each test binary uses its part")]
#![allow(clippy::unwrap_used, reason = "a step that fails is a test that fails")]

mod balancing;
mod declaring;
mod dice;
pub(crate) mod policy_text;
pub(crate) mod shaping;
pub(crate) mod two;

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;

pub(crate) use dice::{Dice, any_dice};
use malha_core::policy::{Author, Policy};
use malha_core::{
    Answer, Change, Command, Context, Entity, EntityKey, LiveSession, NodeState, Outcome,
    Rejection, Role, Scope, Selector, Settings, State,
};
use malha_proto::{
    Allow, ApiKeyId, Exposure, Fingerprint, GrantId, HostName, Label, Lease, MachineFacts,
    MachineId, NodeId, OperatorId, OrganizationId, OverlayPools, Port, Profile, Protocol, RouteId,
    Secret32, ServiceId, ServiceKind, SiteId, TokenId, WgKey,
};
use malha_zone::{RecordSet, RecordType, ZoneName};

/// What the machines know, beside the state.
#[derive(Clone, Debug)]
pub(crate) struct Holder {
    pub(crate) tls_key: Fingerprint,
    pub(crate) lease: Lease,
    pub(crate) offered: Option<Lease>,
}

pub(crate) struct World {
    pub(crate) state: State,
    pub(crate) now_ms: u64,
    commands: u64,
    /// A store in miniature: the records of all changes so far.
    pub(crate) store: BTreeMap<EntityKey, (String, Vec<u8>)>,
    secrets: BTreeMap<TokenId, Secret32>,
    pub(crate) holders: BTreeMap<NodeId, Holder>,
}

pub(crate) fn settings() -> Settings {
    let pools = OverlayPools::new(
        "10.64.0.0/24".parse().unwrap(),
        "fd00:1::/48".parse().unwrap(),
    )
    .unwrap();
    Settings::new(MachineId([7; 16]), pools, host("malha.internal"))
}

pub(crate) fn host(text: &str) -> HostName {
    text.parse().unwrap()
}

pub(crate) fn label(text: &str) -> Label {
    text.parse().unwrap()
}

pub(crate) fn facts(machine: u8) -> MachineFacts {
    MachineFacts {
        host_name: format!("garagem-{}.lan", machine % 5),
        machine: MachineId([machine; 16]),
        agent_version: "0.1.0".to_owned(),
        os: "linux".to_owned(),
        engine: None,
    }
}

pub(crate) fn bytes32(n: u64) -> [u8; 32] {
    let mut bytes = [0xa5; 32];
    bytes[..8].copy_from_slice(&n.to_be_bytes());
    bytes
}

impl Default for World {
    fn default() -> Self {
        Self::with(settings())
    }
}

impl World {
    /// Nothing but these settings.
    pub(crate) fn with(settings: Settings) -> Self {
        let mut store = BTreeMap::new();
        remember(
            &mut store,
            &[Change::Put(Entity::Settings(settings.clone()))],
        );
        Self {
            store,
            state: State::new(settings),
            now_ms: 1_800_000_000_000,
            commands: 0,
            secrets: BTreeMap::new(),
            holders: BTreeMap::new(),
        }
    }

    /// One site and nothing on it.
    pub(crate) fn bare() -> Self {
        let mut world = Self::default();
        world
            .run(Command::CreateOrganization {
                name: label("acme"),
                display_name: String::new(),
            })
            .unwrap();
        let organization = world.state.organizations().next().unwrap().id;
        world
            .run(Command::CreateSite {
                organization,
                name: label("centro"),
                display_name: String::new(),
            })
            .unwrap();
        let site = world.state.sites().next().unwrap().id;
        world.adopt_hub(site);
        world
    }

    /// A furnished overlay whose address pool is almost all in use.
    pub(crate) fn crowded() -> Self {
        let mut world = Self::furnished();
        let site = world.state.sites().next().unwrap().id;
        let (token, secret) = world.token(site, Profile::Garage, 300);
        for machine in 0..225 {
            world
                .run(enrol_command(token, secret.clone(), 5_000 + machine, None))
                .unwrap();
        }
        world
    }

    /// Two organizations with four sites, a hub, an edge, garages and security servers, a zone with a route in it: the
    /// first rolls already meet something.
    pub(crate) fn furnished() -> Self {
        let mut world = Self::default();
        for name in ["acme", "fazenda"] {
            world
                .run(Command::CreateOrganization {
                    name: label(name),
                    display_name: name.to_owned(),
                })
                .unwrap();
        }
        let organizations: Vec<OrganizationId> =
            world.state.organizations().map(|it| it.id).collect();
        for (organization, name) in [
            (0, "centro"),
            (0, "norte"),
            (1, "producao"),
            (1, "homologacao"),
        ] {
            let organization = organizations[organization];
            world
                .run(Command::CreateSite {
                    organization,
                    name: label(name),
                    display_name: String::new(),
                })
                .unwrap();
        }
        let sites: Vec<SiteId> = world.state.sites().map(|it| it.id).collect();
        world.adopt_hub(sites[0]);
        world.enrol(sites[0], Profile::Edge, 200);
        for machine in 0..16 {
            let profile = if machine % 3 == 0 {
                Profile::SecurityServer
            } else {
                Profile::Garage
            };
            world.enrol(sites[usize::from(machine % 4)], profile, 201 + machine);
        }
        world
            .run(Command::SetEdgeAddresses {
                addresses: dice::edge_addresses(5),
            })
            .unwrap();
        let (origin, name_servers) = (dice::zone(0), vec![host("ns0.example.org")]);
        world
            .run(Command::AddZone {
                origin,
                name_servers,
                contact: host("hostmaster.example.org"),
            })
            .unwrap();
        let garage = world.state.nodes().last().unwrap().id;
        let service = world.service(garage, "web-0", 80, Exposure::Public);
        let services = BTreeSet::from([service]);
        world
            .run(Command::AddRoute {
                host: host("www.example.org"),
                path: "/".to_owned(),
                services,
            })
            .unwrap();
        world
    }

    pub(crate) fn context(&self) -> Context {
        Context {
            now_ms: self.now_ms,
            random: bytes32(self.commands),
            request: None,
        }
    }

    pub(crate) fn run(&mut self, command: Command) -> Result<Outcome, Rejection> {
        self.run_as(command, None)
    }

    pub(crate) fn run_as(
        &mut self,
        command: Command,
        request: Option<Fingerprint>,
    ) -> Result<Outcome, Rejection> {
        self.commands += 1;
        let outcome = self.state.apply(
            &command,
            &Context {
                request,
                ..self.context()
            },
        )?;
        self.state = outcome.state.clone();
        remember(&mut self.store, &outcome.changes);
        self.learn(&command, &outcome.answer);
        Ok(outcome)
    }

    pub(crate) fn adopt_hub(&mut self, site: SiteId) -> NodeId {
        let command = Command::AdoptHub {
            site,
            name: label("hub"),
            wg_key: WgKey(bytes32(9_000)),
            tls_key: Fingerprint(bytes32(9_000)),
            endpoints: vec!["198.51.100.1:51820".parse().unwrap()],
            facts: facts(0),
        };
        match self.run(command).unwrap().answer {
            Answer::Node(id) => id,
            other => panic!("{other:?}"),
        }
    }

    pub(crate) fn token(
        &mut self,
        site: SiteId,
        profile: Profile,
        uses: u32,
    ) -> (TokenId, Secret32) {
        match self
            .run(Command::CreateToken {
                site,
                profile,
                uses,
                ttl_s: 3_600,
            })
            .unwrap()
            .answer
        {
            Answer::Token { id, secret } => (id, secret),
            other => panic!("{other:?}"),
        }
    }

    /// Enrols a machine with keys of its own.
    pub(crate) fn enrol(&mut self, site: SiteId, profile: Profile, machine: u8) -> NodeId {
        let (token, secret) = self.token(site, profile, 1);
        match self
            .run(enrol_command(token, secret, u64::from(machine), None))
            .unwrap()
            .answer
        {
            Answer::Enrolled { node, .. } => node,
            other => panic!("{other:?}"),
        }
    }

    pub(crate) fn service(
        &mut self,
        node: NodeId,
        name: &str,
        port: u16,
        exposure: Exposure,
    ) -> ServiceId {
        let command = Command::AddService {
            node,
            name: label(name),
            port: Port::new(port).unwrap(),
            target: ([127, 0, 0, 1], 8_080).into(),
            kind: ServiceKind::Http,
            exposure,
        };
        match self.run(command).unwrap().answer {
            Answer::Service(id) => id,
            other => panic!("{other:?}"),
        }
    }

    /// The command that puts a text in force after a look at what it changes.
    pub(crate) fn apply_policy(&self, text: &str, confirm_within_ms: Option<u64>) -> Command {
        let difference = Policy::parse(text).ok().and_then(|policy| {
            self.state
                .policy_difference(&policy, text, self.now_ms)
                .ok()
        });
        Command::ApplyPolicy {
            text: text.to_owned(),
            difference: difference.map_or(Fingerprint([0; 32]), |it| it.hash),
            confirm_within_ms,
            emergency: None,
            author: Author::Controller,
        }
    }

    fn learn(&mut self, command: &Command, answer: &Answer) {
        match (command, answer) {
            (_, Answer::Token { id, secret }) => {
                self.secrets.insert(*id, secret.clone());
            }
            (_, Answer::Agency(added)) => {
                let machines = added.machines.iter();
                self.secrets
                    .extend(machines.map(|it| (it.token, it.secret.clone())));
            }
            (Command::Enrol { tls_key, .. }, Answer::Enrolled { node, lease, .. }) => {
                let holder = Holder {
                    tls_key: *tls_key,
                    lease: lease.clone(),
                    offered: None,
                };
                self.holders.insert(*node, holder);
            }
            (Command::OpenSession { node, .. }, Answer::Session { lease, .. }) => {
                if let Some(holder) = self.holders.get_mut(node) {
                    holder.offered = Some(lease.clone());
                }
            }
            (Command::ConfirmLease { node, .. }, _) => {
                if let Some(holder) = self.holders.get_mut(node)
                    && let Some(saved) = holder.offered.take()
                {
                    holder.lease = saved;
                }
            }
            (Command::RenewNode { node, tls_key, .. }, _) => {
                if let Some(holder) = self.holders.get_mut(node) {
                    holder.tls_key = *tls_key;
                }
            }
            _ => {}
        }
    }
}

pub(crate) fn enrol_command(
    token: TokenId,
    secret: Secret32,
    machine: u64,
    name: Option<Label>,
) -> Command {
    Command::Enrol {
        token,
        secret,
        wg_key: WgKey(bytes32(machine + 1)),
        tls_key: Fingerprint(bytes32(machine + 1)),
        name,
        facts: facts(machine as u8),
    }
}

fn remember(store: &mut BTreeMap<EntityKey, (String, Vec<u8>)>, changes: &[Change]) {
    for change in changes {
        match change.record() {
            (key, Some(value)) => store.insert(change.key(), (key, value)),
            (_, None) => store.remove(&change.key()),
        };
    }
}
