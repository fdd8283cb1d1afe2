//! The ports that a stage's machines are looked at for: those of their profiles, of what they offer beyond, and of balancers that stand
//! elsewhere and lead to them.

use std::collections::BTreeMap;

use malha_check::{AllowList, Exposure, Port, PortProbe, Protocol, Server};
use malha_core::declaration::Stage;
use malha_core::profile::{
    Direction, PortExposure, PortProbe as ProfileProbe, PortSpec, ProfileSpec,
};
use malha_core::{Balancer, Node};
use malha_proto::NodeId;

use super::{Builder, balancer_name, overlay_addresses};
use crate::checks::vantage::Around;

impl Builder<'_> {
    /// A machine of the stage, with the ports of its profile, its services and its balancers.
    pub(super) fn server(&self, node: &Node, stage: Stage) -> Server {
        let around = self.lookouts.around(node.id);
        let spec = self.state.profile_spec(node.profile);
        let release = self.state.site(node.site).and_then(|site| site.xroad);
        let mut ports: BTreeMap<(Protocol, u16), Port> = BTreeMap::new();
        for it in spec.ports_at(release) {
            if it.direction != Direction::In {
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
            let offered = || self.balanced(balancer, &around);
            let port = ports.entry((Protocol::Tcp, number)).or_insert_with(offered);
            port.exposure = exposure_of(balancer);
            port.allow_list = self.allow_list(balancer);
        }
        Server {
            node: self.named(node.id),
            overlay_addresses: overlay_addresses(node).to_vec(),
            ports: ports.into_values().collect(),
            egress: self.egress.of(node, stage),
        }
    }

    /// The balancers on other machines (an edge, the controller's own) that lead to a service of these.
    pub(super) fn fronts(&self, nodes: &[&Node]) -> Vec<&Balancer> {
        let services = nodes
            .iter()
            .flat_map(|node| self.state.services_of(node.id));
        let balancers = services.flat_map(|service| self.state.balancers_to(service.id));
        let elsewhere = balancers.filter(|it| nodes.iter().all(|node| node.id != it.node));
        let each: BTreeMap<_, _> = elsewhere.map(|it| (it.id, it)).collect();
        each.into_values().collect()
    }

    /// The machines of such balancers, with nothing but their ports. A public one is looked at where the public comes in: at the
    /// addresses that the organization declared.
    pub(super) fn fronting(&self, balancers: &[&Balancer]) -> Vec<Server> {
        let mut of_node: BTreeMap<(NodeId, Exposure), Vec<Port>> = BTreeMap::new();
        for balancer in balancers {
            let around = self.lookouts.around(balancer.node);
            let place = (balancer.node, exposure_of(balancer));
            let ports = of_node.entry(place).or_default();
            ports.push(self.balanced(balancer, &around));
        }
        let server = |((id, exposure), ports)| {
            let node = self.state.node(id).filter(|node| node.is_active())?;
            Some(Server {
                node: self.named(id),
                overlay_addresses: match exposure {
                    Exposure::Public => Vec::new(),
                    _ => overlay_addresses(node).to_vec(),
                },
                ports,
                egress: Vec::new(),
            })
        };
        of_node.into_iter().filter_map(server).collect()
    }

    /// The port of a balancer, behind which answers what answers at its servers.
    fn balanced(&self, balancer: &Balancer, around: &Around) -> Port {
        let behind = || {
            let service = balancer.backends.keys().next()?;
            let service = self.state.service(*service)?;
            let node = self.state.node(service.node)?;
            let spec = self.state.profile_spec(node.profile);
            let release = self.state.site(node.site).and_then(|site| site.xroad);
            let mut inward = spec
                .ports_at(release)
                .filter(|it| (it.direction, protocol(it)) == (Direction::In, Protocol::Tcp));
            let entry = inward.find(|it| it.ports.contains(&service.port))?;
            Some(probe(entry, &spec))
        };
        let (number, exposure) = (balancer.port.number(), exposure_of(balancer));
        let probe = behind().unwrap_or(PortProbe::None);
        Port {
            allow_list: self.allow_list(balancer),
            ..self.port(number, exposure, probe, around)
        }
    }

    fn allow_list(&self, balancer: &Balancer) -> Option<AllowList> {
        let sources = &balancer.settings.allowed_sources;
        (!sources.is_empty()).then(|| AllowList {
            balancer: balancer_name(self.state, balancer.node, balancer),
            sources: sources.iter().copied().collect(),
        })
    }

    fn port(&self, number: u16, exposure: Exposure, probe: PortProbe, around: &Around) -> Port {
        Port {
            number,
            protocol: Protocol::Tcp,
            exposure,
            probe,
            granted: around.granted(number).map(|id| self.named(id)),
            ungranted: around.ungranted(number).map(|id| self.named(id)),
            allow_list: None,
        }
    }
}

fn exposure_of(balancer: &Balancer) -> Exposure {
    match balancer.exposure {
        malha_proto::Exposure::Public => Exposure::Public,
        malha_proto::Exposure::Tunnel => Exposure::Tunnel,
    }
}

fn protocol(it: &PortSpec) -> Protocol {
    match it.protocol {
        malha_proto::Protocol::Udp => Protocol::Udp,
        malha_proto::Protocol::Tcp | malha_proto::Protocol::Icmp => Protocol::Tcp,
    }
}

pub(super) fn exposure(it: &PortSpec) -> Exposure {
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
            it.direction == Direction::In && it.probe == ProfileProbe::TlsClientCertificate
        };
        let entry = spec.ports.iter().find(is_tls)?;
        entry.ports.first().map(|port| port.number())
    };
    match it.probe {
        ProfileProbe::Tcp | ProfileProbe::None => PortProbe::None,
        ProfileProbe::TlsClientCertificate => PortProbe::TlsClientCertificate,
        ProfileProbe::Https => PortProbe::Tls,
        ProfileProbe::Health => PortProbe::Health,
        ProfileProbe::Http => match messages() {
            Some(tls_port) if it.name.as_str() == OCSP_CACHE => PortProbe::OcspCache { tls_port },
            _ => PortProbe::Http {
                path: "/".to_owned(),
                statuses: (200..500).collect(),
            },
        },
    }
}

/// The entry of a profile that answers X-Road's cached OCSP responses.
const OCSP_CACHE: &str = "ocsp-cache";
