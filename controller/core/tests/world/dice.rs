//! Any roll of the dice is a command that could come, sensible or hostile.

use std::collections::BTreeSet;
use std::net::SocketAddr;

use malha_core::{BalancerSettings, Command, LiveSession, NodeState, Role, Scope, Selector, Tag};
use malha_proto::{
    Allow, ApiKeyId, BackendMode, BalancerId, Exposure, Fingerprint, GrantId, HealthPort, HostName,
    Lease, MachineId, NodeId, OperatorId, OrganizationId, Port, Profile, Protocol, RouteId,
    Secret32, ServiceId, ServiceKind, SiteId, TokenId, WgKey,
};
use malha_zone::{RecordSet, RecordType, ZoneName};
use proptest::prelude::*;

use super::{World, bytes32, enrol_command, facts, host, label};

/// One roll: which command, and from where it takes its parts.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Dice {
    pub(crate) kind: u8,
    pub(crate) a: u8,
    pub(crate) b: u8,
    pub(crate) c: u8,
    pub(crate) passes: u8,
}

pub(crate) fn any_dice() -> impl Strategy<Value = Dice> {
    (
        any::<u8>(),
        any::<u8>(),
        any::<u8>(),
        any::<u8>(),
        any::<u8>(),
    )
        .prop_map(|(kind, a, b, c, passes)| Dice {
            kind,
            a,
            b,
            c,
            passes,
        })
}

