//! What a run of checks is about: an organization's declaration, its servers with the ports of their profiles, and who can look at
//! them from where. It reads the state and decides nothing.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};

use malha_check::{
    Balancer, DeclaredPort, Direction, Exposure, NameServer, Outside, Port, PortDifference,
    PortProbe, Protocol, Server, Stage, Subject, Target, TargetKind,
};
use malha_core::declaration::{Host, StageStatement, Statement, WebAddress};
use malha_core::profile::{self, Network, Party, PortExposure, PortSpec, ProfileSpec};
use malha_core::{Node, Organization, State};
use malha_proto::{NodeId, Profile};

use super::vantage::{Around, Lookouts, NoOutside};
use crate::paths;

/// The addresses of the hosts that a declaration names.
pub(super) type Addresses = BTreeMap<Host, Vec<IpAddr>>;

/// The hosts whose addresses a run has to know.
pub(super) fn hosts(statement: &Statement) -> BTreeSet<Host> {
    let urls = statement.ocsp.iter().chain(&statement.time_stamps);
    let hosts = statement.central.iter().chain(&statement.peers);
    hosts
        .chain(urls.map(|url| &url.host))
        .chain(statement.name_servers.iter().map(|server| &server.host))
        .cloned()
        .collect()
}

/// Builds the subject, and says why nobody looks from outside if nobody does. `control` are public addresses that answer, like this
/// controller's.
pub(super) fn subject(
    state: &State,
    organization: &Organization,
    statement: &Statement,
    addresses: &Addresses,
    lookouts: &Lookouts<'_>,
    control: &[SocketAddr],
) -> (Subject, Option<NoOutside>) {
    let builder = Builder {
        state,
        organization,
        lookouts,
    };
    let stage = |said: &Option<StageStatement>| {
        said.as_ref()
            .map(|said| builder.stage(said))
            .unwrap_or_default()
    };
    let declared = statement.stages().flat_map(|(_, said)| &said.addresses);
    let declared: Vec<IpAddr> = declared.copied().collect();
    let outside = lookouts.outside(organization.id, &declared);
    let texts = |urls: &[WebAddress]| urls.iter().map(WebAddress::to_string).collect();
    let subject = Subject {
        organization: organization.name.to_string(),
        production: stage(&statement.production),
        development: stage(&statement.development),
        name_servers: name_servers(statement, addresses),
        unresolved_name_servers: unresolved(statement, addresses),
        egress: egress(state, statement, addresses),
        ocsp_urls: texts(&statement.ocsp),
        timestamp_urls: texts(&statement.time_stamps),
        issuers_pem: statement.issuers.clone(),
        web_issuers_pem: statement.web_issuers.clone(),
        declared_ports: declared_ports(statement),
        port_differences: Some(builder.port_differences(statement)),
        outside: outside.as_ref().ok().map(|id| Outside {
            node: builder.named(*id),
            control: control.to_vec(),
        }),
    };
    (subject, outside.err())
}

struct Builder<'a> {
    state: &'a State,
    organization: &'a Organization,
    lookouts: &'a Lookouts<'a>,
}

