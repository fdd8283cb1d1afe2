//! Whom a change concerns. The cost follows the change: only nodes near it are looked at, pair by pair, and no netmap is
//! made whole.

use std::collections::BTreeSet;

use imbl::ordmap::DiffItem;
use malha_proto::{Fingerprint, NetmapDelta, NodeId, Peer, WgKey};
use malha_zone::ZoneName;

use crate::change::{Change, Entity, EntityKey};
use crate::model::{FormerKey, Grant, Node};
use crate::names::named_otherwise;
use crate::state::{State, seconds};

/// What a change touched, for those who must act on it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Affected {
    /// Exactly the nodes whose netmap differs in more than its revision; also those that came or went.
    pub nodes: BTreeSet<NodeId>,
    /// Those of `nodes` that are gone.
    pub removed: BTreeSet<NodeId>,
    /// Nodes that have other keys, or know others as their former ones. A node's own netmap does not name its keys, so most are not among
    /// `nodes`; who speaks with an old key is to be looked at all the same.
    pub rekeyed: BTreeSet<NodeId>,
    /// Zones that differ, came or went.
    pub zones: BTreeSet<ZoneName>,
    /// The kinds of entity that changed, for route tables and live pages.
    pub topics: BTreeSet<Topic>,
}

/// A kind of thing that someone may watch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Topic {
    Settings,
    Organizations,
    Sites,
    Tokens,
    Nodes,
    /// Leases: every hello changes one, nothing that is shown does.
    Leases,
    Addresses,
    Services,
    Routes,
    Grants,
    Balancers,
    Profiles,
    Zones,
    Operators,
    ApiKeys,
    Requests,
    Declarations,
}

impl Affected {
    /// Whether anybody but the store has to hear of it: leases and housekeeping are nobody's business.
    #[must_use]
    pub fn is_any(&self) -> bool {
        !self.nodes.is_empty()
            || !self.zones.is_empty()
            || self.topics.iter().any(|topic| !topic.is_internal())
    }

    /// The nodes whose sessions, channels and connections may not be what they were.
    #[must_use]
    pub fn concerned(&self) -> BTreeSet<NodeId> {
        self.nodes.union(&self.rekeyed).copied().collect()
    }

    /// Both of two changes, the other one later.
    pub fn merge(&mut self, later: Self) {
        self.nodes.extend(later.nodes);
        self.removed.extend(later.removed);
        self.rekeyed.extend(later.rekeyed);
        self.zones.extend(later.zones);
        self.topics.extend(later.topics);
    }
}

impl Topic {
    fn is_internal(self) -> bool {
        matches!(self, Self::Leases | Self::Addresses | Self::Requests)
    }

    fn of(key: &EntityKey) -> Self {
        match key {
            EntityKey::Settings => Self::Settings,
            EntityKey::Organization(_) => Self::Organizations,
            EntityKey::Site(_) => Self::Sites,
            EntityKey::Token(_) => Self::Tokens,
            EntityKey::Node(_) => Self::Nodes,
            EntityKey::Lease(_) => Self::Leases,
            EntityKey::RetiredAddress(_) => Self::Addresses,
            EntityKey::Service(_) => Self::Services,
            EntityKey::Route(_) => Self::Routes,
            EntityKey::Grant(_)
            | EntityKey::Policy
            | EntityKey::PolicyVersion(_)
            | EntityKey::Proposal(_) => Self::Grants,
            EntityKey::Zone(_) | EntityKey::RecordSet { .. } => Self::Zones,
            EntityKey::Operator(_) => Self::Operators,
            EntityKey::ApiKey(_) => Self::ApiKeys,
            EntityKey::Request(_) => Self::Requests,
            EntityKey::Balancer(_) => Self::Balancers,
            EntityKey::Profile(_) => Self::Profiles,
            EntityKey::Declaration(_) => Self::Declarations,
        }
    }
}