impl World {
    /// The command of a roll. Time passes first: mostly seconds, sometimes days.
    pub(crate) fn roll(&mut self, dice: Dice) -> Command {
        self.now_ms += match dice.passes {
            0..=250 => u64::from(dice.passes) * 10,
            days => u64::from(days - 250) * 2 * 86_400_000,
        };
        let Dice { kind, a, b, c, .. } = dice;
        let number = u64::from(c);
        match kind % ROLLS {
            0 => Command::SetControllers {
                controllers: self.hostile_or(a, format!("hub{}.example:443", b % 4)),
            },
            1 => Command::SetEdgeAddresses {
                addresses: edge_addresses(a),
            },
            2 => Command::CreateOrganization {
                name: label(&format!("org-{}", a % 6)),
                display_name: hostile_text(b),
            },
            3 => Command::RemoveOrganization {
                id: self.organization(a),
            },
            4 => Command::CreateSite {
                organization: self.organization(a),
                name: label(&format!("site-{}", b % 4)),
                display_name: hostile_text(c),
            },
            5 => Command::RemoveSite { id: self.site(a) },
            6 => Command::AdoptHub {
                site: self.site(a),
                name: label(&format!("hub-{}", b % 3)),
                wg_key: WgKey(bytes32(8_000 + u64::from(b % 3))),
                tls_key: Fingerprint(bytes32(8_000 + u64::from(b % 3))),
                endpoints: endpoints(c),
                facts: facts(b % 3),
            },
            7 | 8 => Command::CreateToken {
                site: self.site(a),
                profile: profile(b),
                uses: u32::from(c % 4),
                ttl_s: if a == 255 {
                    u64::MAX
                } else {
                    u64::from(b) * 60
                },
            },
            9 if b.is_multiple_of(4) => Command::RevokeToken {
                id: self.token_id(a),
            },
            9 | 10 => Command::ReplaceNode {
                id: self.node(a),
                ttl_s: 3_600,
            },
            11..=17 => {
                let token = self.token_id(a);
                let secret = self
                    .secrets
                    .get(&token)
                    .filter(|_| b != 255)
                    .cloned()
                    .unwrap_or(Secret32([0; 32]));
                let name = (b.is_multiple_of(4)).then(|| label(&format!("garagem-{}", b % 7)));
                enrol_command(token, secret, number % 60, name)
            }
            18 => Command::RenameNode {
                id: self.node(a),
                name: label(&format!("garagem-{}", b % 7)),
            },
            19 if b.is_multiple_of(4) => Command::RemoveNode {
                id: self.node(a),
                detach: c.is_multiple_of(2),
            },
            20 => Command::SetNodeEndpoints {
                id: self.node(a),
                endpoints: endpoints(b),
            },
            21..=23 => self.hello(a, b, c),
            24 => {
                let node = self.node(a);
                let saved = self
                    .holders
                    .get(&node)
                    .and_then(|holder| holder.offered.clone());
                let last = self.state.lease(node).map(|lease| lease.instance);
                Command::ConfirmLease {
                    node,
                    instance: last.filter(|_| !b.is_multiple_of(4)).unwrap_or(number),
                    lease: saved.unwrap_or(Lease([c; 16])),
                }
            }
            25 => {
                let node = self.node(a);
                let instance = self
                    .state
                    .lease(node)
                    .map_or(number, |lease| lease.instance);
                let key = bytes32(20_000 + number % 30);
                let wg_key = (b.is_multiple_of(2)).then_some(WgKey(key));
                Command::RenewNode {
                    node,
                    instance,
                    tls_key: Fingerprint(key),
                    wg_key,
                }
            }
            26 => self.resolution(a, b),
            27..=30 => Command::AddService {
                node: self.node(a),
                name: label(&format!("web-{}", b % 5)),
                port: Port::new(u16::from(c % 6) + 80).unwrap(),
                target: SocketAddr::from(([127, 0, 0, b % 2], u16::from(c))),
                kind: if c.is_multiple_of(4) {
                    ServiceKind::Tcp
                } else {
                    ServiceKind::Http
                },
                exposure: if b.is_multiple_of(3) {
                    Exposure::Tunnel
                } else {
                    Exposure::Public
                },
            },
            31 => Command::RemoveService {
                id: self.service_id(a),
            },
            32 | 33 => Command::AddRoute {
                host: route_host(b),
                path: ["/", "/painel", "/a/../b", "/x/", "//"][usize::from(c % 5)].to_owned(),
                services: (0..a % 3)
                    .map(|n| self.service_id(c.wrapping_add(n)))
                    .collect(),
            },
            34 => Command::RemoveRoute { id: self.route(a) },
            19 | 35 | 36 => Command::AddGrant {
                from: self.selector(a, c),
                to: self.selector(b, c >> 2),
                allow: allow(c),
            },
            37 => Command::RemoveGrant { id: self.grant(a) },
            38 => Command::AddZone {
                origin: zone(a),
                name_servers: (0..b % 3)
                    .map(|n| host(&format!("ns{n}.{}", zone(a.wrapping_add(n)))))
                    .collect(),
                contact: host("hostmaster.example.org"),
            },
            39 if b.is_multiple_of(4) => Command::RemoveZone { origin: zone(a) },
            39 | 40 => Command::PutRecordSet {
                zone: zone(a),
                set: record_set(b, c),
            },
            41 => {
                let origin = zone(a);
                let sets = self
                    .state
                    .zone(&origin)
                    .into_iter()
                    .flat_map(|zone| zone.sets());
                let (name, rtype) = nth(sets.map(|set| (set.name().clone(), set.rtype())), b)
                    .unwrap_or_else(|| {
                        (
                            record_name(b),
                            RecordType::ALL[usize::from(c) % RecordType::ALL.len()],
                        )
                    });
                Command::DeleteRecordSet {
                    zone: origin,
                    name,
                    rtype,
                }
            }
            42 => self.account(a, b, c),
            43..=45 => self.policy(kind % ROLLS, a, b, c),
            46..=49 => self.balancing(kind % ROLLS, a, b, c),
            50..=52 => self.shaping(kind % ROLLS, a, b, c),
            53 => self.declaring(a, b),
            _ => Command::Sweep,
        }
    }

    fn hello(&self, a: u8, b: u8, c: u8) -> Command {
        let node = self.node(a);
        let holder = self.holders.get(&node);
        let machine = b % 3;
        Command::OpenSession {
            node,
            tls_key: holder.map_or(Fingerprint(bytes32(9_000)), |holder| holder.tls_key),
            lease: holder
                .filter(|_| b < 240)
                .map_or(Lease([c; 16]), |holder| holder.lease.clone()),
            instance: u64::from(b % 5),
            facts: facts(machine),
            source: Some(([192, 0, 2, c], 40_000).into()),
            live: c.is_multiple_of(8).then(|| LiveSession {
                instance: u64::from(c % 5),
                tls_key: holder.map_or(Fingerprint(bytes32(9_000)), |holder| holder.tls_key),
                alive: c.is_multiple_of(16),
                facts: facts(machine),
                source: None,
            }),
        }
    }

