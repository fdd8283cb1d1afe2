//! The TCP ports of the hub's machine: which are the controller's own, so that no balancer is promised one of them.

use std::collections::BTreeMap;
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};

use malha_core::State;
use malha_proto::{Exposure, NodeId, Port};
use malha_proxy::balance::KernelListener;

use crate::refusals::Refusal;

/// What a balancer on the hub can't have.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HubPorts {
    /// Ports and the keys of the configuration that name them.
    own: BTreeMap<u16, &'static str>,
}

impl HubPorts {
    pub fn new(own: impl IntoIterator<Item = (&'static str, SocketAddr)>) -> Self {
        let own = own.into_iter();
        Self {
            own: own.map(|(key, address)| (address.port(), key)).collect(),
        }
    }

    /// Why a new balancer can't listen there, as far as this machine knows. The state's own rules are not looked at, and
    /// other machines know of themselves when they try.
    #[must_use]
    pub fn refusal(
        &self,
        state: &State,
        node: NodeId,
        port: Port,
        exposure: Exposure,
    ) -> Option<Refusal> {
        if !state.node(node)?.hub {
            return None;
        }
        if let Some(key) = self.own.get(&port.number()) {
            return Some(Refusal::PortOfController { port, key });
        }
        let is_known = state.balancers_of(node).any(|it| it.port == port);
        if exposure == Exposure::Tunnel || is_known {
            return None;
        }
        let all = [Ipv4Addr::UNSPECIFIED.into(), Ipv6Addr::UNSPECIFIED.into()];
        let tried = all.map(|ip| KernelListener::bind(SocketAddr::new(ip, port.number())).err());
        let kinds: Vec<io::ErrorKind> = tried.iter().flatten().map(io::Error::kind).collect();
        if kinds.contains(&io::ErrorKind::AddrInUse) {
            return Some(Refusal::PortOfAnotherProgram { port });
        }
        kinds
            .contains(&io::ErrorKind::PermissionDenied)
            .then_some(Refusal::PortNotAllowed { port })
    }
}
