//! Who can look at an organization's servers from where: members with and without a grant, as the compiled policy says, and a node
//! outside. It asks nobody.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use malha_check::Lang;
use malha_core::{Node, State, Tag};
use malha_proto::{
    Allow, NAMES_SINCE_VERSION, NodeId, OrganizationId, PROBES_SINCE_VERSION, Profile, Protocol,
};
use serde::{Deserialize, Serialize};

use crate::live::Live;
use crate::paths;
use crate::session::Registry;

/// The tag of nodes that stand outside of every organization's network. Where a machine stands, only an operator can say: neither
/// a profile nor an address shows it.
pub const OUTSIDE_TAG: &str = "outside";

/// The nodes that can look now, and where each comes from.
pub(super) struct Lookouts<'a> {
    state: &'a State,
    places: BTreeMap<NodeId, Vec<IpAddr>>,
    /// Those of them that can say what names lead to.
    resolving: BTreeSet<NodeId>,
}

/// What the other members may open on a server.
pub(super) struct Around {
    /// Peers that can look, and what each may open.
    peers: Vec<(NodeId, Vec<Allow>)>,
    /// One that can look and is no peer: for it there is no way at all.
    stranger: Option<NodeId>,
}

/// Why nobody looks from outside.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum NoOutside {
    /// No node has the tag.
    Untagged,
    /// Those that have it are not connected, or too old to look.
    Offline,
    /// This one has it, but belongs to the organization or comes from one of its addresses.
    Inside { node: String },
}

impl NoOutside {
    /// For people.
    #[must_use]
    pub fn words(&self, lang: Lang) -> String {
        match (self, lang) {
            (Self::Untagged, Lang::Pt) => format!(
                "nenhum nó tem a etiqueta {OUTSIDE_TAG:?}; dê-a a uma máquina fora da rede de todos os órgãos: malha node tag NÓ {OUTSIDE_TAG}"
            ),
            (Self::Untagged, Lang::En) => format!(
                "no node has the tag {OUTSIDE_TAG:?}; give it to a machine outside of every agency's network: malha node tag NODE {OUTSIDE_TAG}"
            ),
            (Self::Offline, Lang::Pt) => format!(
                "nenhum nó com a etiqueta {OUTSIDE_TAG:?} está ligado com um programa que saiba olhar"
            ),
            (Self::Offline, Lang::En) => format!(
                "no node with the tag {OUTSIDE_TAG:?} is connected with a program that can look"
            ),
            (Self::Inside { node }, Lang::Pt) => format!(
                "{node} tem a etiqueta {OUTSIDE_TAG:?}, mas não está fora: é deste órgão, ou vem de um endereço dele"
            ),
            (Self::Inside { node }, Lang::En) => format!(
                "{node} has the tag {OUTSIDE_TAG:?} but is not outside: it is this agency's, or comes from one of its addresses"
            ),
        }
    }
}

impl<'a> Lookouts<'a> {
    pub(super) fn new(state: &'a State, registry: &Registry, live: &Live) -> Self {
        let place = |node: &Node| {
            let session = registry.find(node.id)?;
            let can_look = node.is_active() && session.version >= PROBES_SINCE_VERSION;
            let seen = live.tunnel(node.id).and_then(|tunnel| tunnel.endpoint);
            let places = [Some(session.remote), seen].into_iter().flatten();
            can_look.then(|| (node.id, places.map(|at| at.ip().to_canonical()).collect()))
        };
        let places: BTreeMap<NodeId, Vec<IpAddr>> = state.nodes().filter_map(place).collect();
        let resolves = |id: &NodeId| {
            let session = registry.find(*id);
            session.is_some_and(|it| it.version >= NAMES_SINCE_VERSION)
        };
        Self {
            state,
            resolving: places.keys().copied().filter(resolves).collect(),
            places,
        }
    }

    pub(super) fn can_look(&self, node: NodeId) -> bool {
        self.places.contains_key(&node)
    }

    /// Where a node comes from, as far as that is seen.
    pub(super) fn places(&self, node: NodeId) -> &[IpAddr] {
        self.places.get(&node).map_or(&[], Vec::as_slice)
    }

