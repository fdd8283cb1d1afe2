//! What the data plane had found out by itself when it was last seen, so that the next start need not find it out again. None of it
//! is needed: without it a start takes longer.

use std::net::SocketAddr;

use malha_proto::{BackendCondition, BackendReport, BalancerId, ServiceId};
use minicbor::{Decode, Encode};

#[derive(Clone, Debug, Default, PartialEq, Eq, Encode, Decode)]
pub struct Remembered {
    /// The tunnel's UDP addresses: behind the same port it is still known to NATs and peers.
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

    /// How a server was; None if that is not known.
    #[must_use]
    pub fn condition(&self, balancer: BalancerId, service: ServiceId) -> Option<BackendCondition> {
        let mut all = self.backends.iter();
        let it = all.find(|it| (it.balancer, it.service) == (balancer, service));
        it.map(|it| it.condition)
    }
}