    fn resolution(&self, a: u8, b: u8) -> Command {
        let held = |it: &&malha_core::Node| matches!(it.state, NodeState::Quarantined(_));
        let node = nth(self.state.nodes().filter(held).map(|it| it.id), a).unwrap_or(self.node(a));
        let contender = match self.state.node(node).map(|node| &node.state) {
            Some(NodeState::Quarantined(quarantine)) if b.is_multiple_of(2) => {
                Some(quarantine.holder.clone())
            }
            Some(NodeState::Quarantined(quarantine)) => Some(quarantine.rival.clone()),
            _ => None,
        };
        let (keep, instance) =
            contender.map_or((MachineId([b; 16]), 1), |it| (it.machine, it.instance));
        Command::ResolveQuarantine {
            node,
            keep,
            instance,
        }
    }

    fn account(&self, a: u8, b: u8, c: u8) -> Command {
        let name = label(&format!("ana-{}", b % 4));
        let password_hash = if c == 0 {
            "plain".to_owned()
        } else {
            "$argon2id$v=19$m=1,t=1,p=1$c2FsdA$aGFzaA".to_owned()
        };
        match a % 5 {
            0 => {
                let role = [Role::Auditor, Role::Technician, Role::Operator, Role::Owner]
                    [usize::from(c % 4)];
                Command::AddOperator {
                    name,
                    password_hash,
                    role,
                }
            }
            1 => Command::SetPassword {
                id: nth(self.state.operators().map(|it| it.id), b).unwrap_or(OperatorId(1)),
                password_hash,
            },
            2 => Command::RemoveOperator {
                id: nth(self.state.operators().map(|it| it.id), b).unwrap_or(OperatorId(1)),
            },
            3 => {
                let scopes = if c == 1 {
                    BTreeSet::new()
                } else {
                    BTreeSet::from([Scope::Read, Scope::Write])
                };
                Command::AddApiKey {
                    name,
                    scopes,
                    expires_ms: c.is_multiple_of(2).then_some(self.now_ms + u64::from(c)),
                    operator: nth(self.state.operators().map(|it| it.id), c)
                        .filter(|_| !c.is_multiple_of(3)),
                }
            }
            _ => Command::RemoveApiKey {
                id: nth(self.state.api_keys().map(|it| it.id), b).unwrap_or(ApiKeyId(1)),
            },
        }
    }

    fn hostile_or(&self, n: u8, good: String) -> Vec<String> {
        match n % 8 {
            0 => vec![],
            1 => vec!["a b:443".to_owned()],
            2 => vec!["x".repeat(65_536)],
            3 => vec![good; 9],
            _ => vec![good],
        }
    }

    pub(super) fn organization(&self, n: u8) -> OrganizationId {
        nth(self.state.organizations().map(|it| it.id), n).unwrap_or(OrganizationId(u64::from(n)))
    }

    pub(super) fn site(&self, n: u8) -> SiteId {
        nth(self.state.sites().map(|it| it.id), n).unwrap_or(SiteId(u64::from(n)))
    }

    /// One of the newest: the old ones are mostly used.
    fn token_id(&self, n: u8) -> TokenId {
        let newest = self.state.tokens().len().saturating_sub(6);
        nth(self.state.tokens().skip(newest).map(|it| it.id), n).unwrap_or(TokenId(u64::from(n)))
    }

    pub(super) fn node(&self, n: u8) -> NodeId {
        nth(self.state.nodes().map(|it| it.id), n).unwrap_or(NodeId(u64::from(n)))
    }

    pub(super) fn service_id(&self, n: u8) -> ServiceId {
        nth(self.state.services().map(|it| it.id), n).unwrap_or(ServiceId(u64::from(n)))
    }

    /// Mostly one that a route may lead to.
    fn public_service(&self, n: u8) -> ServiceId {
        let fit = |it: &&malha_core::Service| {
            it.exposure == Exposure::Public && it.kind == ServiceKind::Http
        };
        let fitting = nth(self.state.services().filter(fit).map(|it| it.id), n)
            .filter(|_| !n.is_multiple_of(16));
        fitting.unwrap_or(self.service_id(n))
    }

    fn route(&self, n: u8) -> RouteId {
        nth(self.state.routes().map(|it| it.id), n).unwrap_or(RouteId(u64::from(n)))
    }