    /// The members around a server.
    pub(super) fn around(&self, server: NodeId) -> Around {
        let map = self.state.netmap(server);
        let peers: BTreeMap<_, _> = map.map(|map| map.peers).unwrap_or_default();
        let stranger = self
            .places
            .keys()
            .find(|id| **id != server && !peers.contains_key(id));
        Around {
            stranger: stranger.copied(),
            peers: peers
                .into_iter()
                .filter(|(id, _)| self.can_look(*id))
                .map(|(id, peer)| (id, peer.allow))
                .collect(),
        }
    }

    /// A member that may open something on some of these nodes and can say what their names lead to, and those nodes: one that
    /// reaches as many as any, and rather a server, whose programs need the names.
    pub(super) fn asker(&self, bearers: &[&Node]) -> Option<(NodeId, BTreeSet<NodeId>)> {
        let mut reached = BTreeMap::<NodeId, BTreeSet<NodeId>>::new();
        for bearer in bearers {
            let peers = self.state.netmap(bearer.id).map(|map| map.peers);
            for (id, peer) in peers.into_iter().flatten() {
                if !peer.allow.is_empty() && self.resolving.contains(&id) {
                    reached.entry(id).or_default().insert(bearer.id);
                }
            }
        }
        let is_server = |id: NodeId| {
            let profile = self.state.node(id).map(|node| node.profile);
            profile.is_some_and(|it| matches!(it, Profile::SecurityServer | Profile::Central))
        };
        let candidates = reached.into_iter();
        candidates.max_by_key(|(id, nodes)| (nodes.len(), is_server(*id), Reverse(*id)))
    }

    /// A node outside of the organization: it has the tag, is another organization's, and shares no address with this one, be it
    /// declared or seen.
    pub(super) fn outside(
        &self,
        organization: OrganizationId,
        declared: &[IpAddr],
    ) -> Result<NodeId, NoOutside> {
        let tagged = self.state.nodes().filter(|node| is_tagged_outside(node));
        let mut why = NoOutside::Untagged;
        for node in tagged {
            let Some(places) = self.places.get(&node.id) else {
                if why == NoOutside::Untagged {
                    why = NoOutside::Offline;
                }
                continue;
            };
            let is_own = self.organization_of(node) == Some(organization);
            let shares = |place: &IpAddr| {
                let own = |id: &NodeId| {
                    let node = self.state.node(*id);
                    node.and_then(|it| self.organization_of(it)) == Some(organization)
                };
                let seen = self.places.iter().filter(|(id, _)| own(id));
                declared.contains(place) || seen.flat_map(|(_, at)| at).any(|at| at == place)
            };
            if is_own || places.iter().any(shares) {
                why = NoOutside::Inside {
                    node: paths::node(self.state, node.id),
                };
                continue;
            }
            return Ok(node.id);
        }
        Err(why)
    }

    fn organization_of(&self, node: &Node) -> Option<OrganizationId> {
        self.state.site(node.site).map(|site| site.organization)
    }
}

impl Around {
    /// A member that may open this TCP port.
    pub(super) fn granted(&self, port: u16) -> Option<NodeId> {
        let found = self.peers.iter().find(|(_, allows)| covers(allows, port));
        found.map(|(id, _)| *id)
    }

    /// A member that may not; rather one whose packets arrive, so that the server's own filter is what is looked at.
    pub(super) fn ungranted(&self, port: u16) -> Option<NodeId> {
        let found = self.peers.iter().find(|(_, allows)| !covers(allows, port));
        found.map(|(id, _)| *id).or(self.stranger)
    }
}

fn covers(allows: &[Allow], port: u16) -> bool {
    allows.iter().any(|allow| {
        allow.protocol == Protocol::Tcp && (allow.from_port..=allow.to_port).contains(&port)
    })
}

fn is_tagged_outside(node: &Node) -> bool {
    node.tags
        .iter()
        .map(Tag::as_str)
        .any(|tag| tag == OUTSIDE_TAG)
}

#[cfg(test)]
mod tests;
