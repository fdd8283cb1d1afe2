//! Why one node may open a port on another, or may not: the answer of the functions that make netmaps, with their reasons.
//! It decides nothing of its own.

use malha_proto::{Allow, BalancerId, Exposure, GrantId, NodeId, Port, Protocol, ServiceId};

use crate::model::{Node, Opening};
use crate::state::State;

/// Who wants to open what on whom.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Question {
    pub from: NodeId,
    pub to: NodeId,
    pub protocol: Protocol,
    /// The destination port; without meaning for ICMP.
    pub port: u16,
}

/// The verdict of `to`'s filter, and what stands behind it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Explanation {
    pub verdict: Verdict,
    /// Everything that `from` may open on `to`, whatever was asked, in the order of the filter. While one of them is held
    /// apart, what it could open otherwise.
    pub permissions: Vec<Permission>,
    /// Whether `to` may open the same on `from`. Answers need no permission: they pass because `from` opened.
    pub reverse: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// At least one permission covers it; the first such one is what the filter counts.
    Allowed,
    Denied(Denial),
}

/// Why a packet does not pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Denial {
    /// Both are one node: nothing enters a tunnel, and no filter is asked.
    SameNode,
    /// This one is quarantined or must make new keys, so it has no peers.
    Apart(NodeId),
    /// Neither is a hub or an edge, and no grant joins them: they don't know each other.
    NotPeers,
    /// They are peers, but nothing covers it: the default.
    NoPermission,
}

/// One thing that a node may open on another, and why.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Permission {
    pub allow: Allow,
    pub source: Source,
}

/// What gives a permission.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Source {
    Grant(GrantId),
    /// A public service: edges and hubs bring requests to it.
    Published(ServiceId),
    /// Any other service: the hub probes its health.
    Probed(ServiceId),
    /// A service behind a balancer, or its health port: the balancer's node carries connections to it.
    Balanced(BalancerId),
}

impl State {
    /// What becomes of a packet that opens something; None when one of the nodes does not exist.
    #[must_use]
    pub fn explain(&self, question: &Question) -> Option<Explanation> {
        let (from, to) = (self.node(question.from)?, self.node(question.to)?);
        let mut permissions: Vec<Permission> = self.permissions(from, to).collect();
        permissions.sort();
        Some(Explanation {
            verdict: self.verdict(from, to, question),
            permissions,
            reverse: self.verdict(to, from, question) == Verdict::Allowed,
        })
    }

    /// Everything that lets `from` open something on `to`, if they are peers.
    pub(crate) fn permissions<'a>(
        &'a self,
        from: &'a Node,
        to: &'a Node,
    ) -> impl Iterator<Item = Permission> + 'a {
        let granted = self.granted(from, to).filter_map(|grant| {
            Some(Permission {
                allow: self.opened(&grant.allow, to)?,
                source: Source::Grant(grant.id),
            })
        });
        let services = self.open_to_gateway(to, from).map(|service| Permission {
            allow: at_port(service.port),
            source: match service.exposure {
                Exposure::Public => Source::Published(service.id),
                Exposure::Tunnel => Source::Probed(service.id),
            },
        });
        granted.chain(services).chain(self.balancing(from, to))
    }

    /// What an opening is on this node; None when it names a service that the node has not.
    pub(crate) fn opened(&self, opening: &Opening, on: &Node) -> Option<Allow> {
        match opening {
            Opening::Ports(allow) => Some(*allow),
            Opening::Service { service } => self
                .service_by_name(on.id, service)
                .map(|it| at_port(it.port)),
        }
    }

    /// Read from the very entry that `to`'s netmap has for `from`.
    fn verdict(&self, from: &Node, to: &Node, question: &Question) -> Verdict {
        let Some(peer) = self.peer(to, from) else {
            return Verdict::Denied(match [from, to].into_iter().find(|it| !it.is_active()) {
                _ if from.id == to.id => Denial::SameNode,
                Some(apart) => Denial::Apart(apart.id),
                None => Denial::NotPeers,
            });
        };
        let mut allow = peer.allow.iter();
        match allow.any(|allow| allow.covers(question.protocol, question.port)) {
            true => Verdict::Allowed,
            false => Verdict::Denied(Denial::NoPermission),
        }
    }
}

fn at_port(port: Port) -> Allow {
    Allow {
        protocol: Protocol::Tcp,
        from_port: port.number(),
        to_port: port.number(),
    }
}
