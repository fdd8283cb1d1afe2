//! From what an organization declares to the list of checks. Pure: the same subject gives the same list, in the same order.

mod allow_list;
pub(crate) mod authority;
mod bounds;

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};

use time::Duration;

use crate::check::{Check, Expect, Issuers, Probe, Role, Vantage, View};
use crate::subject::{
    AllowList, Direction, Exposure, Outside, Port, PortProbe, Protocol, Server, Stage, Subject,
    TargetKind,
};
use authority::{host_of, port_of};
use bounds::within_limits;

/// Every check of the subject, each id once. What was not declared, and what is over the limits, stands in the list as a check
/// that can't be made, so that nothing is missing silently.
#[must_use]
pub fn plan(subject: &Subject) -> Vec<Check> {
    let (subject, mut is_cut) = within_limits(subject);
    let mut plan = Plan {
        subject: &subject,
        checks: Vec::new(),
    };
    plan.declarations();
    for (stage, own, other) in [
        ("production", &subject.production, &subject.development),
        ("development", &subject.development, &subject.production),
    ] {
        plan.names(stage, own, other);
        plan.members(stage, own);
        plan.outside(stage, own);
        plan.services(stage, own);
        plan.public_services(stage, own);
        plan.urls(stage, own, other);
        plan.balancers(stage, own);
        plan.egress(stage, own);
    }
    plan.differing_names();
    plan.time_stamps();
    let mut ids = BTreeSet::new();
    let mut checks = plan.checks;
    checks.retain(|check| ids.insert(check.id.clone()));
    is_cut |= checks.len() > MAX_CHECKS;
    checks.truncate(MAX_CHECKS);
    if is_cut {
        checks.push(Check {
            id: "declared/within-limits".to_owned(),
            vantage: Vantage::Controller,
            probe: Probe::Declaration,
            expect: Expect::WithinLimits,
        });
    }
    checks
}

/// The looks that the checks need, each once, in the order of the plan: those that somebody can take.
#[must_use]
pub fn probes(checks: &[Check]) -> Vec<(Vantage, Probe)> {
    let mut seen = BTreeSet::new();
    let takes_looks = |check: &&Check| {
        let nothing_to_do = matches!(
            check.probe,
            Probe::Declaration | Probe::UdpPort { .. } | Probe::Unresolved { .. }
        );
        check.vantage.is_manned() && !nothing_to_do
    };
    let looks = checks
        .iter()
        .filter(takes_looks)
        .map(|check| (check.vantage.clone(), check.probe.clone()));
    looks.filter(|look| seen.insert(look.clone())).collect()
}

struct Plan<'s> {
    subject: &'s Subject,
    checks: Vec<Check>,
}

