//! Which two nodes may use the hub's relay, and with which channels and keys. In memory only: after a restart of the
//! controller everyone is told new ones.

use std::collections::BTreeMap;

use malha_proto::{NodeId, RelayGrant, Secret32};

use crate::pairs::PairId;

/// The channels of all pairs that may use the relay.
pub(super) struct RelayTable {
    /// Whose relay it is.
    hub: NodeId,
    /// The grants of the lower and the higher node.
    pairs: BTreeMap<PairId, [RelayGrant; 2]>,
    /// The nodes that a node has a relay with.
    partners: BTreeMap<NodeId, Vec<NodeId>>,
    last_channel: u32,
    changed: bool,
    /// The hub's tunnel relays nothing.
    closed: bool,
}

impl RelayTable {
    pub(super) fn new(hub: NodeId) -> Self {
        Self {
            hub,
            pairs: BTreeMap::new(),
            partners: BTreeMap::new(),
            last_channel: 0,
            changed: false,
            closed: false,
        }
    }

    /// From now on nobody is given a channel: to be called before anyone has one.
    pub(super) fn close(&mut self) {
        self.closed = true;
    }

    /// A node's own end towards a peer, made if there is none. None when there are too many, no random bytes, or no relay.
    pub(super) fn grant(&mut self, node: NodeId, peer: NodeId) -> Option<RelayGrant> {
        let pair = PairId::of(node, peer);
        if !self.pairs.contains_key(&pair) {
            if self.closed || self.pairs.len() >= MAX_RELAY_PAIRS {
                return None;
            }
            let grants = self.fresh_pair()?;
            self.pairs.insert(pair, grants);
            self.partners.entry(node).or_default().push(peer);
            self.partners.entry(peer).or_default().push(node);
            self.changed = true;
        }
        let [low, high] = self.pairs.get(&pair)?;
        Some(if node < peer { low } else { high }.clone())
    }

    /// Two nodes are no peers any more.
    pub(super) fn withdraw(&mut self, node: NodeId, peer: NodeId) {
        if self.pairs.remove(&PairId::of(node, peer)).is_none() {
            return;
        }
        self.changed = true;
        for (one, other) in [(node, peer), (peer, node)] {
            if let Some(partners) = self.partners.get_mut(&one) {
                partners.retain(|partner| *partner != other);
                if partners.is_empty() {
                    self.partners.remove(&one);
                }
            }
        }
    }

    pub(super) fn withdraw_all(&mut self, node: NodeId) {
        for partner in self.partners.get(&node).cloned().unwrap_or_default() {
            self.withdraw(node, partner);
        }
    }

    /// A node has another key, so it may be another machine, and the former one has the former channels: from now on there are others.
    /// Returns who else must hear of that.
    pub(super) fn rekeyed(&mut self, node: NodeId) -> Vec<NodeId> {
        let partners = self.partners.get(&node).cloned().unwrap_or_default();
        for partner in &partners {
            // Made at once: no other pair may take the place in the table.
            match self.fresh_pair() {
                Some(grants) => {
                    self.pairs.insert(PairId::of(node, *partner), grants);
                    self.changed = true;
                }
                None => self.withdraw(node, *partner),
            }
        }
        partners
    }

    /// The whole table with the nodes whose channels they are, if it is another one than at the last call.
    pub(super) fn take_change(&mut self) -> Option<Vec<[(NodeId, RelayGrant); 2]>> {
        let ends = |(pair, grants): (&PairId, &[RelayGrant; 2])| {
            let ([low, high], [lower, higher]) = (pair.ends(), grants.clone());
            [(low, lower), (high, higher)]
        };
        std::mem::take(&mut self.changed).then(|| self.pairs.iter().map(ends).collect())
    }

    fn fresh_pair(&mut self) -> Option<[RelayGrant; 2]> {
        Some([self.fresh()?, self.fresh()?])
    }

    fn fresh(&mut self) -> Option<RelayGrant> {
        let mut key = Secret32([0; 32]);
        getrandom::fill(&mut key.0).ok()?;
        // A number is never used twice; four thousand million are enough for one process.
        self.last_channel = self.last_channel.checked_add(1)?;
        Some(RelayGrant {
            channel: self.last_channel,
            key,
            via: self.hub,
        })
    }
}

/// Pairs with a relay. Others must do with the direct way.
const MAX_RELAY_PAIRS: usize = 65_536;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_ends_keep_their_own_channel_until_it_is_withdrawn() {
        let mut relay = RelayTable::new(NodeId(1));
        let (one, other) = (NodeId(3), NodeId(2));
        let mine = relay.grant(one, other).unwrap();
        let theirs = relay.grant(other, one).unwrap();
        assert_ne!((mine.channel, &mine.key), (theirs.channel, &theirs.key));
        assert_eq!(relay.grant(one, other), Some(mine.clone()));
        let table = vec![[(other, theirs), (one, mine.clone())]];
        assert_eq!(relay.take_change(), Some(table));
        assert_eq!(relay.take_change(), None);
        relay.withdraw(one, other);
        assert_eq!(relay.take_change(), Some(vec![]));
        assert_ne!(relay.grant(one, other), Some(mine));
    }

    #[test]
    fn a_hub_that_relays_nothing_promises_no_channel() {
        let mut relay = RelayTable::new(NodeId(1));
        relay.close();
        assert_eq!(relay.grant(NodeId(3), NodeId(2)), None);
        assert_eq!(relay.take_change(), None);
    }

    #[test]
    fn a_node_with_another_key_has_other_channels_and_nobody_else_has() {
        let mut relay = RelayTable::new(NodeId(1));
        let [one, other, third] = [3, 2, 4].map(NodeId);
        let ends = [(one, other), (other, one), (other, third)];
        let former = ends.map(|(node, peer)| relay.grant(node, peer).unwrap());
        relay.take_change();
        assert!(relay.rekeyed(NodeId(9)).is_empty());
        assert_eq!(relay.take_change(), None);
        assert_eq!(relay.rekeyed(one), [other]);
        assert_eq!(relay.take_change().map(|pairs| pairs.len()), Some(2));
        let now = ends.map(|(node, peer)| relay.grant(node, peer).unwrap());
        assert_ne!(
            (now[0].channel, &now[0].key),
            (former[0].channel, &former[0].key)
        );
        assert_ne!(
            (now[1].channel, &now[1].key),
            (former[1].channel, &former[1].key)
        );
        assert_eq!(now[2], former[2]);
        assert_eq!(relay.take_change(), None);
    }

    #[test]
    fn a_node_that_is_gone_takes_all_its_channels_along() {
        let mut relay = RelayTable::new(NodeId(1));
        for (one, other) in [(1, 2), (1, 3), (2, 3)] {
            relay.grant(NodeId(one), NodeId(other)).unwrap();
        }
        relay.withdraw_all(NodeId(1));
        assert_eq!(relay.take_change().map(|pairs| pairs.len()), Some(1));
        assert_eq!(relay.partners.len(), 2);
    }
}