/// Whom the step from `old` to `new` concerns. `changes` are those of the step.
#[must_use]
pub fn affected(old: &State, new: &State, changes: &[Change]) -> Affected {
    let mut affected = Affected::default();
    for change in changes {
        let key = change.key();
        match &key {
            EntityKey::Zone(zone) | EntityKey::RecordSet { zone, .. } => {
                affected.zones.insert(zone.clone());
            }
            EntityKey::Node(id) if old.node(*id).map(keys) != new.node(*id).map(keys) => {
                affected.rekeyed.insert(*id);
            }
            // Every enrolment moves the counters in the settings; only the rest of them is worth telling.
            EntityKey::Settings if old.settings.shown() == new.settings.shown() => continue,
            _ => {}
        }
        affected.topics.insert(Topic::of(&key));
    }
    let nodes = touched_nodes(old, new);
    affected.removed = nodes
        .iter()
        .filter(|id| !new.nodes.contains_key(*id))
        .copied()
        .collect();
    affected.nodes = nodes;
    affected
}

fn keys(node: &Node) -> (WgKey, Fingerprint, &[FormerKey]) {
    (node.wg_key, node.tls_key, &node.former_tls_keys)
}

impl Change {
    /// What it puts or deletes.
    #[must_use]
    pub fn key(&self) -> EntityKey {
        match self {
            Self::Put(entity) => Entity::key(entity),
            Self::Delete(key) => key.clone(),
        }
    }
}

/// The nodes whose netmap differs between two states, in any order of the two.
pub(crate) fn touched_nodes(old: &State, new: &State) -> BTreeSet<NodeId> {
    let mut touched = BTreeSet::new();
    for id in subjects(old, new) {
        let before = old.node(id);
        let after = new.node(id);
        let peers = before.map(|node| old.peer_ids(node)).unwrap_or_default();
        let peers: BTreeSet<NodeId> = peers
            .into_iter()
            .chain(after.map(|node| new.peer_ids(node)).unwrap_or_default())
            .collect();
        for peer in &peers {
            if entry(old, *peer, id) != entry(new, *peer, id) {
                touched.insert(*peer);
            }
        }
        let differs = before.and_then(|node| old.me(node)) != after.and_then(|node| new.me(node))
            || before.map(|node| old.offered(node)) != after.map(|node| new.offered(node))
            || before.map(|node| old.balanced_by(node)) != after.map(|node| new.balanced_by(node))
            || peers
                .iter()
                .any(|peer| entry(old, id, *peer) != entry(new, id, *peer));
        if differs {
            touched.insert(id);
        }
    }
    touched.extend(guarded_otherwise(old, new));
    touched
}

/// What turns the netmap of `id` at `old` into the one at `new`; None when either has none. Only what differs between the
/// states is looked at.
pub(crate) fn delta(old: &State, new: &State, id: NodeId) -> Option<NetmapDelta> {
    let (before, after) = (old.node(id)?, new.node(id)?);
    let subjects = subjects(old, new);
    if subjects.contains(&id) || subjects.len() > new.nodes.len() / 2 {
        return Some(old.netmap(id)?.diff(&new.netmap(id)?));
    }
    let mut delta = NetmapDelta {
        from: old.revision,
        to: new.revision,
        me: None,
        peers: Vec::new(),
        peers_gone: Vec::new(),
        services: Vec::new(),
        services_gone: Vec::new(),
        balancers: Vec::new(),
        balancers_gone: Vec::new(),
        closed: None,
        // Settled once, by `malha init`.
        zone: None,
    };
    if is_guarded_otherwise(old, new, id) {
        delta.closed = Some(new.closed_on(after));
    }
    for subject in subjects {
        let was = old.node(subject).and_then(|other| old.peer(before, other));
        match new.node(subject).and_then(|other| new.peer(after, other)) {
            Some(is) if was.as_ref() != Some(&is) => delta.peers.push(is),
            None if was.is_some() => delta.peers_gone.push(subject),
            _ => {}
        }
    }
    Some(delta)
}

fn entry(state: &State, viewer: NodeId, subject: NodeId) -> Option<Peer> {
    state.peer(state.node(viewer)?, state.node(subject)?)
}

/// The nodes of which every netmap difference has one on at least one side: the nodes, the owners of the services and the balancers, those
/// that have other declared names, and the smaller side of the grants that differ. Unchanged parts of the states are skipped whole.
fn subjects(old: &State, new: &State) -> BTreeSet<NodeId> {
    let mut subjects = BTreeSet::new();
    for item in old.nodes.diff(&new.nodes) {
        let (before, after) = sides(item);
        let is_same = before
            .zip(after)
            .is_some_and(|(before, after)| !differs_outside(before, after));
        subjects.extend(after.or(before).filter(|_| !is_same).map(|node| node.id));
    }
    for item in old.services.diff(&new.services) {
        let (before, after) = sides(item);
        subjects.extend(before.into_iter().chain(after).map(|it| it.node));
    }
    for item in old.grants.diff(&new.grants) {
        let (before, after) = sides(item);
        subjects.extend(before.into_iter().flat_map(|it| smaller_side(old, it)));
        subjects.extend(after.into_iter().flat_map(|it| smaller_side(new, it)));
    }
    subjects.extend(waiting(old, new));
    subjects.extend(named_otherwise(old, new));
    for item in old.balancers.diff(&new.balancers) {
        let (before, after) = sides(item);
        subjects.extend(before.into_iter().chain(after).map(|it| it.node));
    }
    subjects
}