impl Plan<'_> {
    fn add(&mut self, id: String, vantage: &Vantage, probe: &Probe, expect: Expect) {
        self.checks.push(Check {
            id,
            vantage: vantage.clone(),
            probe: probe.clone(),
            expect,
        });
    }

    /// One check that can't be made for each thing that is not declared.
    fn declarations(&mut self) {
        let subject = self.subject;
        let declared = [
            ("production/names", !subject.production.names.is_empty()),
            (
                "production/public-addresses",
                !subject.production.public_addresses.is_empty(),
            ),
            ("production/urls", !subject.production.urls.is_empty()),
            ("production/servers", !subject.production.servers.is_empty()),
            ("development/names", !subject.development.names.is_empty()),
            (
                "development/public-addresses",
                !subject.development.public_addresses.is_empty(),
            ),
            ("development/urls", !subject.development.urls.is_empty()),
            (
                "development/servers",
                !subject.development.servers.is_empty(),
            ),
            (
                "name-servers",
                !subject.name_servers.is_empty() || !subject.unresolved_name_servers.is_empty(),
            ),
            ("egress", !subject.egress.is_empty()),
            ("ocsp", !subject.ocsp_urls.is_empty()),
            ("time-stamp", !subject.timestamp_urls.is_empty()),
            ("issuers", !subject.issuers_pem.is_empty()),
            ("ports", !subject.declared_ports.is_empty()),
        ];
        for (what, is_declared) in declared {
            if !is_declared {
                let id = format!("declared/{what}");
                self.add(
                    id,
                    &Vantage::Controller,
                    &Probe::Declaration,
                    Expect::Declared,
                );
            }
        }
        if !subject.declared_ports.is_empty() {
            let id = "declared/ports".to_owned();
            self.add(
                id,
                &Vantage::Controller,
                &Probe::Declaration,
                Expect::SamePorts,
            );
        }
    }

    fn names(&mut self, stage: &str, own: &Stage, other: &Stage) {
        for name in &own.names {
            let probe = seen_in(View::Public, name);
            let id = |what: &str| format!("{stage}/dns/{name}/{what}");
            let at = &Vantage::Controller;
            self.add(id("exists"), at, &probe, Expect::NameExists);
            let declared = own.public_addresses.clone();
            let only = Expect::OnlyAddresses { declared };
            self.add(id("declared-addresses"), at, &probe, only);
            self.add(id("public-space"), at, &probe, Expect::NoPrivateAddress);
            self.add(id("servers-agree"), at, &probe, Expect::ServersAgree);
            let listed = Probe::NameServers { name: name.clone() };
            let all = Expect::ServersDeclared;
            self.add(id("servers-declared"), at, &listed, all);
            let addresses = other.public_addresses.clone();
            if !addresses.is_empty() {
                let not_on = Expect::NotOn { addresses };
                self.add(id("not-on-other-stage"), at, &probe, not_on);
            }
            let inside = seen_in(View::Internal, name);
            let addresses = own.internal_addresses.clone();
            let view = Expect::InternalView { addresses };
            let node = own.asker.clone();
            let member = Vantage::MemberWithGrant { node };
            self.add(id("internal-view"), &member, &inside, view);
        }
    }

    fn differing_names(&mut self) {
        for name in &self.subject.development.names {
            for other in &self.subject.production.names {
                let id = format!("development/dns/{name}/differs-from/{other}");
                let other = other.clone();
                let expect = Expect::DiffersFrom { other };
                self.add(
                    id,
                    &Vantage::Controller,
                    &seen_in(View::Public, name),
                    expect,
                );
            }
        }
    }

    /// The ports on overlay addresses, from members with and without a grant.
    fn members(&mut self, stage: &str, own: &Stage) {
        for server in &own.servers {
            for port in &server.ports {
                for address in &server.overlay_addresses {
                    self.member(stage, server, port, *address);
                }
            }
        }
    }

    fn member(&mut self, stage: &str, server: &Server, port: &Port, address: IpAddr) {
        let name = &server.node.name;
        let id = |who: &str| format!("{stage}/port/{}/{who}/{name}/{address}", port.number);
        let probe = dial(port, address);
        let granted = Vantage::MemberWithGrant {
            node: port.granted.clone(),
        };
        let ungranted = Vantage::MemberWithoutGrant {
            node: port.ungranted.clone(),
        };
        let closed = Expect::Closed { control: None };
        match port.exposure {
            Exposure::Tunnel | Exposure::Public => {
                let open = Expect::Open { control: None };
                self.add(id("granted"), &granted, &probe, open);
                self.add(id("ungranted"), &ungranted, &probe, closed);
            }
            Exposure::Loopback | Exposure::Never => {
                // Nobody should have a grant to it; whoever has one must not come through either.
                if port.granted.is_some() {
                    self.add(id("granted"), &granted, &probe, closed.clone());
                }
                self.add(id("ungranted"), &ungranted, &probe, closed);
            }
        }
    }

    /// The same ports on public addresses, from outside, and those that the organization itself lists as open to whomever.
    fn outside(&mut self, stage: &str, own: &Stage) {
        let outside = self.subject.outside.as_ref();
        let vantage = Vantage::Outside {
            node: outside.map(|it| it.node.clone()),
        };
        for control in outside.iter().flat_map(|it| &it.control) {
            let probe = Probe::TcpConnect { address: *control };
            let open = Expect::Open { control: None };
            self.add(format!("outside/control/{control}"), &vantage, &probe, open);
        }
        let mut doors = BTreeMap::<(u16, Protocol), Vec<&Port>>::new();
        // Where a web address of its own answers is that address's business.
        let is_web = |number: u16| own.urls.iter().any(|url| port_of(url) == Some(number));
        for declared in &self.subject.declared_ports {
            if declared.direction == Direction::In && !is_web(declared.number) {
                doors.insert((declared.number, Protocol::Tcp), Vec::new());
            }
        }
        for port in own.servers.iter().flat_map(|server| &server.ports) {
            let public = doors.entry((port.number, port.protocol)).or_default();
            public.extend((port.exposure == Exposure::Public).then_some(port));
        }
        for ((number, protocol), public) in doors {
            // One that admits everybody makes the port everybody's.
            let lists: Option<Vec<_>> = public.iter().map(|it| it.allow_list.as_ref()).collect();
            let lists = lists.unwrap_or_default();
            for ip in &own.public_addresses {
                let id = format!("{stage}/port/{number}/outside/{ip}");
                let probe = dial_number(number, protocol, *ip);
                let control = outside.and_then(|it| control_of(it, *ip));
                match (public.is_empty(), lists.is_empty()) {
                    (true, _) => self.add(id, &vantage, &probe, Expect::Closed { control }),
                    (_, true) => self.add(id, &vantage, &probe, Expect::Open { control }),
                    _ => {
                        let address = SocketAddr::new(*ip, number);
                        self.listed_and_unlisted(stage, address, &lists, control);
                    }
                }
            }
        }
    }

    /// What answers behind the ports, seen by the controller on each server's first overlay address.
    fn services(&mut self, stage: &str, own: &Stage) {
        for server in &own.servers {
            let Some(ip) = server.overlay_addresses.first() else {
                continue;
            };
            for port in server
                .ports
                .iter()
                .filter(|it| it.protocol == Protocol::Tcp)
            {
                self.service(stage, server, port, SocketAddr::new(*ip, port.number));
            }
        }
    }

    fn service(&mut self, stage: &str, server: &Server, port: &Port, address: SocketAddr) {
        let name = &server.node.name;
        let at = &Vantage::Controller;
        let id = |what: &str| format!("{stage}/service/{}/{name}/{what}", port.number);
        match &port.probe {
            PortProbe::None => {}
            PortProbe::TlsClientCertificate => {
                self.messages(&id, at, address);
                self.ocsp(stage, name, address);
            }
            PortProbe::Tls => {
                let (probe, role) = (Probe::Tls { address }, Role::WebServer);
                self.add(id("usage"), at, &probe, Expect::Usage { role });
                self.add(id("lasting"), at, &probe, Expect::Lasting);
            }
            PortProbe::OcspCache { tls_port } => {
                let tls = SocketAddr::new(address.ip(), *tls_port);
                let probe = Probe::OcspCache { address, tls };
                self.add(id("ocsp-responses"), at, &probe, Expect::OcspMultipart);
                self.add(id("no-server-error"), at, &probe, Expect::NoServerError);
            }
            PortProbe::Http { path, statuses } => {
                let path = path.clone();
                let probe = Probe::Http { address, path };
                let statuses = statuses.clone();
                self.add(id("status"), at, &probe, Expect::Status { statuses });
            }
            PortProbe::Health => {
                let path = "/".to_owned();
                let probe = Probe::Http { address, path };
                let statuses = vec![200];
                self.add(id("health"), at, &probe, Expect::Status { statuses });
            }
        }
    }

    /// The messages where other organizations' servers meet them: TLS on each public address, by the controller from outside.
    fn public_services(&mut self, stage: &str, own: &Stage) {
        let ports = own.servers.iter().flat_map(|server| &server.ports);
        let public = ports.filter(|it| {
            it.exposure == Exposure::Public && it.probe == PortProbe::TlsClientCertificate
        });
        for port in public {
            for ip in &own.public_addresses {
                let address = SocketAddr::new(*ip, port.number);
                let id = |what: &str| format!("{stage}/public/{}/{ip}/{what}", port.number);
                // What shuts the controller out does as it should, and nobody else looks at TLS.
                let own = &self.subject.controller_sources;
                let admits = |list: &AllowList| own.iter().any(|ip| list.admits(*ip));
                let at = match port.allow_list.as_ref().is_none_or(admits) {
                    true => Vantage::Controller,
                    false => Vantage::Outside { node: None },
                };
                self.messages(&id, &at, address);
            }
        }
    }

    /// TLS that asks for a client certificate.
    fn messages(&mut self, id: &dyn Fn(&str) -> String, at: &Vantage, address: SocketAddr) {
        let probe = Probe::Tls { address };
        let issuers = Issuers::Organization;
        let role = Role::Authentication;
        for (what, expect) in [
            ("client-certificate", Expect::ClientCertificate),
            ("chain", Expect::Chain { issuers }),
            ("usage", Expect::Usage { role }),
            ("lasting", Expect::Lasting),
        ] {
            self.add(id(what), at, &probe, expect);
        }
    }

    fn ocsp(&mut self, stage: &str, server: &str, tls: SocketAddr) {
        for url in &self.subject.ocsp_urls {
            let probe = Probe::Ocsp {
                url: url.clone(),
                tls,
            };
            let at = &Vantage::Controller;
            let id = |what: &str| format!("{stage}/ocsp/{server}/{what}/{url}");
            self.add(id("signed"), at, &probe, Expect::OcspSigned);
            self.add(id("fresh"), at, &probe, Expect::OcspFresh);
            self.add(id("good"), at, &probe, Expect::OcspGood);
        }
    }

    fn urls(&mut self, stage: &str, own: &Stage, other: &Stage) {
        for url in &own.urls {
            let probe = Probe::Url { url: url.clone() };
            let at = &Vantage::Controller;
            let id = |what: &str| format!("{stage}/url/{what}/{url}");
            let issuers = Issuers::Web;
            let host = host_of(url).unwrap_or_default().to_owned();
            let away = Expect::AwayFrom {
                names: other.names.clone(),
                addresses: other.public_addresses.clone(),
            };
            let role = Role::WebServer;
            self.add(id("answers"), at, &probe, Expect::NoServerError);
            self.add(id("host-name"), at, &probe, Expect::HostName { host });
            self.add(id("chain"), at, &probe, Expect::Chain { issuers });
            self.add(id("usage"), at, &probe, Expect::Usage { role });
            self.add(id("lasting"), at, &probe, Expect::Lasting);
            self.add(id("not-crossed"), at, &probe, away);
        }
    }

    fn balancers(&mut self, stage: &str, own: &Stage) {
        for balancer in &own.balancers {
            let name = balancer.name.clone();
            let id = format!("{stage}/balancer/{name}/all-up");
            let probe = Probe::Balancer { name };
            self.add(id, &Vantage::Controller, &probe, Expect::AllUp);
        }
    }

    fn egress(&mut self, stage: &str, own: &Stage) {
        for server in &own.servers {
            let node = server.node.clone();
            let from = &Vantage::Server { node };
            for target in &server.egress {
                let kind = kind_of(target.kind);
                let id = format!(
                    "{stage}/egress/{}/{kind}/{}:{}",
                    server.node.name, target.name, target.port
                );
                if target.addresses.is_empty() {
                    let (name, port) = (target.name.clone(), target.port);
                    let probe = Probe::Unresolved { name, port };
                    self.add(id.clone(), from, &probe, Expect::Open { control: None });
                }
                for address in &target.addresses {
                    let address = SocketAddr::new(*address, target.port);
                    let probe = Probe::TcpConnect { address };
                    let open = Expect::Open { control: None };
                    self.add(format!("{id}/{}", address.ip()), from, &probe, open);
                }
            }
        }
    }

    fn time_stamps(&mut self) {
        for url in &self.subject.timestamp_urls {
            let probe = Probe::TimeStamp { url: url.clone() };
            let at = &Vantage::Controller;
            let id = |what: &str| format!("time-stamp/{what}/{url}");
            let tolerance = CLOCK_TOLERANCE;
            self.add(id("matches"), at, &probe, Expect::StampMatches);
            self.add(id("signed"), at, &probe, Expect::StampSigned);
            self.add(id("clock"), at, &probe, Expect::StampClock { tolerance });
        }
    }
}

