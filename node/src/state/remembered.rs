//! What the data plane had found out by itself when it was last seen, so that the next start need not find it out again. None of it
//! is needed: without it a start takes longer.

use std::net::SocketAddr;

use malha_proto::{BackendCondition, BackendReport, BalancerId, ServiceId};
use malha_tunnel::WishedPorts;
use minicbor::{Decode, Encode};

#[derive(Clone, Debug, Default, PartialEq, Eq, Encode, Decode)]
pub struct Remembered {
    /// The tunnel's UDP addresses, of which only the [ports](Self::ports) count at the next start.
    #[n(0)]
    pub listen: Vec<SocketAddr>,
    /// How the servers behind this node's balancers were.
    #[n(1)]
    pub backends: Vec<BackendReport>,
}

impl Remembered {
    /// What is worth keeping of how things are.
    #[must_use]
    pub fn of(listen: &[SocketAddr], backends: &[BackendReport]) -> Self {
        let backends = backends.iter().map(|it| BackendReport {
            connections: 0,
            ..*it
        });
        Self {
            listen: listen.to_vec(),
            backends: backends.collect(),
        }
    }

    /// The tunnel's first port of each family: there it is still known to NATs, firewalls and peers. The addresses are the
    /// configuration's and the machine's to say, each time anew.
    #[must_use]
    pub fn ports(&self) -> WishedPorts {
        let port = |is_ipv4: bool| {
            let mut listen = self.listen.iter();
            let first = listen.find(|it| it.is_ipv4() == is_ipv4);
            first.map_or(0, SocketAddr::port)
        };
        WishedPorts {
            ipv4: port(true),
            ipv6: port(false),
        }
    }

    /// How a server was; None if that is not known.
    #[must_use]
    pub fn condition(&self, balancer: BalancerId, service: ServiceId) -> Option<BackendCondition> {
        let mut all = self.backends.iter();
        let it = all.find(|it| (it.balancer, it.service) == (balancer, service));
        it.map(|it| it.condition)
    }
}
