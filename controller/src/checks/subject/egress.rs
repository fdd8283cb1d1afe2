//! What servers must reach, and where its names lead each of them: members of the overlay at their overlay addresses, as the server's
//! own programs find them, everybody else where the controller's resolver says.

use std::collections::BTreeSet;
use std::net::IpAddr;

use malha_check::{Target, TargetKind};
use malha_core::declaration::{Host, Stage, Statement, WebAddress};
use malha_core::profile::{Direction, Party};
use malha_core::{Node, State};
use malha_proto::{HostName, Profile};

use super::Addresses;

/// The declared targets of one organization.
pub(super) struct Egress<'a> {
    state: &'a State,
    statement: &'a Statement,
    addresses: &'a Addresses,
}

impl<'a> Egress<'a> {
    pub(super) fn new(
        state: &'a State,
        statement: &'a Statement,
        addresses: &'a Addresses,
    ) -> Self {
        Self {
            state,
            statement,
            addresses,
        }
    }

    /// All of them, for whichever server, where the controller's resolver leads.
    pub(super) fn declared(&self) -> Vec<Target> {
        let resolved = |host: &Host| self.addresses.get(host).cloned().unwrap_or_default();
        let release = None;
        self.targets(release, resolved, |_| true)
    }

    /// Those that this node must reach: none unless it is a security server. Peers that declared a name for the other stage are
    /// none of its own: servers speak with servers of their stage.
    pub(super) fn of(&self, node: &Node, stage: Stage) -> Vec<Target> {
        if node.profile != Profile::SecurityServer {
            return Vec::new();
        }
        let map = self.state.netmap(node.id);
        let peers: Vec<_> = map.into_iter().flat_map(|map| map.peers).collect();
        let zone = &self.state.settings().overlay_zone;
        let inside = |name: &HostName| -> Vec<IpAddr> {
            let is_meant = |peer: &malha_proto::Peer| {
                let own = format!("{}.{zone}", peer.name);
                peer.names.contains(name) || own == name.as_str()
            };
            let meant = peers.iter().filter(|(_, peer)| is_meant(peer));
            meant
                .flat_map(|(_, peer)| [peer.addresses.v4.into(), peer.addresses.v6.into()])
                .collect()
        };
        let led = |host: &Host| {
            let inside = match host {
                Host::Name(name) => inside(name),
                Host::Address(_) => Vec::new(),
            };
            match inside.is_empty() {
                true => self.addresses.get(host).cloned().unwrap_or_default(),
                false => inside,
            }
        };
        let release = self.state.site(node.site).and_then(|site| site.xroad);
        self.targets(release, led, |host| self.is_of_stage(host, stage))
    }

    /// Whether a peer's name is no member's, or one that a member declared for this stage.
    fn is_of_stage(&self, host: &Host, stage: Stage) -> bool {
        let Host::Name(name) = host else { return true };
        let declarations = self.state.declarations();
        let stages = declarations.flat_map(|it| it.statement.stages());
        let declared: BTreeSet<Stage> = stages
            .filter(|(_, said)| said.names.contains(name))
            .map(|(stage, _)| stage)
            .collect();
        declared.is_empty() || declared.contains(&stage)
    }

    fn targets(
        &self,
        release: Option<malha_core::profile::Release>,
        addresses: impl Fn(&Host) -> Vec<IpAddr>,
        is_peer: impl Fn(&Host) -> bool,
    ) -> Vec<Target> {
        let spec = self.state.profile_spec(Profile::SecurityServer);
        let ports = |party: Party| {
            let out = spec
                .ports_at(release)
                .filter(|it| it.direction == Direction::Out && it.who.contains(&party));
            let numbers = out.flat_map(|it| it.ports.iter().map(|port| port.number()));
            numbers.collect::<BTreeSet<u16>>()
        };
        // Where a host is takes a look at every peer: once, not for each of its ports.
        let at_ports = |kind, host: &Host, ports: &BTreeSet<u16>| -> Vec<Target> {
            let (name, addresses) = (host.to_string(), addresses(host));
            let target = |port: &u16| Target {
                kind,
                name: name.clone(),
                port: *port,
                addresses: addresses.clone(),
            };
            ports.iter().map(target).collect()
        };
        let said = self.statement;
        let mut targets = Vec::new();
        for (kind, party, hosts) in [
            (TargetKind::Peer, Party::Peers, &said.peers),
            (TargetKind::Central, Party::Central, &said.central),
        ] {
            let ports = ports(party);
            // A central server is every stage's.
            let hosts = hosts
                .iter()
                .filter(|host| kind == TargetKind::Central || is_peer(host));
            for host in hosts {
                targets.extend(at_ports(kind, host, &ports));
            }
        }
        let urls = |kind, urls: &[WebAddress]| -> Vec<Target> {
            let each = urls
                .iter()
                .flat_map(|url| at_ports(kind, &url.host, &[url.port].into()));
            each.collect()
        };
        targets.extend(urls(TargetKind::Ocsp, &said.ocsp));
        targets.extend(urls(TargetKind::TimeStamp, &said.time_stamps));
        targets
    }
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;

    use super::*;
    use crate::api::tests::rig::Rig;

    #[tokio::test]
    async fn where_a_host_is_is_looked_for_once_whatever_its_ports() {
        let rig = Rig::bare().await;
        let text = "version = 1\ncentral = [\"central.mt.example\"]\npeers = [\"sefaz.mt.example\"]\n[production]\n";
        let statement = Statement::parse(text).unwrap();
        let (state, addresses) = (rig.state(), Addresses::new());
        let egress = Egress::new(&state, &statement, &addresses);
        let asked = RefCell::new(Vec::new());
        let ask = |host: &Host| {
            asked.borrow_mut().push(host.to_string());
            Vec::new()
        };
        let targets = egress.targets(None, ask, |_| true);
        assert_eq!(targets.len(), 5, "5500 and 5577; 80, 443 and 4001");
        assert_eq!(
            asked.into_inner(),
            ["sefaz.mt.example", "central.mt.example"]
        );
    }
}
