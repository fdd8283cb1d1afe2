//! What a run of checks is about: an organization's declaration, its servers with the ports of their profiles, and who can look at
//! them from where. It reads the state and decides nothing.

mod egress;
mod servers;

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};

use malha_check::{
    Balancer, DeclaredPort, Direction, NameServer, Outside, PortDifference, Stage, Subject,
};
use malha_core::declaration::{self, Host, StageStatement, Statement, WebAddress};
use malha_core::profile::{self, Network};
use malha_core::{Node, Organization, State};
use malha_proto::{NodeId, Profile};

use super::vantage::{Lookouts, NoOutside};
use crate::paths;
use egress::Egress;
use servers::exposure;

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
        egress: Egress::new(state, statement, addresses),
    };
    let stage = |which| {
        let said = statement.stage(which);
        said.map(|said| builder.stage(which, said))
            .unwrap_or_default()
    };
    let declared = statement.stages().flat_map(|(_, said)| &said.addresses);
    let declared: Vec<IpAddr> = declared.copied().collect();
    let outside = lookouts.outside(organization.id, &declared);
    let texts = |urls: &[WebAddress]| urls.iter().map(WebAddress::to_string).collect();
    let subject = Subject {
        organization: organization.name.to_string(),
        production: stage(declaration::Stage::Production),
        development: stage(declaration::Stage::Development),
        name_servers: name_servers(statement, addresses),
        unresolved_name_servers: unresolved(statement, addresses),
        egress: builder.egress.declared(),
        ocsp_urls: texts(&statement.ocsp),
        timestamp_urls: texts(&statement.time_stamps),
        issuers_pem: statement.issuers.clone(),
        web_issuers_pem: statement.web_issuers.clone(),
        declared_ports: declared_ports(statement),
        port_differences: Some(builder.port_differences(statement)),
        outside: outside.as_ref().ok().map(|id| Outside {
            node: builder.named(*id),
            sources: lookouts.places(*id).to_vec(),
            control: control.to_vec(),
        }),
        controller_sources: control.iter().map(SocketAddr::ip).collect(),
    };
    (subject, outside.err())
}

struct Builder<'a> {
    state: &'a State,
    organization: &'a Organization,
    lookouts: &'a Lookouts<'a>,
    egress: Egress<'a>,
}

impl Builder<'_> {
    fn stage(&self, which: declaration::Stage, said: &StageStatement) -> Stage {
        let path = format!("{}/{}", self.organization.name, said.site);
        let site = self.state.site_by_path(&path);
        let nodes: Vec<&Node> = site
            .into_iter()
            .flat_map(|site| self.state.nodes_of(site.id))
            .filter(|node| node.is_active())
            .filter(|node| {
                use Profile::{Balancer, Central, SecurityServer};
                matches!(node.profile, SecurityServer | Balancer | Central)
            })
            .collect();
        let bearers: Vec<&Node> = self.state.bearers(self.organization.id, said).collect();
        let asker = self.lookouts.asker(&bearers);
        // A member hears of the names of those alone that it may reach.
        let is_shown = |node: &&&Node| {
            let reached = asker.as_ref().map(|(_, reached)| reached);
            reached.is_none_or(|reached| reached.contains(&node.id))
        };
        let shown = bearers.iter().filter(is_shown);
        let fronts = self.fronts(&nodes);
        let own = nodes.iter().map(|node| self.server(node, which));
        let balancers = nodes
            .iter()
            .flat_map(|node| self.state.balancers_of(node.id))
            .chain(fronts.iter().copied());
        Stage {
            names: said.names.iter().map(ToString::to_string).collect(),
            public_addresses: said.addresses.clone(),
            internal_addresses: shown.flat_map(|node| overlay_addresses(node)).collect(),
            asker: asker.as_ref().map(|(id, _)| self.named(*id)),
            urls: said.urls.iter().map(WebAddress::to_string).collect(),
            servers: own.chain(self.fronting(&fronts)).collect(),
            balancers: balancers
                .map(|it| Balancer {
                    name: balancer_name(self.state, it.node, it),
                })
                .collect(),
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

#[cfg(test)]
mod tests;