impl Builder<'_> {
    fn stage(&self, said: &StageStatement) -> Stage {
        let path = format!("{}/{}", self.organization.name, said.site);
        let site = self.state.site_by_path(&path);
        let nodes: Vec<&Node> = site
            .into_iter()
            .flat_map(|site| self.state.nodes_of(site.id))
            .filter(|node| node.is_active())
            .filter(|node| matches!(node.profile, Profile::SecurityServer | Profile::Balancer))
            .collect();
        let bearers: Vec<&Node> = self.state.bearers(self.organization.id, said).collect();
        let asker = self.lookouts.asker(&bearers);
        // A member hears of the names of those alone that it may reach.
        let is_shown = |node: &&&Node| {
            let reached = asker.as_ref().map(|(_, reached)| reached);
            reached.is_none_or(|reached| reached.contains(&node.id))
        };
        let shown = bearers.iter().filter(is_shown);
        let balancers = nodes
            .iter()
            .flat_map(|node| self.state.balancers_of(node.id).map(|it| (node.id, it)))
            .map(|(node, it)| Balancer {
                name: balancer_name(self.state, node, it),
            });
        Stage {
            names: said.names.iter().map(ToString::to_string).collect(),
            public_addresses: said.addresses.clone(),
            internal_addresses: shown.flat_map(|node| overlay_addresses(node)).collect(),
            asker: asker.as_ref().map(|(id, _)| self.named(*id)),
            urls: said.urls.iter().map(WebAddress::to_string).collect(),
            balancers: balancers.collect(),
            servers: nodes.iter().map(|node| self.server(node)).collect(),
        }
    }

    fn server(&self, node: &Node) -> Server {
        let around = self.lookouts.around(node.id);
        let spec = self.state.profile_spec(node.profile);
        let release = self.state.site(node.site).and_then(|site| site.xroad);
        let mut ports: BTreeMap<(Protocol, u16), Port> = BTreeMap::new();
        for it in spec.ports_at(release) {
            if it.direction != profile::Direction::In {
                continue;
            }
            for port in &it.ports {
                let number = port.number();
                let port = self.port(number, exposure(it), probe(it, &spec), &around);
                let protocol = protocol(it);
                ports.insert((protocol, number), Port { protocol, ..port });
            }
        }
        // What the node really offers counts, whether its profile has it or not.
        for service in self.state.services_of(node.id) {
            let number = service.port.number();
            let offered = || self.port(number, Exposure::Tunnel, PortProbe::None, &around);
            let _ = ports.entry((Protocol::Tcp, number)).or_insert_with(offered);
        }
        for balancer in self.state.balancers_of(node.id) {
            let number = balancer.port.number();
            let exposure = match balancer.exposure {
                malha_proto::Exposure::Public => Exposure::Public,
                malha_proto::Exposure::Tunnel => Exposure::Tunnel,
            };
            let offered = || self.port(number, exposure, PortProbe::None, &around);
            let port = ports.entry((Protocol::Tcp, number)).or_insert_with(offered);
            port.exposure = exposure;
        }
        Server {
            node: self.named(node.id),
            overlay_addresses: overlay_addresses(node).to_vec(),
            ports: ports.into_values().collect(),
            has_egress: node.profile == Profile::SecurityServer,
        }
    }

    fn port_differences(&self, statement: &Statement) -> Vec<PortDifference> {
        let role = Profile::SecurityServer;
        let own = self.organization.id;
        let found = profile::declared_differences(self.state, role, own, statement, None);
        let differences = found.iter().map(|it| PortDifference {
            number: it.port.number(),
            direction: match it.direction {
                profile::Direction::In => Direction::In,
                profile::Direction::Out => Direction::Out,
            },
            is_declared_inside: it.declared.contains(&Network::Internal),
            is_declared_outside: it.declared.contains(&Network::External),
            exposure: it.entry.as_ref().map(exposure),
        });
        differences.collect()
    }

    fn port(&self, number: u16, exposure: Exposure, probe: PortProbe, around: &Around) -> Port {
        Port {
            number,
            protocol: Protocol::Tcp,
            exposure,
            probe,
            granted: around.granted(number).map(|id| self.named(id)),
            ungranted: around.ungranted(number).map(|id| self.named(id)),
        }
    }

    fn named(&self, id: NodeId) -> malha_check::Node {
        let name = self.state.node_name(id);
        malha_check::Node {
            id,
            name: name.map_or_else(|| id.to_string(), |name| name.to_string()),
        }
    }
}

/// `org/site/node/balancer`.
pub(super) fn balancer_name(state: &State, node: NodeId, it: &malha_core::Balancer) -> String {
    format!("{}/{}", paths::node(state, node), it.name)
}

fn overlay_addresses(node: &Node) -> [IpAddr; 2] {
    [node.addresses.v4.into(), node.addresses.v6.into()]
}

fn protocol(it: &PortSpec) -> Protocol {
    match it.protocol {
        malha_proto::Protocol::Udp => Protocol::Udp,
        malha_proto::Protocol::Tcp | malha_proto::Protocol::Icmp => Protocol::Tcp,
    }
}

fn exposure(it: &PortSpec) -> Exposure {
    match it.exposure {
        PortExposure::Tunnel => Exposure::Tunnel,
        PortExposure::Public => Exposure::Public,
        PortExposure::Loopback => Exposure::Loopback,
        PortExposure::Never => Exposure::Never,
    }
}

fn probe(it: &PortSpec, spec: &ProfileSpec) -> PortProbe {
    let messages = || {
        let is_tls = |it: &&PortSpec| {
            it.direction == profile::Direction::In
                && it.probe == profile::PortProbe::TlsClientCertificate
        };
        let entry = spec.ports.iter().find(is_tls)?;
        entry.ports.first().map(|port| port.number())
    };
    match it.probe {
        profile::PortProbe::Tcp | profile::PortProbe::None => PortProbe::None,
        profile::PortProbe::TlsClientCertificate => PortProbe::TlsClientCertificate,
        profile::PortProbe::Https => PortProbe::Tls,
        profile::PortProbe::Health => PortProbe::Health,
        profile::PortProbe::Http => match messages() {
            Some(tls_port) if it.name.as_str() == OCSP_CACHE => PortProbe::OcspCache { tls_port },
            _ => PortProbe::Http {
                path: "/".to_owned(),
                statuses: (200..500).collect(),
            },
        },
    }
}

