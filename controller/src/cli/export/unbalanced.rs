//! A site without a balancer of Malha: what an agency's own one has to spread over its security servers, by their profile.

use std::collections::BTreeSet;
use std::net::IpAddr;

use malha_core::profile::{Direction, Party, PortProbe, PortSpec, ProfileSpec};
use malha_proto::{BackendMode, Port, Profile};

use super::{Front, every};
use crate::api::{self, BalancerBackend, BalancerHealth, BalancerSettings, Node, Service, Site};
use crate::cli::exit::{Exit, Failure};
use crate::cli::session::{Session, parse};

/// The machines of a site, and the ports of its servers that are a balancer's to take.
pub(super) struct Unbalanced {
    path: String,
    /// In the order of the profile.
    ports: Vec<PortSpec>,
    /// Each with what it offers.
    servers: Vec<(Node, Vec<Service>)>,
    /// Machines with profile `balancer`, which run something else.
    balancers: Vec<Node>,
}

pub(super) async fn read(session: &Session, site: &Site) -> Result<Unbalanced, Failure> {
    let client = session.client();
    let profile: api::Profile = parse(client.read("/profiles/security-server").await?)?;
    let text = profile.text.unwrap_or_default();
    let spec = ProfileSpec::parse(&text)
        .map_err(|error| Failure::new(Exit::Internal, error.to_string()))?;
    let of_site = [("site", Some(&*site.id.to_string()))];
    let nodes: Vec<Node> = every(session, "/nodes", &of_site, |_| true).await?;
    let (mut servers, mut balancers) = (Vec::new(), Vec::new());
    for node in nodes {
        match node.profile {
            Profile::SecurityServer => {
                let of_node = [("node", Some(&*node.id.to_string()))];
                let services = every(session, "/services", &of_node, |_| true).await?;
                servers.push((node, services));
            }
            Profile::Balancer => balancers.push(node),
            Profile::Garage | Profile::Central | Profile::Edge => {}
        }
    }
    let inward = spec
        .ports_at(site.xroad)
        .filter(|it| it.direction == Direction::In && it.who.contains(&Party::Balancer));
    Ok(Unbalanced {
        path: site.path.clone(),
        ports: inward.cloned().collect(),
        servers,
        balancers,
    })
}

impl Unbalanced {
    /// One for each port that a server offers, on the machine with profile `balancer` if there is one.
    pub(super) fn fronts(&self) -> Vec<Front> {
        let here = self.balancers.iter();
        let addresses: Vec<IpAddr> = here
            .flat_map(|node| [node.address_v4.into(), node.address_v6.into()])
            .collect();
        let settings = BalancerSettings {
            health: self.health().map(|port| BalancerHealth {
                port,
                path: "/".to_owned(),
            }),
            ..BalancerSettings::default()
        };
        let balanced = self.ports.iter().filter(|it| it.probe != PortProbe::Health);
        let fronts = balanced.flat_map(|entry| entry.ports.iter().map(move |port| (entry, *port)));
        let fronts = fronts.map(|(entry, port)| Front {
            path: format!("{}/{}", self.path, entry.name),
            port,
            addresses: addresses.clone(),
            settings: settings.clone(),
            backends: self.behind(port),
        });
        fronts.filter(|it| !it.backends.is_empty()).collect()
    }

    /// What the file can't bring along, as comments: what the policy has to open, and an address.
    pub(super) fn note(&self) -> String {
        let mut note = format!(
            "# {} has no balancer of Malha. These are the ports of its servers that a balancer takes; the policy must open them to it:\n",
            self.path
        );
        for line in self.grant().lines() {
            note += format!("#     {line}").trim_end();
            note.push('\n');
        }
        if self.balancers.is_empty() {
            note += &format!(
                "# No node of {} has profile balancer: write the name of its node above, and its addresses at each bind.\n",
                self.path
            );
        }
        note
    }

    fn grant(&self) -> String {
        let fronts = self.fronts();
        let mut ports: BTreeSet<Port> = fronts.iter().map(|it| it.port).collect();
        ports.extend(self.health());
        let ports: Vec<String> = ports.iter().map(|port| format!("\"{port}\"")).collect();
        let node = self.balancers.first();
        let from = node.map_or_else(|| format!("{}/NODE", self.path), |node| node.path.clone());
        let server = |(node, _): &(Node, _)| format!("\"node:{}\"", node.path);
        let servers: Vec<String> = self.servers.iter().map(server).collect();
        let mut grant = format!(
            "[[grant]]\nname = \"{}-haproxy\"\nfrom = [\"node:{from}\"]\nto = [{}]\nprotocol = \"tcp\"\nports = [{}]\n",
            self.path.replace('/', "-"),
            servers.join(", "),
            ports.join(", "),
        );
        if let (Some(server), Some(port)) = (servers.first(), self.health()) {
            grant += &format!(
                "[[test]]\nfrom = \"node:{from}\"\nto = {server}\nprotocol = \"tcp\"\nport = {port}\nexpect = \"allow\"\n"
            );
        }
        grant
    }

    fn health(&self) -> Option<Port> {
        let entry = self.ports.iter().find(|it| it.probe == PortProbe::Health)?;
        entry.ports.first().copied()
    }

    fn behind(&self, port: Port) -> Vec<BalancerBackend> {
        let offered = self.servers.iter().filter_map(|(node, services)| {
            let service = services.iter().find(|it| it.port == port)?;
            Some(BalancerBackend {
                service: service.path.clone(),
                service_id: service.id,
                address: (node.address_v4, port.number()).into(),
                mode: BackendMode::Serve,
                condition: None,
                connections: None,
            })
        });
        offered.collect()
    }
}