fn seen_in(view: View, name: &str) -> Probe {
    let name = name.to_owned();
    Probe::Dns { name, view }
}

fn dial(port: &Port, address: IpAddr) -> Probe {
    dial_number(port.number, port.protocol, address)
}

fn dial_number(number: u16, protocol: Protocol, address: IpAddr) -> Probe {
    let address = SocketAddr::new(address, number);
    match protocol {
        Protocol::Tcp => Probe::TcpConnect { address },
        Protocol::Udp => Probe::UdpPort { address },
    }
}

fn control_of(outside: &Outside, address: IpAddr) -> Option<SocketAddr> {
    let mut controls = outside.control.iter();
    let control = controls.find(|control| control.is_ipv4() == address.is_ipv4());
    control.copied()
}

fn kind_of(kind: TargetKind) -> &'static str {
    match kind {
        TargetKind::Peer => "peer",
        TargetKind::Central => "central",
        TargetKind::Ocsp => "ocsp",
        TargetKind::TimeStamp => "time-stamp",
    }
}

/// Checks of one plan.
pub const MAX_CHECKS: usize = 4_096;
/// How far a time-stamp authority's clock may be from ours, beyond the time that the answer took.
const CLOCK_TOLERANCE: Duration = Duration::seconds(5);

#[cfg(test)]
mod tests;
