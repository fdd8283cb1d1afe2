//! What two nodes share beside their netmaps: where to meet, a relay's channel, a preshared key. It changes by itself, so it
//! has no revision and is never committed; what is newer replaces what is older.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use minicbor::{Decode, Encode};

use crate::{MAX_PEERS, NodeId, Secret32, WgKey};

/// The most candidates of one pair.
pub const MAX_CANDIDATES: usize = 16;

/// The most pairs of one message: well below a frame, so that a node with more peers gets several.
pub const MAX_PAIRS_PER_MESSAGE: usize = 2_000;

/// The most pairs that a node keeps.
pub const MAX_PAIRS: usize = MAX_PEERS;

/// A node's own end of a way through the hub's relay, which sees sealed packets only.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct RelayGrant {
    /// This node's own channel; the other side has another.
    #[n(0)]
    pub channel: u32,
    /// Proves to the relay that the channel is ours.
    #[n(1)]
    pub key: Secret32,
    /// The hub whose relay it is.
    #[n(2)]
    pub via: NodeId,
}

/// A preshared key of two nodes, the same at both.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct PairKey {
    #[n(0)]
    pub secret: Secret32,
    /// Keys change with their epoch; for people.
    #[n(1)]
    pub epoch: u64,
    /// When the epoch began, milliseconds of the Unix epoch; for people.
    #[n(2)]
    pub since_ms: u64,
}

/// What this node shares with one peer. It replaces all that was known of the pair.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Pair {
    #[n(0)]
    pub peer: NodeId,
    /// The peer's WireGuard key for which this was made: for another one it means nothing.
    #[n(1)]
    pub key: WgKey,
    /// Where the peer may be reached without a relay, best first; at most [`MAX_CANDIDATES`].
    #[n(2)]
    pub candidates: Vec<SocketAddr>,
    #[n(3)]
    pub relay: Option<RelayGrant>,
    /// None: the pair has no preshared key.
    #[n(4)]
    pub psk: Option<PairKey>,
}

/// Pairs of one node that are new or have changed.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Pairs {
    /// These are all, or the first of all: what was known before is forgotten.
    #[n(0)]
    pub all: bool,
    /// The receiver's WireGuard key for which these were made.
    #[n(1)]
    pub me: WgKey,
    /// At most [`MAX_PAIRS_PER_MESSAGE`].
    #[n(2)]
    pub pairs: Vec<Pair>,
}

/// Everything that a node was told of its pairs.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct PairTable {
    #[n(0)]
    me: WgKey,
    #[n(1)]
    pairs: BTreeMap<NodeId, Pair>,
}

impl Pairs {
    /// Cuts any number of pairs into messages; the first one says whether they are all.
    pub fn messages(all: bool, me: WgKey, pairs: Vec<Pair>) -> impl Iterator<Item = Self> {
        let mut rest = pairs;
        let mut first = true;
        std::iter::from_fn(move || {
            if rest.is_empty() && !(first && all) {
                return None;
            }
            let later = rest.split_off(rest.len().min(MAX_PAIRS_PER_MESSAGE));
            Some(Self {
                all: std::mem::take(&mut first) && all,
                me,
                pairs: std::mem::replace(&mut rest, later),
            })
        })
    }
}

impl PairTable {
    /// Nothing, for a node with this key.
    #[must_use]
    pub fn new(me: WgKey) -> Self {
        Self {
            me,
            pairs: BTreeMap::new(),
        }
    }

    /// Takes what came. Pairs of another own key replace everything; those beyond the limits are left out.
    pub fn take(&mut self, news: Pairs) {
        if news.all || news.me != self.me {
            *self = Self::new(news.me);
        }
        for mut pair in news.pairs {
            pair.candidates.truncate(MAX_CANDIDATES);
            if self.pairs.len() < MAX_PAIRS || self.pairs.contains_key(&pair.peer) {
                self.pairs.insert(pair.peer, pair);
            }
        }
    }

    /// What node `me` shares with this peer, if both still have the keys for which it was made.
    #[must_use]
    pub fn with(&self, me: WgKey, peer: NodeId, key: WgKey) -> Option<&Pair> {
        let pair = self.pairs.get(&peer)?;
        (self.me == me && pair.key == key).then_some(pair)
    }

    #[must_use]
    pub fn len(&self) -> usize {
        self.pairs.len()
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.pairs.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{MAX_FRAME_TO_NODE_BYTES, ToNode, encode_frame};

    const ME: WgKey = WgKey([1; 32]);
    const PEER: WgKey = WgKey([2; 32]);

    fn pair(peer: u64, psk: u8) -> Pair {
        Pair {
            peer: NodeId(peer),
            key: PEER,
            candidates: vec!["[2001:db8:1:2:3:4:5:6]:51820".parse().unwrap(); MAX_CANDIDATES],
            relay: Some(RelayGrant {
                channel: u32::MAX,
                key: Secret32([9; 32]),
                via: NodeId(1),
            }),
            psk: Some(PairKey {
                secret: Secret32([psk; 32]),
                epoch: u64::MAX,
                since_ms: u64::MAX,
            }),
        }
    }

    fn news(all: bool, me: WgKey, pairs: Vec<Pair>) -> Pairs {
        Pairs { all, me, pairs }
    }

    #[test]
    fn ten_thousand_pairs_come_in_frames_that_fit_and_none_is_lost() {
        let pairs: Vec<_> = (1..=10_000).map(|id| pair(1 << 40 | id, 3)).collect();
        let mut table = PairTable::new(ME);
        table.take(news(false, ME, vec![pair(7, 1)]));
        for message in Pairs::messages(true, ME, pairs.clone()) {
            encode_frame(
                &ToNode::Pairs(Box::new(message.clone())),
                MAX_FRAME_TO_NODE_BYTES / 2,
            )
            .unwrap();
            table.take(message);
        }
        let mut whole = PairTable::new(ME);
        whole.take(news(true, ME, pairs));
        assert_eq!(table, whole);
        assert_eq!(table.len(), 10_000);
    }

    #[test]
    fn no_pairs_at_all_are_news_and_no_changes_are_none() {
        assert_eq!(Pairs::messages(true, ME, vec![]).count(), 1);
        assert_eq!(Pairs::messages(false, ME, vec![]).count(), 0);
    }

    #[test]
    fn a_pair_of_a_former_key_means_nothing() {
        let mut table = PairTable::new(ME);
        table.take(news(true, ME, vec![pair(7, 1)]));
        assert!(table.with(ME, NodeId(7), PEER).is_some());
        assert!(table.with(ME, NodeId(7), WgKey([3; 32])).is_none());
        assert!(table.with(WgKey([3; 32]), NodeId(7), PEER).is_none());
    }

    #[test]
    fn pairs_of_another_own_key_replace_the_former_ones() {
        let mut table = PairTable::new(ME);
        table.take(news(true, ME, vec![pair(7, 1), pair(8, 1)]));
        let newer = WgKey([4; 32]);
        table.take(news(false, newer, vec![pair(7, 2)]));
        assert_eq!(table.len(), 1);
        let kept = table.with(newer, NodeId(7), PEER).unwrap();
        assert_eq!(kept.psk.as_ref().unwrap().secret, Secret32([2; 32]));
    }
}