    fn grant(&self, n: u8) -> GrantId {
        nth(self.state.grants().map(|it| it.id), n).unwrap_or(GrantId(u64::from(n)))
    }

    fn selector(&self, n: u8, kind: u8) -> Selector {
        match kind % 5 {
            0 => Selector::Organization(self.organization(n)),
            1 => Selector::Site(self.site(n)),
            2 => Selector::Node(self.node(n)),
            3 => Selector::Tag(tag(n)),
            _ => Selector::Profile(profile(n)),
        }
    }
}

pub(super) fn nth<T>(items: impl Iterator<Item = T>, n: u8) -> Option<T> {
    let mut items: Vec<T> = items.collect();
    (!items.is_empty()).then(|| items.swap_remove(usize::from(n) % items.len()))
}

pub(super) fn tag(n: u8) -> Tag {
    ["db", "web", "operator"][usize::from(n) % 3]
        .parse()
        .unwrap()
}

fn profile(n: u8) -> Profile {
    [
        Profile::Garage,
        Profile::SecurityServer,
        Profile::Balancer,
        Profile::Central,
        Profile::Edge,
    ][usize::from(n % 5)]
}

fn allow(n: u8) -> Allow {
    match n % 4 {
        0 => Allow {
            protocol: Protocol::Icmp,
            from_port: 0,
            to_port: u16::from(n / 128),
        },
        1 => Allow {
            protocol: Protocol::Udp,
            from_port: 53,
            to_port: u16::from(n),
        },
        _ => Allow {
            protocol: Protocol::Tcp,
            from_port: 5_500,
            to_port: 5_577,
        },
    }
}

fn endpoints(n: u8) -> Vec<SocketAddr> {
    (0..n % 3)
        .map(|k| SocketAddr::from(([198, 51, 100, n % 4], u16::from(k) + u16::from(n % 2))))
        .collect()
}

pub(super) fn edge_addresses(n: u8) -> Vec<std::net::IpAddr> {
    let all = ["192.0.2.1", "192.0.2.2", "2001:db8::1", "0.0.0.0"];
    all.iter()
        .enumerate()
        .filter(|(at, _)| n >> at & 1 == 1)
        .map(|(_, text)| text.parse().unwrap())
        .collect()
}

fn hostile_text(n: u8) -> String {
    match n % 6 {
        0 => "a\u{202e}b".to_owned(),
        1 => "\n".to_owned(),
        2 if n > 200 => "x".repeat(65_536),
        _ => "Garagem São João".to_owned(),
    }
}

fn route_host(n: u8) -> HostName {
    let hosts = [
        "www.example.org",
        "a.dev.example.org",
        "*.example.org",
        "dev.example.org",
        "ns0.example.org",
        "example.org",
        "outside.example.net",
        "x.malha.internal",
    ];
    host(hosts[usize::from(n) % hosts.len()])
}

pub(super) fn zone(n: u8) -> ZoneName {
    let zones = [
        "example.org",
        "example.org",
        "dev.example.org",
        "org",
        "dev.example.org",
        "malha.internal",
    ];
    zones[usize::from(n) % zones.len()].parse().unwrap()
}

fn record_name(n: u8) -> malha_zone::RecordName {
    let names = [
        "@",
        "www",
        "a",
        "a.dev",
        "*",
        "dev",
        "ns0",
        "www.example.org.",
        "elsewhere.net.",
    ];
    names[usize::from(n) % names.len()].parse().unwrap()
}

fn record_set(n: u8, kind: u8) -> RecordSet {
    let (rtype, data) = match kind % 6 {
        0 => (RecordType::A, "192.0.2.1"),
        1 => (RecordType::A, "203.0.113.9"),
        2 => (RecordType::Aaaa, "2001:db8::9"),
        3 => (RecordType::Cname, "target.example.net."),
        4 => (RecordType::Txt, "\"v=spf1 -all\""),
        _ => (RecordType::Ns, "ns0.example.org."),
    };
    RecordSet::from_text(
        record_name(n),
        rtype,
        300,
        [data],
        malha_core::RecordSource::Operator,
    )
    .unwrap()
}

/// Every kind of roll, and one more for a sweep.
const ROLLS: u8 = 55;