/// The nodes whose profile closes other ports now: of profiles that were edited, and of sites that run another release.
fn guarded_otherwise(old: &State, new: &State) -> BTreeSet<NodeId> {
    let mut nodes = BTreeSet::new();
    for item in old.profiles.diff(&new.profiles) {
        let (DiffItem::Add(profile, _)
        | DiffItem::Remove(profile, _)
        | DiffItem::Update {
            new: (profile, _), ..
        }) = item;
        nodes.extend(seconds(&new.index.nodes_of_profile, *profile, NodeId(0)));
    }
    for item in old.sites.diff(&new.sites) {
        if let DiffItem::Update {
            old: (id, before),
            new: (_, after),
        } = item
            && before.xroad != after.xroad
        {
            nodes.extend(seconds(&new.index.nodes_of_site, *id, NodeId(0)));
        }
    }
    nodes.retain(|id| is_guarded_otherwise(old, new, *id));
    nodes
}

fn is_guarded_otherwise(old: &State, new: &State, id: NodeId) -> bool {
    if old.profiles.ptr_eq(&new.profiles) && old.sites.ptr_eq(&new.sites) {
        return false;
    }
    match (old.node(id), new.node(id)) {
        (Some(before), Some(after)) => old.closed_on(before) != new.closed_on(after),
        _ => false,
    }
}

/// The smaller sides of the grants to which a policy that waits for its confirmation may return, unless both states say
/// the same of them.
fn waiting(old: &State, new: &State) -> BTreeSet<NodeId> {
    let same = match (&old.former, &new.former) {
        (None, None) => true,
        (Some(before), Some(after)) => {
            old.policy().map(|head| head.version) == new.policy().map(|head| head.version)
                && before.grants.diff(&after.grants).next().is_none()
        }
        _ => false,
    };
    let mut nodes = BTreeSet::new();
    for state in [old, new].into_iter().filter(|_| !same) {
        let differing = state
            .former
            .iter()
            .flat_map(|former| former.grants.diff(&state.grants));
        for item in differing {
            let (before, after) = sides(item);
            let grant = after.or(before);
            nodes.extend(grant.into_iter().flat_map(|it| smaller_side(state, it)));
        }
    }
    nodes
}

/// What stood in the older map and what stands in the newer one.
pub(crate) fn sides<'a, 'b, K, V>(item: DiffItem<'a, 'b, K, V>) -> (Option<&'a V>, Option<&'b V>) {
    match item {
        DiffItem::Add(_, after) => (None, Some(after)),
        DiffItem::Remove(_, before) => (Some(before), None),
        DiffItem::Update {
            old: (_, before),
            new: (_, after),
        } => (Some(before), Some(after)),
    }
}

/// Whether two versions of a node differ in what others, or its own netmap, know of it.
fn differs_outside(before: &Node, after: &Node) -> bool {
    let outside = |node: &Node| {
        (
            node.site,
            node.name.clone(),
            node.profile,
            node.tags.clone(),
            node.hub,
            node.wg_key,
            node.addresses,
            node.endpoints.clone(),
            node.is_active(),
        )
    };
    outside(before) != outside(after)
}

/// The members of one side of a grant: each pair that it joins has one of them. Both sides are counted only as far as
/// the smaller one goes.
fn smaller_side(state: &State, grant: &Grant) -> Vec<NodeId> {
    let (mut from, mut to) = (state.members(grant.from), state.members(grant.to));
    let (mut froms, mut tos) = (Vec::new(), Vec::new());
    loop {
        match from.next() {
            Some(id) => froms.push(id),
            None => return froms,
        }
        match to.next() {
            Some(id) => tos.push(id),
            None => return tos,
        }
    }
}

#[cfg(test)]
mod tests;