fn name_servers(statement: &Statement, addresses: &Addresses) -> Vec<NameServer> {
    let servers = statement.name_servers.iter().flat_map(|server| {
        let found = addresses.get(&server.host).into_iter().flatten();
        found.map(|ip| NameServer {
            name: server.to_string(),
            address: SocketAddr::new(*ip, server.port),
        })
    });
    servers.collect()
}

fn unresolved(statement: &Statement, addresses: &Addresses) -> Vec<String> {
    let servers = statement.name_servers.iter();
    let nowhere = servers.filter(|it| addresses.get(&it.host).is_none_or(Vec::is_empty));
    nowhere.map(ToString::to_string).collect()
}

fn egress(state: &State, statement: &Statement, addresses: &Addresses) -> Vec<Target> {
    let spec = state.profile_spec(Profile::SecurityServer);
    let ports = |party: Party| {
        let out = spec
            .ports
            .iter()
            .filter(|it| it.direction == profile::Direction::Out)
            .filter(move |it| it.who.contains(&party));
        let numbers = out.flat_map(|it| it.ports.iter().map(|port| port.number()));
        numbers.collect::<BTreeSet<u16>>()
    };
    let target = |kind, host: &Host, port| Target {
        kind,
        name: host.to_string(),
        port,
        addresses: addresses.get(host).cloned().unwrap_or_default(),
    };
    let mut targets = Vec::new();
    for (kind, party, hosts) in [
        (TargetKind::Peer, Party::Peers, &statement.peers),
        (TargetKind::Central, Party::Central, &statement.central),
    ] {
        let ports = ports(party);
        for host in hosts {
            targets.extend(ports.iter().map(|port| target(kind, host, *port)));
        }
    }
    for (kind, urls) in [
        (TargetKind::Ocsp, &statement.ocsp),
        (TargetKind::TimeStamp, &statement.time_stamps),
    ] {
        targets.extend(urls.iter().map(|url| target(kind, &url.host, url.port)));
    }
    targets
}

fn declared_ports(statement: &Statement) -> Vec<DeclaredPort> {
    let said = &statement.ports;
    let lists = [
        (&said.from_outside, Direction::In, true),
        (&said.to_outside, Direction::Out, true),
        (&said.from_inside, Direction::In, false),
        (&said.to_inside, Direction::Out, false),
    ];
    let ports = lists
        .into_iter()
        .flat_map(|(ports, direction, from_outside)| {
            ports.iter().map(move |number| DeclaredPort {
                number: *number,
                direction,
                from_outside,
            })
        });
    ports.collect()
}

/// The entry of a profile that answers X-Road's cached OCSP responses.
const OCSP_CACHE: &str = "ocsp-cache";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::tests::rig::Rig;

    const STATEMENT: &str = r#"version = 1
central = ["central.mt.example"]
peers = ["sefaz.mt.example"]
ocsp = ["http://ocsp.mt.example:8888/"]
time_stamps = ["https://tsa.mt.example/"]
name_servers = ["ns1.mt.example", "ns2.mt.example:5353"]
[production]
site = "production"
"#;

    #[tokio::test]
    async fn a_server_must_reach_peers_central_ocsp_and_time_stamps_at_the_profiles_ports() {
        let rig = Rig::bare().await;
        let statement = Statement::parse(STATEMENT).unwrap();
        let ip: IpAddr = "203.0.113.1".parse().unwrap();
        let addresses = hosts(&statement).into_iter().map(|it| (it, vec![ip]));
        let targets = egress(&rig.state(), &statement, &addresses.collect());
        let told = targets.iter().map(|it| (it.kind, &it.name[..], it.port));
        assert_eq!(
            told.collect::<Vec<_>>(),
            [
                (TargetKind::Peer, "sefaz.mt.example", 5_500),
                (TargetKind::Peer, "sefaz.mt.example", 5_577),
                (TargetKind::Central, "central.mt.example", 80),
                (TargetKind::Central, "central.mt.example", 443),
                (TargetKind::Central, "central.mt.example", 4_001),
                (TargetKind::Ocsp, "ocsp.mt.example", 8_888),
                (TargetKind::TimeStamp, "tsa.mt.example", 443),
            ]
        );
        assert!(targets.iter().all(|it| it.addresses == [ip]));
    }

    #[test]
    fn a_name_server_without_an_address_is_not_forgotten() {
        let statement = Statement::parse(STATEMENT).unwrap();
        let ip: IpAddr = "203.0.113.1".parse().unwrap();
        let first = statement.name_servers[0].host.clone();
        let addresses = Addresses::from([(first, vec![ip])]);
        assert_eq!(name_servers(&statement, &addresses).len(), 1);
        assert_eq!(unresolved(&statement, &addresses), ["ns2.mt.example:5353"]);
    }
}
